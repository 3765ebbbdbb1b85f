"""The stand-in's engine: a line of JSON about itself, then the ONNX file's bytes.

In:   an ONNX graph and what the builder was told.
Out:  `Plan`, its bytes, and the report of the engine inspector in TensorRT's own format (Developer Guide, "Engine Inspector": `Layers` with
      `Name`, `LayerType`, `Inputs`, `Outputs`, `Format/Datatype`, `TacticName`, `Metadata`; names alone without DETAILED).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from .onnx_graph import Node, OnnxGraph, Value

MAGIC = "lineside stand-in for a TensorRT plan"
SEPARATOR = " \x1e"
_LAYOUT = {
    "int8": "Thirty-two wide channel vectorized row major Int8 format",
    "float16": "Sixteen wide channel vectorized row major FP16 format",
    "float32": "Row major linear FP32",
}
_WEIGHTS = {"int8": "Int8", "float16": "Half", "float32": "Float"}
_TACTIC = {
    "int8": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32_nchw_vect_c_32_tilesize128x64x64",
    "float16": "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x64x32_stage5_warpsize2x2x1_g1_tensor16x8x16",
    "float32": "sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nchwkcrs_nchw_tilesize128x64x16_stage4_warpsize2x2x1_g1_tensor16x8x8",
}
_ADDED = ("Relu", "Clip", "Add")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the engine says of itself."""

    tensorrt: str
    compute_capability: tuple[int, int]
    gpu: str
    version_compatible: bool
    hardware_compatible: bool
    profiles: tuple[dict[str, list[list[int]]], ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    layers: tuple[Any, ...]
    device_memory_bytes: int
    onnx: bytes

    def to_bytes(self) -> bytes:
        """As it lies in a file."""
        facts = {**asdict(self), "magic": MAGIC, "sha256": hashlib.sha256(self.onnx).hexdigest()}
        del facts["onnx"]
        return json.dumps(facts).encode() + b"\n" + self.onnx

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """Raises: ValueError, when it is not whole or none of ours."""
        line, _, onnx = data.partition(b"\n")
        facts = json.loads(line)
        if not isinstance(facts, dict) or facts.pop("magic", "") != MAGIC:
            raise ValueError("magic tag does not match")
        if facts.pop("sha256") != hashlib.sha256(onnx).hexdigest():
            raise ValueError("size specified in header does not match archive size")
        for name in ("inputs", "outputs"):
            facts[name] = tuple(Value(**{**value, "shape": tuple(value["shape"])}) for value in facts[name])
        facts["compute_capability"] = tuple(facts["compute_capability"])
        facts["profiles"] = tuple(facts["profiles"])
        facts["layers"] = tuple(facts["layers"])
        return cls(**facts, onnx=onnx)


def layer_reports(graph: OnnxGraph, *, detailed: bool, typed: bool, fall_back: Any) -> tuple[Any, ...]:
    """A layer per node that computes, fused as TensorRT does: a convolution with what is added behind it, Q and DQ gone into it.

    Args:
        graph: The network.
        detailed: ProfilingVerbosity.DETAILED.
        typed: Strongly typed; a network that is not, has no precision but float32.
        fall_back: Names of convolutions that do not run in INT8 though the graph says so; True: none does.
    """
    types = _types(graph)
    makers = {output: node for node in graph.nodes for output in node.outputs}
    readers = {name: node for node in graph.nodes for name in node.inputs}
    fused: set[int] = set()
    layers = []
    for node in graph.nodes:
        if node.kind in ("QuantizeLinear", "DequantizeLinear", "Identity", "Constant") or id(node) in fused:
            continue
        names = [_name(node)]
        if node.kind == "Conv":
            after = readers.get(node.outputs[0])
            while after is not None and after.kind in _ADDED and id(after) not in fused:
                names.append(_name(after))
                fused.add(id(after))
                after = readers.get(after.outputs[0])
        kind = types.get(node.inputs[0], "float32") if node.inputs else "float32"
        if node.kind == "Conv" and {makers[name].kind for name in node.inputs[:2] if name in makers} == {"DequantizeLinear"}:
            dropped = fall_back is True or (isinstance(fall_back, list) and node.name in fall_back)
            kind = "float16" if dropped else "int8"
        if not typed:
            kind = "float32"
        layers.append(_report(names, node.kind, kind, node.inputs[:1], node.outputs[:1]) if detailed else " + ".join(names))
    return tuple(layers)


def _name(node: Node) -> str:
    return node.name or f"node_of_{node.outputs[0]}"  # the parser's names for those without (onnx-tensorrt)


def _report(names: list[str], kind: str, dtype: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> dict[str, Any]:
    layout = _LAYOUT.get(dtype, f"Row major linear {dtype}")
    report: dict[str, Any] = {
        "Name": " + ".join(names),
        "LayerType": "CaskConvolution" if kind == "Conv" else kind,
        "Inputs": [{"Name": name, "Location": "Device", "Dimensions": [], "Format/Datatype": layout} for name in inputs],
        "Outputs": [{"Name": name, "Location": "Device", "Dimensions": [], "Format/Datatype": layout} for name in outputs],
        "ParameterType": "Convolution" if kind == "Conv" else kind,
        "TacticValue": "0x0000000000000000",
        "StreamId": 0,
        "Metadata": SEPARATOR.join(f"[ONNX Layer: {name}]" for name in names),
    }
    if kind == "Conv":
        report["Weights"] = {"Type": _WEIGHTS.get(dtype, "Float"), "Count": 1}
        report["TacticName"] = _TACTIC.get(dtype, _TACTIC["float32"])
    return report


def _types(graph: OnnxGraph) -> dict[str, str]:
    """The type of every tensor, as far as casts, weights and inputs tell; the rest is that of what made it."""
    types = {value.name: value.dtype for value in graph.inputs} | graph.constants
    for node in graph.nodes:
        if node.kind == "DequantizeLinear":
            kind = types.get(node.inputs[1], "float32")
        elif node.kind == "QuantizeLinear":
            kind = "int8"
        else:
            floats = [types[name] for name in node.inputs if types.get(name, "").startswith("float")]
            kind = floats[0] if floats else "float32"
        for output in node.outputs:
            types[output] = graph.cast_to.get(output, kind)
    return types
