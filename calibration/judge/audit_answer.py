"""The answer of an audit: what a table of ranges does to every tensor and to the scores, and whether that is fit.

In:   what `audit` measured.
Out:  `Audit`, with its `faults`: none means fit. Nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lineside.calibration.ranges.ranges import DEFAULT_METHOD
from lineside.calibration.ranges.table import RangesTable

from .clipping import Reach

SCHEMA = 1
LEAST_DEFECTIVE = 0.25
"""Share of the patches of a table that have to carry defects; `calibrate` puts them on half."""
MOST_LOST = 0.05
MOST_OUTSIDE = 0.01
MOST_MOVED = 1.5
"""Times the range. Of the largest of a few values, as in the deepest layers, chance alone makes as much (brick, 4000 steps: 1.8); a fault
it is when it costs something."""
NOTICED = 0.01
"""Share of the response to defects that a range which moves cuts off."""
MOST_WIDE = 4.0
"""Times another seed's range: two of the eight bits are then spent on values that hardly come."""
MOST_FLIPPED = 0.02


@dataclass(frozen=True, kw_only=True)
class TensorFit:
    """One tensor against its range.

    Attributes:
        amax: The range.
        good, injected, defective: Its reach on good tiles, on the same ones with synthetic defects, and on labelled defects,
            None without such strips.
        lost: The share of its response to the synthetic defects that the range cuts off.
        moved: The range by another seed over this one.
        channels, dead_channels: How many it has, and how many of them held nothing but zeros.
    """

    amax: float
    good: Reach
    injected: Reach
    defective: Reach | None
    lost: float
    moved: float
    channels: int
    dead_channels: int

    @property
    def loses(self) -> bool:
        """Whether too much of its response to defects is cut off."""
        return self.lost > MOST_LOST

    @property
    def saturates(self) -> bool:
        """Whether too many values of good strips lie outside of the range."""
        return self.good.outside > MOST_OUTSIDE

    @property
    def moves(self) -> bool:
        """Whether the range depends on the choice of patches."""
        return not 1 / MOST_MOVED <= self.moved <= MOST_MOVED

    @property
    def wanders(self) -> bool:
        """Whether it does so at a cost: a part of the response is cut off, or bits are wasted."""
        return self.moved * MOST_WIDE < 1 or (self.moved > MOST_MOVED and self.lost > NOTICED)


@dataclass(frozen=True, kw_only=True)
class ScoreEffect:
    """What clipping alone does to the scores of all tiles: how many change sides of the threshold, and by how much they move."""

    tiles: int
    flipped: int
    mean_change: float
    max_change: float


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One reason why a table is unfit: what is wrong, and the tensors that show it."""

    what: str
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The answer. `same_images` is False for a data set that the table was not made on."""

    model: str
    dataset: str
    table: RangesTable
    same_images: bool
    tiles: Mapping[str, int]
    tensors: Mapping[str, TensorFit]
    scores: ScoreEffect
    threshold: float

    @property
    def fit(self) -> bool:
        """Whether the table may be used for this data."""
        return not self.faults

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All reasons why not, the plainest first."""
        return (*_faults_of_patches(self.table), *_faults_of_tensors(self.tensors), *_faults_of_scores(self.scores))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is no fault, and is good to know."""
        moving = [name for name, tensor in self.tensors.items() if tensor.moves and not tensor.wanders]
        if not moving:
            return ()
        return (f"another seed moves the range by more than a factor of {MOST_MOVED:g}, at no cost worth naming: {', '.join(moving)}",)

    @property
    def fix(self) -> str:
        """The command that makes a better table."""
        table = self.table
        if table.with_defects < LEAST_DEFECTIVE * len(table.patches) or not self.same_images:
            change = ""  # as the command does it by itself, on this data
        elif table.method != DEFAULT_METHOD:
            change = f" --method {DEFAULT_METHOD}"
        else:
            change = f" --patches {2 * len(table.patches)}"
        return f"lineside calibrate {self.model} {self.dataset} --out NEW.ranges.json{change}"

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {
            "schema": SCHEMA,
            "fit": self.fit,
            "faults": [asdict(fault) for fault in self.faults],
            "remarks": list(self.remarks),
            "fix": None if self.fit else self.fix,
            "model": self.model,
            "dataset": self.dataset,
            "ranges_sha256": self.table.sha256,
            "method": self.table.method,
            "patches": len(self.table.patches),
            "patches_with_defects": self.table.with_defects,
            "same_images": self.same_images,
            "tiles": dict(self.tiles),
            "threshold": self.threshold,
            "scores": asdict(self.scores),
            "tensors": {name: asdict(tensor) for name, tensor in self.tensors.items()},
        }


def _faults_of_patches(table: RangesTable) -> Iterator[Fault]:
    if table.with_defects < LEAST_DEFECTIVE * len(table.patches):
        patches = "too few patches with defects" if table.with_defects else "clean patches alone"
        yield Fault(what=f"calibrated on {patches}: {table.with_defects} of {len(table.patches)} carry defects")


def _faults_of_tensors(tensors: Mapping[str, TensorFit]) -> Iterator[Fault]:
    faults = (
        (
            f"the response to defects lies outside of the range: more than {MOST_LOST:.0%} of it is cut off",
            [name for name, tensor in tensors.items() if tensor.loses],
        ),
        (
            f"saturated on good strips: more than {MOST_OUTSIDE:.1%} of the values lie outside of the range",
            [name for name, tensor in tensors.items() if tensor.saturates],
        ),
        (
            f"the range depends on the choice of patches: another seed makes it more than {MOST_MOVED:g} times as wide, and more than "
            f"{NOTICED:.0%} of the response to defects is cut off; or it is more than {MOST_WIDE:g} times as wide as another seed's",
            [name for name, tensor in tensors.items() if tensor.wanders],
        ),
    )
    for what, names in faults:
        if names:
            yield Fault(what=what, tensors=tuple(names))


def _faults_of_scores(scores: ScoreEffect) -> Iterator[Fault]:
    if scores.flipped > MOST_FLIPPED * scores.tiles:
        yield Fault(what=f"clipping alone flips the verdict on {scores.flipped} of {scores.tiles} tiles")
