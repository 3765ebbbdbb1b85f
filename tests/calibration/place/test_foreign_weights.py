"""How the graphs of other programs keep their weights, and what they call things: shared, behind nodes, computed, under names of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.place.half import half
from lineside.calibration.place.quantize import QuantizeOptions, quantized
from lineside.calibration.place.tensorrt_rules import broken_rules
from lineside.calibration.ranges.ranges import CalibrateOptions, calibrate
from lineside.calibration.ranges.sampler import SampleOptions
from lineside.calibration.ranges.table import RangesTable
from lineside.dataset import Dataset
from lineside.errors import ModelError
from lineside.graph.float_model import FloatModel
from lineside.graph.layer_precision import executed
from lineside.spec import StripSpec

onnx = pytest.importorskip("onnx", reason="the models are ONNX files")
onnxruntime = pytest.importorskip("onnxruntime", reason="it runs them")

SPEC = StripSpec.of_size(100, 70, tile_px=64)
NAME = Path("other.onnx")


def weights(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(0, 0.8 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)


def node(kind: str, inputs: str, output: str, name: str = "", **more: Any) -> Any:
    return onnx.helper.make_node(kind, inputs.split(), output.split(), name=name, **more)


def conv(inputs: str, output: str, name: str = "", **more: Any) -> Any:
    return node("Conv", inputs, output, name, pads=[1, 1, 1, 1], **more)


def model_of(nodes: list[Any], **constants: Any) -> Any:
    """A model image -> map of nodes and constants; a name with a dot is written with two underscores."""
    value = onnx.helper.make_tensor_value_info
    stored = [onnx.numpy_helper.from_array(np.asarray(array), name.replace("__", ".")) for name, array in constants.items()]
    image, heat = value("image", 1, ["N", 3, 100, 70]), value("map", 1, ["N", 2, 100, 70])
    graph = onnx.helper.make_graph(nodes, "other", [image], [heat], stored)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


FIRST, LAST = conv("image first", "h0", "first"), conv("h2 last", "map", "last")
ENDS = {"first": weights(8, 3, 3, 3), "last": weights(2, 8, 3, 3)}


def shared(**more: Any) -> Any:
    """One weight and one bias, read by two convolutions."""
    middle = [
        conv("h0 p.weight p.bias", "c1", "one"),
        node("Relu", "c1", "h1"),
        conv("h1 p.weight p.bias", "c2", "two"),
        node("Relu", "c2", "h2"),
    ]
    bias = np.linspace(-0.1, 0.1, 8, dtype=np.float32)
    return model_of([FIRST, *middle, LAST], **ENDS, p__weight=weights(8, 8, 3, 3), p__bias=bias, **more)


def shared_with_a_large_bias() -> Any:
    """The bias of one of the two is so large that it alone would ask for coarser weights."""
    model = shared(other=np.full(8, 1e6, np.float32))
    second = next(node for node in model.graph.node if node.name == "two")
    second.input[2] = "other"
    return model


def other_groups() -> Any:
    """One weight, depthwise in one convolution and dense over one channel in the other."""
    middle = [
        conv("h0 w", "c1", "one", group=8),
        node("ReduceMean", "c1", "m", axes=[1]),
        conv("m w", "c2", "two"),
        node("Relu", "c2", "h2"),
    ]
    return model_of([FIRST, *middle, LAST], **ENDS, w=weights(8, 1, 3, 3))


def also_read_as_numbers() -> Any:
    """The weight of a convolution is read by an addition, too."""
    middle = [conv("h0 w", "c1", "one"), node("ReduceMean", "w", "m", axes=[1, 2, 3]), node("Reshape", "m shape", "r")]
    middle += [node("Add", "c1 r", "s"), conv("s w", "c2", "two"), node("Relu", "c2", "h2")]
    return model_of([FIRST, *middle, LAST], **ENDS, w=weights(8, 8, 3, 3), shape=np.array([1, 8, 1, 1]))


def behind_nodes() -> Any:
    """A weight in a Constant, the same behind two Identities, and a bias of plain numbers."""
    stored = onnx.numpy_helper.from_array(weights(8, 8, 3, 3))
    given = [node("Constant", "", "w", value=stored), node("Identity", "w", "v"), node("Identity", "v", "u")]
    given.append(node("Constant", "", "b", value_floats=[0.1] * 8))
    return model_of([*given, FIRST, conv("h0 w b", "c1", "one"), conv("c1 u b", "c2", "two"), node("Relu", "c2", "h2"), LAST], **ENDS)


def names_of_ours() -> Any:
    """Tensors that are called as ours would be, nodes without names, two of one name, and one that is called like another one's tensor."""
    taken = ("h0__quantized", "h0__scale", "h0__zero_point", "w__quantized", "w__scale", "w__zero_point", "c1__bias", "map__float16")
    given = ["h0.dequantized", "w.dequantized", "c1.float32", "tiles.float16", "map.float"]
    middle = [conv("h0 w", "c1"), node("Relu", "c1", "d0", "c1"), conv("d0 w", "c2", "same")]
    for at, name in enumerate(taken):
        middle.append(node("Add", f"{given[at] if at < len(given) else f'd{at}'} {name.replace('__', '.')}", f"d{at + 1}", "same"))
        middle[-1].input[0] = "c2" if at == 0 else middle[-2].output[0]
        if at < len(given):
            middle[-1].output[0] = given[at]
    middle.append(node("Relu", middle[-1].output[0], "h2", "h0.quantized"))
    return model_of([FIRST, *middle, LAST], **ENDS, w=weights(8, 8, 3, 3), **dict.fromkeys(taken, np.float32(0.01)))


