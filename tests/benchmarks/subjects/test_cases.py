"""Models times axes, and names that tell them apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lineside.benchmarks.subjects.cases import Axes, Case, Possible, cases_of, labels
from lineside.engine.files.profiles import BatchProfiles
from lineside.errors import ConfigError

STRIP = Possible(path=Path("strip.onnx"), runners=("inspector", "onnxruntime"))
ENGINE = Possible(path=Path("strip.engine"), runners=("inspector",), batches=BatchProfiles.parse("1,4"))
RESNET = Possible(path=Path("resnet.onnx"), runners=("onnxruntime", "openvino"), shapes=({"input": (1, 3, 32, 32)},), open_batch=("input",))
STATIC = Possible(path=Path("static.onnx"), runners=("onnxruntime",), shapes=({"input": (1, 3, 32, 32)},))


def names(*models: Possible, **axes: object) -> list[str]:
    return [case.name for case in cases_of(models, Axes.parse(**axes))[0]]  # type: ignore[arg-type]


def test_a_model_alone_is_one_case_under_its_own_name() -> None:
    assert names(STRIP) == ["strip.onnx"]


def test_every_value_of_every_axis_meets_every_other() -> None:
    assert names(STRIP, batch="1,4", threads="1,2") == [
        "strip.onnx, batch 1, 1 thread",
        "strip.onnx, batch 1, 2 threads",
        "strip.onnx, batch 4, 1 thread",
        "strip.onnx, batch 4, 2 threads",
    ]


def test_runners_and_shapes_are_axes() -> None:
    both = Possible(
        path=Path("resnet.onnx"), runners=("onnxruntime", "openvino"), shapes=({"x": (1, 3, 8, 8)}, {"x": (1, 3, 9, 9)}), open_batch=("x",)
    )
    assert names(both, runners="onnxruntime,openvino") == [
        f"resnet.onnx, {runner}, 1x3x{side}x{side}" for runner in ("onnxruntime", "openvino") for side in (8, 9)
    ]


def test_the_batch_is_the_first_side_of_inputs_that_leave_it_open() -> None:
    cases, _ = cases_of([RESNET], Axes(batch=(1, 16)))
    assert [case.shapes for case in cases] == [{"input": (1, 3, 32, 32)}, {"input": (16, 3, 32, 32)}]
    assert [case.name for case in cases] == ["resnet.onnx, batch 1", "resnet.onnx, batch 16"]


def test_what_a_model_cannot_take_is_left_out_and_said() -> None:
    cases, left_out = cases_of([RESNET, STATIC], Axes(batch=(1, 16)))
    assert [(case.model, case.batch) for case in cases] == [("resnet.onnx", 1), ("resnet.onnx", 16), ("static.onnx", 1)]
    assert left_out == ["static.onnx does not take a batch of 16"]


def test_a_model_with_nothing_left_to_measure_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"static\.onnx") as caught:
        cases_of([RESNET, STATIC], Axes(batch=(16,)))
    assert "batch of 16" in caught.value.why


def test_an_engine_has_graphs_and_profiles_and_no_threads() -> None:
    cases, left_out = cases_of([ENGINE], Axes.parse(batch="1,2,4", threads="1,2", graph="on,off"))
    assert {(case.batch, case.graph) for case in cases} == {(1, True), (1, False), (4, True), (4, False)}
    assert all(case.threads is None for case in cases)
    assert left_out == ["strip.engine does not take a batch of 2"]


def test_labels_are_as_short_as_tells_two_files_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "a/strip.onnx", tmp_path / "b/strip.onnx", tmp_path / "b/other.onnx"]
    assert labels(paths) == ["a/strip.onnx", "b/strip.onnx", "other.onnx"]
    assert labels([paths[0], paths[0]]) == ["strip.onnx #1", "strip.onnx #2"]


@pytest.mark.parametrize(
    "texts",
    [{"batch": "0"}, {"batch": "1,,2"}, {"batch": "-1"}, {"batch": "one"}, {"threads": "2x"}, {"runners": "tvm"}, {"graph": "maybe"}],
)
def test_a_value_that_is_none_is_refused(texts: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--"):
        Axes.parse(**texts)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["input", "input=", "=1x3", "input=1x3xN", "input=0x3", "input=1 x 3", "input=-1x3"])
def test_a_shape_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--shape"):
        Axes.parse(shapes=[text])


def test_names_of_inputs_may_hold_an_equals_sign() -> None:
    assert Axes.parse(shapes=["a=b=1x3", "a=b=2x3"]).shapes == {"a=b": ((1, 3), (2, 3))}


def test_axes_are_said_as_they_were_given() -> None:
    texts = ["--batch", "1,4", "--threads", "2", "--runner", "onnxruntime", "--provider", "cpu"]
    texts += ["--shape", "input=1x3x8x8", "--graph", "on"]
    axes = Axes.parse(batch="1,4", threads="2", runners="onnxruntime", providers=["cpu"], shapes=["input=1x3x8x8"], graph="on")
    assert axes.words() == texts


def test_a_case_goes_through_json() -> None:
    for model in (STRIP, RESNET, ENGINE):
        (case,) = cases_of([model], Axes(batch=(4,)))[0]
        assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case
