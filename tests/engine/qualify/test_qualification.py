"""Qualification of models without weights: heat = max(0, Target - max(Ref1, Ref2)), threshold 0.25."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from lineside import Inspector, StripSpec
from lineside.dataset import Dataset
from lineside.engine.qualify.qualification import Qualification, Strips, Subject, qualify
from lineside.engine.qualify.qualification_page import page_of
from lineside.engine.qualify.strip_results import FILE
from lineside.errors import DatasetError, ModelError, OutputError

GOOD, SPOTS = 6, 6
Qualify = Callable[..., Qualification]


@pytest.fixture
def dataset(tmp_path: Path, small: StripSpec) -> Dataset:
    """Good strips with a heat of up to 0.1, spots with one of 0.4 to 0.8."""
    rng = np.random.default_rng(0)
    for number in range(GOOD + SPOTS):
        kind = "good" if number < GOOD else "spot"
        pattern = rng.uniform(80, 120, (small.height_px, small.width_px))
        strip = np.clip(pattern + rng.uniform(-6, 6, (3, small.height_px, small.width_px)), 0, 255).astype(np.float32)
        mask = np.zeros((small.height_px, small.width_px), np.uint8)
        if kind == "spot":
            strip[0, 20:23, 30:33] = 120 + np.linspace(80, 135, SPOTS)[number - GOOD]
            mask[20:23, 30:33] = 255
            (tmp_path / "data/ground_truth/spot").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(tmp_path / f"data/ground_truth/spot/{number}.png")
        (tmp_path / "data/test" / kind).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path / f"data/test/{kind}/{number}.tif", strip, photometric="minisblack")
    return Dataset.open(tmp_path / "data", spec=small)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    folder.mkdir()
    return folder


@pytest.fixture
def qualified(models: Path, dataset: Dataset, report: Path) -> Qualify:
    """Qualify a candidate against production.onnx."""

    def run(candidate: str, *, reference: str = "production", **options: Any) -> Qualification:
        one, other = models / f"{reference}.onnx", models / f"{candidate}.onnx"
        strips = Strips.of(options.pop("dataset", dataset))
        with Inspector.load(one, threads=1) as trusted, Inspector.load(other, threads=1) as opened:
            return qualify(Subject.of(trusted, one), Subject.of(opened, other), strips, folder=report, **options)

    return run


def test_a_model_qualifies_against_itself(qualified: Qualify) -> None:
    found = qualified("production")
    assert (found.answer, found.failures, found.missing) == ("qualified", (), ())
    assert (found.max_difference, found.decision.strips, len(found.compared)) == (0, GOOD + SPOTS, GOOD + SPOTS)
    assert all(check.passed for check in found.checks)
    assert [value is not None for value in found.median_ms] == [True, True]


def test_another_io_form_of_the_same_network_qualifies(qualified: Qualify) -> None:
    assert qualified("raw_float").answer == "qualified"


def test_a_flip_disqualifies_and_is_named(qualified: Qualify, dataset: Dataset, heat_of: Callable[[NDArray[Any]], Any]) -> None:
    found = qualified("dim")  # half the heat: spots below 0.5 are missed
    scores = {sample.path: float(heat_of(tifffile.imread(sample.path)).max()) for sample in dataset.test if sample.defective}
    missed = sorted(str(path) for path, score in scores.items() if 0.25 <= score < 0.5)
    assert 0 < len(missed) < SPOTS
    assert found.answer == "not qualified"
    assert sorted(pair.name for pair in found.decision.flips) == missed
    assert any("verdicts flip" in text for text in found.failures)
    assert {str(one.sample.path) for one in found.worst[: len(missed)]} == set(missed)


def test_results_are_kept_and_the_rest_is_done(qualified: Qualify, report: Path) -> None:
    first = qualified("dim")
    lines = (report / FILE).read_text().splitlines(keepends=True)
    (report / FILE).write_text("".join(lines[:5]) + lines[5][:40])  # killed while it wrote

    asked: list[int] = []

    def progress(items: Any, *, total: int, what: str) -> Any:
        asked.append(total)
        return items

    second = qualified("dim", progress=progress)
    assert asked == [GOOD + SPOTS - 4]
    without = ("when", "strips", "median_ms")
    one, other = ({name: value for name, value in found.to_json().items() if name not in without} for found in (first, second))
    assert one == other
    third = qualified("dim", progress=progress)
    assert asked[-1] == 0
    assert [one.difference for one in third.compared] == [one.difference for one in first.compared]


def test_a_strip_that_changed_is_done_again(qualified: Qualify, dataset: Dataset, small: StripSpec) -> None:
    qualified("production")
    changed = next(sample for sample in dataset.test if sample.defective)
    tifffile.imwrite(changed.path, np.full((4, small.height_px, small.width_px), 100, np.float32), photometric="minisblack")
    found = qualified("production")
    assert next(one for one in found.compared if one.sample.path == changed.path).reference.row.score == 0


def test_the_folder_of_another_pair_is_refused(qualified: Qualify) -> None:
    qualified("production")
    with pytest.raises(OutputError, match="another pair"):
        qualified("dim")


def test_good_strips_alone_are_not_enough_data(qualified: Qualify, dataset: Dataset) -> None:
    for sample in dataset.test:
        if sample.defective:
            sample.path.unlink()
    found = qualified("production", dataset=Dataset.open(dataset.root, spec=dataset.spec))
    assert found.answer == "not enough data"
    assert any("recall" in text for text in found.missing)


def test_defects_alone_are_refused(qualified: Qualify, dataset: Dataset) -> None:
    for sample in dataset.test:
        if not sample.defective:
            sample.path.unlink()
    with pytest.raises(DatasetError, match="no good strips"):
        qualified("production", dataset=Dataset.open(dataset.root, spec=dataset.spec))


def test_without_labels_numbers_are_found_and_the_verdicts_have_no_labels(qualified: Qualify, dataset: Dataset) -> None:
    (dataset.root / "test").rename(dataset.root / "old")
    (dataset.root / "train").mkdir()
    (dataset.root / "old/good").rename(dataset.root / "train/good")
    found = qualified("dim", dataset=Dataset.open(dataset.root, spec=dataset.spec))
    assert found.answer == "not qualified" if found.failures else "not enough data"
    assert "no labels" in found.missing[0]
    assert found.max_difference > 0.01
    assert None not in found.median_ms


def test_models_of_different_strips_are_refused(qualified: Qualify) -> None:
    with pytest.raises(ModelError, match="976"):
        qualified("line")


def test_another_network_is_refused_unless_it_is_wanted(qualified: Qualify) -> None:
    with pytest.raises(ModelError, match="another network"):
        qualified("other")
    assert qualified("other", other_network=True).answer == "qualified"


def test_nan_is_found_and_the_strip_named(qualified: Qualify, dataset: Dataset) -> None:
    with pytest.raises(ModelError, match=r"test.good.0\.tif: the candidate: .*nan"):
        qualified("nan")


def test_a_fixed_batch_is_tested_at_that_batch(qualified: Qualify, models: Path) -> None:
    with Inspector.load(models / "fixed.onnx", threads=1) as model:
        assert Subject.of(model, models / "fixed.onnx").batches == (4,)
    assert qualified("fixed").answer == "qualified"


def test_the_page_says_the_answer_first_and_needs_no_other_file(models: Path, dataset: Dataset, report: Path) -> None:
    one, other = models / "production.onnx", models / "dim.onnx"
    with Inspector.load(one, threads=1) as trusted, Inspector.load(other, threads=1) as opened:
        found = qualify(Subject.of(trusted, one), Subject.of(opened, other), Strips.of(dataset), folder=report)
        text = page_of(found)
    body = text.split("<body>")[1]
    assert body.index("not qualified") < body.index("verdicts flip") < body.index("pixel AP") < body.index("data:image/png")
    assert text.count("data:image/png") == len(found.worst) == 10
    assert all(word not in text for word in ("<script", "http://", "https://", 'src="/', "@import"))
    assert found.candidate.sha256 in text
    assert "lineside qualify" in text


def test_the_report_is_json_without_nan(qualified: Qualify) -> None:
    value = json.loads(json.dumps(qualified("dim").to_json(), allow_nan=False))
    assert (value["schema"], value["answer"], len(value["strips"])) == (1, "not qualified", GOOD + SPOTS)
    assert value["failures"]
    assert {check["name"]: check["passed"] for check in value["checks"]}["two runs agree"] is True
