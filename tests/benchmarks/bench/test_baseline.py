"""Slower than it was: what the interval says, on the same machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.benchmarks.bench.baseline import Baseline
from lineside.benchmarks.bench.bench_page import page_of
from lineside.benchmarks.bench.measurement import BenchRow, Measurement
from lineside.benchmarks.measure.latency import Row
from lineside.benchmarks.measure.stats import Percentiles, ratio_of_separate_medians
from lineside.benchmarks.subjects.cases import Case
from lineside.errors import ConfigError

MACHINE: dict[str, Any] = {
    "cpu": {"model": "A CPU", "physical": 4, "logical": 8, "governor": None, "features": []},
    "gpus": [],
    "packages": {"onnxruntime": "1.0"},
    "memory": {"total_bytes": None},
    "system": "Linux",
    "kernel": "6",
    "python": "3.11",
    "variables": {},
    "load_1_minute": 0.0,
}


def measured(ms: float, *, n: int = 200, noise: float = 0.05, machine: float = 1.0, seed: int = 0, **other: Any) -> Measurement:
    """A model of `ms` on a machine that is `machine` times as slow as usual."""
    rng = np.random.default_rng(seed)
    mood = machine * rng.lognormal(0, 0.1, n)
    samples, yardstick = ms * mood * rng.lognormal(0, noise, n), 2.0 * mood * rng.lognormal(0, 0.02, n)
    row = Row(
        name="m.onnx", total_ms=Percentiles.of(samples.tolist()), stages_ms={}, samples_ms=tuple(samples), warm_up_calls=1, settled=True
    )
    case = Case(name="m.onnx", model="m.onnx", path=Path("m.onnx"), runner="onnxruntime")
    shown = BenchRow(
        case=case,
        mode="flat out",
        row=row,
        ratio=None,
        reference="m.onnx",
        doubt="",
        about={},
        start=None,
        file={"bytes": 1, "sha256": "0"},
    )
    return Measurement(
        rows=(shown,),
        yardsticks={"flat out": tuple(yardstick)},
        minutes=(),
        left_out=(),
        watched=(),
        command="lineside bench m.onnx",
        when="2026-01-01T00:00:00+00:00",
        environment={**MACHINE, **other},
    )


def kept(folder: Path, measurement: Measurement) -> Baseline:
    (folder / "bench.json").write_text(json.dumps(measurement.to_json()))
    return Baseline.read(folder / "bench.json")


@pytest.mark.parametrize(("now_ms", "answer"), [(10.2, "as before"), (11.0, "unsure"), (13.0, "slower"), (8.0, "faster")])
def test_slower_is_what_the_whole_interval_says(now_ms: float, answer: str, tmp_path: Path) -> None:
    against = kept(tmp_path, measured(10)).compare(measured(now_ms, seed=1))
    assert [change.answer for change in against.changes] == [answer]
    assert bool(against.slower) == (answer == "slower")


def test_one_slow_number_is_no_regression_when_the_interval_is_wide(tmp_path: Path) -> None:
    against = kept(tmp_path, measured(10)).compare(measured(13, n=5, noise=0.5, seed=1))
    assert against.changes[0].answer == "unsure"


@pytest.mark.parametrize("machine", [0.6, 1.7])
def test_a_machine_in_another_mood_is_no_regression_and_said(machine: float, tmp_path: Path) -> None:
    against = kept(tmp_path, measured(10)).compare(measured(10, machine=machine, seed=1))
    assert against.changes[0].answer == "as before"
    assert against.changes[0].ratio.value == pytest.approx(1, abs=0.05)
    assert any(f"the machine itself took {machine:.1f}"[:-1] in text for text in against.remarks)


def test_a_run_against_itself_is_as_before_in_nearly_every_run(tmp_path: Path) -> None:
    baseline = kept(tmp_path, measured(10))
    answers = [baseline.compare(measured(10, seed=seed)).changes[0].answer for seed in range(1, 21)]
    assert answers.count("as before") >= 19


def test_another_machine_is_refused_and_named_when_it_is_forced(tmp_path: Path) -> None:
    other = {"cpu": {**MACHINE["cpu"], "model": "Another CPU"}}
    baseline = kept(tmp_path, measured(10))
    with pytest.raises(ConfigError, match="A CPU, 4 cores") as caught:
        baseline.refuse_other_machine({**MACHINE, **other})
    assert "Another CPU" in caught.value.why
    assert "--force-baseline" in caught.value.fix
    against = baseline.compare(measured(10, **other))
    assert "another machine" in against.remarks[0]
    assert "another machine" in page_of(measured(10, **other), against)


def test_another_number_of_cores_or_a_gpu_is_another_machine(tmp_path: Path) -> None:
    baseline = kept(tmp_path, measured(10))
    baseline.refuse_other_machine(MACHINE)
    for other in ({"cpu": {**MACHINE["cpu"], "physical": 2}}, {"gpus": [{"name": "a GPU"}]}):
        with pytest.raises(ConfigError):
            baseline.refuse_other_machine({**MACHINE, **other})


def test_other_versions_and_rows_of_one_side_are_said(tmp_path: Path) -> None:
    now = measured(10, packages={"onnxruntime": "2.0"})
    more = replace(now.rows[0], case=replace(now.rows[0].case, name="new.onnx"))
    against = kept(tmp_path, measured(10)).compare(replace(now, rows=(*now.rows, more)))
    assert "onnxruntime: 1.0 then, 2.0 now" in against.remarks
    assert "only one of the two has new.onnx (flat out)" in against.remarks


def test_nothing_in_common_is_refused(tmp_path: Path) -> None:
    now = measured(10)
    other = replace(now, rows=(replace(now.rows[0], case=replace(now.rows[0].case, name="new.onnx")),))
    with pytest.raises(ConfigError, match="no row"):
        kept(tmp_path, measured(10)).compare(other)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": 99}', '{"schema": 1, "rows": []}', '{"schema": 1, "rows": [{"name": 1}], "when": ""}', None]
)
def test_what_is_no_baseline_is_one_message(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "bench.json").write_text(text)
    with pytest.raises(ConfigError, match=r"bench\.json"):
        Baseline.read(tmp_path / "bench.json")


def test_an_allowance_below_nothing_is_refused(tmp_path: Path) -> None:
    kept(tmp_path, measured(10))
    for allowed in (-0.1, float("nan")):
        with pytest.raises(ConfigError, match="allowance"):
            Baseline.of_this_machine(tmp_path / "bench.json", allowed=allowed, force=True)


def test_an_allowance_decides_what_is_slower(tmp_path: Path) -> None:
    kept(tmp_path, measured(10))
    for allowed, answer in ((0.1, "slower"), (0.5, "as before")):
        baseline = Baseline.of_this_machine(tmp_path / "bench.json", allowed=allowed, force=True)
        assert baseline.compare(measured(13, seed=1)).changes[0].answer == answer


def test_stretches_of_slow_calls_widen_the_interval_of_separate_runs() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(10, 0.1, 400)
    stretched = values * np.repeat([1.0, 1.3, 1.0, 1.3], 100)
    shuffled = rng.permutation(stretched)
    apart, mixed = (ratio_of_separate_medians(one, values) for one in (stretched, shuffled))
    assert apart.high - apart.low >= mixed.high - mixed.low
    calm = ratio_of_separate_medians(1.2 * rng.normal(10, 0.1, 400), values)
    assert calm.low <= 1.2 <= calm.high
    assert calm.high - calm.low < 0.01
