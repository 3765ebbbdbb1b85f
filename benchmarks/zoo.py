"""Networks that everybody knows, as files to measure: architectures from torchvision, weights from a seed.

    python -m lineside.benchmarks.zoo ZOO --size 224

In:   names of networks, the side of their input.
Out:  for each NAME.pt2 (PyTorch), NAME.onnx (any batch), NAME.static.onnx (batch 1), NAME.simplified.onnx (that one, folded by ONNX
      Runtime's basic optimisations), NAME.fp16.onnx and NAME.int8.onnx (any batch).
The weights are random, with norms adjusted to random images, so that values have the size that a trained network's have: speed is that of
the architecture, and differences between precisions are real. What a trained network would classify, nobody can learn from this.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from lineside._optional import require
from lineside.errors import ConfigError
from lineside.files import file_being_written, make_output_folder

NETWORKS: Mapping[str, str] = {
    "resnet18": "resnet18",
    "mobilenet_v3_small": "mobilenet_v3_small",
    "mobilenet_v3_large": "mobilenet_v3_large",
}
"""Our name -> torchvision's."""
VARIANTS = (".onnx", ".static.onnx", ".simplified.onnx", ".fp16.onnx", ".int8.onnx")
OPSET = 18
ADJUSTED_ON, CALIBRATED_ON = 16, 16
"""Random images."""


@dataclass(frozen=True, kw_only=True)
class ZooOptions:
    """What to make.

    Attributes:
        names: Of the networks.
        size_px: Side of their input.
        seed: Of the weights and of the images.
    """

    names: Sequence[str] = tuple(NETWORKS)
    size_px: int = 224
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in NETWORKS]
        if unknown or not self.names:
            raise ConfigError(f"network {', '.join(unknown) or 'none'}", why=f"there are {', '.join(NETWORKS)}", fix="name one of them")
        if not 32 <= self.size_px <= 2048:
            raise ConfigError(f"inputs of {self.size_px} px", why="these networks halve it five times", fix="use 32 to 2048")


def write_zoo(folder: Path, options: ZooOptions = ZooOptions()) -> list[Path]:
    """Write the files of every network into `folder`; the PyTorch files.

    Raises:
        MissingPackageError: torchvision, onnx or onnxscript is not installed.
        OutputError: The files cannot be written.
    """
    return [_write(folder / name, name, options) for name in options.names]


def images(count: int, size_px: int, seed: int) -> Any:
    """(count, 3, size, size) float32, standard normal: as networks get them after normalisation."""
    return np.random.default_rng(seed).standard_normal((count, 3, size_px, size_px), np.float32)


def _write(stem: Path, name: str, options: ZooOptions) -> Path:
    torch = require("torch", extra="zoo")
    network = _network(name, options)
    example = torch.from_numpy(images(2, options.size_px, options.seed))
    batch = {"x": {0: torch.export.Dim("batch")}}
    with _quiet():
        exported = stem.with_name(f"{name}.pt2")
        with file_being_written(exported) as temporary:
            torch.export.save(torch.export.export(network, (example,), dynamic_shapes=batch), temporary)
        _export(network, example, stem.with_name(f"{name}.onnx"), dynamic_shapes=batch)
        _export(network, example[:1], stem.with_name(f"{name}.static.onnx"))
    _simplify(stem.with_name(f"{name}.static.onnx"), stem.with_name(f"{name}.simplified.onnx"))
    _halve(stem.with_name(f"{name}.onnx"), stem.with_name(f"{name}.fp16.onnx"))
    _quantize(stem.with_name(f"{name}.onnx"), stem.with_name(f"{name}.int8.onnx"), options)
    return exported


def _network(name: str, options: ZooOptions) -> Any:
    torch, models = require("torch", extra="zoo"), require("torchvision.models", extra="zoo")
    torch.manual_seed(options.seed)
    network = models.get_model(NETWORKS[name], weights=None)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over what it sees, not a moving one
    with torch.no_grad():
        network.train()(torch.from_numpy(images(ADJUSTED_ON, options.size_px, options.seed + 1)))
    return network.eval()


def _export(network: Any, example: Any, path: Path, **more: Any) -> None:
    torch = require("torch", extra="zoo")
    require("onnxscript", extra="zoo")
    names = {"input_names": ["input"], "output_names": ["output"]}
    program = torch.onnx.export(network, (example,), dynamo=True, opset_version=OPSET, verbose=False, **names, **more)
    with file_being_written(path) as temporary:
        program.save(str(temporary), external_data=False)


def _simplify(source: Path, out: Path) -> None:
    """Fold what is constant: ONNX Runtime's basic optimisations, which stay within standard ONNX."""
    runtime = require("onnxruntime", extra="zoo")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with file_being_written(out) as temporary:
        options.optimized_model_filepath = str(temporary)
        runtime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _halve(source: Path, out: Path) -> None:
    """FP16 inside, float32 around it."""
    onnx = require("onnx", extra="zoo")
    tool = require("onnxruntime.transformers.float16", extra="zoo")
    with _quiet():
        model = tool.convert_float_to_float16(onnx.load(source), keep_io_types=True)
    with file_being_written(out) as temporary:
        onnx.save(model, temporary)


def _quantize(source: Path, out: Path, options: ZooOptions) -> None:
    """INT8 by ONNX Runtime's static quantiser, per channel, calibrated on random images."""
    tool = require("onnxruntime.quantization", extra="zoo")
    prepared = require("onnxruntime.quantization.shape_inference", extra="zoo")
    batches = iter(images(CALIBRATED_ON, options.size_px, options.seed + 2)[:, None])

    class Reader(tool.CalibrationDataReader):  # type: ignore[misc, name-defined]  # of a package that comes in late
        """One image at a time."""

        def get_next(self) -> dict[str, Any] | None:
            """The next image as a batch of one; None at the end."""
            image = next(batches, None)
            return None if image is None else {"input": image}

    with file_being_written(out) as temporary, _quiet():
        before = temporary.with_suffix(".prepared.onnx")
        try:
            prepared.quant_pre_process(str(source), str(before), skip_symbolic_shape=True)
            kinds = {"activation_type": tool.QuantType.QUInt8, "weight_type": tool.QuantType.QInt8}
            tool.quantize_static(str(before), str(temporary), Reader(), per_channel=True, **kinds)
        finally:
            before.unlink(missing_ok=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter and the tools warn of their own packages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main(
    out: Annotated[Path, typer.Argument(help="A folder for the files.")],
    network: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(NETWORKS)}; again for more. All unless said.")] = None,
    size: Annotated[int, typer.Option(help="Side of the input in pixels.")] = 224,
    seed: Annotated[int, typer.Option(help="Of weights and images.")] = 0,
) -> None:
    """Write networks to measure."""
    options = ZooOptions(names=tuple(network or NETWORKS), size_px=size, seed=seed)
    make_output_folder(out, force=False)
    for path in write_zoo(out, options):
        typer.echo(path)


if __name__ == "__main__":
    typer.run(main)
