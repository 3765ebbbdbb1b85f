"""How fast models are on this machine, measured against each other.

In:   model files, axes and `BenchOptions`.
Out:  `Measurement`: a row per case, with everything that was measured of it and the environment.
Every case is opened first, so that what cannot run is said before anything is measured; its answers to different inputs are compared; its
cold start is measured in a process of its own, an engine's memory while nothing else is loaded. Then all run in one interleaved
measurement (`latency`), engines beside their own stages on the GPU's clock (`engine_stages`), and are loaded anew a few times during it;
where asked, once more paced, and for minutes (`soak`). Where the machine counts energy, each runs alone for a few seconds more (`power`).
Where asked, the machine's peak is measured at the end, while it is as warm as the models had it (`bench_roofline`).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from lineside._optional import require
from lineside.benchmarks.measure.engine_stages import EngineMemory, OnDevice, memory_of, open_on_gpu
from lineside.benchmarks.measure.environment import environment
from lineside.benchmarks.measure.latency import Backend, Row, measure_loads
from lineside.benchmarks.measure.throttle import ThrottleWatch
from lineside.benchmarks.measure.yardstick import Yardstick
from lineside.benchmarks.subjects.any_onnx import refuse_unused_shapes
from lineside.benchmarks.subjects.cases import Axes, Case, cases_of
from lineside.benchmarks.subjects.strip_files import StripFolder
from lineside.benchmarks.subjects.subjects import Subject, open_subject, possible_of
from lineside.errors import ConfigError
from lineside.judge.bootstrap import Interval
from lineside.kinds import kind_of
from lineside.manifest import sha256_of_file
from lineside.progress import Progress, silent

from .bench_options import BenchOptions
from .bench_roofline import count_cases, with_rooflines
from .cold_start import ColdStart, cold_start
from .measurement import FLAT_OUT, BenchRow, Measurement
from .power import energy_of, open_meters
from .soak import Minute, soak

LEAST_SOUND = 0.5
"""Of the rounds: where the machine held itself back for more than half of them there is no ratio."""
AGAIN = 840
"""The number of an input that lies in the memory of input 0 and holds something else: a multiple of every number of arrays that
`Rotation` has."""


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
        ConfigError: An axis that a model does not have, options that cannot be, or too few strips to read.
        StripError: A file of `strips` is no strip of a model.
        ModelError, CheckpointError, DeviceError: A model cannot run here.
        MissingPackageError: What runs it is not installed.
    """
    if options.roofline:
        require("onnx", extra="bench")
    possible = [possible_of(path, axes) for path in models]
    refuse_unused_shapes(possible, axes)
    cases, left_out = cases_of(possible, axes)
    check(cases)
    folder = _folder(options.strips, cases)
    known = _look_at(cases, folder, options, progress)
    works, uncounted = count_cases(cases, [one.about for one in known]) if options.roofline else ({}, [])
    index = AGAIN + 1
    with ThrottleWatch() as watch:
        watched = watch.tells
        runs = {
            mode: measure_loads(
                lambda: _measured(cases, folder),
                options.latency(period_ms, cases=len(cases)),
                loads=options.loads,
                watch=watch.why,
                first_index=index,
            )
            for mode, period_ms in options.modes.items()
        }
        joules, minutes = _alone_and_long(cases, folder, options, watch, index, progress)
    rows = tuple(row for mode, run in runs.items() for row in _rows(known, mode, run, joules))
    rows, peaks = with_rooflines(rows, works, progress)
    return Measurement(
        rows=rows,
        yardsticks={mode: run[-1].samples_ms for mode, run in runs.items()},
        minutes=minutes,
        left_out=(*left_out, *uncounted),
        watched=watched,
        command=shlex.join(["lineside", "bench", *map(str, models), *axes.words(), *options.words()]),
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=environment(),
        peaks=peaks,
    )


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What is known of a case before it is measured; `memory` is an engine's on its GPU."""

    case: Case
    about: Mapping[str, Any]
    doubt: str
    file: Mapping[str, Any]
    start: ColdStart | None
    memory: EngineMemory | None

    @property
    def on_gpu(self) -> str:
        """The name of its engine's stages on the GPU's clock: the same with a graph and without."""
        return _on_gpu(self.case)


