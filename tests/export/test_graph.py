"""The exported graph against PyTorch and against an independent tile-and-stitch in numpy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lineside.errors import ConfigError, ModelError
from lineside.export.check import check, reference_heatmaps
from lineside.export.graph import ExportOptions, onnx_model
from lineside.graph import opsets
from lineside.manifest import ModelManifest
from lineside.spec import PRESETS, StripSpec
from lineside.train.unet import CONVOLUTIONS, UNet

TILINGS = ("batched", "unrolled", "full")
STRIP = PRESETS["strip"]
SMALL = StripSpec.of_size(100, 70, tile_px=64)
# float32 rounding of a network whose activations reach some tens, summed in another order
CLOSE = 1e-5


@pytest.fixture(scope="module")
def network(lively_network: UNet) -> UNet:
    return lively_network


def manifest(spec: StripSpec, **values: Any) -> ModelManifest:
    return ModelManifest(
        spec=spec, tiling="batched", io="production", base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64, **values
    )


def strips(spec: StripSpec, count: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.rint(np.random.default_rng(0).uniform(0, 255, (count, 3, spec.height_px, spec.width_px))).astype(np.float32)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def by_hand(network: UNet, strip: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The design's numbers written out: 18 tiles, their keep windows, softmax; (976, 176)."""
    heat = np.full((976, 176), np.nan, np.float32)
    tops = [0, 106, 212, 318, 424, 530, 636, 742, 848]
    for row, top in enumerate(tops):
        first, last = (0 if row == 0 else 11), (128 if row == 8 else 117)
        for left, keep_from, keep_to in ((0, 0, 88), (48, 40, 128)):
            tile = torch.from_numpy(strip[None, :, top : top + 128, left : left + 128] / np.float32(255))
            with torch.inference_mode():
                logits = network(tile)[0].double().numpy()
            probability = np.exp(logits[1]) / np.exp(logits).sum(axis=0)
            heat[top + first : top + last, left + keep_from : left + keep_to] = probability[first:last, keep_from:keep_to]
    return heat


@pytest.mark.parametrize("tiling", ["batched", "unrolled"])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_heatmap_is_what_a_stitcher_written_by_hand_makes(network: UNet, tiling: Any, batch: int) -> None:
    given = strips(STRIP, batch)
    output = session(onnx_model(network, manifest(STRIP), ExportOptions(tiling=tiling))).run(None, {"input": given / np.float32(255)})[0]
    expected = np.stack([by_hand(network, strip) for strip in given])
    assert np.ptp(expected) > 0.5, "a flat heatmap would prove nothing"
    np.testing.assert_allclose(output[:, 0], expected, atol=CLOSE)
    assert not output[:, 1:].any()


