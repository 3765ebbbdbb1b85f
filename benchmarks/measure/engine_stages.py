"""An engine stage by stage on the GPU's clock, and the memory that it takes there.

In:   an engine, and how many strips go in at once.
Out:  `OnGpu`, a backend of `measure` whose stages are CUDA events' times: copying in, computing, copying out. `EngineMemory`.
The engine runs without a CUDA graph here, which has no stages. What the GPU's clock says is never added to what the host's says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lineside.engine.device.choose import open_device
from lineside.engine.run.backend import LoadOptions
from lineside.engine.run.runner import Runner, RunOptions
from lineside.engine.run.tensorrt_backend import TensorRtBackend
from lineside.spec import FULL_SCALE

from .stats import Percentiles

COPY_IN, COMPUTE, COPY_OUT = "copy_in", "compute", "copy_out"
_NS_PER_MS = 1e6


@dataclass(frozen=True, kw_only=True)
class EngineMemory:
    """What an engine takes on its GPU; what CUDA itself holds once per process is not in it.

    Attributes:
        free_before_bytes, free_after_bytes: What the device says before the engine is loaded, and after it ran: other programs are in it.
        engine_bytes: Of the file, whose weights go onto the GPU.
        activations_bytes: Of one execution context, as the sidecar says; None without one.
    """

    free_before_bytes: int
    free_after_bytes: int
    engine_bytes: int
    activations_bytes: int | None

    @property
    def taken_bytes(self) -> int:
        """By the device's account: weights, context and buffers."""
        return self.free_before_bytes - self.free_after_bytes

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {**asdict(self), "taken_bytes": self.taken_bytes}


@dataclass(frozen=True, kw_only=True)
class OnGpu:
    """An engine without a graph, stage by stage, on the GPU's clock. Copies take 0 where the GPU works on the host's memory."""

    name: str
    runner: Runner
    rows: int
    memory: EngineMemory

    def run(self, index: int) -> Mapping[str, int]:
        """One batch of whatever lies in the input."""
        times = self.runner.timed(self.rows)
        stages = {COPY_IN: times.to_device_ms, COMPUTE: times.compute_ms, COPY_OUT: times.to_host_ms}
        return {stage: round(ms * _NS_PER_MS) for stage, ms in stages.items()}


@dataclass(frozen=True, kw_only=True)
class OnDevice:
    """What was measured of an engine on its GPU: stages by the GPU's clock, and memory."""

    stages_ms: Mapping[str, Percentiles]
    memory: EngineMemory

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        stages = {stage: asdict(times) for stage, times in self.stages_ms.items()}
        return {"clock": "GPU", "stages_ms": stages, "memory": self.memory.to_json()}


@contextmanager
def open_on_gpu(engine: Path, rows: int, *, name: str) -> Iterator[OnGpu]:
    """Load an engine with noise in its input, and close it afterwards. Raises what `TensorRtBackend.load` raises."""
    options = RunOptions(graph=False)
    device = open_device(options.cuda_backend, options.device)
    try:
        with device.current():
            before = device.memory()[0]
        backend = TensorRtBackend.load(engine, LoadOptions(run=options))
        try:
            with device.current():
                after = device.memory()[0]
            _fill(backend)
            sidecar = backend.model.sidecar
            memory = EngineMemory(
                free_before_bytes=before,
                free_after_bytes=after,
                engine_bytes=engine.stat().st_size,
                activations_bytes=sidecar.device_memory_bytes if sidecar else None,
            )
            yield OnGpu(name=name, runner=backend.runner, rows=rows, memory=memory)
        finally:
            backend.close()
    finally:
        device.close()


def memory_of(engine: Path, rows: int) -> EngineMemory:
    """What an engine takes when it alone is loaded. Raises what `open_on_gpu` raises."""
    with open_on_gpu(engine, rows, name=engine.name) as one:
        return one.memory


def _fill(backend: TensorRtBackend) -> None:
    """Noise in the range that the input takes: zeros would run faster."""
    noise = np.random.default_rng(0).random(backend.input.shape, np.float32)
    white = 1.0 if backend.model.io == "production" else FULL_SCALE
    backend.input[...] = (white * noise).astype(backend.input.dtype)
