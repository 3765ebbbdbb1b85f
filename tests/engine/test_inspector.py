"""What `Inspector.load` takes, and what ONNX Runtime alone does; the contract of all backends is in test_inspector_contract.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lineside import ConfigError, DeviceError, Inspector, ModelError, StripSpec

HeatOf = Callable[[NDArray[Any]], NDArray[np.float32]]
FORMS = ["production", "raw", "raw_float"]
MODEL_THRESHOLD = 0.25


def test_describe_says_what_really_runs(models: Path, small: StripSpec) -> None:
    with Inspector.load(models / "production.onnx", threads=2, threshold=0.7) as inspector:
        facts = inspector.describe()
        assert inspector.spec == small
        assert inspector.manifest is not None
    assert facts["providers"] == ["CPUExecutionProvider"]
    assert (facts["threads"], facts["threshold"], facts["batch"]) == (2, 0.7, None)
    assert facts["manifest"]["threshold"] == MODEL_THRESHOLD
    assert facts["path"].endswith("production.onnx")


@pytest.mark.parametrize("name", ["best.pt", "strip.txt"])
def test_other_files_than_onnx_and_engines_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"\.onnx\) and TensorRT engines"):
        Inspector.load(tmp_path / name)


@pytest.mark.parametrize("name", ["strip.engine", "strip.plan", "STRIP.ENGINE"])
def test_an_engine_without_a_driver_is_a_device_error_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("lineside.engine.device.driver.LIBRARY", "libcuda.so.of.no.machine")
    (tmp_path / name).write_bytes(b"not even an engine")
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        Inspector.load(tmp_path / name)


def test_an_engine_that_is_not_there_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        Inspector.load(tmp_path / "strip.engine")


def test_options_of_engines_are_refused_for_onnx_files_and_the_other_way_round(models: Path, tmp_path: Path) -> None:
    for options in ({"cuda_backend": "pycuda"}, {"device": 1}, {"debug": True}):
        with pytest.raises(ConfigError, match="other kind of model"):
            Inspector.load(models / "production.onnx", **options)
    for options in ({"providers": ["cpu"]}, {"threads": 2}):
        with pytest.raises(ConfigError, match="other kind of model"):
            Inspector.load(tmp_path / "strip.engine", **options)


def test_a_fallback_inspects_in_place_of_an_engine_and_says_so_everywhere(
    models: Path, tmp_path: Path, strip: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lineside.engine.device.driver.LIBRARY", "libcuda.so.of.no.machine")
    engine = tmp_path / "strip.engine"
    engine.write_bytes(b"of another machine")
    with Inspector.load(engine, fallback=models / "production.onnx", threads=1) as inspector:
        result = inspector.inspect(strip)
        with inspector.clone() as clone:
            assert clone.inspect(strip).backend == "onnxruntime-cpu (fallback)"
    assert result.backend == "onnxruntime-cpu (fallback)"
    assert inspector.describe()["fallback"] == {
        "engine": str(engine),
        "why": "no NVIDIA driver on this machine (libcuda.so.of.no.machine is not there)",
    }
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "in place of" in caplog.text


def test_without_a_fallback_none_is_named(models: Path) -> None:
    with Inspector.load(models / "production.onnx") as inspector:
        assert inspector.describe()["fallback"] is None


def test_closing_ends_the_models_threads(models: Path, strip: NDArray[np.uint8]) -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    Inspector.load(models / "production.onnx", threads=1).close()  # ONNX Runtime's own, at its first session
    before = threads()
    with Inspector.load(models / "production.onnx", threads=4) as inspector:
        inspector.inspect(strip)
        assert threads() == before + 3  # the caller's is the fourth
    assert threads() == before
