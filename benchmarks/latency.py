"""Measure how long backends take, so that they can be compared.

In:   backends: a name and `run(index)`, which does one call on input number `index` and may say how long its stages took.
Out:  one `Row` per backend: percentiles of the whole call and of each stage, and every sample.
All backends run in every round, in an order that changes from round to round, on the same input: clocks that drift, a neighbour that
wakes up and the caches that the one before leaves behind hit all alike. Host time by `perf_counter_ns`; nothing is left out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter_ns
from typing import Any, Protocol

from lineside.bootstrap import Interval
from lineside.errors import ConfigError

from .stats import Percentiles, ratio_of_medians

WINDOW = 5
"""Calls of one warm-up window. Its median ignores two outliers."""
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
        seed: Of the order of the backends.
    """

    seconds: float | None = 10.0
    rounds: int | None = None
    warm_up_seconds: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.seconds, self.rounds) if bound is not None]
        if not bounds or not all(bound > 0 for bound in bounds):
            raise ConfigError(
                f"measuring for {self.seconds} seconds, {self.rounds} rounds", why="a measurement ends", fix="give one of them, above 0"
            )
        if not self.warm_up_seconds >= 0:
            raise ConfigError(f"{self.warm_up_seconds} seconds of warm-up", why="time does not run backwards", fix="use 0 or more")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one backend.

    Attributes:
        name: The backend's.
        total_ms: The whole call, as its caller sees it.
        stages_ms: The stages that the backend told of.
        samples_ms: Every call in the order of the rounds: sample i of all rows is of the same round.
        warm_up_calls: Calls before the first round.
        settled: Whether the warm-up found stable times before its bound.
    """

    name: str
    total_ms: Percentiles
    stages_ms: Mapping[str, Percentiles]
    samples_ms: tuple[float, ...]
    warm_up_calls: int
    settled: bool

    @property
    def calls_per_second(self) -> float:
        """Throughput of one caller without pauses."""
        return _MS_PER_S / self.total_ms.mean

    def over(self, other: Row) -> Interval:
        """How many times the other's median this one takes. Both are of one measurement."""
        return ratio_of_medians(self.samples_ms, other.samples_ms)

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {**asdict(self), "calls_per_second": self.calls_per_second}


def measure(backends: Sequence[Backend], options: LatencyOptions = LatencyOptions()) -> tuple[Row, ...]:
    """Measure backends against each other.

    Returns:
        A row per backend, in their order.

    Raises:
        ConfigError: No backend, or two of one name.
    """
    names = [backend.name for backend in backends]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"backends {', '.join(names) or 'none'}", why="each needs a name of its own", fix="name at least one, each once")
    warm = [_warm_up(backend, options.warm_up_seconds) for backend in backends]
    totals: list[list[int]] = [[] for _ in backends]
    stages: list[list[Mapping[str, int]]] = [[] for _ in backends]
    order = list(range(len(backends)))
    shuffle = random.Random(options.seed).shuffle
    begin, index = perf_counter_ns(), 0
    while not _over(options, begin, index):
        shuffle(order)
        for which in order:
            total_ns, told = _timed(backends[which], index)
            totals[which].append(total_ns)
            stages[which].append(told)
        index += 1
    return tuple(
        Row(
            name=name,
            total_ms=Percentiles.of(_ms(total_ns)),
            stages_ms={stage: Percentiles.of(_ms([call[stage] for call in told])) for stage in told[0]},
            samples_ms=tuple(_ms(total_ns)),
            warm_up_calls=calls,
            settled=settled,
        )
        for name, total_ns, told, (calls, settled) in zip(names, totals, stages, warm, strict=True)
    )


def _timed(backend: Backend, index: int) -> tuple[int, Mapping[str, int]]:
    begin = perf_counter_ns()
    stages = backend.run(index)
    return perf_counter_ns() - begin, stages or {}


def _warm_up(backend: Backend, seconds: float) -> tuple[int, bool]:
    """Call until the times are stable or the time is over; how many calls, and whether they became stable."""
    begin = perf_counter_ns()
    times: list[int] = []
    while perf_counter_ns() - begin < seconds * _NS_PER_S:
        times.append(_timed(backend, len(times))[0])
        if len(times) >= 2 * WINDOW:
            before, now = median(times[-2 * WINDOW : -WINDOW]), median(times[-WINDOW:])
            if abs(now - before) <= SETTLED * before:
                return len(times), True
    return len(times), False


def _over(options: LatencyOptions, begin_ns: int, rounds: int) -> bool:
    """Whether the measurement ends; one round is made in any case."""
    late = options.seconds is not None and perf_counter_ns() - begin_ns >= options.seconds * _NS_PER_S
    return rounds > 0 and (late or rounds == options.rounds)


def _ms(times_ns: Sequence[int]) -> list[float]:
    return [time_ns / _NS_PER_MS for time_ns in times_ns]