MODELS: dict[str, Callable[[], Any]] = {
    made.__name__: made for made in (shared, other_groups, also_read_as_numbers, behind_nodes, names_of_ours)
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]()


def measured(model: Any, strips: Path) -> RangesTable:
    onnx.checker.check_model(model)
    opened = FloatModel.of(model, path=NAME, spec=SPEC)
    return calibrate(opened, Dataset.open(strips, spec=SPEC), CalibrateOptions(sample=SampleOptions(patches=8)))


@pytest.fixture(scope="module")
def table(model: Any, strips: Path) -> RangesTable:
    return measured(model, strips)


def refuse_a_name_given_twice(model: Any) -> None:
    graph = model.graph
    tensors = [*(value.name for value in (*graph.input, *graph.initializer)), *(name for node in graph.node for name in node.output)]
    for names in (tensors, [node.name for node in graph.node]):
        assert "" not in names
        assert sorted(set(names)) == sorted(names)
    onnx.checker.check_model(model, full_check=True)


def answers(model: Any) -> Any:
    """Without ONNX Runtime's own changes to the graph: as the nodes say, on every CPU. It takes no name of a node twice."""
    unnamed = type(model).FromString(model.SerializeToString())
    for node in unnamed.graph.node:
        node.name = ""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    pixels = np.random.default_rng(3).uniform(0.2, 0.8, (2, 3, 100, 70)).astype(np.float32)
    return onnxruntime.InferenceSession(unnamed.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
        None, {"image": pixels}
    )[0]


