"""Run an engine: one execution context with its buffers, its stream and its graph.

In:   an engine of TensorRT's, a device, the io form; strips, which the caller writes into `Runner.input`.
Out:  `Runner.heatmaps` and `Runner.scores`, which the next run overwrites.
Everything is allocated and every address is set once, for the largest batch. The first run of a batch size is an ordinary enqueue, which is
also the warm-up that TensorRT asks for before a capture; the second one is captured, and from then on the graph is launched. Another batch
size drops the graph, because it holds the shapes (TensorRT Developer Guide, "CUDA Graphs").
On an integrated GPU the buffers are mapped: the GPU reads and writes them in place, and nothing is copied.
Every status is checked: TensorRT answers False, and CUDA reports at `synchronize` what failed before.
"""

from __future__ import annotations

import itertools
import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.engine.device.choose import check_choice
from lineside.engine.device.protocol import CudaBackend, DeviceMemory, Event, Graph, HostMemory, Stream
from lineside.engine.device.status import log
from lineside.engine.files.io_forms import Contract
from lineside.engine.files.profiles import BatchProfiles
from lineside.errors import ConfigError, DeviceError, ModelError
from lineside.spec import StripSpec

from .loaded_engine import LoadedEngine

_NAN_BYTE = 0xFF
"""Four of them are a NaN of float32."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How an engine runs.

    Attributes:
        cuda_backend: The package that works the GPU; "auto": cuda-python where it is installed, else PyCUDA.
        device: The number of the GPU.
        graph: Launch a CUDA graph where the package has them.
        mapped: Buffers that the GPU reaches in place of copies; None: on an integrated GPU.
        debug: Fill the outputs with NaN before every run, so that what the engine leaves unwritten is noticed.
    """

    cuda_backend: CudaBackend = "auto"
    device: int = 0
    graph: bool = True
    mapped: bool | None = None
    debug: bool = False

    def __post_init__(self) -> None:
        check_choice(self.cuda_backend, self.device)


@dataclass(frozen=True, kw_only=True)
class EngineIo:
    """What goes in and out: the io form, the strips, the type of the input, and how many strips go in at once."""

    contract: Contract
    spec: StripSpec
    input_dtype: str
    profiles: BatchProfiles

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of one strip."""
        return self.contract.input_channels, self.spec.height_px, self.spec.width_px

    def nbytes(self) -> int:
        """Of all buffers on the GPU, for the largest batch."""
        area = self.spec.height_px * self.spec.width_px
        strip = self.contract.input_channels * area * np.dtype(self.input_dtype).itemsize
        answer = (self.contract.heatmap_channels * area + (self.contract.score is not None)) * np.dtype(np.float32).itemsize
        return self.profiles.largest * (strip + answer)


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """Milliseconds on the GPU's clock, by events: copies to the GPU, the engine, copies back. Copies are 0 with mapped buffers."""

    to_device_ms: float
    compute_ms: float
    to_host_ms: float


