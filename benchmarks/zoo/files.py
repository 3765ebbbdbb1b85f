"""A network of the zoo as files.

In:   a `Network`, the side of its input, a seed.
Out:  NAME.pt2 (PyTorch) and the `VARIANTS`, NAME.onnx and so on. All but the static ones take any batch.
The weights are random, with batch norms adjusted to random inputs, so that values have the size that a trained network's have.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineside._optional import require
from lineside.benchmarks.subjects.any_torch import SUFFIX
from lineside.files import file_being_written

from .networks import Array, Network

OPSET = 18
_BATCH = "batch"


@dataclass(frozen=True)
class Variant:
    """One way to write the graph: `graph` is dynamic, static or simplified, of its batch."""

    graph: str
    precision: str


# in the order in which they are written
VARIANTS: Mapping[str, Variant] = {
    ".onnx": Variant("dynamic", "fp32"),
    ".static.onnx": Variant("static", "fp32"),  # batch 1
    ".simplified.onnx": Variant("simplified", "fp32"),  # that one, folded by ONNX Runtime's basic optimisations
    ".fp16.onnx": Variant("dynamic", "fp16"),  # float32 around it
    ".int8.onnx": Variant("dynamic", "int8"),  # ONNX Runtime's static quantiser, per channel, calibrated on random inputs
}
IN_PYTORCH = Variant("-", "fp32")


def files_of(folder: Path, name: str) -> list[Path]:
    """The PyTorch file and the variants."""
    return [folder / f"{name}{suffix}" for suffix in (SUFFIX, *VARIANTS)]


def write_files(folder: Path, name: str, network: Network, side_px: int, seed: int) -> Path:
    """Write them into `folder`; the PyTorch file.

    Raises:
        MissingPackageError: torch, onnx, onnxscript or what has the architecture is not installed.
        OutputError: A file cannot be written.
    """
    module = _module(network, side_px, seed)
    examples = network.random_inputs(2, side_px, seed)
    exported, dynamic, static, simplified, half, int8 = files_of(folder, name)
    with _quiet():
        program = _program(module, examples)
        with file_being_written(exported) as temporary:
            require("torch", extra="zoo").export.save(program, temporary)
        _export(program, list(examples), dynamic)
        _export(_program(module, {key: values[:1] for key, values in examples.items()}), list(examples), static)
        _simplify(static, simplified)
        _halve(dynamic, half)
        _quantize(dynamic, int8, network.random_inputs(network.samples, side_px, seed + 2))
    return exported


def _module(network: Network, side_px: int, seed: int) -> Any:
    """With its weights and norms, in eval mode."""
    torch = require("torch", extra="zoo")
    torch.manual_seed(seed)
    module = network.make(side_px)
    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over what it sees, not a moving one
    if norms:
        with torch.no_grad():
            module.train()(*map(torch.from_numpy, network.random_inputs(network.samples, side_px, seed + 1).values()))
    return module.eval()


def _program(module: Any, examples: Mapping[str, Array]) -> Any:
    """What PyTorch exports: for any batch, or for one where the examples are single."""
    torch = require("torch", extra="zoo")
    values = tuple(map(torch.from_numpy, examples.values()))
    open_batch = {0: torch.export.Dim(_BATCH)} if len(values[0]) > 1 else {}
    return torch.export.export(module, values, dynamic_shapes=tuple(open_batch for _ in values))


def _export(program: Any, names: list[str], path: Path) -> None:
    """A program, and not its module: from that, torch.onnx.export takes the batches of two inputs for two numbers."""
    torch = require("torch", extra="zoo")
    require("onnxscript", extra="zoo")
    open_batch = {"dynamic_shapes": tuple({0: _BATCH} for _ in names)} if program.range_constraints else {}  # for the name of the axis
    made = torch.onnx.export(program, (), dynamo=True, opset_version=OPSET, verbose=False, input_names=names, **open_batch)
    with file_being_written(path) as temporary:
        made.save(str(temporary), external_data=False)


def _simplify(source: Path, out: Path) -> None:
    """Fold what is constant: these optimisations stay within standard ONNX."""
    runtime = require("onnxruntime", extra="zoo")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with file_being_written(out) as temporary:
        options.optimized_model_filepath = str(temporary)
        runtime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _halve(source: Path, out: Path) -> None:
    onnx = require("onnx", extra="zoo")
    tool = require("onnxruntime.transformers.float16", extra="zoo")
    model = tool.convert_float_to_float16(onnx.load(source), keep_io_types=True)
    # it writes a cast once for every node that reads it, all with one name and behind their readers
    once = {tuple(node.output): node for node in model.graph.node}
    del model.graph.node[:]
    model.graph.node.extend(once.values())
    require("onnxruntime.transformers.onnx_model", extra="zoo").OnnxModel.graph_topological_sort(model.graph)
    onnx.checker.check_model(model)
    with file_being_written(out) as temporary:
        onnx.save(model, temporary)


def _quantize(source: Path, out: Path, samples: Mapping[str, Any]) -> None:
    tool = require("onnxruntime.quantization", extra="zoo")
    prepared = require("onnxruntime.quantization.shape_inference", extra="zoo")
    singles = zip(*(values[:, None] for values in samples.values()), strict=True)

    class Reader(tool.CalibrationDataReader):  # type: ignore[misc, name-defined]  # of a package that comes in late
        """One sample at a time."""

        def get_next(self) -> dict[str, Any] | None:
            """The next sample as a batch of one; None at the end."""
            values = next(singles, None)
            return None if values is None else dict(zip(samples, values, strict=True))

    with file_being_written(out) as temporary:
        before = temporary.with_suffix(".prepared.onnx")
        try:
            prepared.quant_pre_process(str(source), str(before), skip_symbolic_shape=True)
            kinds = {"activation_type": tool.QuantType.QUInt8, "weight_type": tool.QuantType.QInt8}
            tool.quantize_static(str(before), str(temporary), Reader(), per_channel=True, **kinds)
        finally:
            before.unlink(missing_ok=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter and the tools warn of their own packages, in both ways that there are."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
