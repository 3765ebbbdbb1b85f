"""Times of nodes go to the layer that they are of, in both runtimes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lineside.benchmarks.studies import layer_gap
from lineside.graph.float_model import FloatModel
from lineside.manifest import ModelManifest
from lineside.spec import StripSpec

onnx = pytest.importorskip("onnx", reason="models are ONNX files")
pytest.importorskip("onnxruntime", reason="it runs them")
pytest.importorskip("openvino", reason="it runs them too")
SPEC = StripSpec.of_size(64, 64, tile_px=64)


@pytest.fixture
def model(lively_network: Any, tmp_path: Path) -> Path:
    from lineside.export.graph import ExportOptions, onnx_model

    manifest = ModelManifest(
        spec=SPEC, tiling="full", io="production", base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
    )
    path = tmp_path / "strip.onnx"
    onnx.save(onnx_model(lively_network, manifest, ExportOptions(tiling="full")), str(path))
    return path


def test_a_joined_node_belongs_to_the_layer_that_its_name_begins_like() -> None:
    times_ms = {
        "a.1.conv_nchwc Conv": 1.0,
        "a.10.conv.quantized QLinearConv": 2.0,
        "a.1.relu@3 jit_avx512": 4.0,
        "full_image.softmax Softmax": 8.0,
    }
    assert layer_gap.by_layer(times_ms, ["a.1.conv", "a.10.conv"]) == {"a.1.conv": 5.0, "a.10.conv": 2.0, layer_gap.AROUND: 8.0}


def test_every_convolution_gets_its_time_in_both_runtimes(model: Path) -> None:
    source = FloatModel.read(model)
    feed, layers = layer_gap.feed_of(source), source.network.convolutions
    for times_ms in (layer_gap.layers_in_onnxruntime(model, feed, 1), layer_gap.layers_in_openvino(model, feed, 1)):
        found = layer_gap.by_layer(times_ms, layers)
        assert min(found[name] for name in layers) > 0
        assert sum(found.values()) == pytest.approx(sum(times_ms.values()))


def test_the_program_measures_every_file_in_both_and_every_setting(model: Path, tmp_path: Path) -> None:
    import typer

    program = typer.Typer()
    program.command()(layer_gap.main)
    out = tmp_path / "gap.json"
    answer = CliRunner().invoke(program, [str(model), "--float", str(model), "--seconds", "0.5", "--json", str(out)])
    assert answer.exit_code == 0, answer.output
    names = [row["name"] for row in json.loads(out.read_text())["rows"]]
    assert len(names) == len(layer_gap.SETTINGS) + 1
    assert names[-1] == "strip.onnx, OpenVINO"
