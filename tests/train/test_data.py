"""Patches: where they come from, what they hold, and that nothing but seed, step and process decides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from lineside.dataset import Dataset
from lineside.errors import StripError, TrainingError
from lineside.synth.defects import DefectOptions
from lineside.train.config import TrainOptions
from lineside.train.data import Batch, PatchBatches, batches, random_patch
from lineside.train.distributed import Ranks

WAITING = """
    import multiprocessing, sys, time
    from pathlib import Path
    from lineside.dataset import Dataset
    from lineside.spec import StripSpec
    from lineside.train.config import TrainOptions
    from lineside.train.data import PatchBatches, batches

    if __name__ == "__main__":
        dataset = Dataset.open(Path(sys.argv[1]), spec=StripSpec.of_size(72, 64, tile_px=32))
        stream = batches(PatchBatches(dataset.train, dataset.spec, TrainOptions(workers=2)), 0, 100)
        next(stream)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(60)
"""


def positions() -> NDArray[np.float32]:
    """A strip in which every pixel says where it is: (3, 72, 64), row in Target, column in Ref1, both in Ref2."""
    rows, columns = np.mgrid[:72, :64]
    return np.stack([rows, columns, rows + columns]).astype(np.float32)


def drawn(count: int) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    return [random_patch(positions(), 32, rng) for _ in range(count)]


def test_a_patch_is_a_window_of_the_strip_whose_channels_stay_together() -> None:
    for patch in drawn(100):
        assert patch.shape == (3, 32, 32)
        assert patch.dtype == np.float32
        np.testing.assert_array_equal(patch[0] + patch[1], patch[2])
        np.testing.assert_array_equal(np.abs(np.diff(patch[0], axis=0)), 1)
        np.testing.assert_array_equal(np.abs(np.diff(patch[1], axis=1)), 1)


def test_patches_reach_every_edge_corner_and_position_and_are_flipped_both_ways() -> None:
    patches = drawn(4000)
    starts = Counter((int(patch[0].min()), int(patch[1].min())) for patch in patches)
    assert {row for row, _ in starts} == set(range(72 - 32 + 1))
    assert {column for _, column in starts} == set(range(64 - 32 + 1))
    assert {(0, 0), (0, 32), (40, 0), (40, 32)} <= set(starts)
    flips = Counter((bool(patch[0, 0, 0] > patch[0, -1, 0]), bool(patch[1, 0, 0] > patch[1, 0, -1])) for patch in patches)
    assert min(flips.values()) > 900  # 1000 each, six standard deviations below


def test_a_patch_is_the_callers_own() -> None:
    strip = positions()
    patch = random_patch(strip, 32, np.random.default_rng(0))
    patch += 1
    np.testing.assert_array_equal(strip, positions())


def test_a_batch_holds_good_patches_with_defects_where_the_masks_say(dataset: Dataset, options: TrainOptions) -> None:
    with_defects = PatchBatches(dataset.train, dataset.spec, replace(options, batch_size=64))
    without = PatchBatches(dataset.train, dataset.spec, replace(options, batch_size=64, defects=DefectOptions(share=0.0)))
    batch, clean = with_defects.batch(0), without.batch(0)
    assert (batch.images.shape, batch.images.dtype) == ((64, 3, 32, 32), torch.float32)
    assert (batch.masks.shape, batch.masks.dtype) == ((64, 32, 32), torch.bool)
    assert 0.0 <= float(batch.images.min()) < float(batch.images.max()) <= 1.0
    assert not bool(clean.masks.any())
    assert 16 <= sum(bool(mask.any()) for mask in batch.masks) <= 48  # half of them, four standard deviations
    added = batch.images - clean.images
    marked = batch.masks.unsqueeze(1).expand_as(added)
    assert bool((added[:, 0][batch.masks] != 0).all())  # each marked pixel is changed in Target,
    assert bool((added[:, 1:][marked[:, 1:]] == 0).all())  # in no reference,
    assert bool((added[:, 0][~batch.masks] == 0).all())  # and Target nowhere else
    assert bool((added[:, 1:] != 0).any())


def test_every_strip_is_used_equally_often(dataset: Dataset, options: TrainOptions) -> None:
    source = PatchBatches(dataset.train, dataset.spec, replace(options, batch_size=3))
    counts = Counter(path for step in range(8) for path in source.batch(step).paths)
    assert counts == dict.fromkeys(dataset.train, 6)  # 24 patches of 4 strips
    first, second = ([*source.batch(step).paths, *source.batch(step + 1).paths] for step in (0, 4))
    assert first != second


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.masks, other.masks) and one.paths == other.paths


def test_batches_depend_on_seed_and_step_alone_and_not_on_workers_or_where_a_run_begins(dataset: Dataset, options: TrainOptions) -> None:
    alone = list(batches(PatchBatches(dataset.train, dataset.spec, options), 0, 6))
    helped = list(batches(PatchBatches(dataset.train, dataset.spec, replace(options, workers=2, cache_mb=0)), 2, 6))
    other = PatchBatches(dataset.train, dataset.spec, replace(options, seed=1)).batch(2)
    assert len(alone) == 6
    assert all(same(one, two) for one, two in zip(alone[2:], helped, strict=True))
    assert not any(same(alone[0], batch) for batch in (*alone[1:], other))


def test_processes_see_different_patches_and_share_the_strips(dataset: Dataset, options: TrainOptions) -> None:
    pair = replace(options, batch_size=2)
    sources = [PatchBatches(dataset.train, dataset.spec, pair, Ranks(rank=rank, world=2)) for rank in (0, 1)]
    for step in range(4):
        one, two = (source.batch(step) for source in sources)
        assert {*one.paths, *two.paths} == set(dataset.train)
        assert not same(one, two)


def test_uint8_strips_with_the_channels_last_give_the_same_patches(own_dataset: Dataset, options: TrainOptions) -> None:
    for path in own_dataset.train:
        tifffile.imwrite(path, tifffile.imread(path).round(), photometric="minisblack")
    as_floats = PatchBatches(own_dataset.train, own_dataset.spec, options).batch(0)
    for path in own_dataset.train:
        tifffile.imwrite(path, tifffile.imread(path).astype(np.uint8).transpose(1, 2, 0), photometric="rgb", extrasamples=["unspecified"])
    assert same(PatchBatches(own_dataset.train, own_dataset.spec, options).batch(0), as_floats)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_strip_is_the_readers_own_error_whoever_reads_it(own_dataset: Dataset, options: TrainOptions, workers: int) -> None:
    own_dataset.train[2].write_bytes(own_dataset.train[2].read_bytes()[:1000])
    source = PatchBatches(own_dataset.train, own_dataset.spec, replace(options, workers=workers))
    with pytest.raises(StripError, match=r"t2\.tif") as caught:
        list(batches(source, 0, 3))
    assert "Traceback" not in str(caught.value)


class KillsItself(PatchBatches):
    """A worker that the system kills for its memory."""

    def batch(self, step: int) -> Batch:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")


def test_a_killed_worker_is_a_training_error_that_says_what_to_do(
    dataset: Dataset, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = torch.utils.data.dataloader._MultiProcessingDataLoaderIter._try_get_data
    monkeypatch.setattr(waits, "__defaults__", (0.5,))  # PyTorch looks at its workers every 5 seconds
    stream: Iterator[Batch] = batches(KillsItself(dataset.train, dataset.spec, replace(options, workers=2)), 0, 3)
    with pytest.raises(TrainingError, match="worker died") as caught:
        next(stream)
    assert "--workers 1" in caught.value.fix


@pytest.mark.slow
def test_workers_end_with_a_training_process_that_is_killed(dataset: Dataset, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(WAITING))
    with subprocess.Popen([sys.executable, script, dataset.root], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            workers = [Path(f"/proc/{pid}") for pid in process.stdout.readline().split()]
            assert len(workers) == 2
            assert all(worker.exists() for worker in workers)
        finally:
            process.kill()
    end = time.monotonic() + 20
    while any(worker.exists() for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_order_of_strips_does_not_depend_on_the_batch_size(dataset: Dataset, options: TrainOptions) -> None:
    def order(size: int) -> list[Path]:
        source = PatchBatches(dataset.train, dataset.spec, replace(options, batch_size=size))
        return [path for step in range(12 // size) for path in source.batch(step).paths]

    assert order(1) == order(4) == order(12)
