"""A whole build, child process and all, against the stand-in for TensorRT: it keeps TensorRT's rules, and computes on no GPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lineside import DeviceError, LinesideError, MissingPackageError, ModelError
from lineside._optional import install_command
from lineside.engine.builder.build import BuildOptions, build
from lineside.engine.builder.build_progress import Listener
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.files.sidecar import EngineManifest
from lineside.engine.run.engine_layers import engine_layers

pytest.importorskip("polygraphy", reason="builds make their configuration with it")

VERSIONS = ("10.3.0", "11.4.0.106")
MIB = 2**20


class Heard(Listener):
    """Keeps phases and warnings."""

    def __init__(self) -> None:
        self.phases: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.warnings: list[str] = []

    def phase(self, name: str, *, steps: int, parent: str | None) -> None:
        self.phases[name] = steps

    def step(self, name: str, *, done: int) -> None:
        self.done[name] = done

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("model", "batch", "profiles"), [("raw", "1,4", "1,4"), ("production", "1:2:4", "1:2:4"), ("fixed", None, "4")])
def test_an_engine_is_built_by_every_version(
    standin: Any, models: Path, tmp_path: Path, version: str, model: str, batch: str | None, profiles: str
) -> None:
    standin.world(tensorrt=version)
    options = BuildOptions(batch=None if batch is None else BatchProfiles.parse(batch), version_compatible=True)
    out = tmp_path / "strip.engine"
    manifest = build(models / f"{model}.onnx", out, options)
    assert {path.name for path in tmp_path.iterdir()} == {"strip.engine", "strip.engine.json"}
    assert EngineManifest.read(out) == manifest
    assert (manifest.tensorrt, str(manifest.profiles), manifest.gpu) == (version, profiles, "Stand-in GPU")
    assert {layer.kind for layer in manifest.layers} >= {"Split", "Max"}
    assert manifest.build_seconds >= 0
    assert engine_layers(out, out.read_bytes(), manifest) == manifest.layers


def test_the_progress_of_the_monitor_comes_through_the_pipe(standin: Any, models: Path, tmp_path: Path) -> None:
    heard = Heard()
    build(models / "raw.onnx", tmp_path / "strip.engine", listener=heard)
    steps = heard.phases["Timing tactics"]
    assert heard.done == {"Timing tactics": steps, "Building Engine": 2}
    assert steps > 2


def test_the_timing_cache_makes_the_second_build_quick(standin: Any, models: Path, tmp_path: Path) -> None:
    options = BuildOptions(timing_cache=tmp_path / "cache")
    first, second = Heard(), Heard()
    build(models / "raw.onnx", tmp_path / "strip.engine", options, listener=first)
    build(models / "raw.onnx", tmp_path / "again.engine", options, listener=second)
    assert first.phases["Timing tactics"] > 0
    assert second.phases["Timing tactics"] == 0
    standin.world(tensorrt="10.6.0")
    with pytest.raises(LinesideError, match=r"timing cache of tensorrt 10\.3\.0"):
        build(models / "raw.onnx", tmp_path / "other.engine", options)


@pytest.mark.parametrize(
    ("place", "value", "found"),
    [
        ("Builder", True, "no builder"),
        ("create_network", "network says", "network says"),
        ("create_builder_config", "config says", "config says"),
        ("set_timing_cache", True, "does not take this timing cache"),
        ("get_timing_cache", True, "no timing cache"),
        ("build", "none", "built no engine"),
        ("build", "out of memory while timing", "--workspace-mib"),
        ("deserialize_cuda_engine", "size mismatch", "size mismatch"),
        ("create_engine_inspector", True, "no engine inspector"),
    ],
)
def test_what_tensorrt_answers_instead_of_raising_is_an_error_that_quotes_it(
    standin: Any, models: Path, tmp_path: Path, place: str, value: object, found: str
) -> None:
    standin.fault(place, value=value)
    with pytest.raises(LinesideError) as error:
        build(models / "raw.onnx", tmp_path / "strip.engine", BuildOptions(timing_cache=tmp_path / "timing" / "cache"))
    assert found in str(error.value)
    assert error.value.why
    assert error.value.fix
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_every_error_of_the_parser_is_listed_with_its_node(standin: Any, models: Path, tmp_path: Path) -> None:
    errors = [["UNSUPPORTED_NODE", "no importer", "encoder.0", "Foo"], ["INVALID_NODE", "zero point is 3", "encoder.1.q", "QuantizeLinear"]]
    standin.fault("parse", value=errors)
    with pytest.raises(ModelError, match=r"TensorRT 10\.3\.0 cannot read") as error:
        build(models / "raw.onnx", tmp_path / "strip.engine")
    assert "Foo encoder.0: no importer (UNSUPPORTED_NODE)" in error.value.why
    assert "QuantizeLinear encoder.1.q" in error.value.why
    assert "--target tensorrt" in error.value.fix


@pytest.mark.parametrize(
    ("place", "value", "found"), [("Builder", "abort", "SIGABRT"), ("build", "SIGKILL", "killed"), ("build", "SIGSEGV", "SIGSEGV")]
)
def test_a_builder_that_takes_its_process_down_is_an_error_here(
    standin: Any, models: Path, tmp_path: Path, place: str, value: str, found: str
) -> None:
    standin.fault(place, value=value)
    with pytest.raises(DeviceError, match=found) as error:
        build(models / "raw.onnx", tmp_path / "strip.engine")
    assert "--workspace-mib" in error.value.fix
    assert list(tmp_path.iterdir()) == []


def test_a_builder_that_hangs_is_ended_at_the_time_limit(standin: Any, models: Path, tmp_path: Path) -> None:
    standin.fault("build", value="hang")
    with pytest.raises(DeviceError, match="ended after 2 s"):
        build(models / "raw.onnx", tmp_path / "strip.engine", BuildOptions(time_limit_s=2))
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_said_before_the_builder_starts(standin: Any, models: Path, tmp_path: Path) -> None:
    from lineside_standin.world import Gpu

    standin.world(gpus=(Gpu(memory_bytes=300 * MIB),))
    standin.fault("Builder", value="abort")
    with pytest.raises(DeviceError, match="of device memory are free") as error:
        build(models / "raw.onnx", tmp_path / "strip.engine")
    assert "--batch" in error.value.fix


def test_missing_packages_are_named(standin: Any, models: Path, tmp_path: Path) -> None:
    for packages, found in ((("cuda.bindings.runtime",), "TensorRT is not installed"), (("tensorrt",), "neither cuda-python nor PyCUDA")):
        standin.packages(packages)
        with pytest.raises(MissingPackageError, match=found) as error:
            build(models / "raw.onnx", tmp_path / "strip.engine")
        assert install_command("engine") in error.value.fix
    standin.packages(("tensorrt_lean", "cuda.bindings.runtime"))
    with pytest.raises(MissingPackageError, match="only tensorrt-lean"):
        build(models / "raw.onnx", tmp_path / "strip.engine")


def test_ctrl_c_on_the_command_ends_with_130_and_leaves_nothing(standin: Any, models: Path, tmp_path: Path) -> None:
    standin.fault("build_step_s", value=0.5)
    words = [sys.executable, "-c", "from lineside.cli.main import entry; entry()"]
    words += ["build", str(models / "raw.onnx"), "--out", str(tmp_path / "strip.engine")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ) as program:
        assert program.stderr is not None
        for line in program.stderr:
            if "Timing tactics" in line:
                break
        time.sleep(0.2)
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=30)
    assert program.returncode == 130
    assert list(tmp_path.iterdir()) == []
