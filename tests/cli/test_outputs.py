"""No command writes over what it reads, or among the strips of a data set: --force or not, links followed."""

from __future__ import annotations

import inspect
import os
import typing
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lineside.cli._outputs import WRITTEN
from lineside.cli.main import app, main
from lineside.errors import USER_ERROR

MODEL = Path(__file__).parents[1] / "engine" / "models" / "production.onnx"
READ = ("model", "models", "checkpoint", "file", "onnx", "ranges", "candidate", "reference", "fallback", "golden", "against", "texture")
COMMANDS = {command.callback.__wrapped__.__name__: command.callback for command in app.registered_commands if command.callback}  # type: ignore[attr-defined]
OVER = {
    "export CHECKPOINT": "export A --out A",
    "quantize over its model": "quantize A B --target tensorrt --out A",
    "quantize over its table": "quantize A B --target tensorrt --out B",
    "fp16 over its model": "quantize A --precision fp16 --out A",
    "quantize over its model with the report": "quantize A B --target tensorrt --out C --json A",
    "calibrate": "calibrate A DATA --out A",
    "audit over its table": "audit B DATA --out B",
    "audit over its model": "audit B DATA --model A --out A",
    "build": "build A --out A",
    "build with its cache": "build A --out C.engine --timing-cache A",
    "tune": "tune A DATA --out A",
    "show": "show A --json A",
    "bench": "bench A --json A",
    "bench over its baseline": "bench A --against B --json B",
    "synth": "synth NEW --texture B --json B",
    "qualify": "qualify A --reference B --dataset DATA --report NEW --json B",
    "infer": "infer A DATA/test --out NEW --json A",
    "infer with a fallback": "infer A DATA/test --out NEW --fallback B --json B",
    "two outputs": "export A --out C --json C",
    "the sidecar": "build A.engine.json --out A.engine",
}
AMONG_STRIPS = {
    "evaluate": "evaluate A DATA --out DATA/train/good",
    "evaluate below": "evaluate A DATA --out DATA/test/spot/results",
    "infer": "infer A DATA/test/good --out DATA/test/good/results",
    "qualify": "qualify A --reference B --dataset DATA --report DATA/valid/report",
    "export": "export A --out DATA/train/good/strip.onnx",
    "bench": "bench A --report DATA/ground_truth",
    "train": "train DATA --out DATA/train",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds A (an ONNX file), B, A.engine.json and a data set, and is where we are."""
    (tmp_path / "A").write_bytes(MODEL.read_bytes())
    (tmp_path / "B").write_text("a table")
    (tmp_path / "A.engine.json").write_text("an odd name for an ONNX file")
    for folder in ("train/good", "test/good", "test/spot", "valid/good"):
        (tmp_path / "DATA" / folder).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "DATA" / folder / "0.tif", np.zeros((3, 64, 96), np.uint8), photometric="minisblack")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("words", OVER.values(), ids=list(OVER))
def test_what_a_command_reads_is_never_written_over(words: str, force: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(place)
    assert main([*words.split(), *force]) == USER_ERROR
    said = capsys.readouterr().err
    assert "which this command reads" in said or "are both" in said
    assert "fix: name" in said
    assert content(place) == before


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_are_followed(link: typing.Callable[[str, str], None], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link("A", "other")
    assert main(["export", "A", "--out", "other", "--force"]) == USER_ERROR
    assert "which this command reads" in capsys.readouterr().err
    assert (place / "A").read_bytes() == MODEL.read_bytes()


@pytest.mark.parametrize("words", AMONG_STRIPS.values(), ids=list(AMONG_STRIPS))
def test_nothing_is_written_among_the_strips_of_a_data_set(words: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(place)
    assert main([*words.split(), "--force"]) == USER_ERROR
    assert "lies among the strips of the data set" in capsys.readouterr().err
    assert content(place) == before


def test_a_folder_that_is_only_called_test_is_no_part_of_a_data_set(place: Path) -> None:
    (place / "test").mkdir()
    assert main(["show", str(MODEL), "--json", "test/model.json"]) == 0
    assert (place / "test" / "model.json").is_file()


def test_a_texture_inside_the_folder_that_is_made_anew_is_kept(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "NEW").mkdir()
    (place / "NEW" / "texture.png").write_text("a picture")
    assert main(["synth", "NEW", "--texture", "NEW/texture.png", "--force"]) == USER_ERROR
    assert "the folder is written anew" in capsys.readouterr().err
    assert (place / "NEW" / "texture.png").is_file()


def test_strips_that_all_lie_in_the_output_folder_are_called_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", str(MODEL), "DATA/test", "--out", "DATA"]) == USER_ERROR
    assert "lie in the output folder DATA" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_path_of_a_command_is_known_as_read_or_written(name: str) -> None:
    hints = typing.get_type_hints(COMMANDS[name].__wrapped__)  # type: ignore[attr-defined]
    paths = {parameter for parameter in inspect.signature(COMMANDS[name]).parameters if "Path" in str(hints[parameter])}
    assert paths <= {*READ, *WRITTEN, "dataset", "auto", "paths", "strips"}
