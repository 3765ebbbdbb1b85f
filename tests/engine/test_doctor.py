"""`doctor` is safe everywhere and honest about what is missing."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lineside.engine import doctor
from lineside.engine.device import driver
from lineside.errors import DeviceError

HAS_DRIVER = True
try:
    ctypes.CDLL(driver.LIBRARY)
except OSError:
    HAS_DRIVER = False


@pytest.mark.skipif(HAS_DRIVER, reason="this machine has an NVIDIA driver")
def test_without_a_driver_the_answer_says_so_and_what_to_do() -> None:
    with pytest.raises(DeviceError, match="no NVIDIA driver") as caught:
        driver.ask_driver()
    assert "libcuda.so.1" in caught.value.why
    assert "ONNX" in caught.value.fix


class FakeCuda:
    """A test double of libcuda: answers what it is told to, or fails in one function with one status."""

    def __init__(self, *, fails: str = "", status: int = 0, gpus: int = 1) -> None:
        self.fails, self.status, self.gpus = fails, status, gpus

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == self.fails:
                return self.status
            if name == "cuGetErrorName":
                arguments[1]._obj.value = b"CUDA_ERROR_UNKNOWN"
            elif name == "cuDriverGetVersion":
                arguments[0]._obj.value = 13010
            elif name == "cuDeviceGetCount":
                arguments[0]._obj.value = self.gpus
            elif name == "cuDeviceGetName":
                arguments[0].value = b"Orin"
            elif name == "cuDeviceTotalMem_v2":
                arguments[0]._obj.value = 8 << 30
            elif name == "cuDeviceGetAttribute":
                arguments[0]._obj.value = {75: 8, 76: 7, 18: 1}[arguments[1]]
            return 0

        return call


def test_the_drivers_answers_are_read_as_it_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.ctypes, "CDLL", lambda name: FakeCuda(gpus=2))
    answer = driver.ask_driver()
    assert answer.cuda_version == (13, 1)
    assert answer.gpus == (driver.Gpu(name="Orin", compute_capability=(8, 7), memory_bytes=8 << 30, integrated=True),) * 2


@pytest.mark.parametrize(
    ("cuda", "said"),
    [
        (FakeCuda(fails="cuInit", status=100), "sees no GPU"),
        (FakeCuda(gpus=0), "sees no GPU"),
        (FakeCuda(fails="cuInit", status=999), "CUDA_ERROR_UNKNOWN"),
        (FakeCuda(fails="cuDeviceGetName", status=1), "CUDA_ERROR_UNKNOWN"),
    ],
)
def test_every_refusal_of_the_driver_is_a_device_error(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda, said: str) -> None:
    monkeypatch.setattr(driver.ctypes, "CDLL", lambda name: cuda)
    with pytest.raises(DeviceError, match=said):
        driver.ask_driver()


def test_every_stage_has_an_answer_and_whatever_is_missing_a_fix() -> None:
    diagnosis = doctor.diagnose()
    assert [answer.stage for answer in diagnosis.stages] == ["train", "export", "calibrate", "build", "run"]
    assert all(answer.ready != bool(answer.fix) for answer in diagnosis.stages)
    json.dumps(diagnosis.to_json())


def test_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda: {"onnx": "1", "onnxruntime-gpu": "1"})
    answers = {answer.stage: answer for answer in doctor.diagnose().stages}
    assert answers["train"].missing == ("torch", "matplotlib")
    assert answers["train"].fix == 'pip install "lineside[train]"'
    assert answers["run"].ready, "the GPU build of ONNX Runtime counts"


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        ({"tensorrt": "10.3.0"}, "full 10.3.0"),
        ({"tensorrt-cu13-bindings": "11.4.0"}, "full 11.4.0"),
        ({"tensorrt-lean-cu13-bindings": "11.4.0"}, "lean 11.4.0"),
        ({"torch": "2"}, "not installed"),
    ],
)
def test_full_and_lean_tensorrt_are_told_apart(packages: dict[str, str], said: str) -> None:
    assert doctor._tensorrt(packages) == said


@pytest.mark.parametrize(
    ("model", "release", "said"),
    [
        (b"NVIDIA Jetson Orin Nano Developer Kit\0", "# R36 (release), REVISION: 4.0", "NVIDIA Jetson Orin Nano Developer Kit, JetPack 6"),
        (b"NVIDIA Jetson Thor\0", "# R38 (release)", "NVIDIA Jetson Thor, JetPack 7"),
        (b"NVIDIA Jetson Future\0", "# R99 (release)", "NVIDIA Jetson Future, JetPack of Jetson Linux 99"),
        (b"Raspberry Pi 5\0", None, ""),
        (None, None, ""),
    ],
)
def test_a_jetson_is_known_by_its_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: bytes | None, release: str | None, said: str
) -> None:
    monkeypatch.setattr(doctor, "JETSON_MODEL", tmp_path / "model")
    monkeypatch.setattr(doctor, "JETSON_RELEASE", tmp_path / "release")
    if model is not None:
        (tmp_path / "model").write_bytes(model)
    if release is not None:
        (tmp_path / "release").write_text(release)
    assert doctor._jetson() == said


def test_doctor_imports_no_tensorrt_and_no_torch() -> None:
    code = "import sys; from lineside.engine.doctor import diagnose; diagnose(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorrt", "torch", "onnx", "onnxruntime", "cuda"} & {name.split(".")[0] for name in modules}
