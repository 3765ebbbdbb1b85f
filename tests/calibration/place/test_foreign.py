"""Models of other programs: one image input and the spec of the strips are enough for INT8 and FP16; anything else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.place.half import half
from lineside.calibration.place.quantize import QuantizeOptions, quantized
from lineside.calibration.ranges.ranges import CalibrateOptions, calibrate
from lineside.calibration.ranges.sampler import SampleOptions
from lineside.calibration.ranges.table import RangesTable
from lineside.cli.main import main
from lineside.dataset import Dataset
from lineside.errors import ModelError
from lineside.graph.float_model import FloatModel
from lineside.graph.layer_precision import executed
from lineside.manifest import ModelManifest
from lineside.spec import StripSpec

onnx = pytest.importorskip("onnx", reason="the models are ONNX files")
onnxruntime = pytest.importorskip("onnxruntime", reason="it runs them")

SPEC = StripSpec.of_size(100, 70, tile_px=64)
CONVOLUTIONS = 6
NAME = Path("other.onnx")


def other_model(*, height: Any = 100, width: Any = 70, batch: Any = "N", channels: int = 3, opset: int = 13) -> Any:
    """A network as another program may write it: nodes without names, weights in Constant nodes and behind an Identity, no biases, a
    depthwise convolution, an addition, two heads, one of them behind a softmax."""
    weights = {"a": (8, 3), "b": (8, 8), "c": (8, 1), "d": (8, 16), "e": (2, 8), "f": (1, 8)}
    rng = np.random.default_rng(0)
    nodes = []
    for name, (outputs, inputs) in weights.items():
        values = rng.normal(0, 0.6 / np.sqrt(inputs), (outputs, inputs, 3, 3)).astype(np.float32)
        stored = f"{name}.weight" if name != "b" else "b.stored"
        nodes.append(onnx.helper.make_node("Constant", [], [stored], value=onnx.numpy_helper.from_array(values)))
    nodes.append(onnx.helper.make_node("Identity", ["b.stored"], ["b.weight"]))
    scales = onnx.numpy_helper.from_array(np.array([1, 1, 1, 1], np.float32), "same")

    def conv(source: str, name: str, **more: Any) -> Any:
        return onnx.helper.make_node("Conv", [source, f"{name}.weight"], [f"{name}.conv"], pads=[1, 1, 1, 1], **more)

    def node(kind: str, inputs: list[str], output: str, **more: Any) -> Any:
        return onnx.helper.make_node(kind, inputs, [output], **more)

    nodes += [
        conv("image", "a"),
        node("Relu", ["a.conv"], "a"),
        node("MaxPool", ["a"], "pooled", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        conv("pooled", "b"),
        node("Relu", ["b.conv"], "b"),
        node("Add", ["a", "b"], "sum"),
        conv("sum", "c", group=8),
        node("Resize", ["c.conv", "", "same"], "resized"),
        node("Concat", ["resized", "a"], "both", axis=1),
        conv("both", "d"),
        node("LeakyRelu", ["d.conv"], "d"),
        conv("d", "e"),
        node("Softmax", ["e.conv"], "probabilities", axis=1),
        conv("d", "f"),
        node("Identity", ["f.conv"], "map"),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "other",
        [value("image", 1, [batch, channels, height, width])],
        [value("probabilities", 1, [batch, 2, height, width]), value("map", 1, [batch, 1, height, width])],
        [scales],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def saved(model: Any, folder: Path) -> Path:
    onnx.save(model, str(folder / NAME))
    return folder / NAME


def measured(model: Any, strips: Path, spec: StripSpec = SPEC, *, patches: int = 24) -> RangesTable:
    opened = FloatModel.of(model, path=NAME, spec=spec)
    return calibrate(opened, Dataset.open(strips, spec=spec), CalibrateOptions(sample=SampleOptions(patches=patches)))


@pytest.fixture(scope="module")
def table(strips: Path) -> RangesTable:
    return measured(other_model(), strips)


def answers(model: Any, pixels: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": pixels})  # type: ignore[no-any-return]


def io_of(model: Any) -> list[Any]:
    return [(value.name, value.type.tensor_type.elem_type) for value in (*model.graph.input, *model.graph.output)]


@pytest.mark.parametrize("rest", ["fp16", "fp32"])
@pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
@pytest.mark.parametrize("ends", [False, True])
def test_another_programs_model_becomes_int8_and_answers_nearly_as_before(table: RangesTable, target: Any, rest: Any, ends: bool) -> None:
    model = other_model()
    made = quantized(model, table, QuantizeOptions(target=target, rest=rest, first_and_last=ends), path=NAME)
    assert io_of(made) == io_of(model)
    pixels = np.random.default_rng(3).uniform(0.2, 0.8, (2, 3, 100, 70)).astype(np.float32)
    for before, after in zip(answers(model, pixels), answers(made, pixels), strict=True):
        apart = np.abs(before - after).max()
        assert 0 < apart < 0.15 * np.ptp(before)
    report = executed(made, path=NAME)
    assert [layer.precision == "int8" for layer in report.layers].count(True) == (CONVOLUTIONS if ends else 3)  # two heads are last
    int8 = [tensor for tensor in made.graph.initializer if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4]
    assert len(int8) == (CONVOLUTIONS if ends else 3)


def test_the_metadata_say_what_was_done_and_do_not_claim_a_model_of_ours(table: RangesTable) -> None:
    made = quantized(other_model(), table, QuantizeOptions(target="tensorrt", keep=frozenset({"b.conv"})), path=NAME)
    properties = {entry.key: entry.value for entry in made.metadata_props}
    assert ModelManifest.from_properties(properties, path=NAME) is None
    said = json.loads(properties["lineside_precision"])
    assert (said["precision"], said["target"], said["ranges_sha256"]) == ("int8", "tensorrt", table.sha256)
    assert said["kept"]["b.conv"] == "asked for"


def test_fp16_leaves_what_is_behind_the_last_convolution_in_float32(table: RangesTable) -> None:
    model = other_model()
    made = half(model, path=NAME, table=table)
    types = {value.name: value.type.tensor_type.elem_type for value in (*made.graph.value_info, *made.graph.output)}
    assert io_of(made) == io_of(model)
    assert types["sum"] == types["d.conv"] == onnx.TensorProto.FLOAT16
    (softmax,) = (node for node in made.graph.node if node.op_type == "Softmax")
    assert types[softmax.input[0]] == types["probabilities"] == onnx.TensorProto.FLOAT
    pixels = np.random.default_rng(3).uniform(0, 1, (1, 3, 100, 70)).astype(np.float32)
    for before, after in zip(answers(model, pixels), answers(made, pixels), strict=True):
        assert 0 < np.abs(before - after).max() < 0.01


def test_whole_strips_are_measured_whole_and_tiles_tile_by_tile(strips: Path, table: RangesTable) -> None:
    assert {(patch.row, patch.column) for patch in table.patches} == {(0, 0)}
    tiles = measured(other_model(height=64, width=64, batch=1), strips)
    assert len({(patch.row, patch.column) for patch in tiles.patches}) == len(SPEC.grid)
    # what the network takes is what the table says of its input, strip by strip
    assert table.tensors["tiles"].high <= 1


def test_weights_of_every_node_bind_the_table(table: RangesTable) -> None:
    changed = other_model()
    resize = next(node for node in changed.graph.initializer if node.name == "same")
    resize.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 1, 1, 1.0000001], np.float32), "same"))
    with pytest.raises(Exception, match="another model"):
        quantized(changed, table, QuantizeOptions(target="tensorrt"), path=NAME)


def test_our_own_model_without_its_metadata_is_one_of_another_program(
    write_model: Callable[..., Path], tmp_path: Path, strips: Path
) -> None:
    path = write_model(tmp_path / "m.onnx", tiling="full")
    model, ours = onnx.load(str(path)), FloatModel.read(path)
    del model.metadata_props[:]
    table = measured(model, strips)
    made = quantized(model, table, QuantizeOptions(target="tensorrt"), path=NAME)
    assert len([layer for layer in executed(made, path=NAME).layers if layer.precision == "int8"]) == len(ours.network.convolutions) - 2


def _two_inputs(model: Any) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("other", 1, [1]))


def _bytes(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8


def _norm(model: Any) -> None:
    model.graph.node.add(op_type="BatchNormalization", input=["map"], output=["normed"])


def _control_flow(model: Any) -> None:
    graph = onnx.helper.make_graph([], "branch", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["map"], ["chosen"], then_branch=graph, else_branch=graph))


def _own_domain(model: Any) -> None:
    model.opset_import.add(domain="com.example", version=1)


def _half_weights(model: Any) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float16), "half"))


def _integers(model: Any) -> None:
    model.graph.node.add(op_type="QLinearConv", input=["map"], output=["normed"])


def _weight_as_output(model: Any) -> None:
    model.graph.output.append(onnx.helper.make_tensor_value_info("same", 1, [4]))


def _image_as_output(model: Any) -> None:
    model.graph.output.append(model.graph.input[0])


def _two_of_one_name(model: Any) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def _later_opset(model: Any) -> None:
    model.opset_import[0].version = 99


def _our_name(model: Any) -> None:
    model.graph.node[-1].name = "last@2"


@pytest.mark.parametrize(
    ("shape", "change", "says"),
    [
        ({"height": 101}, None, "N x 3 x 101 x 70"),
        ({"height": "H", "width": "W"}, None, "N x 3 x H x W"),
        ({"batch": 4}, None, "4 x 3 x 100 x 70"),
        ({"channels": 4}, None, "N x 4 x 100 x 70"),
        ({}, _two_inputs, "2 inputs (image, other)"),
        ({}, _bytes, "is uint8"),
        ({}, _norm, "batch norms"),
        ({}, _control_flow, "If with graphs of their own"),
        ({}, _own_domain, "com.example"),
        ({}, _half_weights, "fp16 already"),
        ({}, _integers, "int8 already"),
        ({}, _our_name, "last@2"),
        ({}, _weight_as_output, "outputs that no node makes, same"),
        ({}, _image_as_output, "outputs that no node makes, image"),
        ({}, _two_of_one_name, "not a valid ONNX model"),
        ({}, _later_opset, "opset 99"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_reason(shape: dict[str, Any], change: Callable[[Any], None] | None, says: str) -> None:
    model = other_model(**shape)
    if change is not None:
        change(model)
    with pytest.raises(ModelError) as caught:
        FloatModel.of(model, path=NAME, spec=SPEC)
    assert says in caught.value.what
    assert caught.value.why
    assert caught.value.fix


def test_a_model_without_convolutions_is_refused() -> None:
    model = other_model()
    kept = [node for node in model.graph.node if node.op_type == "Constant"][:1]
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend([*kept, onnx.helper.make_node("Relu", ["image"], ["map"])])
    model.graph.output.append(onnx.helper.make_tensor_value_info("map", 1, ["N", 3, 100, 70]))
    with pytest.raises(ModelError, match="no convolution"):
        FloatModel.of(model, path=NAME, spec=SPEC)


def test_the_commands_take_it_with_its_size(strips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, table, made = saved(other_model(), tmp_path), tmp_path / "t.json", tmp_path / "int8.onnx"
    sized = ("--size", "100x70", "--tile", "64", "--patches", "8")
    assert main(["calibrate", str(model), str(strips), "--out", str(table), *sized]) == 0
    assert main(["quantize", str(model), str(table), "--target", "tensorrt", "--out", str(made)]) == 0
    capsys.readouterr()
    assert main(["show", str(made)]) == 0
    assert "3 of 6 convolutions" in capsys.readouterr().out
    assert main(["quantize", str(model), str(table), "--precision", "fp16", "--out", str(tmp_path / "fp16.onnx")]) == 0
    for refused, says in (
        (("calibrate", str(model), str(strips), "--out", str(tmp_path / "no.json")), "--size"),
        (("calibrate", str(model), str(strips), "--out", str(tmp_path / "no.json"), "--tile", "64"), "--tile"),
        (("audit", str(table), str(strips), "--model", str(model)), "another program"),
        (("sensitivity", str(model), str(table), str(strips)), "another program"),
        (("quantize", str(model), str(table), "--target", "tensorrt", "--out", str(tmp_path / "a.onnx"), "--auto", str(strips)), "program"),
        (("quantize", str(model), "--precision", "fp16", "--out", str(tmp_path / "b.onnx")), "--size"),
    ):
        capsys.readouterr()
        assert main(list(refused)) == 2
        assert says in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fp16.onnx", "int8.onnx", "other.onnx", "t.json"]


def test_size_is_refused_for_a_model_that_says_it_itself(
    write_model: Callable[..., Path], tmp_path: Path, strips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "m.onnx")
    assert main(["calibrate", str(model), str(strips), "--out", str(tmp_path / "t.json"), "--size", "100x70"]) == 2
    assert "leave it out" in capsys.readouterr().err


def test_int8_of_an_old_opset_says_how_to_export_again(strips: Path) -> None:
    model = other_model(opset=11)
    resize = next(node for node in model.graph.node if node.op_type == "Resize")
    resize.input[:] = ["c.conv", "roi", "same"]  # opset 11 wants all three
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(0, np.float32), "roi"))
    table = measured(model, strips, patches=8)
    with pytest.raises(ModelError, match="opset 11") as caught:
        quantized(model, table, QuantizeOptions(target="onnxruntime"), path=NAME)
    assert "opset_version=18" in caught.value.fix


def shared_model(*, names: tuple[str, str] = ("p.weight", "p.bias")) -> Any:
    """Five convolutions on one weight and one bias, as a network that is applied again and again has them."""
    weight, bias = names
    rng = np.random.default_rng(4)
    nodes, value = [], "image"
    for index in range(5):
        nodes += [
            onnx.helper.make_node("Conv", [value, weight, bias], [f"{index}.conv"], f"c{index}", pads=[1, 1, 1, 1]),
            onnx.helper.make_node("Relu", [f"{index}.conv"], ["map" if index == 4 else f"{index}"], f"r{index}"),
        ]
        value = f"{index}"
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "shared",
        [info("image", 1, ["N", 3, 100, 70])],
        [info("map", 1, ["N", 3, 100, 70])],
        [
            onnx.numpy_helper.from_array(rng.normal(0, 0.25, (3, 3, 3, 3)).astype(np.float32), weight),
            onnx.numpy_helper.from_array(rng.normal(0, 0.1, 3).astype(np.float32), bias),
        ],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)


@pytest.mark.parametrize("rest", ["fp16", "fp32"])
@pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
@pytest.mark.parametrize("names", [("p.weight", "p.bias"), ("1.quantized", "1.scale"), ("0.dequantized", "2.zero_point")])
def test_a_weight_of_several_convolutions_is_stored_once_and_keeps_one_scale(
    names: tuple[str, str], target: Any, rest: Any, strips: Path
) -> None:
    model = shared_model(names=names)
    made = quantized(model, measured(model, strips), QuantizeOptions(target=target, rest=rest), path=NAME)
    assert len({node.name for node in made.graph.node}) == len(made.graph.node)
    stored = [tensor for tensor in made.graph.initializer if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4]
    readers = [node for node in made.graph.node if node.op_type == "DequantizeLinear" and node.input[0] == stored[0].name]
    assert len(stored) == 1
    assert len(readers) == 3  # the first and the last stay float
    assert len({node.input[1] for node in readers}) == 1
    pixels = np.random.default_rng(3).uniform(0.2, 0.8, (2, 3, 100, 70)).astype(np.float32)
    (before,), (after,) = answers(model, pixels), answers(made, pixels)
    assert 0 < np.abs(before - after).max() < 0.1 * np.ptp(before)
