"""`lineside audit`, through the program itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lineside.cli.main import main
from lineside.dataset import DATASET_FILE
from lineside.spec import StripSpec

SMALL = StripSpec.of_size(100, 70, tile_px=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """strip.onnx, a data set, and tables of it made with defects (a.json) and without (clean.json)."""
    torch = pytest.importorskip("torch", reason="PyTorch makes the network")
    onnx = pytest.importorskip("onnx", reason="ONNX files are read and written with it")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the network")
    from lineside.export.graph import ExportOptions, onnx_model
    from lineside.manifest import ModelManifest
    from lineside.train.unet import UNet

    root = tmp_path_factory.mktemp("audit")
    torch.manual_seed(0)
    manifest = ModelManifest(
        spec=SMALL, tiling="batched", io="production", base_channels=1, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
    )
    onnx.save(onnx_model(UNet(1).eval(), manifest, ExportOptions()), str(root / "strip.onnx"))
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        (root / "data" / part / "good").mkdir(parents=True)
        for index in range(count):
            strip = np.tile(rng.normal(120, 6, (1, 100, 70)).round(), (3, 1, 1)).astype(np.uint8)
            tifffile.imwrite(root / "data" / part / "good" / f"{index}.tif", strip, photometric="minisblack")
    (root / "data" / DATASET_FILE).write_text(json.dumps({"schema": 1, "spec": SMALL.to_json()}))
    for name, options in (("a.json", []), ("clean.json", ["--no-defects"])):
        arguments = ["calibrate", str(root / "strip.onnx"), str(root / "data"), "--out", str(root / name), "--patches", "48", *options]
        assert main(arguments) == 0
    return root


def audit(folder: Path, table: str, *options: str) -> int:
    return main(["audit", str(folder / table), str(folder / "data"), "--tiles", "4", *options])


def test_a_fit_table_exits_with_0_and_leaves_a_page(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, result = tmp_path / "audit.html", tmp_path / "audit.json"
    assert audit(folder, "a.json", "--out", str(page), "--json", str(result)) == 0
    assert page.read_text().startswith("<!doctype html>")
    value = json.loads(result.read_text())
    assert (value["fit"], value["faults"], value["tiles"]["good"]) == (True, [], 4)
    out = capsys.readouterr().out
    assert "fit" in out
    assert "Unfit" not in out


def test_a_table_of_clean_patches_exits_with_3_and_lists_the_tensors(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(folder, "clean.json", "--out", str(tmp_path / "audit.html")) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "clean patches alone: 0 of 48 carry defects" in out
    assert "tiles" in out
    assert "lineside calibrate" in out
    assert "unfit" in (tmp_path / "audit.html").read_text()


def test_json_on_stdout_is_json_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(folder, "clean.json", "--json", "-") == 3
    assert json.loads(capsys.readouterr().out)["fit"] is False


def test_an_edited_table_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (folder / "a.json").read_text()
    (folder / "edited.json").write_text(text.replace('"seed": 0', '"seed": 1', 1))
    assert audit(folder, "edited.json") == 2
    assert "changed after it was made" in capsys.readouterr().err


def test_a_model_elsewhere_has_to_be_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = tmp_path / "a.json"
    moved.write_bytes((folder / "a.json").read_bytes())
    assert main(["audit", str(moved), str(folder / "data"), "--tiles", "4"]) == 2
    assert "--model strip.onnx" in capsys.readouterr().err
    assert main(["audit", str(moved), str(folder / "data"), "--tiles", "4", "--model", str(folder / "strip.onnx")]) == 0


def test_a_page_that_exists_is_refused_without_force(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "audit.html"
    page.write_text("mine")
    assert audit(folder, "a.json", "--out", str(page)) == 2
    assert "already exists" in capsys.readouterr().err
    assert page.read_text() == "mine"
