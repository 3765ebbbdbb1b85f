"""The device layer on PyCUDA, for JetPack systems that have it. No graphs.

In:   the number of a GPU.
Out:  `PyCudaDevice`, a `protocol.Device`.
Retains the primary context instead of making its own, so PyTorch, ONNX Runtime and TensorRT can live beside it. PyCUDA keeps a stack of
contexts per thread, and aborts the process when a thread ends with one on it: `current()` pushes and pops. It gives memory back only where
the context object that it was made with is current, so clones share one device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lineside._optional import install_command, require
from lineside.errors import DeviceError

from . import protocol
from .driver import Driver
from .status import cuda_error, log, pycuda_error

MODULE = "pycuda.driver"
NAME = "pycuda"

_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING of the CUDA Driver API; PyCUDA has no name for it."""
_F = TypeVar("_F", bound=Callable[..., Any])


def _checked(function: _F) -> _F:
    """PyCUDA raises where CUDA returns a status: make a DeviceError of it."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        cuda = require(MODULE, extra="pycuda")
        try:
            return function(*arguments, **options)
        except cuda.Error as exc:
            raise pycuda_error(str(exc)) from exc

    return call  # type: ignore[return-value]


class PyCudaDevice:
    """A GPU. Any number of threads may use it, each inside `current()`."""

    name = NAME
    graphs = False

    @_checked
    def __init__(self, driver: Driver, ordinal: int) -> None:
        """Start CUDA on a GPU.

        Raises:
            DeviceError: CUDA does not start, or the GPU cannot be used.
            MissingPackageError: PyCUDA is not installed.
        """
        self._cuda = require(MODULE, extra="pycuda")
        self._cuda.init()
        count = self._cuda.Device.count()
        if ordinal >= min(count, len(driver.gpus)):
            raise cuda_error(
                "cudaErrorInvalidDevice", "cuDeviceGetCount", detail=f"there are {count}, from 0 on, and {ordinal} was asked for"
            )
        self.gpu = driver.gpus[ordinal]
        self._context = self._cuda.Device(ordinal).retain_primary_context()

    def current(self) -> PyCudaDevice:
        """Make it the calling thread's device, for the block."""
        return self

    @_checked
    def __enter__(self) -> None:
        self._context.push()

    @_checked
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._cuda.Context.pop()

    @_checked
    def memory(self) -> tuple[int, int]:
        """Free and total bytes."""
        free, total = self._cuda.mem_get_info()
        return int(free), int(total)

    @_checked
    def allocate(self, nbytes: int) -> _DeviceMemory:
        """Memory of the GPU."""
        return _DeviceMemory(self._cuda.mem_alloc(nbytes), nbytes)

    @_checked
    def pinned(self, nbytes: int, *, mapped: bool = False) -> _HostMemory:
        """Page-locked host memory, all zeros."""
        flags = self._cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        return _HostMemory(self._cuda.pagelocked_empty(nbytes, np.uint8, mem_flags=flags), mapped=mapped)

    @_checked
    def stream(self) -> _Stream:
        """A new stream."""
        return _Stream(self._cuda.Stream(_NON_BLOCKING))

    @_checked
    def event(self) -> _Event:
        """A new event."""
        return _Event(self._cuda.Event())

    @_checked
    def copy_to_device(self, target: int, source: NDArray[np.uint8], stream: protocol.Stream) -> None:
        """Enqueue a copy to the GPU."""
        self._cuda.memcpy_htod_async(target, source, _own(stream))

    @_checked
    def copy_to_host(self, target: NDArray[np.uint8], source: int, stream: protocol.Stream) -> None:
        """Enqueue a copy from the GPU."""
        self._cuda.memcpy_dtoh_async(target, source, _own(stream))

    @_checked
    def fill(self, address: int, value: int, nbytes: int, stream: protocol.Stream) -> None:
        """Enqueue setting bytes."""
        self._cuda.memset_d8_async(address, value, nbytes, _own(stream))

    def capture(self, stream: protocol.Stream, enqueue: Callable[[], None]) -> protocol.Graph:
        """Raises: DeviceError, always."""
        raise DeviceError(
            "PyCUDA has no CUDA graphs", why="its interface does not cover them", fix=f"{install_command('engine')}: cuda-python"
        )

    def close(self) -> None:
        """Let go of the primary context, which goes with its last user."""
        self._context = None


class _DeviceMemory:
    def __init__(self, allocation: Any, nbytes: int) -> None:
        self._allocation = allocation
        self.nbytes = nbytes
        self.address = int(allocation)

    def close(self) -> None:
        allocation, self._allocation, self.address = self._allocation, None, 0
        if allocation is not None:
            _free(allocation)


class _HostMemory:
    def __init__(self, array: NDArray[np.uint8], *, mapped: bool) -> None:
        self.array = array
        self.array[:] = 0
        self.nbytes = array.nbytes
        allocation: Any = array.base
        self._allocation = allocation
        self.address = int(allocation.get_device_pointer()) if mapped else 0

    def close(self) -> None:
        allocation, self._allocation, self.address = self._allocation, None, 0
        self.array = self.array[:0].copy()
        if allocation is not None:
            _free(allocation)


class _Stream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.handle = int(stream.handle)

    @_checked
    def synchronize(self) -> None:
        self._stream.synchronize()

    def close(self) -> None:
        """PyCUDA gives a stream back with its last reference."""
        self._stream, self.handle = None, 0


class _Event:
    def __init__(self, event: Any) -> None:
        self._event = event

    @_checked
    def record(self, stream: protocol.Stream) -> None:
        self._event.record(_own(stream))

    @_checked
    def milliseconds_since(self, earlier: protocol.Event) -> float:
        assert isinstance(earlier, _Event)
        return float(earlier._event.time_till(self._event))

    def close(self) -> None:
        """PyCUDA gives an event back with its last reference."""
        self._event = None


def _own(stream: protocol.Stream) -> Any:
    assert isinstance(stream, _Stream)
    return stream._stream


def _free(allocation: Any) -> None:
    """Give memory back; PyCUDA says itself on stderr what CUDA answers when it could not."""
    cuda = require(MODULE, extra="pycuda")
    try:
        allocation.free()
    except cuda.Error as exc:
        log.warning("%s while memory of the GPU is given back", exc)
