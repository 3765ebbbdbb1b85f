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
from lineside.engine.inspector import Inspector
from lineside.errors import LinesideError
from lineside.manifest import versions

from .gpu_latency import Inspected
from .gpu_steps import Bench
from .latency import Backend, LatencyOptions, measure

WARM_UP_S = 2.0
SECONDS = 15.0
INSPECTOR = "engine"


@dataclass(frozen=True, kw_only=True)
class InTorch:
    """The full-image network in PyTorch, one strip at a time."""

    name: str
    network: Callable[[Any], Any]
    strips: Sequence[Any]

    def run(self, index: int) -> None:
        """Copy in, run, copy out: `.cpu()` waits for the answer."""
        self.network(self.strips[index % len(self.strips)].cuda(non_blocking=True)).cpu()


def beside_torch(bench: Bench, *, model: str) -> dict[str, Any]:
    """Measure them in one interleaved run; what is not installed or does not run is named."""
    found: dict[str, Any] = {"left_out": {}}
    strips = list(bench.bundle.strips())
    with ExitStack() as stack:
        engine = stack.enter_context(Inspector.load(bench.engine(model)))
        backends: list[Backend] = [Inspected(name=f"{INSPECTOR} {model}", inspector=engine, strips=strips, rows=1)]
        try:
            cuda = stack.enter_context(Inspector.load(bench.bundle.path(model), providers=["cuda"]))
            backends.append(Inspected(name=f"ONNX Runtime CUDA {model}", inspector=cuda, strips=strips, rows=1))
        except LinesideError as exc:
            found["left_out"]["ONNX Runtime CUDA"] = f"{exc.what}: {exc.why}"
        backends += _torch_backends(bench, engine, strips, found)
        rows = measure(backends, LatencyOptions(seconds=SECONDS, warm_up_seconds=WARM_UP_S))
    found["rows"] = [row.to_json() for row in rows]
    found["times_the_engine"] = {row.name: row.over(rows[0]).to_json() for row in rows[1:]}
    return found


def _torch_backends(bench: Bench, engine: Inspector, strips: Sequence[NDArray[np.uint8]], found: dict[str, Any]) -> list[InTorch]:
    if not versions(("torch",)):
        found["left_out"]["PyTorch"] = "not installed"
        return []
    torch = require("torch", extra="train")
    if not torch.cuda.is_available():
        found["left_out"]["PyTorch"] = f"torch {torch.__version__} sees no GPU"
        return []
    from lineside.export.modules import full_image_heatmap, with_norms_folded
    from lineside.train.unet import UNet

    torch.manual_seed(0)
    network = full_image_heatmap(with_norms_folded(UNet(bench.bundle.base_channels).eval()), engine.spec).cuda().half().eval()
    inputs = [torch.from_numpy(strip[:3].astype(np.float16) / np.float16(255))[None].pin_memory() for strip in strips]

    def eager(strip: Any) -> Any:
        with torch.inference_mode():
            return network(strip)

    backends = [InTorch(name="PyTorch fp16 eager", network=eager, strips=inputs)]
    compiled = torch.compile(network, mode="reduce-overhead")

    def run_compiled(strip: Any) -> Any:
        with torch.inference_mode():
            return compiled(strip)

    try:
        for index in range(3):  # compiles, then captures its graphs
            run_compiled(inputs[index % len(inputs)].cuda()).cpu()
        backends.append(InTorch(name="PyTorch fp16 compiled", network=run_compiled, strips=inputs))
    except RuntimeError as exc:  # no compiler on this machine, or a kernel that it cannot make
        found["left_out"]["PyTorch compiled"] = str(exc).split("\n")[0]
    return backends
