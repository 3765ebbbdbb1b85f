"""The plan of a GPU's proof: in the right order, callable, and refused where there is no GPU. What needs a GPU is tested on one."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.benchmarks.gpu import __main__ as gpu
from lineside.benchmarks.gpu import latency as gpu_latency
from lineside.benchmarks.gpu import limits as gpu_limits
from lineside.benchmarks.gpu import marked_tests as gpu_tests
from lineside.benchmarks.gpu.bundle import Bundle, BundledModel
from lineside.benchmarks.gpu.engines import difference
from lineside.benchmarks.gpu.latency import GPU, HOST, Entry
from lineside.benchmarks.gpu.prepare import IOS, PRECISIONS, TILINGS
from lineside.benchmarks.gpu.runner import Outcome
from lineside.benchmarks.gpu.steps import FIRST, STEPS, Bench, Step
from lineside.benchmarks.measure.latency import LatencyOptions, measure
from lineside.engine.device import driver
from lineside.engine.device.driver import Driver, Gpu
from lineside.errors import DeviceError

NAMES = {f"{tiling}.{precision}.{io}" for tiling, precision, io in product(TILINGS, PRECISIONS, IOS)}


def no_driver() -> Driver:
    raise DeviceError("no NVIDIA driver on this machine", why="libcuda.so.1 is not there", fix="go to the machine with the GPU")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    model = BundledModel(tiling="batched", precision="fp16", io="production", sha256="", operations=2_000_000, reference="batched.fp32.npy")
    (tmp_path / "bundle").mkdir()
    found = Bundle(folder=tmp_path / "bundle", base_channels=2, size="64x64", models=(model,), made_by={})
    found.write_index()
    return found


def test_without_a_gpu_there_is_one_message_and_no_result(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "ask_driver", no_driver)
    assert gpu.main(["run", str(bundle.folder), "--out", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err.count("error: ") == 1
    assert not (tmp_path / "results").exists()


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that answers; the steps of the tests here touch no GPU."""
    answer = Driver(cuda_version=(13, 0), gpus=(Gpu(name="Test", compute_capability=(9, 0), memory_bytes=1 << 34, integrated=False),))
    monkeypatch.setattr(driver, "ask_driver", lambda: answer)


