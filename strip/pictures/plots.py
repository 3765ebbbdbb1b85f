"""Plots of an evaluation: how well strips and pixels are told apart, and where the threshold lies among the scores.

In:   an `Evaluation`.
Out:  PNG files. matplotlib (extra [bench]) comes in when the first one is drawn; nothing global of it is touched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require
from lineside.files import file_being_written
from lineside.judge.evaluation import Evaluation
from lineside.judge.metrics import PRO_LIMIT, Curve

IMAGE_COLOUR, PIXEL_COLOUR, REGION_COLOUR = "#1f6fb4", "#d95f02", "#3a923a"
GOOD_COLOUR, DEFECT_COLOUR, THRESHOLD_COLOUR = "#3a923a", "#c44e52", "#222222"
DPI = 110
LEAST_RATE = 1e-6
"""Left end of the false positive axis: one pixel in six strips."""
LOGIT_END = 6.0
"""Scores nearer to 0 or 1 than 10**-6 are drawn there."""
LEAST_SPAN = 0.5
"""Least width of the score axis in decimal logits: 0.36 to 0.64."""
BARS = 64
TICKS = 9


def save_curves(path: Path, evaluation: Evaluation) -> None:
    """ROC and per-region overlap, and precision over recall, of strips and pixels.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    figure = _figure(11, 5)
    roc, pr = figure.subplots(1, 2)
    curves = (
        ("strips", evaluation.image_curve, evaluation.image_curve.auroc, evaluation.image_curve.average_precision, IMAGE_COLOUR),
        ("pixels", evaluation.pixel_curve, evaluation.pixel_auroc, evaluation.pixel_ap, PIXEL_COLOUR),
    )
    for name, curve, auroc, average_precision, colour in curves:
        if auroc is not None and average_precision is not None:
            _draw_rate(roc, curve, curve.recall, f"{name}: AUROC {auroc:.4f}", colour)
            pr.plot(curve.recall, curve.precision, color=colour, drawstyle="steps-pre", label=f"{name}: AP {average_precision:.4f}")
    if evaluation.pro is not None:
        label = f"regions: overlap up to {PRO_LIMIT:.0%} {evaluation.pro:.4f}"
        _draw_rate(roc, evaluation.pixel_curve, evaluation.pixel_curve.overlap, label, REGION_COLOUR)
        roc.axvline(PRO_LIMIT, color=REGION_COLOUR, linewidth=0.8, linestyle=":")
    roc.set(
        xscale="log",
        xlim=(LEAST_RATE, 1),
        title="Receiver operating characteristic",
        xlabel="false positive rate",
        ylabel="recall, of regions: overlap",
    )
    pr.set(xlim=(-0.02, 1.02), title="Precision and recall", xlabel="recall", ylabel="precision")
    for axes in (roc, pr):
        axes.set_ylim(-0.02, 1.02)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(loc="lower right" if axes is roc else "lower left")
        else:
            axes.text(0.5, 0.5, "needs good and defective strips", transform=axes.transAxes, ha="center")
    _save(figure, path)


def save_scores(path: Path, evaluation: Evaluation) -> None:
    """Histograms of the scores, one row per kind, with the threshold.

    The axis is that of the logit, which spreads the scores near 0 and near 1 alike.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    kinds = evaluation.kinds
    figure = _figure(11, 1.2 + 1.1 * max(1, len(kinds)))
    rows = figure.subplots(max(1, len(kinds)), 1, sharex=True, squeeze=False)[:, 0]
    low, high = _span(_logit(np.array([*evaluation.scores, evaluation.threshold])))
    width = (high - low) / BARS
    # a bar ends at the threshold, so that none stands for NG and OK at once
    edges = _logit(evaluation.threshold) + np.arange(-BARS - 1, BARS + 2) * width
    for axes, kind in zip(rows, kinds, strict=False):
        scores = np.array([row.score for row in evaluation.rows if row.sample.kind == kind.kind])
        defective = kind.verdict_recall is not None
        axes.hist(_logit(scores), bins=edges, color=DEFECT_COLOUR if defective else GOOD_COLOUR)
        axes.set_ylabel(kind.kind, rotation=0, ha="right", va="center", parse_math=False)
        axes.text(1.01, 0.5, f"{kind.ng} of {kind.strips} NG", transform=axes.transAxes, va="center")
        axes.axvline(_logit(evaluation.threshold), color=THRESHOLD_COLOUR, linestyle="--")
        axes.yaxis.get_major_locator().set_params(integer=True, nbins=3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.3)
    rows[0].set_title(f"Scores of {len(evaluation.rows)} strips by kind; threshold {evaluation.threshold:.4g}")
    ticks = sorted({_rounded(1 / (1 + 10**-logit)) for logit in np.linspace(low, high, TICKS)})
    rows[-1].set_xticks([_logit(tick) for tick in ticks], [f"{tick:.9g}" for tick in ticks])
    rows[-1].set(xlim=(low - width, high + width), xlabel="score (axis in logits)")
    figure.align_ylabels(rows)
    _save(figure, path)


def _draw_rate(axes: Any, curve: Curve, values: NDArray[np.float64] | None, label: str, colour: str) -> None:
    """A curve over the logarithm of the false positive rate; a rate of 0 is drawn at the left end."""
    assert curve.false_positive_rate is not None  # the caller draws what is defined
    axes.plot(np.maximum(curve.false_positive_rate, LEAST_RATE), values, color=colour, label=label)


def _logit(score: Any) -> Any:
    """Decimal logit of scores, within the ends of the axis."""
    end = 1 / (1 + 10**LOGIT_END)
    inside = np.clip(score, end, 1 - end)
    return np.log10(inside / (1 - inside))


def _span(logits: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of an axis that shows all of them, not narrower than `LEAST_SPAN`."""
    low, high = float(logits.min()), float(logits.max())
    missing = max(0.0, LEAST_SPAN - (high - low)) / 2
    return low - missing, high + missing


def _rounded(score: float) -> float:
    """A score to two digits of its distance from 0 or from 1."""
    return float(f"{score:.1e}") if score <= 0.5 else 1 - float(f"{1 - score:.1e}")


def _figure(width_in: float, height_in: float) -> Any:
    """A figure that draws into memory, without pyplot."""
    return require("matplotlib.figure", extra="bench").Figure(figsize=(width_in, height_in), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    with file_being_written(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
