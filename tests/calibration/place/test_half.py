"""FP16 inside, float32 around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.place.half import half
from lineside.calibration.ranges.table import RangesTable
from lineside.errors import CalibrationError, ConfigError, ModelError
from lineside.graph.float_model import FloatModel
from lineside.manifest import ModelManifest

onnx = pytest.importorskip("onnx", reason="FP16 files are ONNX")
onnxruntime = pytest.importorskip("onnxruntime", reason="it casts and runs them")

TILINGS = ("batched", "unrolled", "full")
FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
# logits of up to 8 are rounded by 1/512 in FP16; with slope 1/4 and the roundings of 27 layers before: some thousandths
CLOSE = 1e-2

Write = Callable[..., Path]


def run(model: Any, given: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: given})


def pixels(count: int = 2, channels: int = 3) -> Any:
    return np.random.default_rng(0).uniform(0, 1, (count, channels, 100, 70)).astype(np.float32)


def types(model: Any) -> dict[str, int]:
    graph = model.graph
    known = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)}
    return known | {tensor.name: tensor.data_type for tensor in graph.initializer}


def manifest(model: Any) -> ModelManifest:
    found = ModelManifest.from_properties({entry.key: entry.value for entry in model.metadata_props}, path=Path("x"))
    assert found is not None
    return found


@pytest.mark.parametrize("opset", [11, 13, 18, 23])
@pytest.mark.parametrize("tiling", TILINGS)
def test_the_heatmap_is_that_of_the_float_model(write_model: Write, tmp_path: Path, tiling: str, opset: int) -> None:
    model = onnx.load(write_model(tmp_path / "m.onnx", tiling=tiling, opset=opset))
    halved = half(model, path=Path("m.onnx"))
    onnx.checker.check_model(halved, full_check=True)
    found, expected = run(halved, pixels())[0], run(model, pixels())[0]
    assert np.ptp(expected[:, 0]) > 0.5, "a flat heatmap would prove nothing"
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)
    assert not np.array_equal(found, expected), "nothing was rounded: the network is not in FP16"


@pytest.mark.parametrize("tiling", TILINGS)
def test_a_raw_model_still_gives_the_maximum_of_its_heatmap(write_model: Write, tmp_path: Path, tiling: str) -> None:
    model = onnx.load(write_model(tmp_path / "m.onnx", tiling=tiling, io="raw", raw_dtype="uint8"))
    given = np.rint(pixels(2, 4) * 255).astype(np.uint8)
    heatmap, score = run(half(model, path=Path("m.onnx")), given)
    np.testing.assert_array_equal(score, heatmap.reshape(2, -1).max(axis=1))
    np.testing.assert_allclose(heatmap, run(model, given)[0], rtol=0, atol=CLOSE)


@pytest.mark.parametrize(("tiling", "copies"), [("batched", 1), ("full", 1), ("unrolled", 4)])
def test_each_copy_has_one_cast_in_and_one_cast_out(write_model: Write, tmp_path: Path, tiling: str, copies: int) -> None:
    halved = half(onnx.load(write_model(tmp_path / "m.onnx", tiling=tiling)), path=Path("m.onnx"))
    targets = Counter(node.attribute[0].i for node in halved.graph.node if node.op_type == "Cast")
    assert targets == {FLOAT16: copies, FLOAT: copies}


def test_the_network_is_half_and_all_around_it_is_float(write_model: Write, tmp_path: Path) -> None:
    model = onnx.load(write_model(tmp_path / "m.onnx"))
    halved = half(model, path=Path("m.onnx"))
    known = types(halved)
    for node in halved.graph.node:
        if node.op_type in ("Conv", "Relu", "MaxPool", "Resize"):
            assert known[node.output[0]] == FLOAT16, node.name
        if node.op_type == "Conv":
            assert {known[name] for name in node.input} == {FLOAT16}
        if node.op_type in ("Softmax", "Pad", "Slice"):
            assert known[node.input[0]] == known[node.output[0]] == FLOAT, node.name
    assert [value.SerializeToString() for value in (*halved.graph.input, *halved.graph.output)] == [
        value.SerializeToString() for value in (*model.graph.input, *model.graph.output)
    ]


def test_the_file_is_half_as_large(write_model: Write, tmp_path: Path) -> None:
    model = onnx.load(write_model(tmp_path / "m.onnx"))
    weights = [
        sum(len(tensor.raw_data) for tensor in graph.initializer if ".weight" in tensor.name)
        for graph in (half(model, path=Path("m.onnx")).graph, model.graph)
    ]
    assert weights[0] * 2 == weights[1]


def test_the_float_model_is_not_changed(write_model: Write, tmp_path: Path) -> None:
    model = onnx.load(write_model(tmp_path / "m.onnx"))
    before = model.SerializeToString(deterministic=True)
    half(model, path=Path("m.onnx"))
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize(
    ("keep", "casts"),
    [
        # the cast that was in front of it is behind it
        (["encoder.0.convs.0.conv"], 2),
        (["logits"], 2),
        (["encoder.0.convs.0.conv", "encoder.0.convs.1.conv"], 2),  # to the pooling and to the concatenation: one cast for both
        (["decoder.2.reduce.conv", "decoder.2.merge.0.conv"], 5),
    ],
)
def test_kept_layers_are_float_and_nothing_goes_through_half_between_them(
    write_model: Write, tmp_path: Path, tiling: str, opset: int, keep: list[str], casts: int
) -> None:
    model = onnx.load(write_model(tmp_path / "m.onnx", tiling=tiling, opset=opset))
    halved = half(model, path=Path("m.onnx"), keep=keep)
    onnx.checker.check_model(halved, full_check=True)
    known = types(halved)
    for node in halved.graph.node:
        if node.op_type == "Conv":
            kept = node.name.split("@")[0] in keep
            assert {known[name] for name in (*node.input, *node.output)} == {FLOAT if kept else FLOAT16}, node.name
    copies = 4 if tiling == "unrolled" else 1
    assert sum(node.op_type == "Cast" for node in halved.graph.node) == casts * copies
    np.testing.assert_allclose(run(halved, pixels())[0], run(model, pixels())[0], rtol=0, atol=CLOSE)
    assert manifest(halved).kept == dict.fromkeys(keep, "asked for")


def test_a_model_that_is_kept_whole_computes_what_it_computed(write_model: Write, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    halved = half(model, path=path, keep=FloatModel.read(path).network.convolutions)
    np.testing.assert_array_equal(run(halved, pixels())[0], run(model, pixels())[0])


def test_layers_that_come_near_the_largest_half_stay_float(
    write_model: Write, ranges_of: Callable[..., RangesTable], tmp_path: Path
) -> None:
    """65504 / 8 = 8188: the layers that make the tensor, and the one that reads it."""
    path = write_model(tmp_path / "m.onnx")
    opened = FloatModel.read(path)
    near = ranges_of(opened.network, decoder_2_merge_0_relu=8200.0)
    kept = manifest(half(opened.network.model, path=path, table=near)).kept
    assert list(kept) == ["decoder.2.merge.0.conv", "decoder.2.merge.1.conv"]
    assert all("decoder.2.merge.0.relu reached 8200" in why and "65504" in why for why in kept.values())
    far = ranges_of(opened.network, decoder_2_merge_0_relu=8180.0)
    assert not manifest(half(opened.network.model, path=path, table=far)).kept


def test_values_beyond_the_largest_half_stay_finite_in_kept_layers(
    lively_network: Any, write_model: Write, ranges_of: Callable[..., RangesTable], tmp_path: Path
) -> None:
    """A skip connection of 100 000: pooled, concatenated, and scaled down again by those who read it."""
    import copy

    network = copy.deepcopy(lively_network)
    up, down = network.encoder[0].convs[1].norm, 1e-5
    up.weight.data *= 1e5
    up.bias.data *= 1e5
    for conv in (network.encoder[1].convs[0].conv, network.decoder[4].merge[0].conv):
        conv.weight.data[:, : up.num_features] *= down
    path = write_model(tmp_path / "m.onnx", network=network)
    opened = FloatModel.read(path)
    table = ranges_of(opened.network)
    assert table.amax("encoder.0.convs.1.relu") > 65504
    expected = run(opened.network.model, pixels())[0]
    assert not np.isfinite(run(half(opened.network.model, path=path), pixels())[0]).all(), "this network would not need the rule"
    found = run(half(opened.network.model, path=path, table=table), pixels())[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)


def test_the_metadata_say_fp16_and_keep_the_rest(write_model: Write, tmp_path: Path) -> None:
    model = onnx.load(write_model(tmp_path / "m.onnx"))
    before, after = manifest(model), manifest(half(model, path=Path("m.onnx")))
    assert (before.precision, after.precision) == ("fp32", "fp16")
    assert (after.spec, after.threshold, after.weights_sha256) == (before.spec, before.threshold, before.weights_sha256)


def test_what_is_no_float_model_of_ours_is_refused(write_model: Write, tmp_path: Path) -> None:
    model = onnx.load(write_model(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="fp16 already"):
        half(half(model, path=Path("m.onnx")), path=Path("m.onnx"))
    foreign = onnx.ModelProto()
    foreign.CopyFrom(model)
    del foreign.metadata_props[:]
    with pytest.raises(ModelError, match="not a model of lineside"):
        half(foreign, path=Path("m.onnx"))
    foreign.CopyFrom(model)
    foreign.graph.node.append(onnx.helper.make_node("BatchNormalization", ["x"] * 5, ["y"]))
    with pytest.raises(ModelError, match="batch norms"):
        half(foreign, path=Path("m.onnx"))


def test_a_layer_that_is_not_there_is_refused_with_the_names_that_are(write_model: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        half(onnx.load(write_model(tmp_path / "m.onnx")), path=Path("m.onnx"), keep=["encoder.0.conv"])
    assert "encoder.0.conv in" in caught.value.what
    assert "decoder.4.merge.1.conv" in caught.value.fix


def test_the_table_of_another_model_is_refused(
    lively_network: Any, write_model: Write, ranges_of: Callable[..., RangesTable], tmp_path: Path
) -> None:
    import copy

    other = copy.deepcopy(lively_network)
    other.logits.bias.data += 1e-3
    table = ranges_of(FloatModel.read(write_model(tmp_path / "other.onnx", network=other)).network)
    with pytest.raises(CalibrationError, match="another model"):
        half(onnx.load(write_model(tmp_path / "m.onnx")), path=Path("m.onnx"), table=table)
