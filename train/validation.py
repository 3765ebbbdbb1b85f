"""How good the network is on the labelled strips of valid/, and which of two epochs is better.

In:   the network as it is in training, and the data set.
Out:  `Validation`: metrics, and the verdict threshold for exactly these weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lineside.dataset import Dataset
from lineside.judge.evaluation import evaluate
from lineside.judge.threshold import choose_threshold
from lineside.progress import Progress

from .checkpoint_model import CheckpointModel
from .unet import UNet

CHOSEN_BY = {
    "pixel_ap": "highest pixel AP on valid",
    "image_auroc": "highest image AUROC on valid, which has no masks",
}
"""Metrics that can choose the best epoch: the first one that the data set defines does. AUROC alone saturates (design 3)."""
CHOSEN_LAST = "last epoch, for want of a metric on valid"


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Metrics that the labelled strips define, None for the others; the threshold and the rule that chose it."""

    metrics: Mapping[str, float | None]
    threshold: float
    threshold_rule: str


def validate(network: UNet, dataset: Dataset, *, device: torch.device, progress: Progress) -> Validation:
    """Measure the network on whole strips, as it will be used; it is in training mode again afterwards.

    Raises:
        StripError, DatasetError: A strip or mask of valid/ is not what the spec says.
    """
    network.eval()
    result = evaluate(CheckpointModel(network, dataset.spec, device=device), dataset.valid, progress=progress, keep_worst=0)
    network.train()
    threshold, rule = choose_threshold(result.scores, result.defective)
    metrics = {
        "image_auroc": result.image_curve.auroc,
        "pixel_auroc": result.pixel_auroc,
        "pixel_ap": result.pixel_ap,
    }
    return Validation(metrics=metrics, threshold=threshold, threshold_rule=rule)


def best_epoch(history: tuple[Mapping[str, float | None], ...]) -> tuple[int, str]:
    """Which epoch is the best so far, counted from 1, and by what it was chosen; of equals the first. 0 before the first epoch."""
    for metric, rule in CHOSEN_BY.items():
        rows = [row for row in history if row.get(metric) is not None]
        if rows:
            return int(max(rows, key=lambda row: row[metric] or 0.0)["epoch"] or 0), rule
    return len(history), CHOSEN_LAST
