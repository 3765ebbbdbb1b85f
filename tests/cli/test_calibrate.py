"""`lineside calibrate`, through the program itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from lineside.cli.main import main
from lineside.dataset import DATASET_FILE
from lineside.spec import StripSpec

SMALL = StripSpec.of_size(100, 70, tile_px=64)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of one channel's width, as it is before training."""
    torch = pytest.importorskip("torch", reason="PyTorch makes the network")
    onnx = pytest.importorskip("onnx", reason="ONNX files are read and written with it")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the network")
    from lineside.export.graph import ExportOptions, onnx_model
    from lineside.manifest import ModelManifest
    from lineside.train.unet import UNet

    torch.manual_seed(0)
    manifest = ModelManifest(
        spec=SMALL, tiling="batched", io="production", base_channels=1, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
    )
    path = tmp_path_factory.mktemp("model") / "strip.onnx"
    onnx.save(onnx_model(UNet(1).eval(), manifest, ExportOptions()), str(path))
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "train" / "good").mkdir(parents=True)
    for index in range(3):
        strip = np.random.default_rng(index).integers(60, 200, (3, 100, 70)).astype(np.uint8)
        tifffile.imwrite(root / "train" / "good" / f"{index}.tif", strip, photometric="minisblack")
    (root / DATASET_FILE).write_text(json.dumps({"schema": 1, "spec": SMALL.to_json()}))
    return root


def calibrate(model: Path, dataset: Path, out: Path, *options: str) -> int:
    return main(["calibrate", str(model), str(dataset), "--out", str(out), "--patches", "6", *options])


def test_a_table_is_written_and_summed_up(model: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "strip.ranges.json"
    assert calibrate(model, dataset, out, "--method", "percentile", "--seed", "3", "--json", str(tmp_path / "result.json")) == 0
    shown = capsys.readouterr()
    assert "6 of 3 strips, 3 with defects, seed 3" in shown.out
    assert "lineside audit" in shown.out
    assert "calibrate" in shown.err, "the progress bar"
    table = json.loads(out.read_text())
    assert (table["method"], table["seed"], table["model"]) == ("percentile", 3, "strip.onnx")
    assert json.loads((tmp_path / "result.json").read_text()) == {"path": str(out), **table}


def test_the_same_command_writes_the_same_file(model: Path, dataset: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.json", "b.json")]
    assert [calibrate(model, dataset, file) for file in files] == [0, 0]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_existing_table_is_refused_without_force(model: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "strip.ranges.json"
    out.write_text("mine")
    assert calibrate(model, dataset, out) == 2
    assert "already exists" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert calibrate(model, dataset, out, "--force", "--no-defects") == 0
    assert all(patch["defects"] is None for patch in json.loads(out.read_text())["patches"])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--patches", "0"], "--patches 256"),
        (["--patches", "1"], "--patches 2 at least"),
        (["--percentile", "0.9999"], "use 99.99"),
        (["--seed", "-1"], "--seed 0"),
        (["--method", "median"], "percentile"),
    ],
)
def test_options_that_cannot_be_leave_no_file(
    model: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    out = tmp_path / "strip.ranges.json"
    assert calibrate(model, dataset, out, *options) == 2
    assert named in capsys.readouterr().err
    assert not out.exists()


def edited(model: Path, out: Path, change: Any) -> Path:
    import onnx

    proto = onnx.load(str(model))
    change(proto)
    out.write_bytes(proto.SerializeToString())
    return out


def _quantise(proto: Any) -> None:
    node = proto.graph.node.add()
    node.op_type = "QuantizeLinear"


def _say_int8(proto: Any) -> None:
    next(entry for entry in proto.metadata_props if entry.key == "lineside.precision").value = "int8"


def _forget_metadata(proto: Any) -> None:
    del proto.metadata_props[:]


def _let_sides_vary(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"


def _rename(proto: Any) -> None:
    for node in proto.graph.node:
        node.name = ""
        node.output[:] = [f"{name}_7" if name == "logits" else name for name in node.output]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_quantise, "float32"),
        (_say_int8, "int8"),
        (_forget_metadata, "metadata"),
        (_let_sides_vary, "height and width"),
        (_rename, "no network of lineside"),
    ],
)
def test_a_model_that_ranges_cannot_be_measured_of_is_refused(
    model: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, named: str
) -> None:
    bad = edited(model, tmp_path / "bad.onnx", change)
    assert calibrate(bad, dataset, tmp_path / "strip.ranges.json") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "bad.onnx" in error
    assert named in error
    assert "lineside export" in error
    assert not (tmp_path / "strip.ranges.json").exists()


def test_a_file_that_is_no_model_is_refused(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.onnx").write_text("?")
    assert calibrate(tmp_path / "a.onnx", dataset, tmp_path / "t.json") == 2
    assert calibrate(tmp_path / "missing.onnx", dataset, tmp_path / "t.json") == 2
    error = capsys.readouterr().err
    assert "not an ONNX file" in error
    assert "missing.onnx: no such file" in error


def test_a_strip_of_another_size_is_named(model: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(dataset / "train" / "good" / "1.tif", np.zeros((3, 64, 64), np.uint8), photometric="minisblack")
    assert calibrate(model, dataset, tmp_path / "t.json") == 2
    assert "1.tif" in capsys.readouterr().err
