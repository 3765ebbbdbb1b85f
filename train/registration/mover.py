"""Move references by a motion.

In:   references (M, 1, H, W), and motions (M or 1, 2 K + 3, 1) of `knots`.
Out:  (M, rows, 1, W): T(y, x) = (1 + gain) R(y + dy(y) + turn u(x), x + dx(y)) + offset, u from -1/2 to 1/2 of the width.
A row is displaced along the columns as a whole; what the turn adds to dy from column to column is small, and its first order is enough.
Slices and matrix products of fixed sizes: no GridSample, which ONNX has not before opset 16.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .kernels import Kernel, weights
from .knots import REACH_PX, hat_functions, knots_of

BLOCK = 16
"""Rows, or columns, that are moved by one matrix product, from themselves and as many around them."""
STEP_PX = 1e-2
"""Of the difference that stands for a derivative of the weights: its error is below 2e-4 of the steepest slope."""


class Taps:
    """Where a kernel looks, seen from a pixel whose displacement is `reach` at most: every whole pixel from -`margin` to `margin`."""

    def __init__(self, kernel: Kernel, reach: int) -> None:
        self.kernel = kernel
        self.margin = reach + kernel.half - 1
        self.count = 2 * self.margin + 1
        self.places = torch.arange(-self.margin, self.margin + 1, dtype=torch.float32)


class Mover(nn.Module):
    """Moves references by a motion, at the rows of one resolution. Rows are filled up to whole blocks by repeating the last one."""

    def __init__(self, height_px: int, width_px: int, *, scale: int, row_step: int, kernel: Kernel) -> None:
        super().__init__()
        self.scale, self.knots = scale, knots_of(height_px, scale)
        self.height, self.width = height_px // scale, width_px // scale
        self.blocks = math.ceil(self.height / BLOCK)
        self.rows = self.blocks * BLOCK // row_step
        self.rows_of_block = BLOCK // row_step
        first = row_step // 2
        self.at = range(first, self.blocks * BLOCK, row_step)
        self.taps = Taps(kernel, math.ceil(REACH_PX / scale))
        margin = self.taps.margin
        centres = ((torch.arange(self.blocks * BLOCK) + 0.5) * scale - 0.5).clamp(max=height_px - 1)
        self.columns = math.ceil(self.width / BLOCK) * BLOCK
        across = ((torch.arange(self.columns + BLOCK) - margin + 0.5) * scale / width_px - 0.5).reshape(1, 1, 1, -1)
        spread = torch.zeros(self.taps.count, 2 * BLOCK, BLOCK)
        for column in range(BLOCK):
            spread[torch.arange(self.taps.count), column + torch.arange(self.taps.count), column] = 1.0
        steps = torch.tensor([0.0, STEP_PX, -STEP_PX])
        in_block = torch.arange(2 * BLOCK) - margin - torch.arange(first, BLOCK, row_step)[:, None]
        value_and_slope = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5 / STEP_PX, -0.5 / STEP_PX]])
        hats = hat_functions(centres, height_px, self.knots)
        self.knot_of_row = nn.Buffer(hats[first::row_step].contiguous(), persistent=False)
        self.across = nn.Buffer(across, persistent=False)
        self.across_inside = nn.Buffer(across[:, :, :, margin : margin + self.width].contiguous(), persistent=False)
        self.above_and_below = nn.Buffer((in_block - steps[:, None, None]).reshape(-1, 2 * BLOCK), persistent=False)
        self.value_and_slope = nn.Buffer(torch.kron(value_and_slope, torch.eye(self.rows_of_block)), persistent=False)
        self.beside = nn.Buffer(self.taps.places, persistent=False)
        self.spread = nn.Buffer(spread.reshape(self.taps.count, -1), persistent=False)

    def windows(self, references: Tensor) -> Tensor:
        """Every block of rows and what is around it: (M, blocks, 2 BLOCK, columns + BLOCK) from (M, 1, height, width)."""
        margin, rows = self.taps.margin, self.blocks * BLOCK
        below = rows + BLOCK - self.height - margin
        right = self.columns + BLOCK - self.width - margin
        padded = F.pad(references, (margin, right, margin, below), mode="replicate")
        shape = (-1, self.blocks, BLOCK, self.columns + BLOCK)
        return torch.cat([padded[:, :, 0:rows].reshape(*shape), padded[:, :, BLOCK : rows + BLOCK].reshape(*shape)], dim=2)

    def displacement(self, motion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """dy and dx of each row (M, rows, 1), and what is added to dy along the columns (M, 1, 1, width), in pixels of this resolution."""
        down = self.knot_of_row @ motion[:, 0 : self.knots] / self.scale
        across = self.knot_of_row @ motion[:, self.knots : 2 * self.knots] / self.scale
        return down, across, self._turn(motion) * self.across_inside

    def forward(self, windows: Tensor, motion: Tensor) -> Tensor:
        """(M, rows, 1, width): the references where the motion says, with its gain and offset."""
        down, across, _ = self.displacement(motion)
        of_block = self.rows_of_block
        of_row = down.reshape(-1, self.blocks, of_block, 1)
        near = weights(self.taps.kernel, torch.cat([of_row, of_row, of_row], dim=2), self.above_and_below)
        both = (self.value_and_slope @ near) @ windows
        between_rows = both[:, :, 0:of_block] + self._turn(motion) * self.across * both[:, :, of_block : 2 * of_block]
        moved = self._move_columns(between_rows.reshape(-1, self.rows, 1, self.columns + BLOCK), across)
        gain, offset = (motion[:, index : index + 1].reshape(-1, 1, 1, 1) for index in (2 * self.knots + 1, 2 * self.knots + 2))
        return moved + gain * moved + offset

    def _move_columns(self, pictures: Tensor, across: Tensor) -> Tensor:
        """(M, rows, 1, width) from (M, rows, 1, columns + BLOCK): each row's weights stand once for each column of a block."""
        shape = (-1, self.rows, self.columns // BLOCK, BLOCK)
        parts = (pictures[:, :, :, 0 : self.columns].reshape(*shape), pictures[:, :, :, BLOCK : self.columns + BLOCK].reshape(*shape))
        band = (weights(self.taps.kernel, across, self.beside) @ self.spread).reshape(-1, self.rows, 2 * BLOCK, BLOCK)
        moved = torch.cat(parts, dim=3) @ band
        return moved.reshape(-1, self.rows, 1, self.columns)[:, :, :, 0 : self.width]

    def _turn(self, motion: Tensor) -> Tensor:
        return motion[:, 2 * self.knots : 2 * self.knots + 1].reshape(-1, 1, 1, 1) / self.scale
