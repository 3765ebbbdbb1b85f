"""Where Q/DQ nodes and casts go, by the rules of each target, into a file."""
