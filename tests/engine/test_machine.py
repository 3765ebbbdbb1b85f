from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from lineside.engine.machine import adds_in_32_bits, limits, physical_cores, processor, quota_cores, vnni_doubt


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def machine(root: Path, *, threads_per_core: int = 1, group: str = "/", quotas: dict[str, str] | None = None) -> Path:
    """A machine's /proc and /sys as far as they are read: the CPUs of this process, and control groups with quotas."""
    for index, cpu in enumerate(sorted(os.sched_getaffinity(0))):
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        write(topology / "physical_package_id", "0\n")
        write(topology / "core_id", f"{index // threads_per_core}\n")
    write(root / "proc/self/cgroup", f"0::{group}\n")
    for folder, quota in (quotas or {}).items():
        write(root / "sys/fs/cgroup" / folder / "cpu.max", quota + "\n")
    return root


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)


@pytest.mark.usefixtures("four_cpus")
@pytest.mark.parametrize(("threads_per_core", "cores"), [(1, 4), (2, 2), (4, 1)])
def test_hyperthreads_count_once(tmp_path: Path, threads_per_core: int, cores: int) -> None:
    assert physical_cores(machine(tmp_path, threads_per_core=threads_per_core)) == cores


@pytest.mark.usefixtures("four_cpus")
@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 4), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1)])
def test_a_containers_quota_bounds_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    assert physical_cores(machine(tmp_path, quotas={".": quota})) == cores


def test_the_tightest_group_around_the_process_holds(tmp_path: Path) -> None:
    quotas = {"slice": "300000 100000", "slice/job": "max 100000", "other": "1000 100000"}
    root = machine(tmp_path, group="/slice/job", quotas=quotas)
    assert quota_cores(root) == 3.0
    assert list(limits("cpu.max", root)) == ["max 100000", "300000 100000"]


@pytest.mark.usefixtures("four_cpus")
def test_a_machine_that_says_nothing_has_one_core_per_cpu(tmp_path: Path) -> None:
    assert physical_cores(tmp_path) == 4
    assert quota_cores(tmp_path) == math.inf


def test_this_machine_has_a_core() -> None:
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("told", "name"),
    [("model name\t: Fast CPU\nflags\t: avx2\n\nmodel name\t: Fast CPU\n", "Fast CPU"), ("CPU part\t: 0xd42\n", "0xd42"), (None, None)],
)
def test_the_processor_is_what_the_kernel_calls_it(told: str | None, name: str | None, tmp_path: Path) -> None:
    if told is not None:
        write(tmp_path / "proc/cpuinfo", told)
    assert processor(tmp_path) == name


@pytest.mark.parametrize(
    ("cpuinfo", "found"),
    [
        ("flags\t\t: fpu avx2 avx512_vnni\n", True),
        ("flags\t\t: fpu avx2 avx_vnni\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("Features\t: fp asimd asimddp\n", True),  # ARM's instructions have no sum in 16 bits
        ("processor\t: 0\n", None),
    ],
)
def test_products_of_8_bits_are_added_in_32_where_the_processor_can(tmp_path: Path, cpuinfo: str, found: bool | None) -> None:
    write(tmp_path / "proc/cpuinfo", cpuinfo)
    assert adds_in_32_bits(tmp_path) is found


@pytest.mark.parametrize(
    ("flags", "cpu", "doubted"), [("avx2", "vnni", True), ("avx2", "", True), ("avx2", "any", False), ("avx512_vnni", "vnni", False)]
)
def test_a_file_is_doubted_that_was_not_made_for_this_processor(tmp_path: Path, flags: str, cpu: str, doubted: bool) -> None:
    write(tmp_path / "proc/cpuinfo", f"flags : {flags}\n")
    assert (vnni_doubt(cpu, tmp_path) is not None) is doubted
