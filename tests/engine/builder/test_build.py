"""`build`: the engine, its sidecar and its golden strips are all there, or nothing is.

The child is a script that answers as `build_child` does, and the driver is asked for nothing: what is tested is the parent.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from lineside import ConfigError, DeviceError, LinesideError, MissingPackageError, ModelError, OutputError
from lineside.engine.builder import build as build_module
from lineside.engine.builder import build_process
from lineside.engine.builder.build import BuildOptions, build
from lineside.engine.builder.build_progress import Listener
from lineside.engine.device import driver
from lineside.engine.device.driver import Driver, Gpu
from lineside.engine.files.golden import read_golden
from lineside.engine.files.onnx_file import OnnxFile, read_onnx
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.files.sidecar import EngineManifest, LayerPrecision

PLAN = b"the bytes of an engine"
ORIN = Gpu(name="Orin", compute_capability=(8, 7), memory_bytes=8 * 2**30, integrated=True)
H200 = Gpu(name="NVIDIA H200", compute_capability=(9, 0), memory_bytes=140 * 2**30, integrated=False)
BUILT = {
    "tensorrt": "10.3.0",
    "workspace_bytes": 1024,
    "build_seconds": 1.5,
    "device_memory_bytes": 77,
    "layers": [{"name": "a + relu", "kind": "CaskConvolution", "precision": "fp16", "onnx": ["a"]}],
}


def answer(script: str) -> tuple[str, ...]:
    """A child that has read its job and then runs a script."""
    begin = (
        "import json, os, signal, sys, time\n"
        "def say(event, **values): print(json.dumps({'event': event, **values}), flush=True)\n"
        "job = json.loads(sys.stdin.readline())\n"
        f"def write(): open(job['partial'], 'wb').write({PLAN!r})\n"
    )
    return (sys.executable, "-c", begin + script)


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the child run a script; one that builds is there to begin with, and a driver with two GPUs."""
    gpus = Driver(cuda_version=(12, 6), gpus=(ORIN, H200))
    monkeypatch.setattr(driver, "ask_driver", lambda: gpus)
    monkeypatch.setattr(build_process, "COMMAND", answer(f"write(); say('built', **json.loads({json.dumps(BUILT)!r}))"))
    return lambda script: monkeypatch.setattr(build_process, "COMMAND", answer(script))


