"""ONNX Runtime's providers: their names, what those on a GPU are told, and where TensorRT's keeps the engines that it builds.

In:   the providers that the caller wants, the model's sha256 and manifest, the driver's answer.
Out:  (name, options) pairs as `InferenceSession` takes them, every option by its documented name; for TensorRT a cache folder.
      `refuse_fallback` then compares what was wanted with what runs. Imports nothing of ONNX Runtime, CUDA or TensorRT.

A cached engine is good for one model, one GPU and one set of versions; ONNX Runtime's manual asks the user to empty the cache when one
of them changes (TensorRT Execution Provider, "TensorRT EP Caches"). Nobody does. So the folder's name is the sha256 of all of them: after
a change another folder is used, and `lineage.json` in each says what it is bound to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lineside.engine.device.driver import Driver
from lineside.errors import DeviceError, ModelError
from lineside.files import json_text, write_text, writing
from lineside.manifest import ModelManifest, Precision, versions

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
ON_A_GPU = (CUDA, TENSORRT)

_SUFFIX = "ExecutionProvider"
LINEAGE = "lineage.json"
DEVICE = 0
"""The first GPU that the driver shows; CUDA_VISIBLE_DEVICES chooses which that is."""

_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-cu12", "tensorrt-cu13")
_PRECISION_OPTIONS: Mapping[Precision, Mapping[str, bool]] = {
    "fp32": {},
    "fp16": {"trt_fp16_enable": True},
    "int8": {"trt_fp16_enable": True, "trt_int8_enable": True},
}
"""This provider builds weakly typed networks: what the graph holds is allowed here, or TensorRT refuses it. Unlike `lineside build`, it may
then take half precision for more than the graph says."""


def short_name(provider: str) -> str:
    """Such as "cuda" of "CUDAExecutionProvider"."""
    return provider.removesuffix(_SUFFIX).lower()


def full_names(providers: Sequence[str], available: Sequence[str]) -> list[str]:
    """ONNX Runtime's names of `providers`, each in its own or in the short form. Raises: DeviceError."""
    by_short_name = {short_name(name): name for name in available}
    for provider in providers:
        if provider.lower().removesuffix(_SUFFIX.lower()) not in by_short_name:
            raise DeviceError(
                f"provider {provider!r} is not available",
                why=f"the installed ONNX Runtime has {', '.join(by_short_name)}",
                fix="use one of these, or install the ONNX Runtime that has it (onnxruntime-gpu for cuda and tensorrt)",
            )
    return [by_short_name[provider.lower().removesuffix(_SUFFIX.lower())] for provider in providers]


def refuse_fallback(wanted: Sequence[str], used: Sequence[str], nodes: Mapping[str, int] | None, path: Path) -> None:
    """Raises: DeviceError, when a provider that was asked for does not run. All but the first take what is left, which may be nothing."""
    for provider in wanted:
        runs_nothing = nodes is not None and provider not in nodes
        if provider not in used or (runs_nothing and provider == wanted[0] != CPU):
            raise DeviceError(
                f"{path}: {provider} was asked for and does not run",
                why=f"the model would run on {', '.join(nodes or used)} alone",
                fix="check driver and libraries of that provider: lineside doctor; or use --provider cpu",
            )


@dataclass(frozen=True, kw_only=True)
class CacheLineage:
    """All that a cached engine depends on.

    Attributes:
        model_sha256: Of the ONNX file.
        gpu, compute_capability: That it was tuned for.
        driver_cuda: The newest CUDA that the driver runs.
        packages: Versions of ONNX Runtime and of TensorRT that Python's metadata tell.
        options: What else the builder was told.
    """

    model_sha256: str
    gpu: str
    compute_capability: tuple[int, int]
    driver_cuda: tuple[int, int]
    packages: Mapping[str, str] = field(default_factory=lambda: versions(_PACKAGES))
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The name of its folder."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def folder(self, root: Path) -> Path:
        """The folder below `root`, made when it is not there, with `lineage.json` in it.

        Raises:
            ModelError: The folder says that it belongs to something else.
            OutputError: It cannot be written.
        """
        folder = root / self.key
        said = folder / LINEAGE
        text = json_text(asdict(self))
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not said.exists():
            write_text(said, text)
        elif said.read_text() != text:
            raise ModelError(
                f"{folder}: a cache of other engines", why=f"{LINEAGE} there is not what its name says", fix=f"remove it: rm -r {folder}"
            )
        return folder


def cache_root() -> Path:
    """Where caches of this user lie: `$XDG_CACHE_HOME`, else ~/.cache (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "lineside" / "onnxruntime-tensorrt"


def with_options(
    providers: Sequence[str], *, sha256: str, manifest: ModelManifest | None, driver: Driver | None, root: Path | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Every provider with its options.

    Args:
        providers: ONNX Runtime's names, in order of precedence.
        sha256: Of the model's file.
        manifest: What the model says of itself; without one it counts as float32.
        driver: Its answer; needed for a provider that runs on a GPU.
        root: Of the caches; None: `cache_root()`.

    Raises:
        ModelError, OutputError: The cache folder cannot be used.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for name in providers:
        options: dict[str, Any] = {"device_id": DEVICE} if name in ON_A_GPU else {}
        if name == TENSORRT:
            assert driver is not None  # asked before any provider on a GPU
            options |= _PRECISION_OPTIONS[manifest.precision if manifest else "fp32"]
            gpu = driver.gpus[DEVICE]
            lineage = CacheLineage(
                model_sha256=sha256,
                gpu=gpu.name,
                compute_capability=gpu.compute_capability,
                driver_cuda=driver.cuda_version,
                options=dict(options),
            )
            folder = str(lineage.folder(root or cache_root()))
            options |= {
                "trt_engine_cache_enable": True,
                "trt_engine_cache_path": folder,
                "trt_timing_cache_enable": True,
                "trt_timing_cache_path": folder,
            }
        found.append((name, options))
    return found
