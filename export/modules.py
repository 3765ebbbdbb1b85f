"""The three layers of the exported model, one inside the other, so that the file needs no code around it.

1. `SegmentationNetwork` (train.unet.UNet): (B, 3, h, w) in [0, 1] -> logits (B, 2, h, w).
2. `PatchHeatmap`: softmax, the defect channel -> (B, 1, h, w) float32 in [0, 1].
3. `FullImageHeatmap`: cut, run, stitch -> (N, 1, H, W); `Production` and `Raw` put the io form of design 4 around it.

Only slices, concatenations and constant reshapes: the batch stays dynamic without one Shape node in the graph, which is
what TensorRT, OpenVINO and ONNX Runtime optimise best. The windows come from `lineside.tiles`, never from here.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lineside.engine.files.io_forms import CONTRACTS
from lineside.manifest import Io, Tiling
from lineside.spec import CHANNELS, FULL_SCALE, POOLINGS, StripSpec
from lineside.tiles import Tile, TileGrid
from lineside.train.unet import DEFECT_CLASS, ConvUnit


class PatchHeatmap(nn.Module):
    """(B, 3, h, w) float32 in [0, 1] -> probability of a target-only defect (B, 1, h, w) float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: Tensor) -> Tensor:
        probabilities = torch.softmax(self.network(patches).float(), dim=1)
        return probabilities[:, DEFECT_CLASS : DEFECT_CLASS + 1]


class BatchedHeatmap(nn.Module):
    """All tiles of a strip as one batch: the network stands in the graph once."""

    def __init__(self, patch: PatchHeatmap, spec: StripSpec) -> None:
        super().__init__()
        self.patch = patch
        self.grid = spec.grid

    def forward(self, strips: Tensor) -> Tensor:
        side = self.grid.tile_px
        # Along the channels, then reshaped: strip-major order without a transpose.
        tiles = torch.cat([_tile_of(strips, tile) for tile in self.grid.tiles], dim=1).reshape(-1, len(CHANNELS), side, side)
        heat = self.patch(tiles).reshape(-1, len(self.grid), side, side)
        return _stitched([heat[:, index : index + 1] for index in range(len(self.grid))], self.grid)


class UnrolledHeatmap(nn.Module):
    """One copy of the network per tile: the original layout, and the reference for the others."""

    def __init__(self, patch: PatchHeatmap, spec: StripSpec) -> None:
        super().__init__()
        self.patch = patch
        self.grid = spec.grid

    def forward(self, strips: Tensor) -> Tensor:
        return _stitched([self.patch(_tile_of(strips, tile)) for tile in self.grid.tiles], self.grid)


class FullHeatmap(nn.Module):
    """One pass over the whole strip, padded to a multiple of 32 by repeating its edge. Not the same numbers as tiles give."""

    def __init__(self, patch: PatchHeatmap, spec: StripSpec) -> None:
        super().__init__()
        self.patch = patch
        self.height_px, self.width_px = spec.height_px, spec.width_px

    def forward(self, strips: Tensor) -> Tensor:
        down, right = (-side % 2**POOLINGS for side in (self.height_px, self.width_px))
        top, left = down // 2, right // 2
        if down or right:
            strips = F.pad(strips, (left, right - left, top, down - top), mode="replicate")
        heat: Tensor = self.patch(strips)
        return heat[:, :, top : top + self.height_px, left : left + self.width_px]


class Production(nn.Module):
    """`input` (N, 3, H, W) float32 in [0, 1] -> `output` (N, 3, H, W) = heatmap, zeros, zeros."""

    def __init__(self, full_image: nn.Module) -> None:
        super().__init__()
        self.full_image = full_image

    def forward(self, strips: Tensor) -> Tensor:
        return F.pad(self.full_image(strips), (0, 0, 0, 0, 0, CONTRACTS["production"].heatmap_channels - 1))


class Raw(nn.Module):
    """`strip` (N, 4, H, W) uint8 or float32 in 0..255 -> `heatmap` (N, 1, H, W) and `score` (N,), float32."""

    def __init__(self, full_image: nn.Module) -> None:
        super().__init__()
        self.full_image = full_image

    def forward(self, strips: Tensor) -> tuple[Tensor, Tensor]:
        heatmap = self.full_image(strips[:, : len(CHANNELS)].float() / FULL_SCALE)
        return heatmap, torch.amax(heatmap, dim=(1, 2, 3))


TILINGS: dict[Tiling, type[BatchedHeatmap | UnrolledHeatmap | FullHeatmap]] = {
    "batched": BatchedHeatmap,
    "unrolled": UnrolledHeatmap,
    "full": FullHeatmap,
}
IO_FORMS: dict[Io, type[Production | Raw]] = {"production": Production, "raw": Raw}


def full_image_heatmap(network: nn.Module, spec: StripSpec, *, tiling: Tiling = "batched", io: Io = "production") -> nn.Module:
    """The whole model around `network`, in eval mode."""
    return IO_FORMS[io](TILINGS[tiling](PatchHeatmap(network), spec)).eval()


def with_norms_folded(network: nn.Module) -> nn.Module:
    """A copy of `network` whose batch norms are part of the convolutions before them: exact, and what INT8 needs."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, ConvUnit):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]  # nothing is left for it to do
    return network


def _tile_of(strips: Tensor, tile: Tile) -> Tensor:
    return strips[:, :, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]


def _stitched(tiles: list[Tensor], grid: TileGrid) -> Tensor:
    """(N, 1, H, W) from one (N, 1, tile, tile) per tile of the grid."""
    kept = [heat[:, :, tile.rows.keep, tile.columns.keep] for heat, tile in zip(tiles, grid.tiles, strict=True)]
    across = len(grid.columns)
    rows = [torch.cat(kept[start : start + across], dim=3) for start in range(0, len(kept), across)]
    return torch.cat(rows, dim=2)
