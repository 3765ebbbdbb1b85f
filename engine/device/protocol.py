"""What the runner needs of CUDA: memory, a stream, events, copies, a graph.

In:   byte counts and addresses.
Out:  `Device` and what it hands out. Two packages can do it, `cuda_python` and `pycuda`; `choose.open_device` takes one.
Every call of CUDA's is checked: a status that is not success is a DeviceError (`status`). Copies and enqueued work are asynchronous;
what they reach is there after `Stream.synchronize`, and not before.

The thread rule: CUDA keeps a current device per thread. Whoever calls anything here does it inside `with device.current():`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .driver import Gpu

CudaBackend = Literal["auto", "cuda-python", "pycuda"]


class DeviceMemory(Protocol):
    """Memory of the GPU. Owns it; `close()` is idempotent."""

    address: int
    nbytes: int

    def close(self) -> None:
        """Give the memory back."""
        ...


class HostMemory(Protocol):
    """Page-locked memory of the host. Owns it; `close()` is idempotent.

    Attributes:
        array: (nbytes,) uint8, all of it; empty once closed. Views of it that outlive `close` point nowhere.
        address: Where the GPU sees it, when it is mapped; 0 when it is not.
    """

    array: NDArray[np.uint8]
    address: int
    nbytes: int

    def close(self) -> None:
        """Give the memory back."""
        ...


class Stream(Protocol):
    """A queue of work that waits for no other stream. `handle` is what TensorRT takes."""

    handle: int

    def synchronize(self) -> None:
        """Wait until all of it is done. Raises: DeviceError, also for work that failed."""
        ...

    def close(self) -> None:
        """Give the stream back."""
        ...


class Event(Protocol):
    """A point in a stream whose time the GPU writes down."""

    def record(self, stream: Stream) -> None:
        """Put the point behind what is in the stream now."""
        ...

    def milliseconds_since(self, earlier: Event) -> float:
        """The GPU's time between two points that it has passed."""
        ...

    def close(self) -> None:
        """Give the event back."""
        ...


class Graph(Protocol):
    """Work that was captured once and is launched as a whole."""

    def launch(self, stream: Stream) -> None:
        """Enqueue all of it."""
        ...

    def close(self) -> None:
        """Give the graph back."""
        ...


class Device(Protocol):
    """One GPU through one CUDA package. It shares the primary context, so PyTorch and ONNX Runtime can live beside it.

    Attributes:
        name: "cuda-python" or "pycuda".
        gpu: What the driver says of the GPU.
        graphs: Whether `capture` is there.
    """

    name: str
    gpu: Gpu
    graphs: bool

    def current(self) -> AbstractContextManager[None]:
        """Make it the calling thread's device, for the block."""
        ...

    def memory(self) -> tuple[int, int]:
        """Free and total bytes. On an integrated GPU they are the machine's, as the driver counts them."""
        ...

    def allocate(self, nbytes: int) -> DeviceMemory:
        """Memory of the GPU, with anything in it."""
        ...

    def pinned(self, nbytes: int, *, mapped: bool = False) -> HostMemory:
        """Page-locked host memory, all zeros; `mapped`: the GPU reads and writes it in place."""
        ...

    def stream(self) -> Stream:
        """A new stream."""
        ...

    def event(self) -> Event:
        """A new event."""
        ...

    def copy_to_device(self, target: int, source: NDArray[np.uint8], stream: Stream) -> None:
        """Enqueue a copy of page-locked bytes to an address of the GPU."""
        ...

    def copy_to_host(self, target: NDArray[np.uint8], source: int, stream: Stream) -> None:
        """Enqueue a copy from an address of the GPU that fills page-locked bytes."""
        ...

    def fill(self, address: int, value: int, nbytes: int, stream: Stream) -> None:
        """Enqueue setting bytes of the GPU to one value."""
        ...

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """Record what `enqueue` puts into the stream, which does not run it. What `enqueue` raises goes on after the recording is ended."""
        ...

    def close(self) -> None:
        """Let go of the device; what it handed out is closed before."""
        ...