def constants_of(model: Any) -> dict[str, Any]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def dequantizers(model: Any, input_number: int) -> dict[str, Any]:
    """Convolution -> the node that dequantises its weights (1) or bias (2)."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found = {node.name: makers.get(node.input[input_number]) for node in model.graph.node if node.op_type == "Conv"}
    return {name: maker for name, maker in found.items() if maker is not None and maker.op_type == "DequantizeLinear"}


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("rest", ["fp16", "fp32"])
@pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
def test_its_int8_form_is_valid_and_answers_nearly_as_before(model: Any, table: RangesTable, target: Any, rest: Any, ends: bool) -> None:
    made = quantized(model, table, QuantizeOptions(target=target, rest=rest, first_and_last=ends), path=NAME)
    refuse_a_name_given_twice(made)
    before, after = answers(model), answers(made)
    assert 0 < np.abs(before - after).max() < 0.1 * np.ptp(before)
    assert [layer.precision for layer in executed(made, path=NAME).layers].count("int8") == (4 if ends else 2)
    if target == "tensorrt":
        assert broken_rules(made) == ()
    else:
        session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
        assert session.get_outputs()[0].name == "map"


@pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
def test_a_shared_weight_is_stored_once_with_one_scale_that_fits_all_its_readers(strips: Path, target: Any) -> None:
    for make in (shared, shared_with_a_large_bias):
        model = make()
        made = quantized(model, measured(model, strips), QuantizeOptions(target=target, rest="fp32"), path=NAME)
        one, two = (dequantizers(made, 1)[name] for name in ("one", "two"))
        assert list(one.input) == list(two.input)
        assert one.output[0] != two.output[0]  # one for each: TensorRT joins it with its reader
        stored, original = constants_of(made), constants_of(model)
        integers, scales = (stored[name].astype(np.float64) for name in one.input[:2])
        assert [array.dtype for array in stored.values() if array.ndim == 4].count(np.int8) == 1
        steps = scales.reshape(-1, 1, 1, 1)
        assert (np.abs(integers * steps - original["p.weight"]) <= 0.501 * steps).all()
        for name, maker in dequantizers(made, 2).items():
            integers, scales = (stored[part].astype(np.float64) for part in maker.input[:2])
            bias = original[next(node for node in model.graph.node if node.name == name).input[2]]
            assert (np.abs(integers * scales - bias) <= 0.501 * scales + 1e-6 * np.abs(bias)).all()


def test_fp16_of_a_weight_that_a_float32_layer_reads_too(model: Any, table: RangesTable) -> None:
    for keep in ((), ("first",), (FloatModel.of(model, path=NAME, spec=SPEC).network.convolutions[1],)):
        made = half(model, path=NAME, table=table, keep=frozenset(keep))
        refuse_a_name_given_twice(made)
        before, after = answers(model), answers(made)
        assert 0 < np.abs(before - after).max() < 0.01 * np.ptp(before)


@pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
def test_a_convolution_whose_weights_are_computed_stays_as_it_is(strips: Path, target: Any) -> None:
    computed = [node("Mul", "w two", "doubled"), conv("h0 doubled", "c1", "one"), node("Relu", "c1", "h1")]
    still = [node("Relu", "h1", "h3"), conv("h3 w", "c2", "two"), node("Relu", "c2", "h2")]
    on_numbers = [conv("picture last", "p", "aside"), node("Add", "map0 p", "map")]
    last = conv("h2 last", "map0", "last")
    model = model_of(
        [FIRST, *computed, *still, last, *on_numbers],
        **ENDS,
        w=weights(8, 8, 3, 3),
        two=np.float32(2),
        picture=np.zeros((1, 8, 100, 70), np.float32),
    )
    made = quantized(model, measured(model, strips), QuantizeOptions(target=target, rest="fp32"), path=NAME)
    refuse_a_name_given_twice(made)
    layers = {layer.name: layer for layer in executed(made, path=NAME).layers}
    assert layers["one"].precision == "fp32"
    assert "not quantised" in layers["one"].why
    assert layers["two"].precision == "int8"
    assert layers["one"].share == pytest.approx(layers["two"].share)  # the same kernel on the same picture
    assert np.abs(answers(model) - answers(made)).max() < 0.1 * np.ptp(answers(model))


def test_names_that_the_casting_tool_gives_are_refused(strips: Path) -> None:
    model = shared()
    model.graph.node[1].name = "h0_cast_to_fp32"
    with pytest.raises(ModelError, match="names that mean something here, h0_cast_to_fp32") as caught:
        FloatModel.of(model, path=NAME, spec=SPEC)
    assert "rename" in caught.value.fix


def test_a_file_of_the_old_format_lists_its_weights_as_inputs_and_is_taken(strips: Path) -> None:
    model = shared()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, 1, list(tensor.dims)))
    table = measured(model, strips)
    opened = FloatModel.of(model, path=NAME, spec=SPEC)
    again = half(opened.network.model, path=NAME, table=table)  # as the commands do: what was read once is looked at again
    assert [value.name for value in again.graph.input] == ["image"]


def test_fp16_is_refused_where_an_operator_does_not_take_it(strips: Path) -> None:
    # the boxes are of numbers that the first convolution makes; what is found is added, times zero
    numbers = {"four": np.array([1, -1, 4]), "flat": np.array([1, 1, -1]), "begin": np.array([0]), "end": np.array([9])}
    axes = {"second": np.array([1]), "third": np.array([2]), "zero": np.float32(0), "w": weights(8, 8, 3, 3)}
    nodes = [node("Reshape", "h0 four", "r"), node("Slice", "r begin end second", "boxes"), node("Reshape", "h0 flat", "f")]
    nodes += [node("Slice", "f begin end third", "scores"), node("NonMaxSuppression", "boxes scores", "found", "nms")]
    nodes += [node("ReduceMax", "found", "most", keepdims=0), node("Cast", "most", "number", to=1), node("Mul", "number zero", "nothing")]
    nodes += [node("Add", "h0 nothing", "h1"), conv("h1 w", "h2", "one")]
    model = model_of([FIRST, *nodes, LAST], **ENDS, **numbers, **axes)
    table = measured(model, strips)
    with pytest.raises(ModelError, match="does not hold together") as caught:
        half(model, path=NAME, table=table)
    assert "nms" in caught.value.why
    made = quantized(model, table, QuantizeOptions(target="tensorrt", rest="fp32"), path=NAME)  # what the fix says
    assert "--rest fp32" in caught.value.fix
    assert np.isfinite(answers(made)).all()
