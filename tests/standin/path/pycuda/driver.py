"""A stand-in for `pycuda.driver`. It is not PyCUDA: see `lineside_standin`.

PyCUDA builds only where the CUDA toolkit is, so no test here can look at it. Names, parameters and rules are those of its documentation
(https://documen.tician.de/pycuda/driver.html, version 2026.1): `Device.retain_primary_context`, `Context.push` and `pop`, `mem_alloc`,
`pagelocked_empty` whose arrays have a `PagelockedHostAllocation` as `base`, `HostPointer.get_device_pointer`, `memcpy_htod_async` and
`memcpy_dtoh_async` of page-locked buffers, `memset_d8_async`, `Stream.handle`, `Event.time_till` which fails for an event that was not
reached, and the four kinds of `Error`, whose texts are "cuMemAlloc failed: out of memory" (src/cpp/cuda.hpp).
A fault is named after the function of CUDA's driver, such as "cuMemAlloc"; its value is a name of the runtime's errors.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from lineside_standin import world as _world
from lineside_standin.gpu import GPUS as _GPUS
from lineside_standin.gpu import Allocation as _Allocation
from lineside_standin.gpu import Event as _Event
from lineside_standin.gpu import Failure as _Failure
from numpy.typing import NDArray

_TEXTS = {
    "cudaErrorInvalidValue": "invalid argument",
    "cudaErrorMemoryAllocation": "out of memory",
    "cudaErrorNoDevice": "no CUDA-capable device is detected",
    "cudaErrorInvalidDevice": "invalid device ordinal",
    "cudaErrorDeviceUninitialized": "invalid device context",
    "cudaErrorDevicesUnavailable": "CUDA-capable device(s) is/are busy or unavailable",
    "cudaErrorInvalidResourceHandle": "invalid resource handle",
    "cudaErrorNotReady": "device not ready",
    "cudaErrorIllegalAddress": "an illegal memory access was encountered",
    "cudaErrorLaunchFailure": "unspecified launch failure",
    "cudaErrorECCUncorrectable": "uncorrectable ECC error encountered",
    "cudaErrorUnknown": "unknown error",
}
"""What `cuGetErrorString` says."""

_threads = threading.local()


class Error(Exception):
    """Base of all errors."""


class MemoryError(Error):
    """Not enough memory."""


class LogicError(Error):
    """Used in a wrong way."""


class LaunchError(Error):
    """The work failed."""


class RuntimeError(Error):
    """Anything else."""


_KINDS = {"cudaErrorMemoryAllocation": MemoryError, "cudaErrorLaunchFailure": LaunchError, "cudaErrorIllegalAddress": LogicError}


class host_alloc_flags:  # noqa: N801
    """Of `pagelocked_empty`."""

    PORTABLE = 1
    DEVICEMAP = 2
    WRITECOMBINED = 4


def _stack() -> list[Context]:
    if not hasattr(_threads, "stack"):
        _threads.stack = []
    return _threads.stack  # type: ignore[no-any-return]


def _raised(routine: str, name: str) -> Error:
    kind = _KINDS.get(name, LogicError)
    return kind(f"{routine} failed: {_TEXTS.get(name, name)}")


def _guarded(routine: str, *, context: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function of the driver: needs a context on the thread's stack, and raises what fails."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            if context and not _stack():
                raise _raised(routine, "cudaErrorDeviceUninitialized")
            try:
                _GPUS.call(routine)
                return function(*arguments, **options)
            except _Failure as exc:
                raise _raised(routine, exc.name) from None

        return call

    return decorate


@_guarded("cuInit", context=False)
def init(flags: int = 0) -> None:
    """Start CUDA."""


class Context:
    """What a process has on a device. A thread works with the one on top of its stack."""

    def __init__(self, ordinal: int) -> None:
        self._ordinal = ordinal

    @_guarded("cuCtxPushCurrent", context=False)
    def push(self) -> None:
        _stack().append(self)
        _GPUS.ordinal = self._ordinal

    @staticmethod
    @_guarded("cuCtxPopCurrent")
    def pop() -> None:
        _stack().pop()

    @_guarded("cuDevicePrimaryCtxRelease", context=False)
    def detach(self) -> None:
        """Let go of it."""

    @staticmethod
    @_guarded("cuCtxSynchronize")
    def synchronize() -> None:
        for handle in list(_GPUS.streams):
            _GPUS.synchronize(handle)


class Device:
    """A GPU."""

    @_guarded("cuDeviceGet", context=False)
    def __init__(self, number: int) -> None:
        if not 0 <= number < len(_world.here().gpus):
            raise _Failure("cudaErrorInvalidDevice")
        self._number = number

    @staticmethod
    @_guarded("cuDeviceGetCount", context=False)
    def count() -> int:
        return len(_world.here().gpus)

    @_guarded("cuDevicePrimaryCtxRetain", context=False)
    def retain_primary_context(self) -> Context:
        return Context(self._number)


@_guarded("cuMemGetInfo")
def mem_get_info() -> tuple[int, int]:
    return _GPUS.free_bytes()


class DeviceAllocation:
    """Memory of the GPU."""

    def __init__(self, allocation: _Allocation) -> None:
        self._address = allocation.address

    def __int__(self) -> int:
        return self._address

    @_guarded("cuMemFree")
    def free(self) -> None:
        _GPUS.release(self._address)


@_guarded("cuMemAlloc")
def mem_alloc(bytes: int) -> DeviceAllocation:
    return DeviceAllocation(_GPUS.allocate(bytes))


class HostPointer:
    """Memory of the host that the driver knows."""

    def __init__(self, allocation: _Allocation) -> None:
        self._allocation = allocation

    @_guarded("cuMemHostGetDevicePointer")
    def get_device_pointer(self) -> int:
        if not self._allocation.alias:
            raise _Failure("cudaErrorInvalidValue")
        return self._allocation.alias


class PagelockedHostAllocation(HostPointer):
    """What `pagelocked_empty` has made."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        data = self._allocation.data
        return {"shape": data.shape, "typestr": "|u1", "data": (data.ctypes.data, False), "version": 3}

    @_guarded("cuMemFreeHost")
    def free(self) -> None:
        _GPUS.release(self._allocation.address, pinned=True)