pytestmark = pytest.mark.usefixtures("child")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_engine_and_its_sidecar_say_what_was_built(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "strip.engine"
    manifest = build(models / "raw.onnx", out, BuildOptions(batch=BatchProfiles.parse("1,4"), optimization_level=4))
    assert names(tmp_path) == {"strip.engine", "strip.engine.json"}
    assert out.read_bytes() == PLAN
    assert EngineManifest.read(out) == manifest
    assert manifest.plan_sha256 == hashlib.sha256(PLAN).hexdigest()
    assert manifest.onnx_sha256 == hashlib.sha256((models / "raw.onnx").read_bytes()).hexdigest()
    assert (manifest.gpu, manifest.compute_capability, manifest.driver_cuda) == ("Orin", (8, 7), (12, 6))
    assert (manifest.tensorrt, manifest.device_memory_bytes, manifest.input_dtype) == ("10.3.0", 77, "uint8")
    assert manifest.layers == (LayerPrecision(name="a + relu", kind="CaskConvolution", precision="fp16", onnx=("a",)),)
    assert str(manifest.profiles) == "1,4"
    assert (manifest.options["optimization_level"], manifest.options["workspace_bytes"]) == (4, 1024)
    assert manifest.model == read_onnx(models / "raw.onnx").manifest


def test_a_file_of_fixed_batch_has_no_profiles_to_set(models: Path, tmp_path: Path, child: Callable[[str], None]) -> None:
    child(f"write(); assert job['profiles'] is None; say('built', **json.loads({json.dumps(BUILT)!r}))")
    manifest = build(models / "fixed.onnx", tmp_path / "strip.engine")
    assert (manifest.batch, str(manifest.profiles)) == (4, "4")


def test_the_child_gets_the_shape_of_one_strip(models: Path, tmp_path: Path, child: Callable[[str], None]) -> None:
    seen = tmp_path / "job.json"
    child(f"write(); json.dump(job, open({str(seen)!r}, 'w')); say('built', **json.loads({json.dumps(BUILT)!r}))")
    build(models / "raw.onnx", tmp_path / "strip.engine")
    job = json.loads(seen.read_text())
    assert (job["input"], job["shape"]) == ("strip", [4, 64, 96])


FAILURES = {
    "error": "say('error', kind='DeviceError', what='w', why='y', fix='f'); sys.exit(2)",
    "half a file": "write(); os.kill(os.getpid(), signal.SIGKILL)",
    "abort": "write(); os.kill(os.getpid(), signal.SIGABRT)",
    "time": "write(); time.sleep(60)",
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("force", [False, True])
def test_a_failed_build_leaves_everything_as_it_was(
    models: Path, tmp_path: Path, child: Callable[[str], None], failure: str, force: bool
) -> None:
    out = tmp_path / "strip.engine"
    before = {"strip.engine": b"old", "strip.engine.json": b"{}", "strip.engine.golden.npz": b"older"} if force else {}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    child(FAILURES[failure])
    with pytest.raises(DeviceError):
        build(models / "raw.onnx", out, BuildOptions(time_limit_s=1 if failure == "time" else None), force=force)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_ctrl_c_leaves_nothing(models: Path, tmp_path: Path, child: Callable[[str], None]) -> None:
    child("write(); say('stage', what='building'); time.sleep(60)")

    class Interrupting(Listener):
        def stage(self, what: str) -> None:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        build(models / "raw.onnx", tmp_path / "strip.engine", listener=Interrupting())
    assert names(tmp_path) == set()


def test_ctrl_c_while_files_are_renamed_waits_until_all_are_there(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[str] = []
    rename = Path.replace

    def interrupting(self: Path, target: Path) -> Path:
        replaced.append(Path(target).name)
        os.kill(os.getpid(), signal.SIGINT)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", interrupting)
    with pytest.raises(KeyboardInterrupt):
        build(models / "raw.onnx", tmp_path / "strip.engine")
    assert replaced == ["strip.engine.json", "strip.engine"]
    assert names(tmp_path) == {"strip.engine", "strip.engine.json"}


@pytest.mark.parametrize("there", ["strip.engine", "strip.engine.json", "strip.engine.golden.npz"])
def test_nothing_that_exists_is_replaced_without_force(models: Path, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"mine")
    with pytest.raises(OutputError, match=there):
        build(models / "raw.onnx", tmp_path / "strip.engine")
    assert (tmp_path / there).read_bytes() == b"mine"
    build(models / "raw.onnx", tmp_path / "strip.engine", force=True)
    assert names(tmp_path) == {"strip.engine", "strip.engine.json"}  # golden strips of the old engine are gone


def test_a_place_that_cannot_be_written_is_said_before_the_build(models: Path, tmp_path: Path, child: Callable[[str], None]) -> None:
    child("raise SystemExit('the build began')")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        build(models / "raw.onnx", tmp_path / "file" / "strip.engine")


def test_golden_strips_lie_beside_the_engine(models: Path, tmp_path: Path, strip: NDArray[np.uint8]) -> None:
    pytest.importorskip("onnxruntime", reason="it gives the reference")
    tifffile.imwrite(tmp_path / "one.tif", strip, photometric="minisblack")
    out = tmp_path / "engines" / "strip.engine"
    manifest = build(models / "raw.onnx", out, BuildOptions(golden=(tmp_path / "one.tif",)))
    assert names(out.parent) == {"strip.engine", "strip.engine.json", "strip.engine.golden.npz"}
    (golden,) = read_golden(out, EngineManifest.read(out))
    np.testing.assert_array_equal(golden.strip, strip)
    assert manifest.golden is not None


def planned(onnx: OnnxFile, convolutions: tuple[str, ...]) -> OnnxFile:
    """The same file, as if it had these convolutions in INT8."""
    values: dict[str, Any] = {**onnx.__dict__, "convolutions": convolutions, "int8": convolutions}
    return OnnxFile(**values)


def test_an_int8_file_without_int8_layers_is_refused_unless_the_user_keeps_it(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lineside.engine.builder import plan as plan_module

    monkeypatch.setattr(plan_module, "read_onnx", lambda path: planned(read_onnx(path), ("a", "b")))
    with pytest.raises(ModelError, match="0 of 2 planned") as error:
        build(models / "raw.onnx", tmp_path / "strip.engine")
    assert "a: fp16 (CaskConvolution)" in error.value.why
    assert names(tmp_path) == set()
    manifest = build(models / "raw.onnx", tmp_path / "strip.engine", BuildOptions(allow_fallback=True))
    assert (manifest.int8_planned, manifest.int8_built) == (2, 0)


def test_the_gpu_is_the_one_that_was_named(models: Path, tmp_path: Path) -> None:
    assert build(models / "raw.onnx", tmp_path / "strip.engine", BuildOptions(device=1)).gpu == "NVIDIA H200"
    with pytest.raises(DeviceError, match="no GPU 2") as error:
        build(models / "raw.onnx", tmp_path / "other.engine", BuildOptions(device=2))
    assert "0 Orin, 1 NVIDIA H200" in error.value.why


def test_a_workspace_larger_than_the_gpu_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workspace of 8193 MiB"):
        build(models / "raw.onnx", tmp_path / "strip.engine", BuildOptions(workspace_mib=8193))


def test_a_jetson_builds_no_hardware_compatible_engines(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--hardware-compatibility on Orin"):
        build(models / "raw.onnx", tmp_path / "strip.engine", BuildOptions(hardware_compatible=True))
    assert build(models / "raw.onnx", tmp_path / "strip.engine", BuildOptions(hardware_compatible=True, device=1)).hardware_compatible


def test_a_warning_reaches_the_listener(models: Path, tmp_path: Path) -> None:
    heard: list[str] = []

    class Heard(Listener):
        def warning(self, text: str) -> None:
            heard.append(text)

    build(models / "raw.onnx", tmp_path / "strip.engine", listener=Heard())
    assert ["float32 engine" in text for text in heard] == [True]


def test_without_a_gpu_nothing_is_started(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Driver:
        raise DeviceError("no NVIDIA driver on this machine", why="w", fix="f")

    monkeypatch.setattr(driver, "ask_driver", none)
    monkeypatch.setattr(build_module, "run_child", lambda *arguments, **more: pytest.fail("a child was started"))
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        build(models / "raw.onnx", tmp_path / "strip.engine")
    assert names(tmp_path) == set()


def test_the_parent_never_imports_tensorrt(models: Path, tmp_path: Path) -> None:
    before = set(sys.modules)
    build(models / "raw.onnx", tmp_path / "strip.engine")
    assert not {"tensorrt", "tensorrt_lean", "tensorrt_bindings", "polygraphy"} & (set(sys.modules) - before)


def test_every_error_of_the_childs_keeps_its_kind(models: Path, tmp_path: Path, child: Callable[[str], None]) -> None:
    for kind in (MissingPackageError, OutputError, ConfigError, ModelError, LinesideError):
        child(f"say('error', kind={kind.__name__!r}, what='w', why='y', fix='f'); sys.exit(2)")
        with pytest.raises(kind) as error:
            build(models / "raw.onnx", tmp_path / "strip.engine")
        assert type(error.value) is kind
