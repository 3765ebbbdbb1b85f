"""Put the stand-in in the place of TensorRT, cuda-python and PyCUDA, for one test.

    def test_something(standin):
        standin.fault("execute_async_v3", value="what TensorRT says")   # from the first hit on; after=, times=
        standin.world(tensorrt="11.4.0", gpus=(Gpu(integrated=True),))
        ...
        assert not standin.living()

Everything holds for the processes that the test starts, too.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from . import driver
from .gpu import GPUS
from .world import VARIABLE, Fault, World, forget

HERE = Path(__file__).parent.parent
PATH = HERE / "path"
FULL, LEAN, CUDA, PYCUDA = "tensorrt", "tensorrt_lean", "cuda.bindings.runtime", "pycuda.driver"
_NAMES = ("tensorrt", "tensorrt_lean", "cuda", "pycuda")
_loaded: dict[str, ModuleType] = {}
"""The stand-in's modules, made once: others keep references to them (Polygraphy does)."""


class Standin:
    """The stand-in as a test works it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        """Install it: everything is there, the machine is that of `World`'s defaults."""
        self._monkeypatch = monkeypatch
        self._folder = folder
        self._world = World()
        self._present: tuple[str, ...] = ()
        GPUS.clear()
        forget()
        monkeypatch.setattr("lineside.engine.device.driver.ask_driver", driver.ask_driver)
        self.packages((FULL, CUDA, PYCUDA))

    def world(self, **changes: Any) -> None:
        """Another machine: `tensorrt`, `cuda_version`, `gpus`."""
        self._enter(replace(self._world, **changes))

    def fault(self, name: str, value: Any = True, *, after: int = 0, times: int | None = None) -> None:
        """Something fails; see `trt_build`, `trt_run`, and for CUDA the name of the function with that of the error."""
        self._enter(replace(self._world, faults={**self._world.faults, name: Fault(value=value, after=after, times=times)}))

    def mend(self, name: str) -> None:
        """It does not fail any more."""
        self._enter(replace(self._world, faults={key: fault for key, fault in self._world.faults.items() if key != name}))

    def living(self) -> dict[str, int]:
        """What this process has not given back: memory, streams, events, graphs, engines and contexts."""
        return GPUS.living()

    def packages(self, names: Collection[str]) -> None:
        """Which packages are installed, among FULL, LEAN, CUDA and PYCUDA."""
        self._present = tuple(names)
        for name in list(sys.modules):
            if name.split(".")[0] in _NAMES:
                self._monkeypatch.delitem(sys.modules, name)
        self._enter(self._world)
        for name, module in _modules().items():
            if name.split(".")[0] in {one.split(".")[0] for one in names}:
                self._monkeypatch.setitem(sys.modules, name, module)
        for name in {FULL, LEAN, CUDA, PYCUDA} - set(names):
            self._monkeypatch.setitem(sys.modules, name, None)

    def _enter(self, world: World) -> None:
        self._world = world
        self._monkeypatch.setenv(VARIABLE, world.to_text())
        for name in (FULL, LEAN):
            if name in _loaded:
                _loaded[name].__version__ = world.tensorrt  # type: ignore[attr-defined]
        self._write_metadata()
        paths = [str(self._folder), str(PATH), str(HERE), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        self._monkeypatch.setenv("PYTHONPATH", os.pathsep.join(dict.fromkeys(paths)))
        if str(self._folder) not in sys.path:
            self._monkeypatch.syspath_prepend(self._folder)

    def _write_metadata(self) -> None:
        """The packages' metadata, which `importlib.metadata` finds; and what hides the packages that are not there."""
        for module, package in ((FULL, "tensorrt"), (LEAN, "tensorrt-lean"), (CUDA, "cuda-python"), (PYCUDA, "pycuda")):
            info = self._folder / f"{package.replace('-', '_')}.dist-info"
            if module not in self._present:
                shutil.rmtree(info, ignore_errors=True)
                continue
            info.mkdir(exist_ok=True)
            version = self._world.tensorrt if module in (FULL, LEAN) else "13.0.0"
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        hidden = [name for name in (FULL, LEAN, CUDA, PYCUDA) if name not in self._present]
        self._monkeypatch.setenv("LINESIDE_STANDIN_HIDES", " ".join(hidden))


def _modules() -> dict[str, ModuleType]:
    """The stand-in's modules by name."""
    if not _loaded:
        before = dict(sys.modules)
        sys.path.insert(0, str(PATH))
        try:
            for name in (FULL, LEAN, CUDA, PYCUDA):
                importlib.import_module(name)
        finally:
            sys.path.remove(str(PATH))
        for name in [name for name in sys.modules if name.split(".")[0] in _NAMES]:
            _loaded[name] = sys.modules.pop(name)
        sys.modules.update({name: module for name, module in before.items() if name.split(".")[0] in _NAMES})
    return _loaded
