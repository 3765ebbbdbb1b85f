"""What this machine reaches at best, measured: multiply-adds per second in float32 and INT8, and bytes per second of memory.

In:   how many threads.
Out:  `Peak`. The best run counts, not the median: a peak is a bound.
Multiply-adds: a large matrix product and a large convolution in ONNX Runtime, whichever is faster; so a peak is what this machine's best
code reaches, not what its data sheet promises. Memory: one large array copied into another, every thread a part; what is read and what is
written count. Takes a few seconds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from lineside._optional import require
from lineside.engine.run.onnxruntime_providers import CPU
from lineside.engine.run.session import open_session
from lineside.files import write_bytes
from lineside.graph.cost import FLOAT32, INT8, Kind

SECONDS = 0.5
"""Of each operation, and of the copy."""
LEAST_RUNS = 3
SIDE = 2048
"""Of the matrix product."""
CHANNELS, IMAGE_PX, KERNEL_PX = 256, 64, 3
"""Of the convolution: as many channels as the middle of a large network."""
COPY_BYTES = 256 << 20
"""Of one array: far more than caches hold."""
_OPSET, _IR = 13, 8


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The best that so many threads reach.

    Attributes:
        threads: Of a run.
        multiply_adds_per_s: By the kind of number.
        by: The operation that reached it, by the kind of number.
        bytes_per_s: Read and written, of a copy in memory.
    """

    threads: int
    multiply_adds_per_s: Mapping[Kind, float]
    by: Mapping[Kind, str]
    bytes_per_s: float

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return asdict(self)


def measure_peak(threads: int, *, seconds: float = SECONDS, side: int = SIDE, copy_bytes: int = COPY_BYTES) -> Peak:
    """Measure it.

    Args:
        threads: Of a run.
        seconds: The least for each operation.
        side: Of the matrix product.
        copy_bytes: Of the array that is copied.

    Raises:
        MissingPackageError: ONNX Runtime or onnx is not installed.
    """
    best: dict[Kind, tuple[float, str]] = {}
    product, convolution = side**3, IMAGE_PX**2 * CHANNELS**2 * KERNEL_PX**2
    for kind in (FLOAT32, INT8):
        rates = {
            "matrix product": product / _seconds_of_graph(_product_graph(kind, side), threads, seconds),
            "convolution": convolution / _seconds_of_graph(_convolution_graph(kind), threads, seconds),
        }
        best[kind] = max((rate, name) for name, rate in rates.items())
    return Peak(
        threads=threads,
        multiply_adds_per_s={kind: rate for kind, (rate, _) in best.items()},
        by={kind: name for kind, (_, name) in best.items()},
        bytes_per_s=2 * copy_bytes / _seconds_of_copy(copy_bytes, threads, seconds),
    )


def _seconds_of_graph(model: Any, threads: int, seconds: float) -> float:
    """The fastest run on random numbers."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peak.onnx"
        write_bytes(path, model.SerializeToString())
        session = open_session(path, [(CPU, {})], threads)
    taken = session.get_inputs()[0]
    shape = tuple(taken.shape)
    array = rng.integers(0, 256, shape, np.uint8) if taken.type == "tensor(uint8)" else rng.standard_normal(shape, np.float32)
    return _fastest(partial(session.run, None, {taken.name: array}), seconds)


def _seconds_of_copy(nbytes: int, threads: int, seconds: float) -> float:
    """The fastest copy; numpy lets go of the interpreter while it copies."""
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    parts = [slice(index * nbytes // threads, (index + 1) * nbytes // threads) for index in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        return _fastest(lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), parts)), seconds)


def _fastest(run: Callable[[], object], seconds: float) -> float:
    run()
    times: list[float] = []
    while len(times) < LEAST_RUNS or sum(times) < seconds:
        begin = perf_counter()
        run()
        times.append(perf_counter() - begin)
    return min(times)


def _product_graph(kind: Kind, side: int) -> Any:
    """(side, side) times a constant of that size."""
    weights = np.random.default_rng(1).integers(-127, 128, (side, side), np.int8)
    return _graph(kind, [side, side], weights, float32="MatMul", int8="QLinearMatMul")


def _convolution_graph(kind: Kind) -> Any:
    weights = np.random.default_rng(1).integers(-127, 128, (CHANNELS, CHANNELS, KERNEL_PX, KERNEL_PX), np.int8)
    return _graph(kind, [1, CHANNELS, IMAGE_PX, IMAGE_PX], weights, float32="Conv", int8="QLinearConv", pads=[KERNEL_PX // 2] * 4)


def _graph(kind: Kind, shape: list[int], weights: np.ndarray[Any, Any], *, float32: str, int8: str, **attributes: Any) -> Any:
    """One layer with constant weights; its output is of the input's shape and type."""
    helper, numpy_helper = (require(f"onnx.{name}", extra="bench") for name in ("helper", "numpy_helper"))
    types = require("onnx", extra="bench").TensorProto
    if kind == FLOAT32:
        number, constants, names, operator = types.FLOAT, {"w": weights.astype(np.float32)}, ["x", "w"], float32
    else:
        scale, nothing = np.float32(0.01), {"x_zero": np.uint8(128), "w_zero": np.int8(0), "y_zero": np.uint8(128)}
        scales = dict.fromkeys(("x_scale", "w_scale", "y_scale"), scale)
        number, constants, operator = types.UINT8, {"w": weights, **scales, **nothing}, int8
        names = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero"]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], **attributes)],
        "peak",
        [helper.make_tensor_value_info("x", number, shape)],
        [helper.make_tensor_value_info("y", number, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
