"""Run an engine with TensorRT.

In:   the path of an engine (.engine, .plan) with its sidecar beside it; how the caller wants it run.
Out:  `TensorRtBackend`: an input buffer to write strips into, and `run`, which returns heatmaps and scores.
The driver is asked before anything of CUDA or TensorRT is touched, and the sidecar decides before TensorRT sees the engine (`refusals`).
Never falls back. Knows nothing of verdicts and values.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.engine.device import _trt, driver
from lineside.engine.device.choose import open_device
from lineside.engine.device.protocol import Device
from lineside.engine.device.status import log
from lineside.engine.files.golden import GoldenStrip, read_golden
from lineside.engine.files.io_forms import CONTRACTS, Tensor, check_graph
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.files.qualification_mark import doubt
from lineside.engine.files.sidecar import EngineManifest, sidecar_path
from lineside.errors import ModelError
from lineside.manifest import Io, ModelManifest
from lineside.spec import PRESETS, StripSpec

from .backend import LoadOptions
from .loaded_engine import LoadedEngine
from .refusals import read_plan, refuse_little_memory, refuse_old_driver, refuse_other_gpu, refuse_other_tensorrt
from .runner import EngineIo, Runner, RunOptions

NAME = "tensorrt"


@dataclass(frozen=True, kw_only=True)
class EngineModel:
    """What is known of a loaded engine and shared by its clones.

    Attributes:
        path, sha256: The file.
        sidecar: What lies beside it; None for an engine without.
        spec: The strips that it inspects.
        io: Its form, a key of `CONTRACTS`.
        input_dtype: numpy's name of the type that its input takes.
        profiles: How many strips go in at once.
    """

    path: Path
    sha256: str
    sidecar: EngineManifest | None
    spec: StripSpec
    io: Io
    input_dtype: str
    profiles: BatchProfiles

    @property
    def manifest(self) -> ModelManifest | None:
        """What the model says of itself; None for an engine without a sidecar."""
        return self.sidecar.model if self.sidecar else None

    def engine_io(self) -> EngineIo:
        """What its runner needs to know."""
        return EngineIo(contract=CONTRACTS[self.io], spec=self.spec, input_dtype=self.input_dtype, profiles=self.profiles)


class TensorRtBackend:
    """An execution context and the buffers of one thread. `close()` is idempotent; the engine goes with its last clone.

    Attributes:
        model: What is loaded.
        runner: The context with its buffers; benchmarks take its stages one by one.
        input: (rows, C, H, W), C-contiguous, page-locked, in the type that the model takes: the caller writes strips into it.
        name: What a result calls this backend.
    """

    name = NAME

    def __init__(self, model: EngineModel, loaded: LoadedEngine, options: RunOptions) -> None:
        self.model = model
        self._loaded = loaded
        self._options = options
        self._closed = False
        try:
            self.runner = Runner(loaded, model.engine_io(), options)
        except BaseException:
            loaded.close()
            raise
        self.input = self.runner.input

    @classmethod
    def load(cls, path: Path, options: LoadOptions = LoadOptions()) -> TensorRtBackend:
        """Load an engine, and run it twice on empty strips, so that the first strip is as fast as the others.

        Args:
            path: An engine of `lineside build`, or any with the tensors of one.
            options: `run`, how to run it; `spec`, the strips of an engine without a sidecar, None: the preset of its size.

        Raises:
            ModelError: Not this engine, not for this GPU or this TensorRT, or not a full-image model.
            DeviceError: There is no usable GPU, or too little memory on it.
            ConfigError: No such CUDA backend.
            MissingPackageError: TensorRT, or what works the GPU, is not installed.
        """
        if not path.is_file():
            raise ModelError(f"{path}: no such file", why="an engine was expected there", fix="check the path")
        refuse_old_driver(driver.ask_driver(), _trt.installed())
        sidecar = EngineManifest.read(path) if sidecar_path(path).exists() else None
        plan, sha256 = read_plan(path, sidecar)
        device = open_device(options.run.cuda_backend, options.run.device)
        if sidecar is None:
            log.warning("%s has no sidecar: which GPU, TensorRT and model it is for is not known", path)
        else:
            refuse_other_gpu(path, sidecar, device.gpu)
            if text := doubt(sidecar):
                log.warning("%s: %s", path, text)
        trt = _trt.tensorrt(lean_allowed=sidecar is None or sidecar.lean)
        if sidecar is not None:
            refuse_other_tensorrt(path, sidecar, trt)
        with device.current():
            refuse_little_memory(path, need=_needed_bytes(plan, sidecar), device=device)
        rebuild = sidecar.rebuild(path) if sidecar else f"lineside build MODEL.onnx --out {path} --force"
        trusted = sidecar is not None and sidecar.version_compatible
        loaded = LoadedEngine(plan, path=path, trt=trt, device=device, rebuild=rebuild, trusted=trusted)
        try:
            model = _model(path, sha256, sidecar, loaded, options.spec)
        except BaseException:
            loaded.close()
            raise
        backend = cls(model, loaded, options.run)
        backend.warm_up()
        return backend

    @property
    def device(self) -> Device:
        """Where it runs."""
        return self._loaded.device

    def clone(self) -> TensorRtBackend:
        """The same engine with a context and buffers of its own, for another thread."""
        clone = TensorRtBackend(self.model, self._loaded.share(), self._options)
        clone.warm_up()
        return clone

    def reserve(self, rows: int) -> None:
        """Nothing: there is room for the largest batch."""

    def run(self, rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Run the first `rows` strips of `input`; where no profile holds that many, more run, and their answers are dropped.

        Returns:
            Heatmaps (rows, H, W) float32 and the scores (rows,) of a graph that has them: copies, since the next run writes where it
            wrote this time.

        Raises:
            DeviceError: The GPU failed.
            ModelError: The engine does not take that batch.
        """
        self.start(rows)
        return self.finish(rows)

    def start(self, rows: int) -> None:
        """Begin a run, and do not wait. Raises what `run` raises."""
        self.runner.start(self.model.profiles.padded(rows))

    def finish(self, rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Wait for the run that was begun. Returns and raises what `run` does."""
        self.runner.finish()
        scores = self.runner.scores
        return self.runner.heatmaps[:rows].copy(), None if scores is None else scores[:rows].copy()

    def golden(self) -> tuple[GoldenStrip, ...]:
        """Those of its build; none for an engine that was built without, or has no sidecar."""
        return () if self.model.sidecar is None else read_golden(self.model.path, self.model.sidecar)

    def describe(self) -> dict[str, Any]:
        """What is loaded and what really runs, as JSON values."""
        model, device, sidecar = self.model, self._loaded.device, self.model.sidecar
        return {
            "backend": self.name,
            "tensorrt": self._loaded.trt.__version__,
            "lean": self._loaded.trt.__name__ == _trt.LEAN,
            "cuda_backend": device.name,
            "gpu": device.gpu.name,
            "graph": self.runner.graphs,
            "mapped": self.runner.mapped,
            "path": str(model.path),
            "sha256": model.sha256,
            "io": model.io,
            "input_dtype": model.input_dtype,
            "profiles": str(model.profiles),
            "spec": model.spec.to_json(),
            "manifest": model.manifest.to_json() if model.manifest else None,
            "onnx_sha256": sidecar.onnx_sha256 if sidecar else None,
            "built_by": f"TensorRT {sidecar.tensorrt} on {sidecar.gpu}, {sidecar.built_at}" if sidecar else None,
        }

    def close(self) -> None:
        """Let go of the context, the buffers and, with the last clone, the engine."""
        if self._closed:
            return
        self._closed = True
        self.input = self.input[:0].copy()
        self.runner.close()
        self._loaded.close()

    def warm_up(self) -> None:
        """Run the smallest batch as often as it takes until nothing is new: an enqueue, then a launch of the graph."""
        try:
            for _ in range(2):
                self.runner.run(self.model.profiles.smallest)
        except BaseException:
            self.close()
            raise


def _needed_bytes(plan: bytes, sidecar: EngineManifest | None) -> int:
    """Weights, activations and buffers: what is known before the engine is loaded."""
    if sidecar is None:
        return len(plan)
    spec, contract = sidecar.model.spec, CONTRACTS[sidecar.model.io]
    io = EngineIo(contract=contract, spec=spec, input_dtype=sidecar.input_dtype, profiles=sidecar.profiles)
    return len(plan) + sidecar.device_memory_bytes + io.nbytes()


def _model(path: Path, sha256: str, sidecar: EngineManifest | None, loaded: LoadedEngine, spec: StripSpec | None) -> EngineModel:
    """What was loaded. Raises: ModelError, when it is not a full-image model, or one of other strips."""
    inputs, outputs = loaded.tensors()
    if sidecar is not None:
        spec, io = _spec_of(sidecar, spec, path), sidecar.model.io
    else:
        spec, io = _bare_form(inputs, spec, path)
    check_graph(inputs, outputs, io=io, spec=spec, path=path)
    name = CONTRACTS[io].input
    return EngineModel(
        path=path, sha256=sha256, sidecar=sidecar, spec=spec, io=io, input_dtype=inputs[name].dtype, profiles=loaded.profiles(name)
    )


def _spec_of(sidecar: EngineManifest, spec: StripSpec | None, path: Path) -> StripSpec:
    """Raises: ModelError, when the caller wants other strips than the engine inspects."""
    if spec is not None and spec.size != sidecar.model.spec.size:
        raise ModelError(
            f"{path}: an engine of {sidecar.model.spec.size} px strips",
            why=f"strips of {spec.size} px were asked for",
            fix="use another engine, or leave the spec out",
        )
    return spec or sidecar.model.spec


def _bare_form(inputs: dict[str, Tensor], spec: StripSpec | None, path: Path) -> tuple[StripSpec, Io]:
    """The strips and the form of an engine without a sidecar, by the names and sizes of its tensors. Raises: ModelError."""
    for io, contract in CONTRACTS.items():
        tensor = inputs.get(contract.input)
        if tensor is None:
            continue
        spec = spec or next((preset for preset in PRESETS.values() if (preset.height_px, preset.width_px) == tensor.shape[2:]), None)
        if spec is None:
            break
        return spec, io
    names = " or ".join(contract.input for contract in CONTRACTS.values())
    taken = ", ".join(f"{name} {tensor}" for name, tensor in inputs.items()) or "nothing"
    raise ModelError(
        f"{path}: no sidecar {sidecar_path(path).name}, and it takes {taken}",
        why=f"without it only engines of ours are known: {names}, of a preset's size",
        fix="copy the sidecar beside it, or build it from its ONNX file; for strips of your own: Inspector.load(path, spec=StripSpec(...))",
    )
