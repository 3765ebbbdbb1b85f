"""A stand-in for PyCUDA, for tests on machines without a GPU. It is not PyCUDA: see `lineside_standin`."""

VERSION = (2024, 1)
