"""Run an ONNX file with ONNX Runtime.

In:   the path of a full-image model; the providers and threads that the caller wants.
Out:  `OnnxRuntimeBackend`: an input buffer to write strips into, and `run`, which returns heatmaps and scores.
Never falls back: a provider that was asked for and does not run is an error. Knows nothing of verdicts and values.
A provider on a GPU is asked for only after the driver has answered; TensorRT's builds its engine, or finds it in its cache, while it loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.engine.device import driver
from lineside.engine.device.status import log
from lineside.engine.files.golden import GoldenStrip
from lineside.engine.files.io_forms import CONTRACTS, check_graph
from lineside.engine.files.profiles import BatchProfiles, Profile
from lineside.engine.files.tuned import Tuned
from lineside.engine.machine import physical_cores, vnni_doubt
from lineside.errors import ConfigError, DeviceError, ModelError
from lineside.manifest import Io, ModelManifest, sha256_of_file
from lineside.spec import StripSpec

from .backend import LoadOptions
from .onnxruntime_providers import CPU, ON_A_GPU, TENSORRT, full_names, refuse_fallback, short_name, with_options
from .session import ask, onnxruntime, open_session, tensors_of

TARGET = "onnxruntime"
"""What an INT8 file says that is laid out for this runtime."""


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """What is known of a loaded model and shared by its clones.

    Attributes:
        path, sha256: The file.
        manifest: What it says of itself; None for a model without metadata.
        spec: The strips that it inspects.
        io: Its form, a key of `CONTRACTS`.
        input_dtype: numpy's name of the type that its input takes.
        batch: How many strips go in at once; None when any number does.
        providers: What ONNX Runtime uses, in order of precedence.
        provider_options: What each provider was told; for TensorRT also where its engines are kept.
        nodes: How many nodes of the graph each provider runs; None when this ONNX Runtime does not tell.
        threads: Threads of one run.
    """

    path: Path
    sha256: str
    manifest: ModelManifest | None
    spec: StripSpec
    io: Io
    input_dtype: str
    batch: int | None
    providers: tuple[str, ...]
    provider_options: Mapping[str, Mapping[str, Any]]
    nodes: dict[str, int] | None
    threads: int

    @property
    def profiles(self) -> BatchProfiles | None:
        """How many strips go in at once; None when any number does."""
        return None if self.batch is None else BatchProfiles((Profile(min=self.batch, opt=self.batch, max=self.batch),))


class OnnxRuntimeBackend:
    """A session and the buffers of one thread. `close()` is idempotent; the session goes with its last clone.

    Attributes:
        model: What is loaded.
        session: The onnxruntime.InferenceSession; None when closed.
        input: (rows, C, H, W), C-contiguous, host, in the type that the model takes: the caller writes strips into it.
        name: What a result calls this backend.
    """

    def __init__(self, model: OnnxModel, session: Any) -> None:
        self.model = model
        self.session = session
        self.name = "onnxruntime-" + short_name(model.providers[0])
        self._contract = CONTRACTS[model.io]
        self.input = self._buffer(model.batch or 1)

    @classmethod
    def load(cls, path: Path, options: LoadOptions = LoadOptions()) -> OnnxRuntimeBackend:
        """Load a model.

        Args:
            path: An ONNX file.
            options: `providers` as ONNX Runtime has them, or short ("cpu", "cuda", "tensorrt"), in order of precedence, None: CPU;
                `threads` of one run, None: what `lineside tune` found, else one per physical core that the process may use.

        Raises:
            ModelError: Not an ONNX file, not a full-image model, or a model of other strips than it says.
            DeviceError: A provider is not available or does not run, or there is no GPU for it.
            ConfigError: Less than one thread.
            OutputError: The cache of TensorRT's engines cannot be written.
            MissingPackageError: ONNX Runtime is not installed.
        """
        if not path.is_file():
            raise ModelError(f"{path}: no such file", why="a model was expected there", fix="check the path")
        if options.threads is not None and options.threads < 1:
            raise ConfigError(f"{options.threads} threads", why="one is needed at least", fix="leave it out to use every physical core")
        sha256 = sha256_of_file(path)
        threads = options.threads or _tuned_threads(path, sha256) or physical_cores()
        wanted = full_names(options.providers or (CPU,), onnxruntime().get_available_providers())
        asked = driver.ask_driver() if any(provider in ON_A_GPU for provider in wanted) else None
        told = with_options(wanted, sha256=sha256, manifest=_manifest_of_file(path) if TENSORRT in wanted else None, driver=asked)
        session = open_session(path, told, threads)
        nodes = _nodes_by_provider(session)
        refuse_fallback(wanted, session.get_providers(), nodes, path)
        manifest = _manifest(session, path)
        spec, io = _form(manifest, options.spec, path)
        inputs, outputs = tensors_of(session.get_inputs()), tensors_of(session.get_outputs())
        batch = check_graph(inputs, outputs, io=io, spec=spec, path=path)
        model = OnnxModel(
            path=path,
            sha256=sha256,
            manifest=manifest,
            spec=spec,
            io=io,
            input_dtype=inputs[CONTRACTS[io].input].dtype,
            batch=batch,
            providers=tuple(session.get_providers()),
            provider_options=dict(told),
            nodes=nodes,
            threads=threads,
        )
        if wanted[0] == CPU and manifest is not None and manifest.target == TARGET and (text := vnni_doubt(manifest.cpu)):
            log.warning("%s: %s", path, text)
        backend = cls(model, session)
        if TENSORRT in wanted:
            backend._build()
        return backend

    def clone(self) -> OnnxRuntimeBackend:
        """The same session with buffers of its own, for another thread."""
        return OnnxRuntimeBackend(self.model, self.session)

    def reserve(self, rows: int) -> None:
        """Make room for `rows` strips in `input`."""
        if rows > len(self.input):
            self.input = self._buffer(rows)

    def run(self, rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Run the first `rows` strips of `input`; a fixed batch runs whole, and the answers of its other rows are dropped.

        Returns:
            Heatmaps (rows, H, W) float32, views of what ONNX Runtime returned, and the scores (rows,) of a graph that has them.

        Raises:
            ModelError: The run failed, or the model answers in another shape than it declares.
        """
        fed = self.input[: self.model.batch or rows]
        heatmaps, *scores = ask(self.session, self._contract.outputs, {self._contract.input: fed}, path=self.model.path)
        if heatmaps.shape != (len(fed), self._contract.heatmap_channels, *fed.shape[2:]) or any(len(score) != len(fed) for score in scores):
            raise ModelError(
                f"{self.model.path}: answers an array {heatmaps.shape} to one {fed.shape}",
                why="it declares a heatmap of the strip's size",
                fix="export the model again",
            )
        return heatmaps[:rows, 0], scores[0][:rows] if scores else None

    def start(self, rows: int) -> None:
        """Nothing: ONNX Runtime runs and waits in one call, which is `finish`."""

    def finish(self, rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What `run` does."""
        return self.run(rows)

    def golden(self) -> tuple[GoldenStrip, ...]:
        """None: the file itself is what an engine's golden strips are compared with."""
        return ()

    def describe(self) -> dict[str, Any]:
        """What is loaded and what really runs, as JSON values."""
        model = self.model
        return {
            "backend": self.name,
            "onnxruntime": onnxruntime().__version__,
            "providers": list(model.providers),
            "provider_options": {name: dict(options) for name, options in model.provider_options.items()},
            "nodes": model.nodes,
            "threads": model.threads,
            "path": str(model.path),
            "sha256": model.sha256,
            "io": model.io,
            "input_dtype": model.input_dtype,
            "batch": model.batch,
            "spec": model.spec.to_json(),
            "manifest": model.manifest.to_json() if model.manifest else None,
        }

    def close(self) -> None:
        """Let go of the session and the buffers."""
        self.session = None
        self.input = self.input[:0]

    def _build(self) -> None:
        """Run once, on zeros: TensorRT's provider builds its engine in the first run, which takes minutes that no strip should wait.

        Raises:
            DeviceError: It built none.
        """
        try:
            self.run(1)
        except ModelError as exc:
            raise DeviceError(
                f"{self.model.path}: {TENSORRT} built no engine", why=exc.why, fix="build it with `lineside build`, whose messages say more"
            ) from exc

    def _buffer(self, rows: int) -> NDArray[Any]:
        spec = self.model.spec
        return np.zeros((rows, self._contract.input_channels, spec.height_px, spec.width_px), self.model.input_dtype)


def _tuned_threads(path: Path, sha256: str) -> int | None:
    """What `lineside tune` found for this file on this machine; None where it found nothing. Raises: ModelError."""
    tuned = Tuned.beside(path)
    return tuned.threads if tuned is not None and tuned.counts_for(sha256) else None


def _nodes_by_provider(session: Any) -> dict[str, int] | None:
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    nodes: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes[part.ep_name] = nodes.get(part.ep_name, 0) + len(part.get_nodes())
    return nodes


def _manifest_of_file(path: Path) -> ModelManifest | None:
    """The same, before there is a session on the GPU: its options depend on the precision. Raises: ModelError."""
    return _manifest(open_session(path, [(CPU, {})], 1), path)


def _manifest(session: Any, path: Path) -> ModelManifest | None:
    """What the model says of itself. Raises: ModelError."""
    try:
        properties = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as exc:
        raise ModelError(f"{path}: damaged metadata", why=str(exc), fix="copy the file again, or export it again") from exc
    return ModelManifest.from_properties(properties, path=path)


def _form(manifest: ModelManifest | None, spec: StripSpec | None, path: Path) -> tuple[StripSpec, Io]:
    """The strips and the io form of a model: what it says, else what the caller says. Raises: ModelError."""
    if manifest is None:
        if spec is None:
            raise ModelError(
                f"{path}: no metadata of lineside",
                why="without it nobody knows which strips it inspects",
                fix="export it with `lineside export`, or say it in Python: Inspector.load(path, spec=PRESETS['strip'])",
            )
        return spec, "production"
    if spec is not None and spec.size != manifest.spec.size:
        raise ModelError(
            f"{path}: a model of {manifest.spec.size} px strips",
            why=f"strips of {spec.size} px were asked for",
            fix="use another model, or leave the spec out",
        )
    return spec or manifest.spec, manifest.io
