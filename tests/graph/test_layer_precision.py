"""The doctor: what runs in which precision, and why not in INT8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.place.half import half
from lineside.calibration.place.quantize import QuantizeOptions, quantized
from lineside.calibration.ranges.table import RangesTable
from lineside.errors import ModelError
from lineside.graph.float_model import FloatModel
from lineside.graph.layer_precision import Executed, executed

onnx = pytest.importorskip("onnx", reason="the doctor reads ONNX files")
onnxruntime = pytest.importorskip("onnxruntime", reason="the second opinion")

Write = Callable[..., Path]
Ranges = Callable[..., RangesTable]
TARGETS = pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
PATH = Path("strip.onnx")
CONV = "encoder.2.convs.1.conv"


@pytest.fixture(scope="module")
def float_model(write_model: Write, tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return FloatModel.read(write_model(tmp_path_factory.mktemp("float") / "m.onnx"))


@pytest.fixture(scope="module")
def write(float_model: FloatModel, ranges_of: Ranges) -> Callable[..., Any]:
    table = ranges_of(float_model.network)

    def model(**options: Any) -> Any:
        return quantized(float_model.network.model, table, QuantizeOptions(**options), path=PATH)

    return model


def node(model: Any, name: str) -> Any:
    return next(node for node in model.graph.node if node.name == name)


def replace_constant(model: Any, name: str, values: Any) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(values), name))


def reasons(report: Executed) -> dict[str, str]:
    return {layer.name: layer.why for layer in report.layers if layer.why}


@TARGETS
@pytest.mark.parametrize(("rest", "other"), [("fp16", "fp16"), ("fp32", "fp32")])
def test_all_but_the_ends_are_int8(write: Callable[..., Any], target: str, rest: str, other: str) -> None:
    report = executed(write(target=target, rest=rest), path=PATH)
    assert report.target == target
    assert {layer.name: layer.precision for layer in report.layers if layer.precision != "int8"} == {
        "encoder.0.convs.0.conv": other,
        "logits": other,
    }
    found = reasons(report)
    assert "reads the strip" in found["encoder.0.convs.0.conv"]
    assert "score" in found["logits"]


@pytest.mark.parametrize(("channels", "int8"), [(2, 0.0), (16, 0.98), (32, 0.99)])
def test_the_shares_are_those_of_the_multiply_adds(
    write_model: Write, ranges_of: Ranges, tmp_path: Path, channels: int, int8: float
) -> None:
    """Counted by hand, per pixel and place in the kernel; from 16 base channels on nearly all of them are INT8."""
    torch = pytest.importorskip("torch", reason="PyTorch makes the network")
    from lineside.train.unet import UNet

    down, up = [channels * width for width in (1, 2, 4, 8, 8, 8)], [channels * width for width in (8, 4, 2, 1, 1)]
    total, below = 0.0, 3
    for block, out in enumerate(down):
        total += (below * out + out * out) / 4**block
        below = out
    for block, out in enumerate(up):
        total += (below * out + (down[4 - block] + out) * out + out * out) / 4 ** (4 - block)
        below = out
    ends = 3 * down[0] + below * 2
    torch.manual_seed(0)
    model = FloatModel.read(write_model(tmp_path / "m.onnx", network=UNet(channels).eval()))
    made = quantized(model.network.model, ranges_of(model.network), QuantizeOptions(target="tensorrt"), path=PATH)
    report = executed(made, path=PATH)
    assert report.share("fp16") == pytest.approx(ends / (total + below * 2))
    assert report.share("int8") == pytest.approx(1 - ends / (total + below * 2))
    assert report.share("int8") >= int8
    assert report.share("fp32") == 0


@TARGETS
@pytest.mark.parametrize("tiling", ["batched", "full", "unrolled"])
def test_onnx_runtime_runs_as_many_integer_convolutions_as_the_doctor_counts(
    write_model: Write, ranges_of: Ranges, tmp_path: Path, target: Any, tiling: Any
) -> None:
    """For its own target; TensorRT's file is not laid out for it."""
    model = FloatModel.read(write_model(tmp_path / "m.onnx", tiling=tiling))
    options = QuantizeOptions(target=target, keep=frozenset({CONV, "decoder.1.merge.1.conv"}))
    made = quantized(model.network.model, ranges_of(model.network), options, path=PATH)
    report = executed(made, path=PATH)
    assert sum(layer.precision == "int8" for layer in report.layers) == 24
    session = onnxruntime.SessionOptions()
    session.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session.log_severity_level = 3
    onnxruntime.InferenceSession(made.SerializeToString(), session, providers=["CPUExecutionProvider"])
    ran = sum(node.op_type == "QLinearConv" for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert ran == (24 * model.network.copies if target == "onnxruntime" else 0)


def test_a_layer_that_was_asked_for_says_so(write: Callable[..., Any]) -> None:
    assert reasons(executed(write(target="tensorrt", keep=frozenset({CONV})), path=PATH))[CONV] == "asked for"


def unquantized_input(model: Any) -> None:
    node(model, CONV).input[0] = "encoder.2.convs.0.relu"


def unquantized_weights(model: Any) -> None:
    node(model, CONV).input[1] = f"{CONV}.bias"


def cast_before(model: Any) -> None:
    """A cast between a DequantizeLinear and its convolution, as float32 scales in an FP16 network would need."""
    conv = node(model, CONV)
    model.graph.node.append(onnx.helper.make_node("Cast", [conv.input[0]], ["between"], to=1))
    conv.input[0] = "between"


def shifted(model: Any) -> None:
    replace_constant(model, "encoder.2.convs.0.relu.zero_point", np.int8(-128))


def unsigned(model: Any) -> None:
    replace_constant(model, "encoder.2.convs.0.relu.zero_point", np.uint8(0))


def quantized_bias(model: Any) -> None:
    node(model, CONV).input[2] = "encoder.2.convs.0.relu.dequantized"


def float_bias(model: Any) -> None:
    node(model, CONV).input[2] = "encoder.2.convs.0.conv.bias"


def read_in_float(model: Any) -> None:
    model.graph.node.append(onnx.helper.make_node("MaxPool", ["encoder.2.convs.1.relu"], ["another"], kernel_shape=[2, 2]))


@pytest.mark.parametrize(
    ("target", "harm", "rule"),
    [
        ("tensorrt", unquantized_input, "input not quantised"),
        ("tensorrt", unquantized_weights, "weights not quantised"),
        ("tensorrt", cast_before, "input not quantised"),
        ("tensorrt", shifted, "zero point -128"),
        ("tensorrt", unsigned, "input uint8"),
        ("tensorrt", quantized_bias, "bias quantised"),
        ("onnxruntime", unquantized_input, "input not quantised"),
        ("onnxruntime", float_bias, "bias not quantised"),
        ("onnxruntime", read_in_float, "output not quantised"),
    ],
)
def test_a_broken_rule_is_found_and_named(write: Callable[..., Any], target: str, harm: Callable[[Any], None], rule: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(write(target=target, rest="fp32"))
    harm(model)
    report = executed(model, path=PATH)
    assert rule in reasons(report)[CONV]
    assert next(layer for layer in report.layers if layer.name == CONV).precision == "fp32"
    # a float output that is read puts the layer before out as well, for ONNX Runtime
    before = {"encoder.2.convs.0.conv"} if (target, harm) == ("onnxruntime", unquantized_input) else set[str]()
    assert set(reasons(report)) == {"encoder.0.convs.0.conv", CONV, "logits"} | before


def test_one_broken_copy_of_an_unrolled_network_counts(write_model: Write, ranges_of: Ranges, tmp_path: Path) -> None:
    model = FloatModel.read(write_model(tmp_path / "m.onnx", tiling="unrolled"))
    made = quantized(model.network.model, ranges_of(model.network), QuantizeOptions(target="tensorrt"), path=PATH)
    node(made, f"{CONV}@3").input[0] = "encoder.2.convs.0.relu@3"
    assert "input not quantised" in reasons(executed(made, path=PATH))[CONV]


def test_an_fp16_file_has_no_target(float_model: FloatModel) -> None:
    report = executed(half(float_model.network.model, path=PATH, keep=["logits"]), path=PATH)
    assert report.target == ""
    assert {layer.name for layer in report.layers if layer.precision == "fp32"} == {"logits"}
    assert reasons(report) == {"logits": "asked for"}
    assert report.to_json()["shares"]["fp16"] == pytest.approx(1 - report.to_json()["shares"]["fp32"])


def test_a_model_without_our_network_is_refused() -> None:
    with pytest.raises(ModelError, match="no network of lineside"):
        executed(onnx.ModelProto(), path=PATH)
