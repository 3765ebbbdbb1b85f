"""An engine in `lineside bench`: its stages on the GPU's clock beside the caller's, and its memory. TensorRT and CUDA are stand-ins.

No number of it says anything about a GPU.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from lineside_standin.install import Standin
from lineside_standin.world import Gpu

from lineside.benchmarks.bench.bench import bench
from lineside.benchmarks.bench.bench_options import BenchOptions
from lineside.benchmarks.bench.bench_page import page_of
from lineside.benchmarks.bench.report import csv_of, gpu_memory_cells, remarks_of, stage_cells
from lineside.benchmarks.measure.engine_stages import memory_of, open_on_gpu
from lineside.benchmarks.subjects.cases import Axes
from lineside.engine.builder.build import build
from lineside.engine.files.build_options import BuildOptions
from lineside.engine.files.profiles import BatchProfiles
from lineside.errors import DeviceError

pytest.importorskip("onnxruntime", reason="the stand-in runs engines with it")

MODELS = Path(__file__).parents[2] / "engine" / "models"
MIB = 2**20
QUICK = BenchOptions(seconds=0.3, warm_up_seconds=0.05, loads=2, cold=False)


@pytest.fixture
def engine(standin: Standin, tmp_path: Path) -> Path:
    build(MODELS / "production.onnx", tmp_path / "strip.engine", BuildOptions(batch=BatchProfiles.parse("1,2")))
    return tmp_path / "strip.engine"


def test_an_engine_is_measured_beside_its_stages_on_the_gpus_clock(engine: Path, standin: Standin) -> None:
    found = bench([engine, MODELS / "production.onnx"], Axes(batch=(1, 2), threads=(1,), graph=(True, False)), QUICK)
    assert standin.living() == {}, "everything was given back"
    engines = [row for row in found.rows if row.case.graph is not None]
    assert [(row.case.batch, row.case.graph) for row in engines] == [(1, True), (1, False), (2, True), (2, False)]
    for row in engines:
        assert list(row.row.stages_ms) == ["convert", "inference", "post"]
        assert row.device is not None
        assert list(row.device.stages_ms) == ["copy_in", "compute", "copy_out"]
        assert {times.n for times in row.device.stages_ms.values()} == {row.row.total_ms.n}, "in the same rounds"
    assert engines[0].device == engines[1].device, "a graph has no stages: with it and without they are the same"
    assert all(row.device is None for row in found.rows if row.case.graph is None)

    value = json.loads(json.dumps(found.to_json(), allow_nan=False))["rows"][0]["device"]
    assert (value["clock"], set(value["stages_ms"])) == ("GPU", {"copy_in", "compute", "copy_out"})
    line = next(csv.DictReader(io.StringIO(csv_of(found))))
    assert float(line["gpu_compute_p50_ms"]) == value["stages_ms"]["compute"]["p50"]
    assert int(line["gpu_taken_bytes"]) == value["memory"]["taken_bytes"]


def test_the_page_keeps_the_clocks_apart_and_shows_the_memory(engine: Path) -> None:
    found = bench([engine], Axes(batch=(1,)), QUICK)
    head, row = stage_cells(found)
    assert head[1:] == ("convert", "inference", "post", "caller sees", "GPU: copy in", "GPU: compute", "GPU: copy out")
    assert len(row) == len(head)
    assert gpu_memory_cells(found)[1][0] == "strip.engine"
    page = page_of(found)
    assert "strip.engine, inference on the GPU&#x27;s clock" in page
    assert "Memory on the GPU" in page


def test_the_memory_of_an_engine_is_what_the_device_had_less_of(engine: Path, standin: Standin) -> None:
    memory = memory_of(engine, 1)
    area = 64 * 96 * 4
    onnx = (MODELS / "production.onnx").stat().st_size  # the stand-in keeps the file as its weights
    assert memory.taken_bytes == onnx + MIB + 2 * (3 + 3) * area, "weights, activations, and buffers for the largest batch"
    assert (memory.activations_bytes, memory.engine_bytes) == (MIB, engine.stat().st_size)
    assert standin.living() == {}


def test_a_gpu_that_works_on_the_hosts_memory_copies_nothing(engine: Path, standin: Standin) -> None:
    standin.world(gpus=(Gpu(integrated=True),))
    with open_on_gpu(engine, 2, name="stages") as stages:
        assert stages.runner.mapped
        assert stages.runner.input.std() > 0, "zeros would run faster"
        assert set(stages.run(0)) == {"copy_in", "compute", "copy_out"}
    onnx = (MODELS / "production.onnx").stat().st_size
    assert memory_of(engine, 1).taken_bytes == onnx + MIB, "no buffers of its own"


def test_a_gpu_that_fails_in_the_stages_is_an_error_and_leaves_nothing(engine: Path, standin: Standin) -> None:
    with open_on_gpu(engine, 1, name="stages") as stages:
        standin.fault("execute_async_v3", value="no more")
        with pytest.raises(DeviceError):
            stages.run(0)
    assert standin.living() == {}


def test_an_engine_has_no_place_under_the_cpus_roofline(engine: Path) -> None:
    pytest.importorskip("onnx", reason="the work is counted with it")
    found = bench([engine], Axes(batch=(1,)), BenchOptions(seconds=0.2, warm_up_seconds=0.05, loads=1, cold=False, roofline=True))
    assert found.peaks == ()
    assert any("strip.engine in the roofline: only ONNX files on the CPU" in text for text in remarks_of(found))
