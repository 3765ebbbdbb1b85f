"""`python -m lineside.benchmarks.zoo`: known networks as files, and the table of everything that runs them."""
