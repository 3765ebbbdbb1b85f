"""Measure a model on labelled strips: checkpoint, ONNX file or engine, through the same code.

In:   anything that answers a heatmap (`HeatmapModel`), and labelled strips.
Out:  `Evaluation`: metrics over all strips and per kind, one row per strip, curves for plots, and the worst strips with their heatmaps.
All or nothing: a strip that cannot be read, or an answer that is no heatmap, ends it with an error.
Strips are looked at one after another. Kept are a row per strip, histograms per kind, and the heatmaps of the worst few.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lineside.dataset import GOOD, Sample, read_sample
from lineside.manifest import checked_threshold
from lineside.notices import lines_so_far
from lineside.progress import Progress, silent

from .metrics import PRO_LIMIT, Curve, Verdicts
from .model import HeatmapModel
from .pixel_metrics import PixelMetrics, check_heatmap, label_regions
from .threshold import verdict_level

SCHEMA = 1
WORST_STRIPS = 20
"""How many of the worst strips are kept with their heatmaps."""

ThresholdSource = Literal["model", "caller"]


@dataclass(frozen=True, kw_only=True)
class StripRow:
    """What became of one strip.

    Attributes:
        sample: The strip and its label.
        score: Maximum of its heatmap.
        ng: The verdict.
        defects: Regions of its ground truth; None without one, and so are the next two.
        found: How many of them the heatmap reaches the threshold in.
        false_alarms: Regions of the heatmap at the threshold that touch no ground truth.
    """

    sample: Sample
    score: float
    ng: bool
    defects: int | None
    found: int | None
    false_alarms: int | None

    @property
    def verdict(self) -> str:
        """ "NG" or "OK"."""
        return "NG" if self.ng else "OK"

    @property
    def right(self) -> bool:
        """Whether the verdict is what the label says."""
        return self.ng == self.sample.defective

    def to_json(self) -> dict[str, Any]:
        """One entry of `strips` in metrics.json."""
        return {
            "path": str(self.sample.path),
            "kind": self.sample.kind,
            "score": self.score,
            "verdict": self.verdict,
            "right": self.right,
            "defects": self.defects,
            "found": self.found,
            "false_alarms": self.false_alarms,
        }


@dataclass(frozen=True, kw_only=True)
class KindMetrics:
    """The strips of one kind. AUROC and AP compare them with the good strips; None for those themselves.

    Attributes:
        kind: "good" or the name of the defect.
        strips, ng: How many there are, and how many were called NG.
        verdict_recall: Share called NG; None for good strips, where each one is a false alarm.
        recall_per_defect: Share of the ground-truth regions that were found.
        image_auroc: Scores of this kind against scores of the good ones.
        pixel_ap: Over the pixels of this kind and of the good ones.
    """

    kind: str
    strips: int
    ng: int
    verdict_recall: float | None
    recall_per_defect: float | None
    image_auroc: float | None
    pixel_ap: float | None


@dataclass(frozen=True, kw_only=True)
class WorstStrip:
    """A strip worth looking at, with its heatmap (H, W) float32."""

    row: StripRow
    heatmap: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What a model is worth on labelled strips. A number that the strips do not define is None.

    Attributes:
        threshold: NG when the score is at least this.
        threshold_source: Who chose it: the model carries it, or the caller named it.
        threshold_rule: How the model's own was chosen; None when it does not say it, or the caller named another.
        kinds: Per kind, the good ones first.
        rows: Per strip, in the order of the data set.
        worst: Missed defects by rising score, then false alarms by falling score, then right verdicts by their distance from the threshold.
        image_curve: Over all strips.
        pixel_curve: Over all pixels of strips with known ground truth, thinned for plots.
        pixel_auroc, pixel_ap, pro: Of the pixel curve before thinning.
        warnings: What was noticed about the files (`lineside.notices`).
    """

    threshold: float
    threshold_source: ThresholdSource
    threshold_rule: str | None
    kinds: tuple[KindMetrics, ...]
    rows: tuple[StripRow, ...]
    worst: tuple[WorstStrip, ...]
    image_curve: Curve
    pixel_curve: Curve
    pixel_auroc: float | None
    pixel_ap: float | None
    pro: float | None
    warnings: tuple[str, ...] = ()

    @property
    def scores(self) -> list[float]:
        """Score of every strip."""
        return [row.score for row in self.rows]

    @property
    def defective(self) -> list[bool]:
        """Label of every strip."""
        return [row.sample.defective for row in self.rows]

    @property
    def verdicts(self) -> Verdicts:
        """Right and wrong verdicts at the threshold."""
        return Verdicts.of(self.scores, self.defective, self.threshold)

    @property
    def recall_per_defect(self) -> float | None:
        """Share of all ground-truth regions that were found."""
        return _recall_per_defect(self.rows)

    @property
    def false_alarms_per_strip(self) -> float | None:
        """Mean number of alarms that touch no ground truth, over the strips whose ground truth is known."""
        known = [row.false_alarms for row in self.rows if row.false_alarms is not None]
        return sum(known) / len(known) if known else None

    def to_json(self) -> dict[str, Any]:
        """The content of metrics.json: numbers, or null where the strips do not define one."""
        verdicts = self.verdicts
        return {
            "schema": SCHEMA,
            "threshold": self.threshold,
            "threshold_source": self.threshold_source,
            "threshold_rule": self.threshold_rule,
            "image_auroc": self.image_curve.auroc,
            "image_ap": self.image_curve.average_precision,
            "f1": verdicts.f1,
            "precision": verdicts.precision,
            "recall": verdicts.recall,
            "good_called_ng": verdicts.good_ng,
            "pixel_auroc": self.pixel_auroc,
            "pixel_ap": self.pixel_ap,
            "pro": self.pro,
            "pro_limit": PRO_LIMIT,
            "recall_per_defect": self.recall_per_defect,
            "false_alarms_per_strip": self.false_alarms_per_strip,
            "kinds": {kind.kind: {name: value for name, value in asdict(kind).items() if name != "kind"} for kind in self.kinds},
            "warnings": list(self.warnings),
            "strips": [row.to_json() for row in self.rows],
        }


