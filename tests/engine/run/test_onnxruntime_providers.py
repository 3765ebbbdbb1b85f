"""ONNX Runtime on a GPU: what its providers are told, and that TensorRT's engines are never those of another model, GPU or version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside import DeviceError, ModelError
from lineside.engine.device.driver import Driver, Gpu
from lineside.engine.run import onnxruntime_providers, session
from lineside.engine.run.backend import LoadOptions
from lineside.engine.run.onnxruntime_backend import OnnxRuntimeBackend
from lineside.engine.run.onnxruntime_providers import CPU, CUDA, TENSORRT, CacheLineage, cache_root, refuse_fallback, with_options
from lineside.manifest import ModelManifest
from lineside.spec import PRESETS

ORIN = Gpu(name="Orin", compute_capability=(8, 7), memory_bytes=8 << 30, integrated=True)
DRIVER = Driver(cuda_version=(12, 6), gpus=(ORIN,))
LINEAGE = CacheLineage(
    model_sha256="a" * 64, gpu="Orin", compute_capability=(8, 7), driver_cuda=(12, 6), packages={"tensorrt": "10.3.0"}, options={}
)


def manifest(precision: Any) -> ModelManifest:
    return ModelManifest(
        spec=PRESETS["strip"],
        tiling="batched",
        io="production",
        precision=precision,
        base_channels=2,
        weights_sha256="0" * 64,
        checkpoint_sha256="1" * 64,
    )


@pytest.mark.parametrize(
    ("precision", "flags"),
    [("fp32", set()), ("fp16", {"trt_fp16_enable"}), ("int8", {"trt_fp16_enable", "trt_int8_enable"})],
)
def test_tensorrt_may_use_the_precisions_that_the_graph_holds_and_no_other(tmp_path: Path, precision: str, flags: set[str]) -> None:
    [(name, options)] = with_options([TENSORRT], sha256="a" * 64, manifest=manifest(precision), driver=DRIVER, root=tmp_path)
    assert name == TENSORRT
    assert {option for option in options if option in ("trt_fp16_enable", "trt_int8_enable")} == flags
    assert options["trt_engine_cache_enable"] is True
    assert Path(options["trt_engine_cache_path"]).parent == tmp_path


def test_the_cpu_is_told_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    assert with_options([CPU], sha256="a" * 64, manifest=None, driver=None, root=tmp_path) == [(CPU, {})]
    assert with_options([CUDA], sha256="a" * 64, manifest=None, driver=DRIVER, root=tmp_path) == [(CUDA, {"device_id": 0})]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "b" * 64},
        {"gpu": "NVIDIA L4"},
        {"compute_capability": (8, 9)},
        {"driver_cuda": (13, 0)},
        {"packages": {"tensorrt": "10.7.0"}},
        {"options": {"trt_fp16_enable": True}},
    ],
)
def test_whatever_an_engine_depends_on_gives_it_a_folder_of_its_own(tmp_path: Path, change: dict[str, Any]) -> None:
    first, again, other = LINEAGE.folder(tmp_path), LINEAGE.folder(tmp_path), replace(LINEAGE, **change).folder(tmp_path)
    assert first == again != other
    said = json.loads((other / "lineage.json").read_text())
    name, value = next(iter(change.items()))
    assert said[name] == json.loads(json.dumps(value))


def test_a_cache_that_belongs_to_something_else_is_refused(tmp_path: Path) -> None:
    folder = LINEAGE.folder(tmp_path)
    (folder / "lineage.json").write_text((folder / "lineage.json").read_text().replace("Orin", "Xavier"))
    with pytest.raises(ModelError, match="other engines") as caught:
        LINEAGE.folder(tmp_path)
    assert f"rm -r {folder}" in caught.value.fix


def test_caches_lie_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "lineside" / "onnxruntime-tensorrt"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification says: ignore it
    assert cache_root() == Path.home() / ".cache/lineside/onnxruntime-tensorrt"


def test_a_second_provider_may_have_nothing_left_to_run_but_has_to_be_there() -> None:
    refuse_fallback([TENSORRT, CUDA], [TENSORRT, CUDA, CPU], {TENSORRT: 1}, Path("strip.onnx"))
    with pytest.raises(DeviceError, match=CUDA):
        refuse_fallback([TENSORRT, CUDA], [TENSORRT, CPU], {TENSORRT: 1}, Path("strip.onnx"))
    with pytest.raises(DeviceError, match=TENSORRT):
        refuse_fallback([TENSORRT, CUDA], [TENSORRT, CUDA, CPU], {CUDA: 9}, Path("strip.onnx"))


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_without_a_driver_no_session_is_made(models: Path, monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    def no_driver() -> Driver:
        raise DeviceError("no NVIDIA driver on this machine")

    runtime = session.onnxruntime()
    monkeypatch.setattr(runtime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(runtime, "InferenceSession", lambda *_, **__: pytest.fail("a session was opened"))
    monkeypatch.setattr("lineside.engine.device.driver.ask_driver", no_driver)
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        OnnxRuntimeBackend.load(models / "production.onnx", LoadOptions(providers=[provider]))


class StandIn:
    """A test double of ONNX Runtime with TensorRT: it runs on the CPU, keeps what it was told, and may fail in its first run."""

    sessions: list[tuple[Sequence[Any], StandIn]]
    fails = ""

    def __init__(self, real: Any, path: str, options: Any, *, providers: Sequence[Any], **more: Any) -> None:
        self._real = real(path, options, providers=[CPU], **more)
        self._names = [name for name, _ in providers]
        self.runs = 0
        StandIn.sessions.append((providers, self))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_providers(self) -> list[str]:
        return [*self._names, CPU]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [type("Part", (), {"ep_name": self._names[0], "get_nodes": lambda self: [None]})()]

    def run(self, *arguments: Any) -> Any:
        self.runs += 1
        if StandIn.fails:
            raise session.onnxruntime().capi.onnxruntime_pybind11_state.EPFail(StandIn.fails)
        return self._real.run(*arguments)


@pytest.fixture
def on_tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[StandIn]:
    runtime = session.onnxruntime()
    real = runtime.InferenceSession
    monkeypatch.setattr(StandIn, "sessions", [], raising=False)
    monkeypatch.setattr(StandIn, "fails", "")
    monkeypatch.setattr(runtime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(runtime, "InferenceSession", lambda *a, **k: StandIn(real, *a, **k))
    monkeypatch.setattr("lineside.engine.device.driver.ask_driver", lambda: DRIVER)
    monkeypatch.setattr(onnxruntime_providers, "cache_root", lambda: tmp_path)
    return StandIn


def test_tensorrt_builds_while_the_model_loads_and_says_where_its_engine_is(
    models: Path, on_tensorrt: type[StandIn], tmp_path: Path
) -> None:
    backend = OnnxRuntimeBackend.load(models / "production.onnx", LoadOptions(providers=["tensorrt", "cuda"]))
    providers, session = on_tensorrt.sessions[-1]
    assert [name for name, _ in providers] == [TENSORRT, CUDA]
    assert session.runs == 1, "the engine is built before the first strip comes"
    said = backend.describe()
    json.dumps(said, allow_nan=False)
    folder = Path(said["provider_options"][TENSORRT]["trt_engine_cache_path"])
    assert folder.parent == tmp_path
    assert json.loads((folder / "lineage.json").read_text())["model_sha256"] == said["sha256"]
    assert said["backend"] == "onnxruntime-tensorrt"
    backend.input[:] = 0
    assert np.array_equal(backend.run(1)[0], np.zeros((1, 64, 96), np.float32))


def test_an_engine_that_cannot_be_built_is_a_device_error(models: Path, on_tensorrt: type[StandIn]) -> None:
    on_tensorrt.fails = "TensorRT EP could not build engine"
    with pytest.raises(DeviceError, match=r"built no engine[\s\S]*could not build") as caught:
        OnnxRuntimeBackend.load(models / "production.onnx", LoadOptions(providers=["tensorrt"]))
    assert "lineside build" in caught.value.fix
