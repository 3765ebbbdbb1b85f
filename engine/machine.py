"""Which processor this is, and how many cores of it this process may really use.

In:   what the kernel says of the processor, its topology, the scheduler's affinity, and the quota of the process's control groups.
Out:  a name, numbers, the memory that is free, and whether INT8 is computed without saturation. A container that sees 64 cores and may
      use two gets two: more threads than that wait for each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from lineside.errors import DeviceError

ROOT = Path("/")
MEMINFO = "proc/meminfo"
MIB = 2**20
_VNNI = {"avx512_vnni", "avx_vnni"}
"""The kernel's names of its two forms."""


def cpuinfo(root: Path = ROOT) -> dict[str, str]:
    """The fields of /proc/cpuinfo, of its last CPU: all are taken to be alike. Empty where there is none."""
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def processor(root: Path = ROOT) -> str | None:
    """The processor's name; on ARM the number of its part. None where the kernel does not say."""
    facts = cpuinfo(root)
    return facts.get("model name") or facts.get("CPU part")


def adds_in_32_bits(root: Path = ROOT) -> bool | None:
    """Whether products of 8 bits are added in 32 bits: on ARM always, on x86 with VNNI alone. None where the kernel does not say."""
    facts = cpuinfo(root)
    if "flags" in facts:
        return not _VNNI.isdisjoint(facts["flags"].split())
    return True if "Features" in facts else None


def vnni_doubt(cpu: str, root: Path = ROOT) -> str | None:
    """Why this machine may compute wrongly what was made for `cpu` ("any", "vnni", empty: not said); None where it does not."""
    if cpu == "any" or adds_in_32_bits(root) is not False:
        return None
    made = "made for CPUs with VNNI" if cpu else "made before files said for which CPUs they are"
    return (
        f"{made}, and this one has none: it adds products in 16 bits, which may saturate and change verdicts; "
        "quantise it again with --cpu any, which is the default"
    )


def physical_cores(root: Path = ROOT) -> int:
    """Physical cores that the process may run on, at most its quota, at least 1. Two hyperthreads of a core count once."""
    cores = {_core_of(cpu, root) for cpu in os.sched_getaffinity(0)}
    return max(1, math.ceil(min(len(cores), quota_cores(root))))


def quota_cores(root: Path = ROOT) -> float:
    """Processor time that the control groups (version 2) leave to the process, in cores; infinity without a quota."""
    quotas = (text.split() for text in limits("cpu.max", root))
    return min((int(time_us) / int(period_us) for time_us, period_us in quotas if time_us != "max"), default=math.inf)


def limits(name: str, root: Path = ROOT) -> Iterator[str]:
    """What `name` says in the process's control group and in every group around it; a limit of any of them holds."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    top = root / "sys/fs/cgroup"
    for group in (top / line[len("0::/") :] for line in groups if line.startswith("0::/")):
        for folder in (group, *group.parents):
            if (folder / name).is_file():
                yield (folder / name).read_text().strip()
            if folder == top:
                break


def available_ram(root: Path = ROOT) -> int:
    """Bytes of RAM that the kernel can give without swapping (MemAvailable). Raises: DeviceError."""
    for line in (root / MEMINFO).read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise DeviceError(f"{root / MEMINFO} has no MemAvailable", why="Linux 3.14 and newer say it", fix="build on a newer Linux")


def _core_of(cpu: int, root: Path) -> tuple[str, ...]:
    """What tells the core of a logical CPU from the others; the CPU itself where the kernel does not say."""
    folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    try:
        return tuple((folder / name).read_text() for name in ("physical_package_id", "core_id"))
    except OSError:
        return (str(cpu),)
