"""`lineside sensitivity` and `lineside quantize --auto`, through the program."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import lineside.cli.main as program
from lineside.manifest import ModelManifest
from lineside.spec import StripSpec

SPEC = StripSpec.of_size(64, 64, tile_px=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its table of ranges and a data set with two labelled strips."""
    torch = pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    from lineside.export.graph import ExportOptions, onnx_model
    from lineside.train.unet import UNet

    root = tmp_path_factory.mktemp("sensitivity")
    rng = np.random.default_rng(0)
    for kind, part in (("good", "train"), ("good", "test"), ("spot", "test")):
        path = root / "data" / part / kind / "0.tif"
        path.parent.mkdir(parents=True)
        tifffile.imwrite(path, rng.integers(0, 255, (3, 64, 64), np.uint8), photometric="minisblack")
    mask = root / "data/ground_truth/spot/0.png"
    mask.parent.mkdir(parents=True)
    Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(mask)
    torch.manual_seed(0)
    manifest = ModelManifest(
        spec=SPEC, tiling="batched", io="production", base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
    )
    onnx.save(onnx_model(UNet(2).eval(), manifest, ExportOptions()), str(root / "strip.onnx"))
    data = ["calibrate", str(root / "strip.onnx"), str(root / "data"), "--out", str(root / "ranges.json"), "--patches", "8"]
    assert program.main([*data, "--json", str(root / "calibrated.json")]) == 0
    return root


def run(folder: Path, command: str, *options: str) -> int:
    return program.main([command, str(folder / "strip.onnx"), str(folder / "ranges.json"), *options])


def test_the_folder_holds_a_table_and_a_picture(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert run(folder, "sensitivity", str(folder / "data"), "--out", str(tmp_path / "out"), "--tiles", "2") == 0
    value = json.loads((tmp_path / "out/sensitivity.json").read_text())
    assert (value["target"], len(value["layers"]), value["dataset"]) == ("tensorrt", 28, str(folder / "data"))
    with Image.open(tmp_path / "out/sensitivity.png") as picture:
        assert picture.width > 800
    shown = capsys.readouterr().out
    assert all(layer["name"] in shown for layer in value["layers"])


def test_json_goes_to_stdout_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "sensitivity", str(folder / "data"), "--tiles", "2", "--alone", "--target", "onnxruntime", "--json", "-") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["target"], value["layers"][0]["without"]) == ("onnxruntime", None)


def test_a_table_that_is_none_is_the_users_mistake(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = program.main(["sensitivity", str(folder / "strip.onnx"), str(folder / "strip.onnx"), str(folder / "data")])
    assert code == 2
    assert "not a table of ranges" in capsys.readouterr().err


def test_auto_writes_the_model_and_the_path_it_took(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "strip.int8.onnx"
    assert run(folder, "quantize", "--out", str(out), "--target", "onnxruntime", "--auto", str(folder / "data")) == 0
    assert out.is_file()
    assert json.loads((tmp_path / "strip.int8.auto.json").read_text())["answer"] == "int8"
    assert "every layer that may be" in capsys.readouterr().out


def test_ship_fp16_is_exit_code_3(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import lineside.calibration.judge.auto as auto

    choose = auto.choose_layers

    def fp16(*given: Any, **options: Any) -> auto.AutoResult:
        result = choose(*given, **options)
        return replace(result, steps=(replace(result.steps[0], what="FP16", int8_share=0.0),))

    monkeypatch.setattr(auto, "choose_layers", fp16)
    out = tmp_path / "strip.int8.onnx"
    assert run(folder, "quantize", "--out", str(out), "--target", "onnxruntime", "--auto", str(folder / "data")) == 3
    assert not out.exists()
    assert json.loads((tmp_path / "strip.int8.auto.json").read_text())["answer"] == "fp16"
    assert "ship FP16: lineside quantize" in capsys.readouterr().out
