"""The GPU of the stand-in: memory, streams, events and graphs, with CUDA's rules.

In:   addresses, byte counts, work to do.
Out:  nothing until somebody waits: a stream keeps its work, and does it when it is synchronised. `Failure` carries the name that CUDA's
      runtime has for an error.

Kept rules (CUDA Runtime API, "Stream Management", "Graph Management", "Error Handling"):
- device addresses are numbers that no host code can follow; work that leaves its buffer is cudaErrorIllegalAddress;
- an error of the GPU's work is said where it is waited for, and by every call after it;
- memory that was given back, or freshly made, holds rubbish;
- while a stream is captured nothing of it runs, and waiting for it spoils the capture;
- copies of pageable memory in a stream are refused: CUDA would make them synchronous, which lineside must not rely on.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import world

ALIGNMENT = 256
RUBBISH = 0xA5
CONTEXT_BYTES = 64 * world.MIB
DEVICE_BASE = 0x7D00_0000_0000
"""Where device addresses begin: nothing of the host lies there."""
STAYING = {
    "cudaErrorIllegalAddress",
    "cudaErrorLaunchFailure",
    "cudaErrorLaunchTimeout",
    "cudaErrorHardwareStackError",
    "cudaErrorIllegalInstruction",
    "cudaErrorMisalignedAddress",
    "cudaErrorAssert",
    "cudaErrorECCUncorrectable",
    "cudaErrorContained",
    "cudaErrorUnknown",
}
"""After these the process has to end."""

Work = Callable[[], None]


class Failure(Exception):  # noqa: N818  # not an error of this program: the name of one of CUDA's
    """What CUDA would answer."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass
class Allocation:
    """Memory. `pinned` for the host's; `alias` is the address under which the GPU sees mapped memory."""

    data: NDArray[np.uint8]
    address: int
    pinned: bool = False
    alias: int = 0


@dataclass
class Stream:
    """Work that waits. While `capture` is a list, work is recorded there instead."""

    handle: int
    work: list[Work] = field(default_factory=list)
    capture: list[Work] | None = None
    spoilt: bool = False


@dataclass
class Event:
    """A point in a stream: in `stream` and not done until `at_ns` is set."""

    handle: int
    stream: Stream | None = None
    at_ns: int = 0


@dataclass
class Graph:
    """Recorded work."""

    handle: int
    work: list[Work]


