"""Evaluation: numbers worked out by hand on strips whose Target is the heatmap that the stand-in model answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from lineside.dataset import Dataset, Sample
from lineside.errors import ConfigError, DatasetError, ModelError, StripError
from lineside.judge.evaluation import Evaluation, evaluate
from lineside.spec import StripSpec

T = TypeVar("T")
SPEC = StripSpec.of_size(48, 32)
Spots = dict[tuple[int, int], float]


class TargetIsHeat:
    """A stand-in model: the heatmap is the Target channel. It answers in the same memory every time, as an engine may."""

    spec = SPEC
    threshold = 0.5
    threshold_rule = "no false alarm on valid"

    def __init__(self) -> None:
        self._answer = np.zeros((48, 32), np.float32)

    def heatmap(self, strip: NDArray[Any]) -> NDArray[np.float32]:
        np.divide(strip[0], np.float32(255), out=self._answer)
        return self._answer


class AnswersNaN(TargetIsHeat):
    """A broken model."""

    def heatmap(self, strip: NDArray[Any]) -> NDArray[np.float32]:
        return np.full((48, 32), np.nan, np.float32)


def add(root: Path, kind: str, name: str, spots: Spots, truth: Iterable[tuple[int, int]] = (), *, part: str = "test") -> None:
    """A strip with heat at `spots`, and its mask where it has defects."""
    strip = np.zeros((3, 48, 32), np.float32)
    for (row, column), heat in spots.items():
        strip[0, row, column] = heat * 255
    path = root / part / kind / f"{name}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, strip, photometric="minisblack")
    if truth:
        mask = np.zeros((48, 32), np.uint8)
        for place in truth:
            mask[place] = 255
        path = root / "ground_truth" / kind / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three good strips, one of them a false alarm; two spots, one missed; a scratch that is half found."""
    add(tmp_path, "good", "g0", {(3, 3): 0.1})
    add(tmp_path, "good", "g1", {(3, 3): 0.25})
    add(tmp_path, "good", "g2", {(3, 3): 0.9, (30, 20): 0.6})
    add(tmp_path, "spot", "s0", {(10, 10): 0.8, (40, 5): 0.7}, [(10, 10), (10, 11)])
    add(tmp_path, "spot", "s1", {(10, 10): 0.3}, [(10, 10)])
    add(tmp_path, "scratch", "c0", {(5, 5): 0.95}, [(5, 5), (20, 5)])
    return tmp_path


def evaluated(root: Path, **options: Any) -> Evaluation:
    return evaluate(TargetIsHeat(), Dataset.open(root, spec=SPEC).test, **options)


def test_verdicts_and_regions_are_counted_at_the_threshold(root: Path) -> None:
    result = evaluated(root)
    verdicts = result.verdicts
    assert (verdicts.defective_ng, verdicts.defective_ok, verdicts.good_ng, verdicts.good_ok) == (2, 1, 1, 2)
    assert result.recall_per_defect == pytest.approx(2 / 4)
    assert result.false_alarms_per_strip == pytest.approx(3 / 6)  # two regions on g2, one beside the spot of s0
    assert result.image_curve.auroc == pytest.approx(7 / 9)  # g2 is above two of the three defective strips


def test_every_kind_is_measured_against_the_good_strips(root: Path) -> None:
    good, scratch, spot = evaluated(root).kinds
    assert (good.kind, good.strips, good.ng) == ("good", 3, 1)
    assert (good.verdict_recall, good.recall_per_defect, good.image_auroc, good.pixel_ap) == (None, None, None, None)
    assert (scratch.kind, scratch.verdict_recall, scratch.recall_per_defect, scratch.image_auroc) == ("scratch", 1.0, 0.5, 1.0)
    assert (spot.kind, spot.verdict_recall, spot.recall_per_defect) == ("spot", 0.5, 0.5)
    assert spot.image_auroc == pytest.approx(4 / 6)


def test_pixel_metrics_are_those_of_all_pixels_and_those_of_a_kind_include_the_good_ones(root: Path) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent computation")
    heat, truth, kinds = [], [], []
    for sample in Dataset.open(root, spec=SPEC).test:
        heat.append(tifffile.imread(sample.path)[0] / 255)
        truth.append(np.zeros((48, 32), bool) if sample.mask is None else np.asarray(Image.open(sample.mask)) > 0)
        kinds.append(sample.kind)
    result = evaluated(root)
    assert result.pixel_auroc == pytest.approx(sklearn.roc_auc_score(np.ravel(truth), np.ravel(heat)))
    assert result.pixel_ap == pytest.approx(sklearn.average_precision_score(np.ravel(truth), np.ravel(heat)))
    chosen = [kind in ("good", "spot") for kind in kinds]
    expected = sklearn.average_precision_score(np.ravel(np.array(truth)[chosen]), np.ravel(np.array(heat)[chosen]))
    assert result.kinds[2].pixel_ap == pytest.approx(expected)


