"""The steps of the GPU's proof on the stand-in for TensorRT and CUDA: their code runs through, and they tell right from wrong.

No number of it says anything about a GPU: the stand-in runs engines with ONNX Runtime on the CPU.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lineside_standin.install import Standin

import lineside.benchmarks.gpu.prepare as gpu_prepare
from lineside.benchmarks.gpu.bundle import HEATMAPS, Bundle
from lineside.benchmarks.gpu.prepare import PrepareOptions, prepare
from lineside.benchmarks.gpu.runner import Outcome, RunOptions, run_steps
from lineside.benchmarks.gpu.steps import FIRST, STEPS
from lineside.spec import StripSpec

BUILD, BUILD_INT8 = f"build {FIRST}", "build batched.int8.production"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The batched production models alone; do not change it."""
    for package in ("torch", "onnx", "onnxruntime"):
        pytest.importorskip(package, reason="the folder is made with it")
    options = PrepareOptions(strips=2, patches=8, examples=1, spec=StripSpec.of_size(64, 64, tile_px=64))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(gpu_prepare, "TILINGS", ("batched", "full"))
        monkeypatch.setattr(gpu_prepare, "IOS", ("production",))
        return prepare("2", tmp_path_factory.mktemp("gpu") / "bundle", options)


def run(bundle: Bundle, folder: Path, *names: str) -> tuple[dict[str, Outcome], dict[str, dict[str, Any]]]:
    """Some of the steps, with two seconds for each latency; what became of each, and its results."""
    for part in ("results", "engines"):
        (folder / part).mkdir(exist_ok=True)
    steps = [replace(step, limit_s=20) for step in STEPS if step.name in names]
    options = RunOptions(bundle=bundle.folder, results=folder / "results", engines=folder / "engines", budget_s=200)
    outcomes = {outcome.step: outcome for outcome in run_steps(steps, options)}
    results = {name: json.loads((folder / "results" / outcome.file).read_text()) for name, outcome in outcomes.items()}
    assert len(outcomes) == len(names)
    return outcomes, results


@pytest.mark.usefixtures("standin")
def test_engines_are_built_compared_and_measured_step_by_step(bundle: Bundle, tmp_path: Path) -> None:
    names = ("environment", BUILD, BUILD_INT8, "latency fp16 int8", "device layer", "refusals", "version compatible")
    outcomes, results = run(bundle, tmp_path, *names)
    assert {name: outcome.status for name, outcome in outcomes.items()} == dict.fromkeys(names, "done"), results
    assert results["environment"]["result"]["device"]["name"] == "Stand-in GPU"
    built = results[BUILD]["result"]
    assert (built["build"]["batch"], built["float32"]["strips"]) == ("1", 2)
    assert outcomes[BUILD].proved
    assert outcomes[BUILD_INT8].proved
    assert results[BUILD_INT8]["result"]["same_file"]["max"] == 0, "the stand-in runs the very file on ONNX Runtime"
    assert results[BUILD_INT8]["result"]["build"]["int8_built"] == results[BUILD_INT8]["result"]["build"]["int8_planned"] > 20
    assert outcomes["refusals"].proved
    assert len(results["refusals"]["result"]["refusals"]) == 4
    assert outcomes["version compatible"].proved
    device = results["device layer"]["result"]
    assert all(copy["same_bytes"] for copy in device["copies"].values())
    rows = results["latency fp16 int8"]["result"]["rows"]
    assert [(row["model"].split(".")[1], row["clock_of_stages"], row["graph"]) for row in rows] == [
        (precision, clock, graph) for precision in ("fp16", "int8") for clock, graph in (("host", True), ("host", False), ("GPU", False))
    ]
    assert len({len(row["samples_ms"]) for row in rows}) == 1, "all in the same rounds"


def test_an_engine_that_answers_otherwise_than_its_reference_is_no_proof(bundle: Bundle, tmp_path: Path, standin: Standin) -> None:
    other = replace(bundle, folder=Path(shutil.copytree(bundle.folder, tmp_path / "bundle")))
    heatmaps = other.folder / HEATMAPS / "batched.fp32.npy"
    np.save(heatmaps, np.load(heatmaps) + np.float32(0.05))
    outcomes, _ = run(other, tmp_path, BUILD)
    assert outcomes[BUILD].status == "done"
    assert [check["name"] for check in outcomes[BUILD].checks if not check["passed"]] == [
        "largest difference of a heatmap",
        "mean difference",
    ]
    standin.fault("answer", value="nan", after=2)  # after the two runs of the warm-up
    outcomes, _ = run(bundle, tmp_path, BUILD)
    assert outcomes[BUILD].status == "refused"
    assert "heat from nan" in outcomes[BUILD].message


def test_layers_that_fell_back_are_counted_and_no_proof(bundle: Bundle, tmp_path: Path, standin: Standin) -> None:
    standin.fault("fall_back")
    outcomes, _ = run(bundle, tmp_path, BUILD_INT8)
    assert outcomes[BUILD_INT8].status == "done", "the engine is kept and looked at"
    assert [check["name"] for check in outcomes[BUILD_INT8].checks if not check["passed"]] == ["planned INT8 convolutions that run in INT8"]


def test_a_gpu_that_fails_costs_its_step_alone(bundle: Bundle, tmp_path: Path, standin: Standin) -> None:
    standin.fault("work", value="cudaErrorIllegalAddress", after=4)
    outcomes, results = run(bundle, tmp_path, BUILD, "refusals")
    assert outcomes[BUILD].status == "refused"
    assert "IllegalAddress" in json.dumps(results[BUILD]["error"])
    assert results[BUILD]["result"]["build"]["seconds"] >= 0, "what was known before is kept"
    assert outcomes["refusals"].status == "done", "it runs in a process of its own"


def test_what_no_step_built_is_not_measured(bundle: Bundle, tmp_path: Path, standin: Standin) -> None:
    standin.fault("build", value="SIGKILL")
    outcomes, _ = run(bundle, tmp_path, BUILD, "latency fp16 int8")
    assert [outcome.status for outcome in outcomes.values()] == ["refused", "refused"]
    assert "no engine of" in outcomes["latency fp16 int8"].message
