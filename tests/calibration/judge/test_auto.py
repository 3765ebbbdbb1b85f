"""Automatic mixed precision: the search, and a detector whose table cuts off what one layer reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lineside.calibration.judge.auto as auto
from lineside.calibration.judge.auto import AutoResult, choose_layers, fewest, quantize_automatically, report_path
from lineside.calibration.place.quantize import QuantizeOptions
from lineside.calibration.ranges.ranges import CalibrateOptions, calibrate
from lineside.calibration.ranges.sampler import SampleOptions
from lineside.calibration.ranges.table import RangesTable
from lineside.dataset import Dataset, Sample
from lineside.engine.inspector import Inspector
from lineside.errors import OutputError
from lineside.graph.float_model import FloatModel
from lineside.judge.compare import compare
from lineside.judge.gate import decide
from lineside.spec import StripSpec

SPEC = StripSpec.of_size(100, 70, tile_px=64)
CUT, HURT = "encoder.0.convs.0.relu", "encoder.0.convs.1.conv"
FIRST_AND_LAST = {"encoder.0.convs.0.conv", "logits"}
TARGETS = ["tensorrt", "onnxruntime"]


@pytest.fixture(scope="module")
def source(write_model: Callable[..., Path], detector: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "detector.onnx", network=detector)


@pytest.fixture(scope="module")
def table(source: Path, labelled: Path) -> RangesTable:
    options = CalibrateOptions(sample=SampleOptions(patches=16))
    return calibrate(FloatModel.read(source), Dataset.open(labelled, spec=SPEC), options)


@pytest.fixture(scope="module")
def cut_table(table: RangesTable) -> RangesTable:
    """The detector sees differences of up to 0.01 alone."""
    tensor = replace(table.tensors[CUT], high=0.01, amax=dict.fromkeys(table.tensors[CUT].amax, 0.01))
    return replace(table, tensors={**table.tensors, CUT: tensor})


@pytest.fixture(scope="module")
def samples(labelled: Path) -> tuple[Sample, ...]:
    return Dataset.open(labelled, spec=SPEC).test


def written(table: RangesTable, folder: Path) -> Path:
    table.write(folder / "ranges.json")
    return folder / "ranges.json"


@pytest.mark.parametrize("target", TARGETS)
def test_all_int8_is_shipped_when_it_passes(
    source: Path, table: RangesTable, samples: tuple[Sample, ...], labelled: Path, tmp_path: Path, target: Any
) -> None:
    out = tmp_path / "detector.int8.onnx"
    result, _ = quantize_automatically(source, written(table, tmp_path), labelled, out, QuantizeOptions(target=target))
    assert (result.answer, len(result.steps), result.sensitivity) == ("int8", 1, None)
    assert result.chosen is not None
    assert result.chosen.returned == ()
    assert result.chosen.int8_share > 0.8  # with 2 base channels the first layer is a tenth of the work
    with Inspector.load(source) as reference, Inspector.load(out) as candidate:
        assert candidate.manifest is not None
        assert (candidate.manifest.precision, candidate.manifest.target) == ("int8", target)
        assert candidate.threshold == reference.threshold
        found = compare(reference, candidate, samples)
    assert found.max_difference > 0, "the file is another one than the float one"
    assert decide(found.reference, found.candidate, threshold=found.threshold).passed


@pytest.mark.parametrize("target", TARGETS)
def test_the_layers_that_hurt_return_and_no_more(source: Path, cut_table: RangesTable, labelled: Path, tmp_path: Path, target: Any) -> None:
    out = tmp_path / "detector.int8.onnx"
    result, _ = quantize_automatically(source, written(cut_table, tmp_path), labelled, out, QuantizeOptions(target=target))
    first = result.steps[0].decision
    assert not first.passed
    assert len(first.flips) == 5  # every defective strip
    assert result.answer == "int8"
    assert result.chosen is not None
    assert result.chosen.returned == (HURT,)
    assert result.sensitivity is not None
    with Inspector.load(out) as candidate:
        assert candidate.manifest is not None
        assert set(candidate.manifest.kept) == {HURT, *FIRST_AND_LAST}


def test_the_report_tells_the_path(source: Path, cut_table: RangesTable, labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "detector.int8.onnx"
    quantize_automatically(source, written(cut_table, tmp_path), labelled, out, QuantizeOptions(target="onnxruntime"))
    value = json.loads((tmp_path / "detector.int8.auto.json").read_text())
    assert (value["schema"], value["answer"], value["target"], value["keep"]) == (1, "int8", "onnxruntime", [])
    steps = value["steps"]
    assert steps[0]["what"] == "all INT8"
    assert not steps[0]["decision"]["passed"]
    assert steps[-1]["returned"] == [HURT]
    assert steps[-1]["decision"]["passed"]
    assert steps[-1]["int8_share"] < steps[0]["int8_share"]
    assert value["sensitivity"]["layers"][0]["name"] in {HURT, *FIRST_AND_LAST}


def test_fp16_is_the_answer_when_too_much_would_have_to_return(
    source: Path, cut_table: RangesTable, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "MOST_RETURNED", 0.05)  # first and last layer alone are more
    out = tmp_path / "detector.int8.onnx"
    result, _ = quantize_automatically(source, written(cut_table, tmp_path), labelled, out, QuantizeOptions(target="tensorrt"))
    assert result.answer == "fp16"
    assert result.chosen is not None
    assert (result.chosen.what, result.chosen.int8_share) == ("FP16", 0)
    assert not out.exists()
    assert json.loads(report_path(out).read_text())["answer"] == "fp16"


def test_what_is_kept_in_any_case_counts_among_what_may_return(source: Path, cut_table: RangesTable, samples: tuple[Sample, ...]) -> None:
    keep = frozenset({"decoder.4.merge.1.conv"})
    result = choose_layers(FloatModel.read(source), cut_table, samples, QuantizeOptions(target="tensorrt", keep=keep))
    assert result.chosen is not None
    assert result.chosen.returned == (HURT,)
    assert not any(keep & {*step.returned} for step in result.steps)
    assert all(step.int8_share >= 2 / 3 for step in result.steps)


def test_another_threshold_is_asked_about_and_never_set(source: Path, table: RangesTable, labelled: Path, tmp_path: Path) -> None:
    """Half of the heat lost: the defects lie below the threshold, and still far above the good strips."""
    tensor = replace(table.tensors[CUT], high=0.09, amax=dict.fromkeys(table.tensors[CUT].amax, 0.09))
    weaker = replace(table, tensors={**table.tensors, CUT: tensor})
    out = tmp_path / "detector.int8.onnx"
    result, _ = quantize_automatically(source, written(weaker, tmp_path), labelled, out, QuantizeOptions(target="tensorrt"))
    first = result.steps[0].decision
    assert first.other_threshold is not None
    assert 0.01 < first.other_threshold < 0.35  # sigmoid(60 * 0.09 - 6) = 0.35
    assert result.question is not None
    assert f"{first.other_threshold:.6g} instead of 0.5" in result.question
    with Inspector.load(out) as candidate:
        assert candidate.threshold == 0.5
    assert {step.decision.threshold for step in result.steps} == {0.5}


def test_neither_is_the_answer_when_fp16_fails_too(source: Path, cut_table: RangesTable, samples: tuple[Sample, ...]) -> None:
    result = choose_layers(FloatModel.read(source), cut_table, samples, QuantizeOptions(target="tensorrt"))
    failed = AutoResult(options=result.options, steps=result.steps[:1], sensitivity=result.sensitivity)
    assert (failed.answer, failed.chosen) == ("none", None)


def test_an_existing_file_is_refused_before_the_work(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "detector.int8.onnx"
    report_path(out).write_text("{}")
    with pytest.raises(OutputError, match=r"auto\.json already exists"):
        quantize_automatically(source, tmp_path, tmp_path, out, QuantizeOptions(target="tensorrt"))


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 26])
@pytest.mark.parametrize("needed", [1, 2, 3, 7, 26, 27])
def test_the_search_finds_the_least_number_in_few_tries(most: int, needed: int) -> None:
    tried: list[int] = []

    def passes(count: int) -> bool:
        tried.append(count)
        return count >= needed

    assert fewest(most, passes) == (needed if needed <= most else None)
    assert len(tried) == len(set(tried)) <= 1 + 2 * most.bit_length()


def test_what_is_found_has_passed_itself_even_where_more_does_worse() -> None:
    passing = {3, 4, 9, 20}
    assert fewest(20, passing.__contains__) == 3
    assert fewest(20, {5, 16}.__contains__) == 16
