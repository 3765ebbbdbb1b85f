"""Strips that are read from their files inside the measured call: what reading costs beside the model.

In:   a folder with strips, searched with its subfolders; a data set's ground truth is left out.
Out:  `StripFolder`: some of its files, no two alike; `FileStrips` reads them in turn and counts the time.
Every file was read once before it counts, so the disk is not measured: a line's strips come from the camera, or from the page cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from numpy.typing import NDArray

from lineside.engine.infer.strip_names import find_sources
from lineside.errors import ConfigError
from lineside.folders import GROUND_TRUTH
from lineside.manifest import sha256_of_file
from lineside.reader import read_strip
from lineside.spec import StripSpec

LEAST = 8
"""Different files: with fewer, what the processor's caches hold of them would make reading faster than it is."""
MOST = 64
"""Of a large folder so many are taken, evenly over its length."""


@dataclass(frozen=True, kw_only=True)
class StripFolder:
    """Files of a folder, no two of the same content."""

    folder: Path
    paths: tuple[Path, ...]
    _fit: set[StripSpec] = field(default_factory=set, compare=False, repr=False)

    @classmethod
    def find(cls, folder: Path) -> StripFolder:
        """The strips of a folder.

        Raises:
            ConfigError: It has too few different ones.
            StripError: It does not exist, or holds none.
        """
        found = [source.path for source in find_sources([folder], out=folder / GROUND_TRUTH)]
        taken = [found[index * len(found) // MOST] for index in range(MOST)] if len(found) > MOST else found
        different = {sha256_of_file(path): path for path in reversed(taken)}
        if len(different) < LEAST:
            alike = "" if len(different) == len(taken) else f" ({len(taken)} files, some of them alike)"
            raise ConfigError(
                f"{folder}: {len(different)} different strips{alike}",
                why=f"reading is measured with {LEAST} at least: what was read a moment ago lies in the processor's caches",
                fix=f"name a folder with {LEAST} or more, or leave --strips out: then they come from memory",
            )
        return cls(folder=folder, paths=tuple(sorted(different.values())))

    def strips(self, spec: StripSpec) -> FileStrips:
        """Its strips for a model of this spec. Raises: StripError, when a file is no such strip."""
        if spec not in self._fit:
            for path in self.paths:
                read_strip(path, spec)
            self._fit.add(spec)
        return FileStrips(self.paths, spec)

    def __str__(self) -> str:
        return f"{len(self.paths)} strips read from {self.folder}"


class FileStrips:
    """Files in turn. `read_ns`: what reading them took so far."""

    def __init__(self, paths: tuple[Path, ...], spec: StripSpec) -> None:
        self._paths, self._spec = paths, spec
        self.read_ns = 0

    def take(self, index: int) -> NDArray[Any]:
        """Strip number `index` (C, H, W), read now; the files come round again."""
        begin = perf_counter_ns()
        strip = read_strip(self._paths[index % len(self._paths)], self._spec)
        self.read_ns += perf_counter_ns() - begin
        return strip
