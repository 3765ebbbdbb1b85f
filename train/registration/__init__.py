"""Lay the references of a strip on its Target: one module that trains and is exported."""