def test_batched_equals_unrolled(network: UNet) -> None:
    given = {"input": strips(STRIP, 2) / np.float32(255)}
    batched, unrolled = (
        session(onnx_model(network, manifest(STRIP), ExportOptions(tiling=tiling))).run(None, given)[0]
        for tiling in ("batched", "unrolled")
    )
    np.testing.assert_allclose(batched, unrolled, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tiling", TILINGS)
def test_each_row_of_a_batch_equals_its_own_run(network: UNet, tiling: Any) -> None:
    model = session(onnx_model(network, manifest(SMALL), ExportOptions(tiling=tiling)))
    given = strips(SMALL, 5) / np.float32(255)
    together = model.run(None, {"input": given})[0]
    for row, one in zip(together, given, strict=True):
        np.testing.assert_allclose(row, model.run(None, {"input": one[None]})[0][0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("opset", range(opsets.OLDEST, opsets.NEWEST + 1))
@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize(("io", "raw_dtype"), [("production", "float32"), ("raw", "float32"), ("raw", "uint8")])
def test_every_form_and_opset_passes_the_check(network: UNet, tmp_path: Path, tiling: Any, io: Any, raw_dtype: Any, opset: int) -> None:
    options = ExportOptions(tiling=tiling, io=io, opset=opset, raw_dtype=raw_dtype)
    model = onnx_model(network, manifest(SMALL), options)
    assert [entry.version for entry in model.opset_import] == [opset]
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    report = check(path, network, SMALL, options, strips(SMALL, 2))
    assert report.max_difference < CLOSE
    assert report.max_score > 0.5


def test_the_network_stands_in_a_batched_graph_once(network: UNet) -> None:
    counts = {
        tiling: Counter(node.op_type for node in onnx_model(network, manifest(STRIP), ExportOptions(tiling=tiling)).graph.node)
        for tiling in TILINGS
    }
    assert counts["batched"]["Conv"] == counts["full"]["Conv"] == CONVOLUTIONS == 28
    assert counts["unrolled"]["Conv"] == 18 * 28
    assert not any(count["Shape"] or count["BatchNormalization"] for count in counts.values())


def test_the_networks_tensors_have_the_same_names_in_every_form(network: UNet) -> None:
    """Calibration keeps one table for all of them."""
    names = []
    for tiling in TILINGS:
        for io in ("production", "raw"):
            graph = onnx_model(network, manifest(SMALL), ExportOptions(tiling=tiling, io=io)).graph  # type: ignore[arg-type]
            names.append({node.output[0].split("@")[0] for node in graph.node if node.op_type in ("Conv", "Relu", "MaxPool", "Resize")})
    assert len(names[0]) == 28 + 27 + 5 + 5
    assert all(one == names[0] for one in names)


def test_the_copies_of_an_unrolled_network_share_its_weights(network: UNet) -> None:
    sizes = {
        tiling: onnx_model(network, manifest(STRIP), ExportOptions(tiling=tiling)).graph.initializer for tiling in ("batched", "unrolled")
    }
    weights = {tiling: {tensor.name for tensor in tensors if tensor.name.endswith("weight")} for tiling, tensors in sizes.items()}
    assert weights["batched"] == weights["unrolled"]


def test_names_types_and_shapes_are_what_existing_callers_send(network: UNet) -> None:
    one = session(onnx_model(network, manifest(STRIP), ExportOptions()))
    assert [(value.name, value.type, value.shape) for value in (*one.get_inputs(), *one.get_outputs())] == [
        ("input", "tensor(float)", ["N", 3, 976, 176]),
        ("output", "tensor(float)", ["N", 3, 976, 176]),
    ]
    raw = session(onnx_model(network, manifest(STRIP), ExportOptions(io="raw", raw_dtype="uint8", batch=2)))
    assert [(value.name, value.type, value.shape) for value in (*raw.get_inputs(), *raw.get_outputs())] == [
        ("strip", "tensor(uint8)", [2, 4, 976, 176]),
        ("heatmap", "tensor(float)", [2, 1, 976, 176]),
        ("score", "tensor(float)", [2]),
    ]


def test_raw_ignores_the_mask_channel_and_gives_the_maximum(network: UNet) -> None:
    model = session(onnx_model(network, manifest(SMALL), ExportOptions(io="raw")))
    given = np.concatenate([strips(SMALL, 2), np.full((2, 1, 100, 70), 255, np.float32)], axis=1)
    heatmap, score = model.run(None, {"strip": given})
    given[:, 3] = 0
    np.testing.assert_array_equal(model.run(None, {"strip": given})[0], heatmap)
    np.testing.assert_array_equal(score, heatmap.reshape(2, -1).max(axis=1))


def test_the_metadata_comes_back_as_it_went_in(network: UNet) -> None:
    written = manifest(STRIP, threshold=0.1 + 0.2, threshold_rule="zero false alarms on valid")
    properties = session(onnx_model(network, written, ExportOptions())).get_modelmeta().custom_metadata_map
    assert ModelManifest.from_properties(properties, path=Path("x")) == written


def test_the_same_network_gives_the_same_bytes(network: UNet) -> None:
    first, second = (onnx_model(network, manifest(SMALL), ExportOptions()).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_the_file_format_is_old_enough_for_old_callers(network: UNet) -> None:
    # ONNX Runtime 1.3 (2020) was the first with opset 12 and read format 7
    assert onnx_model(network, manifest(SMALL), ExportOptions(opset=11)).ir_version <= 6


@pytest.mark.parametrize("tiling", TILINGS)
def test_the_check_finds_a_changed_weight(network: UNet, tmp_path: Path, tiling: Any) -> None:
    options = ExportOptions(tiling=tiling)
    model = onnx_model(network, manifest(SMALL), options)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "logits.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32([0, 0.01]), "logits.bias"))
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match="differs from PyTorch's by"):
        check(path, network, SMALL, options, strips(SMALL))


def test_the_check_finds_a_tile_that_is_one_pixel_off(network: UNet, tmp_path: Path) -> None:
    model = onnx_model(network, manifest(SMALL), ExportOptions())
    node = next(node for node in model.graph.node if node.op_type == "Slice" and node.input[0] == "input")
    node.input[1] = "moved"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 0]), "moved"))
    node.input[2] = "stop"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([65, 64]), "stop"))
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match="row"):
        check(path, network, SMALL, ExportOptions(), strips(SMALL))


def test_the_check_finds_values_in_the_zero_channels(network: UNet, tmp_path: Path) -> None:
    model = onnx_model(network, manifest(SMALL), ExportOptions())
    pad = next(node for node in model.graph.node if node.op_type == "Pad")
    pad.input.append("seven")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(7, np.float32), "seven"))
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match="zeros belong"):
        check(path, network, SMALL, ExportOptions(), strips(SMALL))


def test_a_full_pass_differs_from_tiles(network: UNet) -> None:
    given = strips(STRIP)
    tiled, full = (reference_heatmaps(network, STRIP, tiling, given) for tiling in ("batched", "full"))
    assert tiled.shape == full.shape == (1, 1, 976, 176)
    assert np.abs(tiled - full).max() > 1e-3


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"tiling": "diagonal"}, "batched"),
        ({"io": "both"}, "raw"),
        ({"opset": 10}, "11 to 23"),
        ({"opset": 99}, "11 to 23"),
        ({"batch": 0}, "one strip"),
        ({"raw_dtype": "uint8"}, "--io raw"),
    ],
)
def test_options_that_cannot_be_are_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        ExportOptions(**values)


@pytest.mark.parametrize("opset", [opsets.OLDEST, 18])
@pytest.mark.parametrize("tiling", TILINGS)
def test_openvino_gives_the_same_heatmaps(network: UNet, tmp_path: Path, tiling: Any, opset: int) -> None:
    """A consumer that is not ours and knows only `input` -> `output`."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed: it is one of the other consumers")
    model = onnx_model(network, manifest(SMALL), ExportOptions(tiling=tiling, opset=opset))
    onnx.save(model, str(tmp_path / "model.onnx"))
    given = strips(SMALL, 2) / np.float32(255)
    compiled = openvino.Core().compile_model(str(tmp_path / "model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    # OpenVINO's convolutions sum in another order than ONNX Runtime's
    np.testing.assert_allclose(compiled([given])[0], session(model).run(None, {"input": given})[0], rtol=0, atol=1e-4)