@pytest.mark.usefixtures("with_gpu")
def test_what_cannot_be_run_is_refused_before_anything_is_written(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    assert gpu.main(["run", str(tmp_path), "--out", str(out)]) == 2
    assert "not a prepared folder" in capsys.readouterr().err
    assert gpu.main(["run", str(bundle.folder), "--out", str(out), "--only", "everything"]) == 2
    assert "latency fp16 int8" in capsys.readouterr().err
    assert not out.exists()
    out.mkdir()
    (out / "mine").touch()
    assert gpu.main(["run", str(bundle.folder), "--out", str(out)]) == 2
    assert "already holds files" in capsys.readouterr().err


@pytest.mark.usefixtures("with_gpu")
def test_the_exit_code_says_whether_everything_was_proved(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "one_step.py").write_text(
        "def proves(bench, passed):\n"
        "    return {'checks': [{'name': 'rows agree', 'value': 0.12345, 'target': 'at most 1', 'passed': passed}]}\n"
    )
    for passed, code in ((True, 0), (False, 3)):
        step = Step(name="one", does="x", module="one_step", function="proves", options={"passed": passed}, limit_s=30)
        assert gpu.run(bundle.folder, tmp_path / "results", force=True, steps=[step]) == code
        shown = capsys.readouterr()
        assert ("pass" if passed else "FAIL") in shown.out
        assert "rows agree: 0.1235 (at most 1)" in shown.out
        assert "1/1 one" in shown.err


def test_steps_have_names_of_their_own_and_can_be_called_with_their_options() -> None:
    assert len({step.name for step in STEPS}) == len(STEPS)
    for step in STEPS:
        function = getattr(importlib.import_module(step.module), step.function)
        inspect.signature(function).bind(None, **step.options)
        json.dumps(dict(step.options))


def test_every_model_of_a_step_is_prepared_and_built_before_it_is_used() -> None:
    built: set[tuple[str, str]] = set()
    for step in STEPS:
        models = [step.options["model"]] if "model" in step.options else step.options.get("models", [])
        assert set(models) <= NAMES, step.name
        batch = step.options.get("batch", "1")
        if step.function == "build_and_compare":
            built.add((models[0], batch))
        assert {(model, batch) for model in models} <= built, step.name


def test_what_is_worth_most_comes_first() -> None:
    order = [step.name for step in STEPS]
    first = ["environment", f"build {FIRST}", "limits", "build batched.int8.production", "latency fp16 int8"]
    assert order[: len(first)] == first
    assert order.index("gpu tests") < order.index("timing cache")
    assert order.index("latency unrolled") == len(order) - 1, "the reference layout is the longest build and the least news"


def test_the_run_fits_into_eight_minutes_with_the_last_step_ended() -> None:
    from lineside.benchmarks.gpu.runner import GRACE_S

    assert gpu.BUDGET_S + GRACE_S < 8 * 60 - 10


def test_differences_are_those_of_heat_and_of_scores() -> None:
    expected = np.zeros((2, 4, 5), np.float32)
    found = expected.copy()
    found[1, 2, 3] = 0.5
    found[0, :, :] = 0.25
    value = difference(found, expected)
    assert (value["strips"], value["max"], value["max_score"]) == (2, 0.5, 0.5)
    assert value["mean"] == pytest.approx((20 * 0.25 + 0.5) / 40)


class Clocked:
    """A backend that says how long its stages took, without taking any time."""

    def __init__(self, name: str, **stages_ms: float) -> None:
        self.name = name
        self.stages = {stage: int(ms * 1e6) for stage, ms in stages_ms.items()}

    def run(self, index: int) -> dict[str, int]:
        return self.stages


def rows_of(bench: Bench, *backends: tuple[str, str, bool, Clocked]) -> tuple[dict[Any, Any], list[dict[str, Any]]]:
    entries = [Entry(model=model, rows=1, clock=clock, graph=graph, backend=backend) for model, clock, graph, backend in backends]
    rows = measure([entry.backend for entry in entries], LatencyOptions(seconds=None, rounds=3, warm_up_seconds=0))
    described = [gpu_latency.described(bench, entry, row) for entry, row in zip(entries, rows, strict=True)]
    return {gpu_latency._key(entry): row for entry, row in zip(entries, rows, strict=True)}, described


def bench_of(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peak: float | None) -> Bench:
    monkeypatch.setattr(Bundle, "model", lambda self, name: self.models[0])
    if peak is not None:
        (tmp_path / gpu_limits.FILE).write_text(json.dumps({"operations_per_second": {"fp16": peak}}))
    return Bench(bundle=bundle, engines=tmp_path, limit_s=10, write=lambda result: None)


def test_the_aims_are_compared_with_the_right_clocks(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of(bundle, tmp_path, monkeypatch, peak=2e9)  # 2e6 operations: a floor of 1 ms
    rows, described = rows_of(
        bench,
        (FIRST, HOST, True, Clocked("a", convert=9, inference=2.2, post=9)),
        (FIRST, GPU, False, Clocked("b", copy_in=0.3, compute=1.5, copy_out=0.2)),
        ("batched.int8.production", GPU, False, Clocked("c", copy_in=0.3, compute=1.2, copy_out=0.2)),
    )
    checks = {check["name"]: (check["value"], check["passed"]) for check in gpu_latency._checks(bench, rows)}
    assert checks["FP16 batched over its floor"] == (pytest.approx(1.5), True)
    assert checks["INT8 faster than FP16, times"] == (pytest.approx(1.25), False)
    assert checks["host-visible run over copies and compute"] == (pytest.approx(1.1), True)
    assert described[1]["times_the_floor"] == pytest.approx(1.5)
    assert [row["clock_of_stages"] for row in described] == [HOST, GPU, GPU]
    assert "floor_ms" not in described[0], "host time is not compared with the GPU's floor"


def test_without_a_measured_peak_there_is_no_floor(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of(bundle, tmp_path, monkeypatch, peak=None)
    rows, described = rows_of(bench, (FIRST, GPU, False, Clocked("b", copy_in=0.3, compute=1.5, copy_out=0.2)))
    assert gpu_latency._checks(bench, rows) == []
    assert "floor_ms" not in described[0]


def test_limits_without_pytorch_say_so(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_limits, "versions", lambda packages: {})
    bench = Bench(bundle=bundle, engines=tmp_path, limit_s=10, write=lambda result: None)
    assert gpu_limits.limits(bench) == {"not_measured": "PyTorch is not installed"}


def test_the_table_names_every_step_and_what_became_of_it() -> None:
    text = gpu.table([Outcome(step="environment", status="crashed", seconds=1.5, file="01-environment.json", message="SIGABRT")])
    assert text.split() == ["crashed", "1.5", "s", "environment", "SIGABRT"]


def test_the_command_needs_nothing_that_a_gpu_machine_may_lack() -> None:
    import subprocess

    code = "import sys, lineside.benchmarks.gpu.__main__, lineside.benchmarks.gpu.child; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "onnx", "onnxruntime", "typer", "rich", "matplotlib", "tensorrt", "cuda"} & {
        name.split(".")[0] for name in modules
    }


def test_the_tests_marked_gpu_run_from_the_folder_without_the_projects_settings(tmp_path: Path) -> None:
    tests = tmp_path / "tests" / "engine"
    (tmp_path / "tests" / "standin").mkdir(parents=True)
    (tmp_path / "tests" / "standin" / "some_standin.py").write_text("X = 1\n")
    tests.mkdir()
    bench = Bench(
        bundle=Bundle(folder=tmp_path, base_channels=2, size="", models=(), made_by={}),
        engines=tmp_path,
        limit_s=60,
        write=lambda result: None,
    )
    (tests / "test_other.py").write_text("import nothing_that_exists\n")
    assert "marked gpu" in gpu_tests.run_tests(bench)["not_run"]
    header = "import pytest, some_standin\n"
    (tests / "test_gpu.py").write_text(header + "@pytest.mark.gpu\ndef test_one(): pass\ndef test_two(): assert False\n")
    found = gpu_tests.run_tests(bench)
    assert found["counts"] == {"passed": 1, "deselected": 1}
    assert found["checks"][0]["passed"]
    (tests / "test_gpu.py").write_text(header + "@pytest.mark.gpu\n@pytest.mark.skip(reason='no GPU')\ndef test_one(): pass\n")
    assert not gpu_tests.run_tests(bench)["checks"][0]["passed"], "a skipped test proves nothing"
    (tests / "test_gpu.py").write_text(header + "@pytest.mark.gpu\ndef test_one(): assert 1 == 2\n")
    assert gpu_tests.run_tests(bench)["counts"] == {"failed": 1}
