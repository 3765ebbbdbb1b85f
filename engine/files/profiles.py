"""How many strips an engine takes at once.

In:   "1" (one size), "1,4,8" (a profile for each), "1:8" (a range, fastest at 8) or "1:4:8" (fastest at 4).
Out:  `BatchProfiles`, one `Profile` per optimisation profile of TensorRT, in that order; and which of them a batch needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lineside.errors import ConfigError

_ONE = r"\d{1,5}(:\d{1,5}){0,2}"
LARGEST = 1024
"""Strips of one run: more than any line sends, and a limit to typing errors."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The batches of one optimisation profile: from `min` to `max`, fastest at `opt`."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max <= LARGEST:
            raise ConfigError(
                f"batch {self.min}:{self.opt}:{self.max}", why=f"1 <= min <= opt <= max <= {LARGEST}", fix="use such as 1:4:8"
            )

    def __str__(self) -> str:
        if self.min == self.max:
            return str(self.max)
        return f"{self.min}:{self.max}" if self.opt == self.max else f"{self.min}:{self.opt}:{self.max}"


@dataclass(frozen=True)
class BatchProfiles:
    """The optimisation profiles of an engine, in TensorRT's order."""

    profiles: tuple[Profile, ...]

    def __post_init__(self) -> None:
        if not self.profiles:
            raise ConfigError("no batch", why="an engine has one profile at least", fix="use --batch 1")

    @classmethod
    def parse(cls, text: str) -> BatchProfiles:
        """The profiles that `text` means; `str` gives it back.

        Raises:
            ConfigError: It is none of the forms above.
        """
        if not re.fullmatch(rf"{_ONE}(,{_ONE})*", text):
            raise ConfigError(f"batch {text!r}", why="it is a size, a list or a range", fix="use 1, or 1,4,8, or 1:8, or 1:4:8")
        return cls(tuple(dict.fromkeys(_profile(part) for part in text.split(","))))

    @property
    def largest(self) -> int:
        """The most strips that go in at once."""
        return max(profile.max for profile in self.profiles)

    @property
    def smallest(self) -> int:
        """The fewest strips that go in at once."""
        return min(profile.min for profile in self.profiles)

    @property
    def corners(self) -> tuple[int, ...]:
        """The batches worth testing: the ends of every profile, and where it is fastest; rising."""
        return tuple(sorted({rows for one in self.profiles for rows in (one.min, one.opt, one.max)}))

    def padded(self, rows: int) -> int:
        """The smallest batch that holds `rows` strips; `rows` itself when none does."""
        return min((max(rows, profile.min) for profile in self.profiles if rows <= profile.max), default=rows)

    def index_for(self, rows: int) -> int | None:
        """The profile for a batch of `rows`: the one that holds it and is fastest nearest to it; None when none holds it."""
        holding = [index for index, profile in enumerate(self.profiles) if profile.min <= rows <= profile.max]
        return min(holding, key=lambda index: abs(self.profiles[index].opt - rows), default=None)

    def __str__(self) -> str:
        return ",".join(str(profile) for profile in self.profiles)


def _profile(text: str) -> Profile:
    sizes = [int(part) for part in text.split(":")]
    return Profile(min=sizes[0], opt=sizes[-2] if len(sizes) == 3 else sizes[-1], max=sizes[-1])
