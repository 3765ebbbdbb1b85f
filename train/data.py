"""Batches of patches: cut a patch out of a good strip, then put defects on it.

In:   paths of good strips, their spec and the options of the run.
Out:  one `Batch` per step, made whole by a data worker from (seed, step, process, index in the batch) alone: neither the
      number of workers nor the step at which a run was resumed changes a pixel.
A strip that cannot be read comes out as the LinesideError that it is, raised in the training process.

Augmentation is what keeps the label true: flips of all channels together. A spot has no preferred side, while turning by
90 degrees would show textures and 3 x 5 spots as no line has them. Gain, noise and shift are left as the camera makes them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lineside.errors import LinesideError, TrainingError
from lineside.notices import collecting, lossy_allowed
from lineside.reader import read_strip
from lineside.spec import CHANNELS, FULL_SCALE, StripSpec
from lineside.synth.defects import add_defects

from .cache import StripCache
from .config import TrainOptions
from .distributed import Ranks

EDGE_SHARE = 1 / 8
"""Patches may reach over an edge by this share of their side and are pushed back to it. Evenly spread positions would show
the outermost row of a 976 px strip in 1 of 849 patches."""
START_METHOD = "forkserver"
"""A plain fork copies locks that the threads of PyTorch and of the progress bar may hold; spawn imports PyTorch in every worker."""
_ORDER, _PATCH = 0, 1
"""Streams of random numbers: the order of strips, and what happens to one patch."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What the network sees in one step.

    Attributes:
        images: (B, 3, tile, tile) float32 in [0, 1].
        masks: (B, tile, tile) bool, the target-only defects.
        paths: The strip of each patch.
    """

    images: Tensor
    masks: Tensor
    paths: tuple[Path, ...]


class PatchBatches(TorchDataset["Batch | LinesideError"]):
    """The batches of one process, by step."""

    def __init__(self, paths: tuple[Path, ...], spec: StripSpec, options: TrainOptions, ranks: Ranks = Ranks()) -> None:
        self.paths = paths
        self.spec = spec
        self.options = options
        self.ranks = ranks
        self._allow_lossy = lossy_allowed()  # here: workers are processes of their own
        self._cache = StripCache(self._read, (options.cache_mb << 20) // max(1, options.workers))

    def __getitem__(self, step: int) -> Batch | LinesideError:
        """The batch of a step; an error is returned, because PyTorch would wrap what a worker raises."""
        try:
            return self.batch(step)
        except LinesideError as exc:
            return exc

    def batch(self, step: int) -> Batch:
        """The batch of a step.

        Raises:
            StripError: A strip cannot be read or is not of the spec.
        """
        size, tile = self.options.batch_size, self.spec.tile_px
        images = np.empty((size, len(CHANNELS), tile, tile), np.float32)
        masks = np.empty((size, tile, tile), np.bool_)
        paths = []
        for index in range(size):
            # Every patch of a run has one number, counted over all processes: no two processes see the same one.
            path = self._path_of((step * self.ranks.world + self.ranks.rank) * size + index)
            rng = np.random.default_rng([self.options.seed, _PATCH, step, self.ranks.rank, index])
            images[index] = random_patch(self._cache.get(path), tile, rng)
            masks[index] = add_defects(images[index], rng, self.options.defects)
            paths.append(path)
        images /= np.float32(FULL_SCALE)
        return Batch(images=torch.from_numpy(images), masks=torch.from_numpy(masks), paths=tuple(paths))

    def _path_of(self, number: int) -> Path:
        """The strip of a patch: all strips once in a random order, then all once in another, so that each is used as often."""
        turn, place = divmod(number, len(self.paths))
        return self.paths[int(_order(self.options.seed, turn, len(self.paths))[place])]

    def _read(self, path: Path) -> NDArray[Any]:
        with collecting(allow_lossy=self._allow_lossy):  # what is to be noticed was, when the run began
            return read_strip(path, self.spec)[: len(CHANNELS)]


def random_patch(strip: NDArray[Any], tile_px: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A window anywhere in the strip, edges and corners included, flipped at random.

    Args:
        strip: (3, H, W) uint8 or float32.
        tile_px: Side of the window.
        rng: The only source of randomness.

    Returns:
        (3, tile, tile) float32, the caller's own.
    """
    margin = int(tile_px * EDGE_SHARE)
    top, left = (int(np.clip(rng.integers(-margin, side - tile_px + margin + 1), 0, side - tile_px)) for side in strip.shape[1:])
    patch = strip[:, top : top + tile_px, left : left + tile_px]
    down, across = (int(step) for step in rng.choice((-1, 1), size=2))
    return patch[:, ::down, ::across].astype(np.float32)


def batches(source: PatchBatches, first_step: int, steps: int) -> Generator[Batch, None, None]:
    """The batches of steps `first_step` to `steps` - 1, made ahead by the workers of the options.

    Raises:
        LinesideError: A strip cannot be read; what the reader raised.
        TrainingError: A data worker died.
    """
    workers = source.options.workers
    if workers:
        multiprocessing.get_context(START_METHOD).set_forkserver_preload([__name__])
    loader: DataLoader[Batch | LinesideError] = DataLoader(
        source,
        batch_size=None,  # an item is a batch already
        sampler=range(first_step, steps),
        num_workers=workers,
        multiprocessing_context=START_METHOD if workers else None,
        collate_fn=_as_it_is,
        worker_init_fn=_begin_worker,
    )
    for batch in _watched(iter(loader), workers):
        if isinstance(batch, LinesideError):
            raise batch
        yield batch


def _watched(items: Iterator[Batch | LinesideError], workers: int) -> Iterator[Batch | LinesideError]:
    """The same items; a worker that was killed becomes a TrainingError."""
    while True:
        try:
            item = next(items, None)
        except RuntimeError as exc:
            if "DataLoader worker" not in str(exc):
                raise
            raise TrainingError(
                "a data worker died",
                why=str(exc).split("\n")[0],
                fix=f"free memory (also of /dev/shm), or use fewer workers: --workers {workers // 2}",
            ) from exc
        if item is None:
            return
        yield item


def _begin_worker(worker: int) -> None:
    """A worker leaves Ctrl-C to the training process, and ends with it. PyTorch has limited it to one thread already."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_training_process, daemon=True).start()


def _end_with_the_training_process() -> None:
    """PyTorch's own watchdog watches the fork server, which lives as long as its workers: after a kill -9 all would stay for ever."""
    training = multiprocessing.parent_process()
    if training is not None:
        training.join()
        os._exit(1)


def _as_it_is(item: Any) -> Any:
    return item


@lru_cache(maxsize=4)
def _order(seed: int, turn: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, _ORDER, turn]).permutation(count)
