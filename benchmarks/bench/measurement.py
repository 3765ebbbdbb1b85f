"""What was measured of models: rows, where, when and how; and the JSON of it, which is what a baseline is.

In:   what `bench` has measured.
Out:  `BenchRow`, `Measurement`, and their JSON values of schema 1. What is new in a later version only adds to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lineside.benchmarks.measure.engine_stages import OnDevice
from lineside.benchmarks.measure.latency import Row
from lineside.benchmarks.roofline.peak import Peak
from lineside.benchmarks.roofline.roofline import Placed
from lineside.benchmarks.subjects.cases import Case
from lineside.judge.bootstrap import Interval

from .cold_start import ColdStart
from .soak import Minute

SCHEMA = 1
FLAT_OUT, PACED = "flat out", "paced"


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """What was measured of one case in one mode.

    Attributes:
        case: Which one.
        mode: "flat out" or "paced".
        row: Latency of one call.
        ratio: How many times as long an item takes as one of `reference`; None where that cannot be said.
        reference: The name of the case that it is compared with: the first model with the same axes, by the same runner where it can; of
            the first model, its first case.
        doubt: Why the row is not to be trusted; empty when nothing was found.
        about: What really ran it.
        start: Cold start; None when it was not measured.
        file: Size and sha256 of the model.
        joules: Of one item, by meter; empty where the machine has none, and for paced rows.
        device: Of an engine: its stages on the GPU's clock, and its memory there.
        placed: Where it lies under the machine's roofline; None where that was not asked for, or cannot be said.
    """

    case: Case
    mode: str
    row: Row
    ratio: Interval | None
    reference: str
    doubt: str
    about: Mapping[str, Any]
    start: ColdStart | None
    file: Mapping[str, Any]
    joules: Mapping[str, float] = field(default_factory=dict)
    device: OnDevice | None = None
    placed: Placed | None = None

    @property
    def title(self) -> str:
        """The case, and the mode where it is not the usual one."""
        return self.case.name if self.mode == FLAT_OUT else f"{self.case.name}, {self.mode}"

    @property
    def is_compared(self) -> bool:
        """Whether it has a reference other than itself."""
        return self.case.name != self.reference

    @property
    def item_ms(self) -> float:
        """Median time of one strip, or one row of the batch."""
        return self.row.total_ms.p50 / self.case.batch

    @property
    def items_per_second(self) -> float:
        """Throughput of one caller: what it really got through, pauses left out."""
        return self.row.calls_per_second * self.case.batch

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        manifest = self.about.get("manifest") or {}
        return {
            **self.case.to_json(),
            "mode": self.mode,
            **{name: manifest.get(name) for name in ("precision", "tiling", "io")},
            "latency": self.row.to_json(),
            "item_ms": self.item_ms,
            "items_per_second": self.items_per_second,
            "ratio": {**self.ratio.to_json(), "to": self.reference} if self.ratio else None,
            "doubt": self.doubt,
            "cold_start": {**asdict(self.start), "total_ms": self.start.total_ms} if self.start else None,
            "file": dict(self.file),
            "joules_per_item": dict(self.joules),
            "device": self.device.to_json() if self.device else None,
            "roofline": self.placed.to_json() if self.placed else None,
            "about": dict(self.about),
        }


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured, where and when.

    Attributes:
        rows: A row per case and mode.
        yardsticks: Milliseconds of the yardstick in each round, by mode.
        minutes: Of the soak.
        left_out: What a model cannot do, in words.
        watched: What this machine says when it holds itself back.
        command: Measures it again.
        when: UTC.
        environment: The machine.
        peaks: What the machine reaches at best, for every number of threads; empty when that was not asked for.
    """

    rows: tuple[BenchRow, ...]
    yardsticks: Mapping[str, Sequence[float]]
    minutes: tuple[Minute, ...]
    left_out: tuple[str, ...]
    watched: tuple[str, ...]
    command: str
    when: str
    environment: Mapping[str, Any] = field(repr=False)
    peaks: tuple[Peak, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values. Every row carries the environment, so that it can be taken out and put beside another one's."""
        return {
            "schema": SCHEMA,
            "command": self.command,
            "when": self.when,
            "left_out": list(self.left_out),
            "watched": list(self.watched),
            "yardstick_ms": {mode: list(samples_ms) for mode, samples_ms in self.yardsticks.items()},
            "soak": [minute.to_json() for minute in self.minutes],
            "peaks": [peak.to_json() for peak in self.peaks],
            "rows": [{**row.to_json(), "environment": dict(self.environment)} for row in self.rows],
        }
