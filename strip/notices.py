"""What is noticed about files that are read all the same, and what is not to be let pass.

In:   `notice`, from whoever reads a file; `saw_strip`, for each strip.
Out:  `Notices`: one line per kind, with the first file and how many more, for the one who asked with `collecting`. Nobody asked: the log
      "lineside" gets every notice as a warning.
A collector is the context's own (contextvars): threads do not share it, and one inside another hands on what it has heard.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from .errors import StripError

log = logging.getLogger("lineside")

SAME_REFERENCES = "both references are the same picture in every strip: one of them adds nothing"


@dataclass(kw_only=True)
class Notices:
    """What was noticed so far.

    Attributes:
        strict: A notice is an error.
        allow_lossy: Read pictures whose compression has changed what is compared.
    """

    strict: bool = False
    allow_lossy: bool = False
    _files: dict[str, dict[Path, None]] = field(default_factory=dict)
    _strips: set[Path] = field(default_factory=set)
    _distinct: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """What was noticed, without the files."""
        return tuple(self._files)

    def lines(self) -> tuple[str, ...]:
        """One line per kind, in the order in which they came up."""
        same = (f"{SAME_REFERENCES} ({len(self._strips)} strips)",) if len(self._strips) > 1 and not self._distinct else ()
        return (*(_line(what, tuple(files)) for what, files in self._files.items()), *same)

    def refuse(self) -> None:
        """Raises: StripError, when these are strict and something is wrong with all strips together."""
        if self.strict and (lines := self.lines()):
            raise StripError(lines[-1], why="--strict makes an error of it", fix="mend the files, or leave --strict out")


_collector: ContextVar[Notices | None] = ContextVar("notices", default=None)


@contextlib.contextmanager
def collecting(*, strict: bool | None = None, allow_lossy: bool | None = None) -> Iterator[Notices]:
    """Collect what is noticed in the block. None: as the collector around this one has it; without one False."""
    around = _collector.get()
    found = Notices(
        strict=strict if strict is not None else around is not None and around.strict,
        allow_lossy=allow_lossy if allow_lossy is not None else around is not None and around.allow_lossy,
    )
    token = _collector.set(found)
    try:
        yield found
    finally:
        _collector.reset(token)
        if around is not None:
            for what, files in found._files.items():
                around._files.setdefault(what, {}).update(files)
            around._strips |= found._strips
            around._distinct |= found._distinct


def lines_so_far() -> tuple[str, ...]:
    """What was noticed in the block around this call, as `Notices.lines`; nothing without one."""
    collector = _collector.get()
    return () if collector is None else collector.lines()


def notice(path: Path, what: str) -> None:
    """Something about the file `path` that its reader should know; `what` is the same text for every file of its kind.

    Raises:
        StripError: Notices are strict here.
    """
    collector = _collector.get()
    if collector is None:
        log.warning("%s: %s", path, what)
        return
    if collector.strict:
        raise StripError(f"{path}: {what}", why="--strict makes an error of it", fix="mend the file, or leave --strict out")
    collector._files.setdefault(what, {})[path] = None


def saw_strip(path: Path, *, distinct: bool) -> None:
    """The strip `path` was read; `distinct`: its references are two pictures."""
    collector = _collector.get()
    if collector is not None:
        collector._strips.add(path)
        collector._distinct |= distinct


def lossy_allowed() -> bool:
    """Whether pictures may be read whose compression has changed what is compared."""
    collector = _collector.get()
    return collector is not None and collector.allow_lossy


def _line(what: str, files: tuple[Path, ...]) -> str:
    more = "" if len(files) == 1 else f", and {len(files) - 1} more"
    return f"{what}: {files[0]}{more}"
