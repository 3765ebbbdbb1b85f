"""Measuring: interleaved latency, statistics, the environment of a measurement."""
