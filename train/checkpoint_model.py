"""A checkpoint that turns strips into heatmaps: numpy cut, UNet, softmax, numpy stitch.

In:   strips (C, H, W) uint8 or float32 in 0..255, C = 3 or 4.
Out:  heatmaps (H, W) float32 in [0, 1].
What an ONNX file or engine computes in one graph, step by step: the reference for all of them, and the model that
training validates with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lineside.judge.threshold import DEFAULT_THRESHOLD
from lineside.manifest import UNTUNED
from lineside.reader import check_strip
from lineside.spec import CHANNELS, FULL_SCALE, StripSpec
from lineside.tiles import cut, stitch

from .checkpoint import load_checkpoint
from .config import Device
from .distributed import Ranks, device_of
from .unet import DEFECT_CLASS, UNet

PIXELS_PER_PASS = 18 * 128 * 128
"""Tiles go through the network in groups of this many pixels: one strip at a time, and bounded memory for any size."""


@dataclass(frozen=True, kw_only=True)
class OneStrip:
    """How many strips go in at once."""

    corners: tuple[int, ...] = (1,)


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """The heatmap (H, W) of a strip. What it took is not told."""

    heatmap: NDArray[np.float32]
    timing: None = None


class CheckpointModel:
    """A network with the strips that it is for. With `threads`, PyTorch's own number is put back by `close`.

    `weights_sha256` names the weights, for whoever has to know that two models are made from the same ones; None: not known.
    """

    def __init__(
        self,
        network: UNet,
        spec: StripSpec,
        *,
        threshold: float = DEFAULT_THRESHOLD,
        threshold_rule: str = UNTUNED,
        device: torch.device = torch.device("cpu"),
        threads: int | None = None,
        weights_sha256: str | None = None,
    ) -> None:
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in PyTorch's overloads
        self._spec = spec
        self._threshold = threshold
        self._threshold_rule = threshold_rule
        self.weights_sha256 = weights_sha256
        self._device = device
        self._threads_before = torch.get_num_threads() if threads else None
        if threads:
            torch.set_num_threads(threads)

    @classmethod
    def load(cls, path: Path, *, device: Device = "cpu", threads: int | None = None) -> CheckpointModel:
        """The model of a checkpoint.

        Raises:
            CheckpointError: It cannot be used; see `load_checkpoint`.
            DeviceError: There is no such device.
        """
        checkpoint = load_checkpoint(path)
        where = device_of(device, Ranks())
        return cls(
            checkpoint.network(),
            checkpoint.spec,
            threshold=checkpoint.threshold,
            threshold_rule=checkpoint.threshold_rule,
            device=where,
            threads=threads,
            weights_sha256=checkpoint.weights_sha256,
        )

    @property
    def spec(self) -> StripSpec:
        """The strips that it inspects."""
        return self._spec

    @property
    def threshold(self) -> float:
        """NG when the score is at least this."""
        return self._threshold

    @property
    def threshold_rule(self) -> str:
        """How the threshold was chosen."""
        return self._threshold_rule

    @property
    def profiles(self) -> OneStrip:
        """One strip at a time."""
        return OneStrip()

    def describe(self) -> dict[str, Any]:
        """What runs it, as JSON values."""
        return {"backend": "pytorch"}

    def inspect_many(self, strips: Iterable[NDArray[Any]], *, batch: int | None = None) -> Iterator[Answered]:
        """The answers in the order of the strips, one strip in one run whatever `batch` says. Raises what `heatmap` raises."""
        for strip in strips:
            yield Answered(heatmap=self.heatmap(strip))

    def heatmap(self, strip: NDArray[Any]) -> NDArray[np.float32]:
        """The heatmap (H, W) of a strip (C, H, W).

        Raises:
            StripError: The strip is not of the spec.
        """
        check_strip(strip, self.spec, name="strip")
        grid = self.spec.grid
        tiles = cut(strip[None, : len(CHANNELS)], grid)
        group = max(1, PIXELS_PER_PASS // grid.tile_px**2)
        heat = np.concatenate([self._probabilities(tiles[first : first + group]) for first in range(0, len(tiles), group)])
        return np.asarray(stitch(heat[:, None], grid)[0, 0])

    def _probabilities(self, tiles: NDArray[Any]) -> NDArray[np.float32]:
        """(T, 3, tile, tile) in 0..255 -> (T, tile, tile) probability of a defect."""
        images = torch.from_numpy(tiles.astype(np.float32) / np.float32(FULL_SCALE)).to(self._device, memory_format=torch.channels_last)
        with torch.inference_mode():
            heat = torch.softmax(self.network(images), dim=1)[:, DEFECT_CLASS]
        return np.asarray(heat.cpu().numpy())

    def close(self) -> None:
        """Put PyTorch's threads back."""
        if self._threads_before is not None:
            torch.set_num_threads(self._threads_before)
            self._threads_before = None

    def __enter__(self) -> CheckpointModel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
