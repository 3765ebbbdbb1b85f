"""The focal loss of design 3: pixels that are already right count little, so that a few defect pixels can be heard.

In:   logits (B, 2, h, w) float32 (background, defect), the mask (B, h, w) bool, and gamma.
Out:  a scalar, the mean over all pixels of -alpha * (1 - p)^gamma * log(p), p the probability of what the mask says.
Source: Lin et al., "Focal Loss for Dense Object Detection" (2017), with p smoothed by 1e-5 (design 3).
"""

from __future__ import annotations

import torch
from torch import Tensor

ALPHA_DEFECT = 0.75
"""Weight of a defect pixel; a background pixel has 1 - ALPHA_DEFECT (design 3)."""
SMOOTHING = 1e-5
"""Share of the other class in what the mask says (design 3); keeps the logarithm finite."""


def focal_loss(logits: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """The mean focal loss of a batch."""
    # Two classes: softmax is the sigmoid of the difference, with its sign turned where the mask says background.
    difference = logits[:, 1] - logits[:, 0]
    right = torch.sigmoid(torch.where(mask, difference, -difference))
    smoothed = SMOOTHING + (1.0 - 2.0 * SMOOTHING) * right
    alpha = torch.where(mask, ALPHA_DEFECT, 1.0 - ALPHA_DEFECT)
    return -(alpha * (1.0 - smoothed) ** gamma * torch.log(smoothed)).mean()
