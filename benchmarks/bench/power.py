"""Energy per strip, where the machine counts it.

In:   RAPL's counters (x86), NVML's (NVIDIA GPUs), the INA3221 that Jetson modules carry and `tegrastats` reads.
Out:  `Meter`s, and `energy_of`: joules per item of every subject, each alone for a while: in an interleaved run the counters, which move
      every few milliseconds, would mix them up.
RAPL counts whole processor packages, NVML whole boards, the INA3221 the whole module: whatever else ran there is in the number.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Protocol

from lineside.benchmarks.measure.nvml import NvmlSession
from lineside.benchmarks.subjects.subjects import Subject
from lineside.engine.machine import ROOT

SECONDS = 3.0
"""Of one subject: a hundred steps of the slowest counter."""
SAMPLE_S = 0.05
_J_PER_UJ = 1e-6
_W_PER_MV_MA = 1e-6


class Meter(Protocol):
    """Something that counts energy."""

    @property
    def name(self) -> str:
        """What it counts."""
        ...

    def joules(self) -> float:
        """Since it was made; grows."""
        ...


class Rapl:
    """The processor packages, by the kernel's powercap interface. Root alone may read it on most systems."""

    name = "CPU packages (RAPL)"

    def __init__(self, folders: Sequence[Path]) -> None:
        self._files = [(folder / "energy_uj", int((folder / "max_energy_range_uj").read_text())) for folder in folders]
        self._last = [int(file.read_text()) for file, _ in self._files]
        self._joules = 0.0

    def joules(self) -> float:
        """Sum of the packages; a counter that began again is carried over."""
        for index, (file, span) in enumerate(self._files):
            now = int(file.read_text())
            self._joules += (now - self._last[index]) % (span + 1) * _J_PER_UJ
            self._last[index] = now
        return self._joules


class Ina3221:
    """The input rail of a Jetson module: power is sampled by a thread and summed up. `close()` ends the thread."""

    name = "module (INA3221)"

    def __init__(self, rail: tuple[Path, Path]) -> None:
        self._rail = rail
        self._joules = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def joules(self) -> float:
        """Since it was made."""
        return self._joules

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        last = perf_counter()
        while not self._end.wait(SAMPLE_S):
            volts, amperes = (int(file.read_text()) for file in self._rail)
            now = perf_counter()
            self._joules += volts * amperes * _W_PER_MV_MA * (now - last)
            last = now


class Boards:
    """NVIDIA GPUs, by NVML."""

    name = "GPU boards (NVML)"

    def __init__(self, nvml: NvmlSession) -> None:
        self._nvml = nvml
        self._begin = nvml.joules() or 0.0

    def joules(self) -> float:
        """Since it was made."""
        return (self._nvml.joules() or 0.0) - self._begin


@contextmanager
def open_meters(root: Path = ROOT) -> Iterator[list[Meter]]:
    """The meters of this machine; none where it has none or does not let them be read."""
    meters: list[Meter] = []
    packages = [folder for folder in sorted(root.glob("sys/class/powercap/intel-rapl:*")) if _is_package(folder)]
    if packages:
        meters.append(Rapl(packages))
    rail = _input_rail(root)
    module = Ina3221(rail) if rail else None
    if module is not None:
        meters.append(module)
    with NvmlSession() as nvml:
        if nvml.joules() is not None:
            meters.append(Boards(nvml))
        try:
            yield meters
        finally:
            if module is not None:
                module.close()


def energy_of(subject: Subject, meters: Sequence[Meter], *, first_index: int, seconds: float = SECONDS) -> Mapping[str, float]:
    """Joules per item by meter, of one subject that runs alone for `seconds`."""
    before, begin, calls = [meter.joules() for meter in meters], perf_counter(), 0
    while perf_counter() - begin < seconds:
        subject.run(first_index + calls)
        calls += 1
    items = calls * subject.items
    return {meter.name: (meter.joules() - old) / items for meter, old in zip(meters, before, strict=True)}


def _is_package(folder: Path) -> bool:
    name, counter = folder / "name", folder / "energy_uj"
    try:
        return name.read_text().startswith("package") and counter.read_text() != ""
    except OSError:  # not there, or not for us to read
        return False


def _input_rail(root: Path) -> tuple[Path, Path] | None:
    """Millivolts and milliamperes of the rail that feeds the module: VDD_IN, or what its carrier calls so (Jetson Linux guide)."""
    for label in sorted(root.glob("sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label")):
        if label.read_text().strip() in ("VDD_IN", "VIN_SYS_5V0"):
            number = label.name.removeprefix("in").removesuffix("_label")
            return label.with_name(f"in{number}_input"), label.with_name(f"curr{number}_input")
    return None
