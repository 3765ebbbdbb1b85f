"""Where a measurement was made: what a reader needs to compare it with another.

In:   the machine: /proc and /sys, the installed packages, the NVIDIA driver where there is one.
Out:  a dict of JSON values. What a machine does not tell is None. Imports nothing heavy, and TensorRT never.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lineside.engine.doctor import diagnose
from lineside.engine.machine import ROOT, cpuinfo, limits, physical_cores, processor, quota_cores

from .nvml import read_gpus

FEATURES = (
    *("avx", "avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "amx_tile"),
    *("asimd", "asimdhp", "asimddp", "sve", "sve2", "i8mm", "bf16", "svei8mm", "svebf16"),
)
"""Instruction sets that change how fast convolutions in float, half or 8 bits run: x86-64, then ARM, as /proc/cpuinfo spells them."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def environment(root: Path = ROOT) -> dict[str, Any]:
    """The machine as it is now. `root` is where its /proc and /sys lie."""
    machine = diagnose()
    return {
        "system": _os_name(root),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": dict(machine.packages),
        "cpu": _cpu(root),
        "memory": _memory(root),
        "load_1_minute": os.getloadavg()[0],
        "variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "jetson": machine.jetson or None,
        "tensorrt": machine.tensorrt,
        "cuda": asdict(machine.driver) if machine.driver else None,
        "gpus": read_gpus(),
    }


def machine_of(found: Mapping[str, Any]) -> str:
    """The machine of an environment in a line: where two measurements can be compared, it is the same."""
    cpu = f"{found['cpu']['model']}, {found['cpu']['physical']} cores"
    gpus = ", ".join(str(gpu.get("name")) for gpu in found["gpus"])
    return f"{gpus}; {cpu}" if gpus else cpu


def _cpu(root: Path) -> dict[str, Any]:
    """What kind of CPU, and how much of it the process may use; clocks are one per usable CPU."""
    facts = cpuinfo(root)
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    usable = sorted(os.sched_getaffinity(0))
    quota = quota_cores(root)
    return {
        "model": processor(root),
        "architecture": platform.machine(),
        "features": [feature for feature in FEATURES if feature in flags],
        "logical": len(usable),
        "physical": physical_cores(root),
        "quota_cores": quota if math.isfinite(quota) else None,
        "mhz": [_frequency_mhz(root, cpu, "scaling_cur_freq") for cpu in usable],
        "max_mhz": [_frequency_mhz(root, cpu, "cpuinfo_max_freq") for cpu in usable],
        "cpuinfo_mhz": float(facts["cpu MHz"]) if "cpu MHz" in facts else None,
        "governor": _text(root / f"sys/devices/system/cpu/cpu{usable[0]}/cpufreq/scaling_governor"),
    }


def _memory(root: Path) -> dict[str, int | None]:
    facts = _fields(root / "proc/meminfo")
    bounds = [int(text) for text in limits("memory.max", root) if text != "max"]
    return {
        "total_bytes": _bytes(facts.get("MemTotal")),
        "available_bytes": _bytes(facts.get("MemAvailable")),
        "limit_bytes": min(bounds, default=None),
    }


def _os_name(root: Path) -> str:
    name = _fields(root / "etc/os-release", separator="=").get("PRETTY_NAME")
    return name.strip('"') if name else platform.system()


def _frequency_mhz(root: Path, cpu: int, name: str) -> float | None:
    khz = _text(root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}")
    return None if khz is None else int(khz) / 1000


def _bytes(kib: str | None) -> int | None:
    """Bytes of "24689012 kB", as /proc/meminfo writes it."""
    return None if kib is None else int(kib.split()[0]) * 1024


def _fields(path: Path, *, separator: str = ":") -> dict[str, str]:
    """The "name: value" lines of a file; of equal names the last; none when there is no such file."""
    pairs = (line.partition(separator) for line in (_text(path) or "").splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
