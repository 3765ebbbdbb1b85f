"""The strip cache counts bytes and forgets what was used longest ago."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside.train.cache import StripCache


class Disk:
    """Strips of 100 bytes, or of the number of bytes in the name; remembers what was read."""

    def __init__(self) -> None:
        self.reads: list[str] = []

    def __call__(self, path: Path) -> NDArray[np.uint8]:
        self.reads.append(path.name)
        return np.zeros(int(path.name) if path.name.isdigit() else 100, np.uint8)


def test_what_fits_is_read_once() -> None:
    disk = Disk()
    cache = StripCache(disk, 300)
    for name in "abcabcabc":
        cache.get(Path(name))
    assert disk.reads == ["a", "b", "c"]
    assert cache.used_bytes == 300


def test_the_one_used_longest_ago_goes_first() -> None:
    disk = Disk()
    cache = StripCache(disk, 250)
    for name in "ababcab":  # c takes the place of a, then a that of b, then b that of c
        cache.get(Path(name))
    assert disk.reads == ["a", "b", "c", "a", "b"]
    cache.get(Path("a"))
    assert disk.reads == ["a", "b", "c", "a", "b"]
    assert cache.used_bytes == 200


def test_a_strip_larger_than_the_budget_is_handed_on_and_not_kept() -> None:
    disk = Disk()
    cache = StripCache(disk, 250)
    cache.get(Path("a"))
    assert cache.get(Path("251")).nbytes == 251
    assert cache.used_bytes == 100
    cache.get(Path("251"))
    cache.get(Path("a"))
    assert disk.reads == ["a", "251", "251"]


def test_no_budget_keeps_nothing() -> None:
    disk = Disk()
    cache = StripCache(disk, 0)
    cache.get(Path("a"))
    cache.get(Path("a"))
    assert (disk.reads, cache.used_bytes) == (["a", "a"], 0)
