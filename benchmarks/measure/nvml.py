"""What NVIDIA's management library says of the GPUs: driver, clocks, power, temperature.

In:   nothing; `libnvidia-ml.so.1` comes with the driver and is looked up by the system's loader.
Out:  one dict of JSON values per GPU; none without a driver. A value that this GPU does not tell is None.
Through ctypes (NVML API reference), so that a measurement needs no package. Changes nothing, and makes no CUDA context.
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
_TEXT_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE, the largest of the texts asked for
_CLOCK_SM, _CLOCK_MEMORY = 1, 2  # nvmlClockType_t
_TEMPERATURE_GPU = 0  # nvmlTemperatureSensors_t
_OK = 0
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


class _Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class NvmlSession:
    """NVML kept open, for what is asked often. `close()` is idempotent; without a driver there are no GPUs and nothing is told."""

    def __init__(self) -> None:
        self.gpus: list[ctypes.c_void_p] = []
        self._nvml: Any = None
        try:
            nvml = ctypes.CDLL(LIBRARY)
        except OSError:
            return
        if nvml.nvmlInit_v2() != _OK:
            return
        self._nvml = nvml
        for index in range(_integer(nvml, "nvmlDeviceGetCount_v2") or 0):
            device = ctypes.c_void_p()
            if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)) == _OK:
                self.gpus.append(device)

    def throttle_reasons(self) -> list[str]:
        """Why the clocks of a GPU are lower than they could be, leaving out that nothing is to be done and what somebody has set."""
        bits = 0
        for device in self.gpus:
            bits |= self._long("nvmlDeviceGetCurrentClocksThrottleReasons", device) or 0
        return [why for bit, why in THROTTLE_REASONS.items() if bits & bit]

    def joules(self) -> float | None:
        """Energy of all GPUs since the driver was loaded; None where they do not count it (before Volta)."""
        found = [self._long("nvmlDeviceGetTotalEnergyConsumption", device) for device in self.gpus]
        return sum(one for one in found if one is not None) * _J_PER_MJ if any(one is not None for one in found) else None

    def close(self) -> None:
        """Let go of the library."""
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml, self.gpus = None, []

    def __enter__(self) -> NvmlSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _long(self, function: str, device: ctypes.c_void_p) -> int | None:
        value = ctypes.c_ulonglong()
        return value.value if getattr(self._nvml, function)(device, ctypes.byref(value)) == _OK else None


def read_gpus() -> list[dict[str, Any]]:
    """The GPUs of this machine as they are now, in NVML's order (that of nvidia-smi)."""
    try:
        nvml = ctypes.CDLL(LIBRARY)
    except OSError:
        return []
    if nvml.nvmlInit_v2() != _OK:
        return []
    try:
        count = _integer(nvml, "nvmlDeviceGetCount_v2") or 0
        driver = _text(nvml, "nvmlSystemGetDriverVersion")
        return [{"driver": driver, **_gpu(nvml, index)} for index in range(count)]
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> dict[str, Any]:
    device = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)) != _OK:
        return {"name": None}
    memory = _Memory()
    memory_known = nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == _OK
    power, limit = (_integer(nvml, f"nvmlDeviceGet{what}", device) for what in ("PowerUsage", "EnforcedPowerLimit"))
    return {
        "name": _text(nvml, "nvmlDeviceGetName", device),
        "memory_total_bytes": memory.total if memory_known else None,
        "memory_used_bytes": memory.used if memory_known else None,
        "sm_clock_mhz": _integer(nvml, "nvmlDeviceGetClockInfo", device, _CLOCK_SM),
        "sm_clock_max_mhz": _integer(nvml, "nvmlDeviceGetMaxClockInfo", device, _CLOCK_SM),
        "memory_clock_mhz": _integer(nvml, "nvmlDeviceGetClockInfo", device, _CLOCK_MEMORY),
        "memory_clock_max_mhz": _integer(nvml, "nvmlDeviceGetMaxClockInfo", device, _CLOCK_MEMORY),
        "power_w": None if power is None else power * _W_PER_MW,
        "power_limit_w": None if limit is None else limit * _W_PER_MW,
        "temperature_c": _integer(nvml, "nvmlDeviceGetTemperature", device, _TEMPERATURE_GPU),
    }


def _integer(nvml: Any, function: str, *arguments: Any) -> int | None:
    value = ctypes.c_uint()
    return value.value if getattr(nvml, function)(*arguments, ctypes.byref(value)) == _OK else None


def _text(nvml: Any, function: str, *arguments: Any) -> str | None:
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    return text.value.decode() if getattr(nvml, function)(*arguments, text, _TEXT_BYTES) == _OK else None
