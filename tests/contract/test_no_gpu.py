"""A machine that has TensorRT and no GPU: every command says so in one message, and TensorRT is not touched.

The lean runtime is the real one, with its library; the full one has the real bindings with empty libraries, in which any call ends the
process. Both leave a mark when they are imported: without a driver nothing may. (By hand, and not in CI: the same with the full libraries.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from lineside_contract.packages import CUDA, HOME, LEAN, STUBS, TENSORRT
from lineside_standin.install import Standin

from lineside.engine.builder.build import BuildOptions, build
from lineside.engine.device import driver
from lineside.errors import DeviceError

MODELS = Path(__file__).parents[1] / "engine" / "models"
INSTALLED = [LEAN, TENSORRT[1]]
"""10.6 is the one whose Builder calls abort()."""
LIMIT_S = 60
LOADS = "import sys; from lineside import Inspector; Inspector.load(sys.argv[1])"
CATCHES = """
import sys
from lineside import DeviceError, Inspector
try:
    Inspector.load(sys.argv[1])
except DeviceError:
    sys.exit(2)
"""


@dataclass(frozen=True)
class Machine:
    """A machine without a GPU, whose Python finds `folders`; `mark` appears when TensorRT is imported."""

    folders: tuple[Path, ...]
    mark: Path

    def run(self, *arguments: str, code: str = "from lineside.cli.main import entry; entry()") -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LINESIDE_STANDIN")}
        environment |= {"PYTHONPATH": os.pathsep.join(map(str, self.folders)), "LD_LIBRARY_PATH": str(HOME / STUBS), "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )


@pytest.fixture(params=INSTALLED, ids=lambda package: package.name)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    if _gpu_is_there():
        pytest.skip("this machine has a GPU")
    folder, name = request.param.folder(), "tensorrt_lean" if request.param is LEAN else "tensorrt"
    marked = tmp_path / "marked"
    (marked / name).mkdir(parents=True)
    mark = tmp_path / "touched"
    # what the metapackages hold, and a mark
    (marked / name / "__init__.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nfrom {name}_bindings import *\nfrom {name}_bindings import __version__\n"
    )
    return Machine((marked, folder, CUDA[-1].folder()), mark)


def _gpu_is_there() -> bool:
    try:
        driver.ask_driver()
    except DeviceError:
        return False
    return True


@pytest.fixture
def engine(standin: Standin, tmp_path: Path) -> Path:
    """An engine with its sidecar, as a machine with a GPU would have built it."""
    path = tmp_path / "model.engine"
    build(MODELS / "production.onnx", path, BuildOptions(version_compatible=True))
    return path


@pytest.fixture
def strip(tmp_path: Path) -> Path:
    path = tmp_path / "strip.tif"
    tifffile.imwrite(path, np.full((3, 64, 96), 120, np.uint8), photometric="minisblack")
    return path


def test_the_runtime_would_be_found_if_it_were_looked_for(machine: Machine) -> None:
    name = "tensorrt_lean" if "lean" in str(machine.folders[1]) else "tensorrt"
    done = machine.run(code=f"import {name}; print({name}.__version__, {name}.Runtime)")
    assert done.returncode == 0, done.stderr
    assert machine.mark.exists()
    assert "Runtime" in done.stdout


def test_the_real_lean_runtime_crashes_without_a_gpu(tmp_path: Path) -> None:
    """The reason for all of this: were it ever mended, this would say so."""
    if _gpu_is_there():
        pytest.skip("this machine has a GPU")
    machine = Machine((LEAN.folder(),), tmp_path / "mark")
    done = machine.run(code="import tensorrt_lean as trt; trt.Runtime(trt.Logger()).deserialize_cuda_engine(b'')")
    assert done.returncode < 0


def test_what_needs_the_gpu_says_so_once_and_touches_nothing(machine: Machine, engine: Path, strip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    commands = [
        ["build", str(MODELS / "production.onnx"), "--out", str(out / "new.engine")],
        ["infer", str(engine), str(strip), "--out", str(out / "results")],
    ]
    for command in commands:
        _is_refused(machine.run(*command))
    assert not machine.mark.exists()
    assert not out.exists() or not list(out.rglob("*.*"))


def _is_refused(done: subprocess.CompletedProcess[str]) -> None:
    """One message, exit code 2."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("error: ") == 1
    assert len(done.stderr.strip().splitlines()) == 3  # what, why, fix
    assert "driver" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_loading_an_engine_raises_one_error_of_ours(machine: Machine, engine: Path) -> None:
    done = machine.run(str(engine), code=LOADS)
    assert done.returncode == 1  # of Python, for an error that nobody caught
    assert done.stderr.strip().splitlines()[-3].startswith("lineside.errors.DeviceError: no NVIDIA driver")
    assert machine.run(str(engine), code=CATCHES).returncode == 2
    assert not machine.mark.exists()


def test_what_needs_no_gpu_answers(machine: Machine, engine: Path, strip: Path, tmp_path: Path) -> None:
    doctor = machine.run("doctor")
    assert doctor.returncode == 0, doctor.stderr
    assert machine.folders[1].name.rpartition("-")[2] in doctor.stdout
    show = machine.run("show", str(engine))
    assert show.returncode == 0, show.stderr
    assert "10.3.0" in show.stdout
    instead = machine.run("infer", str(engine), str(strip), "--out", str(tmp_path / "out"), "--fallback", str(MODELS / "production.onnx"))
    assert instead.returncode == 0, instead.stderr
    assert not machine.mark.exists()