def _on_gpu(case: Case) -> str:
    return f"{case.path}, batch {case.batch}, on the GPU"


def _folder(path: Path | None, cases: Sequence[Case]) -> StripFolder | None:
    """Where strips are read. Raises: ConfigError, StripError."""
    if path is None:
        return None
    for case in cases:
        if case.shapes is not None:
            raise ConfigError(
                f"--strips with {case.name}",
                why=f"{case.runner} runs it as a bare graph, which takes arrays and no strips",
                fix="leave --strips out, or name models of strips: ours, by the runner inspector, and checkpoints",
            )
    return StripFolder.find(path)


def _look_at(cases: Sequence[Case], folder: StripFolder | None, options: BenchOptions, progress: Progress) -> list[_Known]:
    """Open every case, and see what it is and that it runs."""
    files = {path: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)} for path in {case.path for case in cases}}
    with _opened(cases, folder, progress) as subjects:
        abouts, doubts = [subject.about for subject in subjects], [doubt_of(subject) for subject in subjects]
        for subject in subjects if folder is not None else ():
            subject.run(0)  # a model of bytes takes no file of float32
    memories = {_on_gpu(case): memory_of(case.path, case.batch) for case in cases if _is_engine(case)}
    starts = [cold_start(case) if options.cold else None for case in progress(cases, total=len(cases), what="cold starts")]
    return [
        _Known(case=case, about=about, doubt=doubt, file=files[case.path], start=start, memory=memories.get(_on_gpu(case)))
        for case, about, doubt, start in zip(cases, abouts, doubts, starts, strict=True)
    ]


def _is_engine(case: Case) -> bool:
    return kind_of(case.path) == "engine"


def _rows(known: Sequence[_Known], mode: str, run: Sequence[Row], joules: Sequence[Mapping[str, float]]) -> Iterator[BenchRow]:
    """The rows of a measurement that had the cases, then their engines' stages on the GPU, then the yardstick."""
    cases = [one.case for one in known]
    stages = {row.name: row.stages_ms for row in run[len(cases) :]}
    ratios = _compared(cases, run[: len(cases)], [one.doubt for one in known])
    for position, (one, ratio) in enumerate(zip(known, ratios, strict=True)):
        yield BenchRow(
            case=one.case,
            mode=mode,
            row=run[position],
            ratio=ratio,
            reference=cases[reference_of(cases, position)].name,
            doubt=one.doubt,
            about=one.about,
            start=one.start,
            file=one.file,
            joules=joules[position] if mode == FLAT_OUT else {},
            device=OnDevice(stages_ms=stages[one.on_gpu], memory=one.memory) if one.memory is not None else None,
        )


@contextmanager
def _opened(cases: Sequence[Case], folder: StripFolder | None, progress: Progress = silent) -> Iterator[list[Subject]]:
    with ExitStack() as stack:
        yield [stack.enter_context(open_subject(case, folder)) for case in progress(cases, total=len(cases), what="opening")]


@contextmanager
def _measured(cases: Sequence[Case], folder: StripFolder | None) -> Iterator[list[Backend]]:
    engines = {_on_gpu(case): case for case in cases if _is_engine(case)}
    with _opened(cases, folder) as subjects, ExitStack() as stack:
        stages = [stack.enter_context(open_on_gpu(case.path, case.batch, name=name)) for name, case in engines.items()]
        yield [*subjects, *stages, Yardstick()]


def _alone_and_long(
    cases: Sequence[Case], folder: StripFolder | None, options: BenchOptions, watch: ThrottleWatch, index: int, progress: Progress
) -> tuple[list[Mapping[str, float]], tuple[Minute, ...]]:
    """Joules of each case, where the machine counts them, and the soak, where it was asked for."""
    with ExitStack() as stack:
        meters = stack.enter_context(open_meters())
        if not meters and options.soak_minutes is None:
            return [{} for _ in cases], ()
        subjects = stack.enter_context(_opened(cases, folder))
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
