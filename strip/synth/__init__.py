"""Synthetic strips: textures, defects and decoys, and what a line does to its references."""
