"""The focal loss against ten lines of numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lineside.train.losses import focal_loss


def focal_by_hand(logits: np.ndarray, mask: np.ndarray, gamma: float) -> float:
    """-alpha (1 - p)^gamma log p, p the softmax probability of the labelled class, labels 1e-5 smoothed; alpha 0.75 for defects."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    one_hot = np.stack([~mask, mask], axis=1)
    labels = np.where(one_hot, 1 - 1e-5, 1e-5)
    p = (labels * probabilities).sum(axis=1)
    return float(np.mean(-np.where(mask, 0.75, 0.25) * (1 - p) ** gamma * np.log(p)))


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.3, 3.0])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_the_loss_is_the_one_of_the_paper(gamma: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    logits, mask = scale * rng.standard_normal((2, 2, 8, 8)), rng.random((2, 8, 8)) < 0.3
    found = focal_loss(torch.from_numpy(logits), torch.from_numpy(mask), gamma)
    assert found.item() == pytest.approx(focal_by_hand(logits, mask, gamma), rel=1e-9)


def test_a_pixel_that_is_wholly_wrong_costs_a_finite_amount() -> None:
    logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_()
    loss = focal_loss(logits, torch.ones(1, 1, 1, dtype=torch.bool), 3.0)
    loss.backward()
    assert loss.item() == pytest.approx(-0.75 * np.log(1e-5), rel=1e-4)
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_a_pixel_that_is_wholly_right_has_a_finite_gradient_at_every_gamma() -> None:
    for gamma in (0.0, 1.0, 1.5, 3.0):
        logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_()
        focal_loss(logits, torch.zeros(1, 1, 1, dtype=torch.bool), gamma).backward()
        assert logits.grad is not None
        assert bool(torch.isfinite(logits.grad).all())
