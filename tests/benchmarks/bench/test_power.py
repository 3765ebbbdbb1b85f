"""Energy and throttling, on machines that are written down as files."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lineside.benchmarks.bench.power import energy_of, open_meters
from lineside.benchmarks.bench.soak import rss_mib, soak
from lineside.benchmarks.measure import nvml as nvml_module
from lineside.benchmarks.measure.latency import LatencyOptions
from lineside.benchmarks.measure.nvml import NvmlSession
from lineside.benchmarks.measure.throttle import HEAT, QUOTA, ThrottleWatch
from lineside.benchmarks.subjects.subjects import Subject


def write(path: Path, text: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")
    return path


def subject(name: str = "one", items: int = 1) -> Subject:
    def run(index: int) -> None:
        time.sleep(0.001)

    return Subject(name=name, items=items, run=run, answer=lambda index: np.zeros(1), about={})


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, nvml_module.PACKAGE, None)


@pytest.mark.usefixtures("no_nvml")
def test_a_machine_without_counters_has_no_meters_and_is_never_held_back(tmp_path: Path) -> None:
    with open_meters(tmp_path) as meters, ThrottleWatch(tmp_path) as watch:
        assert meters == []
        assert watch.tells == ()
        assert watch.why() == ""


@pytest.mark.usefixtures("no_nvml")
def test_rapl_sums_the_packages_and_carries_a_counter_that_begins_again(tmp_path: Path) -> None:
    counters = []
    for index, begin in enumerate((900_000, 100_000)):
        folder = tmp_path / f"sys/class/powercap/intel-rapl:{index}"
        write(folder / "name", f"package-{index}")
        write(folder / "max_energy_range_uj", 999_999)
        counters.append(write(folder / "energy_uj", begin))
    write(tmp_path / "sys/class/powercap/intel-rapl:0:0/name", "core")
    with open_meters(tmp_path) as (meter,):
        assert meter.joules() == 0
        write(counters[0], 100_000)  # 0.2 J, over its end
        write(counters[1], 400_000)  # 0.3 J
        assert meter.joules() == pytest.approx(0.5)
        assert meter.joules() == pytest.approx(0.5)


@pytest.mark.usefixtures("no_nvml")
def test_a_module_s_rail_is_summed_over_time(tmp_path: Path) -> None:
    rail = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    write(rail / "in1_label", "VDD_CPU_GPU_CV")
    write(rail / "in2_label", "VDD_IN")
    write(rail / "in2_input", 5000)  # mV
    write(rail / "curr2_input", 2000)  # mA: 10 W
    with open_meters(tmp_path) as (meter,):
        begin = time.perf_counter()
        time.sleep(0.5)
        assert meter.joules() == pytest.approx(10 * (time.perf_counter() - begin), rel=0.25)  # the last sample is up to 50 ms old


def test_energy_is_per_strip() -> None:
    class Steady:
        name = "steady"
        calls = 0

        def joules(self) -> float:
            return self.calls * 6.0

    meter = Steady()

    def run(index: int) -> None:
        meter.calls += 1
        time.sleep(0.001)

    four = Subject(name="four", items=4, run=run, answer=lambda index: np.zeros(1), about={})
    assert energy_of(four, [meter], first_index=0, seconds=0.05) == {"steady": 1.5}


@pytest.mark.usefixtures("no_nvml")
def test_a_counter_that_rises_says_why_once(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    heat = write(tmp_path / f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle/package_throttle_count", 7)
    write(tmp_path / "proc/self/cgroup", "0::/box")
    quota = write(tmp_path / "sys/fs/cgroup/box/cpu.stat", "usage_usec 5\nnr_throttled 3")
    with ThrottleWatch(tmp_path) as watch:
        assert watch.tells == (HEAT, QUOTA)
        assert watch.why() == ""
        write(heat, 8)
        assert watch.why() == HEAT
        assert watch.why() == ""
        write(quota, "usage_usec 9\nnr_throttled 4")
        assert watch.why() == QUOTA
    watch.close()


def test_nvml_s_bits_become_reasons_and_idle_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    session = NvmlSession()
    monkeypatch.setattr(session, "gpus", [object()])
    for bits, reasons in ((0x1, []), (0x4, ["the GPU's power cap"]), (0x1 | 0x40, ["the GPU is too hot (hardware)"])):
        monkeypatch.setattr(session, "ask", lambda function, device, bits=bits: bits)
        assert session.throttle_reasons() == reasons


def test_a_soak_is_told_window_by_window() -> None:
    minutes = soak([subject("one"), subject("two")], 0.012, LatencyOptions(seconds=1))
    assert len(minutes) == 1
    (minute,) = minutes
    assert set(minute.total_ms) == {"one", "two"}
    assert minute.total_ms["one"].n == minute.total_ms["two"].n > 10
    assert minute.total_ms["one"].p50 >= 1
    assert minute.rss_mib == pytest.approx(rss_mib(), rel=0.2)


def test_a_soak_longer_than_a_minute_has_a_window_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    from lineside.benchmarks.bench import soak as module

    monkeypatch.setattr(module, "MINUTE_S", 0.05)
    seen: list[int] = []

    def run(index: int) -> None:
        seen.append(index)
        time.sleep(0.001)

    listening = Subject(name="one", items=1, run=run, answer=lambda index: np.zeros(1), about={})
    minutes = soak([listening], 3, LatencyOptions(seconds=1), first_index=5)
    assert len(minutes) == 3
    assert seen == list(range(5, 5 + len(seen))), "no input comes twice"
