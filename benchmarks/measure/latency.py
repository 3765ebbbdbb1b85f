"""Measure how long backends take, so that they can be compared.

In:   backends: a name and `run(index)`, which does one call on input number `index` and may say how long its stages took.
Out:  one `Row` per backend: percentiles of the whole call and of each stage, and every sample.
All backends run in every round, in an order that changes from round to round, on the same input: clocks that drift, a neighbour that
wakes up and the caches that the one before leaves behind hit all alike. Host time by `perf_counter_ns`; nothing is left out.
No backend has been given the input of a round before: the numbers go on where the warm-up ended.
Before each call there is a short rest, because the threads of the runtime that ran before go on looking for work for some milliseconds,
and take the cores of the next one: on two cores a MobileNet beside another runtime seemed more than twice as slow. What is quicker than
that rest is then called once off the clock, so that its own threads are as awake as they are without others.
With a period there is one call per tick and idle time between them, as on a line: clocks fall while nothing is to be done.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from time import perf_counter_ns, sleep
from typing import Any, NamedTuple, Protocol

import numpy as np

from lineside.errors import ConfigError
from lineside.judge.bootstrap import Interval

from .stats import Percentiles, median_ratio

WINDOW = 5
"""Calls of one warm-up window. Its median ignores two outliers."""
REST_S = 0.02
"""Longer than the threads of ONNX Runtime and of OpenMP look for work before they sleep."""
SETTLED = 0.05
"""A backend is warm when the medians of two windows in a row differ by no more than this."""
_NS_PER_S = 1e9
_MS_PER_S = 1e3
_NS_PER_MS = 1e6


class Backend(Protocol):
    """Something to measure."""

    @property
    def name(self) -> str:
        """Unique in a measurement."""
        ...

    def run(self, index: int) -> Mapping[str, int] | None:
        """One call.

        Args:
            index: Which input; grows without end, so a backend takes it modulo its inputs.

        Returns:
            Nanoseconds of the stages inside the call, always the same ones; None when there are none to tell.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LatencyOptions:
    """How long to measure.

    Attributes:
        seconds: Stop after the round in which this time is over; None: no bound.
        rounds: Stop after so many; None: no bound.
        warm_up_seconds: The most for one backend to settle.
        period_ms: From the start of one call to the start of the next; None: without pauses.
        seed: Of the order of the backends.
    """

    seconds: float | None = 10.0
    rounds: int | None = None
    warm_up_seconds: float = 10.0
    period_ms: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.seconds, self.rounds) if bound is not None]
        if not bounds or not all(bound > 0 for bound in bounds):
            raise ConfigError(
                f"measuring for {self.seconds} seconds, {self.rounds} rounds", why="a measurement ends", fix="give one of them, above 0"
            )
        if not self.warm_up_seconds >= 0:
            raise ConfigError(f"{self.warm_up_seconds} seconds of warm-up", why="time does not run backwards", fix="use 0 or more")
        if self.period_ms is not None and not 0 < self.period_ms < math.inf:
            raise ConfigError(f"a call every {self.period_ms} ms", why="that is no time between two calls", fix="use a number above 0")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one backend.

    Attributes:
        name: The backend's.
        total_ms: The whole call, as its caller sees it.
        stages_ms: The stages that the backend told of.
        samples_ms: Every call in the order of the rounds: sample i of all rows is of the same round.
        warm_up_calls: Calls before the first round, of all loads.
        settled: Whether every warm-up found stable times before its bound.
        loads: The rounds before which the backends were loaded anew; the first is 0.
        overrun: Calls that took longer than the period; None without one.
        throttled: Rounds in which the machine held itself back during this call -> why.
    """

    name: str
    total_ms: Percentiles
    stages_ms: Mapping[str, Percentiles]
    samples_ms: tuple[float, ...]
    warm_up_calls: int
    settled: bool
    loads: tuple[int, ...] = (0,)
    overrun: int | None = None
    throttled: Mapping[int, str] = field(default_factory=dict)

    @property
    def calls_per_second(self) -> float:
        """Throughput of one caller without pauses."""
        return _MS_PER_S / self.total_ms.mean

    def sound_rounds(self, other: Row) -> list[int]:
        """The rounds in which the machine held itself back for neither of the two."""
        return [index for index in range(len(self.samples_ms)) if index not in self.throttled and index not in other.throttled]

    def over(self, other: Row) -> Interval:
        """How many times as long as the other this one takes: the median over the sound rounds. Both are of one measurement.

        Raises:
            ConfigError: There is no sound round.
        """
        rounds = self.sound_rounds(other)
        mine, others = ([row.samples_ms[index] for index in rounds] for row in (self, other))
        return median_ratio(mine, others, loads=np.searchsorted(self.loads, rounds, side="right"))

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        throttled = {"rounds": list(self.throttled), "why": dict(Counter(self.throttled.values()))}
        return {**asdict(self), "throttled": throttled, "calls_per_second": self.calls_per_second}


def nothing_known() -> str:
    """The watch of a machine that does not say when it holds itself back."""
    return ""


def measure(
    backends: Sequence[Backend],
    options: LatencyOptions = LatencyOptions(),
    *,
    watch: Callable[[], str] = nothing_known,
    first_index: int = 0,
) -> tuple[Row, ...]:
    """Measure backends against each other.

    Args:
        backends: What to measure.
        options: How long.
        watch: Asked after every call, off the clock: why the machine held itself back since it was asked last; empty when it did not.
        first_index: The number of the first input, for what follows an earlier measurement.

    Returns:
        A row per backend, in their order.

    Raises:
        ConfigError: No backend, or two of one name.
    """
    return measure_loads(lambda: nullcontext(backends), options, loads=1, watch=watch, first_index=first_index)


def measure_loads(
    open_backends: Callable[[], AbstractContextManager[Sequence[Backend]]],
    options: LatencyOptions,
    *,
    loads: int,
    watch: Callable[[], str] = nothing_known,
    first_index: int = 0,
) -> tuple[Row, ...]:
    """Measure backends against each other, and load all of them anew several times.

    Where a model and its buffers come to lie in memory makes one load of it faster than the next: two loads of one file of 1 ms differ by
    up to 10 %, and stay different as long as they live. An interval over the rounds of one load knows nothing of that.

    Args:
        open_backends: Loads the backends, each time the same ones in the same order.
        options: How long, all loads together.
        loads: How often.
        watch, first_index: As in `measure`.

    Returns:
        A row per backend.

    Raises:
        ConfigError: No backend, two of one name, or less than one load.
    """
    if loads < 1:
        raise ConfigError(f"{loads} loads", why="what is measured is loaded", fix="use 1 or more")
    seconds = None if options.seconds is None else options.seconds / loads
    rounds = None if options.rounds is None else -(-options.rounds // loads)
    one = replace(options, seconds=seconds, rounds=rounds)
    shuffle = random.Random(options.seed).shuffle
    calls: list[_Calls] = []
    for _ in range(loads):
        with open_backends() as backends:
            calls = calls or [_Calls(name) for name in _names(backends)]
            first_index = _measure_load(backends, calls, one, shuffle, watch, first_index)
    return tuple(found.row(options.period_ms) for found in calls)


def _measure_load(
    backends: Sequence[Backend],
    calls: Sequence[_Calls],
    options: LatencyOptions,
    shuffle: Callable[[list[int]], None],
    watch: Callable[[], str],
    first_index: int,
) -> int:
    """Warm up, and add rounds to `calls`; the number of the next input."""
    for backend, found in zip(backends, calls, strict=True):
        found.loads.append(len(found.totals_ns))
        found.warm_ups.append(_warm_up(backend, options.warm_up_seconds, first_index))
    rest = _Rest.between(calls) if options.period_ms is None else _Rest()
    first_index += max(found.warm_ups[-1].calls for found in calls)
    order = list(range(len(backends)))
    watch()
    begin, rounds = perf_counter_ns(), 0
    while not _over(options, begin, rounds):
        shuffle(order)
        for which in order:
            _wait_for_tick(options.period_ms, begin)
            rest.before(backends[which], which, first_index)
            total_ns, told = _timed(backends[which], first_index + rest.inputs)
            if reason := watch():
                calls[which].throttled[len(calls[which].totals_ns)] = reason
            calls[which].totals_ns.append(total_ns)
            calls[which].stages_ns.append(told)
        rounds, first_index = rounds + 1, first_index + rest.inputs + 1
    return first_index


def _names(backends: Sequence[Backend]) -> list[str]:
    """Raises: ConfigError, when there is none, or two have one name."""
    names = [backend.name for backend in backends]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"backends {', '.join(names) or 'none'}", why="each needs a name of its own", fix="name at least one, each once")
    return names


class _WarmUp(NamedTuple):
    """How many calls there were, the time of the last window's median (0 without one), and whether the times became stable."""

    calls: int
    median_ns: float
    settled: bool


