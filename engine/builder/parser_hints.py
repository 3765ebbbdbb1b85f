"""What TensorRT's ONNX parser refuses, and what to do about it.

In:   an OnnxParser that has parsed.
Out:  nothing, or a ModelError that lists every error with its node, and the hint that fits.
"""

from __future__ import annotations

from typing import Any

from lineside.errors import ModelError

_QUANTIZE = "quantise the float file again for this runtime: lineside quantize FLOAT.onnx RANGES.json --target tensorrt"
_EXPORT = "export it again: lineside export CHECKPOINT --opset 18"
_HINTS = (
    (("bias", "int32"), _QUANTIZE + " (a bias stays float)"),
    (("quantizelinear",), _QUANTIZE),
    (("zero point", "zero-point", "zeropoint"), _QUANTIZE + " (zero points are 0)"),
    (("opset", "ir_version", "ir version", "deserialize", "model_deserialize_failed"), _EXPORT),
    (("float64", "double"), _EXPORT + ": the graph has doubles"),
    (("unsupported_node", "no importer", "plugin"), _EXPORT + ": it has a node that this TensorRT does not know"),
)
"""Words in an error -> what to do; the first that fits. The words are those of onnx-tensorrt's ErrorCode and importers."""
_DEFAULT = _EXPORT + "; and see which TensorRT this is: lineside doctor"


def refuse_parser_errors(parser: Any, *, parsed: bool, path: str, tensorrt: str) -> None:
    """Refuse a file that the parser could not read or that it found errors in.

    Raises:
        ModelError: With each error, its node and its operator.
    """
    lines = []
    for index in range(parser.num_errors):
        parser_error = parser.get_error(index)
        node, operator = parser_error.node_name(), parser_error.node_operator()
        code = str(parser_error.code()).rpartition(".")[2]
        at = f"{operator or 'node'} {node}: " if node or operator else ""
        lines.append(f"{at}{parser_error.desc()} ({code})")
    if parsed and not lines:
        return
    said = "\n    ".join(lines) or "the parser gives no reason"
    raise ModelError(f"{path}: TensorRT {tensorrt} cannot read this graph", why=said, fix=hint(said))


def hint(said: str) -> str:
    """What to do about the parser's errors."""
    text = said.lower()
    return next((fix for words, fix in _HINTS if any(word in text for word in words)), _DEFAULT)
