"""Where a command may write: not over what it reads, not twice into one file, not among the strips of a data set.

In:   what a command reads and what it writes, by the words of its command line.
Out:  nothing, or an OutputError. Links are followed, hard links too. --force does not help: it is for what earlier runs have written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from .dataset import dataset_of_part
from .errors import OutputError


def refuse_harmful_outputs(outputs: Sequence[tuple[str, Path]], inputs: Iterable[Path], *, replaced: Iterable[Path] = ()) -> None:
    """Refuse outputs that would destroy an input, another output or a data set.

    Args:
        outputs: Such as ("--out", its path): files, or folders that files are put into.
        inputs: Files and folders that are read.
        replaced: Those of the outputs that are folders and go as a whole before they are written anew.

    Raises:
        OutputError: Says which, and where to write instead.
    """
    inputs = tuple(inputs)
    for word, output in outputs:
        for read in inputs:
            if not read.is_dir() and _same(output, read):
                raise OutputError(
                    f"{word} {output}: is {read}, which this command reads",
                    why="it would be gone, and --force is for what an earlier run has written",
                    fix=f"name another file, such as {_beside(output)}",
                )
        if (root := dataset_of_part(output)) is not None:
            raise OutputError(
                f"{word} {output}: lies among the strips of the data set {root}",
                why="what is written there would be taken for strips or masks",
                fix="write it outside of the data set, or beside its train and test folders",
            )
    for folder in replaced:
        for read in inputs:
            if read.resolve().is_relative_to(folder.resolve()):
                raise OutputError(
                    f"{folder}: holds {read}, which this command reads",
                    why="the folder is written anew, and what it held is gone",
                    fix="name another folder",
                )
    for (word, output), (other_word, other) in combinations(outputs, 2):
        if not output.is_dir() and _same(output, other):
            raise OutputError(f"{word} and {other_word} are both {output}", why="the second would replace the first", fix="name two files")


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one file; the second may not be there yet."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)  # Path.resolve fails on a link in a circle


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}.new{path.suffix}")
