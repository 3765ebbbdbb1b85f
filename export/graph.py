"""Write a network as one full-image ONNX model.

In:   a trained UNet, its manifest, and `ExportOptions`.
Out:  an `onnx.ModelProto`: checked shapes, weights inside, metadata `lineside.*`. The same inputs give the same bytes.
`check` proves that it computes what PyTorch computes; `to_onnx` does both and writes the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lineside._optional import require
from lineside.engine.files.io_forms import CONTRACTS
from lineside.errors import ConfigError
from lineside.graph import opsets
from lineside.graph.float_model import FloatModel
from lineside.graph.half import halved
from lineside.manifest import Io, ModelManifest, Tiling
from lineside.spec import StripSpec

from .modules import full_image_heatmap, with_norms_folded
from .trace import write_graph
from .writer import GraphWriter

if TYPE_CHECKING:
    import onnx
    from torch import nn

RawDtype = Literal["float32", "uint8"]
FloatPrecision = Literal["fp32", "fp16"]
"""What needs no ranges; INT8 is `lineside quantize`."""


BATCH = "N"


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What the file looks like.

    Attributes:
        tiling: "batched", "unrolled" or "full" (design 4).
        io: "production" or "raw".
        precision: "fp32", or "fp16" for a network in half precision (`graph.half`).
        opset: ONNX opset, 11 to 23.
        batch: None keeps it dynamic; a number fixes it.
        raw_dtype: What a raw graph takes: "float32" fits every strip, "uint8" is a quarter of the bytes.
    """

    tiling: Tiling = "batched"
    io: Io = "production"
    precision: FloatPrecision = "fp32"
    opset: int = opsets.DEFAULT
    batch: int | None = None
    raw_dtype: RawDtype = "float32"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("tiling", self.tiling, ("batched", "unrolled", "full")),
            ("io", self.io, ("production", "raw")),
            ("precision", self.precision, ("fp32", "fp16")),
            ("raw dtype", self.raw_dtype, ("float32", "uint8")),
        ):
            if value not in known:
                raise ConfigError(f"{name} {value!r}", why="unknown", fix=f"use {', '.join(known)}")
        if not opsets.OLDEST <= self.opset <= opsets.NEWEST:
            raise ConfigError(
                f"opset {self.opset}", why=f"this exporter writes {opsets.OLDEST} to {opsets.NEWEST}", fix=f"leave it at {opsets.DEFAULT}"
            )
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch {self.batch}", why="a batch holds one strip at least", fix="leave it out for a dynamic batch")
        if self.raw_dtype != "float32" and self.io != "raw":
            raise ConfigError(f"raw dtype {self.raw_dtype} with io {self.io}", why="only raw graphs take camera bytes", fix="add --io raw")


def onnx_model(network: nn.Module, manifest: ModelManifest, options: ExportOptions) -> onnx.ModelProto:
    """The full-image model of `network`.

    Args:
        network: A UNet in eval mode, on the CPU.
        manifest: What the metadata says; its spec decides the geometry.
        options: Form of the file.

    Returns:
        A model that ONNX's checker has not seen yet; `export.check` does that.
    """
    helper = require("onnx.helper", extra="export")
    types = require("onnx", extra="export").TensorProto
    writer = GraphWriter(options.opset)
    contract = CONTRACTS[options.io]
    source = contract.input
    if options.io == "raw" and options.raw_dtype == "uint8":
        writer.integer_values.add(source)
    model = full_image_heatmap(with_norms_folded(network), manifest.spec, tiling=options.tiling, io=options.io)
    write_graph(model, writer, inputs=[source], outputs=contract.outputs)

    shapes = io_shapes(manifest.spec, options)
    dtype = types.UINT8 if source in writer.integer_values else types.FLOAT
    graph = helper.make_graph(
        writer.nodes,
        "lineside",
        [helper.make_tensor_value_info(source, dtype, shapes[source])],
        [helper.make_tensor_value_info(name, types.FLOAT, shapes[name]) for name in contract.outputs],
        list(writer.initializers.values()),
    )
    opset = helper.make_opsetid("", options.opset)
    # The oldest file format that has this opset: callers with an old runtime load it.
    proto = helper.make_model(
        graph,
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="lineside",
        producer_version=manifest.versions.get("lineside", ""),
    )
    helper.set_model_props(proto, manifest.to_properties())
    proto = _with_shapes(proto)
    return halved(FloatModel.of(proto, path=Path("the exported model"))) if options.precision == "fp16" else proto


def io_shapes(spec: StripSpec, options: ExportOptions) -> dict[str, list[Any]]:
    """The declared shape of every input and output; the batch is "N" where it is dynamic."""
    contract = CONTRACTS[options.io]
    batch: Any = BATCH if options.batch is None else options.batch
    size = [spec.height_px, spec.width_px]
    shapes = {contract.input: [batch, contract.input_channels, *size], contract.heatmap: [batch, contract.heatmap_channels, *size]}
    return shapes if contract.score is None else {**shapes, contract.score: [batch]}


def _with_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Every tensor's type and shape written down: viewers and quantisers read them."""
    inference = require("onnx.shape_inference", extra="export")
    inferred: onnx.ModelProto = inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    return inferred
