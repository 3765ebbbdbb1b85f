"""`lineside bench`: a measurement from options to table, JSON and page."""
