"""What is checked before TensorRT sees an engine: each mismatch is one error, and each error names the command that mends it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from lineside import DeviceError, ModelError
from lineside.engine.device._trt import Installed
from lineside.engine.device.driver import Driver, Gpu
from lineside.engine.files.sidecar import EngineManifest
from lineside.engine.run import refusals

ORIN = Gpu(name="Orin", compute_capability=(8, 7), memory_bytes=8 << 30, integrated=True)
H200 = Gpu(name="NVIDIA H200", compute_capability=(9, 0), memory_bytes=140 << 30, integrated=False)
PLAN = b"a plan"


@pytest.fixture
def manifest(sidecar_of: Callable[..., EngineManifest]) -> EngineManifest:
    return sidecar_of(plan_sha256=hashlib.sha256(PLAN).hexdigest())


def tensorrt(version: str, name: str = "tensorrt") -> ModuleType:
    """A module that has nothing but the version that is asked for."""
    module = ModuleType(name)
    module.__version__ = version  # type: ignore[attr-defined]
    return module


def test_the_engine_that_the_sidecar_describes_is_read(tmp_path: Path, manifest: EngineManifest) -> None:
    path = tmp_path / "strip.engine"
    path.write_bytes(PLAN)
    assert refusals.read_plan(path, manifest) == (PLAN, manifest.plan_sha256)
    assert refusals.read_plan(path, None)[0] == PLAN


def test_another_engine_than_the_sidecars_is_refused_with_the_build_command(tmp_path: Path, manifest: EngineManifest) -> None:
    path = tmp_path / "strip.engine"
    path.write_bytes(PLAN + b"!")
    with pytest.raises(ModelError, match="not the engine that its sidecar describes") as caught:
        refusals.read_plan(path, manifest)
    assert f"lineside build strip.onnx --out {path} --batch 1,4 --force" in caught.value.fix


def test_an_empty_engine_is_refused(tmp_path: Path) -> None:
    (tmp_path / "strip.plan").touch()
    with pytest.raises(ModelError, match="empty"):
        refusals.read_plan(tmp_path / "strip.plan", None)


@pytest.mark.parametrize(
    ("package", "cuda", "refused"),
    [
        ("tensorrt-cu13-bindings", (12, 9), True),
        ("tensorrt-cu13", (13, 0), False),
        ("tensorrt-cu12", (13, 1), False),
        ("tensorrt-lean-cu13", (12, 4), True),
        ("tensorrt", (11, 0), False),  # a Jetson's: its name does not tell
        ("", (11, 0), False),  # none: the error about that comes later
    ],
)
def test_a_driver_older_than_tensorrts_cuda_is_refused(package: str, cuda: tuple[int, int], refused: bool) -> None:
    driver = Driver(cuda_version=cuda, gpus=(H200,))
    installed = Installed(name=package, version="11.4.0", lean="lean" in package) if package else None
    if not refused:
        refusals.refuse_old_driver(driver, installed)
        return
    with pytest.raises(DeviceError, match=f"CUDA up to {cuda[0]}.{cuda[1]}") as caught:
        refusals.refuse_old_driver(driver, installed)
    assert package.replace("cu13", "cu12") in caught.value.fix


def test_an_engine_of_another_gpu_is_refused_with_the_build_command(manifest: EngineManifest) -> None:
    with pytest.raises(ModelError, match=r"8\.7 \(Orin\)[\s\S]*NVIDIA H200 has 9\.0[\s\S]*lineside build strip\.onnx"):
        refusals.refuse_other_gpu(Path("strip.engine"), manifest, H200)
    refusals.refuse_other_gpu(Path("strip.engine"), manifest, ORIN)


def test_a_hardware_compatible_engine_runs_from_ampere_on(manifest: EngineManifest) -> None:
    manifest = replace(manifest, hardware_compatible=True)
    refusals.refuse_other_gpu(Path("strip.engine"), manifest, H200)
    with pytest.raises(ModelError, match=r"8\.0 or newer"):
        refusals.refuse_other_gpu(Path("strip.engine"), manifest, replace(H200, compute_capability=(7, 5)))


def test_another_gpu_of_the_same_capability_runs_with_a_warning(manifest: EngineManifest, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "lineside"):
        refusals.refuse_other_gpu(Path("strip.engine"), manifest, replace(ORIN, name="Orin Nano"))
    assert "built on Orin and runs on Orin Nano" in caplog.text


@pytest.mark.parametrize(
    ("built", "here", "compatible", "refused"),
    [
        ("10.3.0", "10.3.0", False, False),
        ("10.3.0", "10.3.0.26", False, False),  # a Jetson's package leaves out the fourth number
        ("10.3.0", "10.6.0", False, True),
        ("10.13.3.9", "10.13.3.10", False, True),
        ("10.3.0", "10.13.3.9", True, False),
        ("10.3.0", "11.4.0.106", True, False),
        ("10.13.3.9", "10.3.0", True, True),
    ],
)
def test_an_engine_runs_on_its_tensorrt_and_a_compatible_one_on_later_ones(
    manifest: EngineManifest, built: str, here: str, compatible: bool, refused: bool
) -> None:
    manifest = replace(manifest, tensorrt=built, version_compatible=compatible)
    if not refused:
        refusals.refuse_other_tensorrt(Path("strip.engine"), manifest, tensorrt(here))
        return
    with pytest.raises(ModelError, match=f"built by TensorRT {built}") as caught:
        refusals.refuse_other_tensorrt(Path("strip.engine"), manifest, tensorrt(here))
    assert "lineside build strip.onnx" in caught.value.fix


def test_the_lean_runtime_takes_compatible_engines_alone(manifest: EngineManifest) -> None:
    lean = tensorrt("10.3.0", "tensorrt_lean")
    with pytest.raises(ModelError, match="needs the full TensorRT"):
        refusals.refuse_other_tensorrt(Path("strip.engine"), manifest, lean)
    refusals.refuse_other_tensorrt(Path("strip.engine"), replace(manifest, version_compatible=True), lean)


class Memory:
    """A device that knows how much is free, and nothing else."""

    def __init__(self, gpu: Gpu, free: int) -> None:
        self.gpu, self.free = gpu, free

    def memory(self) -> tuple[int, int]:
        return self.free, self.gpu.memory_bytes


def test_an_engine_that_does_not_fit_is_refused_with_both_numbers() -> None:
    with pytest.raises(DeviceError, match=r"needs about 100 MiB[\s\S]*99 MiB are free on the NVIDIA H200"):
        refusals.refuse_little_memory(Path("strip.engine"), need=100 << 20, device=Memory(H200, 99 << 20))  # type: ignore[arg-type]
    refusals.refuse_little_memory(Path("strip.engine"), need=100 << 20, device=Memory(H200, 100 << 20))  # type: ignore[arg-type]


def test_an_integrated_gpu_has_the_ram_that_the_kernel_can_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "available_ram", lambda: 200 << 20)
    refusals.refuse_little_memory(Path("strip.engine"), need=150 << 20, device=Memory(ORIN, 0))  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="shares them with the CPU"):
        refusals.refuse_little_memory(Path("strip.engine"), need=201 << 20, device=Memory(ORIN, 1 << 40))  # type: ignore[arg-type]
