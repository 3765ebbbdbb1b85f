"""What this machine can do: stage by stage, ready or what is missing and the exact command for it.

In:   the machine: installed packages (their metadata only, nothing heavy is imported), the driver, the Jetson's files.
Out:  a `Diagnosis` that prints and serialises. Safe everywhere: TensorRT is never imported.
"""

from __future__ import annotations

import platform
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lineside._optional import install_command
from lineside.errors import DeviceError

from .device.driver import Driver, ask_driver
from .machine import adds_in_32_bits

JETSON_MODEL = Path("/proc/device-tree/model")
JETSON_RELEASE = Path("/etc/nv_tegra_release")
JETPACK_OF_L4T = {35: "5", 36: "6", 38: "7", 39: "7"}
"""Jetson Linux major release -> JetPack (NVIDIA's JetPack archive)."""

CUDA_MAJORS = (12, 13)
"""For which TensorRT and cuda-python have packages that lineside runs with."""
ENGINE = "engine"
TENSORRT, EITHER_TENSORRT, CUDA = "tensorrt", "tensorrt or tensorrt-lean", "cuda-python"
INSTEAD = {CUDA: ("cuda-bindings", "pycuda"), "onnxruntime": ("onnxruntime-gpu",)}
"""Packages that do as well."""
CUDA_BINDINGS = ("cuda-bindings", "cuda-python")
TENSORRT_FULL = re.compile(r"tensorrt(-cu\d+)?(-bindings)?")
TENSORRT_LEAN = re.compile(r"tensorrt-lean(-cu\d+)?(-bindings)?")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One thing lineside does: what it is for, the command, the packages it needs, the extra that brings them, whether it needs a GPU."""

    name: str
    does: str
    use: str
    packages: tuple[str, ...]
    extra: str
    needs_gpu: bool = False


STAGES = (
    Stage(
        name="train",
        does="make a network from good strips",
        use="lineside train DATASET --out RUN",
        packages=("torch", "matplotlib"),
        extra="train",
    ),
    Stage(
        name="export",
        does="checkpoint -> full-image ONNX",
        use="lineside export RUN/best.pt --out strip.onnx",
        packages=("torch", "onnx", "onnxruntime"),
        extra="export",
    ),
    Stage(
        name="calibrate",
        does="ranges and INT8 graphs",
        use="lineside calibrate strip.onnx DATASET --out strip.ranges.json",
        packages=("onnx", "onnxruntime"),
        extra="export",
    ),
    Stage(
        name="build",
        does="ONNX -> TensorRT engine",
        use="lineside build strip.onnx --out strip.engine",
        packages=(TENSORRT, CUDA, "polygraphy"),
        extra=ENGINE,
        needs_gpu=True,
    ),
    Stage(
        name="run",
        does="inspect strips with ONNX Runtime",
        use="lineside infer strip.onnx STRIPS --out RESULTS",
        packages=("onnxruntime",),
        extra="onnxruntime",
    ),
    Stage(
        name="run engine",
        does="inspect strips with TensorRT",
        use="lineside infer strip.engine STRIPS --out RESULTS",
        packages=(EITHER_TENSORRT, CUDA),
        extra=ENGINE,
        needs_gpu=True,
    ),
)


@dataclass(frozen=True, kw_only=True)
class StageAnswer:
    """Whether a stage is ready, and its command; if not, what is missing and the commands or steps that bring it."""

    stage: str
    does: str
    use: str
    ready: bool
    missing: tuple[str, ...] = ()
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that `doctor` says."""

    python: str
    system: str
    int8_on_cpu: str
    packages: Mapping[str, str]
    driver: Driver | None
    driver_problem: str
    jetson: str
    tensorrt: str
    stages: tuple[StageAnswer, ...]

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return asdict(self)


_INT8_ON_CPU = {
    True: "8-bit products are added in 32 bits: every INT8 file computes rightly",
    False: "no VNNI: 8-bit products are added in 16 bits, and a file of `quantize --cpu vnni` may give wrong verdicts; --cpu any is right",
    None: "the kernel does not say whether 8-bit products are added in 32 bits: use files of `quantize --cpu any`",
}


