"""The network: a UNet that gives every pixel of a tile a logit for background and one for defect.

In:   (B, 3, h, w) float32 in [0, 1]; h and w are multiples of 32.
Out:  (B, 2, h, w) float32 logits: background, defect.
Widths, depths and order are facts of design 3; 28.37 M parameters at 64 base channels, 28 convolutions at every width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lineside.errors import ConfigError
from lineside.spec import CHANNELS

CLASSES = 2
DEFECT_CLASS = 1
WIDTHS = (1, 2, 4, 8, 8, 8)
"""Channels of the six encoder blocks, in multiples of the base channels: 64, 128, 256, 512, 512, 512 at 64."""
UP_WIDTHS = (8, 4, 2, 1, 1)
"""Channels of the five decoder blocks, likewise: the one reading of design 3 that has its 28.37 M parameters."""
CONVOLUTIONS = 2 * len(WIDTHS) + 3 * len(UP_WIDTHS) + 1


class ConvUnit(nn.Module):
    """3x3 convolution, batch norm, ReLU; same height and width."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        # no bias: the batch norm behind it has one
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class DoubleConv(nn.Sequential):
    """Two convolution units."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(ConvUnit(channels_in, channels_out), ConvUnit(channels_out, channels_out))


class DownBlock(nn.Module):
    """2x2 max-pool, except in the first block, and two convolution units."""

    def __init__(self, channels_in: int, channels_out: int, *, pool: bool) -> None:
        super().__init__()
        self.pool = pool
        self.convs = DoubleConv(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.convs(F.max_pool2d(x, 2) if self.pool else x))


class UpBlock(nn.Module):
    """Bilinear x2, a convolution unit, concatenation with the skip, two convolution units."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.reduce = ConvUnit(channels_in, channels_out)
        self.merge = DoubleConv(channels_skip + channels_out, channels_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
        return cast(Tensor, self.merge(torch.cat([skip, self.reduce(x)], dim=1)))


class UNet(nn.Module):
    """The UNet of design 3.

    Args:
        base_channels: Width of the first block; 64 for production, 16 trains on a laptop CPU in minutes.

    Raises:
        ConfigError: `base_channels` is not positive.
    """

    def __init__(self, base_channels: int = 64) -> None:
        super().__init__()
        if base_channels < 1:
            raise ConfigError(f"{base_channels} base channels", why="a network needs one at least", fix="use --base-channels 16 or 64")
        self.base_channels = base_channels
        down = [base_channels * width for width in WIDTHS]
        up = [base_channels * width for width in UP_WIDTHS]
        self.encoder = nn.ModuleList(
            DownBlock(above, out, pool=index > 0) for index, (above, out) in enumerate(zip([len(CHANNELS), *down[:-1]], down, strict=True))
        )
        self.decoder = nn.ModuleList(
            UpBlock(below, skip, out) for below, skip, out in zip([down[-1], *up[:-1]], down[-2::-1], up, strict=True)
        )
        self.logits = nn.Conv2d(up[-1], CLASSES, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) float32 in [0, 1] -> (B, 2, h, w) logits."""
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.decoder, skips[-2::-1], strict=True):
            x = block(x, skip)
        return cast(Tensor, self.logits(x))


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """The sha256 of a network's weights: names, shapes and bytes in the order of names. The identity of a model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