class Gpus:
    """All that the process has on its GPUs."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        """A new process."""
        self.poison: str | None = None
        self.device: dict[int, Allocation] = {}
        self.host: dict[int, Allocation] = {}
        self.reserved: dict[int, int] = {}  # engines and contexts: bytes of each
        self.streams: dict[int, Stream] = {0: Stream(0)}
        self.events: dict[int, Event] = {}
        self.graphs: dict[int, Graph] = {}
        self._next_address = DEVICE_BASE
        self._handles = itertools.count(0x5EED_0000, 0x10)
        self._current = threading.local()
        self._gone: list[Allocation] = []  # kept, so that a view that outlives its memory reads rubbish and does not crash the test

    @property
    def ordinal(self) -> int:
        """The calling thread's device."""
        return getattr(self._current, "ordinal", 0)

    @ordinal.setter
    def ordinal(self, value: int) -> None:
        if not 0 <= value < len(world.here().gpus):
            raise Failure("cudaErrorInvalidDevice")
        self._current.ordinal = value

    def living(self) -> dict[str, int]:
        """What has not been given back, by kind; empty when nothing is left."""
        counts = {
            "device memory": len(self.device),
            "host memory": len(self.host),
            "streams": len(self.streams) - 1,
            "events": len(self.events),
            "graphs": len(self.graphs),
            "engines and contexts": len(self.reserved),
        }
        return {kind: count for kind, count in counts.items() if count}

    def call(self, function: str) -> None:
        """Every call begins here. Raises: Failure, when the test or an earlier error wants it."""
        if self.poison is not None:
            raise Failure(self.poison)
        name = world.fault(function)
        if name:
            self.fail(str(name))

    def fail(self, name: str) -> None:
        """Raises: Failure. An error that stays is remembered."""
        if name in STAYING:
            self.poison = name
        raise Failure(name)

    # memory

    def free_bytes(self) -> tuple[int, int]:
        """Free and total bytes of the current device."""
        total = world.here().gpus[self.ordinal].memory_bytes
        used = CONTEXT_BYTES + sum(self.reserved.values()) + sum(one.data.nbytes for one in self.device.values())
        return max(total - used, 0), total

    def reserve(self, nbytes: int) -> int:
        """Take memory for an engine or a context; a ticket to give it back with, 0 when there is not enough."""
        with self.lock:
            if nbytes > self.free_bytes()[0]:
                return 0
            ticket = next(self._handles)
            self.reserved[ticket] = nbytes
            return ticket

    def allocate(self, nbytes: int) -> Allocation:
        """Memory of the GPU. Raises: Failure."""
        with self.lock:
            if nbytes > self.free_bytes()[0]:
                raise Failure("cudaErrorMemoryAllocation")
            made = Allocation(np.full(nbytes, RUBBISH, np.uint8), self._take(nbytes))
            self.device[made.address] = made
            return made

    def allocate_host(self, nbytes: int, *, mapped: bool) -> Allocation:
        """Page-locked memory of the host, aligned as CUDA does."""
        with self.lock:
            room = np.full(nbytes + ALIGNMENT, RUBBISH, np.uint8)
            start = -room.ctypes.data % ALIGNMENT
            data = room[start : start + nbytes]
            made = Allocation(data, data.ctypes.data, pinned=True, alias=self._take(nbytes) if mapped else 0)
            self.host[made.address] = made
            return made

    def release(self, address: int, *, pinned: bool = False) -> None:
        """Give memory back. Raises: Failure, when there is none at that address."""
        with self.lock:
            for stream in list(self.streams.values()):  # cudaFree waits for the device
                if stream.capture is None:
                    self.synchronize(stream.handle)
            gone = (self.host if pinned else self.device).pop(address, None)
            if gone is None:
                raise Failure("cudaErrorInvalidValue")
            gone.data[:] = RUBBISH
            self._gone.append(gone)

    def on_device(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """Bytes that the GPU reaches at `address`. Raises: Failure."""
        with self.lock:
            found = [(one.address, one) for one in self.device.values()] + [(one.alias, one) for one in self.host.values() if one.alias]
        for start, one in found:
            if start <= address and address + nbytes <= start + one.data.nbytes:
                return one.data[address - start : address - start + nbytes]
        return self.fail("cudaErrorIllegalAddress")  # type: ignore[return-value,func-returns-value]

    def on_host(self, address: int, nbytes: int) -> NDArray[np.uint8] | None:
        """Page-locked bytes at `address`; None when they are not."""
        with self.lock:
            for one in self.host.values():
                if one.address <= address and address + nbytes <= one.address + one.data.nbytes:
                    return one.data[address - one.address : address - one.address + nbytes]
        return None

    def _take(self, nbytes: int) -> int:
        address = self._next_address
        self._next_address += -(-(nbytes + 1) // ALIGNMENT) * ALIGNMENT + ALIGNMENT  # a gap: running over the end is noticed
        return address

    # streams

    def new_stream(self) -> Stream:
        """A stream that waits for no other."""
        with self.lock:
            stream = Stream(next(self._handles))
            self.streams[stream.handle] = stream
            return stream

    def stream(self, handle: int) -> Stream:
        """Raises: Failure, when it was given back."""
        if handle not in self.streams:
            raise Failure("cudaErrorInvalidResourceHandle")
        return self.streams[handle]

    def enqueue(self, handle: int, work: Work) -> None:
        """Put work into a stream; it is done when somebody waits."""
        with self.lock:
            stream = self.stream(handle)
            (stream.work if stream.capture is None else stream.capture).append(work)

    def synchronize(self, handle: int) -> None:
        """Do what is in a stream. Raises: Failure, of that work too."""
        with self.lock:
            stream = self.stream(handle)
            if stream.capture is not None:
                stream.spoilt = True
                raise Failure("cudaErrorStreamCaptureUnsupported")
            while stream.work:
                work = stream.work.pop(0)
                if self.poison is not None:
                    raise Failure(self.poison)
                work()

    def forbidden_in_capture(self) -> None:
        """For calls that CUDA refuses while the calling thread captures. Raises: Failure."""
        for stream in self.streams.values():
            if stream.capture is not None and getattr(self._current, "captures", None) == stream.handle:
                stream.spoilt = True
                raise Failure("cudaErrorStreamCaptureUnsupported")

    def close_stream(self, handle: int) -> None:
        """Give it back; what is in it is done first."""
        self.synchronize(handle)
        del self.streams[handle]

    # events

    def new_event(self) -> Event:
        """An event that was not recorded."""
        with self.lock:
            event = Event(next(self._handles))
            self.events[event.handle] = event
            return event

    def record(self, event: Event, handle: int) -> None:
        """Put it behind what is in the stream."""
        event.stream, event.at_ns = self.stream(handle), 0

        def happen() -> None:
            event.at_ns = time.perf_counter_ns()

        self.enqueue(handle, happen)

    def elapsed_ms(self, earlier: Event, later: Event) -> float:
        """Raises: Failure, when they were not recorded or not reached."""
        if earlier.stream is None or later.stream is None:
            raise Failure("cudaErrorInvalidResourceHandle")
        if not earlier.at_ns or not later.at_ns:
            raise Failure("cudaErrorNotReady")
        return (later.at_ns - earlier.at_ns) / 1e6

    # graphs

    def begin_capture(self, handle: int) -> None:
        """Record instead of doing."""
        stream = self.stream(handle)
        if stream.capture is not None:
            raise Failure("cudaErrorIllegalState")
        stream.capture, stream.spoilt = [], False
        self._current.captures = handle

    def end_capture(self, handle: int) -> Graph:
        """What was recorded. Raises: Failure."""
        stream = self.stream(handle)
        if stream.capture is None:
            raise Failure("cudaErrorIllegalState")
        work, stream.capture = stream.capture, None
        self._current.captures = None
        if stream.spoilt:
            raise Failure("cudaErrorStreamCaptureInvalidated")
        return self.new_graph(work)

    def new_graph(self, work: list[Work]) -> Graph:
        """A graph of this work."""
        with self.lock:
            graph = Graph(next(self._handles), work)
            self.graphs[graph.handle] = graph
            return graph

    def launch(self, graph: Graph, handle: int) -> None:
        """Enqueue all of it."""
        if graph.handle not in self.graphs:
            raise Failure("cudaErrorInvalidValue")
        for work in graph.work:
            self.enqueue(handle, work)

    # copies

    def copy_to_device(self, target: int, source: int, nbytes: int, handle: int) -> None:
        """Enqueue it. Raises: Failure, when the source is pageable."""
        if self.on_host(source, nbytes) is None:
            raise Failure("cudaErrorInvalidValue")

        def copy() -> None:
            data = self.on_host(source, nbytes)
            if data is None:
                self.fail("cudaErrorIllegalAddress")
            self.on_device(target, nbytes)[:] = data

        self.enqueue(handle, copy)

    def copy_to_host(self, target: int, source: int, nbytes: int, handle: int) -> None:
        """Enqueue it. Raises: Failure, when the target is pageable."""
        if self.on_host(target, nbytes) is None:
            raise Failure("cudaErrorInvalidValue")

        def copy() -> None:
            data = self.on_host(target, nbytes)
            if data is None:
                self.fail("cudaErrorIllegalAddress")
            else:
                data[:] = self.on_device(source, nbytes)

        self.enqueue(handle, copy)

    def fill(self, target: int, value: int, nbytes: int, handle: int) -> None:
        """Enqueue setting bytes."""

        def fill() -> None:
            self.on_device(target, nbytes)[:] = value

        self.enqueue(handle, fill)


GPUS = Gpus()
"""The process's."""
