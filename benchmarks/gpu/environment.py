"""The step `environment`: on which GPU, driver, clocks, TensorRT and CUDA package everything after it was measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lineside.benchmarks.measure.environment import environment
from lineside.engine.device._trt import tensorrt
from lineside.engine.device.choose import open_device
from lineside.manifest import versions

from .steps import Bench

PACKAGES = ("cuda-python", "cuda-bindings", "pycuda", "polygraphy", "torch", "onnxruntime-gpu", "onnxruntime", "numpy", "triton")


def environment_of_gpu(bench: Bench) -> dict[str, Any]:
    """The machine, what works its GPU, and what was prepared."""
    found: dict[str, Any] = {"machine": environment(), "packages": versions(PACKAGES)}
    bench.write(found)
    device = open_device()
    with device.current():
        free, total = device.memory()
    found["device"] = {"package": device.name, "graphs": device.graphs, "free_bytes": free, "total_bytes": total, **asdict(device.gpu)}
    device.close()
    bench.write(found)
    trt = tensorrt(lean_allowed=True)
    found["tensorrt"] = {"module": trt.__name__, "version": str(trt.__version__)}
    bundle = bench.bundle
    found["prepared"] = {
        "base_channels": bundle.base_channels,
        "strips": bundle.size,
        "made_by": dict(bundle.made_by),
        "models": {model.name: {"sha256": model.sha256, "operations": model.operations} for model in bundle.models},
    }
    return found
