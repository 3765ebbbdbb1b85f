"""Open a model file so that it can be measured, whoever runs it.

In:   paths, and cases of them.
Out:  `possible_of`, what a file can do; `open_subject`, which gives a `Subject` and closes it afterwards.
A checkpoint runs in PyTorch's eager mode; an ONNX file of ours and an engine in an `Inspector`; any other ONNX file, or model that PyTorch
exported, as a bare graph (`any_onnx`, `any_torch`). Every input is one that the model has not seen, but for strips that are read from
files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require
from lineside.benchmarks.measure.inputs import Strips, strips
from lineside.engine.files.sidecar import EngineManifest, sidecar_path
from lineside.engine.inspector import Inspector
from lineside.engine.machine import physical_cores
from lineside.engine.run.backend import LoadOptions
from lineside.engine.run.runner import RunOptions
from lineside.engine.run.tensorrt_backend import TensorRtBackend
from lineside.errors import ModelError
from lineside.kinds import CHECKPOINT, ENGINES, ONNX, kind_of

from .any_onnx import open_graph, possible_of_onnx
from .any_torch import SUFFIX as EXPORTED
from .any_torch import open_exported, possible_of_exported
from .cases import Axes, Case, Possible
from .inspector_subject import INFERENCE, READ, Inspected
from .strip_files import StripFolder


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An open model: a backend of `measure`.

    Attributes:
        name: Of its case.
        items: Strips, or rows of the batch, of one call.
        run: One call on input number `index`; the nanoseconds of its stages where it tells them.
        answer: What it answers to input number `index`, flat: to see that it is not the same for every input.
        about: What really runs it, as JSON values.
    """

    name: str
    items: int
    run: Callable[[int], Mapping[str, int] | None]
    answer: Callable[[int], NDArray[Any]]
    about: Mapping[str, Any]


def possible_of(path: Path, axes: Axes) -> Possible:
    """What the file at `path` can do, as far as `axes` asks.

    Raises:
        ModelError: No such file, not a known kind, or not readable.
        ConfigError: The axes lack a shape that the model needs, or have one that it cannot take.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file", why="a model was expected there", fix="check the path")
    suffix, kind = path.suffix.lower(), kind_of(path)
    if kind == "checkpoint":
        return Possible(path=path, runners=("pytorch",))
    if suffix == EXPORTED:
        return possible_of_exported(path, axes)
    if kind == "onnx":
        return possible_of_onnx(path, axes)
    if kind == "engine":
        sidecar = EngineManifest.read(path) if sidecar_path(path).exists() else None
        return Possible(path=path, runners=("inspector",), batches=sidecar.profiles if sidecar else None)
    raise ModelError(
        f"{path}: unknown kind of model {suffix or '(no suffix)'}",
        why=f"known are checkpoints ({CHECKPOINT}), exports ({EXPORTED}), ONNX files ({ONNX}) and engines ({', '.join(ENGINES)})",
        fix="name such a file; rename it when it is one",
    )


def import_runtime(case: Case) -> None:
    """Import what runs it: not the model's load time. Raises: MissingPackageError."""
    if case.runner in ("pytorch", "compiled"):
        require("torch", extra="train")
    elif case.runner == "openvino":
        require("openvino", extra="openvino")
    elif kind_of(case.path) == "onnx":
        require("onnxruntime", extra="onnxruntime")


@contextmanager
def open_subject(case: Case, folder: StripFolder | None = None) -> Iterator[Subject]:
    """Open the model of a case, and close it afterwards.

    Args:
        case: Which one.
        folder: Where `run` reads its strips; None: they lie in memory, as those of `answer` always do.

    Raises:
        ModelError, CheckpointError: It cannot be used.
        DeviceError: There is no GPU for it, or a provider does not run.
        MissingPackageError: What runs it is not installed.
    """
    if case.shapes is not None:
        with _graph(case) as subject:
            yield subject
    else:
        with (_checkpoint if case.runner == "pytorch" else _inspector)(case, folder) as subject:
            yield subject


@contextmanager
def _inspector(case: Case, folder: StripFolder | None) -> Iterator[Subject]:
    with _loaded(case) as inspector:
        about = inspector.describe()
        dtype = "uint8" if about["input_dtype"] == "uint8" else "float32"
        made_up = Inspected(name=case.name, inspector=inspector, strips=strips(inspector.spec, dtype=dtype), rows=case.batch)
        measured = made_up if folder is None else replace(made_up, strips=folder.strips(inspector.spec))

        def answer(index: int) -> NDArray[Any]:
            return np.array(made_up.results(index)[0].heatmap).ravel()

        takes = f"strips, {dtype}" if folder is None else str(folder)
        yield Subject(name=case.name, items=case.batch, run=measured.run, answer=answer, about={**about, "takes": takes})


def _loaded(case: Case) -> Inspector:
    if case.graph is False:
        backend = TensorRtBackend.load(case.path, LoadOptions(run=RunOptions(graph=False)))
        manifest = backend.model.manifest
        return Inspector(backend, threshold=manifest.threshold if manifest else 1.0)
    return Inspector.load(case.path, providers=case.providers, threads=case.threads)


@contextmanager
def _checkpoint(case: Case, folder: StripFolder | None) -> Iterator[Subject]:
    torch = require("torch", extra="train")
    from lineside.train.checkpoint_model import CheckpointModel

    threads = case.threads or physical_cores()
    with CheckpointModel.load(case.path, threads=threads) as model:
        made_up = strips(model.spec)
        files = folder.strips(model.spec) if folder is not None else None

        def heatmaps(source: Strips, index: int) -> NDArray[Any]:
            if torch.get_num_threads() != threads:  # another case has set its own
                torch.set_num_threads(threads)
            return np.concatenate([model.heatmap(source.take(index * case.batch + row)).ravel() for row in range(case.batch)])

        def run(index: int) -> Mapping[str, int] | None:
            if files is None:
                heatmaps(made_up, index)
                return None
            begin, before_ns = perf_counter_ns(), files.read_ns
            heatmaps(files, index)
            total_ns, read_ns = perf_counter_ns() - begin, files.read_ns - before_ns
            return {READ: read_ns, INFERENCE: total_ns - read_ns}

        takes = "strips, float32" if folder is None else str(folder)
        about = {"backend": "pytorch-eager", "torch": torch.__version__, "threads": threads, "takes": takes}
        yield Subject(name=case.name, items=case.batch, run=run, answer=lambda index: heatmaps(made_up, index), about=about)


@contextmanager
def _graph(case: Case) -> Iterator[Subject]:
    with (open_exported if case.path.suffix.lower() == EXPORTED else open_graph)(case) as graph:

        def run(index: int) -> None:
            graph.run(index)

        yield Subject(name=case.name, items=case.batch, run=run, answer=lambda index: graph.run(index)[0].ravel(), about=graph.about)