@_guarded("cuMemHostAlloc")
def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> NDArray[Any]:
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    held = PagelockedHostAllocation(_GPUS.allocate_host(count, mapped=bool(mem_flags & host_alloc_flags.DEVICEMAP)))
    array = np.asarray(held)
    return array if np.dtype(dtype) == np.uint8 and array.shape == np.empty(shape, np.uint8).shape else array.view(dtype).reshape(shape)


class Stream:
    """A queue of work. Given back with its last reference."""

    def __init__(self, flags: int = 0) -> None:
        self._stream = _made("cuStreamCreate", _GPUS.new_stream)

    @property
    def handle(self) -> int:
        return int(self._stream.handle)

    @_guarded("cuStreamSynchronize")
    def synchronize(self) -> None:
        _GPUS.synchronize(self._stream.handle)

    @_guarded("cuStreamQuery")
    def is_done(self) -> bool:
        return not self._stream.work

    @_guarded("cuStreamWaitEvent")
    def wait_for_event(self, evt: Event) -> None:
        def wait() -> None:
            if evt._event.stream is not None and not evt._event.at_ns:
                _GPUS.synchronize(evt._event.stream.handle)

        _GPUS.enqueue(self._stream.handle, wait)

    def __del__(self) -> None:
        _GPUS.streams.pop(self._stream.handle, None)


class Event:
    """A point in a stream. Given back with its last reference."""

    def __init__(self, flags: int = 0) -> None:
        self._event: _Event = _made("cuEventCreate", _GPUS.new_event)

    @_guarded("cuEventRecord")
    def record(self, stream: Stream | None = None) -> Event:
        _GPUS.record(self._event, 0 if stream is None else stream.handle)
        return self

    @_guarded("cuEventSynchronize")
    def synchronize(self) -> Event:
        if self._event.stream is not None:
            _GPUS.synchronize(self._event.stream.handle)
        return self

    @_guarded("cuEventQuery")
    def query(self) -> bool:
        return bool(self._event.at_ns)

    @_guarded("cuEventElapsedTime")
    def time_till(self, event: Event) -> float:
        return _GPUS.elapsed_ms(self._event, event._event)

    @_guarded("cuEventElapsedTime")
    def time_since(self, event: Event) -> float:
        return _GPUS.elapsed_ms(event._event, self._event)

    def __del__(self) -> None:
        _GPUS.events.pop(self._event.handle, None)


def _made(routine: str, make: Callable[[], Any]) -> Any:
    return _guarded(routine)(make)()


def _address(buffer: Any) -> tuple[int, int]:
    """Address and bytes of a Python buffer."""
    array = np.frombuffer(buffer, np.uint8)
    return array.ctypes.data, array.nbytes


@_guarded("cuMemcpyHtoDAsync")
def memcpy_htod_async(dest: Any, src: Any, stream: Stream | None = None) -> None:
    source, nbytes = _address(src)
    _GPUS.copy_to_device(int(dest), source, nbytes, 0 if stream is None else stream.handle)


@_guarded("cuMemcpyDtoHAsync")
def memcpy_dtoh_async(dest: Any, src: Any, stream: Stream | None = None) -> None:
    target, nbytes = _address(dest)
    _GPUS.copy_to_host(target, int(src), nbytes, 0 if stream is None else stream.handle)


@_guarded("cuMemsetD8Async")
def memset_d8_async(dest: Any, data: int, size: int, stream: Stream | None = None) -> None:
    _GPUS.fill(int(dest), data, size, 0 if stream is None else stream.handle)