def diagnose() -> Diagnosis:
    """Look at this machine."""
    packages, jetson = _installed(), _jetson()
    driver, problem = None, ""
    try:
        driver = ask_driver()
    except DeviceError as exc:
        problem = f"{exc.what}: {exc.why}"
    return Diagnosis(
        python=f"{platform.python_version()} in {sys.prefix}",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        int8_on_cpu=_INT8_ON_CPU[adds_in_32_bits()],
        packages=packages,
        driver=driver,
        driver_problem=problem,
        jetson=jetson,
        tensorrt=_tensorrt(packages),
        stages=tuple(_answer(stage, packages, driver, jetson) for stage in STAGES),
    )


def _installed() -> dict[str, str]:
    """Every installed package that a stage needs, and every form of TensorRT, with its version."""
    wanted = {package for stage in STAGES for package in stage.packages} | {
        "lineside",
        "numpy",
        "onnxscript",
        "openvino",
        *(other for others in INSTEAD.values() for other in others),
    }
    found = {}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if name in wanted or TENSORRT_FULL.fullmatch(name) or TENSORRT_LEAN.fullmatch(name):
            found[name] = distribution.version
    return dict(sorted(found.items()))


def _has(package: str, packages: Mapping[str, str]) -> bool:
    if package in (TENSORRT, EITHER_TENSORRT):
        patterns = (TENSORRT_FULL,) if package == TENSORRT else (TENSORRT_FULL, TENSORRT_LEAN)
        return any(pattern.fullmatch(name) for name in packages for pattern in patterns)
    return any(name in packages for name in (package, *INSTEAD.get(package, ())))


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


def _answer(stage: Stage, packages: Mapping[str, str], driver: Driver | None, jetson: str) -> StageAnswer:
    absent = [package for package in stage.packages if not _has(package, packages)]
    missing, fixes = list(absent), _install(stage, absent, driver, jetson)
    if stage.needs_gpu and driver is None:
        missing.append("an NVIDIA GPU with its driver")
        fixes.append("run this stage on the machine with the GPU")
    newer = _newer_than_driver(packages, driver) if stage.needs_gpu and CUDA not in absent else ""
    if newer:
        missing.append(newer)
        fixes.append(_pip(_engine_packages([CUDA], driver)) + ", or update the driver")
    return StageAnswer(
        stage=stage.name, does=stage.does, use=stage.use, ready=not missing, missing=tuple(missing), fix=", then ".join(fixes)
    )


def _install(stage: Stage, absent: list[str], driver: Driver | None, jetson: str) -> list[str]:
    """The commands that bring what is absent. On a Jetson TensorRT comes with JetPack; elsewhere it has to fit to the driver's CUDA."""
    if not absent:
        return []
    if stage.extra != ENGINE or (driver is None and not jetson):
        return [install_command(stage.extra)]
    if not jetson:
        return [_pip(_engine_packages(absent, driver))]
    from_apt = [package for package in absent if package in (TENSORRT, EITHER_TENSORRT)]
    from_pip = [package for package in absent if package not in from_apt]
    commands = ["sudo apt install python3-libnvinfer, seen by a virtual environment made with --system-site-packages"] if from_apt else []
    return commands + ([_pip(_engine_packages(from_pip, driver))] if from_pip else [])


def _engine_packages(absent: list[str], driver: Driver | None) -> list[str]:
    """What pip is to install, of the newest CUDA major that the driver runs."""
    running = driver.cuda_version[0] if driver else CUDA_MAJORS[0]
    major = max((known for known in CUDA_MAJORS if known <= running), default=CUDA_MAJORS[0])
    named = {TENSORRT: f"tensorrt-cu{major}", EITHER_TENSORRT: f"tensorrt-cu{major}", CUDA: f"cuda-python>={major},<{major + 1}"}
    return [named.get(package, package) for package in absent]


def _newer_than_driver(packages: Mapping[str, str], driver: Driver | None) -> str:
    """What is wrong with a cuda-python of a later CUDA than the driver runs; empty when nothing is."""
    found = next((packages[name] for name in CUDA_BINDINGS if name in packages), "")
    if driver is None or not found or int(found.split(".")[0]) <= driver.cuda_version[0]:
        return ""
    return f"a cuda-python for this driver: {found} needs CUDA {found.split('.')[0]}, it runs {driver.cuda_version[0]}"


def _pip(requirements: list[str]) -> str:
    return f"pip install {shlex.join(requirements)}"
