"""What an engine alone does: loading, refusals, faults of the GPU, graphs, profiles, what is given back.

TensorRT, cuda-python and PyCUDA are stand-ins.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lineside_standin.install import CUDA, FULL, LEAN, PYCUDA, Standin
from lineside_standin.world import Gpu
from numpy.typing import NDArray

from lineside import ConfigError, DeviceError, Inspector, LinesideError, MissingPackageError, ModelError, StripSpec
from lineside._optional import install_command
from lineside.engine.builder.golden_strips import golden_strips
from lineside.engine.device.choose import open_device
from lineside.engine.files.golden import golden_bytes, golden_file, golden_path
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.files.sidecar import sidecar_path
from lineside.engine.run.backend import LoadOptions
from lineside.engine.run.runner import RunOptions
from lineside.engine.run.tensorrt_backend import TensorRtBackend

EngineOf = Callable[..., Path]
HeatOf = Callable[[NDArray[Any]], NDArray[np.float32]]
CUDA_BACKENDS = ["cuda-python", "pycuda"]


# what may be loaded


def test_another_file_than_the_sidecars_is_refused_before_tensorrt_sees_it(standin: Standin, engine_of: EngineOf) -> None:
    path = engine_of("production")
    path.write_bytes(path.read_bytes() + b"!")
    standin.fault("deserialize_cuda_engine", "TensorRT was asked")
    with pytest.raises(ModelError, match="not the engine that its sidecar describes"):
        Inspector.load(path)


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"tensorrt": "10.2.0"}, ModelError, "built by TensorRT 10.2.0"),
        ({"compute_capability": (9, 0)}, ModelError, "built for compute capability 9.0"),
        ({"device_memory_bytes": 1 << 40}, DeviceError, "needs about"),
    ],
)
def test_each_mismatch_is_its_own_error_before_tensorrt_sees_the_engine(
    standin: Standin, engine_of: EngineOf, fields: dict[str, Any], error: type[LinesideError], said: str
) -> None:
    standin.fault("deserialize_cuda_engine", "TensorRT was asked")
    with pytest.raises(error, match=said):
        Inspector.load(engine_of("production", **fields))
    assert standin.living() == {}


def test_bytes_that_are_no_engine_are_a_model_error_with_tensorrts_reason(standin: Standin, tmp_path: Path) -> None:
    (tmp_path / "strip.engine").write_bytes(b"ftrt and so on")
    with pytest.raises(ModelError, match=r"cannot load it[\s\S]*Serialization"):
        Inspector.load(tmp_path / "strip.engine")


def test_too_little_memory_while_loading_is_a_device_error(standin: Standin, engine_of: EngineOf) -> None:
    standin.fault("deserialize_cuda_engine", "Error Code 1: Cuda Runtime (out of memory)")
    with pytest.raises(DeviceError, match="not enough free memory"):
        Inspector.load(engine_of("production"))


def test_an_engine_without_a_sidecar_is_known_by_its_tensors_and_warned_about(
    engine_of: EngineOf, small: StripSpec, strip: NDArray[np.uint8], heat_of: HeatOf, caplog: pytest.LogCaptureFixture
) -> None:
    path = engine_of("raw", sidecar=False, suffix=".plan")
    with Inspector.load(path, spec=small) as inspector:
        assert np.array_equal(inspector.heatmap(strip), heat_of(strip))
        assert inspector.manifest is None
    assert "no sidecar" in caplog.text
    with pytest.raises(ModelError, match=r"raw\.plan\.json"):
        Inspector.load(path)  # 64x96 is no preset's size


def test_an_engine_without_a_sidecar_of_a_presets_size_needs_no_spec(engine_of: EngineOf) -> None:
    with Inspector.load(engine_of("line", sidecar=False)) as inspector:
        assert inspector.spec.size == "976x176"


def test_tensors_of_others_are_refused(engine_of: EngineOf, small: StripSpec) -> None:
    with pytest.raises(ModelError, match="no sidecar"):
        Inspector.load(engine_of("renamed", sidecar=False), spec=small)


def test_a_damaged_sidecar_is_an_error_and_no_bare_engine(engine_of: EngineOf) -> None:
    path = engine_of("production")
    sidecar_path(path).write_text("{")
    with pytest.raises(ModelError, match="not a sidecar"):
        Inspector.load(path)


def test_a_spec_of_another_size_is_refused(engine_of: EngineOf) -> None:
    with pytest.raises(ModelError, match="engine of 64x96 px strips"):
        Inspector.load(engine_of("production"), spec=StripSpec(height_px=256, width_px=256, tile_px=256, rows=1, columns=1))


def test_the_lean_runtime_runs_compatible_engines_and_says_what_the_others_need(
    standin: Standin, engine_of: EngineOf, strip: NDArray[np.uint8]
) -> None:
    standin.packages((LEAN, CUDA))
    with Inspector.load(engine_of("production", version_compatible=True)) as inspector:
        assert inspector.inspect(strip).backend == "tensorrt"
        assert inspector.describe()["lean"] is True
    with pytest.raises(MissingPackageError, match="full TensorRT is not installed"):
        Inspector.load(engine_of("production"))


def test_a_compatible_engine_runs_on_a_later_tensorrt(standin: Standin, engine_of: EngineOf, strip: NDArray[np.uint8]) -> None:
    path = engine_of("production", version_compatible=True)
    standin.world(tensorrt="11.4.0")
    with Inspector.load(path) as inspector:
        assert inspector.inspect(strip).score > 0


# golden strips


def golden_engine(engine_of: EngineOf, models: Path, tmp_path: Path, strip: NDArray[np.uint8]) -> Path:
    import tifffile

    tifffile.imwrite(tmp_path / "golden.tif", strip[:3], photometric="minisblack", planarconfig="separate")
    data = golden_bytes(golden_strips(models / "production.onnx", [tmp_path / "golden.tif"]))
    path = tmp_path / "production.engine"
    golden_path(path).write_bytes(data)
    return engine_of("production", golden=golden_file(path, data))


def test_golden_strips_are_inspected_before_an_engine_is_handed_out(
    standin: Standin, engine_of: EngineOf, models: Path, tmp_path: Path, strip: NDArray[np.uint8]
) -> None:
    path = golden_engine(engine_of, models, tmp_path, strip)
    Inspector.load(path).close()
    standin.fault("answer", 0.2)
    with pytest.raises(ModelError, match=r"golden strip golden\.tif"):
        Inspector.load(path)
    assert standin.living() == {}


def test_an_engine_whose_golden_strips_fail_lets_its_fallback_inspect(
    standin: Standin, engine_of: EngineOf, models: Path, tmp_path: Path, strip: NDArray[np.uint8], heat_of: HeatOf
) -> None:
    path = golden_engine(engine_of, models, tmp_path, strip)
    standin.fault("answer", 0.2)
    with Inspector.load(path, fallback=models / "production.onnx") as inspector:
        result = inspector.inspect(strip)
    assert result.backend == "onnxruntime-cpu (fallback)"
    assert np.array_equal(result.heatmap, heat_of(strip))


def test_a_fallback_of_another_network_is_refused(standin: Standin, engine_of: EngineOf, models: Path) -> None:
    path = engine_of("production")
    text = sidecar_path(path).read_text()
    sidecar_path(path).write_text(text.replace('"weights_sha256": "' + "0" * 64, '"weights_sha256": "' + "9" * 64))
    standin.fault("deserialize_cuda_engine", "no")
    with pytest.raises(ModelError, match="not the network of"):
        Inspector.load(path, fallback=models / "production.onnx")


# a GPU that cannot be used


@pytest.mark.parametrize("cuda_backend", CUDA_BACKENDS)
@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("cudaErrorDevicesUnavailable", "held by another process"),
        ("cudaErrorMemoryAllocation", "not enough free memory"),
        ("cudaErrorUnknown", "does not answer"),
    ],
)
def test_a_gpu_that_cannot_be_opened_is_one_device_error(
    standin: Standin, engine_of: EngineOf, cuda_backend: Any, error: str, said: str
) -> None:
    standin.fault("cudaSetDevice" if cuda_backend == "cuda-python" else "cuDevicePrimaryCtxRetain", error)
    with pytest.raises(DeviceError, match=said):
        Inspector.load(engine_of("production"), cuda_backend=cuda_backend)


def test_a_driver_that_is_too_old_is_said_with_its_version(standin: Standin, engine_of: EngineOf) -> None:
    standin.fault("cudaGetDeviceCount", "cudaErrorInsufficientDriver")
    with pytest.raises(DeviceError, match=r"older than the CUDA[\s\S]*up to 12\.6"):
        Inspector.load(engine_of("production"))


@pytest.mark.parametrize("cuda_backend", CUDA_BACKENDS)
def test_a_gpu_that_is_not_there_is_a_device_error(standin: Standin, engine_of: EngineOf, cuda_backend: Any) -> None:
    with pytest.raises(DeviceError, match="no GPU of that number"):
        Inspector.load(engine_of("production"), device=1, cuda_backend=cuda_backend)


def test_options_that_no_machine_has_are_refused_first(tmp_path: Path) -> None:
    for options in ({"cuda_backend": "opencl"}, {"device": -1}):
        with pytest.raises(ConfigError):
            Inspector.load(tmp_path / "absent.engine", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("packages", "chosen"),
    [((FULL, CUDA, PYCUDA), "cuda-python"), ((FULL, CUDA), "cuda-python"), ((FULL, PYCUDA), "pycuda")],
)
def test_cuda_python_is_chosen_where_it_is_installed(standin: Standin, packages: tuple[str, ...], chosen: str) -> None:
    standin.packages(packages)
    assert open_device().name == chosen


def test_without_either_package_both_are_named(standin: Standin, engine_of: EngineOf) -> None:
    path = engine_of("production")
    standin.packages((FULL,))
    with pytest.raises(MissingPackageError, match="neither cuda-python nor PyCUDA"):
        Inspector.load(path)
    for name, extra in (("cuda-python", "engine"), ("pycuda", "pycuda")):
        with pytest.raises(MissingPackageError, match=re.escape(install_command(extra))):
            Inspector.load(path, cuda_backend=name)  # type: ignore[arg-type]


# faults while it runs


@pytest.mark.parametrize("cuda_backend", CUDA_BACKENDS)
def test_a_false_from_tensorrt_is_a_device_error_with_its_reason(
    standin: Standin, engine_of: EngineOf, strip: NDArray[np.uint8], cuda_backend: Any
) -> None:
    with Inspector.load(engine_of("production"), cuda_backend=cuda_backend) as inspector:
        inspector._backend.runner.graphs = False  # type: ignore[union-attr]
        list(inspector.inspect_many([strip, strip], batch=2))
        standin.fault("execute_async_v3", "Error Code 1: Myelin")
        with pytest.raises(DeviceError, match=r"did not run[\s\S]*Myelin"):
            list(inspector.inspect_many([strip, strip], batch=2))
        standin.mend("execute_async_v3")
        assert inspector.inspect(strip).score > 0
    assert standin.living() == {}


@pytest.mark.parametrize("call", ["set_tensor_address", "set_input_shape", "set_optimization_profile_async", "create_execution_context"])
def test_every_status_of_tensorrt_is_looked_at(standin: Standin, engine_of: EngineOf, strip: NDArray[np.uint8], call: str) -> None:
    standin.fault(call, "what TensorRT says")
    with pytest.raises((DeviceError, ModelError), match="what TensorRT says"), Inspector.load(engine_of("production", batch="1,4")) as one:
        list(one.inspect_many([strip] * 4, batch=4))
    assert standin.living() == {}


@pytest.mark.parametrize("cuda_backend", CUDA_BACKENDS)
@pytest.mark.parametrize("error", ["cudaErrorIllegalAddress", "cudaErrorLaunchFailure", "cudaErrorECCUncorrectable", "cudaErrorUnknown"])
def test_a_lost_gpu_is_one_device_error_and_closing_raises_nothing_more(
    standin: Standin, engine_of: EngineOf, strip: NDArray[np.uint8], caplog: pytest.LogCaptureFixture, cuda_backend: Any, error: str
) -> None:
    with Inspector.load(engine_of("production"), cuda_backend=cuda_backend) as inspector:
        inspector.inspect(strip)
        standin.fault("work", error)
        with pytest.raises(DeviceError, match="start it again"):
            inspector.inspect(strip)
        with pytest.raises(DeviceError):  # and no later strip gets a verdict
            inspector.inspect(strip)
    assert error in caplog.text  # what CUDA says to the closing goes to the log


def test_what_the_engine_leaves_unwritten_is_an_error_in_debug_mode(
    standin: Standin, engine_of: EngineOf, strip: NDArray[np.uint8]
) -> None:
    for debug in (False, True):
        standin.mend("answer")
        with Inspector.load(engine_of("production"), debug=debug) as inspector:
            before = inspector.inspect(strip)
            standin.fault("answer", "unwritten")
            if debug:
                with pytest.raises(ModelError, match="nan"):
                    inspector.inspect(strip)
            else:
                assert inspector.inspect(strip).score == before.score  # the answer of another strip, unnoticed


@pytest.mark.parametrize(
    ("kind", "after"), [("cudaMalloc", 0), ("cudaMalloc", 1), ("cudaHostAlloc", 0), ("cudaHostAlloc", 1), ("cudaStreamCreateWithFlags", 0)]
)
def test_memory_that_runs_out_while_loading_gives_back_what_was_there(standin: Standin, engine_of: EngineOf, kind: str, after: int) -> None:
    standin.fault(kind, "cudaErrorMemoryAllocation", after=after)
    with pytest.raises(DeviceError, match="not enough free memory"):
        Inspector.load(engine_of("raw"))
    assert standin.living() == {}


# graphs and profiles


def test_the_first_run_of_a_batch_warms_up_and_the_second_captures(standin: Standin, engine_of: EngineOf) -> None:
    backend = TensorRtBackend.load(engine_of("production", batch="1:4"))
    runner = backend.runner
    assert runner.captured  # the batch of one, by loading
    for rows, captured in ((1, True), (3, False), (3, True), (3, True), (1, False), (1, True)):
        backend.run(rows)
        assert runner.captured is captured
    assert standin.living()["graphs"] == 1
    backend.close()
    assert standin.living() == {}


def test_a_captured_run_asks_tensorrt_nothing(standin: Standin, engine_of: EngineOf, strip: NDArray[np.uint8]) -> None:
    with Inspector.load(engine_of("production")) as inspector:
        standin.fault("execute_async_v3", "asked")
        standin.fault("cudaMemcpyAsync", "cudaErrorInvalidValue")
        assert inspector.inspect(strip).score > 0


def test_a_failed_capture_is_an_error_that_leaves_nothing(standin: Standin, engine_of: EngineOf) -> None:
    standin.fault("execute_async_v3", "not in a capture", after=1)
    with pytest.raises(DeviceError, match="not in a capture"):
        Inspector.load(engine_of("production"))
    assert standin.living() == {}


@pytest.mark.parametrize("cuda_backend", CUDA_BACKENDS)
def test_without_graphs_it_runs_as_well(engine_of: EngineOf, strip: NDArray[np.uint8], heat_of: HeatOf, cuda_backend: Any) -> None:
    backend = TensorRtBackend.load(engine_of("production"), LoadOptions(run=RunOptions(graph=False, cuda_backend=cuda_backend)))
    with Inspector(backend, threshold=0.5) as inspector:
        for _ in range(3):
            assert np.array_equal(inspector.heatmap(strip), heat_of(strip))
        assert not backend.runner.captured
        assert inspector.describe()["graph"] is False


@pytest.mark.parametrize("cuda_backend", CUDA_BACKENDS)
def test_any_number_of_strips_runs_on_the_smallest_profile_that_holds_it(
    engine_of: EngineOf, strip: NDArray[np.uint8], heat_of: HeatOf, cuda_backend: Any
) -> None:
    strips = [np.where(strip == 220, 150 + 10 * index, strip).astype(np.uint8) for index in range(9)]
    with Inspector.load(engine_of("raw", batch="2,4:8"), cuda_backend=cuda_backend) as inspector:
        for count in (1, 2, 3, 5, 8, 1, 9):
            results = list(inspector.inspect_many(strips[:count], batch=min(max(count, 4), 8)))
            assert [np.array_equal(result.heatmap, heat_of(one)) for result, one in zip(results, strips, strict=False)] == [True] * count
        assert len(list(inspector.inspect_many(strips))) == 9  # by twos, and one that is filled up
        for batch in (1, 3, 9):
            with pytest.raises(ConfigError, match="2,4:8 strips at a time"):
                inspector.inspect_many(strips, batch=batch)


def test_a_batch_is_padded_to_the_nearest_that_runs() -> None:
    profiles = BatchProfiles.parse("2,4:8")
    assert [profiles.padded(rows) for rows in range(1, 10)] == [2, 2, 4, 4, 5, 6, 7, 8, 9]
    assert profiles.smallest == 2


def test_stage_times_are_measured_without_a_graph_and_change_no_answer(
    engine_of: EngineOf, strip: NDArray[np.uint8], heat_of: HeatOf
) -> None:
    backend = TensorRtBackend.load(engine_of("production"))
    with Inspector(backend, threshold=0.5) as inspector:
        before = inspector.heatmap(strip)
        times = backend.runner.timed(1)
        assert min(times.to_device_ms, times.compute_ms, times.to_host_ms) > 0
        assert np.array_equal(inspector.heatmap(strip), before)


# memory, threads, life


def test_an_integrated_gpu_reads_and_writes_the_hosts_memory_in_place(standin: Standin, engine_of: EngineOf) -> None:
    standin.world(gpus=(Gpu(integrated=True),))
    standin.fault("cudaMemcpyAsync", "cudaErrorInvalidValue")
    with Inspector.load(engine_of("production")) as inspector:
        assert inspector.describe()["mapped"] is True
        assert "device memory" not in standin.living()


def test_clones_share_the_engine_and_the_last_one_gives_everything_back(
    standin: Standin, engine_of: EngineOf, strip: NDArray[np.uint8]
) -> None:
    first = Inspector.load(engine_of("production"))
    standin.fault("deserialize_cuda_engine", "again")
    clones = [first.clone() for _ in range(3)]
    first.close()
    for clone in clones:
        assert clone.inspect(strip).score > 0
        assert standin.living()
        clone.close()
    assert standin.living() == {}


@pytest.mark.parametrize("cuda_backend", CUDA_BACKENDS)
def test_an_inspector_may_be_made_used_and_closed_in_different_threads(
    standin: Standin, engine_of: EngineOf, strip: NDArray[np.uint8], cuda_backend: Any
) -> None:
    made: list[Inspector] = []
    scores: list[float] = []
    path = engine_of("production")
    steps: tuple[Callable[[], object], ...] = (
        lambda: made.append(Inspector.load(path, cuda_backend=cuda_backend)),
        lambda: scores.append(made[0].inspect(strip).score),
        lambda: made[0].close(),
    )
    for step in steps:
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert scores[0] > 0
    assert standin.living() == {}


def test_an_overlapping_run_that_is_left_halfway_gives_everything_back(
    standin: Standin, engine_of: EngineOf, strip: NDArray[np.uint8]
) -> None:
    with Inspector.load(engine_of("production")) as inspector:
        results = inspector.inspect_many([strip] * 6, batch=2, overlap=True)
        next(results)
        results.close()  # type: ignore[attr-defined]
        assert inspector.inspect(strip).score > 0
    assert standin.living() == {}


def test_describe_says_what_really_runs(engine_of: EngineOf) -> None:
    with Inspector.load(engine_of("raw", batch="1,4")) as inspector:
        facts = inspector.describe()
    assert (facts["backend"], facts["cuda_backend"], facts["graph"], facts["mapped"], facts["lean"]) == (
        "tensorrt",
        "cuda-python",
        True,
        False,
        False,
    )
    assert (facts["profiles"], facts["io"], facts["input_dtype"], facts["fallback"]) == ("1,4", "raw", "uint8", None)
    assert facts["manifest"]["threshold"] == facts["threshold"] == 0.25


def test_nothing_of_tensorrt_is_touched_before_the_driver_has_answered(tmp_path: Path) -> None:
    (tmp_path / "strip.engine").write_bytes(b"an engine")
    code = (
        "import sys\n"
        "from lineside import DeviceError, Inspector\n"
        "import lineside.engine.device.driver as driver\n"
        "driver.LIBRARY = 'libcuda.so.of.no.machine'\n"
        "try:\n"
        f"    Inspector.load({str(tmp_path / 'strip.engine')!r})\n"
        "except DeviceError as exc:\n"
        "    assert 'no NVIDIA driver' in exc.what\n"
        "    assert not {'tensorrt', 'tensorrt_lean', 'cuda', 'pycuda', 'onnxruntime'} & set(sys.modules), sys.modules\n"
        "    raise SystemExit(5)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 5, done.stderr


def test_warnings_of_loading_go_to_the_log_of_lineside(engine_of: EngineOf, caplog: pytest.LogCaptureFixture) -> None:
    path = engine_of("production", gpu="Orin NX")
    with caplog.at_level(logging.WARNING, "lineside"):
        Inspector.load(path).close()
    assert {record.name for record in caplog.records} == {"lineside"}
    assert "built on Orin NX and runs on Stand-in GPU" in caplog.text
