"""Any PyTorch model, as `torch.export.save` wrote it: eager, or compiled by `torch.compile`.

In:   a .pt2 file; shapes of the inputs where it leaves more than the first axis open.
Out:  `possible_of_exported`, what the file can do, and `open_exported`, which runs it.
Whose file it is should be known: PyTorch reads it with its own loader.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require
from lineside.benchmarks.measure.inputs import tensors
from lineside.engine.files.io_forms import Tensor
from lineside.engine.machine import physical_cores
from lineside.errors import ModelError

from .any_onnx import Graph, possible_of_inputs, taken
from .cases import Axes, Case, Possible

SUFFIX = ".pt2"


def possible_of_exported(path: Path, axes: Axes) -> Possible:
    """What a .pt2 file can do. Raises: ModelError, ConfigError."""
    inputs = _inputs(_load(path), path)
    return possible_of_inputs(path, inputs, axes, runners=("pytorch", "compiled"))


@contextmanager
def open_exported(case: Case) -> Iterator[Graph]:
    """Open the model of a case. Raises: ModelError."""
    torch = require("torch", extra="train")
    program = _load(case.path)
    inputs = _inputs(program, case.path)
    threads, before = case.threads or physical_cores(), torch.get_num_threads()
    torch.set_num_threads(threads)
    module = program.module()
    if case.runner == "compiled":
        torch.compiler.reset()
        module = torch.compile(module)
    shapes = case.shapes or {}
    feeds = [tensors(shapes[name], tensor.dtype, seed=seed) for seed, (name, tensor) in enumerate(inputs.items())]

    def run(index: int) -> Sequence[NDArray[Any]]:
        if torch.get_num_threads() != threads:  # another case has set its own
            torch.set_num_threads(threads)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's compiler warns of PyTorch
            return outputs_of(module(*(torch.from_numpy(feed.take(index)) for feed in feeds)))

    about = {"backend": f"pytorch-{'compiled' if case.runner == 'compiled' else 'eager'}", "torch": torch.__version__, "threads": threads}
    try:
        yield Graph(run=run, about={**about, "takes": taken(case)})
    finally:
        torch.set_num_threads(before)


def outputs_of(answer: Any) -> list[NDArray[Any]]:
    """The tensors of what a module returned, in order."""
    parts = answer.values() if isinstance(answer, Mapping) else answer if isinstance(answer, (tuple, list)) else (answer,)
    return [np.asarray(part.numpy()) for part in parts]


def _load(path: Path) -> Any:
    """The program in a file. Raises: ModelError."""
    return _load_once(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _load_once(path: Path, modified_ns: int) -> Any:
    """PyTorch takes seconds to read a graph of a hundred nodes; every load of a case makes a module of its own from it."""
    torch = require("torch", extra="train")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(path)
    except (RuntimeError, ValueError, KeyError, OSError, BadZipFile) as exc:
        raise ModelError(
            f"{path}: not a model that PyTorch {torch.__version__} can load",
            why=(str(exc).strip().splitlines() or [type(exc).__name__])[0],
            fix="write it with torch.export.save of the same PyTorch",
        ) from exc


def _inputs(program: Any, path: Path) -> dict[str, Tensor]:
    """Its inputs, with None for axes that it leaves open. Raises: ModelError, when one is no tensor."""
    torch = require("torch", extra="train")
    wanted = program.graph_signature.user_inputs
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    found = {}
    for name in wanted:
        value = values.get(name)
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"{path}: input {name} is no tensor", why="only tensors can be made up", fix="name another model")
        shape = tuple(side if isinstance(side, int) else None for side in value.shape)
        found[name] = Tensor(shape=shape, dtype=str(value.dtype).removeprefix("torch."))
    return found
