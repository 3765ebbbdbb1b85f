"""Synthetic defects, added to a patch of a good strip (design 3).

In:   a patch (3, h, w) float32 in 0..255 (Target, Ref1, Ref2) that may be changed, and a seeded generator.
Out:  the mask (h, w) bool of its target-only defects; the patch now holds them, and distractors in the references.
A target-only defect is in neither reference. Distractors never touch one, and Ref1 and Ref2 never get the same set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineside.errors import ConfigError
from lineside.spec import FULL_SCALE

AMPLITUDES = (-80.0, -60.0, 60.0, 80.0)
"""Grey levels at the centre of a defect."""
MASK_LEVEL = 0.1
"""A pixel belongs to the defect where its kernel (1 at the centre) is above this."""
TARGET_ONLY = (1, 2)
"""How many of the defects of a patch are in Target alone."""
DEFECT_SHARE = 0.5
"""Share of patches that get defects at all."""
GAP_PX = 1
"""Pixels between two defects: one that touched another would change what it means."""
TARGET, REF1, REF2 = 0, 1, 2
_DISTRACTORS = ((REF1,), (REF2,), (REF1, REF2))
_TRIES = 50


def gaussian_kernel(height: int, width: int, sigma_y: float, sigma_x: float) -> NDArray[np.float32]:
    """A Gaussian (height, width) float32 with 1 at the centre; height and width are odd."""
    y = np.arange(height) - height // 2
    x = np.arange(width) - width // 2
    return np.exp(-(y[:, None] ** 2) / (2 * sigma_y**2) - x[None, :] ** 2 / (2 * sigma_x**2)).astype(np.float32)


KERNELS = (gaussian_kernel(3, 3, 1.3, 1.3), gaussian_kernel(3, 5, 1.0, 1.5))
"""Half of the defects each."""


@dataclass(frozen=True, kw_only=True)
class DefectOptions:
    """How many defects a patch gets. `count` is the least and the most, both included; `share` of the patches get any."""

    count: tuple[int, int] = (3, 8)
    share: float = DEFECT_SHARE

    def __post_init__(self) -> None:
        low, high = self.count
        if not 1 <= low <= high:
            raise ConfigError(f"defects {low}:{high}", why="the least number comes first and is 1 at least", fix="use --defects 3:8")
        if not 0.0 <= self.share <= 1.0:
            raise ConfigError(f"share of patches with defects {self.share}", why="a share lies in 0..1", fix="use 0.5")

    @classmethod
    def parse(cls, text: str) -> DefectOptions:
        """The options of `3:8` or `5`. Raises: ConfigError."""
        match = re.fullmatch(r"(\d{1,3})(?::(\d{1,3}))?", text)
        if not match:
            raise ConfigError(f"defects {text!r}", why="the number of defects per patch is LEAST:MOST", fix="use --defects 3:8")
        low = int(match[1])
        return cls(count=(low, int(match[2] or low)))


def add_defects(patch: NDArray[np.float32], rng: np.random.Generator, options: DefectOptions = DefectOptions()) -> NDArray[np.bool_]:
    """Add the defects of one patch, in place.

    Args:
        patch: (3, h, w) float32 in 0..255; stays in that range.
        rng: The only source of randomness.
        options: How many, and on what share of the patches.

    Returns:
        (h, w) bool: where the target-only defects are; empty for a patch that got none.
    """
    mask = np.zeros(patch.shape[1:], np.bool_)
    if rng.random() >= options.share:
        return mask
    taken = np.zeros(patch.shape[1:], np.bool_)
    channels = _channels_of_each(rng, options)
    for where in channels:
        kernel = KERNELS[rng.integers(len(KERNELS))]
        place = find_free_place(taken, kernel.shape, rng)
        if place is None:
            break  # a patch too small for so many: target-only ones come first, so those are in it
        add_kernel(patch, kernel, place, float(rng.choice(AMPLITUDES)), where)
        if where == (TARGET,):
            rows, columns = box(place, kernel.shape)
            mask[rows, columns] |= kernel > MASK_LEVEL
    return mask


def find_free_place(taken: NDArray[np.bool_], shape: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int] | None:
    """A random top left corner where a kernel fits wholly and touches none before it; marks it as taken. None: no room."""
    height, width = taken.shape
    for _ in range(_TRIES):
        top = int(rng.integers(0, height - shape[0] + 1))
        left = int(rng.integers(0, width - shape[1] + 1))
        around = (slice(max(0, top - GAP_PX), top + shape[0] + GAP_PX), slice(max(0, left - GAP_PX), left + shape[1] + GAP_PX))
        if not taken[around].any():
            taken[box((top, left), shape)] = True
            return top, left
    return None


def add_kernel(
    image: NDArray[np.float32], kernel: NDArray[np.float32], place: tuple[int, int], amplitude: float, channels: tuple[int, ...]
) -> None:
    """Add `amplitude * kernel` at `place` to `channels` of (C, h, w), in place, clipped to 0..255.

    The sign turns when clipping would swallow more than half of it: a defect that is in the mask has to be in the picture.
    """
    rows, columns = box(place, kernel.shape)
    centre = float(image[channels[0], rows, columns].mean())
    if not -abs(amplitude) / 2 <= centre + amplitude <= FULL_SCALE + abs(amplitude) / 2:
        amplitude = -amplitude
    for channel in channels:
        part = image[channel, rows, columns]
        np.clip(part + amplitude * kernel, 0.0, FULL_SCALE, out=part)


def box(place: tuple[int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The rows and columns of a kernel of `shape` whose top left corner is `place`."""
    return slice(place[0], place[0] + shape[0]), slice(place[1], place[1] + shape[1])


def _channels_of_each(rng: np.random.Generator, options: DefectOptions) -> list[tuple[int, ...]]:
    """For each defect of one patch the channels that get it, target-only ones first."""
    total = int(rng.integers(options.count[0], options.count[1] + 1))
    target_only = min(total, int(rng.integers(TARGET_ONLY[0], TARGET_ONLY[1] + 1)))
    return [(TARGET,)] * target_only + distractor_channels(total - target_only, rng)


def distractor_channels(count: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """For each of `count` distractors the references that get it: one, the other or both; never the same set for both references."""
    channels = [_DISTRACTORS[rng.integers(len(_DISTRACTORS))] for _ in range(count)]
    if channels and all(where == (REF1, REF2) for where in channels):
        channels[0] = _DISTRACTORS[rng.integers(2)]
    # Those of one reference first: a patch too small for all then still has different sets.
    return sorted(channels, key=len)
