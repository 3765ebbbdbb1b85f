"""How one measures: interleaved latency, statistics, clocks and throttling, the machine's state."""