@dataclass(frozen=True)
class _Rest:
    """What happens before a call: a pause, and a call off the clock of the backends that are `quick`."""

    seconds: float = 0.0
    quick: frozenset[int] = frozenset()

    @classmethod
    def between(cls, calls: Sequence[_Calls]) -> _Rest:
        """None for one backend: there are no threads but its own."""
        if len(calls) < 2:
            return cls()
        return cls(REST_S, frozenset(which for which, found in enumerate(calls) if 0 < found.warm_ups[-1].median_ns < REST_S * _NS_PER_S))

    @property
    def inputs(self) -> int:
        """How many inputs of a round go to calls off the clock."""
        return 1 if self.quick else 0

    def before(self, backend: Backend, which: int, index: int) -> None:
        """Let the threads of the others fall asleep, and wake this one's."""
        if self.seconds:
            sleep(self.seconds)
        if which in self.quick:
            backend.run(index)


@dataclass(frozen=True)
class _Calls:
    """What was seen of one backend."""

    name: str
    totals_ns: list[int] = field(default_factory=list)
    stages_ns: list[Mapping[str, int]] = field(default_factory=list)
    throttled: dict[int, str] = field(default_factory=dict)
    loads: list[int] = field(default_factory=list)
    warm_ups: list[_WarmUp] = field(default_factory=list)

    def row(self, period_ms: float | None) -> Row:
        samples_ms = _ms(self.totals_ns)
        return Row(
            name=self.name,
            total_ms=Percentiles.of(samples_ms),
            stages_ms={stage: Percentiles.of(_ms([call[stage] for call in self.stages_ns])) for stage in self.stages_ns[0]},
            samples_ms=tuple(samples_ms),
            loads=tuple(self.loads),
            warm_up_calls=sum(found.calls for found in self.warm_ups),
            settled=all(found.settled for found in self.warm_ups),
            overrun=None if period_ms is None else sum(sample > period_ms for sample in samples_ms),
            throttled=self.throttled,
        )


