from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lineside.benchmarks.measure import nvml
from lineside.benchmarks.measure.environment import environment


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_this_machine_is_described_in_json() -> None:
    found = json.loads(json.dumps(environment(), allow_nan=False))
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["cpu"]["logical"] >= found["cpu"]["physical"] >= 1
    assert found["memory"]["total_bytes"] > found["memory"]["available_bytes"] > 0
    assert found["packages"]["numpy"]


def test_a_machines_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    write(
        tmp_path / "proc/cpuinfo", "processor\t: 0\nmodel name\t: Fast CPU\nflags\t\t: fpu avx2 amx_int8 avx512_vnni\ncpu MHz\t\t: 2596.1\n"
    )
    write(tmp_path / "proc/meminfo", "MemTotal:       16000 kB\nMemAvailable:    8000 kB\n")
    write(tmp_path / "proc/self/cgroup", "0::/job\n")
    write(tmp_path / "sys/fs/cgroup/job/memory.max", "4096000\n")
    write(tmp_path / "sys/fs/cgroup/memory.max", "max\n")
    write(tmp_path / "sys/fs/cgroup/job/cpu.max", "50000 100000\n")
    write(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "3100000\n")
    write(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    write(tmp_path / "etc/os-release", 'NAME=Ubuntu\nPRETTY_NAME="Ubuntu 22.04.4 LTS"\n')
    found = environment(tmp_path)
    assert found["system"] == "Ubuntu 22.04.4 LTS"
    assert found["memory"] == {"total_bytes": 16000 * 1024, "available_bytes": 8000 * 1024, "limit_bytes": 4096000}
    cpu = found["cpu"]
    assert (cpu["model"], cpu["features"], cpu["mhz"], cpu["governor"]) == (
        "Fast CPU",
        ["avx2", "avx512_vnni", "amx_int8"],
        [3100.0],
        "powersave",
    )
    assert (cpu["quota_cores"], cpu["physical"], cpu["max_mhz"], cpu["cpuinfo_mhz"]) == (0.5, 1, [None], 2596.1)


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    found = environment(tmp_path)
    assert (found["cpu"]["model"], found["cpu"]["features"], found["memory"]["total_bytes"]) == (None, [], None)


def test_the_environment_imports_nothing_heavy() -> None:
    code = (
        "import sys; from lineside.benchmarks.measure.environment import environment; environment();"
        "assert not {'torch', 'tensorrt', 'onnxruntime', 'cuda'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_driver_or_the_package_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    monkeypatch.setattr("ctypes.CDLL", lambda name, *_: (_ for _ in ()).throw(OSError(f"{name}: not there")))
    assert nvml.read_gpus() == []
    monkeypatch.setitem(sys.modules, nvml.PACKAGE, None)
    assert nvml.read_gpus() == []


class FakeNvml(ModuleType):
    """A test double of pynvml: one GPU, which does not tell its temperature. Its names are the package's: see the test below."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        """What pynvml raises."""

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def __getattr__(self, function: str) -> Any:
        def call(*arguments: Any) -> Any:
            values: dict[str, Any] = {
                "nvmlDeviceGetCount": 1,
                "nvmlDeviceGetHandleByIndex": "handle",
                "nvmlDeviceGetPowerUsage": 70_500,
                "nvmlDeviceGetEnforcedPowerLimit": 700_000,
                "nvmlSystemGetDriverVersion": "580.65",
                "nvmlDeviceGetName": "NVIDIA H200",
                "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=140 * 2**30, used=2**30),
                "nvmlDeviceGetClockInfo": {1: 345, 2: 3201}.get(arguments[-1]) if arguments else None,
                "nvmlDeviceGetMaxClockInfo": {1: 1980, 2: 3201}.get(arguments[-1]) if arguments else None,
            }
            if function not in values:
                raise self.NVMLError(function)
            return values[function]

        return call


def test_every_name_that_is_asked_for_is_in_the_package() -> None:
    package = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    text = Path(nvml.__file__).read_text()
    names = {"nvmlInit", "nvmlShutdown", *re.findall(r"\b(?:nvml[A-Z]\w+|NVML_\w+|NVMLError)\b", text)} - {
        "nvmlClocksThrottleReasons",
        "nvmlDeviceGet",
    }
    assert len(names) > 12
    made = {f"nvmlDeviceGet{what}" for what in ("PowerUsage", "EnforcedPowerLimit", "ClockInfo", "MaxClockInfo")}
    assert not [name for name in names | made if not hasattr(package, name)]


def test_a_gpu_is_described_and_what_it_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeNvml()
    monkeypatch.setitem(sys.modules, nvml.PACKAGE, library)
    (gpu,) = nvml.read_gpus()
    assert (gpu["driver"], gpu["name"], gpu["memory_total_bytes"]) == ("580.65", "NVIDIA H200", 140 * 2**30)
    assert (gpu["sm_clock_mhz"], gpu["sm_clock_max_mhz"], gpu["memory_clock_mhz"]) == (345, 1980, 3201)
    assert (gpu["power_w"], gpu["power_limit_w"], gpu["temperature_c"]) == (70.5, 700.0, None)
    assert library.open == 0
