"""`doctor` is safe everywhere and honest about what is missing."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lineside._optional import install_command
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
    assert [answer.stage for answer in diagnosis.stages] == ["train", "export", "calibrate", "build", "run", "run engine"]
    assert all(answer.ready != bool(answer.fix) for answer in diagnosis.stages)
    json.dumps(diagnosis.to_json())


def test_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda: {"onnx": "1", "onnxruntime-gpu": "1"})
    answers = {answer.stage: answer for answer in doctor.diagnose().stages}
    assert answers["train"].missing == ("torch", "matplotlib")
    assert answers["train"].fix == install_command("train")
    assert answers["run"].ready, "the GPU build of ONNX Runtime counts"


def answers_of(
    monkeypatch: pytest.MonkeyPatch, packages: dict[str, str], *, cuda: tuple[int, int] | None = None, jetson: str = ""
) -> dict[str, doctor.StageAnswer]:
    """What the doctor says of a machine with these packages, a driver that runs this CUDA, or none."""

    def ask() -> driver.Driver:
        if cuda is None:
            raise DeviceError("no NVIDIA driver on this machine")
        return driver.Driver(cuda_version=cuda, gpus=())

    monkeypatch.setattr(doctor, "_installed", lambda: packages)
    monkeypatch.setattr(doctor, "_jetson", lambda: jetson)
    monkeypatch.setattr(doctor, "ask_driver", ask)
    return {answer.stage: answer for answer in doctor.diagnose().stages}


ENGINE = {"tensorrt": "10.13.3", "cuda-python": "12.9.1", "cuda-bindings": "12.9.1", "polygraphy": "0.53"}


def test_with_everything_there_both_engine_stages_name_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = answers_of(monkeypatch, ENGINE, cuda=(12, 6))
    assert answers["build"].ready
    assert answers["run engine"].ready
    assert answers["build"].use == "lineside build strip.onnx --out strip.engine"
    assert answers["run engine"].use.startswith("lineside infer strip.engine")


def test_the_lean_runtime_runs_engines_and_builds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = answers_of(monkeypatch, {"tensorrt-lean-cu13-bindings": "11.4.0.106", "pycuda": "2025.1", "polygraphy": "0.53"}, cuda=(13, 0))
    assert answers["run engine"].ready, "PyCUDA does as well as cuda-python"
    assert answers["build"].missing == ("tensorrt",)
    assert answers["build"].fix == "pip install tensorrt-cu13"


@pytest.mark.parametrize(
    ("cuda", "fix"),
    [
        ((12, 6), "pip install tensorrt-cu12 'cuda-python>=12,<13' polygraphy"),
        ((13, 1), "pip install tensorrt-cu13 'cuda-python>=13,<14' polygraphy"),
        ((14, 0), "pip install tensorrt-cu13 'cuda-python>=13,<14' polygraphy"),
    ],
)
def test_packages_for_engines_are_those_of_the_drivers_cuda(monkeypatch: pytest.MonkeyPatch, cuda: tuple[int, int], fix: str) -> None:
    assert answers_of(monkeypatch, {}, cuda=cuda)["build"].fix == fix


def test_on_a_jetson_tensorrt_comes_with_jetpack(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = answers_of(monkeypatch, {}, cuda=(12, 6), jetson="Orin, JetPack 6")["build"]
    assert "apt install python3-libnvinfer" in answer.fix
    assert "pip install 'cuda-python>=12,<13' polygraphy" in answer.fix
    assert "pip install tensorrt" not in answer.fix


def test_a_cuda_python_of_a_later_cuda_than_the_drivers_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = answers_of(monkeypatch, ENGINE | {"cuda-bindings": "13.4.4", "cuda-python": "13.4.4"}, cuda=(12, 6))
    for stage in ("build", "run engine"):
        assert "13.4.4 needs CUDA 13, it runs 12" in answers[stage].missing[0]
        assert "'cuda-python>=12,<13'" in answers[stage].fix


def test_without_a_gpu_the_engine_stages_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = answers_of(monkeypatch, ENGINE)
    for stage in ("build", "run engine"):
        assert answers[stage].missing == ("an NVIDIA GPU with its driver",)
        assert answers[stage].fix == "run this stage on the machine with the GPU"
    assert answers_of(monkeypatch, {})["build"].fix.startswith(install_command("engine"))


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
        (b"NVIDIA Jetson Orin NX\0", "# R39 (release), REVISION: 2.0", "NVIDIA Jetson Orin NX, JetPack 7"),
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
