"""The step `pytorch`: the same network in PyTorch on CUDA, eager and compiled, and ONNX Runtime's CUDA, beside the first engine.

All in one process, which also shows that they can live on one GPU together. The PyTorch network has random weights: only its speed is
looked at. Each takes a strip in host memory and gives its heatmap there, as an engine does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require
from lineside.benchmarks.measure.inputs import InTurn
from lineside.benchmarks.measure.latency import Backend, LatencyOptions, measure
from lineside.benchmarks.subjects.inspector_subject import Inspected
from lineside.engine.inspector import Inspector
from lineside.errors import LinesideError
from lineside.manifest import versions
from lineside.spec import CHANNELS, FULL_SCALE

from .steps import Bench

WARM_UP_S = 2.0
SECONDS = 8.0
COMPILING_RUNS = 3
"""The first compiles, the second captures the CUDA graph, the third launches it."""


@dataclass(frozen=True, kw_only=True)
class InTorch:
    """The full-image network in PyTorch, one strip at a time."""

    name: str
    network: Callable[[Any], Any]
    strips: Sequence[Any]

    def run(self, index: int) -> None:
        """Copy in, run, copy out: `.cpu()` waits for the answer."""
        with require("torch", extra="train").inference_mode():
            self.network(self.strips[index % len(self.strips)].cuda(non_blocking=True)).cpu()


def beside_torch(bench: Bench, *, model: str) -> dict[str, Any]:
    """Measure them in one interleaved run, and once more with the compiled network; what is not installed or does not run is named."""
    found: dict[str, Any] = {"left_out": {}}
    strips = list(bench.bundle.strips())
    with ExitStack() as stack:
        engine = stack.enter_context(Inspector.load(bench.engine(model)))
        backends: list[Backend] = [Inspected(name=f"engine {model}", inspector=engine, strips=InTurn(strips))]
        try:
            cuda = stack.enter_context(Inspector.load(bench.bundle.path(model), providers=["cuda"]))
            backends.append(Inspected(name=f"ONNX Runtime CUDA {model}", inspector=cuda, strips=InTurn(strips)))
        except LinesideError as exc:
            found["left_out"]["ONNX Runtime CUDA"] = f"{exc.what}: {exc.why}"
        eager = _eager(bench, engine, strips, found)
        if eager is not None:
            backends.append(eager)
        found |= _measured(backends)
        bench.write(found)  # compiling may take longer than there is time
        compiled = None if eager is None else _compiled(eager, found)
        if compiled is not None:
            found["with_compiled"] = _measured([*backends, compiled])
    return found


def _measured(backends: Sequence[Backend]) -> dict[str, Any]:
    rows = measure(backends, LatencyOptions(seconds=SECONDS, warm_up_seconds=WARM_UP_S))
    return {"rows": [row.to_json() for row in rows], "times_the_engine": {row.name: row.over(rows[0]).to_json() for row in rows[1:]}}


def _eager(bench: Bench, engine: Inspector, strips: Sequence[NDArray[np.uint8]], found: dict[str, Any]) -> InTorch | None:
    """The network in PyTorch; None where there is no PyTorch for this GPU."""
    if not versions(("torch",)):
        found["left_out"]["PyTorch"] = "not installed"
        return None
    torch = require("torch", extra="train")
    if not torch.cuda.is_available():
        found["left_out"]["PyTorch"] = f"torch {torch.__version__} sees no GPU"
        return None
    from lineside.export.modules import full_image_heatmap, with_norms_folded
    from lineside.train.unet import UNet

    torch.manual_seed(0)
    network = full_image_heatmap(with_norms_folded(UNet(bench.bundle.base_channels).eval()), engine.spec).cuda().half().eval()
    inputs = [torch.from_numpy(strip[: len(CHANNELS)].astype(np.float16) / np.float16(FULL_SCALE))[None].pin_memory() for strip in strips]
    return InTorch(name="PyTorch fp16 eager", network=network, strips=inputs)


def _compiled(eager: InTorch, found: dict[str, Any]) -> InTorch | None:
    """The same, compiled; None where PyTorch cannot."""
    torch = require("torch", extra="train")
    compiled = InTorch(name="PyTorch fp16 compiled", network=torch.compile(eager.network, mode="reduce-overhead"), strips=eager.strips)
    try:
        for index in range(COMPILING_RUNS):
            compiled.run(index)
    except RuntimeError as exc:  # no compiler on this machine, or a kernel that it cannot make
        found["left_out"]["PyTorch compiled"] = str(exc).split("\n")[0]
        return None
    return compiled
