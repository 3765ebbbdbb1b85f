"""Two models over the same strips: stand-ins whose heatmap is the Target channel, and one that is off by a known amount."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from lineside.dataset import Dataset
from lineside.errors import ConfigError, ModelError
from lineside.judge.compare import HeatDifference, compare, outcomes
from lineside.judge.gate import decide
from lineside.spec import StripSpec

SPEC = StripSpec.of_size(48, 32)


class TargetIsHeat:
    """The heatmap is the Target channel, written into the same memory every time, as an engine may."""

    spec = SPEC
    threshold = 0.5

    def __init__(self, *, worse_by: float = 0.0) -> None:
        self._answer = np.zeros((48, 32), np.float32)
        self._worse_by = worse_by

    def heatmap(self, strip: NDArray[Any]) -> NDArray[np.float32]:
        np.divide(strip[0], np.float32(255), out=self._answer)
        self._answer[20, 10] *= 1 - self._worse_by
        return self._answer


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for kind, name, heat in (("good", "a", 0.2), ("good", "b", 0.3), ("spot", "c", 0.6), ("spot", "d", 0.9)):
        strip = np.zeros((3, 48, 32), np.float32)
        strip[0, 20, 10] = heat * 255
        path = tmp_path / "test" / kind / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, strip, photometric="minisblack")
        if kind == "spot":
            mask = np.zeros((48, 32), np.uint8)
            mask[20, 10] = 255
            (tmp_path / "ground_truth/spot").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(tmp_path / "ground_truth/spot" / f"{name}.png")
    return Dataset.open(tmp_path, spec=SPEC)


def test_differences_say_how_far_and_where(dataset: Dataset) -> None:
    found = compare(TargetIsHeat(), TargetIsHeat(worse_by=0.25), dataset.test)
    assert [one.max for one in found.differences] == pytest.approx([0.05, 0.075, 0.15, 0.225])
    assert {(one.row_px, one.column_px) for one in found.differences} == {(20, 10)}
    assert found.max_difference == pytest.approx(0.225)
    assert found.mean_difference == pytest.approx((0.05 + 0.075 + 0.15 + 0.225) / 4 / (48 * 32))


def test_outcomes_go_to_the_gate_as_they_are(dataset: Dataset) -> None:
    found = compare(TargetIsHeat(), TargetIsHeat(worse_by=0.25), dataset.test)
    decision = decide(found.reference, found.candidate, threshold=found.threshold)
    assert [Path(flip.name).stem for flip in decision.flips] == ["c"]
    assert decision.other_threshold == pytest.approx((0.225 + 0.45) / 2)


def test_one_model_alone_has_the_same_outcomes(dataset: Dataset) -> None:
    both = compare(TargetIsHeat(), TargetIsHeat(worse_by=0.25), dataset.test)
    alone = outcomes(TargetIsHeat(worse_by=0.25), dataset.test, threshold=0.5)
    assert [one.row for one in alone] == [one.row for one in both.candidate]
    for one, other in zip(alone, both.candidate, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_the_threshold_is_the_references_unless_the_caller_names_one(dataset: Dataset) -> None:
    candidate = TargetIsHeat()
    candidate.threshold = 0.1
    assert compare(TargetIsHeat(), candidate, dataset.test).threshold == 0.5
    found = compare(TargetIsHeat(), candidate, dataset.test, threshold=0.25)
    assert [one.row.ng for one in found.candidate] == [False, True, True, True]
    with pytest.raises(ConfigError, match="threshold 2"):
        compare(TargetIsHeat(), candidate, dataset.test, threshold=2)


def test_a_model_that_shares_its_memory_is_compared_with_what_it_answered_before(dataset: Dataset) -> None:
    class Alternates(TargetIsHeat):
        calls = 0

        def heatmap(self, strip: NDArray[Any]) -> NDArray[np.float32]:
            self._worse_by = 0.5 * (self.calls % 2)
            self.calls += 1
            return super().heatmap(strip)

    model = Alternates()
    assert compare(model, model, dataset.test).max_difference == pytest.approx(0.45)


def test_models_of_different_strips_are_not_compared(dataset: Dataset) -> None:
    other = TargetIsHeat()
    other.spec = StripSpec.of_size(64, 32)
    with pytest.raises(ModelError, match=r"64x32 px for the candidate"):
        compare(TargetIsHeat(), other, dataset.test)


def test_no_heatmap_is_kept(dataset: Dataset) -> None:
    samples = dataset.test * 25
    tracemalloc.start()
    try:
        found = compare(TargetIsHeat(), TargetIsHeat(), samples)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < len(samples) * 2 * 26_000  # two outcomes of 21 KiB and their rows
    assert len(found.differences) == 100


def test_the_largest_difference_counts_in_both_directions() -> None:
    one, other = np.zeros((4, 5), np.float32), np.zeros((4, 5), np.float32)
    one[1, 2], other[3, 4] = 0.5, 0.75
    found = HeatDifference.of(one, other)
    assert (found.max, found.row_px, found.column_px, found.mean) == (0.75, 3, 4, pytest.approx(1.25 / 20))
