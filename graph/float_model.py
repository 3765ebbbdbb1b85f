"""The float32 model that every other precision is made from; anything else is refused here, once.

In:   an ONNX file, or a model that was read from one. One of another program needs the spec of its strips beside it.
Out:  a `FloatModel`: the model, its strips, its manifest and the network within it; `with_network` gives the model another precision.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lineside._optional import require
from lineside.errors import ConfigError, ModelError
from lineside.manifest import ModelManifest, Precision
from lineside.spec import StripSpec
from lineside.tiles import TileGrid, windows

from .foreign import adapted
from .model_file import onnx_reason_of, opset_of, parse_model, refuse_invalid
from .network import Network
from .precision_mark import PrecisionMark
from .splice import spliced

if TYPE_CHECKING:
    import onnx


WITHOUT_HALF = "make INT8 of it without FP16, with --rest fp32, or keep the layer that is named with --keep"
"""What to do with another program's model that does not take FP16."""
_QUANTIZED = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger")
_FLOAT16 = 10
"""ONNX's number of the type."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatModel:
    """A float32 model from the file `path`, for the strips `spec`.

    `lineage` is the manifest of a model of ours; None for one of another program, whose network is the whole graph.
    """

    path: Path
    spec: StripSpec
    lineage: ModelManifest | None
    network: Network

    @classmethod
    def read(cls, path: Path, *, spec: StripSpec | None = None) -> FloatModel:
        """The model in the ONNX file `path`; `spec` is that of the strips, when another program made it. Raises: ModelError."""
        return cls.of(parse_model(path, weights=True), path=path, spec=spec)

    @classmethod
    def of(cls, model: onnx.ModelProto, *, path: Path, spec: StripSpec | None = None) -> FloatModel:
        """The model that was read from `path`.

        Args:
            spec: What the strips of a model of another program are; a model of ours says it itself.

        Raises:
            ModelError: Not a valid ONNX model, not float32 any more, of dynamic height and width, with batch norms that are not folded, or
                of another program and without a spec or not with one image input.
        """
        kinds = {node.op_type for node in model.graph.node}
        manifest = ModelManifest.from_properties({entry.key: entry.value for entry in model.metadata_props}, path=path)
        again = f"lineside export CHECKPOINT --out {path.name}" if manifest else f"the program that made {path.name}"
        if "BatchNormalization" in kinds:
            raise ModelError(
                f"{path}: batch norms are not part of the convolutions",
                why="a range between a convolution and its batch norm means nothing once an engine has joined the two",
                fix=f"export it with folded batch norms, from a network in evaluation mode: {again}",
            )
        precision = manifest.precision if manifest else _precision_of(model)
        if precision != "fp32" or "QuantizeLinear" in kinds:
            raise ModelError(
                f"{path}: the network is {precision} already",
                why="a precision is given to the float32 network, whose numbers are all there",
                fix=f"use the float32 file: {again}" + (" --precision fp32" if manifest else ""),
            )
        if manifest is not None:
            _refuse_other_size(model, manifest.spec, path=path)
            network = Network.of(model, path=path)
            refuse_invalid(model, path)
            return cls(path=path, spec=manifest.spec, lineage=manifest, network=network)
        if spec is None:
            raise ModelError(
                f"{path}: not a model of lineside",
                why="it carries no metadata of ours, so what its strips are is not known",
                fix="make it with `lineside export`; calibrate and quantize also take another program's: "
                f"lineside calibrate {path.name} DATASET --size HEIGHTxWIDTH --out RANGES",
            )
        foreign = Network.all_of(adapted(model, spec, path=path))
        if not foreign.convolutions:
            raise ModelError(f"{path}: no convolution", why="convolutions are what becomes INT8", fix="nothing is to be done here")
        return cls(path=path, spec=spec, lineage=None, network=foreign)

    @property
    def manifest(self) -> ModelManifest:
        """That of a model of ours. Raises: ModelError, for one of another program."""
        if self.lineage is None:
            raise ModelError(
                f"{self.path}: a model of another program",
                why="what its outputs mean is not known, so no verdict can be read off them",
                fix="calibrate, quantize and bench it here, and judge its answers where it is used",
            )
        return self.lineage

    @property
    def grid(self) -> TileGrid:
        """The parts of a strip that the network sees at once: tiles; for a model of another program whole strips, if it takes those."""
        sides = self.network.model.graph.input[0].type.tensor_type.shape.dim[2:]
        whole = [side.dim_value for side in sides] == [self.spec.height_px, self.spec.width_px]
        if self.lineage is not None or not whole:
            return self.spec.grid
        height_px, width_px = self.spec.height_px, self.spec.width_px
        return TileGrid(tile_px=height_px, rows=windows(height_px, height_px, 1), columns=windows(width_px, width_px, 1))

    def with_network(self, patch: onnx.ModelProto, mark: PrecisionMark) -> onnx.ModelProto:
        """The whole model with `patch`, the changed `network.patch_model()`, in place of the network, and metadata that say so.

        Raises:
            ModelError: An operator of another program's model does not take this precision.
        """
        if self.lineage is not None:
            return spliced(self.network, patch, self.lineage.changed(**mark.__dict__).to_properties())
        try:
            return spliced(self.network, patch, mark.to_properties())
        except require("onnx.shape_inference", extra="export").InferenceError as exc:
            raise ModelError(
                f"{self.path}: it does not hold together in this precision",
                why=onnx_reason_of(exc),
                fix=WITHOUT_HALF,
            ) from exc

    @property
    def opset(self) -> int:
        """The opset of its operators."""
        return opset_of(self.network.model)

    def refuse_unknown(self, layers: Collection[str]) -> None:
        """Refuse names that no convolution has. Raises: ConfigError."""
        known = self.network.convolutions
        unknown = sorted(set(layers) - set(known))
        if unknown:
            raise ConfigError(
                f"no layer {', '.join(unknown)} in {self.path}",
                why=f"a layer goes by the name of its convolution; there are {len(known)}",
                fix=f"name one of {', '.join(known)}",
            )


def _precision_of(model: onnx.ModelProto) -> Precision:
    """That of a model without metadata of ours."""
    if any(node.op_type in _QUANTIZED for node in model.graph.node):
        return "int8"
    return "fp16" if any(tensor.data_type == _FLOAT16 for tensor in model.graph.initializer) else "fp32"


def _refuse_other_size(model: onnx.ModelProto, spec: StripSpec, *, path: Path) -> None:
    for value in model.graph.input:
        sides = [side.dim_value if side.HasField("dim_value") else side.dim_param or "?" for side in value.type.tensor_type.shape.dim][2:]
        if sides != [spec.height_px, spec.width_px]:
            raise ModelError(
                f"{path}: the input {value.name} is {' x '.join(map(str, sides)) or 'no picture'}",
                why=f"height and width are fixed in a model of ours: {spec.height_px} x {spec.width_px} px",
                fix=f"lineside export CHECKPOINT --out {path.name}",
            )
