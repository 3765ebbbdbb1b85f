"""The step `limits`: what this GPU can do at best, measured in the same run as everything that is compared with it.

Matrix products of 8192 x 8192 on random numbers (zeros would run faster) and a copy of a gibibyte within the GPU, by PyTorch and CUDA
events. Without PyTorch there is no floor to compare with, and the answer says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import median
from typing import Any

from lineside._optional import require
from lineside.files import write_json
from lineside.manifest import Precision, versions

from .bundle import Bundle
from .steps import Bench

FILE = "limits.json"
"""In the folder of the engines, for the steps that come after."""
SIDE = 8192
COPY_BYTES = 1 << 30
ROUNDS = 20
WARM_UP = 5
_MS_PER_S = 1e3

PEAK_OF: dict[Precision, str] = {"fp32": "tf32", "fp16": "fp16", "int8": "int8"}
"""Which product an engine's convolutions are like. TensorRT's float32 uses TF32 unless it is told not to."""


def limits(bench: Bench) -> dict[str, Any]:
    """Operations and bytes per second."""
    if not versions(("torch",)):
        return {"not_measured": "PyTorch is not installed"}
    torch = require("torch", extra="train")
    if not torch.cuda.is_available():
        return {"not_measured": f"PyTorch {torch.__version__} sees no GPU"}
    found: dict[str, Any] = {"side": SIDE, "rounds": ROUNDS, "operations_per_second": {}}
    for name, product in _products(torch).items():
        try:
            run = product()
        except RuntimeError as exc:  # this GPU or this PyTorch does not have it
            found.setdefault("refused", {})[name] = str(exc).split("\n")[0]
            continue
        found["operations_per_second"][name] = 2 * SIDE**3 / _seconds(torch, run)
        bench.write(found)
    source = torch.randint(0, 255, (COPY_BYTES,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    found["copy_bytes_per_second"] = 2 * COPY_BYTES / _seconds(torch, lambda: target.copy_(source))
    write_json(bench.engines / FILE, found)
    return found


def floor_ms(bench: Bench, model: str, rows: int) -> float | None:
    """The least time for the convolutions of `rows` strips, at the measured peak of their precision; None when it was not measured."""
    path = bench.engines / FILE
    if not path.is_file():
        return None
    entry = Bundle.model(bench.bundle, model)
    peak = json.loads(path.read_text())["operations_per_second"].get(PEAK_OF[entry.precision])
    return None if peak is None else _MS_PER_S * rows * entry.operations / peak


def _products(torch: Any) -> dict[str, Callable[[], Callable[[], Any]]]:
    """Name -> what makes the operands and returns the product to time."""

    def floats(dtype: Any, *, tf32: bool = False) -> Callable[[], Any]:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=dtype) for _ in range(2))
        out = torch.empty_like(left)
        return lambda: torch.matmul(left, right, out=out)

    def integers() -> Callable[[], Any]:
        left, right = (torch.randint(-127, 128, (SIDE, SIDE), device="cuda", dtype=torch.int8) for _ in range(2))
        transposed = right.t()  # the layout that the tensor cores take
        torch._int_mm(left, transposed)
        return lambda: torch._int_mm(left, transposed)

    return {
        "fp16": lambda: floats(torch.float16),
        "int8": integers,
        "tf32": lambda: floats(torch.float32, tf32=True),
        "fp32": lambda: floats(torch.float32),
    }


def _seconds(torch: Any, run: Callable[[], Any]) -> float:
    """The median time of one run on the GPU."""
    for _ in range(WARM_UP):
        run()
    times: list[float] = []
    for _ in range(ROUNDS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / _MS_PER_S)
    return median(times)
