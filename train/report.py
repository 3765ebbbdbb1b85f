"""What a run of training tells: its files, every step, every epoch, and the result.

In:   nothing; plain data that the loop fills.
Out:  `RunFiles`, `StepReport`, `TrainResult`, and `Listener`, through which a caller hears while the run goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lineside.progress import Progress, silent

from .checkpoint import Checkpoint
from .curves import Row

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """The files of a run."""

    folder: Path

    @property
    def best(self) -> Path:
        """The checkpoint to use."""
        return self.folder / "best.pt"

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.folder / "last.pt"

    @property
    def metrics(self) -> Path:
        """One line per epoch."""
        return self.folder / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The same as a picture."""
        return self.folder / "curves.png"


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One step of a run. Steps and epochs count from 1; `data_ms` is how long the loop waited for its batch."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    gamma: float
    lr: float
    data_ms: float
    forward_ms: float
    backward_ms: float


class Listener(Protocol):
    """Hears how a run goes, in the first process only."""

    @property
    def progress(self) -> Progress:
        """For what comes before the first step, and for validation."""
        ...

    def on_step(self, report: StepReport) -> None:
        """A step is done."""
        ...

    def on_epoch(self, row: Row) -> None:
        """An epoch is over and its files are written."""
        ...


class Deaf:
    """The listener of a caller who wants to hear nothing; override what you do want."""

    progress: Progress = staticmethod(silent)

    def on_step(self, report: StepReport) -> None:
        """Nothing."""

    def on_epoch(self, row: Row) -> None:
        """Nothing."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A finished run: its best checkpoint, and its files."""

    best: Checkpoint
    files: RunFiles

    def to_json(self) -> dict[str, Any]:
        """What `lineside train --json` writes."""
        best = self.best
        return {
            "schema": SCHEMA,
            "best_epoch": best.epoch,
            "chosen_by": best.chosen_by,
            "metrics": dict(best.metrics),
            "threshold": best.threshold,
            "threshold_rule": best.threshold_rule,
            "weights_sha256": best.weights_sha256,
            "options": best.options.to_json(),
            "history": [dict(row) for row in best.history],
            "files": {name: str(getattr(self.files, name)) for name in ("best", "last", "metrics", "curves")},
        }
