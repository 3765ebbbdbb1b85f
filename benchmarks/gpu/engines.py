"""The steps that build: an engine from each prepared model, and whether it answers as ONNX Runtime does.

The heatmaps of the prepared strips are compared with those of the float32 file, and for INT8 with those of the very file, whose rounding
is the graph's own: what is left is TensorRT's.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.engine.builder.build import BuildOptions, build
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.files.sidecar import EngineManifest
from lineside.engine.inspector import Inspector
from lineside.manifest import Precision

from .bundle import BundledModel
from .steps import Bench, check

TIMING_CACHE = "timing.cache"
RESERVED_S = 20.0
"""Of a step's time, for loading and comparing."""
MAX_DIFFERENCE: dict[Precision, float] = {"fp32": 2e-2, "fp16": 2e-2, "int8": 0.1}
"""Of a heatmap. FP16 as `lineside export` allows it; float32 the same, because TF32 keeps as many bits; INT8 a tenth, where a rounding
that falls the other way in one of 28 layers moves a pixel by some levels of 1/127."""
MEAN_DIFFERENCE = 5e-3
SAME = 1e-3
"""Rows of one batch that hold the same strip (design 8)."""


def build_and_compare(bench: Bench, *, model: str, batch: str = "1") -> dict[str, Any]:
    """Build the engine of a prepared model, load it, and compare its heatmaps. Raises: LinesideError."""
    entry, out = bench.bundle.model(model), bench.engine(model, batch)
    manifest = _build(bench, model, out, batch=batch)
    found: dict[str, Any] = {"build": built(manifest, out)}
    bench.write(found)
    return _compared(bench, entry, out, manifest, found)


def rebuild(bench: Bench, *, model: str) -> dict[str, Any]:
    """Build the first engine once more: how much the timing cache saves, and whether the answers stay."""
    entry, first, out = bench.bundle.model(model), bench.engine(model), bench.engines / f"again.{model}.engine"
    before_s = EngineManifest.read(first).build_seconds
    manifest = _build(bench, model, out)
    found: dict[str, Any] = {
        "build": built(manifest, out),
        "first_build_seconds": before_s,
        "times_faster": before_s / manifest.build_seconds,
    }
    found = _compared(bench, entry, out, manifest, found)
    found["checks"].append(check("the timing cache saves time", found["times_faster"], manifest.build_seconds < before_s, "above 1"))
    return found


def version_compatible(bench: Bench, *, model: str) -> dict[str, Any]:
    """Build an engine that the lean runtime can run, and run it here."""
    entry, out = bench.bundle.model(model), bench.engines / f"version-compatible.{model}.engine"
    manifest = _build(bench, model, out, version_compatible=True)
    found = _compared(bench, entry, out, manifest, {"build": built(manifest, out)})
    found["checks"].append(check("the lean runtime is enough for it", manifest.lean, manifest.lean, "true"))
    return found


def _build(bench: Bench, model: str, out: Path, *, batch: str = "1", version_compatible: bool = False) -> EngineManifest:
    options = BuildOptions(
        batch=BatchProfiles.parse(batch),
        timing_cache=bench.engines / TIMING_CACHE,
        time_limit_s=max(1.0, bench.limit_s - RESERVED_S),
        version_compatible=version_compatible,
        allow_fallback=True,  # what fell back is counted and checked here
    )
    return build(bench.bundle.path(model), out, options, force=True)


def built(manifest: EngineManifest, engine: Path) -> dict[str, Any]:
    """What the sidecar says, short enough to read."""
    return {
        "seconds": manifest.build_seconds,
        "engine_bytes": engine.stat().st_size,
        "device_memory_bytes": manifest.device_memory_bytes,
        "tensorrt": manifest.tensorrt,
        "gpu": manifest.gpu,
        "batch": str(manifest.profiles),
        "layers": len(manifest.layers),
        "layers_by_precision": dict(Counter(layer.precision for layer in manifest.layers)),
        "convolutions_by_precision": dict(Counter(layer.precision for layer in manifest.layers for _ in layer.onnx)),
        "int8_planned": manifest.int8_planned,
        "int8_built": manifest.int8_built,
        "plan_sha256": manifest.plan_sha256,
    }


def _compared(bench: Bench, entry: BundledModel, out: Path, manifest: EngineManifest, found: dict[str, Any]) -> dict[str, Any]:
    """Run the prepared strips through the engine and add what differs, with the checks."""
    bundle, strips = bench.bundle, bench.bundle.strips()
    with Inspector.load(out) as inspector:
        heatmaps = np.stack([inspector.inspect(strip).heatmap.copy() for strip in strips])
        again = inspector.inspect(strips[0]).heatmap.copy()
        found["runs"] = inspector.describe()
        found["batches"] = {size: _rows_differ(inspector, strips[0], size) for size in _sizes(manifest)}
    found["float32"] = difference(heatmaps, bundle.heatmaps(entry.reference))
    judged = found["float32"]
    if entry.own is not None:
        judged = found["same_file"] = difference(heatmaps, bundle.heatmaps(entry.own))
    allowed = MAX_DIFFERENCE[entry.precision]
    found["checks"] = [
        check("largest difference of a heatmap", judged["max"], judged["max"] <= allowed, f"at most {allowed:g}"),
        check("mean difference", judged["mean"], judged["mean"] <= MEAN_DIFFERENCE, f"at most {MEAN_DIFFERENCE:g}"),
        check("two runs agree", float(np.abs(again - heatmaps[0]).max()), bool(np.array_equal(again, heatmaps[0])), "0"),
        *(check(f"rows of a batch of {size} agree", worst, worst <= SAME, f"at most {SAME:g}") for size, worst in found["batches"].items()),
    ]
    if entry.precision == "int8":
        share = manifest.int8_built / manifest.int8_planned if manifest.int8_planned else 0.0
        found["checks"].append(check("planned INT8 convolutions that run in INT8", share, share >= 0.9, "at least 0.9"))
    return found


def difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> dict[str, float]:
    """How far heatmaps (N, H, W) lie apart, and their scores."""
    apart = np.abs(found.astype(np.float64) - expected)
    scores = np.abs(found.max(axis=(1, 2)).astype(np.float64) - expected.max(axis=(1, 2)))
    return {
        "strips": len(found),
        "max": float(apart.max()),
        "mean": float(apart.mean()),
        "p999": float(np.quantile(apart, 0.999)),
        "max_score": float(scores.max()),
    }


def _sizes(manifest: EngineManifest) -> list[int]:
    """The batches above one that the engine is made for."""
    return sorted({profile.opt for profile in manifest.profiles.profiles if profile.opt > 1})


def _rows_differ(inspector: Inspector, strip: NDArray[np.uint8], size: int) -> float:
    """The largest difference between the rows of a batch that holds one strip `size` times."""
    heatmaps = np.stack([result.heatmap for result in inspector.inspect_many([strip] * size, batch=size)])
    return float(np.abs(heatmaps - heatmaps[0]).max())
