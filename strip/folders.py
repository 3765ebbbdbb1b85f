"""Which files of a folder are strips: one answer for every command.

In:   a folder.
Out:  paths in a fixed order. The name counts, and nothing is opened: a link that leads nowhere or a pipe with a strip's name is a strip
      that cannot be read, and whoever reads it says so.
Hidden files and folders hold none (`.ipynb_checkpoints/`, `._0.tif`), nor does `__MACOSX/`, which macOS puts into archives.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .errors import DatasetError
from .pixels import reason
from .reader import is_strip_file

GROUND_TRUTH = "ground_truth"
"""Masks, not strips (design 2)."""
_NOT_OURS = "__MACOSX"


def files_in(folder: Path) -> tuple[Path, ...]:
    """Strips or masks of a folder, sorted by name; none when there is no such folder. Raises: DatasetError, when it cannot be read."""
    return tuple(path for path in listing(folder) if is_strip_file(path) and not path.is_dir())


def folders_in(folder: Path) -> tuple[Path, ...]:
    """The folders in a folder, sorted by name, links to folders too. Raises: DatasetError, when it cannot be read."""
    return tuple(path for path in listing(folder) if not path.name.startswith(".") and path.name != _NOT_OURS and path.is_dir())


def files_below(folder: Path) -> Iterator[Path]:
    """The strips of a folder and of all folders in it, without ground truth. Raises: DatasetError, when one cannot be read."""
    yield from _below(folder, frozenset())


def listing(folder: Path) -> tuple[Path, ...]:
    """Everything in a folder, sorted by name; nothing when there is no such folder. Raises: DatasetError, when it cannot be read."""
    try:
        return tuple(sorted(folder.iterdir())) if folder.is_dir() else ()
    except OSError as exc:
        raise DatasetError(f"{folder}: cannot be read", why=reason(exc), fix="ask for the right to read this folder") from exc


def _below(folder: Path, around: frozenset[Path]) -> Iterator[Path]:
    place = folder.resolve()
    if place in around:  # a link to a folder that it lies in
        return
    inside = {path: True for path in folders_in(folder) if path.name != GROUND_TRUTH} | dict.fromkeys(files_in(folder), False)
    for path in sorted(inside):
        if inside[path]:
            yield from _below(path, around | {place})
        else:
            yield path
