"""How near a model comes to what its machine can do: work, peaks, roofline."""