class Runner:
    """An execution context. `close()` is idempotent; not for two threads at once.

    Attributes:
        input: (largest batch, C, H, W), C-contiguous, page-locked: the caller writes strips into it.
        heatmaps: (largest batch, H, W) float32, the answers.
        scores: (largest batch,) float32; None where the graph leaves them to the caller.
        mapped: Whether the GPU reaches these in place.
        graphs: Whether runs are captured.
    """

    def __init__(self, loaded: LoadedEngine, io: EngineIo, options: RunOptions) -> None:
        """Make a context and its buffers.

        Raises:
            DeviceError: The GPU has not enough memory, or CUDA answers with an error.
        """
        device = loaded.device
        self._loaded, self._device, self._io, self._debug = loaded, device, io, options.debug
        self.graphs = options.graph and device.graphs
        self.mapped = device.gpu.integrated if options.mapped is None else options.mapped
        self.input: NDArray[Any] = np.empty(0, io.input_dtype)
        self.heatmaps: NDArray[np.float32] = np.empty(0, np.float32)
        self.scores: NDArray[np.float32] | None = None
        self._rows = 0
        self._active = 0  # the one that a new context has
        self._warm = self._closed = False
        self._graph: Graph | None = None
        self._context: Any = None
        self._owned = ExitStack()
        with device.current():
            self._stream: Stream = device.stream()
        self._owned.callback(self._stream.close)
        try:
            with device.current():
                self._make_buffers()
                self._context = loaded.make_context()
                if self._context is None:
                    raise DeviceError(
                        "TensorRT cannot make an execution context",
                        why=self._reason(),
                        fix="end other programs on the GPU (nvidia-smi lists them), or build the engine for a smaller batch",
                    )
                self._set_addresses()
        except BaseException:
            self.close()
            raise

    @property
    def captured(self) -> bool:
        """Whether the next run of this batch size launches a graph."""
        return self._graph is not None

    def run(self, rows: int) -> None:
        """Run the first `rows` strips of `input`, a batch that one of the profiles holds, and wait for the answers: the hot path.

        Raises:
            DeviceError: The GPU failed. What is in the answers then is nothing.
            ModelError: The engine does not take that batch.
        """
        self.start(rows)
        self.finish()

    def start(self, rows: int) -> None:
        """Enqueue a run; its input stays untouched until `finish` returns. Raises what `run` raises."""
        with self._device.current():
            if rows != self._rows:
                self._take_batch(rows)
            if self._graph is not None:
                self._graph.launch(self._stream)
            elif self._warm and self.graphs:
                self._graph = self._device.capture(self._stream, self._enqueue)
                self._graph.launch(self._stream)
            else:
                self._enqueue()
                self._warm = True

    def finish(self) -> None:
        """Wait for the run that was started. Raises: DeviceError."""
        with self._device.current():
            self._stream.synchronize()

    def timed(self, rows: int) -> StageTimes:
        """Run as `run` does, without a graph, and say how long each stage took on the GPU. Raises what `run` raises."""
        stages = (self._copy_in, self._compute, self._copy_out)
        with self._device.current(), ExitStack() as owned:
            if rows != self._rows:
                self._take_batch(rows)
            events: list[Event] = []
            for _ in range(len(stages) + 1):
                events.append(self._device.event())
                owned.callback(events[-1].close)
            events[0].record(self._stream)
            for stage, event in zip(stages, events[1:], strict=True):
                stage()
                event.record(self._stream)
            self._stream.synchronize()
            to_device, compute, to_host = (after.milliseconds_since(before) for before, after in itertools.pairwise(events))
        return StageTimes(to_device_ms=to_device, compute_ms=compute, to_host_ms=to_host)

    def close(self) -> None:
        """Give everything back. Never raises: what CUDA says then has been said by the run that failed, and goes to the log."""
        if self._closed:
            return
        self._closed = True
        self.input, self.heatmaps, self.scores = self.input[:0].copy(), self.heatmaps[:0].copy(), None
        try:
            with self._device.current():
                # Nothing may be at work on the buffers that go; and TensorRT frees the context's memory on the current device.
                for step in (self._stream.synchronize, self._drop_graph, self._drop_context, self._owned.close):
                    try:
                        step()
                    except DeviceError as exc:
                        log.warning("while an engine is closed: %s", exc)
        except DeviceError as exc:
            log.warning("while an engine is closed: %s", exc)

    def _make_buffers(self) -> None:
        """Device and host memory for the largest batch, and the host's views of it."""
        io, largest = self._io, self._io.profiles.largest
        strip = (largest, *io.input_shape)
        heat = (largest, io.contract.heatmap_channels, io.spec.height_px, io.spec.width_px)
        self._input = self._buffer(strip, io.input_dtype, kept=strip)
        # Of production's three channels the first is the heatmap and the others are zeros, which stay on the GPU.
        self._heat = self._buffer(heat, "float32", kept=heat if self.mapped else (largest, 1, *heat[2:]))
        self._score = None if io.contract.score is None else self._buffer((largest,), "float32", kept=(largest,))
        self.input = self._input.host
        self.heatmaps = self._heat.host[:, 0]
        self.scores = None if self._score is None else self._score.host

    def _buffer(self, shape: tuple[int, ...], dtype: str, *, kept: tuple[int, ...]) -> _Buffer:
        itemsize = np.dtype(dtype).itemsize
        host: HostMemory = self._device.pinned(math.prod(kept) * itemsize, mapped=self.mapped)
        self._owned.callback(host.close)
        address = host.address
        if not self.mapped:
            memory: DeviceMemory = self._device.allocate(math.prod(shape) * itemsize)
            self._owned.callback(memory.close)
            address = memory.address
        return _Buffer(
            address=address,
            row_nbytes=math.prod(shape[1:]) * itemsize,
            host=host.array.view(dtype).reshape(kept),
            rows=host.array.reshape(kept[0], -1),
        )

    def _set_addresses(self) -> None:
        contract = self._io.contract
        buffers = [(contract.input, self._input), (contract.heatmap, self._heat)]
        if contract.score is not None and self._score is not None:
            buffers.append((contract.score, self._score))
        for name, buffer in buffers:
            if not self._context.set_tensor_address(name, buffer.address):
                raise DeviceError(f"TensorRT does not take the buffer of {name!r}", why=self._reason(), fix="build the engine again")

    def _take_batch(self, rows: int) -> None:
        """Make the context ready for another batch. Raises: ModelError, ConfigError."""
        self._drop_graph()
        self._warm, self._rows = False, 0
        index = self._io.profiles.index_for(rows)
        if index is None:
            raise ConfigError(f"batch of {rows}", why=f"this engine takes {self._io.profiles} strips at a time", fix="use one of these")
        if index != self._active and not self._context.set_optimization_profile_async(index, self._stream.handle):
            raise ModelError(f"TensorRT does not take profile {index}", why=self._reason(), fix="build the engine again")
        self._active = index
        if not self._context.set_input_shape(self._io.contract.input, (rows, *self._io.input_shape)):
            raise ModelError(f"TensorRT does not take a batch of {rows}", why=self._reason(), fix="build the engine again")
        self._rows = rows

    def _enqueue(self) -> None:
        """A whole run: what a graph holds."""
        self._copy_in()
        self._compute()
        self._copy_out()

    def _copy_in(self) -> None:
        if not self.mapped:
            self._device.copy_to_device(self._input.address, self._input.rows[: self._rows].reshape(-1), self._stream)

    def _compute(self) -> None:
        if self._debug:
            for buffer in (self._heat, self._score):
                if buffer is not None:
                    self._device.fill(buffer.address, _NAN_BYTE, self._rows * buffer.row_nbytes, self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise DeviceError(
                "TensorRT did not run the engine",
                why=self._reason(),
                fix="check the GPU: nvidia-smi, lineside doctor; then build the engine again",
            )

    def _copy_out(self) -> None:
        if self.mapped:
            return
        for buffer in (self._heat, self._score):
            if buffer is None:
                continue
            if buffer.rows.shape[1] == buffer.row_nbytes:
                self._device.copy_to_host(buffer.rows[: self._rows].reshape(-1), buffer.address, self._stream)
            else:
                for row in range(self._rows):
                    self._device.copy_to_host(buffer.rows[row], buffer.address + row * buffer.row_nbytes, self._stream)

    def _reason(self) -> str:
        """What TensorRT has said last."""
        return (self._loaded.messages.errors().splitlines() or ["it does not say why"])[-1]

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.close()

    def _drop_context(self) -> None:
        """TensorRT lets go of it with the last reference."""
        with self._loaded.lock:
            self._context = None


@dataclass(frozen=True, kw_only=True)
class _Buffer:
    """A tensor: where the engine finds it, the bytes of a row there, and the host's memory as an array and as bytes row by row."""

    address: int
    row_nbytes: int
    host: NDArray[Any]
    rows: NDArray[np.uint8]
