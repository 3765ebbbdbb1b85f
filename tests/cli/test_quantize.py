"""`lineside quantize` as a user types it, and what `show` then says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.ranges.table import METHODS, HistogramSummary, RangesTable, TensorRange, network_sha256
from lineside.cli.main import main
from lineside.engine.inspector import Inspector
from lineside.errors import USER_ERROR
from lineside.graph.float_model import FloatModel
from lineside.manifest import ModelManifest
from lineside.spec import StripSpec

onnx = pytest.importorskip("onnx", reason="models are ONNX files")
pytest.importorskip("onnxruntime", reason="it casts to FP16")
torch = pytest.importorskip("torch", reason="PyTorch makes the network")

SPEC = StripSpec.of_size(64, 64, tile_px=64)
Write = Callable[..., Path]


def write_table(model: Path, path: Path, *, amax: float = 4.0) -> Path:
    """A table that gives every tensor the same range: enough for the command line."""
    network = FloatModel.read(model).network
    methods = dict.fromkeys(METHODS, amax)
    same = TensorRange(
        low=-amax,
        high=amax,
        amax=methods,
        clipped=dict.fromkeys(METHODS, 0.0),
        histogram=HistogramSummary(limit=amax, zeros=0, counts=(1,)),
    )
    RangesTable(
        model=model.name,
        network_sha256=network_sha256(network),
        weights_sha256="0" * 64,
        spec=SPEC,
        method="minmax",
        percentile=99.99,
        seed=0,
        tensors=dict.fromkeys(network.activations, same),
        patches=(),
        images={},
    ).write(path)
    return path


@pytest.fixture(scope="module")
def write() -> Write:
    from lineside.export.graph import ExportOptions, onnx_model
    from lineside.train.unet import UNet

    def model(path: Path, *, seed: int = 0, **options: Any) -> Path:
        torch.manual_seed(seed)
        form = ExportOptions(**options)
        manifest = ModelManifest(
            spec=SPEC, tiling=form.tiling, io=form.io, base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
        )
        onnx.save(onnx_model(UNet(2).eval(), manifest, form), str(path))
        return path

    return model


@pytest.fixture
def folder(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds strip.onnx and strip.ranges.json, and is where we are."""
    write_table(write(tmp_path / "strip.onnx"), tmp_path / "strip.ranges.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
def test_an_int8_file_is_written_and_runs(folder: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", "strip.onnx", "strip.ranges.json", "--target", target, "--out", "int8.onnx"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "26 of 28 convolutions" in printed
    with Inspector.load(folder / "int8.onnx") as inspector:
        assert 0 <= inspector.inspect(np.zeros((3, 64, 64), np.float32)).score <= 1


def test_an_fp16_file_needs_no_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", "strip.onnx", "--precision", "fp16", "--out", "fp16.onnx", "--keep", "logits"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "27 of 28 convolutions" in printed
    assert "logits is fp32" in printed
    assert "asked for" in printed


def test_a_table_tells_fp16_which_layers_to_keep(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(write_table(folder / "strip.onnx", folder / "large.ranges.json", amax=1e4))
    assert main(["quantize", "strip.onnx", table, "--precision", "fp16", "--out", "fp16.onnx"]) == 0
    assert "reached 1e+04" in " ".join(capsys.readouterr().out.split())


def test_the_result_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["quantize", "strip.onnx", "strip.ranges.json", "--target", "tensorrt", "--rest", "fp32", "--keep", "logits"]
    assert main([*words, "--keep", "encoder.1.convs.0.conv", "--quantize-first-and-last", "--out", "int8.onnx", "--json", "-"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["manifest"]["precision"] == "int8"
    layers = {layer["name"]: layer for layer in value["executed"]["layers"]}
    assert {name for name, layer in layers.items() if layer["precision"] != "int8"} == {"logits", "encoder.1.convs.0.conv"}
    assert layers["logits"]["precision"] == "fp32"
    assert sum(value["executed"]["shares"].values()) == pytest.approx(1)


def test_show_says_how_a_file_will_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", "strip.onnx", "strip.ranges.json", "--target", "tensorrt", "--out", "int8.onnx"]) == 0
    capsys.readouterr()
    assert main(["show", "int8.onnx"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "How it will run" in printed
    assert "TensorRT" in printed
    assert "26 of 28 convolutions" in printed
    assert "logits is fp16" in printed
    assert main(["show", "int8.onnx", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["executed"]["target"] == "tensorrt"
    assert main(["show", "strip.onnx"]) == 0
    assert "How it will run" not in capsys.readouterr().out, "all of a float32 file runs alike"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["strip.onnx", "--target", "tensorrt"], "no table of ranges"),
        (["strip.onnx", "strip.ranges.json"], "no --target"),
        (["nothing.onnx", "strip.ranges.json", "--target", "tensorrt"], "nothing.onnx: no such file"),
        (["strip.onnx", "nothing.json", "--target", "tensorrt"], "nothing.json: no such file"),
        (["strip.ranges.json", "strip.ranges.json", "--target", "tensorrt"], "not an ONNX file"),
        (["strip.onnx", "strip.onnx", "--target", "tensorrt"], "not a table of ranges"),
        (["strip.onnx", "strip.ranges.json", "--target", "tensorrt", "--keep", "encoder"], "no layer encoder"),
        (["strip.onnx", "strip.ranges.json", "--target", "vulkan"], "vulkan"),
        (["strip.onnx", "--precision", "fp16", "--target", "tensorrt"], "an option of INT8"),
        (["old.onnx", "strip.ranges.json", "--target", "tensorrt"], "--opset 18"),
        (["other.onnx", "strip.ranges.json", "--target", "tensorrt"], "of another model"),
        (["done.onnx", "strip.ranges.json", "--target", "tensorrt"], "int8 already"),
        (["half.onnx", "--precision", "fp16"], "fp16 already"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    folder: Path, write: Write, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] == "old.onnx":
        write(folder / "old.onnx", opset=12)
    if words[0] == "other.onnx":
        write(folder / "other.onnx", seed=1)
    if words[0] == "done.onnx":
        assert main(["quantize", "strip.onnx", "strip.ranges.json", "--target", "tensorrt", "--out", "done.onnx"]) == 0
    if words[0] == "half.onnx":
        assert main(["quantize", "strip.onnx", "--precision", "fp16", "--out", "half.onnx"]) == 0
    before = sorted(folder.iterdir())
    assert main(["quantize", *words, "--out", "out.onnx"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert sorted(folder.iterdir()) == before


def test_an_existing_file_is_kept_without_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "int8.onnx").write_bytes(b"mine")
    words = ["quantize", "strip.onnx", "strip.ranges.json", "--target", "tensorrt", "--out", "int8.onnx"]
    assert main(words) == 2
    assert "already exists" in capsys.readouterr().err
    assert (folder / "int8.onnx").read_bytes() == b"mine"
    assert main([*words, "--force"]) == 0
    assert len((folder / "int8.onnx").read_bytes()) > 4


def test_a_table_of_ranges_is_shown_with_all_its_tensors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "strip.ranges.json"]) == 0
    said = capsys.readouterr().out
    for name in RangesTable.read(folder / "strip.ranges.json").tensors:
        assert name in said
    assert main(["show", "strip.ranges.json", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "lineside ranges"


def test_another_json_file_is_no_table_of_ranges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    assert main(["show", str(tmp_path / "metrics.json")]) == 2
    assert "not a table of ranges" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "cpu"), [([], "any"), (["--cpu", "any"], "any"), (["--cpu", "vnni"], "vnni")])
def test_a_file_says_for_which_cpus_it_is_and_is_doubted_on_others(
    folder: Path,
    words: list[str],
    cpu: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    from lineside.engine.inspector import Inspector

    assert (
        main(["quantize", "strip.onnx", "strip.ranges.json", "--target", "onnxruntime", "--out", "int8.onnx", *words, "--json", "-"]) == 0
    )
    written = json.loads(capsys.readouterr().out)
    assert written["manifest"]["cpu"] == cpu
    assert bool(written["manifest"]["seven_bits"]) is (cpu == "any")
    assert main(["show", "int8.onnx"]) == 0
    assert ("those with VNNI alone" in capsys.readouterr().out) is (cpu == "vnni")
    for flags, warned in (("avx2", cpu == "vnni"), ("avx2 avx_vnni", False)):
        monkeypatch.setattr("lineside.engine.machine.cpuinfo", lambda root, flags=flags: {"flags": flags})
        caplog.clear()
        Inspector.load("int8.onnx").close()
        assert ("VNNI" in caplog.text) is warned
        assert main(["doctor"]) == 0
        assert ("no VNNI" in capsys.readouterr().out) is (flags == "avx2")


def test_a_file_for_tensorrt_takes_no_cpu(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["quantize", "strip.onnx", "strip.ranges.json", "--target", "tensorrt", "--cpu", "vnni", "--out", "int8.onnx"]
    assert main(words) == USER_ERROR
    assert "leave --cpu out" in capsys.readouterr().err
    assert not (folder / "int8.onnx").exists()
