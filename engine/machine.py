"""Which processor this is, and how many cores of it this process may really use.

In:   what the kernel says of the processor, its topology, the scheduler's affinity, and the quota of the process's control groups.
Out:  a name, and numbers. A container that sees 64 cores and may use two gets two: more threads than that wait for each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


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


def _core_of(cpu: int, root: Path) -> tuple[str, ...]:
    """What tells the core of a logical CPU from the others; the CPU itself where the kernel does not say."""
    folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    try:
        return tuple((folder / name).read_text() for name in ("physical_package_id", "core_id"))
    except OSError:
        return (str(cpu),)
