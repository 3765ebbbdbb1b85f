from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside import PRESETS, ConfigError, DeviceError, LinesideError, ModelError, StripSpec
from lineside._optional import install_command
from lineside.engine.device.driver import Driver
from lineside.engine.machine import physical_cores
from lineside.engine.run import session
from lineside.engine.run.backend import LoadOptions
from lineside.engine.run.onnxruntime_backend import OnnxRuntimeBackend
from lineside.errors import MissingPackageError


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bare", "no metadata"),
        ("resized", "976x176"),  # the metadata says 976x176, the graph 64x96
        ("renamed", "image"),
        ("old_schema", "schema 0"),
        ("absent", "no such file"),
    ],
)
def test_a_model_that_is_not_ours_is_refused(models: Path, name: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        OnnxRuntimeBackend.load(models / f"{name}.onnx")


@pytest.mark.parametrize("content", [b"", b"# strips of line 3\n", b"\x08\x08", b"\0" * 4096])
def test_a_file_that_is_no_onnx_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "strip.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"strip\.onnx"):
        OnnxRuntimeBackend.load(path)


def test_damage_anywhere_in_a_model_is_a_lineside_error_or_harmless(models: Path, tmp_path: Path) -> None:
    whole = (models / "production.onnx").read_bytes()
    path = tmp_path / "strip.onnx"
    choose = random.Random(0)
    refused = 0
    for attempt in range(150):
        damaged = bytearray(whole)
        if attempt % 2:
            damaged = damaged[: choose.randrange(len(whole))]
        else:
            damaged[choose.randrange(len(whole))] ^= 1 << choose.randrange(8)
        path.write_bytes(bytes(damaged))
        try:
            backend = OnnxRuntimeBackend.load(path, LoadOptions(threads=1))
            backend.run(1)
        except LinesideError:
            refused += 1
    assert refused > 75


def test_a_model_without_metadata_loads_when_its_strips_are_named(models: Path, small: StripSpec) -> None:
    backend = OnnxRuntimeBackend.load(models / "bare.onnx", LoadOptions(spec=small))
    assert (backend.model.manifest, backend.model.io, backend.model.spec) == (None, "production", small)
    with pytest.raises(ModelError, match="976x176"):
        OnnxRuntimeBackend.load(models / "bare.onnx", LoadOptions(spec=PRESETS["strip"]))


def test_a_spec_of_another_size_than_the_models_is_refused(models: Path, small: StripSpec) -> None:
    with pytest.raises(ModelError, match="64x96"):
        OnnxRuntimeBackend.load(models / "production.onnx", LoadOptions(spec=PRESETS["strip"]))
    sixteen_bits = small.with_files(full_scale=65535)
    assert OnnxRuntimeBackend.load(models / "production.onnx", LoadOptions(spec=sixteen_bits)).model.spec == sixteen_bits


@pytest.mark.parametrize("provider", ["cpu", "CPU", "CPUExecutionProvider"])
def test_a_provider_may_be_named_short_or_long(models: Path, provider: str) -> None:
    backend = OnnxRuntimeBackend.load(models / "production.onnx", LoadOptions(providers=[provider]))
    assert backend.model.providers == ("CPUExecutionProvider",)
    assert backend.name == "onnxruntime-cpu"


def test_a_provider_that_is_not_installed_is_an_error_that_names_the_others(models: Path) -> None:
    with pytest.raises(DeviceError, match=r"'rocket' is not available[\s\S]*cpu"):
        OnnxRuntimeBackend.load(models / "production.onnx", LoadOptions(providers=["rocket", "cpu"]))


class HalfSession:
    """A stand-in for a session whose provider was available and then did not load, as CUDA without its libraries."""

    def __init__(self, providers: Sequence[str], nodes: dict[str, int] | None) -> None:
        self.providers = providers
        if nodes is not None:
            self.get_provider_graph_assignment_info = lambda: [
                type("Part", (), {"ep_name": name, "get_nodes": lambda self, count=count: [None] * count})()
                for name, count in nodes.items()
            ]

    def get_providers(self) -> Sequence[str]:
        return self.providers


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that answers."""
    monkeypatch.setattr("lineside.engine.device.driver.ask_driver", lambda: Driver(cuda_version=(12, 6), gpus=()))


CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("asked", "used", "nodes"),
    [
        (["cuda"], [CPU], None),  # left out by ONNX Runtime, which only logs it
        (["cuda"], [CPU], {CPU: 7}),
        (["cuda"], [CUDA, CPU], {CPU: 7}),  # there, but it runs nothing
    ],
)
def test_a_provider_that_does_not_run_is_an_error_and_no_fallback(
    models: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str], used: list[str], nodes: dict[str, int] | None
) -> None:
    runtime = session.onnxruntime()
    monkeypatch.setattr(runtime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(runtime, "InferenceSession", lambda *_, **__: HalfSession(used, nodes))
    with pytest.raises(DeviceError, match=f"{CUDA} was asked for and does not run"):
        OnnxRuntimeBackend.load(models / "production.onnx", LoadOptions(providers=asked))


@pytest.mark.usefixtures("driver")
def test_a_provider_that_fails_while_it_starts_is_a_device_error(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **options: Any) -> None:
        assert options["enable_fallback"] == 0  # else ONNX Runtime prints and goes on with the CPU
        raise RuntimeError("CUDA failure 35: CUDA driver version is insufficient\nand a page of C++")

    runtime = session.onnxruntime()
    monkeypatch.setattr(runtime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(runtime, "InferenceSession", fail)
    with pytest.raises(DeviceError, match="driver version is insufficient") as caught:
        OnnxRuntimeBackend.load(models / "production.onnx", LoadOptions(providers=["cuda"]))
    assert "C++" not in str(caught.value)


def test_threads_are_what_was_asked_for_or_the_physical_cores(models: Path) -> None:
    asked = OnnxRuntimeBackend.load(models / "production.onnx", LoadOptions(threads=3))
    assert asked.session.get_session_options().intra_op_num_threads == asked.model.threads == 3
    default = OnnxRuntimeBackend.load(models / "production.onnx")
    assert default.session.get_session_options().intra_op_num_threads == physical_cores()
    with pytest.raises(ConfigError, match="0 threads"):
        OnnxRuntimeBackend.load(models / "production.onnx", LoadOptions(threads=0))


def test_a_run_that_fails_is_a_model_error(models: Path) -> None:
    backend = OnnxRuntimeBackend.load(models / "production.onnx")
    backend.input = np.zeros((1, 3, 64, 95), np.float32)  # as a graph that breaks inside would
    with pytest.raises(ModelError, match="the run failed"):
        backend.run(1)


def test_an_answer_of_another_shape_is_a_model_error(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = OnnxRuntimeBackend.load(models / "production.onnx")
    backend.session = type("Session", (), {"run": lambda self, names, fed: [np.zeros((1, 1, 64, 96), np.float32)]})()
    with pytest.raises(ModelError, match=r"\(1, 1, 64, 96\)"):
        backend.run(1)


def test_without_onnx_runtime_the_extra_is_named(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=re.escape(install_command("onnxruntime"))):
        OnnxRuntimeBackend.load(models / "production.onnx")


def test_the_sha256_is_that_of_the_file(models: Path) -> None:
    import hashlib

    backend = OnnxRuntimeBackend.load(models / "production.onnx")
    assert backend.describe()["sha256"] == hashlib.sha256((models / "production.onnx").read_bytes()).hexdigest()


def test_the_input_is_not_copied_on_its_way_to_the_session(models: Path) -> None:
    backend = OnnxRuntimeBackend.load(models / "production.onnx")
    backend.reserve(3)
    assert backend.input.flags.c_contiguous
    assert backend.input[:2].flags.c_contiguous
    grown = backend.input
    backend.reserve(2)
    assert backend.input is grown
