"""Find the motion that lays a reference on Target: robust least squares, coarse to fine.

In:   strips (N, 3, H, W) float32 in [0, 1].
Out:  motions (2 N, 2 K + 3, 1) of `knots`: Ref1 and Ref2 of every strip in turn.

Gauss-Newton steps (Lucas and Kanade, "An iterative image registration technique", 1981) on displacement, turn, gain and offset together.
The prior decides where the pattern cannot: stripes are moved across and not along. What differs much counts little, so that a defect does
not pull; on the coarse levels, where the edges of the pattern are not yet on each other, it has to count more. The normal equations are
solved by a fixed number of Newton-Schulz steps (Schulz, "Iterative Berechnung der reziproken Matrix", 1933), which are matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .kernels import KEYS, LANCZOS, Kernel
from .knots import BEND_PX, REACH_PX, SHARED, prior_of, refined
from .mover import BLOCK, Mover

SCHULZ_STEPS = 10
"""Twice as many change no displacement by a thousandth of a pixel."""
BORDER_PX = 2
"""At the edges nothing counts: their slopes are made up. A wider border leaves the last rows to the prior alone."""
DARKEST = 1e-4
"""Least spread of what the fit leaves, as a share of white."""
NOISE_OF_MEAN = 1.5
"""What the fit leaves has about so many times more standard deviation than mean absolute value."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One resolution of the fit.

    Attributes:
        scale: So many pixels of the strip are one, a power of 2, and knots so many times as far from each other.
        steps: Of Gauss and Newton.
        row_step: Every so many rows are looked at.
        kernel: What moves the references.
        far: What differs by so many times the spread counts a quarter. Where edges are not yet on each other it has to count.
    """

    scale: int
    steps: int
    row_step: int
    kernel: Kernel
    far: float


LEVELS = (
    Level(scale=4, steps=2, row_step=1, kernel=KEYS, far=30.0),
    Level(scale=2, steps=1, row_step=1, kernel=KEYS, far=10.0),
    Level(scale=1, steps=2, row_step=4, kernel=LANCZOS, far=4.0),
)


class Fit(nn.Module):
    """Gauss-Newton steps on one level: the motion of the level before in, a better one with this level's knots out."""

    def __init__(self, height_px: int, width_px: int, level: Level, knots_before: int) -> None:
        super().__init__()
        self.level = level
        self.mover = Mover(height_px, width_px, scale=level.scale, row_step=level.row_step, kernel=level.kernel)
        self.knots, self.rows, self.width = self.mover.knots, self.mover.rows, self.mover.width
        border = max(1, BORDER_PX // level.scale)
        counted = torch.zeros(self.mover.blocks * BLOCK, 1, self.width)
        counted[border : self.mover.height - border, :, border:-border] = 1.0
        counted = counted[self.mover.at.start :: self.mover.at.step].contiguous()
        self.counted_share = 1.0 / max(1.0, float(counted.sum()))
        self.information = level.row_step * (level.scale / NOISE_OF_MEAN) ** 2  # a pixel of this level stands for so many of the strip
        self.counted = nn.Buffer(counted, persistent=False)
        self.row_of_knot = nn.Buffer(self.mover.knot_of_row.T.contiguous(), persistent=False)
        self.refined = nn.Buffer(refined(height_px, knots_before, self.knots), persistent=False)
        self.prior = nn.Buffer(prior_of(self.knots, BEND_PX * level.scale), persistent=False)
        self.unit = nn.Buffer(torch.eye(2 * self.knots + SHARED), persistent=False)

    def forward(self, strips: Tensor, motion: Tensor) -> Tensor:
        """`strips`: (N, 3, height, width) at this level's scale."""
        target, down, across = self._target(strips[:, 0:1])
        windows = self.mover.windows(strips[:, 1:3].reshape(-1, 1, self.mover.height, self.width))
        motion = self.refined @ motion
        for _ in range(self.level.steps):
            moved: Tensor = self.mover(windows, motion)
            columns = torch.cat([down, across, down * self.mover.across_inside, moved, 0 * moved + 1], dim=2)
            system, error = self._normal_equations(columns, target - moved)
            motion = motion + self._solve(system + self.prior, error - self.prior @ motion)
            motion = motion.clamp(-REACH_PX, REACH_PX)
        return motion

    def _target(self, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Target and its slopes down and across, per pixel of the strip, at the rows that are looked at: (2 N, rows, 1, width) each."""
        rows, width, per_px = self.mover.at, self.width, 0.5 / self.level.scale
        padded = F.pad(targets, (1, 1, 1, 1 + self.mover.blocks * BLOCK - self.mover.height), mode="replicate")
        stop = rows[-1] + 1
        above, here, below = (padded[:, :, rows.start + place : stop + place : rows.step] for place in (0, 1, 2))
        down = (below - above)[:, :, :, 1 : width + 1] * per_px
        across = (here[:, :, :, 2 : width + 2] - here[:, :, :, 0:width]) * per_px
        both = (torch.cat([values, values], dim=1) for values in (here[:, :, :, 1 : width + 1], down, across))
        target, down, across = (values.reshape(-1, self.rows, 1, width) for values in both)
        return target, down, across

    def _normal_equations(self, columns: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """J'WJ (M, P, P) and J'We (M, P, 1), in units of what the fit leaves.

        Args:
            columns: (M, rows, 5, width): what each pixel says of dy, dx, turn, gain and offset.
            error: (M, rows, 1, width).
        """
        rows = self.rows
        spread = (error.abs() * self.counted).sum(dim=(1, 2, 3), keepdim=True) * self.counted_share + DARKEST
        far = error / (spread * self.level.far)
        trust = 1 + far * far
        weight = self.counted * self.information / (trust * trust * spread * spread)
        sums = (columns * weight) @ torch.cat([columns, error], dim=2).transpose(2, 3)  # of each row: (M, rows, 5, 6)

        def between(first: int, second: int) -> Tensor:
            return (self.row_of_knot * sums[:, :, first : first + 1, second : second + 1].reshape(-1, 1, rows)) @ self.mover.knot_of_row

        with_shared = [self.row_of_knot @ sums[:, :, axis : axis + 1, 2:6].reshape(-1, rows, 4) for axis in (0, 1)]
        shared = sums[:, :, 2:5, 2:6].sum(dim=1)
        crossed = between(0, 1)
        system = torch.cat(
            [
                torch.cat([between(0, 0), crossed, with_shared[0][:, :, 0:3]], dim=2),
                torch.cat([crossed.transpose(1, 2), between(1, 1), with_shared[1][:, :, 0:3]], dim=2),
                torch.cat([with_shared[0][:, :, 0:3].transpose(1, 2), with_shared[1][:, :, 0:3].transpose(1, 2), shared[:, :, 0:3]], dim=2),
            ],
            dim=1,
        )
        return system, torch.cat([*(part[:, :, 3:4] for part in with_shared), shared[:, :, 3:4]], dim=1)

    def _solve(self, system: Tensor, right: Tensor) -> Tensor:
        """system^-1 right: the inverse of the scaled system by Newton-Schulz steps, which double its digits each."""
        scale = 1 / torch.sqrt((system * self.unit).sum(dim=2, keepdim=True))
        scaled = system * scale * scale.transpose(1, 2)
        twice = 2 * self.unit
        inverse = self.unit / scaled.abs().sum(dim=2, keepdim=True).amax(dim=1, keepdim=True)
        for _ in range(SCHULZ_STEPS):
            inverse = inverse @ (twice - scaled @ inverse)
        return inverse @ (right * scale) * scale
