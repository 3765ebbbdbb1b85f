"""What is checked before TensorRT sees a byte of an engine, each with its own error and the command that mends it.

In:   an engine, its sidecar, the driver's answer, the device, the installed TensorRT.
Out:  nothing, or the one error that says why this engine cannot run here.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from types import ModuleType

from lineside.engine.device._trt import LEAN, Installed
from lineside.engine.device.driver import Driver, Gpu
from lineside.engine.device.protocol import Device
from lineside.engine.device.status import log
from lineside.engine.files.sidecar import EngineManifest
from lineside.engine.machine import MIB, available_ram
from lineside.errors import DeviceError, ModelError

_CUDA_OF_PACKAGE = re.compile(r"-cu(\d+)")


def read_plan(path: Path, manifest: EngineManifest | None) -> tuple[bytes, str]:
    """The bytes of an engine and their sha256.

    Raises:
        ModelError: The file is empty, or not the one that the sidecar describes.
    """
    plan = path.read_bytes()
    sha256 = hashlib.sha256(plan).hexdigest()
    if manifest is not None and sha256 != manifest.plan_sha256:
        raise ModelError(
            f"{path}: not the engine that its sidecar describes",
            why=f"its sha256 is {sha256[:12]}... and the sidecar says {manifest.plan_sha256[:12]}...",
            fix=f"copy both files again from one build, or build it again: {manifest.rebuild(path)}",
        )
    if not plan:
        raise ModelError(f"{path}: an empty file", why="an engine was expected there", fix="copy it again, or build it again")
    return plan, sha256


def refuse_old_driver(driver: Driver, tensorrt: Installed | None) -> None:
    """Refuse a driver that is older than the CUDA which TensorRT was made for.

    Its packages are named after CUDA's major version, and a driver runs that and older ones ("CUDA Compatibility" of NVIDIA's documents);
    TensorRT itself would answer with an assertion.

    Raises:
        DeviceError: It is.
    """
    major = _CUDA_OF_PACKAGE.search(tensorrt.name) if tensorrt is not None else None
    if tensorrt is not None and major is not None and int(major[1]) > driver.cuda_version[0]:
        fitting = tensorrt.name.replace(major[0], f"-cu{driver.cuda_version[0]}")
        raise DeviceError(
            f"{tensorrt.name} {tensorrt.version} needs a driver of CUDA {major[1]}",
            why=f"this machine's driver runs CUDA up to {'.'.join(map(str, driver.cuda_version))}",
            fix=f"update the NVIDIA driver, or install the TensorRT of its CUDA: {fitting}",
        )


def refuse_other_gpu(path: Path, manifest: EngineManifest, gpu: Gpu) -> None:
    """Refuse an engine that was built for another kind of GPU. Raises: ModelError."""
    if not manifest.fits(gpu.compute_capability):
        raise ModelError(
            f"{path}: built for compute capability {_dotted(manifest.compute_capability)} ({manifest.gpu})",
            why=f"this machine's {gpu.name} has {_dotted(gpu.compute_capability)}"
            + (", and a hardware-compatible engine needs 8.0 or newer" if manifest.hardware_compatible else ""),
            fix=f"build it here: {manifest.rebuild(path)}",
        )
    if gpu.name != manifest.gpu:
        log.warning("%s was built on %s and runs on %s: right, but perhaps slower than one built here", path, manifest.gpu, gpu.name)


def refuse_other_tensorrt(path: Path, manifest: EngineManifest, trt: ModuleType) -> None:
    """Refuse an engine of another TensorRT.

    An engine runs on the version that built it. A version-compatible one runs on that and later ones, and is all that the lean runtime
    takes (TensorRT documentation, "Version Compatibility").

    Raises:
        ModelError: This TensorRT cannot run it.
    """
    built, here = _numbers(manifest.tensorrt), _numbers(trt.__version__)
    shared = min(len(built), len(here))  # packages of a Jetson leave out the fourth number
    if trt.__name__ == LEAN and not manifest.lean:
        raise ModelError(
            f"{path}: needs the full TensorRT {manifest.tensorrt}",
            why=f"only the lean runtime {trt.__version__} is installed, and it takes version-compatible engines alone",
            fix=f"pip install tensorrt=={manifest.tensorrt}, or build it so: {manifest.rebuild(path)} --version-compatible",
        )
    if manifest.version_compatible and here[:shared] < built[:shared]:
        raise ModelError(
            f"{path}: built by TensorRT {manifest.tensorrt}",
            why=f"TensorRT {trt.__version__} is installed, and a version-compatible engine runs on that version and later ones",
            fix=f"install TensorRT {manifest.tensorrt} or later, or build it here: {manifest.rebuild(path)}",
        )
    if not manifest.version_compatible and built[:shared] != here[:shared]:
        raise ModelError(
            f"{path}: built by TensorRT {manifest.tensorrt}",
            why=f"TensorRT {trt.__version__} is installed, and an engine runs on the version that built it",
            fix=f"build it here: {manifest.rebuild(path)}",
        )


def refuse_little_memory(path: Path, *, need: int, device: Device) -> None:
    """Refuse an engine that does not fit into what is free.

    Args:
        path: Of the engine.
        need: Bytes of its weights, activations and buffers.
        device: Where it is to run; call this where it is current.

    Raises:
        DeviceError: It does not fit.
    """
    free = available_ram() if device.gpu.integrated else device.memory()[0]
    if free < need:
        raise DeviceError(
            f"{path}: needs about {-(-need // MIB)} MiB on the GPU",
            why=f"{free // MIB} MiB are free on the {device.gpu.name}"
            + (", which shares them with the CPU" if device.gpu.integrated else ""),
            fix="end other programs (nvidia-smi or tegrastats lists them), or build the engine for a smaller --batch",
        )


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (10, 3, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:4])


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
