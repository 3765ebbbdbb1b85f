"""`python -m lineside.benchmarks.gpu`: everything that a GPU can prove, one step a module."""
