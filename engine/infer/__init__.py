"""A folder of strips inspected: which files, in which order, with which results."""
