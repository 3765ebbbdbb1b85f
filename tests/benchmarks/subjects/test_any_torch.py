"""A PyTorch model that was exported is measured beside ONNX files, and compared with them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.benchmarks.subjects.any_torch import open_exported, possible_of_exported
from lineside.benchmarks.subjects.cases import Axes, Case, cases_of
from lineside.benchmarks.zoo.difference import differences
from lineside.errors import ModelError

torch = pytest.importorskip("torch", reason="it makes the model")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = 2 x summed over the sides, for any batch of 3 x 4."""

    class Double(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return (2 * x).sum(-1)

    path = tmp_path_factory.mktemp("exported") / "double.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Double(), (torch.ones(2, 3, 4),), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
        torch.export.save(program, path)
    return path


def cases(path: Path, **axes: str) -> list[Case]:
    parsed = Axes.parse(**axes)  # type: ignore[arg-type]
    return cases_of([possible_of_exported(path, parsed)], parsed)[0]


def test_it_runs_on_its_own_shapes_with_any_batch(exported: Path) -> None:
    found = cases(exported, batch="1,5")
    assert [case.shapes for case in found] == [{"x": (1, 3, 4)}, {"x": (5, 3, 4)}]
    before = torch.get_num_threads()
    with open_exported(found[1]) as graph:
        one, other = (graph.run(index)[0] for index in (0, 1))
        assert one.shape == (5, 3)
        assert not np.array_equal(one, other)
    assert torch.get_num_threads() == before


def test_it_gets_the_numbers_that_an_onnx_file_gets(exported: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="it makes the graph")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    taken = helper.make_tensor_value_info("x", kind, [None, 3, 4])
    given = helper.make_tensor_value_info("y", kind, [None, 3])
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [2])
    two = helper.make_tensor("two", kind, [], [2.0])
    nodes = [helper.make_node("Mul", ["x", "two"], ["z"]), helper.make_node("ReduceSum", ["z", "axes"], ["y"], keepdims=0)]
    graph = helper.make_graph(nodes, "double", [taken], [given], [axes, two])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "double.onnx")
    (reference,) = cases(exported)
    same = Case(name="onnx", model="onnx", path=tmp_path / "double.onnx", runner="onnxruntime", shapes={"x": (1, 3, 4)})
    (found,) = differences(reference, [same], inputs=4)
    assert found.max == pytest.approx(0, abs=1e-5)
    assert found.inputs == 4
    assert found.scale > 0.5


def test_what_pytorch_cannot_load_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "not.pt2").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"not\.pt2"):
        possible_of_exported(tmp_path / "not.pt2", Axes())
