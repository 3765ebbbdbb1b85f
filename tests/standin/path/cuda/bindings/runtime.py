"""A stand-in for `cuda.bindings.runtime`. It is not cuda-python: see `lineside_standin`.

Every function returns a tuple whose first item is a `cudaError_t`; behind an error the values are None. A fault of the function's name
makes it answer with the error that the fault's value names.
"""
# ruff: noqa: N801, N802, N803, N815, N816  # CUDA's own names

from __future__ import annotations

import ctypes
import enum
import functools
from collections.abc import Callable
from typing import Any

from lineside_standin import world as _world
from lineside_standin.gpu import GPUS as _GPUS
from lineside_standin.gpu import Failure as _Failure

cudaHostAllocDefault = 0
cudaHostAllocPortable = 1
cudaHostAllocMapped = 2
cudaHostAllocWriteCombined = 4
cudaStreamDefault = 0
cudaStreamNonBlocking = 1
cudaEventDefault = 0
cudaEventBlockingSync = 1
cudaEventDisableTiming = 2


class cudaError_t(enum.IntEnum):
    """Errors that the tests want."""

    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInitializationError = 3
    cudaErrorStubLibrary = 34
    cudaErrorInsufficientDriver = 35
    cudaErrorCallRequiresNewerDriver = 36
    cudaErrorDevicesUnavailable = 46
    cudaErrorNoDevice = 100
    cudaErrorInvalidDevice = 101
    cudaErrorDeviceUninitialized = 201
    cudaErrorNoKernelImageForDevice = 209
    cudaErrorECCUncorrectable = 214
    cudaErrorDeviceAlreadyInUse = 216
    cudaErrorNvlinkUncorrectable = 220
    cudaErrorContained = 226
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalState = 401
    cudaErrorNotReady = 600
    cudaErrorIllegalAddress = 700
    cudaErrorLaunchTimeout = 702
    cudaErrorContextIsDestroyed = 709
    cudaErrorAssert = 710
    cudaErrorHardwareStackError = 714
    cudaErrorIllegalInstruction = 715
    cudaErrorMisalignedAddress = 716
    cudaErrorInvalidAddressSpace = 717
    cudaErrorInvalidPc = 718
    cudaErrorLaunchFailure = 719
    cudaErrorSystemNotReady = 802
    cudaErrorSystemDriverMismatch = 803
    cudaErrorCompatNotSupportedOnDevice = 804
    cudaErrorMpsConnectionFailed = 805
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901
    cudaErrorUnknown = 999


class cudaMemcpyKind(enum.IntEnum):
    """Which way."""

    cudaMemcpyHostToHost = 0
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3
    cudaMemcpyDefault = 4


class cudaStreamCaptureMode(enum.IntEnum):
    """Which threads a capture forbids what."""

    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1
    cudaStreamCaptureModeRelaxed = 2


class _Handle:
    def __init__(self, init_value: int = 0, thing: Any = None) -> None:
        self._value, self._thing = init_value, thing

    def __int__(self) -> int:
        return self._value

    def getPtr(self) -> int:
        return id(self)


class cudaStream_t(_Handle):
    """A stream."""


class cudaEvent_t(_Handle):
    """An event."""


class cudaGraph_t(_Handle):
    """A recording."""


class cudaGraphExec_t(_Handle):
    """A graph to launch."""


