"""How fast models are on this machine, measured against each other.

In:   model files, axes and `BenchOptions`.
Out:  `Measurement`: a row per case, with everything that was measured of it and the environment.
Every case is opened first, so that what cannot run is said before anything is measured; its answers to different inputs are compared; its
cold start is measured in a process of its own. Then all run in one interleaved measurement (`latency`) and are loaded anew a few times
during it; where asked, once more paced, and for minutes (`soak`). Where the machine counts energy, each runs alone for a few seconds more
(`power`).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from lineside.bootstrap import Interval
from lineside.errors import ConfigError
from lineside.manifest import sha256_of_file
from lineside.progress import Progress, silent

from .any_onnx import refuse_unused_shapes
from .axes import Axes, Case, cases_of
from .cold_start import ColdStart, cold_start
from .environment import environment
from .latency import Backend, LatencyOptions, Row, measure_loads
from .power import energy_of, open_meters
from .soak import Minute, soak
from .subjects import Subject, open_subject, possible_of
from .throttle import ThrottleWatch
from .yardstick import Yardstick

SCHEMA = 1
FLAT_OUT, PACED = "flat out", "paced"
LEAST_SOUND = 0.5
"""Of the rounds: where the machine held itself back for more than half of them there is no ratio."""
AGAIN = 840
"""The number of an input that lies in the memory of input 0 and holds something else: a multiple of every number of arrays that
`Rotation` has."""


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What to measure, and how long.

    Attributes:
        seconds: Of the interleaved measurement, for all cases together.
        warm_up_seconds: The most for one load of a case to settle; None: all warm-ups together take no longer than the measurement.
        paced_ms: Measure once more, one call every so many milliseconds.
        soak_minutes: Measure for so many minutes more.
        loads: How often every model is loaded anew during a measurement; an interval within one load knows nothing of the next.
        cold: Whether to measure load time and memory in processes of their own.
        seed: Of the order of the cases in a round.
    """

    seconds: float = 30.0
    warm_up_seconds: float | None = None
    paced_ms: float | None = None
    soak_minutes: float | None = None
    loads: int = 5
    cold: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loads < 1:
            raise ConfigError(f"{self.loads} loads", why="what is measured is loaded", fix="use 1 or more")
        self.latency(None)
        if self.paced_ms is not None:
            self.latency(self.paced_ms)
        if self.soak_minutes is not None and not self.soak_minutes > 0:
            raise ConfigError(f"a soak of {self.soak_minutes} minutes", why="it takes time", fix="use a number above 0, or leave it out")

    def words(self) -> list[str]:
        """As the command line spells them."""
        words = ["--seconds", f"{self.seconds:g}"]
        words += ["--paced", f"{self.paced_ms:g}"] if self.paced_ms is not None else []
        words += ["--loads", str(self.loads)]
        words += ["--soak", f"{self.soak_minutes:g}"] if self.soak_minutes is not None else []
        return words if self.cold else [*words, "--no-cold-start"]

    @property
    def modes(self) -> dict[str, float | None]:
        """The interleaved measurements, with their periods."""
        return {FLAT_OUT: None} if self.paced_ms is None else {FLAT_OUT: None, PACED: self.paced_ms}

    def latency(self, period_ms: float | None, *, cases: int = 1) -> LatencyOptions:
        """Of one of the interleaved measurements of so many cases."""
        warm_up_seconds = self.seconds / (cases * self.loads) if self.warm_up_seconds is None else self.warm_up_seconds
        return LatencyOptions(seconds=self.seconds, warm_up_seconds=warm_up_seconds, period_ms=period_ms, seed=self.seed)


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
    """

    rows: tuple[BenchRow, ...]
    yardsticks: Mapping[str, Sequence[float]]
    minutes: tuple[Minute, ...]
    left_out: tuple[str, ...]
    watched: tuple[str, ...]
    command: str
    when: str
    environment: Mapping[str, Any] = field(repr=False)

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
            "rows": [{**row.to_json(), "environment": dict(self.environment)} for row in self.rows],
        }


def bench(
    models: Sequence[Path],
    axes: Axes = Axes(),
    options: BenchOptions = BenchOptions(),
    *,
    check: Callable[[Sequence[Case]], object] = len,
    progress: Progress = silent,
) -> Measurement:
    """Measure models against each other.

    Args:
        models: Files; the first is what the others are compared with.
        axes: Ways to run them.
        options: What to measure, and how long.
        check: Called with the cases before anything is measured; may raise.
        progress: Told of what takes long.

    Raises:
        ConfigError: An axis that a model does not have, or options that cannot be.
        ModelError, CheckpointError, DeviceError: A model cannot run here.
        MissingPackageError: What runs it is not installed.
    """
    possible = [possible_of(path, axes) for path in models]
    refuse_unused_shapes(possible, axes)
    cases, left_out = cases_of(possible, axes)
    check(cases)
    files = {path: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)} for path in {case.path for case in cases}}
    with _opened(cases, progress) as subjects:
        abouts, doubts = [subject.about for subject in subjects], [doubt_of(subject) for subject in subjects]
    starts = [cold_start(case) if options.cold else None for case in progress(cases, total=len(cases), what="cold starts")]
    runs, index = {}, AGAIN + 1
    with ThrottleWatch() as watch:
        watched = watch.tells
        for mode, period_ms in options.modes.items():
            latency = options.latency(period_ms, cases=len(cases))
            runs[mode] = measure_loads(lambda: _with_yardstick(cases), latency, loads=options.loads, watch=watch.why, first_index=index)
        joules, minutes = _alone_and_long(cases, options, watch, index, progress)
    rows = [
        BenchRow(
            case=case,
            mode=mode,
            row=run[position],
            ratio=ratio,
            reference=cases[reference_of(cases, position)].name,
            doubt=doubts[position],
            about=abouts[position],
            start=starts[position],
            file=files[case.path],
            joules=joules[position] if mode == FLAT_OUT else {},
        )
        for mode, run in runs.items()
        for position, (case, ratio) in enumerate(zip(cases, _compared(cases, run[:-1], doubts), strict=True))
    ]
    return Measurement(
        rows=tuple(rows),
        yardsticks={mode: run[-1].samples_ms for mode, run in runs.items()},
        minutes=minutes,
        left_out=tuple(left_out),
        watched=watched,
        command=shlex.join(["lineside", "bench", *map(str, models), *axes.words(), *options.words()]),
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=environment(),
    )


@contextmanager
def _opened(cases: Sequence[Case], progress: Progress = silent) -> Iterator[list[Subject]]:
    with ExitStack() as stack:
        yield [stack.enter_context(open_subject(case)) for case in progress(cases, total=len(cases), what="opening")]


@contextmanager
def _with_yardstick(cases: Sequence[Case]) -> Iterator[list[Backend]]:
    with _opened(cases) as subjects:
        yield [*subjects, Yardstick()]


def _alone_and_long(
    cases: Sequence[Case], options: BenchOptions, watch: ThrottleWatch, index: int, progress: Progress
) -> tuple[list[Mapping[str, float]], tuple[Minute, ...]]:
    """Joules of each case, where the machine counts them, and the soak, where it was asked for."""
    with ExitStack() as stack:
        meters = stack.enter_context(open_meters())
        if not meters and options.soak_minutes is None:
            return [{} for _ in cases], ()
        subjects = stack.enter_context(_opened(cases))
        joules: list[Mapping[str, float]] = [energy_of(subject, meters, first_index=index) if meters else {} for subject in subjects]
        if options.soak_minutes is None:
            return joules, ()
        latency = options.latency(options.paced_ms)
        return joules, soak(subjects, options.soak_minutes, latency, watch=watch.why, first_index=index, progress=progress)


def doubt_of(subject: Subject) -> str:
    """Why a subject's times are not to be trusted: it answers different inputs alike. Empty when it does not."""
    first, other, again = (subject.answer(index).copy() for index in (0, 1, AGAIN))
    if np.array_equal(first, other):
        return "the same answer to different inputs: kept, or it does not look at them"
    if np.array_equal(first, again):
        return "the same answer when an array holds something new: kept by address, or a line of the input changes nothing"
    return ""


def reference_of(cases: Sequence[Case], position: int) -> int:
    """Which case one is compared with: the first model's with the same axes, else the first of all."""
    case, first = cases[position], cases[0]
    if case.model == first.model:
        return 0
    alike = [index for index, other in enumerate(cases) if other.model == first.model and other.axes[1:] == case.axes[1:]]
    return next((index for index in alike if cases[index].runner == case.runner), alike[0] if alike else 0)


def _compared(cases: Sequence[Case], rows: Sequence[Row], doubts: Sequence[str]) -> list[Interval | None]:
    """The ratio of each case to its reference, for one item."""
    found: list[Interval | None] = []
    for position, (case, row) in enumerate(zip(cases, rows, strict=True)):
        reference = reference_of(cases, position)
        sound = len(row.sound_rounds(rows[reference])) >= LEAST_SOUND * row.total_ms.n
        if doubts[position] or doubts[reference] or not sound:
            found.append(None)
            continue
        ratio, items = row.over(rows[reference]), cases[reference].batch / case.batch
        found.append(Interval(value=ratio.value * items, low=ratio.low * items, high=ratio.high * items, confidence=ratio.confidence))
    return found
