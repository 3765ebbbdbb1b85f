"""Which precision an engine really has, read from reports in the form that NVIDIA documents.

The layers below have the keys and formats of "Engine Inspector" in NVIDIA's manual, of TensorRT 8 to 11; nothing here ran on a GPU.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from lineside import ModelError
from lineside.engine.files.engine_precision import fallen_back, int8_built, layer_precisions, refuse_fallback

INT8 = "Thirty-two wide channel vectorized row major Int8 format."
HALF = "Channel major FP16 format where channel % 8 == 0."


def conv(name: str, format: str, **more: Any) -> dict[str, Any]:
    """A convolution of the kind that a library of kernels runs."""
    return {
        "Name": f"{name} + {name}.relu",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", "Dimensions": [18, 64, 128, 128], "Format/Datatype": format}],
        "Outputs": [{"Name": "y", "Dimensions": [18, 64, 128, 128], "Format/Datatype": HALF}],
        "ParameterType": "Convolution",
        "Weights": {"Type": "Int8" if format == INT8 else "Half", "Count": 36864},
        "TacticName": "sm80_xmma_fprop_implicit_gemm",
        "Metadata": f"[ONNX Layer: {name}]\x1e[ONNX Layer: {name}.relu]",
        **more,
    }


def report(*layers: Any) -> str:
    return json.dumps({"Layers": list(layers), "Bindings": ["input", "output"]})


def test_a_convolution_computes_in_what_it_reads() -> None:
    int8, half = layer_precisions(report(conv("a", INT8), conv("b", HALF)), {"a", "b"})
    assert (int8.precision, int8.onnx, int8.kind) == ("int8", ("a",), "CaskConvolution")
    assert (half.precision, half.onnx) == ("fp16", ("b",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Int8", "int8"),
        ("Half", "fp16"),
        ("Float", "fp32"),
        ("BFloat16", "bf16"),
        ("FP8", "fp8"),
        ("Row major linear FP32", "fp32"),
        ("Row major linear UInt8 format", "uint8"),
        ("Channel major INT8 format where channel % 16 == 0", "int8"),
        ("N/A due to dynamic shapes", "unknown"),
    ],
)
def test_every_way_of_writing_a_type_is_known(text: str, expected: str) -> None:
    layer = {"Name": "a", "LayerType": "kgen", "Inputs": [{"Name": "x", "Format/Datatype": text}], "Outputs": []}
    assert layer_precisions(report(layer), ())[0].precision == expected


def test_where_a_format_says_nothing_weights_and_tactic_do() -> None:
    unknown = "N/A due to dynamic shapes"
    weights = conv("a", unknown, Weights={"Type": "Int8", "Count": 1})
    tactic = conv("b", unknown, Weights={}, TacticName="sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs")
    assert [layer.precision for layer in layer_precisions(report(weights, tactic), {"a", "b"})] == ["int8", "int8"]


def test_a_copy_that_carries_a_convolutions_name_is_not_the_convolution() -> None:
    copy = {"Name": "a copy", "LayerType": "Reformat", "Metadata": "[ONNX Layer: a]", "Inputs": [{"Format/Datatype": INT8}], "Outputs": []}
    layers = layer_precisions(report(copy, conv("a", HALF)), {"a"})
    assert int8_built(layers, ("a",)) == 0
    assert fallen_back(layers, ("a",)) == {"a": "fp16 (CaskConvolution)"}


def test_a_name_counts_as_a_whole() -> None:
    layers = layer_precisions(report(conv("encoder.1", INT8), conv("encoder.10", HALF)), {"encoder.1", "encoder.10"})
    assert [layer.onnx for layer in layers] == [("encoder.1",), ("encoder.10",)]


def test_a_layer_without_metadata_is_known_by_its_name() -> None:
    (layer,) = layer_precisions(report(conv("a", INT8, Metadata="")), {"a"})
    assert layer.onnx == ("a",)


@pytest.mark.parametrize(("int8", "refused"), [(10, False), (9, False), (8, True), (0, True)])
def test_an_engine_with_less_than_nine_tenths_of_its_int8_is_refused(int8: int, refused: bool) -> None:
    names = tuple(f"c{index}" for index in range(10))
    layers = layer_precisions(report(*(conv(name, INT8 if index < int8 else HALF) for index, name in enumerate(names))), names)
    assert int8_built(layers, names) == int8
    if not refused:
        refuse_fallback(layers, names)
        return
    with pytest.raises(ModelError, match=f"{int8} of 10 planned") as error:
        refuse_fallback(layers, names)
    assert "c9: fp16 (CaskConvolution)" in error.value.why
    assert "--allow-fallback" in error.value.fix


def test_a_convolution_that_no_layer_names_has_fallen_back() -> None:
    layers = layer_precisions(report(conv("a", INT8)), {"a", "b"})
    assert fallen_back(layers, ("a", "b")) == {"b": "no layer of the engine names it"}


def test_a_float_file_plans_no_int8() -> None:
    layers = layer_precisions(report(conv("a", HALF)), {"a"})
    assert (int8_built(layers, ()), fallen_back(layers, ())) == (0, {})
    refuse_fallback(layers, ())


def test_an_engine_that_was_built_without_details_has_names_alone() -> None:
    (layer,) = layer_precisions(report("a + b"), {"a"})
    assert (layer.name, layer.precision) == ("a + b", "unknown")


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"Layers": 3}'])
def test_what_is_no_report_is_one_error(text: str) -> None:
    with pytest.raises(ModelError, match="inspector"):
        layer_precisions(text, ())
