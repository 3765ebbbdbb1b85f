"""Which strips a command line means, and under which names their results are kept.

In:   paths of files and folders; folders are searched with all their subfolders (`lineside.folders`).
Out:  `Source`s in a fixed order, each with a name that no other has.
A data set's `ground_truth` is left out, and so are results of ours that lie inside a folder that is searched.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lineside.errors import StripError
from lineside.folders import files_below
from lineside.pixels import SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Source:
    """A strip to inspect.

    Attributes:
        path: As the caller wrote it.
        name: Where it lies below the folder that was named, without suffix, such as "spot/000"; unique among the sources.
    """

    path: Path
    name: str


def find_sources(paths: Sequence[Path], *, out: Path) -> tuple[Source, ...]:
    """The strips that `paths` name, each once.

    Args:
        paths: Files and folders.
        out: The folder of the results; what lies in it is no strip.

    Raises:
        StripError: A path does not exist, or holds no strip, or none outside of `out`.
        DatasetError: A folder cannot be read.
    """
    found: dict[Path, tuple[Path, int]] = {}
    results = out.resolve()
    for path in paths:
        below = list(_strips_below(path))
        # realpath: Path.resolve fails on a link in a circle
        strips = [strip for strip in below if not Path(os.path.realpath(strip)).is_relative_to(results)]
        if below and not strips:
            raise StripError(
                f"{path}: all {len(below)} strips lie in the output folder {out}",
                why="what lies there is taken for results of an earlier run, and results are no strips",
                fix=f"name a folder of its own: --out {out / 'results'}",
            )
        if not strips:
            raise StripError(
                f"{path}: no strips" if path.exists() else f"{path}: no such file or folder",
                why=f"files to inspect end in {', '.join(SUFFIXES)}",
                fix="check the path",
            )
        for strip in strips:
            depth = max(1, len(strip.relative_to(path).parts))
            place = Path(os.path.abspath(strip))  # noqa: PTH100  # without "..", but links stay: two links to one file are two strips
            found.setdefault(place, (strip, depth))
    names = _unique_names({place: depth for place, (_, depth) in found.items()})
    return tuple(Source(path=path, name=names[place]) for place, (path, _) in found.items())


def _strips_below(path: Path) -> Iterator[Path]:
    if path.is_file() or (path.is_symlink() and not path.exists()):  # a link that leads nowhere is a part that nobody has seen
        yield path
    elif path.is_dir():
        yield from files_below(path)


def _unique_names(depths: dict[Path, int]) -> dict[Path, str]:
    """For every absolute path its last `depth` parts without suffix, and as many more as it takes to tell it from the others.

    The suffix stays on all files of a folder that holds two of one stem.
    """
    stems = Counter(path.with_suffix("") for path in depths)
    with_suffix = {path.parent for path in depths if stems[path.with_suffix("")] > 1}
    parts = {path: (path if path.parent in with_suffix else path.with_suffix("")).parts[1:] for path in depths}
    while True:
        names = {path: "/".join(parts[path][-depth:]) for path, depth in depths.items()}
        count = Counter(names.values())
        if len(count) == len(names):
            return names
        depths = {path: depth + (count[names[path]] > 1) for path, depth in depths.items()}
