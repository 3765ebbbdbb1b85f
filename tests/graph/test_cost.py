"""Multiply-adds and bytes are counted, not guessed: against counting by hand and against what PyTorch's convolutions do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.errors import ModelError
from lineside.graph.cost import Work, count_work, multiply_adds
from lineside.graph.float_model import FloatModel
from lineside.manifest import Tiling

onnx = pytest.importorskip("onnx", reason="it reads the graph")

FLOAT, BYTE = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8


def write(path: Path, nodes: list[Any], *, taken: list[Any], given: list[Any] | None = None, kind: int = FLOAT, **weights: Any) -> Path:
    """A graph from x to y."""
    helper = onnx.helper
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, taken)],
        [helper.make_tensor_value_info("y", kind, given)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def node(kind: str, *taken: str, given: str = "y", **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, list(taken), [given], **attributes)


def counted(path: Path, batch: int = 1, **shapes: tuple[int, ...]) -> Work:
    return count_work(path, shapes.get, batch)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("made", "weights", "by_hand"),
    [
        (("Conv", {"pads": [1, 1, 1, 1]}), (5, 3, 3, 3), 5 * 8 * 6 * 3 * 9),
        (("Conv", {"group": 3, "strides": [2, 2]}), (3, 1, 2, 2), 3 * 4 * 3 * 1 * 4),
        (("ConvTranspose", {"strides": [2, 2]}), (3, 5, 2, 2), 3 * 8 * 6 * 5 * 4),
        (("MatMul", {}), (6, 7), 3 * 8 * 7 * 6),
    ],
)
def test_a_layer_is_counted_as_by_hand_and_every_row_of_the_batch(
    made: tuple[str, dict[str, Any]], weights: tuple[int, ...], by_hand: int, tmp_path: Path
) -> None:
    kind, attributes = made
    path = write(tmp_path / "m.onnx", [node(kind, "x", "w", **attributes)], taken=["N", 3, 8, 6], w=zeros(*weights))
    assert counted(path).multiply_adds == {"float32": by_hand}
    assert counted(path, batch=4).total == counted(path, x=(4, 3, 8, 6)).total == 4 * by_hand


@pytest.mark.parametrize(("attributes", "shape"), [({}, (4, 6)), ({"transA": 1}, (6, 4))])
def test_gemm_is_counted_whichever_side_is_turned(attributes: dict[str, int], shape: tuple[int, int], tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [node("Gemm", "x", "w", **attributes)], taken=list(shape), w=zeros(6, 7))
    assert counted(path).total == 4 * 7 * 6


def test_the_least_bytes_are_weights_input_and_output(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x", "w", given="h"), node("Relu", "h")]
    path = write(tmp_path / "m.onnx", nodes, taken=["N", 6], w=zeros(6, 7))
    assert counted(path, batch=3).nbytes == 4 * (6 * 7 + 3 * 6 + 3 * 7)
    assert counted(path, batch=3).intensity == counted(path, batch=3).total / counted(path, batch=3).nbytes


def quantised(path: Path, *, output_too: bool) -> Path:
    scale, zero = {"s": np.float32(0.1)}, {"z": np.uint8(0), "zw": np.int8(0)}
    nodes = [
        node("DequantizeLinear", "x", "s", "z", given="a"),
        node("DequantizeLinear", "w", "s", "zw", given="b"),
        node("Conv", "a", "b", given="c", pads=[1, 1, 1, 1]),
        node("Relu", "c", given="d"),
        *([] if output_too else [node("Softmax", "d", given="e")]),
        node("QuantizeLinear", "d" if output_too else "e", "s", "z"),
    ]
    return write(path, nodes, taken=[1, 3, 8, 8], kind=BYTE, w=np.zeros((5, 3, 3, 3), np.int8), **scale, **zero)


@pytest.mark.parametrize(("output_too", "kind"), [(True, "int8"), (False, "float32")])
def test_a_layer_is_int8_when_integers_go_in_and_come_out(output_too: bool, kind: str, tmp_path: Path) -> None:
    assert counted(quantised(tmp_path / "m.onnx", output_too=output_too)).multiply_adds == {kind: 5 * 64 * 27}


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (lambda: [node("Relu", "x")], "no convolution"),
        (lambda: [node("Einsum", "x", "x", equation="ij,ij->ij")], "Einsum"),
        (lambda: [onnx.helper.make_node("Magic", ["x"], ["y"], domain="com.example")], r"com\.example\.Magic"),
        (lambda: [node("NonZero", "x", given="i"), node("Cast", "i", given="f", to=FLOAT), node("MatMul", "f", "x")], "cannot be inferred"),
    ],
)
def test_what_cannot_be_counted_says_why(nodes: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", nodes(), taken=[4, 4])
    with pytest.raises(ModelError, match=said):
        counted(path)


@pytest.mark.parametrize(("tiling", "size", "copies"), [("batched", (32, 32), 12), ("unrolled", (32, 32), 12), ("full", (64, 96), 1)])
def test_ours_have_the_multiply_adds_that_pytorch_does_in_every_tile(
    tiling: Tiling, size: tuple[int, int], copies: int, detector: Any, write_detector: Callable[[Path, Tiling], Path], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch", reason="it exports")
    done: list[int] = []

    def hook(layer: Any, given: Any, answer: Any) -> None:
        done.append(answer[0].numel() * given[0].shape[1] * 9)

    handles = [layer.register_forward_hook(hook) for layer in detector.modules() if hasattr(layer, "stride") and hasattr(layer, "weight")]
    try:
        detector(torch.rand(1, 3, *size))
    finally:
        for handle in handles:
            handle.remove()
    assert len(done) == 28
    assert counted(write_detector(tmp_path / "m.onnx", tiling), batch=2).multiply_adds == {"float32": 2 * copies * sum(done)}


@pytest.mark.parametrize(("tiling", "size"), [("batched", (64, 64)), ("unrolled", (64, 64)), ("full", (128, 96))])
def test_multiply_adds_are_counted_as_pytorchs_layers_do_them(
    write_model: Callable[..., Path], lively_network: Any, tmp_path: Path, tiling: str, size: tuple[int, int]
) -> None:
    torch = pytest.importorskip("torch")
    done: dict[str, int] = {}

    def count(name: str) -> Callable[..., None]:
        def hook(module: Any, given: Any, answer: Any) -> None:
            done[name] = answer[0].numel() * given[0].shape[1] * 9

        return hook

    handles = [module.register_forward_hook(count(name)) for name, module in lively_network.named_modules() if hasattr(module, "stride")]
    try:
        lively_network(torch.rand(1, 3, *size))
    finally:
        for handle in handles:
            handle.remove()
    found = multiply_adds(FloatModel.read(write_model(tmp_path / "model.onnx", tiling=tiling)).network)
    assert len(found) == 28
    assert list(found.values()) == list(done.values())
