"""Bring an ONNX model of another program into the form that calibration works on.

In:   a float32 model with one image input, (N, 3, H, W) in [0, 1], of whole strips or of tiles, and the spec of the strips.
Out:  the same model with what the other modules rely on: every node has a name, constants are initializers, every convolution has a bias,
      every tensor a shape, and the opset can say FP16 scales. Inputs and outputs stay as they are.
What the outputs mean nobody knows: such a model can be calibrated, quantised and measured, not judged by its verdicts.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lineside._optional import require
from lineside.errors import ModelError
from lineside.spec import CHANNELS, StripSpec

from .network import COPY_MARK, TILES
from .opsets import HALF_SCALES, SCALES_PER_CHANNEL
from .splice import replace

if TYPE_CHECKING:
    import onnx

FLOAT = 1
"""ONNX's number of float32."""
_HAS_CONSTANT_VALUE = "value"


def adapted(model: onnx.ModelProto, spec: StripSpec, *, path: Path) -> onnx.ModelProto:
    """A copy of the model that was read from `path`, in the form above.

    Raises:
        ModelError: It has not one image input of the spec's strips or tiles, or does what cannot be followed.
    """
    _refuse_what_cannot_be_followed(model, path)
    _refuse_other_inputs(model, spec, path)
    changed: Any = type(model)()
    changed.CopyFrom(model)
    changed = _raised(changed, path)
    version = opset_of(changed)
    del changed.opset_import[:]
    changed.opset_import.add(version=version)
    _name_nodes(changed.graph)
    _constants_to_initializers(changed.graph)
    _give_biases(changed.graph)
    replace(changed.graph.input, _inputs(changed.graph))
    return _with_shapes(changed, path)


def _refuse_what_cannot_be_followed(model: onnx.ModelProto, path: Path) -> None:
    graph = model.graph
    domains = {entry.domain for entry in model.opset_import} - {"", "ai.onnx"}
    nested = {node.op_type for node in graph.node for attribute in node.attribute if attribute.HasField("g") or attribute.graphs}
    names = {name for node in graph.node for name in (*node.input, *node.output, node.name)}
    taken = {name for name in names if COPY_MARK in name} | names.intersection({TILES} - {value.name for value in graph.input})
    for found, what, fix in (
        (domains, "operators of domain {}", "export it with operators of ONNX alone"),
        (nested, "{} with graphs of their own", "export it without control flow"),
        ({function.name for function in model.functions}, "functions of its own, {}", "inline them: onnx.inliner.inline_local_functions"),
        (taken, "names that mean something here, {}", f"rename them: {TILES} and names with {COPY_MARK} are lineside's own"),
    ):
        if found:
            raise ModelError(f"{path}: {what.format(', '.join(sorted(found)))}", why="lineside cannot follow them", fix=fix)


def _refuse_other_inputs(model: onnx.ModelProto, spec: StripSpec, path: Path) -> None:
    """Refuse all but one (N, 3, H, W) float32 of whole strips or of tiles. Raises: ModelError."""
    height_px, width_px, tile_px = spec.height_px, spec.width_px, spec.tile_px
    wanted = (
        f"one float32 input N x {len(CHANNELS)} x H x W, {spec.size} px for whole strips or {tile_px}x{tile_px} px for tiles, N free or 1"
    )
    inputs = _inputs(model.graph)
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelError(
            f"{path}: {len(inputs)} inputs ({names})", why="ranges are measured on one picture", fix=f"use a model with {wanted}"
        )
    kind = inputs[0].type.tensor_type
    sides = [side.dim_value if side.HasField("dim_value") else side.dim_param or "?" for side in kind.shape.dim]
    fits = len(sides) == 4 and sides[1:] in ([len(CHANNELS), height_px, width_px], [len(CHANNELS), tile_px, tile_px])
    if kind.elem_type != FLOAT or not fits or (isinstance(sides[0], int) and sides[0] != 1):
        data_type = require("onnx", extra="export").TensorProto.DataType.Name(kind.elem_type).lower()
        raise ModelError(
            f"{path}: the input {inputs[0].name} is {data_type}, {' x '.join(map(str, sides)) or 'of unknown shape'}",
            why=f"strips of {spec.size} px and tiles of {tile_px} px are what there is to put in",
            fix=f"export it with {wanted}, or say what its strips are: --size, --tile",
        )


def _inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Without the weights, which files of IR 3 list there too."""
    given = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in given]


def _raised(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model with `HALF_SCALES`, when it is older; one without scales per channel as it is: FP16 does not need them."""
    version = opset_of(model)
    if not SCALES_PER_CHANNEL <= version < HALF_SCALES:
        return model
    converter = require("onnx.version_converter", extra="export")
    try:
        raised: onnx.ModelProto = converter.convert_version(model, HALF_SCALES)
    except (RuntimeError, ValueError, converter.ConvertError) as exc:
        raise ModelError(
            f"{path}: it cannot be raised from opset {version} to {HALF_SCALES}",
            why=str(exc).split("\n")[0],
            fix=f"export it with opset {HALF_SCALES}",
        ) from exc
    return raised


def opset_of(model: onnx.ModelProto) -> int:
    """The opset of its operators."""
    return max(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _name_nodes(graph: onnx.GraphProto) -> None:
    """A name of its own for every node; those that have one keep it."""
    used = Counter(node.name for node in graph.node)
    for node in graph.node:
        if not node.name or used[node.name] > 1:
            node.name = next(name for name in node.output if name)


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Constant nodes that hold a tensor, and Identity nodes of a constant, become initializers: weights are looked for there."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        values = [attribute.t for attribute in node.attribute if node.op_type == "Constant" and attribute.name == _HAS_CONSTANT_VALUE]
        if node.op_type == "Identity" and node.input[0] in constants:  # the exporter of PyTorch writes equal tensors once
            values = [constants[node.input[0]]]
        if values:
            tensor = graph.initializer.add()
            tensor.CopyFrom(values[0])
            tensor.name = node.output[0]
            constants[tensor.name] = tensor
        else:
            nodes.append(node)
    replace(graph.node, nodes)


def _give_biases(graph: onnx.GraphProto) -> None:
    """A bias of zeros for every convolution without one."""
    from_array = require("onnx.numpy_helper", extra="export").from_array
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in weights and (len(node.input) < 3 or not node.input[2]):
            name = f"{node.name}.bias"
            graph.initializer.append(from_array(np.zeros(weights[node.input[1]].dims[0], np.float32), name))
            node.input[:] = [*node.input[:2], name]


def _with_shapes(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model with the type and shape of every tensor. Raises: ModelError, when that of a convolution stays unknown."""
    inference = require("onnx.shape_inference", extra="export")
    del model.graph.value_info[:]
    try:
        inferred: onnx.ModelProto = inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except inference.InferenceError as exc:
        raise ModelError(f"{path}: its shapes contradict each other", why=str(exc).split("\n")[0], fix="export it again") from exc
    known = {
        value.name
        for value in (*inferred.graph.value_info, *inferred.graph.output)
        if all(side.HasField("dim_value") for side in value.type.tensor_type.shape.dim[1:])
    }
    unknown = [node.name for node in inferred.graph.node if node.op_type == "Conv" and node.output[0] not in known]
    if unknown:
        raise ModelError(
            f"{path}: the shape of {unknown[0]}'s output cannot be worked out from the input's",
            why="every tensor of a model whose height and width are fixed has a fixed size",
            fix="fold the shape computations first: onnxsim, or polygraphy surgeon sanitize --fold-constants",
        )
    return inferred
