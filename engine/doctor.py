"""What this machine can do: stage by stage, ready or what is missing and the exact command for it.

In:   the machine: installed packages (their metadata only, nothing heavy is imported), the driver, the Jetson's files.
Out:  a `Diagnosis` that prints and serialises. Safe everywhere: TensorRT is never imported.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lineside.errors import DeviceError

from .device.driver import Driver, ask_driver

JETSON_MODEL = Path("/proc/device-tree/model")
JETSON_RELEASE = Path("/etc/nv_tegra_release")
JETPACK_OF_L4T = {35: "5", 36: "6", 38: "7"}
"""Jetson Linux major release -> JetPack (NVIDIA's JetPack archive)."""

TENSORRT_FULL = re.compile(r"tensorrt(-cu\d+)?(-bindings)?")
TENSORRT_LEAN = re.compile(r"tensorrt-lean(-cu\d+)?(-bindings)?")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One thing lineside does: what it is for, the packages it needs, the extra that brings them, and whether it needs a GPU.

    `command` is False while this version has no command for it.
    """

    name: str
    does: str
    packages: tuple[str, ...]
    extra: str
    needs_gpu: bool = False
    command: bool = True


STAGES = (
    Stage(name="train", does="make a network from good strips", packages=("torch", "matplotlib"), extra="train"),
    Stage(name="export", does="checkpoint -> full-image ONNX", packages=("torch", "onnx", "onnxruntime"), extra="export"),
    Stage(name="calibrate", does="ranges and INT8 graphs", packages=("onnx", "onnxruntime"), extra="export"),
    Stage(
        name="build",
        does="ONNX -> TensorRT engine",
        packages=("tensorrt", "cuda-python", "polygraphy"),
        extra="engine",
        needs_gpu=True,
        command=False,
    ),
    Stage(name="run", does="inspect strips with ONNX Runtime", packages=("onnxruntime",), extra="onnxruntime"),
)


@dataclass(frozen=True, kw_only=True)
class StageAnswer:
    """Whether a stage is ready; if not, what is missing and the command or step that brings it."""

    stage: str
    does: str
    ready: bool
    missing: tuple[str, ...] = ()
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that `doctor` says."""

    python: str
    system: str
    packages: Mapping[str, str]
    driver: Driver | None
    driver_problem: str
    jetson: str
    tensorrt: str
    stages: tuple[StageAnswer, ...]

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return asdict(self)


def diagnose() -> Diagnosis:
    """Look at this machine."""
    packages = _installed()
    driver, problem = None, ""
    try:
        driver = ask_driver()
    except DeviceError as exc:
        problem = f"{exc.what}: {exc.why}"
    return Diagnosis(
        python=f"{platform.python_version()} in {sys.prefix}",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages=packages,
        driver=driver,
        driver_problem=problem,
        jetson=_jetson(),
        tensorrt=_tensorrt(packages),
        stages=tuple(_answer(stage, packages, problem) for stage in STAGES),
    )


def _installed() -> dict[str, str]:
    """Every installed package that a stage needs, and every form of TensorRT, with its version."""
    wanted = {package for stage in STAGES for package in stage.packages} | {
        "lineside",
        "numpy",
        "onnxscript",
        "onnxruntime-gpu",
        "pycuda",
        "openvino",
    }
    found = {}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if name in wanted or TENSORRT_FULL.fullmatch(name) or TENSORRT_LEAN.fullmatch(name):
            found[name] = distribution.version
    return dict(sorted(found.items()))


def _has(package: str, packages: Mapping[str, str]) -> bool:
    if package == "tensorrt":
        return any(TENSORRT_FULL.fullmatch(name) for name in packages)
    return package in packages or (package == "onnxruntime" and "onnxruntime-gpu" in packages)


def _tensorrt(packages: Mapping[str, str]) -> str:
    """Which TensorRT is installed: full, lean, or none."""
    for kind, pattern in (("full", TENSORRT_FULL), ("lean", TENSORRT_LEAN)):
        version = next((version for name, version in packages.items() if pattern.fullmatch(name)), None)
        if version:
            return f"{kind} {version}"
    return "not installed"


def _jetson() -> str:
    """The Jetson's model and JetPack; empty on other machines."""
    if not JETSON_MODEL.is_file():
        return ""
    model = JETSON_MODEL.read_text(errors="replace").strip("\0\n ")
    release = re.match(r"# R(\d+)", JETSON_RELEASE.read_text()) if JETSON_RELEASE.is_file() else None
    if "NVIDIA" not in model.upper() and release is None:
        return ""
    jetpack = JETPACK_OF_L4T.get(int(release[1]), f"of Jetson Linux {release[1]}") if release else "unknown"
    return f"{model}, JetPack {jetpack}"


def _answer(stage: Stage, packages: Mapping[str, str], driver_problem: str) -> StageAnswer:
    missing = tuple(package for package in stage.packages if not _has(package, packages))
    fixes = [f'pip install "lineside[{stage.extra}]"'] if missing else []
    if stage.needs_gpu and driver_problem:
        missing = (*missing, "an NVIDIA GPU with its driver")
        fixes.append("run this stage on the machine with the GPU")
    if not stage.command:
        missing = (*missing, f"the command itself: lineside {version('lineside')} has none yet")
        fixes.append("upgrade lineside when a release has it")
    return StageAnswer(stage=stage.name, does=stage.does, ready=not missing, missing=missing, fix=", then ".join(fixes))
