from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from lineside.benchmarks.measure import latency
from lineside.benchmarks.measure.latency import WINDOW, LatencyOptions, measure, measure_loads
from lineside.errors import ConfigError


@dataclass
class Sleeper:
    """Sleeps what `sleep_ms` says for the number of the call, and remembers which inputs it was given."""

    name: str
    sleep_ms: Callable[[int], float]
    stages: tuple[str, ...] = ()
    inputs: list[int] = field(default_factory=list)

    def run(self, index: int) -> Mapping[str, int] | None:
        self.inputs.append(index)
        begin = time.perf_counter_ns()
        time.sleep(self.sleep_ms(len(self.inputs)) / 1e3)
        each = (time.perf_counter_ns() - begin) // max(1, len(self.stages))
        return dict.fromkeys(self.stages, each) or None


def steady(name: str, ms: float) -> Sleeper:
    return Sleeper(name, lambda _: ms)


class Clock:
    """Time that passes only when a backend says so: what depends on order is tested without noise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 0
        monkeypatch.setattr(latency, "perf_counter_ns", lambda: self.now_ns)
        monkeypatch.setattr(latency, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@dataclass
class Timed:
    """Takes as long as `ms` says, given the call's place in the world's order."""

    name: str
    clock: Clock
    calls: list[str]
    ms: Callable[[list[str]], float]

    def run(self, index: int) -> None:
        self.clock.now_ns += round(self.ms(self.calls) * 1e6)
        self.calls.append(self.name)


def test_known_times_are_found_within_two_percent() -> None:
    rows = measure([steady("fast", 20), steady("slow", 50)], LatencyOptions(seconds=None, rounds=15, warm_up_seconds=0.5))
    assert [row.name for row in rows] == ["fast", "slow"]
    assert [min(row.samples_ms) for row in rows] == pytest.approx([20, 50], rel=0.02)  # on a busy machine some sleeps last longer
    assert rows[1].over(rows[0]).value == pytest.approx(2.5, rel=0.1)
    assert rows[0].calls_per_second == pytest.approx(1e3 / np.mean(rows[0].samples_ms))


def test_stages_are_told_apart_from_the_whole() -> None:
    (row,) = measure([Sleeper("staged", lambda _: 10, ("pre", "run"))], LatencyOptions(seconds=None, rounds=5, warm_up_seconds=0))
    assert list(row.stages_ms) == ["pre", "run"]
    assert row.stages_ms["pre"].p50 == pytest.approx(5, rel=0.1)
    assert row.stages_ms["pre"].p50 + row.stages_ms["run"].p50 <= row.total_ms.p50


def test_one_slow_call_in_a_hundred_shows_in_p99_and_max(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    backend = Timed("hiccup", clock, [], lambda calls: 80 if len(calls) == 57 else 2)
    (row,) = measure([backend], LatencyOptions(seconds=None, rounds=100, warm_up_seconds=0))
    assert (row.total_ms.p50, row.total_ms.p90, row.total_ms.p99, row.total_ms.max) == (2, 2, 80, 80)


def test_every_backend_runs_once_in_every_round_on_the_same_input() -> None:
    one, other = Sleeper("one", lambda _: 0), Sleeper("other", lambda _: 0)
    rows = measure([one, other], LatencyOptions(seconds=None, rounds=7, warm_up_seconds=0))
    assert one.inputs == other.inputs == list(range(7))
    assert [row.total_ms.n for row in rows] == [7, 7]


def test_the_order_changes_from_round_to_round_and_repeats_for_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def order(seed: int) -> list[str]:
        calls: list[str] = []
        clock = Clock(monkeypatch)
        measure(
            [Timed(name, clock, calls, lambda _: 1) for name in "abc"],
            LatencyOptions(seconds=None, rounds=300, warm_up_seconds=0, seed=seed),
        )
        return calls

    calls = order(0)
    assert calls == order(0) != order(1)
    firsts = [calls[3 * index] for index in range(300)]
    assert all(70 <= firsts.count(name) <= 130 for name in "abc")  # 100 each, four standard deviations


def test_a_backend_that_slows_its_follower_slows_all_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(monkeypatch), []
    backends = [Timed(name, clock, calls, lambda calls: 15 if calls and calls[-1] == "hog" else 10) for name in ("hog", "one", "other")]
    _, one, other = measure(backends, LatencyOptions(seconds=None, rounds=400, warm_up_seconds=0))
    assert one.total_ms.mean == pytest.approx(other.total_ms.mean, rel=0.05)
    assert one.over(other).low <= 1 <= one.over(other).high


def test_a_machine_that_slows_down_leaves_the_ratio_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(monkeypatch), []
    backends = [
        Timed("one", clock, calls, lambda calls: 10 * (1 + len(calls) / 200)),
        Timed("double", clock, calls, lambda calls: 20 * (1 + len(calls) / 200)),
    ]
    one, double = measure(backends, LatencyOptions(seconds=None, rounds=200, warm_up_seconds=0))
    assert one.total_ms.max > 2.5 * min(one.samples_ms)
    assert double.over(one).value == pytest.approx(2, rel=0.01)


def test_the_warm_up_waits_until_the_times_are_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    backend = Timed("cold", clock, [], lambda calls: max(10.0, 1000 * 0.7 ** len(calls)))
    (row,) = measure([backend], LatencyOptions(seconds=None, rounds=10, warm_up_seconds=60))
    assert row.settled
    assert row.warm_up_calls >= 13 + WINDOW  # the 13th call is the first of 10 ms
    assert row.total_ms.max == 10


def test_a_backend_that_never_settles_is_measured_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    backend = Timed("growing", clock, [], lambda calls: 10 * 1.1 ** len(calls))
    (row,) = measure([backend], LatencyOptions(seconds=None, rounds=3, warm_up_seconds=2))
    assert not row.settled
    assert 2 * WINDOW < row.warm_up_calls < 50


def test_seconds_bound_the_measurement_and_one_round_is_made_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    options = LatencyOptions(seconds=1.0, warm_up_seconds=0)
    (short,) = measure([Timed("short", clock, [], lambda _: 100)], options)
    assert short.total_ms.n == 10
    (long,) = measure([Timed("long", clock, [], lambda _: 5000)], options)
    assert long.total_ms.n == 1


def test_a_row_is_json() -> None:
    (row,) = measure([Sleeper("one", lambda _: 0, ("run",))], LatencyOptions(seconds=None, rounds=3, warm_up_seconds=0))
    value = json.loads(json.dumps(row.to_json()))
    assert value["total_ms"]["n"] == len(value["samples_ms"]) == 3
    assert value["stages_ms"]["run"]["n"] == 3


@pytest.mark.parametrize("options", [{"seconds": None}, {"seconds": 0.0}, {"seconds": None, "rounds": 0}, {"warm_up_seconds": -1.0}])
def test_a_measurement_without_an_end_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        LatencyOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [[], ["same", "same"]])
def test_backends_need_names_of_their_own(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="name"):
        measure([steady(name, 0) for name in names])


def test_backends_are_loaded_anew_and_rounds_know_their_load() -> None:
    opened: list[str] = []
    inputs: list[int] = []

    @contextmanager
    def load() -> Iterator[list[Sleeper]]:
        opened.append("open")
        one = Sleeper("one", lambda _: 0, ("run",))
        yield [one]
        inputs.extend(one.inputs)
        opened.append("closed")

    options = LatencyOptions(seconds=None, rounds=10, warm_up_seconds=0.01)
    (row,) = measure_loads(load, options, loads=3)
    assert opened == ["open", "closed"] * 3
    assert row.loads == (0, 4, 8)
    assert row.total_ms.n == row.stages_ms["run"].n == 12
    assert len(set(inputs)) == len(inputs) == 12 + row.warm_up_calls
    with pytest.raises(ConfigError, match="0 loads"):
        measure_loads(load, options, loads=0)
