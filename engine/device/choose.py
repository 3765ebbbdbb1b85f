"""Which CUDA package works the GPU: cuda-python where it is installed, else PyCUDA, or the one that the caller names.

In:   the name of a package, or "auto"; the number of a GPU.
Out:  an open `protocol.Device`. The driver is asked before either package is imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import get_args

from lineside._optional import install_command
from lineside.errors import ConfigError, MissingPackageError

from . import cuda_python, driver, pycuda
from .protocol import CudaBackend, Device


def open_device(backend: CudaBackend = "auto", ordinal: int = 0) -> Device:
    """Open a GPU.

    Args:
        backend: "cuda-python", "pycuda", or "auto": cuda-python where it is installed, because it has graphs.
        ordinal: The number of the GPU among those that the driver shows.

    Raises:
        DeviceError: There is no driver, no such GPU, or it cannot be used.
        MissingPackageError: The package is not installed; with "auto": neither is.
        ConfigError: No such backend, or a negative number.
    """
    check_choice(backend, ordinal)
    answer = driver.ask_driver()
    if backend == "auto":
        backend = _installed()
    return cuda_python.CudaPythonDevice(answer, ordinal) if backend == cuda_python.NAME else pycuda.PyCudaDevice(answer, ordinal)


def check_choice(backend: CudaBackend, ordinal: int) -> None:
    """Raises: ConfigError, when there can be no such backend or no such GPU on any machine."""
    if backend not in get_args(CudaBackend):
        raise ConfigError(f"CUDA backend {backend!r}", why="unknown", fix=f"use {', '.join(get_args(CudaBackend))}")
    if ordinal < 0:
        raise ConfigError(f"GPU {ordinal}", why="they are numbered from 0 on", fix="leave the device out, or use one that nvidia-smi lists")


def _installed() -> CudaBackend:
    """Raises: MissingPackageError, when neither package is there."""
    if _there(cuda_python.MODULE):
        return "cuda-python"
    if _there(pycuda.MODULE):
        return "pycuda"
    raise MissingPackageError(
        "neither cuda-python nor PyCUDA is installed",
        why="engines need one of them to work the GPU",
        fix=f"{install_command('engine')}; or on a Jetson that has the CUDA toolkit: {install_command('pycuda')}",
    )


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is not there
        return False