def test_the_threshold_is_the_models_unless_the_caller_names_one(root: Path) -> None:
    own = evaluated(root)
    assert (own.threshold, own.threshold_source, own.threshold_rule) == (0.5, "model", "no false alarm on valid")
    result = evaluated(root, threshold=0.25)
    assert (result.threshold, result.threshold_source, result.threshold_rule) == (0.25, "caller", None)
    assert result.verdicts.defective_ng == 3
    with pytest.raises(ConfigError, match=r"threshold 1\.5"):
        evaluated(root, threshold=1.5)


def test_the_worst_are_missed_defects_then_false_alarms_then_close_calls(root: Path) -> None:
    add(root, "spot", "s2", {(10, 10): 0.2}, [(10, 10)])
    add(root, "good", "g3", {(3, 3): 0.55})
    result = evaluated(root)
    names = [strip.row.sample.path.stem for strip in result.worst]
    assert names == ["s2", "s1", "g2", "g3", "g1", "s0", "g0", "c0"]
    assert [float(strip.heatmap.max()) for strip in result.worst] == [strip.row.score for strip in result.worst]


def test_no_more_heatmaps_are_kept_than_asked_for(root: Path) -> None:
    assert [strip.row.sample.path.stem for strip in evaluated(root, keep_worst=2).worst] == ["s1", "g2"]
    assert evaluated(root, keep_worst=0).worst == ()
    for index in range(30):
        add(root, "good", f"more{index}", {})
    assert len(evaluated(root).worst) == 20


def test_a_score_as_exact_as_the_threshold_makes_region_and_verdict_agree(root: Path) -> None:
    score = next(row.score for row in evaluated(root).rows if row.sample.path.stem == "c0")
    for threshold in (score, np.nextafter(score, 1), np.nextafter(score, 0)):
        row = next(row for row in evaluated(root, threshold=float(threshold)).rows if row.sample.path.stem == "c0")
        assert (row.verdict == "NG") == (row.found == 1) == (threshold <= score)


def test_without_ground_truth_verdicts_are_measured_and_pixels_are_not(root: Path) -> None:
    samples = [Sample(path=sample.path, kind=sample.kind) for sample in Dataset.open(root, spec=SPEC).test]
    result = evaluate(TargetIsHeat(), samples)
    assert result.verdicts.recall == pytest.approx(2 / 3)
    assert result.image_curve.auroc == pytest.approx(7 / 9)
    assert (result.pixel_auroc, result.pixel_ap, result.pro, result.recall_per_defect) == (None, None, None, None)
    assert result.false_alarms_per_strip == pytest.approx(2 / 3)  # on the good strips, whose ground truth is known
    assert [row.false_alarms for row in result.rows if row.sample.defective] == [None, None, None]


@pytest.mark.parametrize("kinds", [("good",), ("spot", "scratch"), ()])
def test_what_the_strips_do_not_define_is_null_in_json(root: Path, kinds: tuple[str, ...]) -> None:
    samples = [sample for sample in Dataset.open(root, spec=SPEC).test if sample.kind in kinds]
    value = json.loads(json.dumps(evaluate(TargetIsHeat(), samples).to_json(), allow_nan=False))
    assert value["image_auroc"] is None
    assert len(value["strips"]) == len(samples)
    if "spot" not in kinds:
        assert (value["f1"], value["pro"], value["pixel_auroc"], value["recall_per_defect"]) == (None, None, None, None)


def test_json_says_what_became_of_every_strip(root: Path) -> None:
    value = evaluated(root).to_json()
    assert value["schema"] == 1
    assert value["good_called_ng"] == 1
    assert value["kinds"]["spot"]["verdict_recall"] == 0.5
    row = next(row for row in value["strips"] if row["path"].endswith("s0.tif"))
    assert row.pop("path") == str(root / "test" / "spot" / "s0.tif")
    assert row.pop("score") == pytest.approx(0.8)
    assert row == {"kind": "spot", "verdict": "NG", "right": True, "defects": 1, "found": 1, "false_alarms": 1}


def test_a_model_that_answers_nonsense_is_not_measured_and_the_strip_is_named(root: Path) -> None:
    with pytest.raises(ModelError, match=r"g0\.tif: the model answered values from nan"):
        evaluate(AnswersNaN(), Dataset.open(root, spec=SPEC).test)


def test_one_bad_strip_or_mask_ends_the_evaluation(root: Path) -> None:
    samples = Dataset.open(root, spec=SPEC).test
    Image.fromarray(np.zeros((48, 32), np.uint8)).save(root / "ground_truth" / "spot" / "s1.png")
    with pytest.raises(DatasetError, match=r"s1\.png"):
        evaluate(TargetIsHeat(), samples)
    (root / "test" / "good" / "g1.tif").write_bytes(b"not a picture")
    with pytest.raises(StripError, match=r"g1\.tif"):
        evaluate(TargetIsHeat(), samples)


def test_progress_hears_of_every_strip(root: Path) -> None:
    heard: list[tuple[int, str]] = []

    def progress(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
        for item in items:
            heard.append((total, what))
            yield item

    evaluated(root, progress=progress)
    assert heard == [(6, "evaluate")] * 6
