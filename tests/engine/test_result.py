from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from lineside.engine.result import Result, Timing, Verdict, find_regions


def result(heatmap: NDArray[np.float32], threshold: float) -> Result:
    timing = Timing(pre_ms=1.0, inference_ms=20.0, post_ms=0.5)
    return Result(heatmap=heatmap, score=float(heatmap.max()), threshold=threshold, timing=timing, backend="test")


def heatmap_with(*pixels: tuple[int, int, float]) -> NDArray[np.float32]:
    heatmap = np.zeros((40, 30), np.float32)
    for row, column, heat in pixels:
        heatmap[row, column] = heat
    return heatmap


def test_a_score_at_the_threshold_is_ng_and_just_below_it_ok() -> None:
    heatmap = heatmap_with((3, 4, 0.5))
    assert result(heatmap, 0.5).verdict is Verdict.NG
    assert result(heatmap, np.nextafter(0.5, 1)).verdict is Verdict.OK


def test_a_verdict_reads_as_its_word_everywhere() -> None:
    assert f"{Verdict.NG} {Verdict.OK!s}" == "NG OK"
    assert Verdict.NG == "NG"


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9, float(np.float32(0.9)), 0.5])
def test_a_strip_is_ng_when_and_only_when_it_has_a_region(threshold: float) -> None:
    at = np.float32(threshold)  # 0.9 is no float32: the nearest one lies on one side of it
    for heat in (np.nextafter(at, np.float32(0)), at, np.nextafter(at, np.float32(1))):
        one = result(heatmap_with((3, 4, float(heat))), threshold)
        assert (one.verdict is Verdict.NG) == bool(one.regions) == (float(heat) >= threshold)


def test_a_region_has_its_box_area_peak_and_centroid() -> None:
    heatmap = heatmap_with((10, 20, 0.6), (10, 21, 0.9), (11, 20, 0.7), (11, 22, 0.2))
    (region,) = find_regions(heatmap, 0.5)
    assert region.box == (10, 20, 2, 2)
    assert region.area_px == 3
    assert region.peak == float(np.float32(0.9))
    assert region.centroid_px == pytest.approx(((10 + 10 + 11) / 3, (20 + 21 + 20) / 3))


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    assert len(find_regions(heatmap_with((5, 5, 0.9), (6, 6, 0.9)), 0.5)) == 1
    assert len(find_regions(heatmap_with((5, 5, 0.9), (7, 6, 0.9)), 0.5)) == 2


def test_the_largest_region_comes_first() -> None:
    regions = find_regions(heatmap_with((1, 1, 0.99), (20, 3, 0.6), (20, 4, 0.6), (30, 3, 0.6), (31, 3, 0.6), (31, 4, 0.6)), 0.5)
    assert [region.area_px for region in regions] == [3, 2, 1]


def test_the_peak_of_a_region_is_its_own_when_boxes_overlap() -> None:
    # an L around a single pixel that it does not touch
    heatmap = heatmap_with(*((row, 2, 0.6) for row in range(2, 12)), *((11, column, 0.6) for column in range(2, 12)), (4, 8, 0.9))
    corner, single = find_regions(heatmap, 0.5)
    assert (corner.area_px, corner.peak) == (19, float(np.float32(0.6)))
    assert (single.area_px, single.peak) == (1, float(np.float32(0.9)))


def test_regions_are_computed_once_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []
    monkeypatch.setattr("lineside.engine.result.find_regions", lambda _, threshold: calls.append(threshold) or ())
    one = result(heatmap_with((3, 4, 0.9)), 0.5)
    assert calls == []
    assert one.regions is one.regions
    assert calls == [0.5]


def test_a_result_cannot_be_changed() -> None:
    one = result(heatmap_with(), 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.score = 0.0  # type: ignore[misc]
    assert not hasattr(one, "__dict__")


def test_the_total_is_the_sum_of_the_stages() -> None:
    assert result(heatmap_with(), 0.5).timing.total_ms == 21.5
