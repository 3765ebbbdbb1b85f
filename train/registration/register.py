"""Lay both references of a strip on its Target, as far as one smooth motion of the part under the camera explains them.

In:   strips (N, 3, H, W) float32 in [0, 1]: Target, Ref1, Ref2, as the camera saw them.
Out:  the same shape and range: Target untouched, each reference moved, and made as bright as Target.
The same module trains and is exported, for every opset from 11 on.
Lanczos' kernel of 8 taps resamples the original reference, once: Keys' cubic of 4 taps blurs fine patterns more, and pulls a fit on them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .fit import LEVELS, Fit
from .kernels import LANCZOS
from .knots import SHARED, knots_of
from .mover import Mover


class Registration(nn.Module):
    """(N, 3, H, W) in [0, 1] -> the same with registered references. Has no weights; what it holds are constants.

    Motions are those of `knots`, (2 N, 2 K + 3, 1): Ref1 and Ref2 of every strip in turn.
    """

    def __init__(self, height_px: int, width_px: int) -> None:
        super().__init__()
        self.height_px, self.width_px = height_px, width_px
        knots = [knots_of(height_px, level.scale) for level in LEVELS]
        self.fits = nn.ModuleList(
            Fit(height_px, width_px, level, before) for level, before in zip(LEVELS, (knots[0], *knots[:-1]), strict=True)
        )
        self.mover = Mover(height_px, width_px, scale=1, row_step=1, kernel=LANCZOS)
        self.still = nn.Buffer(torch.zeros(1, 2 * knots[0] + SHARED, 1), persistent=False)
        self.rows = nn.Buffer(torch.arange(height_px, dtype=torch.float32)[:, None], persistent=False)
        self.columns = nn.Buffer(torch.arange(width_px, dtype=torch.float32), persistent=False)

    def motion(self, strips: Tensor) -> Tensor:
        """The motion of every reference, strip by strip."""
        scales = {1: strips}
        for scale in (2, 4):
            scales[scale] = F.avg_pool2d(scales[scale // 2], 2)
        motion = self.still
        for level, fit in zip(LEVELS, self.fits, strict=True):
            motion = fit(scales[level.scale], motion)
        return motion

    def forward(self, strips: Tensor) -> Tensor:
        height, width = self.height_px, self.width_px
        motion = self.motion(strips)
        moved = self.mover(self.mover.windows(strips[:, 1:3].reshape(-1, 1, height, width)), motion)
        references = moved[:, 0:height].reshape(-1, 2, height, width).clamp(0, 1)
        shown = self._shown(motion).reshape(-1, 2, height, width)
        return torch.cat([strips[:, 0:1], *_filled(strips[:, 0:1], references, shown)], dim=1)

    def _shown(self, motion: Tensor) -> Tensor:
        """(M, H, W): 1 where the reference shows what Target does, 0 where that is out of its sight; a ramp of a pixel over its edge."""
        down, across, tilt = self.mover.displacement(motion)
        y = self.rows + down[:, 0 : self.height_px] + tilt.reshape(-1, 1, self.width_px)
        x = self.columns + across[:, 0 : self.height_px]
        inside = torch.minimum(torch.minimum(y, self.height_px - 1 - y), torch.minimum(x, self.width_px - 1 - x))
        return (0.5 + inside).clamp(0, 1)


def _filled(target: Tensor, references: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Both references; where one sees nothing it shows what the other one does, and where neither does what Target does."""
    first, second = references[:, 0:1], references[:, 1:2]
    first_shown, second_shown = shown[:, 0:1], shown[:, 1:2]
    of_first = first_shown * first + (1 - first_shown) * target
    of_second = second_shown * second + (1 - second_shown) * target
    return first_shown * first + (1 - first_shown) * of_second, second_shown * second + (1 - second_shown) * of_first
