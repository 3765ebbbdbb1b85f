"""Models that run: the backends, what they open, and what they refuse."""
