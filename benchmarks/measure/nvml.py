"""What NVIDIA's management library says of the GPUs: driver, clocks, power, temperature.

In:   nothing; the package nvidia-ml-py (extra `[bench]`) and the driver's `libnvidia-ml.so.1`.
Out:  one dict of JSON values per GPU; none without a driver or without the package. A value that this GPU does not tell is None.
Changes nothing, and makes no CUDA context.
"""

from __future__ import annotations

import importlib
from types import ModuleType, TracebackType
from typing import Any

PACKAGE = "pynvml"
"""What nvidia-ml-py is imported as."""
_W_PER_MW = 1e-3
_J_PER_MJ = 1e-3
THROTTLE_REASONS = {
    0x4: "the GPU's power cap",
    0x8: "the GPU's hardware slowdown",
    0x20: "the GPU is too hot (software)",
    0x40: "the GPU is too hot (hardware)",
    0x80: "the GPU's power brake",
}
"""nvmlClocksThrottleReasons (NVML API reference)."""


class NvmlSession:
    """NVML kept open, for what is asked often. `close()` is idempotent; without a driver there are no GPUs and nothing is told."""

    def __init__(self) -> None:
        self.gpus: list[Any] = []
        self._nvml: ModuleType | None = None
        try:
            nvml = importlib.import_module(PACKAGE)
        except ModuleNotFoundError:
            return
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return
        self._nvml = nvml
        self.gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(self.ask("nvmlDeviceGetCount") or 0)]

    def throttle_reasons(self) -> list[str]:
        """Why the clocks of a GPU are lower than they could be, leaving out that nothing is to be done and what somebody has set."""
        bits = 0
        for device in self.gpus:
            bits |= self.ask("nvmlDeviceGetCurrentClocksThrottleReasons", device) or 0
        return [why for bit, why in THROTTLE_REASONS.items() if bits & bit]

    def joules(self) -> float | None:
        """Energy of all GPUs since the driver was loaded; None where they do not count it (before Volta)."""
        found = [self.ask("nvmlDeviceGetTotalEnergyConsumption", device) for device in self.gpus]
        return sum(one for one in found if one is not None) * _J_PER_MJ if any(one is not None for one in found) else None

    def facts(self, device: Any) -> dict[str, Any]:
        """One GPU as it is now."""
        nvml = self._nvml
        memory = self.ask("nvmlDeviceGetMemoryInfo", device)
        power, limit = (self.ask(f"nvmlDeviceGet{what}", device) for what in ("PowerUsage", "EnforcedPowerLimit"))
        clocks = {"sm": getattr(nvml, "NVML_CLOCK_SM", None), "memory": getattr(nvml, "NVML_CLOCK_MEM", None)}
        values = {
            f"{name}_clock{more}_mhz": self.ask(f"nvmlDeviceGet{what}ClockInfo", device, kind)
            for name, kind in clocks.items()
            for more, what in (("", ""), ("_max", "Max"))
        }
        return {
            "driver": self.ask("nvmlSystemGetDriverVersion"),
            "name": self.ask("nvmlDeviceGetName", device),
            "memory_total_bytes": None if memory is None else int(memory.total),
            "memory_used_bytes": None if memory is None else int(memory.used),
            **values,
            "power_w": None if power is None else power * _W_PER_MW,
            "power_limit_w": None if limit is None else limit * _W_PER_MW,
            "temperature_c": self.ask("nvmlDeviceGetTemperature", device, getattr(nvml, "NVML_TEMPERATURE_GPU", 0)),
        }

    def ask(self, function: str, *arguments: Any) -> Any:
        """What a function of NVML answers; None where this GPU or this driver does not tell."""
        nvml = self._nvml
        if nvml is None:
            return None
        try:
            return getattr(nvml, function)(*arguments)
        except nvml.NVMLError:
            return None

    def close(self) -> None:
        """Let go of the library."""
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml, self.gpus = None, []

    def __enter__(self) -> NvmlSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_gpus() -> list[dict[str, Any]]:
    """The GPUs of this machine as they are now, in NVML's order (that of nvidia-smi)."""
    with NvmlSession() as nvml:
        return [nvml.facts(device) for device in nvml.gpus]
