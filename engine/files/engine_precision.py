"""In which precision an engine really runs its layers.

In:   what the engine inspector says of an engine (JSON, built with ProfilingVerbosity.DETAILED), and the ONNX file's convolutions.
Out:  `LayerPrecision` per layer, and how many of the convolutions that were planned in INT8 run in it.

Where a precision is read: a convolution computes in what it reads, so the type of its first input decides, then its weights, then its
tactic's name. Names of keys, formats and types are those of NVIDIA's manual ("Engine Inspector") and of its engine explorer (trex,
activations.py), which write them in two ways: "Thirty-two wide channel vectorized row major Int8 format." and, in layers that Myelin
generates, "Int8". The nodes of a layer stand in its `Metadata` as "[ONNX Layer: NAME]", parted by \\x1e or \\x1f, and joined by " + " in
its `Name`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from lineside.errors import ModelError

from .sidecar import LayerPrecision

ENOUGH = 0.9
"""The share of the planned INT8 convolutions that have to run in INT8 (issue: build)."""
UNKNOWN = "unknown"
LISTED = 20
"""Layers that an error names at most."""

_TYPES = {
    "int8": "int8",
    "fp8": "fp8",
    "fp16": "fp16",
    "half": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "fp32": "fp32",
    "float": "fp32",
    "float32": "fp32",
    "tf32": "fp32",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
    "bool": "bool",
}
_WORD = re.compile(r"\b(" + "|".join(_TYPES) + r")\b", re.IGNORECASE)
_INT8_TACTIC = re.compile(r"i8i8|s8s8|int8|imma", re.IGNORECASE)  # ..._implicit_gemm_interleaved_i8i8_i8i32_f32_...
_CONVOLVES = re.compile(r"conv|fprop|gemm", re.IGNORECASE)
_MOVES = re.compile(r"reformat|copy|quantize|constant|shuffle", re.IGNORECASE)
_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


def layer_precisions(report: str, convolutions: Collection[str]) -> tuple[LayerPrecision, ...]:
    """The layers of an engine.

    Args:
        report: What EngineInspector.get_engine_information answers as JSON.
        convolutions: Names of the ONNX file's convolutions.

    Raises:
        ModelError: It is not such a report.
    """
    try:
        layers = json.loads(report)["Layers"]
        if not isinstance(layers, list):
            raise TypeError(f"Layers is a {type(layers).__name__}")
    except (ValueError, KeyError, TypeError) as exc:
        raise ModelError(
            "the engine inspector's report cannot be read", why=f"{type(exc).__name__}: {exc}", fix="report this with the TensorRT version"
        ) from exc
    return tuple(_layer(layer, convolutions) for layer in layers)


def int8_built(layers: Iterable[LayerPrecision], planned: Collection[str]) -> int:
    """How many of the `planned` convolutions run in INT8."""
    return len(set(planned) & {name for layer in layers if layer.precision == "int8" for name in layer.onnx})


def fallen_back(layers: Sequence[LayerPrecision], planned: Iterable[str]) -> dict[str, str]:
    """The `planned` convolutions that do not run in INT8 -> what they run in, and in which layer."""
    runs: dict[str, LayerPrecision] = {}
    for layer in layers:
        for name in layer.onnx:
            if name not in runs or layer.precision == "int8":
                runs[name] = layer
    found = {}
    for name in planned:
        layer_of = runs.get(name)
        if layer_of is None:
            found[name] = "no layer of the engine names it"
        elif layer_of.precision != "int8":
            found[name] = f"{layer_of.precision} ({layer_of.kind})"
    return found


def refuse_fallback(layers: Sequence[LayerPrecision], planned: Sequence[str]) -> None:
    """Refuse an engine that runs too few of the planned convolutions in INT8. Raises: ModelError."""
    built = int8_built(layers, planned)
    if not planned or built >= ENOUGH * len(planned):
        return
    fallen = fallen_back(layers, planned)
    lines = [f"{name}: {what}" for name, what in list(fallen.items())[:LISTED]]
    more = [f"and {len(fallen) - LISTED} more"] if len(fallen) > LISTED else []
    raise ModelError(
        f"{built} of {len(planned)} planned convolutions run in INT8",
        why="an INT8 engine has to run at least {:.0%} of them in INT8; these fell back:\n    {}".format(
            ENOUGH, "\n    ".join([*lines, *more])
        ),
        fix="build with --optimization-level 4 or a larger --workspace-mib, use an FP16 file, or keep it as it is with --allow-fallback",
    )


def _layer(layer: Any, convolutions: Collection[str]) -> LayerPrecision:
    if not isinstance(layer, dict):  # ProfilingVerbosity.LAYER_NAMES_ONLY: an engine of somebody else
        return LayerPrecision(name=str(layer), kind=UNKNOWN, precision=UNKNOWN)
    name, kind = str(layer.get("Name", "")), str(layer.get("LayerType", UNKNOWN))
    tactic = str(layer.get("TacticName", ""))
    nodes = {*_ONNX_LAYER.findall(str(layer.get("Metadata", ""))), *(part.strip() for part in name.split(" + "))}
    convolves = not _MOVES.search(kind) and (
        layer.get("ParameterType") == "Convolution" or bool(_CONVOLVES.search(kind) or _CONVOLVES.search(tactic) or _CONVOLVES.search(name))
    )
    return LayerPrecision(
        name=name,
        kind=kind,
        precision=_precision(layer, tactic),
        onnx=tuple(sorted(nodes.intersection(convolutions))) if convolves else (),
    )


def _precision(layer: Mapping[str, Any], tactic: str) -> str:
    """What a layer computes in."""
    inputs = [_type_of(tensor) for tensor in layer.get("Inputs", []) if isinstance(tensor, dict)]
    weights = layer.get("Weights")
    if inputs and inputs[0] != UNKNOWN:
        return inputs[0]
    if isinstance(weights, dict) and (found := _word(str(weights.get("Type", "")))) != UNKNOWN:
        return found
    if _INT8_TACTIC.search(tactic):
        return "int8"
    outputs = [_type_of(tensor) for tensor in layer.get("Outputs", []) if isinstance(tensor, dict)]
    return next((found for found in outputs if found != UNKNOWN), UNKNOWN)


def _type_of(tensor: Mapping[str, Any]) -> str:
    for key in ("Format/Datatype", "Datatype", "Format"):
        found = _word(str(tensor.get(key, "")))
        if found != UNKNOWN:
            return found
    return UNKNOWN


def _word(text: str) -> str:
    match = _WORD.search(text)
    return _TYPES[match[1].lower()] if match else UNKNOWN
