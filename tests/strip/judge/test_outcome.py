"""Outcomes of strips: what is counted, and the metrics of any choice of strips against scikit-learn's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lineside.dataset import Sample
from lineside.errors import ModelError
from lineside.judge.outcome import LEVELS, StripOutcome, heat_levels, image_auroc, outcome_of, pixel_ap, recall

SIZE = (60, 40)


def strip(index: int, rng: np.random.Generator) -> tuple[Sample, NDArray[np.float32], NDArray[np.bool_]]:
    """A strip with two small defects, or a good one, and a heatmap that tells them apart more or less."""
    mask = np.zeros(SIZE, np.bool_)
    if index % 2:
        for row, column in rng.integers(0, 37, (2, 2)):
            mask[row : row + 3, column : column + 3] = True
    logits = rng.normal(-5, 1.5, SIZE) + mask * rng.normal(4, 2.5, SIZE)
    kind = "spot" if index % 2 else "good"
    sample = Sample(path=Path(f"{index}.tif"), kind=kind, mask=Path("mask.png") if index % 2 else None)
    return sample, (1 / (1 + np.exp(-logits))).astype(np.float32), mask


@pytest.fixture(scope="module")
def strips() -> list[tuple[Sample, NDArray[np.float32], NDArray[np.bool_]]]:
    rng = np.random.default_rng(0)
    return [strip(index, rng) for index in range(12)]


def outcomes(strips: list[tuple[Sample, NDArray[np.float32], NDArray[np.bool_]]]) -> list[StripOutcome]:
    return [outcome_of(sample, heatmap, mask, threshold=0.5) for sample, heatmap, mask in strips]


def test_the_metrics_of_strips_that_are_drawn_again_are_those_of_all_their_pixels(strips: list) -> None:  # type: ignore[type-arg]
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent computation")
    draws = np.array([np.arange(12), [0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 11, 11], [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3]])
    found = outcomes(strips)
    for row, auroc, average in zip(draws, image_auroc(found)(draws), pixel_ap(found)(draws), strict=True):
        heat = np.stack([strips[index][1] for index in row])
        truth = np.stack([strips[index][2] for index in row])
        assert auroc == pytest.approx(sklearn.roc_auc_score(truth.any(axis=(1, 2)), heat.max(axis=(1, 2))))
        # a level is 1/64 wide, and here a strip that is drawn nine times makes a tie of nine; the limit of the gate is 0.02
        assert average == pytest.approx(sklearn.average_precision_score(truth.ravel(), heat.ravel()), abs=2e-3)


def test_ties_of_scores_count_half(strips: list) -> None:  # type: ignore[type-arg]
    flat = [outcome_of(sample, np.full(SIZE, 0.3, np.float32), mask, threshold=0.5) for sample, _, mask in strips]
    every = np.arange(12)[np.newaxis]
    assert image_auroc(flat)(every)[0] == 0.5
    share = np.mean([mask.mean() for _, _, mask in strips])
    assert pixel_ap(flat)(every)[0] == pytest.approx(share, rel=0.02)


def test_recall_counts_regions_and_without_ground_truth_strips() -> None:
    heat = np.zeros(SIZE, np.float32)
    heat[5, 5] = 0.9
    mask = np.zeros(SIZE, np.bool_)
    mask[5, 5] = mask[30, 30] = mask[50, 10] = True
    known = outcome_of(Sample(path=Path("a.tif"), kind="spot", mask=Path("a.png")), heat, mask, threshold=0.5)
    unknown = outcome_of(Sample(path=Path("b.tif"), kind="spot"), heat, np.zeros(SIZE, np.bool_), threshold=0.5)
    assert unknown.pixels is None
    np.testing.assert_allclose(recall([known, unknown])(np.array([[0, 1], [0, 0], [1, 1]])), [2 / 4, 2 / 6, 1])


def test_every_pixel_is_counted_once_in_its_class(strips: list) -> None:  # type: ignore[type-arg]
    for (_, _, mask), outcome in zip(strips, outcomes(strips), strict=True):
        assert outcome.pixels is not None
        assert outcome.pixels.shape == (2, LEVELS)
        assert outcome.pixels.sum(axis=1).tolist() == [(~mask).sum(), mask.sum()]


def test_levels_rise_with_heat_and_are_fine_near_both_ends() -> None:
    heat = np.concatenate([[0, 1e-9], np.geomspace(1e-6, 0.5, 1000), 1 - np.geomspace(0.5, 1e-7, 1000), [1]]).astype(np.float32)
    levels = heat_levels(heat)
    assert (np.diff(levels) >= 0).all()
    assert (levels[0], levels[-1]) == (0, LEVELS - 1)
    assert len(np.unique(levels)) > 1800


def test_an_answer_that_is_no_heatmap_names_the_strip() -> None:
    sample = Sample(path=Path("bad.tif"), kind="good")
    with pytest.raises(ModelError, match=r"bad\.tif"):
        outcome_of(sample, np.full(SIZE, np.nan, np.float32), np.zeros(SIZE, np.bool_), threshold=0.5)


def test_an_outcome_is_small(strips: list) -> None:  # type: ignore[type-arg]
    pixels = outcomes(strips)[0].pixels
    assert pixels is not None
    assert pixels.nbytes < 22 * 1024
