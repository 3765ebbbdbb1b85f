"""How an engine is built: data, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineside.errors import ConfigError

from .profiles import BatchProfiles

HIGHEST_LEVEL = 5
"""TensorRT's builder optimization level goes from 0 to 5; 3 is its default (IBuilderConfig.builder_optimization_level)."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How TensorRT may build.

    Attributes:
        batch: How many strips go in at once; None: what the ONNX file fixes, else one.
        workspace_mib: Bounds the scratch memory of one layer, not the engine's; None: three quarters of the free device memory.
        timing_cache: A file of measured tactics, read before and written after; of one GPU and one TensorRT.
        optimization_level: 0 (built fast) to 5 (runs fast).
        version_compatible: Newer versions of TensorRT, and the lean runtime, can run the engine.
        hardware_compatible: Every GPU from Ampere on can run the engine, more slowly.
        device: The GPU to build on and for, in CUDA's order.
        time_limit_s: The build is ended after that long; None: never.
        allow_fallback: Keep an INT8 engine that runs too few layers in INT8.
        golden: Strips whose heatmaps go beside the engine, for `load` and hot swaps to check it with.
    """

    batch: BatchProfiles | None = None
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    optimization_level: int = 3
    version_compatible: bool = False
    hardware_compatible: bool = False
    device: int = 0
    time_limit_s: float | None = None
    allow_fallback: bool = False
    golden: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise ConfigError(
                f"workspace of {self.workspace_mib} MiB", why="layers need some scratch memory", fix="leave it out, or use 1024"
            )
        if not 0 <= self.optimization_level <= HIGHEST_LEVEL:
            raise ConfigError(
                f"optimization level {self.optimization_level}", why=f"TensorRT knows 0 to {HIGHEST_LEVEL}", fix="leave it at 3"
            )
        if self.device < 0:
            raise ConfigError(f"device {self.device}", why="GPUs are counted from 0", fix="see lineside doctor")
        if self.time_limit_s is not None and not 0 < self.time_limit_s < float("inf"):
            raise ConfigError(f"time limit of {self.time_limit_s} s", why="a build takes some time", fix="leave it out, or use 3600")

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values: what the sidecar keeps."""
        return {
            **self.__dict__,
            "batch": None if self.batch is None else str(self.batch),
            "timing_cache": None if self.timing_cache is None else str(self.timing_cache),
            "golden": [str(path) for path in self.golden],
        }
