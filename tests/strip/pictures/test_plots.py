"""Plots: drawn for whatever the strips define."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineside.dataset import Sample
from lineside.judge.evaluation import Evaluation, KindMetrics, StripRow
from lineside.judge.metrics import Curve
from lineside.judge.pixel_metrics import PixelMetrics
from lineside.pictures.plots import save_curves, save_scores

pytest.importorskip("matplotlib", reason="matplotlib draws the plots")


def evaluation(scores: dict[str, list[float]]) -> Evaluation:
    rows = tuple(
        StripRow(
            sample=Sample(path=Path(f"{kind}.tif"), kind=kind), score=score, ng=score >= 0.5, defects=None, found=None, false_alarms=None
        )
        for kind, values in scores.items()
        for score in values
    )
    kinds = tuple(
        KindMetrics(
            kind=kind,
            strips=len(values),
            ng=sum(score >= 0.5 for score in values),
            verdict_recall=None if kind == "good" else 0.5,
            recall_per_defect=None,
            image_auroc=None,
            pixel_ap=None,
        )
        for kind, values in scores.items()
    )
    pixels = PixelMetrics()
    rng = np.random.default_rng(0)
    mask = rng.random((16, 16)) < 0.1 * (len(scores) > 1)
    pixels.update(rng.random((16, 16)).astype(np.float32), mask)
    curve = pixels.curve()
    return Evaluation(
        threshold=0.5,
        threshold_source="model",
        threshold_rule=None,
        kinds=kinds,
        rows=rows,
        worst=(),
        image_curve=Curve.of_scores([row.score for row in rows], [row.sample.defective for row in rows]),
        pixel_curve=curve.thinned(),
        pixel_auroc=curve.auroc,
        pixel_ap=curve.average_precision,
        pro=curve.pro,
    )


BOTH = {"good": [0.0, 1e-9, 0.2, 0.6], "spot": [0.4, 0.9, 1.0]}


@pytest.mark.parametrize("scores", [BOTH, {"good": [0.1]}, {"spot": [0.1]}, {}], ids=["both", "good", "spot", "nothing"])
def test_plots_are_drawn_for_any_set_of_strips(tmp_path: Path, scores: dict[str, list[float]]) -> None:
    result = evaluation(scores)
    for save, name in ((save_curves, "curves.png"), (save_scores, "scores.png")):
        save(tmp_path / name, result)
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "scores.png"]


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_at_the_end_of_the_axis_is_drawn(tmp_path: Path, threshold: float) -> None:
    save_scores(tmp_path / "scores.png", dataclasses.replace(evaluation(BOTH), threshold=threshold))
    assert (tmp_path / "scores.png").is_file()


def test_the_curves_show_the_numbers(tmp_path: Path) -> None:
    with_defects, without = evaluation(BOTH), evaluation({"good": [0.1]})
    save_curves(tmp_path / "with.png", with_defects)
    save_curves(tmp_path / "without.png", without)
    orange = np.array([0xD9, 0x5F, 0x02])

    def lines(name: str) -> int:
        with Image.open(tmp_path / name) as picture:
            return int((np.abs(np.asarray(picture.convert("RGB")).astype(int) - orange).max(axis=2) < 20).sum())

    assert lines("with.png") > 500
    assert lines("without.png") == 0
