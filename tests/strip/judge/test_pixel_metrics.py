"""Pixel metrics in bounded memory: what scikit-learn and a direct computation say of all pixels at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from lineside.errors import ModelError
from lineside.judge.pixel_metrics import PixelMetrics, label_regions

Heatmaps = NDArray[np.float32]
Masks = NDArray[np.bool_]
SHAPE = (3, 24, 20)

# Two values count as a tie when their distances from 0 (or from 1, above a half) differ by less than 1/8192. Of the pairs of these
# random heatmaps fewer than 1 in 5000 do, and a tie is wrong by one half at most.
TOLERANCE = 1e-4


def masks(rng: np.random.Generator) -> Masks:
    """Three strips: rectangles, one pixel, and nothing."""
    mask = np.zeros(SHAPE, np.bool_)
    for _ in range(3):
        top, left, height, width = (int(rng.integers(low, high)) for low, high in ((0, 18), (0, 14), (1, 7), (1, 7)))
        mask[0, top : top + height, left : left + width] = True
    mask[1, 5, 7] = True
    return mask


def heatmaps(kind: str, rng: np.random.Generator, mask: Masks) -> Heatmaps:
    noise = rng.random(SHAPE)
    values = {
        "uniform": np.clip(noise + 0.3 * mask, 0, 1),
        "crowded near 0": 10 ** (-30 + 25 * noise + 3 * mask),
        "crowded near 1": 1 - 10 ** (-2 - 3 * noise - mask),
        "tied": np.round(noise * 4) / 4,
        "zeros and ones": noise < 0.2 + 0.5 * mask,
        "constant": np.full(SHAPE, 0.25),
    }
    return values[kind].astype(np.float32)


def counted(heat: Heatmaps, mask: Masks) -> PixelMetrics:
    metrics = PixelMetrics()
    for one_heat, one_mask in zip(heat, mask, strict=True):
        metrics.update(one_heat, one_mask)
    return metrics


def on_grid(heat: Heatmaps) -> Heatmaps:
    """The values rounded to 4096ths: no two different ones share a bin."""
    return (heat * 4096).round() / np.float32(4096)


def direct_pro(heat: Heatmaps, mask: Masks, limit: float = 0.3) -> float:
    """PRO as MVTec AD describes it: at every threshold, the overlap of every region; the area below, up to the limit."""
    regions = [labels == number for labels, count in map(label_regions, mask) for number in range(1, count + 1)]
    where = [index for index, (_, count) in enumerate(map(label_regions, mask)) for _ in range(count)]
    points = [(0.0, 0.0)]
    for threshold in sorted(set(heat.ravel().tolist()), reverse=True):
        called = heat >= threshold
        overlap = np.mean([called[index][region].mean() for index, region in zip(where, regions, strict=True)])
        points.append((float(called[~mask].mean()), float(overlap)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            area += (end - x0) * (y0 + (y0 + (y1 - y0) * (end - x0) / (x1 - x0))) / 2
    return area / limit


KINDS = ["uniform", "crowded near 0", "crowded near 1", "tied", "zeros and ones", "constant"]


@pytest.mark.parametrize("kind", KINDS)
def test_pixel_auroc_and_average_precision_are_those_of_scikit_learn(kind: str) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent computation")
    rng = np.random.default_rng(3)
    mask = masks(rng)
    heat = heatmaps(kind, rng, mask)
    for values, tolerance in ((heat, TOLERANCE), (on_grid(heat), 1e-12)):  # without shared bins both are exact but for float64
        curve = counted(values, mask).curve()
        assert curve.auroc == pytest.approx(sklearn.roc_auc_score(mask.ravel(), values.ravel()), abs=tolerance)
        assert curve.average_precision == pytest.approx(sklearn.average_precision_score(mask.ravel(), values.ravel()), abs=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_pro_is_what_a_direct_computation_gives(kind: str) -> None:
    rng = np.random.default_rng(4)
    mask = masks(rng)
    heat = heatmaps(kind, rng, mask)
    assert counted(heat, mask).curve().pro == pytest.approx(direct_pro(heat, mask), abs=TOLERANCE)
    assert counted(on_grid(heat), mask).curve().pro == pytest.approx(direct_pro(on_grid(heat), mask), abs=1e-12)


def test_a_perfect_heatmap_is_worth_exactly_one() -> None:
    mask = masks(np.random.default_rng(0))
    curve = counted(mask.astype(np.float32), mask).curve()
    assert (curve.auroc, curve.average_precision, curve.pro) == (1.0, 1.0, 1.0)


def test_every_region_weighs_the_same_in_pro_however_large() -> None:
    mask = np.zeros((1, 20, 20), np.bool_)
    mask[0, :10, :10] = True
    mask[0, 15, 15] = True
    heat = np.zeros((1, 20, 20), np.float32)
    heat[0, :10, :10] = 0.9  # 100 of 101 defect pixels, 1 of 2 regions
    rate = 0.3  # all background has one value: the overlap rises in a straight line from 1/2 at rate 0 to 1 at rate 1
    assert counted(heat, mask).curve().pro == pytest.approx(0.5 + 0.5 * rate / 2)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    assert label_regions(np.eye(4, dtype=np.bool_))[1] == 1
    assert label_regions(np.array([[1, 0, 1], [0, 0, 0]], np.bool_))[1] == 2


def test_the_sum_of_parts_is_the_whole() -> None:
    rng = np.random.default_rng(6)
    mask = masks(rng)
    heat = heatmaps("uniform", rng, mask)
    parts = [counted(heat[index : index + 1], mask[index : index + 1]) for index in range(len(heat))]
    whole, total = counted(heat, mask).curve(), PixelMetrics.sum(parts).curve()
    assert (total.auroc, total.average_precision) == (whole.auroc, whole.average_precision)
    assert total.pro == pytest.approx(whole.pro, abs=1e-12)


def test_memory_does_not_grow_with_the_number_of_strips() -> None:
    rng = np.random.default_rng(8)
    mask = masks(rng)
    metrics = PixelMetrics()

    def update(strips: int) -> int:
        for _ in range(strips):
            metrics.update(heatmaps("uniform", rng, mask)[0], mask[0])
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        after_few = update(5)
        after_many = update(100)
    finally:
        tracemalloc.stop()
    # 100 heatmaps are 192 KB; some bytes are the interpreter's own
    assert after_many - after_few < 20_000


@pytest.mark.parametrize("value", [True, False])
def test_one_class_alone_defines_nothing(value: bool) -> None:
    metrics = PixelMetrics()
    metrics.update(np.random.default_rng(0).random((8, 8)).astype(np.float32), np.full((8, 8), value))
    curve = metrics.curve()
    assert (curve.auroc, curve.average_precision, curve.pro) == (None, None, None)


def test_nothing_counted_defines_nothing() -> None:
    curve = PixelMetrics().curve()
    assert (curve.auroc, curve.average_precision, curve.pro) == (None, None, None)


def test_minus_zero_is_zero() -> None:
    mask = np.zeros((2, 4), np.bool_)
    mask[0, 0] = True
    heat = np.full((2, 4), -0.0, np.float32)
    metrics = PixelMetrics()
    metrics.update(heat, mask)
    assert metrics.curve().auroc == 0.5


def test_a_view_of_a_larger_array_is_counted_like_a_copy() -> None:
    rng = np.random.default_rng(2)
    answer = rng.random((8, 8, 3)).astype(np.float32)
    mask = rng.random((8, 8)) < 0.3
    assert counted(answer[None, :, :, 1], mask[None]).curve().auroc == counted(answer[None, :, :, 1].copy(), mask[None]).curve().auroc


def bad_heatmaps() -> Sequence[tuple[str, NDArray[np.generic]]]:
    good = np.full((4, 4), 0.5, np.float32)
    return [
        ("NaN", np.where(np.eye(4, dtype=np.bool_), np.float32(np.nan), good)),
        ("infinity", np.where(np.eye(4, dtype=np.bool_), np.float32(np.inf), good)),
        ("above 1", good + np.float32(0.6)),
        ("below 0", good - np.float32(0.6)),
        ("another size", good[:3]),
        ("another type", good.astype(np.float64)),
    ]


@pytest.mark.parametrize("heat", [pytest.param(heat, id=name) for name, heat in bad_heatmaps()])
def test_an_answer_that_is_no_heatmap_is_refused(heat: Heatmaps) -> None:
    metrics = PixelMetrics()
    with pytest.raises(ModelError):
        metrics.update(heat, np.eye(4, dtype=np.bool_))
    assert metrics.curve().auroc is None
