"""What a GPU can prove, in the order of its worth: when the time is over, what is left is worth least.

A step is a function of a module, called with a `Bench` and the step's own options in a process of its own (`child`). It answers a dict
of JSON values; `checks` in it say what was to be proved, and whether it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .bundle import Bundle

HERE = "lineside.benchmarks.gpu"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to find out.

    Attributes:
        name: Of its file of results.
        does: One line for the table.
        module, function: What to call.
        options: Its keyword arguments, JSON values.
        limit_s: It is ended after so many seconds.
    """

    name: str
    does: str
    module: str
    function: str
    options: Mapping[str, Any] = field(default_factory=dict)
    limit_s: float


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a step works with.

    Attributes:
        bundle: The prepared folder.
        engines: A folder for engines, shared by the steps.
        limit_s: Seconds until the step is ended; it had better be done before.
        write: Keeps what is known so far, should the step be ended.
    """

    bundle: Bundle
    engines: Path
    limit_s: float
    write: Callable[[Mapping[str, Any]], None]

    def engine(self, model: str, batch: str = "1") -> Path:
        """Where the engine of a model lies; `batch` as `lineside build --batch` takes it."""
        return self.engines / f"{model}.batch{batch.replace(',', '_').replace(':', '-')}.engine"


def check(name: str, value: float | str | bool | None, passed: bool, target: str) -> dict[str, Any]:
    """One thing that was to be proved, as it stands in the results."""
    return {"name": name, "value": value, "target": target, "passed": bool(passed)}


def _build(model: str, *, batch: str = "1", limit_s: float = 90, **options: Any) -> Step:
    name = f"build {model}" + ("" if batch == "1" else f" batch {batch}")
    return Step(
        name=name,
        does="build, load, ten strips against ONNX Runtime",
        module=f"{HERE}.engines",
        function="build_and_compare",
        options={"model": model, "batch": batch, **options},
        limit_s=limit_s,
    )


def _latency(name: str, does: str, models: Sequence[str], *, limit_s: float = 40, **options: Any) -> Step:
    return Step(
        name=name,
        does=does,
        module=f"{HERE}.latency",
        function="latency",
        options={"models": list(models), **options},
        limit_s=limit_s,
    )


def _step(name: str, does: str, function: str, *, limit_s: float, **options: Any) -> Step:
    module, _, verb = function.partition(":")
    return Step(name=name, does=does, module=f"{HERE}.{module}", function=verb, options=options, limit_s=limit_s)


FIRST = "batched.fp16.production"
BATCHES = "1,4,16"

STEPS = (
    _step("environment", "GPU, driver, clocks, power, TensorRT, CUDA", "environment:environment_of_gpu", limit_s=30),
    _build(FIRST, limit_s=150),
    _step("limits", "matrix products and copies of this GPU", "limits:limits", limit_s=40),
    _build("batched.int8.production", limit_s=120),
    _latency("latency fp16 int8", "one strip, graph on and off", [FIRST, "batched.int8.production"]),
    _step("device layer", "pinned copies, graph launches, events", "device:device_layer", limit_s=30),
    _step("gpu tests", "the tests marked gpu", "marked_tests:run_tests", limit_s=90),
    _build("batched.fp32.production"),
    _build("full.fp16.production"),
    _build("batched.fp16.raw"),
    _build("full.int8.production"),
    _latency(
        "latency all",
        "precisions, tilings and io forms beside each other",
        [
            FIRST,
            *("batched.int8.production", "batched.fp32.production", "full.fp16.production", "full.int8.production"),
            "batched.fp16.raw",
        ],
        graphs=[True],
    ),
    _step("refusals", "wrong sha, wrong GPU, wrong version in the sidecar", "refusals:refusals", model=FIRST, limit_s=30),
    _step("timing cache", "the first engine again, with the cache", "engines:rebuild", model=FIRST, limit_s=90),
    _step("version compatible", "an engine for the lean runtime", "engines:version_compatible", model=FIRST, limit_s=120),
    _build(FIRST, batch=BATCHES, limit_s=150),
    _build("batched.int8.production", batch=BATCHES, limit_s=150),
    _latency("latency batches", "1, 4 and 16 strips at once", [FIRST, "batched.int8.production"], batch=BATCHES, graphs=[True]),
    _step("pytorch", "PyTorch on CUDA, eager and compiled, beside the first engine", "pytorch:beside_torch", model=FIRST, limit_s=120),
    _build("unrolled.fp16.production", limit_s=240),
    _latency("latency unrolled", "18 copies of the network in one graph", [FIRST, "unrolled.fp16.production"], graphs=[True]),
)