def _answers(values: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function answer as the bindings do: (status, values...)."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any) -> tuple[Any, ...]:
            try:
                _GPUS.call(function.__name__)
                result = function(*arguments)
            except _Failure as exc:
                return (cudaError_t[exc.name], *[None] * values)
            return (cudaError_t.cudaSuccess, *(() if not values else (result,) if values == 1 else result))

        return call

    return decorate


@_answers(1)
def cudaGetDeviceCount() -> int:
    return len(_world.here().gpus)


@_answers(0)
def cudaSetDevice(device: int) -> None:
    _GPUS.ordinal = device


@_answers(1)
def cudaGetDevice() -> int:
    return _GPUS.ordinal


@_answers(1)
def cudaRuntimeGetVersion() -> int:
    return _number(_world.here().cuda_version)


@_answers(1)
def cudaDriverGetVersion() -> int:
    return _number(_world.here().cuda_version)


@_answers(2)
def cudaMemGetInfo() -> tuple[int, int]:
    return _GPUS.free_bytes()


@_answers(1)
def cudaMalloc(size: int) -> int:
    _GPUS.forbidden_in_capture()
    return _GPUS.allocate(size).address


@_answers(0)
def cudaFree(devPtr: int) -> None:
    _GPUS.forbidden_in_capture()
    _GPUS.release(int(devPtr))


@_answers(1)
def cudaHostAlloc(size: int, flags: int) -> int:
    _GPUS.forbidden_in_capture()
    return _GPUS.allocate_host(size, mapped=bool(flags & cudaHostAllocMapped)).address


@_answers(0)
def cudaFreeHost(ptr: int) -> None:
    _GPUS.forbidden_in_capture()
    _GPUS.release(int(ptr), pinned=True)


@_answers(1)
def cudaHostGetDevicePointer(pHost: int, flags: int) -> int:
    found = _GPUS.host.get(int(pHost))
    if found is None or not found.alias or flags:
        raise _Failure("cudaErrorInvalidValue")
    return found.alias


@_answers(0)
def cudaMemcpyAsync(dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: Any) -> None:
    if kind is cudaMemcpyKind.cudaMemcpyHostToDevice:
        _GPUS.copy_to_device(int(dst), int(src), count, int(stream))
    elif kind is cudaMemcpyKind.cudaMemcpyDeviceToHost:
        _GPUS.copy_to_host(int(dst), int(src), count, int(stream))
    else:
        raise _Failure("cudaErrorInvalidValue")


@_answers(0)
def cudaMemcpy(dst: int, src: int, count: int, kind: cudaMemcpyKind) -> None:
    """Waits, and takes pageable memory."""
    _GPUS.forbidden_in_capture()
    cudaDeviceSynchronize()
    host = (ctypes.c_uint8 * count).from_address(int(src if kind is cudaMemcpyKind.cudaMemcpyHostToDevice else dst))
    if kind is cudaMemcpyKind.cudaMemcpyHostToDevice:
        _GPUS.on_device(int(dst), count)[:] = list(host)
    else:
        ctypes.memmove(host, _GPUS.on_device(int(src), count).tobytes(), count)


@_answers(0)
def cudaMemsetAsync(devPtr: int, value: int, count: int, stream: Any) -> None:
    _GPUS.fill(int(devPtr), value, count, int(stream))


@_answers(1)
def cudaStreamCreate() -> cudaStream_t:
    return cudaStream_t(_GPUS.new_stream().handle)


@_answers(1)
def cudaStreamCreateWithFlags(flags: int) -> cudaStream_t:
    return cudaStream_t(_GPUS.new_stream().handle)


@_answers(0)
def cudaStreamDestroy(stream: Any) -> None:
    _GPUS.close_stream(int(stream))


@_answers(0)
def cudaStreamSynchronize(stream: Any) -> None:
    _GPUS.synchronize(int(stream))


@_answers(0)
def cudaStreamQuery(stream: Any) -> None:
    if _GPUS.stream(int(stream)).work:
        raise _Failure("cudaErrorNotReady")


@_answers(0)
def cudaDeviceSynchronize() -> None:
    _GPUS.forbidden_in_capture()
    for handle in list(_GPUS.streams):
        _GPUS.synchronize(handle)


@_answers(1)
def cudaEventCreate() -> cudaEvent_t:
    event = _GPUS.new_event()
    return cudaEvent_t(event.handle, event)


@_answers(1)
def cudaEventCreateWithFlags(flags: int) -> cudaEvent_t:
    event = _GPUS.new_event()
    return cudaEvent_t(event.handle, event)


@_answers(0)
def cudaEventDestroy(event: cudaEvent_t) -> None:
    if _GPUS.events.pop(int(event), None) is None:
        raise _Failure("cudaErrorInvalidResourceHandle")


@_answers(0)
def cudaEventRecord(event: cudaEvent_t, stream: Any) -> None:
    _GPUS.record(event._thing, int(stream))


@_answers(0)
def cudaEventSynchronize(event: cudaEvent_t) -> None:
    if event._thing.stream is not None:
        _GPUS.synchronize(event._thing.stream.handle)


@_answers(0)
def cudaEventQuery(event: cudaEvent_t) -> None:
    if event._thing.stream is not None and not event._thing.at_ns:
        raise _Failure("cudaErrorNotReady")


@_answers(1)
def cudaEventElapsedTime(start: cudaEvent_t, end: cudaEvent_t) -> float:
    return _GPUS.elapsed_ms(start._thing, end._thing)


@_answers(0)
def cudaStreamWaitEvent(stream: Any, event: cudaEvent_t, flags: int) -> None:
    def wait() -> None:
        if event._thing.stream is not None and not event._thing.at_ns:
            _GPUS.synchronize(event._thing.stream.handle)

    _GPUS.enqueue(int(stream), wait)


@_answers(0)
def cudaStreamBeginCapture(stream: Any, mode: cudaStreamCaptureMode) -> None:
    _GPUS.begin_capture(int(stream))


@_answers(1)
def cudaStreamEndCapture(stream: Any) -> cudaGraph_t:
    graph = _GPUS.end_capture(int(stream))
    return cudaGraph_t(graph.handle, graph)


@_answers(1)
def cudaGraphInstantiate(graph: cudaGraph_t, flags: int) -> cudaGraphExec_t:
    made = _GPUS.new_graph(list(graph._thing.work))
    return cudaGraphExec_t(made.handle, made)


@_answers(0)
def cudaGraphLaunch(graphExec: cudaGraphExec_t, stream: Any) -> None:
    _GPUS.launch(graphExec._thing, int(stream))


@_answers(0)
def cudaGraphDestroy(graph: cudaGraph_t) -> None:
    if _GPUS.graphs.pop(int(graph), None) is None:
        raise _Failure("cudaErrorInvalidValue")


@_answers(0)
def cudaGraphExecDestroy(graphExec: cudaGraphExec_t) -> None:
    if _GPUS.graphs.pop(int(graphExec), None) is None:
        raise _Failure("cudaErrorInvalidValue")


def cudaGetErrorName(error: cudaError_t) -> tuple[cudaError_t, bytes]:
    return cudaError_t.cudaSuccess, error.name.encode()


def cudaGetErrorString(error: cudaError_t) -> tuple[cudaError_t, bytes]:
    return cudaError_t.cudaSuccess, error.name.encode()


def _number(version: tuple[int, int]) -> int:
    return version[0] * 1000 + version[1] * 10