def _wait_for_tick(period_ms: float | None, begin_ns: int) -> None:
    """Sleep until the next multiple of the period; a call that overran it costs the ticks that it slept through, and no other call."""
    if period_ms is not None:
        period_ns = round(period_ms * _NS_PER_MS)
        sleep((-(perf_counter_ns() - begin_ns) % period_ns) / _NS_PER_S)


def _timed(backend: Backend, index: int) -> tuple[int, Mapping[str, int]]:
    begin = perf_counter_ns()
    stages = backend.run(index)
    return perf_counter_ns() - begin, stages or {}


def _warm_up(backend: Backend, seconds: float, first_index: int) -> _WarmUp:
    """Call until the times are stable or the time is over."""
    begin = perf_counter_ns()
    times: list[int] = []
    while perf_counter_ns() - begin < seconds * _NS_PER_S:
        times.append(_timed(backend, first_index + len(times))[0])
        if len(times) >= 2 * WINDOW:
            before, now = median(times[-2 * WINDOW : -WINDOW]), median(times[-WINDOW:])
            if abs(now - before) <= SETTLED * before:
                return _WarmUp(len(times), now, True)
    return _WarmUp(len(times), median(times[-WINDOW:]) if times else 0.0, False)


def _over(options: LatencyOptions, begin_ns: int, rounds: int) -> bool:
    """Whether the measurement ends; one round is made in any case."""
    late = options.seconds is not None and perf_counter_ns() - begin_ns >= options.seconds * _NS_PER_S
    return rounds > 0 and (late or rounds == options.rounds)


def _ms(times_ns: Sequence[int]) -> list[float]:
    return [time_ns / _NS_PER_MS for time_ns in times_ns]
