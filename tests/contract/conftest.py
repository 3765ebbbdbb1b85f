"""What is in the real packages: each looked at in a process of its own, once per run of the tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
from lineside_contract.look import Surface, look
from lineside_contract.packages import CUDA, HOME, LEAN, POLYGRAPHY, TENSORRT, Package

MODULES = {
    **dict.fromkeys(TENSORRT, "tensorrt_bindings"),
    **dict.fromkeys(CUDA, "cuda.bindings.runtime"),
    **dict.fromkeys(POLYGRAPHY, "polygraphy.backend.trt"),
    LEAN: "tensorrt_lean_bindings",
}


@pytest.fixture(scope="session")
def surface_of() -> Callable[[Package], Surface]:
    """A package -> what is in it. All are looked at when the first is asked for."""
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    there = {
        package: pool.submit(look, module, HOME / package.name) for package, module in MODULES.items() if (HOME / package.name).is_dir()
    }
    pool.shutdown(wait=False)

    @cache
    def get(package: Package) -> Surface:
        package.folder()  # says why, when it is not there
        return there[package].result()

    return get
