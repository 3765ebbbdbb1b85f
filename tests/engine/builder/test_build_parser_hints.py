"""What the ONNX parser refuses is listed with its nodes, and each kind has its hint."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lineside import ModelError
from lineside.engine.builder.parser_hints import hint, refuse_parser_errors


@dataclass
class ParserError:
    """As TensorRT's: methods, not attributes."""

    node: str
    operator: str
    text: str
    kind: str = "ErrorCode.UNSUPPORTED_NODE"

    def node_name(self) -> str:
        return self.node

    def node_operator(self) -> str:
        return self.operator

    def desc(self) -> str:
        return self.text

    def code(self) -> str:
        return self.kind


class Parser:
    def __init__(self, *errors: ParserError) -> None:
        self._errors = errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


def refuse(*errors: ParserError, parsed: bool = False) -> None:
    refuse_parser_errors(Parser(*errors), parsed=parsed, path="strip.onnx", tensorrt="10.3.0")


def test_every_error_is_listed_with_its_node_and_operator() -> None:
    with pytest.raises(ModelError, match=r"strip.onnx: TensorRT 10.3.0") as error:
        refuse(ParserError("encoder.0", "Conv", "bad weights"), ParserError("logits", "Resize", "bad mode", "ErrorCode.INVALID_NODE"))
    assert "Conv encoder.0: bad weights (UNSUPPORTED_NODE)" in error.value.why
    assert "Resize logits: bad mode (INVALID_NODE)" in error.value.why
    assert error.value.fix


def test_an_error_counts_even_when_the_parser_says_that_all_went_well() -> None:
    with pytest.raises(ModelError, match="cannot read"):
        refuse(ParserError("", "", "assertion failed"), parsed=True)


def test_a_refusal_without_a_reason_is_still_one_and_a_file_without_errors_passes() -> None:
    refuse(parsed=True)
    with pytest.raises(ModelError) as error:
        refuse()
    assert "no reason" in error.value.why


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("QuantizeLinear q: TensorRT only supports symmetric quantization (INVALID_NODE)", "--target tensorrt"),
        ("DequantizeLinear b: the bias is int32", "bias stays float"),
        ("Failed to parse the ONNX model: unsupported opset 25", "--opset 18"),
        ("(MODEL_DESERIALIZE_FAILED)", "export it again"),
        ("Foo x: no importer registered for op: Foo", "does not know"),
        ("something else", "lineside doctor"),
    ],
)
def test_each_kind_of_error_has_its_hint(said: str, expected: str) -> None:
    assert expected in hint(said)
