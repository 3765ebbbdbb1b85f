"""What is in the real packages: each looked at in a process of its own, once per run of the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lineside_contract import surface
from lineside_contract.packages import CUDA, HOME, LEAN, POLYGRAPHY, STUBS, TENSORRT, Package

Surface = Mapping[str, Any]
MODULES = {
    **dict.fromkeys(TENSORRT, "tensorrt_bindings"),
    **dict.fromkeys(CUDA, "cuda.bindings.runtime"),
    **dict.fromkeys(POLYGRAPHY, "polygraphy.backend.trt"),
    LEAN: "tensorrt_lean_bindings",
}
_LIMIT_S = 60


def look(module: str, *paths: Path) -> Surface:
    """The surface of a module that is found in `paths`, in a process that has nothing else but this Python's own packages."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "LD_LIBRARY_PATH": str(HOME / STUBS),
        "PYTHONNOUSERSITE": "1",
    }
    done = subprocess.run(
        [sys.executable, surface.__file__, module], env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    assert done.returncode == 0, f"{module} of {paths[0].name} cannot be looked at:\n{done.stderr[-2000:]}"
    return json.loads(done.stdout)  # type: ignore[no-any-return]


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
