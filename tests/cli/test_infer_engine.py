"""Engines on the command line: as their ONNX files on the stand-in; without a GPU one message and exit code 2, or the named fallback."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile
from lineside_standin.install import Standin

from lineside.cli.main import main
from lineside.errors import USER_ERROR

MODEL = Path(__file__).parent.parent / "engine" / "models" / "production.onnx"


@pytest.fixture
def strip(tmp_path: Path) -> Path:
    path = tmp_path / "strips" / "000.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, np.full((3, 64, 96), 120, np.uint8), photometric="minisblack", planarconfig="separate")
    return path


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine, on a machine that certainly has no driver."""
    monkeypatch.setattr("lineside.engine.device.driver.LIBRARY", "libcuda.so.of.no.machine")
    path = tmp_path / "strip.engine"
    path.write_bytes(b"built elsewhere")
    return path


@pytest.mark.parametrize("command", ["infer", "evaluate"])
def test_without_a_gpu_an_engine_is_one_message_and_exit_code_2(
    engine: Path, strip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    arguments = [command, str(engine), str(strip if command == "infer" else strip.parent), "--out", str(tmp_path / "out")]
    assert main(arguments) == USER_ERROR
    shown = capsys.readouterr()
    assert shown.err.count("error:") == 1
    assert "no NVIDIA driver on this machine" in shown.err
    assert not (tmp_path / "out").exists()


def test_a_named_fallback_inspects_and_the_table_says_in_place_of_what(
    engine: Path, strip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["infer", str(engine), str(strip), "--out", str(tmp_path / "out"), "--fallback", str(MODEL)]) == 0
    shown = capsys.readouterr().out
    assert "in place of" in shown
    assert "no NVIDIA driver" in shown
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["OK"]


def test_an_unknown_cuda_backend_is_refused_with_the_known_ones(
    engine: Path, strip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", str(engine), str(strip), "--out", str(tmp_path / "out"), "--cuda-backend", "opencl"]) == USER_ERROR
    assert "auto, cuda-python, pycuda" in capsys.readouterr().err


def test_an_engine_inspects_what_its_onnx_file_inspects(
    standin: Standin, strip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    engine = tmp_path / "strip.engine"
    assert main(["build", str(MODEL), "--out", str(engine), "--batch", "1,4"]) == 0
    tables = {}
    for name, model in (("engine", engine), ("onnx", MODEL)):
        assert main(["infer", str(model), str(strip), "--out", str(tmp_path / name)]) == 0
        with (tmp_path / name / "results.csv").open(newline="") as file:
            tables[name] = [{key: value for key, value in row.items() if key != "latency_ms"} for row in csv.DictReader(file)]
    assert tables["engine"] == tables["onnx"]
    assert "Stand-in GPU, TensorRT 10.3.0, cuda-python, CUDA graph on" in capsys.readouterr().out
    assert standin.living() == {}
