"""The device layer on cuda-python: `cuda.bindings.runtime`, 12 and 13.

In:   the number of a GPU.
Out:  `CudaPythonDevice`, a `protocol.Device` with graphs.
Uses CUDA's runtime, and so the primary context, which PyTorch, ONNX Runtime and TensorRT use too. Every function of the bindings
returns (status, values...); `_call` checks the status of each.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require

from . import protocol
from .driver import Driver
from .status import cuda_error, released

MODULE = "cuda.bindings.runtime"
NAME = "cuda-python"


class CudaPythonDevice:
    """A GPU. Any number of threads may use it, each inside `current()`."""

    name = NAME
    graphs = True

    def __init__(self, driver: Driver, ordinal: int) -> None:
        """Start CUDA on a GPU.

        Raises:
            DeviceError: CUDA does not start, or the GPU cannot be used.
            MissingPackageError: cuda-python is not installed.
        """
        self._cudart = require(MODULE, extra="engine")
        self._ordinal = ordinal
        detail = f"the driver runs CUDA up to {'.'.join(map(str, driver.cuda_version))}"
        count = self._call("cudaGetDeviceCount", detail=detail)
        if ordinal >= min(count, len(driver.gpus)):
            raise cuda_error(
                "cudaErrorInvalidDevice", "cudaGetDeviceCount", detail=f"there are {count}, from 0 on, and {ordinal} was asked for"
            )
        self.gpu = driver.gpus[ordinal]
        self._call("cudaSetDevice", ordinal, detail=detail)

    def current(self) -> CudaPythonDevice:
        """Make it the calling thread's device, for the block."""
        return self

    def __enter__(self) -> None:
        self._call("cudaSetDevice", self._ordinal)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing: the runtime's current device is a number that every user of it sets for itself."""

    def memory(self) -> tuple[int, int]:
        """Free and total bytes."""
        free, total = self._call("cudaMemGetInfo")
        return int(free), int(total)

    def allocate(self, nbytes: int) -> _DeviceMemory:
        """Memory of the GPU."""
        return _DeviceMemory(self, nbytes)

    def pinned(self, nbytes: int, *, mapped: bool = False) -> _HostMemory:
        """Page-locked host memory, all zeros."""
        return _HostMemory(self, nbytes, mapped=mapped)

    def stream(self) -> _Stream:
        """A new stream."""
        return _Stream(self)

    def event(self) -> _Event:
        """A new event."""
        return _Event(self)

    def copy_to_device(self, target: int, source: NDArray[np.uint8], stream: protocol.Stream) -> None:
        """Enqueue a copy to the GPU."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", target, source.ctypes.data, source.nbytes, kind, stream.handle)

    def copy_to_host(self, target: NDArray[np.uint8], source: int, stream: protocol.Stream) -> None:
        """Enqueue a copy from the GPU."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, source, target.nbytes, kind, stream.handle)

    def fill(self, address: int, value: int, nbytes: int, stream: protocol.Stream) -> None:
        """Enqueue setting bytes."""
        self._call("cudaMemsetAsync", address, value, nbytes, stream.handle)

    def capture(self, stream: protocol.Stream, enqueue: Callable[[], None]) -> _Graph:
        """Record what `enqueue` puts into the stream."""
        return _Graph(self, stream, enqueue)

    def close(self) -> None:
        """Nothing: the primary context belongs to the process."""

    def _call(self, function: str, *arguments: Any, detail: str = "") -> Any:
        """What a function of the runtime returns behind its status: nothing, a value, or a tuple. Raises: DeviceError."""
        status, *values = getattr(self._cudart, function)(*arguments)
        if status != self._cudart.cudaError_t.cudaSuccess:
            raise cuda_error(status.name, function, detail=detail)
        return values[0] if len(values) == 1 else tuple(values)

    def _release(self, function: str, handle: Any) -> None:
        """Give something back; see `released`."""
        (status, *_) = getattr(self._cudart, function)(handle)
        released(status.name, function)


class _DeviceMemory:
    def __init__(self, device: CudaPythonDevice, nbytes: int) -> None:
        self._device = device
        self.nbytes = nbytes
        self.address = int(device._call("cudaMalloc", nbytes, detail=f"{nbytes / 2**20:.1f} MiB were asked for"))

    def close(self) -> None:
        address, self.address = self.address, 0
        if address:
            self._device._release("cudaFree", address)


class _HostMemory:
    def __init__(self, device: CudaPythonDevice, nbytes: int, *, mapped: bool) -> None:
        self._device = device
        self.nbytes = nbytes
        flags = device._cudart.cudaHostAllocMapped if mapped else device._cudart.cudaHostAllocDefault
        self._pointer = int(device._call("cudaHostAlloc", nbytes, flags, detail=f"{nbytes / 2**20:.1f} MiB were asked for"))
        self.address = int(device._call("cudaHostGetDevicePointer", self._pointer, 0)) if mapped else 0
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(self._pointer))
        self.array[:] = 0

    def close(self) -> None:
        pointer, self._pointer, self.address = self._pointer, 0, 0
        self.array = self.array[:0].copy()
        if pointer:
            self._device._release("cudaFreeHost", pointer)


class _Stream:
    def __init__(self, device: CudaPythonDevice) -> None:
        self._device = device
        self._stream = device._call("cudaStreamCreateWithFlags", device._cudart.cudaStreamNonBlocking)
        self.handle = int(self._stream)

    def synchronize(self) -> None:
        self._device._call("cudaStreamSynchronize", self.handle)

    def close(self) -> None:
        stream, self._stream, self.handle = self._stream, None, 0
        if stream is not None:
            self._device._release("cudaStreamDestroy", stream)


class _Event:
    def __init__(self, device: CudaPythonDevice) -> None:
        self._device = device
        self._event = device._call("cudaEventCreate")

    def record(self, stream: protocol.Stream) -> None:
        self._device._call("cudaEventRecord", self._event, stream.handle)

    def milliseconds_since(self, earlier: protocol.Event) -> float:
        assert isinstance(earlier, _Event)
        return float(self._device._call("cudaEventElapsedTime", earlier._event, self._event))

    def close(self) -> None:
        event, self._event = self._event, None
        if event is not None:
            self._device._release("cudaEventDestroy", event)


class _Graph:
    """Instantiated at once; the recording itself is not needed any more then."""

    def __init__(self, device: CudaPythonDevice, stream: protocol.Stream, enqueue: Callable[[], None]) -> None:
        self._device = device
        # ThreadLocal: other threads may allocate while this one records (clones load and close at any time).
        device._call("cudaStreamBeginCapture", stream.handle, device._cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            enqueue()
        except BaseException:
            status, graph = device._cudart.cudaStreamEndCapture(stream.handle)  # invalid after a failure: only ended, not used
            if status == device._cudart.cudaError_t.cudaSuccess:
                device._release("cudaGraphDestroy", graph)
            raise
        graph = device._call("cudaStreamEndCapture", stream.handle)
        try:
            self._graph = device._call("cudaGraphInstantiate", graph, 0)
        finally:
            device._release("cudaGraphDestroy", graph)

    def launch(self, stream: protocol.Stream) -> None:
        self._device._call("cudaGraphLaunch", self._graph, stream.handle)

    def close(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            self._device._release("cudaGraphExecDestroy", graph)
