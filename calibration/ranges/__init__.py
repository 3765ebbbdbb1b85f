"""Which ranges activations reach: patches of good strips, run through the network, into a table."""
