"""Registration as a part of a file: ONNX Runtime finds and moves what PyTorch does, in every form that the exporter writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

torch = pytest.importorskip("torch", reason="it exports")
onnx = pytest.importorskip("onnx", reason="it writes the graph")
onnxruntime = pytest.importorskip("onnxruntime", reason="it runs the graph")

from lineside.export.trace import write_graph  # noqa: E402  # after the skips
from lineside.export.writer import GraphWriter  # noqa: E402
from lineside.graph import opsets  # noqa: E402
from lineside.train.registration.register import Registration  # noqa: E402

HEIGHT, WIDTH = 200, 90
"""No multiples of a block, of a knot or of a level's scale."""
KNOWN_TO_TENSORRT = (
    *("Abs", "Add", "AveragePool", "Clip", "Concat", "Div", "MatMul", "Min", "Mul", "Pad", "ReduceMax", "ReduceSum", "Relu"),
    *("Reshape", "Sin", "Slice", "Sqrt", "Sub", "Transpose"),
)
"""Without GridSample, ScatterND, Loop, and whatever else makes a shape depend on the data."""


class Both(torch.nn.Module):  # type: ignore[misc]
    """The motion beside the registered strips."""

    def __init__(self, registration: Registration) -> None:
        super().__init__()
        self.registration = registration

    def forward(self, strips: Any) -> Any:
        return self.registration(strips), self.registration.motion(strips)


@pytest.fixture(scope="module")
def module() -> Both:
    return Both(Registration(HEIGHT, WIDTH)).eval()


@pytest.fixture(scope="module")
def strips(texture_of: Callable[[int], NDArray[np.float32]]) -> NDArray[np.float32]:
    """(2, 3, H, W) in [0, 1]: references displaced by a pixel or two, with a defect in one Target."""
    rng = np.random.default_rng(0)
    made = []
    for seed in (1, 2):
        pattern = texture_of(seed)[: HEIGHT + 20, : WIDTH + 20]
        moved = [ndimage.shift(pattern, rng.uniform(-1, 1, 2), order=3)[10:-10, 10:-10] for _ in range(3)]
        made.append(np.clip(np.stack(moved) + rng.normal(0, 1.5, (3, HEIGHT, WIDTH)), 0, 255))
    found = np.stack(made).astype(np.float32) / np.float32(255)
    found[0, 0, 50:70, 30:50] = 0.9
    return found


def written(module: Both, opset: int) -> onnx.ModelProto:
    writer = GraphWriter(opset)
    write_graph(module, writer, inputs=["input"], outputs=["output", "motion"])
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    taken = helper.make_tensor_value_info("input", kind, ["N", 3, HEIGHT, WIDTH])
    given = [
        helper.make_tensor_value_info("output", kind, ["N", 3, HEIGHT, WIDTH]),
        helper.make_tensor_value_info("motion", kind, ["M", "P", 1]),
    ]
    graph = helper.make_graph(writer.nodes, "registration", [taken], given, list(writer.initializers.values()))
    opsets_ = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets_, ir_version=helper.find_min_ir_version_for(opsets_))
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("opset", [opsets.OLDEST, 12, 13, 17, 18, opsets.NEWEST])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_file_moves_by_what_pytorch_finds(module: Both, strips: NDArray[np.float32], opset: int, batch: int) -> None:
    session = onnxruntime.InferenceSession(written(module, opset).SerializeToString(), providers=["CPUExecutionProvider"])
    output, motion = session.run(None, {"input": strips[:batch]})
    with torch.no_grad():
        expected_output, expected_motion = (values.numpy() for values in module(torch.from_numpy(strips[:batch])))
    knots = 2 * module.registration.mover.knots
    assert np.abs(expected_motion[:, :knots]).max() > 0.3, "nothing had to be moved"
    assert np.abs(motion - expected_motion)[:, :knots].max() < 1e-3  # pixels
    assert np.abs(output - expected_output).max() < 1e-4


def test_the_graph_has_only_operators_that_every_runtime_has_and_no_constant_twice(module: Both) -> None:
    graph = written(module, opsets.OLDEST).graph
    assert {node.op_type for node in graph.node} <= set(KNOWN_TO_TENSORRT)
    floats = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1]
    assert len({(tuple(tensor.dims), tensor.raw_data) for tensor in floats}) == len(floats)
