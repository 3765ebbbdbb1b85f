from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lineside import ModelError, StripSpec
from lineside.engine.files.io_forms import CONTRACTS, Tensor, check_graph

PATH = Path("strip.onnx")
F32 = "float32"


def test_the_production_contract_is_what_existing_callers_send() -> None:
    contract = CONTRACTS["production"]
    assert (contract.input, contract.input_channels, contract.outputs, contract.heatmap_channels) == ("input", 3, ("output",), 3)


def graph(io: str, **changes: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inputs and outputs of a right 64 x 96 model, with some of them changed."""
    right = {
        "production": {"input": ((None, 3, 64, 96), F32), "output": ((None, 3, 64, 96), F32)},
        "raw": {"strip": ((None, 4, 64, 96), "uint8"), "heatmap": ((None, 1, 64, 96), F32), "score": ((None,), F32)},
    }[io]
    tensors = {name: Tensor(shape=shape, dtype=dtype) for name, (shape, dtype) in {**right, **changes}.items()}
    first = next(iter(right))
    return {name: t for name, t in tensors.items() if name == first}, {name: t for name, t in tensors.items() if name != first}


@pytest.mark.parametrize("batch", [None, 1, 8])
@pytest.mark.parametrize("io", ["production", "raw"])
def test_a_right_graph_gives_its_batch(small: StripSpec, io: Any, batch: int | None) -> None:
    name, channels, dtype = ("input", 3, F32) if io == "production" else ("strip", 4, "uint8")
    inputs, outputs = graph(io, **{name: ((batch, channels, 64, 96), dtype)})
    assert check_graph(inputs, outputs, io=io, spec=small, path=PATH) == batch


@pytest.mark.parametrize(
    ("io", "changes"),
    [
        ("production", {"input": ((None, 3, 96, 64), F32)}),
        ("production", {"input": ((None, 4, 64, 96), F32)}),
        ("production", {"input": ((None, 3, None, None), F32)}),  # H and W are fixed
        ("production", {"input": ((None, 3, 64, 96), "float16")}),
        ("production", {"input": ((3, 64, 96), F32)}),
        ("production", {"output": ((None, 1, 64, 96), F32)}),
        ("production", {"output": ((None, 3, 64, 96), "float16")}),
        ("production", {"extra": ((None,), F32)}),
        ("raw", {"strip": ((None, 4, 64, 96), "uint16")}),
        ("raw", {"heatmap": ((None, 3, 64, 96), F32)}),
        ("raw", {"score": ((None, 1), F32)}),
    ],
)
def test_another_graph_is_refused_and_both_are_shown(small: StripSpec, io: Any, changes: dict[str, Any]) -> None:
    inputs, outputs = graph(io, **changes)
    (changed,) = changes
    with pytest.raises(ModelError, match=f"{changed} \\(") as caught:
        check_graph(inputs, outputs, io=io, spec=small, path=PATH)
    assert "64, 96" in caught.value.why


def test_an_input_of_another_name_is_refused(small: StripSpec) -> None:
    inputs, outputs = graph("production")
    with pytest.raises(ModelError, match="image"):
        check_graph({"image": inputs["input"]}, outputs, io="production", spec=small, path=PATH)
