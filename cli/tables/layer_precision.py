"""How a file will run, as a table of the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lineside.cli._console import facts

if TYPE_CHECKING:
    from rich.table import Table

    from lineside.graph.layer_precision import Executed

TARGETS = {"": "any", "tensorrt": "TensorRT", "onnxruntime": "ONNX Runtime"}


def executed_table(executed: Executed, *, title: str) -> Table:
    """Shares of the work per precision, and each layer that is not of the file's own, with the reason."""
    return facts(title, _rows(executed))


def _rows(executed: Executed) -> Iterator[tuple[str, object]]:
    yield "for", TARGETS[executed.target]
    if executed.cpu:
        bits = f"weights of {len(executed.seven_bits)} convolutions use 7 bits, so that no sum leaves 16" if executed.seven_bits else ""
        yield "CPUs", "those with VNNI alone: others may compute it wrongly" if executed.cpu == "vnni" else f"any; {bits}".rstrip("; ")
    for precision in ("int8", "fp16", "fp32"):
        count = sum(layer.precision == precision for layer in executed.layers)
        if count:
            yield precision, f"{count} of {len(executed.layers)} convolutions, {executed.share(precision):.2%} of the multiply-adds"
    for layer in executed.layers:
        if layer.why:
            yield f"{layer.name} is {layer.precision}", layer.why
