"""Defects that no recipe makes.

In:   Target (H, W) float64 in 0..255 that may be changed, and a seeded generator.
Out:  Target with one defect in it.
Training cannot import this room (import-linter), and it imports nothing of `lineside.synth`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .patterns import Picture

EDGE_PX = 30
"""No centre is nearer to an edge."""


def _speck(away_y: Picture, away_x: Picture, rng: np.random.Generator, strength: tuple[float, float]) -> Picture:
    return rng.uniform(*strength) * np.exp(-(away_y**2 + away_x**2) / (2 * rng.uniform(0.8, 1.2) ** 2))


def speck(y: Picture, x: Picture, rng: np.random.Generator) -> Picture:
    """Small and strong."""
    return _speck(y, x, rng, (60.0, 90.0))


def faint_speck(y: Picture, x: Picture, rng: np.random.Generator) -> Picture:
    """Small and weak."""
    return _speck(y, x, rng, (35.0, 50.0))


def stain(y: Picture, x: Picture, rng: np.random.Generator) -> Picture:
    """Wide, flat and weak, with a soft edge."""
    return rng.uniform(15.0, 25.0) * np.exp(-((np.hypot(y, x) / rng.uniform(5.0, 9.0)) ** 4))


def hair(y: Picture, x: Picture, rng: np.random.Generator) -> Picture:
    """A thin line."""
    angle, half = rng.uniform(0, np.pi), rng.uniform(15.0, 30.0)
    inside = np.hypot(y, x) < half
    return np.asarray(rng.uniform(30.0, 45.0) * inside * np.clip(1.2 - np.abs(np.sin(angle) * y - np.cos(angle) * x), 0, 1))


KINDS: dict[str, Callable[[Picture, Picture, np.random.Generator], Picture]] = {
    "speck": speck,
    "faint speck": faint_speck,
    "stain": stain,
    "hair": hair,
}


def spoil(target: Picture, kind: str, rng: np.random.Generator) -> None:
    """Put one defect of `kind` into `target`, brighter or darker, whichever there is room for."""
    centre = [int(rng.integers(EDGE_PX, side - EDGE_PX)) for side in target.shape]
    y, x = np.mgrid[: target.shape[0], : target.shape[1]].astype(np.float64)
    added = rng.choice((-1.0, 1.0)) * KINDS[kind](y - centre[0], x - centre[1], rng)
    strongest = added.flat[np.abs(added).argmax()]
    target += added if 0 <= target[centre[0], centre[1]] + strongest <= 255 else -added