def evaluate(
    model: HeatmapModel,
    samples: Sequence[Sample],
    *,
    threshold: float | None = None,
    progress: Progress = silent,
    keep_worst: int = WORST_STRIPS,
) -> Evaluation:
    """Measure `model` on `samples`.

    Args:
        model: What answers the heatmaps.
        samples: Labelled strips.
        threshold: For the verdicts; None: the model's own.
        progress: Told of every strip.
        keep_worst: How many heatmaps to keep at most; 0 while training.

    Raises:
        ConfigError: The threshold is not in 0..1.
        StripError, DatasetError: A strip or mask is not what the spec says.
        ModelError: An answer is not a heatmap.
    """
    verdict_threshold = checked_threshold(model.threshold if threshold is None else threshold)
    rows: list[StripRow] = []
    pixels: dict[str, PixelMetrics] = {}
    worst: list[tuple[tuple[float, ...], WorstStrip]] = []  # a heap: the first entry is the least bad; indices break ties
    for index, sample in enumerate(progress(samples, total=len(samples), what="evaluate")):
        strip, mask = read_sample(sample, model.spec)
        heatmap = model.heatmap(strip)
        check_heatmap(heatmap, mask.shape, name=str(sample.path))
        truth_known = sample.mask is not None or not sample.defective
        if truth_known:
            pixels.setdefault(sample.kind, PixelMetrics()).update(heatmap, mask)
        row = strip_row(sample, heatmap, mask if truth_known else None, verdict_threshold)
        rows.append(row)
        if keep_worst:
            # a copy: an engine may write its next answer into the same memory
            entry = (*_badness(row, verdict_threshold), -index), WorstStrip(row=row, heatmap=heatmap.copy())
            (heapq.heappush if len(worst) < keep_worst else heapq.heappushpop)(worst, entry)
    curve = PixelMetrics.sum(pixels.values()).curve()
    return Evaluation(
        threshold=verdict_threshold,
        threshold_source="model" if threshold is None else "caller",
        threshold_rule=model.threshold_rule if threshold is None else None,
        kinds=_by_kind(rows, pixels),
        rows=tuple(rows),
        worst=tuple(strip for _, strip in sorted(worst, key=lambda entry: entry[0], reverse=True)),
        image_curve=Curve.of_scores([row.score for row in rows], [row.sample.defective for row in rows]),
        pixel_curve=curve.thinned(),
        pixel_auroc=curve.auroc,
        pixel_ap=curve.average_precision,
        pro=curve.pro,
        warnings=lines_so_far(),
    )


def strip_row(sample: Sample, heatmap: NDArray[np.float32], truth: NDArray[np.bool_] | None, threshold: float) -> StripRow:
    """What became of a strip; `truth` is None when it is not known."""
    score = float(heatmap.max())
    defects = found = false_alarms = None
    if truth is not None:
        alarm = heatmap >= verdict_level(threshold)
        labels, defects = label_regions(truth)
        found = np.unique(labels[alarm & truth]).size
        alarm_labels, alarms = label_regions(alarm)
        false_alarms = alarms - np.unique(alarm_labels[alarm & truth]).size
    return StripRow(sample=sample, score=score, ng=score >= threshold, defects=defects, found=found, false_alarms=false_alarms)


def _badness(row: StripRow, threshold: float) -> tuple[float, float]:
    """Sorts strips, the worst highest: a missed defect leaves the plant, a false alarm costs a good strip."""
    if row.right:
        return 0, -abs(row.score - threshold)
    return (2, -row.score) if row.sample.defective else (1, row.score)


def _by_kind(rows: Sequence[StripRow], pixels: dict[str, PixelMetrics]) -> tuple[KindMetrics, ...]:
    return tuple(_kind(kind, rows, pixels) for kind in dict.fromkeys(row.sample.kind for row in rows))


def _kind(kind: str, rows: Sequence[StripRow], pixels: dict[str, PixelMetrics]) -> KindMetrics:
    of_kind = [row for row in rows if row.sample.kind == kind]
    with_good = [row for row in rows if row.sample.kind in (kind, GOOD)]
    ng = sum(row.ng for row in of_kind)
    return KindMetrics(
        kind=kind,
        strips=len(of_kind),
        ng=ng,
        verdict_recall=None if kind == GOOD else ng / len(of_kind),
        recall_per_defect=_recall_per_defect(of_kind),
        image_auroc=Curve.of_scores([row.score for row in with_good], [row.sample.defective for row in with_good]).auroc,
        pixel_ap=(
            PixelMetrics.sum(pixels[name] for name in {kind, GOOD} & pixels.keys()).curve().average_precision if kind in pixels else None
        ),
    )


def _recall_per_defect(rows: Sequence[StripRow]) -> float | None:
    defects = sum(row.defects or 0 for row in rows)
    return sum(row.found or 0 for row in rows) / defects if defects else None
