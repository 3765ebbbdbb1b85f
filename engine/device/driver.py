"""Ask NVIDIA's driver what GPUs there are, before anything of TensorRT is touched.

In:   nothing; `libcuda.so.1` is looked up by the system's loader.
Out:  `Driver` with its GPUs, or a DeviceError that says what is missing.
Uses the driver API through ctypes (CUDA Driver API, `cuInit` and `cuDeviceGet*`); makes no context and allocates nothing.
Why: TensorRT without a usable GPU aborts the process (design 6).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from lineside.errors import DeviceError

LIBRARY = "libcuda.so.1"

# CUdevice_attribute, from cuda.h
_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76
_INTEGRATED = 18

_NAME_BYTES = 256
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU. `integrated` ones (Jetson) share the memory of the CPU."""

    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    integrated: bool


@dataclass(frozen=True, kw_only=True)
class Driver:
    """NVIDIA's driver: the newest CUDA version that it can run, and its GPUs in its own order."""

    cuda_version: tuple[int, int]
    gpus: tuple[Gpu, ...]


def ask_driver() -> Driver:
    """The driver and its GPUs.

    Raises:
        DeviceError: There is no driver, no GPU, or the driver answers with an error.
    """
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as exc:
        raise DeviceError(
            "no NVIDIA driver on this machine",
            why=f"{LIBRARY} is not there",
            fix="use the ONNX file with ONNX Runtime here, or go to the machine with the GPU",
        ) from exc
    _ask(cuda, "cuInit", 0)
    version = ctypes.c_int()
    _ask(cuda, "cuDriverGetVersion", ctypes.byref(version))
    count = ctypes.c_int()
    _ask(cuda, "cuDeviceGetCount", ctypes.byref(count))
    if not count.value:
        raise DeviceError("the NVIDIA driver sees no GPU", why="cuDeviceGetCount says 0", fix="check nvidia-smi and CUDA_VISIBLE_DEVICES")
    # 13010 is 13.1
    return Driver(
        cuda_version=(version.value // 1000, version.value % 1000 // 10), gpus=tuple(_gpu(cuda, index) for index in range(count.value))
    )


def _gpu(cuda: ctypes.CDLL, index: int) -> Gpu:
    device = ctypes.c_int()
    _ask(cuda, "cuDeviceGet", ctypes.byref(device), index)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _ask(cuda, "cuDeviceGetName", name, _NAME_BYTES, device)
    memory = ctypes.c_size_t()
    _ask(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major, minor, integrated = (
        _attribute(cuda, attribute, device) for attribute in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR, _INTEGRATED)
    )
    return Gpu(name=name.value.decode(), compute_capability=(major, minor), memory_bytes=memory.value, integrated=bool(integrated))


def _attribute(cuda: ctypes.CDLL, attribute: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _ask(cuda, "cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
    return value.value


def _ask(cuda: ctypes.CDLL, function: str, *arguments: object) -> None:
    status = getattr(cuda, function)(*arguments)
    if status == _NO_DEVICE:
        raise DeviceError(
            "the NVIDIA driver sees no GPU", why=f"{function} says CUDA_ERROR_NO_DEVICE", fix="check nvidia-smi and CUDA_VISIBLE_DEVICES"
        )
    if status:
        name = ctypes.c_char_p()
        cuda.cuGetErrorName(status, ctypes.byref(name))
        what = name.value.decode() if name.value else f"error {status}"
        raise DeviceError(
            f"the NVIDIA driver answers {what}", why=f"{function} failed", fix="check nvidia-smi; a restart may help after a driver update"
        )
