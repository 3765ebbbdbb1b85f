"""Whether a line's defects are found: a camera and shapes that no recipe knows, and `python -m lineside.benchmarks.detection`."""
