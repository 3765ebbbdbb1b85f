"""What `ask_driver` answers in the stand-in's world: a Python function in its place, not a driver.

A fault "driver" with the name of an error of CUDA's driver, or a world without GPUs, gives lineside's own errors.
"""

from __future__ import annotations

from lineside.engine.device import driver
from lineside.errors import DeviceError

from . import world


def ask_driver() -> driver.Driver:
    """The driver of the world. Raises: DeviceError, where it has no GPU or the test wants it."""
    here, name = world.here(), world.fault("driver")
    if name:
        raise DeviceError(f"the NVIDIA driver answers {name}", why="cuInit failed", fix="this is the stand-in of the tests")
    if not here.gpus:
        raise DeviceError("no NVIDIA driver on this machine", why=f"{driver.LIBRARY} is not there", fix="this is the stand-in of the tests")
    gpus = tuple(
        driver.Gpu(name=gpu.name, compute_capability=gpu.compute_capability, memory_bytes=gpu.memory_bytes, integrated=gpu.integrated)
        for gpu in here.gpus
    )
    return driver.Driver(cuda_version=here.cuda_version, gpus=gpus)


def answer() -> None:
    """Put it in the place of lineside's, for the rest of this process."""
    driver.ask_driver = ask_driver
