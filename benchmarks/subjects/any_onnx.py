"""Bare graphs: any ONNX file, on arrays of its own shapes, in ONNX Runtime or OpenVINO.

In:   an ONNX file; shapes of the inputs where the file leaves them open.
Out:  `possible_of_onnx`, what the file can do, and `open_graph`, which runs it.
Ours are found by their metadata: an `Inspector` can run them, too. OpenVINO computes in float32 where the file does, also where the
processor has bfloat16: who is compared computes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require
from lineside.benchmarks.measure.inputs import Rotation, tensors
from lineside.engine.files.io_forms import Tensor
from lineside.engine.files.profiles import BatchProfiles, Profile
from lineside.engine.machine import physical_cores
from lineside.engine.run.onnxruntime_providers import CPU, full_names
from lineside.engine.run.session import open_session, reason_of, runtime_errors, tensors_of
from lineside.errors import ConfigError, ModelError
from lineside.manifest import PREFIX, ModelManifest

from .cases import Axes, Case, Possible, Runner, Shape

BARE: tuple[Runner, ...] = ("onnxruntime", "openvino")


@dataclass(frozen=True, kw_only=True)
class Graph:
    """An open graph: `run` answers input number `index` with its outputs."""

    run: Callable[[int], Sequence[NDArray[Any]]]
    about: Mapping[str, Any]


def possible_of_onnx(path: Path, axes: Axes) -> Possible:
    """What an ONNX file can do.

    Raises:
        ModelError: ONNX Runtime cannot read it, or an input is no tensor.
        ConfigError: A shape is missing, or is not one that the input takes.
    """
    session = open_session(path, [(CPU, {})], 1)
    properties = session.get_modelmeta().custom_metadata_map
    inputs = _plain(tensors_of(session.get_inputs()), path)
    batches = None
    runners: tuple[Runner, ...] = BARE
    if any(name.startswith(PREFIX) for name in properties):
        ModelManifest.from_properties(properties, path=path)  # a damaged one is an error, and no reason to run the bare graph
        runners = ("inspector", *BARE)
        first = next(iter(next(iter(inputs.values())).shape), None)
        batches = None if first is None else BatchProfiles((Profile(min=first, opt=first, max=first),))
    return possible_of_inputs(path, inputs, axes, runners=runners, batches=batches)


def possible_of_inputs(
    path: Path, inputs: Mapping[str, Tensor], axes: Axes, *, runners: tuple[Runner, ...], batches: BatchProfiles | None = None
) -> Possible:
    """What a graph with these inputs can do. Raises: ConfigError, for a shape that is missing or not one that the input takes."""
    if set(axes.runners or runners[:1]) <= {"inspector"}:
        return Possible(path=path, runners=runners, batches=batches)
    shapes = [[(name, shape) for shape in _shapes(name, tensor, axes, path)] for name, tensor in inputs.items()]
    return Possible(
        path=path,
        runners=runners,
        batches=batches,
        shapes=tuple(dict(one) for one in product(*shapes)),
        open_batch=tuple(name for name, tensor in inputs.items() if tensor.shape and tensor.shape[0] is None),
    )


def refuse_unused_shapes(models: Sequence[Possible], axes: Axes) -> None:
    """Raises: ConfigError, when a shape is for an input that no bare graph has."""
    known = list(dict.fromkeys(name for model in models for shapes in model.shapes for name in shapes))
    for name in axes.shapes:
        if name not in known:
            raise ConfigError(
                f"--shape {name}=...",
                why=f"the inputs are {', '.join(known)}" if known else "it is for ONNX files that run as bare graphs: none here",
                fix=f"say --shape {known[0]}=..." if known else "leave it out, or say --runner onnxruntime",
            )


@contextmanager
def open_graph(case: Case) -> Iterator[Graph]:
    """Open the graph of a case. Raises: ModelError, DeviceError, MissingPackageError."""
    yield {"onnxruntime": _onnxruntime, "openvino": _openvino}[case.runner](case)


def _onnxruntime(case: Case) -> Graph:
    runtime = require("onnxruntime", extra="onnxruntime")
    wanted = full_names(case.providers or (CPU,), runtime.get_available_providers())
    threads = case.threads or physical_cores()
    session = open_session(case.path, [(provider, {}) for provider in wanted], threads)
    feeds = _feeds(tensors_of(session.get_inputs()), case)

    def run(index: int) -> Sequence[NDArray[Any]]:
        try:
            answers: Sequence[NDArray[Any]] = session.run(None, {name: rotation.take(index) for name, rotation in feeds.items()})
        except runtime_errors() as exc:
            raise _failed(case, reason_of(exc)) from exc
        return answers

    providers = session.get_providers()
    about = {"backend": "onnxruntime, bare graph", "onnxruntime": runtime.__version__, "providers": providers, "threads": threads}
    return Graph(run=run, about={**about, "takes": taken(case)})


def openvino_options(threads: int) -> dict[str, Any]:
    """One call at a time, computed in the precision of the file."""
    return {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


def _openvino(case: Case) -> Graph:
    openvino = require("openvino", extra="openvino")
    threads = case.threads or physical_cores()
    try:
        request = openvino.Core().compile_model(str(case.path), "CPU", openvino_options(threads)).create_infer_request()
    except RuntimeError as exc:
        raise _failed(case, str(exc).strip().splitlines()[-1]) from exc
    inputs = tensors_of(open_session(case.path, [(CPU, {})], 1).get_inputs())
    feeds = _feeds(inputs, case)

    def run(index: int) -> Sequence[NDArray[Any]]:
        try:
            found = request.infer({name: rotation.take(index) for name, rotation in feeds.items()}, share_inputs=True)
        except RuntimeError as exc:
            raise _failed(case, str(exc).strip().splitlines()[-1]) from exc
        return list(found.values())

    about = {"backend": "openvino, bare graph", "openvino": openvino.__version__, "threads": threads, "takes": taken(case)}
    return Graph(run=run, about=about)


def _feeds(inputs: Mapping[str, Tensor], case: Case) -> dict[str, Rotation]:
    assert case.shapes is not None
    return {name: tensors(case.shapes[name], tensor.dtype, seed=seed) for seed, (name, tensor) in enumerate(inputs.items())}


def taken(case: Case) -> str:
    """The inputs of a case and their shapes, in words."""
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in (case.shapes or {}).items())


def _plain(inputs: Mapping[str, Tensor], path: Path) -> Mapping[str, Tensor]:
    """Raises: ModelError, when there is no input, or one that no array of numbers is."""
    for name, tensor in inputs.items():
        if tensor.dtype not in np.sctypeDict:
            raise ModelError(f"{path}: input {name} takes {tensor.dtype}", why="only numbers can be made up", fix="name another model")
    if not inputs:
        raise ModelError(f"{path}: no input", why="nothing can be measured of what is always the same", fix="name another model")
    return inputs


def _shapes(name: str, tensor: Tensor, axes: Axes, path: Path) -> Sequence[Shape]:
    """The shapes to run an input with. Raises: ConfigError."""
    example = "x".join("1" if axis == 0 and side is None else str(side or "N") for axis, side in enumerate(tensor.shape))
    wanted = axes.shapes.get(name)
    if wanted is None:
        if any(side is None for side in tensor.shape[1:]):
            raise ConfigError(
                f"{path}: input {name} is {example}",
                why="N may be any number: the file does not say how large its inputs are",
                fix=f"say it: --shape {name}={example.replace('N', '224')}",
            )
        return [tuple(side or 1 for side in tensor.shape)]
    for shape in wanted:
        if len(shape) != len(tensor.shape) or any(side not in (None, given) for given, side in zip(shape, tensor.shape, strict=True)):
            raise ConfigError(
                f"{path}: --shape {name}={'x'.join(map(str, shape))}",
                why=f"the input takes {'x'.join(str(side or 'any') for side in tensor.shape)}",
                fix=f"say --shape {name}={example.replace('N', '224')}",
            )
    return wanted


def _failed(case: Case, why: str) -> ModelError:
    return ModelError(
        f"{case.path}: {case.runner} cannot run it on {taken(case)}", why=why, fix="say other shapes with --shape, or another --runner"
    )
