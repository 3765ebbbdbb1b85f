"""A stand-in for cuda-python, for tests on machines without a GPU. It is not cuda-python: see `lineside_standin`."""

__version__ = "13.0.0"
