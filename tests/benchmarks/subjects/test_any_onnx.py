"""Any ONNX file can be measured, on shapes that it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lineside.benchmarks.subjects.any_onnx import open_graph, possible_of_onnx, refuse_unused_shapes
from lineside.benchmarks.subjects.cases import Axes, cases_of
from lineside.errors import ConfigError, ModelError

onnx = pytest.importorskip("onnx", reason="it makes the graphs")
pytest.importorskip("onnxruntime", reason="it runs them")

MODELS = Path(__file__).parents[2] / "engine" / "models"


def write(path: Path, *inputs: tuple[str, list[object]], kind: str = "FLOAT") -> Path:
    """A graph that gives the sum over each of its inputs, from its first input on."""
    helper = onnx.helper
    values = [helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), shape) for name, shape in inputs]
    nodes = [helper.make_node("Cast", [name], [f"{name}_f"], to=onnx.TensorProto.FLOAT) for name, _ in inputs]
    nodes += [helper.make_node("ReduceSum", [f"{name}_f"], [f"{name}_sum"], keepdims=0) for name, _ in inputs]
    outputs = [helper.make_tensor_value_info(f"{name}_sum", onnx.TensorProto.FLOAT, []) for name, _ in inputs]
    graph = helper.make_graph(nodes, "sums", values, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def run(path: Path, index: int = 0, **axes: object) -> list[np.ndarray]:
    parsed = Axes.parse(**axes)  # type: ignore[arg-type]
    (case,) = cases_of([possible_of_onnx(path, parsed)], parsed)[0]
    with open_graph(case) as graph:
        return list(graph.run(index))


@pytest.mark.parametrize("runner", ["onnxruntime", "openvino"])
def test_a_graph_runs_on_numbers_that_differ_from_call_to_call(runner: str, tmp_path: Path) -> None:
    if runner == "openvino":
        pytest.importorskip("openvino", reason="it is the runner")
    path = write(tmp_path / "sum.onnx", ("input", ["N", 3, 8, 8]))
    sums = [float(run(path, index, runners=runner)[0]) for index in range(3)]
    assert len(set(sums)) == 3


def test_both_runners_get_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="it is one of them")
    path = write(tmp_path / "sum.onnx", ("a", [2, 8]), ("b", [2, 4]))
    one, other = (run(path, 5, runners=runner) for runner in ("onnxruntime", "openvino"))
    assert [float(value) for value in one] == pytest.approx([float(value) for value in other], rel=1e-4)


@pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE", "INT64", "UINT8", "BOOL"])
def test_inputs_are_of_the_type_that_the_graph_takes(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "sum.onnx", ("input", [1, 64]), kind=kind)
    assert float(run(path)[0]) != 0


def test_an_open_side_has_to_be_said(tmp_path: Path) -> None:
    path = write(tmp_path / "open.onnx", ("input", ["N", 3, "H", "W"]))
    with pytest.raises(ConfigError, match="input") as caught:
        possible_of_onnx(path, Axes())
    assert "--shape input=1x3x224x224" in caught.value.fix
    shape = Axes.parse(shapes=["input=2x3x8x16"])
    assert possible_of_onnx(path, shape).shapes == ({"input": (2, 3, 8, 16)},)


@pytest.mark.parametrize("shape", ["input=1x4x8x8", "input=1x3x8", "input=1x3x8x8x8"])
def test_a_shape_that_the_input_does_not_take_is_refused(shape: str, tmp_path: Path) -> None:
    path = write(tmp_path / "open.onnx", ("input", ["N", 3, "H", "W"]))
    with pytest.raises(ConfigError, match="--shape") as caught:
        possible_of_onnx(path, Axes.parse(shapes=[shape]))
    assert "anyx3xanyxany" in caught.value.why


def test_a_shape_for_an_input_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "sum.onnx", ("input", [1, 3]))
    axes = Axes.parse(shapes=["data=1x3"])
    with pytest.raises(ConfigError, match="data") as caught:
        refuse_unused_shapes([possible_of_onnx(path, axes)], axes)
    assert "input" in caught.value.why


def test_ours_run_in_an_inspector_and_as_bare_graphs_when_asked() -> None:
    assert possible_of_onnx(MODELS / "production.onnx", Axes()).runners[0] == "inspector"
    (heat,) = run(MODELS / "production.onnx", runners="onnxruntime")
    assert heat.shape[:2] == (1, 3)


def test_a_fixed_batch_of_ours_is_the_only_one() -> None:
    fixed = possible_of_onnx(MODELS / "fixed.onnx", Axes())
    assert fixed.batches is not None
    assert fixed.batches.smallest == fixed.batches.largest > 1


def test_damaged_metadata_of_ours_is_an_error_and_no_other_model() -> None:
    with pytest.raises(ModelError, match="schema"):
        possible_of_onnx(MODELS / "old_schema.onnx", Axes())


def test_what_is_no_onnx_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "not.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"not\.onnx"):
        possible_of_onnx(tmp_path / "not.onnx", Axes())


def test_texts_cannot_be_made_up(tmp_path: Path) -> None:
    helper = onnx.helper
    value = helper.make_tensor_value_info("words", onnx.TensorProto.STRING, [1])
    out = helper.make_tensor_value_info("same", onnx.TensorProto.STRING, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["words"], ["same"])], "texts", [value], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "text.onnx")
    with pytest.raises(ModelError, match="string"):
        possible_of_onnx(tmp_path / "text.onnx", Axes())
