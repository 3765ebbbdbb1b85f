"""Bring an ONNX model of another program into the form that calibration works on.

In:   a float32 model with one image input, (N, 3, H, W) in [0, 1], of whole strips or of tiles, and the spec of the strips.
Out:  the same model with what the other modules rely on: every node has a name, constants are initializers, every convolution has a bias,
      every tensor a shape, and the opset can say FP16 scales. Inputs and outputs stay as they are.
What the outputs mean nobody knows: such a model can be calibrated, quantised and measured, not judged by its verdicts.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lineside._optional import require
from lineside.errors import ModelError
from lineside.spec import CHANNELS, StripSpec

from .model_file import onnx_errors, onnx_reason_of, opset_of, refuse_invalid
from .names import Names
from .network import COPY_MARK, TILES
from .opsets import HALF_SCALES, SCALES_PER_CHANNEL
from .splice import replace

if TYPE_CHECKING:
    import onnx

WEIGHTS_ARE_NO_INPUTS = 4
"""From this version of the file format on a weight need not be listed as an input."""
FLOAT = 1
"""ONNX's number of float32."""
CAST_NAME = re.compile("_cast_to_fp(16|32)|^graph_(in|out)put_cast")
"""What ONNX Runtime's float16 tool calls the casts that it adds, whether or not there is such a name."""
_VALUES = {"value": None, "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
"""The attributes of Constant that hold numbers, and of which type."""


def adapted(model: onnx.ModelProto, spec: StripSpec, *, path: Path) -> onnx.ModelProto:
    """A copy of the model that was read from `path`, in the form above.

    Raises:
        ModelError: It has not one image input of the spec's strips or tiles, or does what cannot be followed.
    """
    _refuse_what_cannot_be_followed(model, path)
    _refuse_other_inputs(model, spec, path)
    refuse_invalid(model, path)
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
    changed.ir_version = max(changed.ir_version, WEIGHTS_ARE_NO_INPUTS)
    return _with_shapes(changed, path)


def _refuse_what_cannot_be_followed(model: onnx.ModelProto, path: Path) -> None:
    graph = model.graph
    domains = {entry.domain for entry in model.opset_import} - {"", "ai.onnx"}
    nested = {node.op_type for node in graph.node for attribute in node.attribute if attribute.HasField("g") or attribute.graphs}
    names = {name for node in graph.node for name in (*node.input, *node.output, node.name)}
    taken = {name for name in names if COPY_MARK in name or CAST_NAME.search(name)}
    taken |= names.intersection({TILES} - {value.name for value in graph.input})
    unmade = {value.name for value in graph.output} - {name for node in graph.node for name in node.output}
    for found, what, fix in (
        (unmade, "outputs that no node makes, {}", "leave them out: an input or a constant is no answer"),
        (domains, "operators of domain {}", "export it with operators of ONNX alone"),
        (nested, "{} with graphs of their own", "export it without control flow"),
        ({function.name for function in model.functions}, "functions of its own, {}", "inline them: onnx.inliner.inline_local_functions"),
        (
            taken,
            "names that mean something here, {}",
            f"rename them: {TILES}, names with {COPY_MARK} and those of a casting tool are taken",
        ),
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
        known = require("onnx", extra="export").TensorProto.DataType
        data_type = known.Name(kind.elem_type).lower() if kind.elem_type in known.values() else f"type {kind.elem_type}"
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
    except onnx_errors() as exc:
        raise ModelError(
            f"{path}: it cannot be raised from opset {version} to {HALF_SCALES}",
            why=onnx_reason_of(exc),
            fix=f"export it with opset {HALF_SCALES}",
        ) from exc
    return raised


def _name_nodes(graph: onnx.GraphProto) -> None:
    """A name of its own for every node; those that have one keep it, the others are called after what they make."""
    used = Counter(node.name for node in graph.node)
    names = Names(name for name, count in used.items() if count == 1)
    for node in graph.node:
        if not node.name or used[node.name] > 1:
            node.name = names.fresh(next(filter(None, node.output), node.op_type))


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Constant nodes that hold numbers, and Identity nodes of a constant, become initializers: weights are looked for there.

    Those that are an output of the graph stay: an output is made by a node.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    ends = {value.name for value in graph.output}
    nodes = []
    for node in graph.node:
        if not ends.isdisjoint(node.output):
            nodes.append(node)
            continue
        values = [_tensor_of(attribute) for attribute in node.attribute if attribute.name in _VALUES and node.op_type == "Constant"]
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


def _tensor_of(attribute: onnx.AttributeProto) -> onnx.TensorProto:
    """The constant that an attribute of a Constant node says."""
    if attribute.name == "value":
        return attribute.t
    helper, from_array = require("onnx.helper", extra="export"), require("onnx.numpy_helper", extra="export").from_array
    tensor: onnx.TensorProto = from_array(np.array(helper.get_attribute_value(attribute), _VALUES[attribute.name]))
    return tensor


def _give_biases(graph: onnx.GraphProto) -> None:
    """A bias of zeros for every convolution without one."""
    from_array = require("onnx.numpy_helper", extra="export").from_array
    weights, names = {tensor.name: tensor for tensor in graph.initializer}, Names.of(graph)
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in weights and (len(node.input) < 3 or not node.input[2]):
            name = names.fresh(f"{node.name}.bias")
            graph.initializer.append(from_array(np.zeros(weights[node.input[1]].dims[0], np.float32), name))
            node.input[:] = [*node.input[:2], name]


def _with_shapes(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model with the type and shape of every tensor. Raises: ModelError, when that of a convolution stays unknown."""
    inference = require("onnx.shape_inference", extra="export")
    del model.graph.value_info[:]
    try:
        inferred: onnx.ModelProto = inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except onnx_errors() as exc:
        raise ModelError(f"{path}: its shapes contradict each other", why=onnx_reason_of(exc), fix="export it again") from exc
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
