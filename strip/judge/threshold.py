"""Choose the verdict threshold of a model from its scores on labelled strips.

In:   the scores of the validation strips, and which of them are defective.
Out:  the threshold, NG when the score is at least this, and the rule that gave it, in words that travel with the model.

The rule (design 7, "verdict"): the lowest threshold without a false alarm, or the best F1 when that one would miss more than half of the
defective strips. A whole gap between two scores decides these strips alike; its arithmetic middle is taken, so that the
threshold is not glued to one strip and leaves the same room on both sides for what precision and hardware change: that is
measured as an absolute difference of heatmaps (design 4 and 8), so the room is too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lineside.manifest import UNTUNED

from .metrics import Curve

DEFAULT_THRESHOLD = 0.5
"""Where background and defect are equally probable."""
MOST_MISSED = 0.5
"""Share of the defective strips that a threshold without false alarms may miss."""


def choose_threshold(scores: Sequence[float], defective: Sequence[bool]) -> tuple[float, str]:
    """The threshold and the rule that chose it.

    Without good strips false alarms are unknown: 0.5, "not tuned". With good strips alone 0.5 stays, too, unless one of them
    reaches it; then it is raised half way from the best of them to 1.

    Args:
        scores: In [0, 1], one per strip.
        defective: Whether that strip is defective.
    """
    good = [score for score, bad in zip(scores, defective, strict=True) if not bad]
    bad = [score for score, bad in zip(scores, defective, strict=True) if bad]
    if not good:
        return DEFAULT_THRESHOLD, UNTUNED
    highest = max(good)
    if not bad:
        if highest < DEFAULT_THRESHOLD:
            return DEFAULT_THRESHOLD, UNTUNED
        return between(highest, 1.0), f"above the {len(good)} good strips of valid, which has no defective ones"
    found = [score for score in bad if score > highest]
    if len(found) >= (1 - MOST_MISSED) * len(bad):
        return between(highest, min(found)), f"no false alarm on {len(good)} good strips of valid, {len(found)} of {len(bad)} defective NG"
    return _best_f1(scores, defective)


def verdict_level(threshold: float) -> np.float32:
    """The least float32 that is not below the threshold.

    A float32 heatmap compared with this gives what its scores compared with the threshold give. Compared with the
    threshold itself, numpy rounds that to float32 first, and a pixel could be NG in a strip that is OK.
    """
    level: np.float32 = np.float32(threshold)
    if level < np.float64(threshold):
        level = np.nextafter(level, np.float32(np.inf))
    return level


def _best_f1(scores: Sequence[float], defective: Sequence[bool]) -> tuple[float, str]:
    """The middle of the gap below the score whose F1 is best; of equals the highest, which has the fewest false alarms."""
    curve = Curve.of_scores(scores, defective)
    f1 = 2 * curve.true_positives / (curve.true_positives + curve.false_positives + curve.true_positives[-1])
    best = int(np.argmax(f1[1:]))  # the first point of a curve calls nothing NG
    descending = [*np.unique(scores)[::-1].tolist(), 0.0]
    return between(descending[best + 1], descending[best]), f"best F1 on valid, {f1[best + 1]:.3f}"


def between(low: float, high: float) -> float:
    """The middle of two scores, above `low`: what scores `high` is NG, what scores `low` is OK."""
    middle = (low + high) / 2
    return middle if middle > low else high
