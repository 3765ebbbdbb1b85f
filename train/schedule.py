"""What changes while a run goes on: gamma, the learning rate, and when it validates. Functions of counts, never of clocks.

In:   the step and the steps of the run, both from 0.
Out:  numbers; the same for the same arguments, so that a resumed run goes on as if nothing had happened.
"""

from __future__ import annotations

import math

LR_MILESTONES = (0.8, 0.9)
"""Shares of the run after which the learning rate falls (design 3)."""
LR_FACTOR = 0.2
"""By how much it falls each time (design 3)."""
VALIDATION_SHARE = 0.1
"""Validation may take this share of the time of training."""
PASSES_PER_STEP = 3
"""A training step costs about as much as three forward passes: one forward, two backward."""


def gamma_at(step: int, steps: int, gamma: tuple[float, float]) -> float:
    """Gamma of the focal loss: half a cosine from `gamma[0]` at the first step to `gamma[1]` at the last (design 3)."""
    first, last = gamma
    progress = step / max(1, steps - 1)
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def lr_at(step: int, steps: int, lr: float) -> float:
    """The learning rate of a step."""
    return lr * LR_FACTOR ** sum(step >= share * steps for share in LR_MILESTONES)


def validates_after(epoch: int, epochs: int, *, training_patches: int, validation_tiles: int) -> bool:
    """Whether a run validates after this epoch (counted from 1): as often as it may, and always after the last.

    Args:
        epoch, epochs: The epoch that has just ended, and all of them.
        training_patches: Patches of one epoch, all processes together.
        validation_tiles: Tiles of all labelled strips of valid/.
    """
    interval = math.ceil(validation_tiles / (PASSES_PER_STEP * training_patches * VALIDATION_SHARE))
    return (epochs - epoch) % max(1, interval) == 0
