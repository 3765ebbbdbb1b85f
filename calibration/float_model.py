"""The float32 model that every other precision is made from; anything else is refused here, once.

In:   an ONNX file, or a model that was read from one.
Out:  a `FloatModel`: the model, its manifest and the network within it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lineside._optional import require
from lineside.errors import ConfigError, ModelError
from lineside.manifest import ModelManifest
from lineside.spec import StripSpec

from .network import Network

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatModel:
    """A float32 model of `lineside export`, from the file `path`."""

    path: Path
    manifest: ModelManifest
    network: Network

    @classmethod
    def read(cls, path: Path) -> FloatModel:
        """The model in the ONNX file `path`. Raises: ModelError."""
        onnx = require("onnx", extra="export")
        decode_error = require("google.protobuf.message", extra="export").DecodeError
        if not path.is_file():
            raise ModelError(f"{path}: no such file", why="an ONNX file was expected there", fix="export one: lineside export CHECKPOINT")
        try:
            model = onnx.load(str(path), format="protobuf")  # else the ending of the name decides
        except (decode_error, ValueError) as exc:
            raise ModelError(f"{path}: not an ONNX file", why=str(exc) or "it cannot be parsed", fix="export it again") from exc
        return cls.of(model, path=path)

    @classmethod
    def of(cls, model: onnx.ModelProto, *, path: Path) -> FloatModel:
        """The model that was read from `path`.

        Raises:
            ModelError: Not ours, not float32 any more, of dynamic height and width, or with batch norms that are not folded.
        """
        again = f"lineside export CHECKPOINT --out {path.name}"
        kinds = {node.op_type for node in model.graph.node}
        if "BatchNormalization" in kinds:
            raise ModelError(
                f"{path}: batch norms are not part of the convolutions",
                why="a range between a convolution and its batch norm means nothing once an engine has joined the two",
                fix=f"export it with folded batch norms: {again}",
            )
        manifest = ModelManifest.from_properties({entry.key: entry.value for entry in model.metadata_props}, path=path)
        if manifest is None:
            raise ModelError(f"{path}: not a model of lineside", why="it carries no metadata of ours", fix=f"export it: {again}")
        if manifest.precision != "fp32" or "QuantizeLinear" in kinds:
            raise ModelError(
                f"{path}: the network is {manifest.precision} already",
                why="a precision is given to the float32 network, whose numbers are all there",
                fix=f"use the float32 file: {again} --precision fp32",
            )
        _refuse_other_size(model, manifest.spec, path=path)
        return cls(path=path, manifest=manifest, network=Network.of(model, path=path))

    @property
    def opset(self) -> int:
        """The opset of its operators."""
        return max(int(entry.version) for entry in self.network.model.opset_import if not entry.domain)

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


def _refuse_other_size(model: onnx.ModelProto, spec: StripSpec, *, path: Path) -> None:
    for value in model.graph.input:
        sides = [side.dim_value if side.HasField("dim_value") else side.dim_param or "?" for side in value.type.tensor_type.shape.dim][2:]
        if sides != [spec.height_px, spec.width_px]:
            raise ModelError(
                f"{path}: the input {value.name} is {' x '.join(map(str, sides)) or 'no picture'}",
                why=f"height and width are fixed in a model of ours: {spec.height_px} x {spec.width_px} px",
                fix=f"lineside export CHECKPOINT --out {path.name}",
            )
