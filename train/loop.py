"""A run of training: from good strips to best.pt, last.pt, metrics.csv and curves.png in one folder.

In:   a data set, the folder of the run, and options.
Out:  `TrainResult`. last.pt is there from before the first step, whole at every moment, and new after every epoch; a run that
      was interrupted or killed goes on from it to the weights that it would have had anyway (the same bits on a CPU).
Under torchrun every process calls `train`; the first one validates, writes and reports.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lineside.dataset import Dataset, read_sample
from lineside.errors import ConfigError, TrainingError
from lineside.files import make_output_folder
from lineside.progress import Progress
from lineside.reader import read_strip
from lineside.spec import CHANNELS, POOLINGS, StripSpec

from .checkpoint import Checkpoint, Position, load_checkpoint, save_checkpoint
from .config import TrainOptions
from .curves import Row, draw_curves, write_metrics_csv
from .data import Batch, PatchBatches, batches
from .distributed import Ranks, device_of, mean, process_group
from .interrupt import Interrupt
from .report import Deaf, Listener, RunFiles, StepReport, TrainResult
from .schedule import gamma_at, lr_at, validates_after
from .stepper import Stepper
from .unet import weights_sha256
from .validation import Validation, best_epoch, validate

Start = Literal["new", "resume", "overwrite"]
"""A new run in a folder that is empty or not there; the run in the folder goes on; a new one in place of it."""
EXAMPLES = 2
"""Strips of the training set that a checkpoint carries: the exporter checks the ONNX file on them."""


def train(
    dataset: Dataset, out: Path, options: TrainOptions = TrainOptions(), *, start: Start = "new", listener: Listener = Deaf()
) -> TrainResult | None:
    """Train a network on the good strips of `dataset`.

    Args:
        dataset: Needs train/good; valid/ chooses the best epoch and the threshold.
        out: The folder of the run.
        options: How to train.
        start: "new", "resume" or "overwrite".
        listener: Hears of steps and epochs.

    Returns:
        The result in the first process, None in the others.

    Raises:
        KeyboardInterrupt: Ctrl-C; the step is finished and last.pt written.
        TrainingError: The loss turned NaN, a data worker died, or the run in `out` was started with other options.
        CheckpointError: There is nothing to resume.
        DatasetError, StripError: The data set lacks strips, or one of them cannot be used.
        OutputError: `out` holds files, or cannot be written.
        DeviceError: The device is not there.
        ConfigError: The batch is too small for batch norm.
    """
    ranks = Ranks.from_environment()
    device = device_of(options.device, ranks)
    options = options.with_steps(len(dataset.train) * len(dataset.spec.grid), processes=ranks.world)
    _check_batch(options, dataset.spec)
    files = RunFiles(folder=out)
    if ranks.leads and start != "resume":
        _check_strips(dataset, listener.progress)
        make_output_folder(out, force=start == "overwrite")
    with process_group(ranks, device):
        run = _Run(dataset, files, Stepper(options, device, ranks), options, ranks, listener)
        if start == "resume":
            run.restore(load_checkpoint(files.last))
        else:
            run.begin()
        with Interrupt() as interrupt:
            run.go(interrupt)
    return TrainResult(best=load_checkpoint(files.best), files=files) if ranks.leads else None


class _Run:
    """A run that is going on."""

    def __init__(
        self, dataset: Dataset, files: RunFiles, stepper: Stepper, options: TrainOptions, ranks: Ranks, listener: Listener
    ) -> None:
        self._dataset = dataset
        self._fingerprint = dataset.fingerprint()
        self._examples = _examples(dataset)
        self._files = files
        self._stepper = stepper
        self._options = options
        self._ranks = ranks
        self._listener = listener
        self._epoch_steps = options.steps_per_epoch or 1
        self._steps = options.epochs * self._epoch_steps
        self._step = 0
        self._epoch_loss = 0.0
        self._epoch_seconds = 0.0
        self._history: tuple[Row, ...] = ()

    def begin(self) -> None:
        """Write the first last.pt; what an older run left goes."""
        if self._ranks.leads:
            save_checkpoint(self._files.last, self._checkpoint(None))
            for path in (self._files.best, self._files.metrics, self._files.curves):
                path.unlink(missing_ok=True)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint stood. Raises: TrainingError."""
        position = self._refuse_another_run(checkpoint)
        self._stepper.network.load_state_dict(checkpoint.weights)
        self._stepper.optimizer.load_state_dict(dict(position.optimizer))
        self._step = position.step
        self._epoch_loss = position.epoch_loss
        self._epoch_seconds = position.epoch_seconds
        self._history = checkpoint.history

    def go(self, interrupt: Interrupt) -> None:
        """Do the steps that are left. Raises: KeyboardInterrupt, and what `train` says."""
        if self._step == (len(self._history) + 1) * self._epoch_steps:
            self._end_epoch(interrupt)  # the run was interrupted between the last step of an epoch and its end
        source = PatchBatches(self._dataset.train, self._dataset.spec, self._options, self._ranks)
        with contextlib.closing(batches(source, self._step, self._steps)) as stream:
            while self._step < self._steps:
                self._do_step(*_timed_next(stream))
                # processes hear of Ctrl-C at different moments, and have to stop after the same step
                if mean(interrupt.asked, self._ranks, self._stepper.device) > 0:
                    if self._ranks.leads:
                        save_checkpoint(self._files.last, self._checkpoint(None))
                    raise KeyboardInterrupt
                if self._step % self._epoch_steps == 0:
                    self._end_epoch(interrupt)

    def _do_step(self, batch: Batch, data_ms: float) -> None:
        gamma = gamma_at(self._step, self._steps, self._options.gamma)
        lr = lr_at(self._step, self._steps, self._options.lr)
        done = self._stepper.step(batch, self._step, gamma=gamma, lr=lr)
        epoch = self._step // self._epoch_steps + 1
        self._step += 1
        self._epoch_loss += done.loss
        self._epoch_seconds += (data_ms + done.forward_ms + done.backward_ms) / 1e3
        if self._ranks.leads:
            report = StepReport(
                step=self._step,
                steps=self._steps,
                epoch=epoch,
                epochs=self._options.epochs,
                loss=done.loss,
                gamma=gamma,
                lr=lr,
                data_ms=data_ms,
                forward_ms=done.forward_ms,
                backward_ms=done.backward_ms,
            )
            self._listener.on_step(report)

    def _end_epoch(self, interrupt: Interrupt) -> None:
        """Validate where it is due, and write the files."""
        validation = None
        if self._ranks.leads and self._validates():
            save_checkpoint(self._files.last, self._checkpoint(None))  # whatever happens while it validates, the steps are kept
            with interrupt.not_deferred():
                validation = validate(self._stepper.network, self._dataset, device=self._stepper.device, progress=self._listener.progress)
        self._history += (self._row(validation),)
        self._epoch_loss = self._epoch_seconds = 0.0
        if self._ranks.leads:
            self._write_files(self._checkpoint(validation))
            self._listener.on_epoch(self._history[-1])

    def _write_files(self, checkpoint: Checkpoint) -> None:
        best, _ = best_epoch(self._history)
        if best == checkpoint.epoch:
            save_checkpoint(self._files.best, replace(checkpoint, position=None))
        save_checkpoint(self._files.last, checkpoint)
        write_metrics_csv(self._files.metrics, self._history)
        draw_curves(self._files.curves, self._history, best=best)

    def _validates(self) -> bool:
        return bool(self._dataset.valid) and validates_after(
            len(self._history) + 1,
            self._options.epochs,
            training_patches=self._epoch_steps * self._options.batch_size * self._ranks.world,
            validation_tiles=len(self._dataset.valid) * len(self._dataset.spec.grid),
        )

    def _row(self, validation: Validation | None) -> Row:
        last = self._step - 1
        row: dict[str, float | None] = {
            "epoch": len(self._history) + 1,
            "steps": self._step,
            "loss": self._epoch_loss / self._epoch_steps,
            "gamma": gamma_at(last, self._steps, self._options.gamma),
            "lr": lr_at(last, self._steps, self._options.lr),
            "seconds": round(self._epoch_seconds, 3),
        }
        if validation is not None:
            row |= {**validation.metrics, "threshold": validation.threshold}
        return row

    def _checkpoint(self, validation: Validation | None) -> Checkpoint:
        weights = {name: value.detach().cpu().contiguous() for name, value in self._stepper.network.state_dict().items()}
        measured = {} if validation is None else vars(validation)
        return Checkpoint(
            spec=self._dataset.spec,
            options=self._options,
            dataset=self._dataset.root.resolve().name,
            dataset_fingerprint=self._fingerprint,
            epoch=len(self._history),
            chosen_by=best_epoch(self._history)[1],
            history=self._history,
            examples=self._examples,
            weights=weights,
            weights_sha256=weights_sha256(weights),
            position=Position(
                step=self._step,
                processes=self._ranks.world,
                epoch_loss=self._epoch_loss,
                epoch_seconds=self._epoch_seconds,
                optimizer=self._stepper.optimizer.state_dict(),
            ),
            **measured,
        )

    def _refuse_another_run(self, checkpoint: Checkpoint) -> Position:
        """What the checkpoint says about where it stands, when it is this very run."""
        if checkpoint.position is None:
            raise TrainingError(f"{self._files.last}: holds no optimiser", why="it is a copy of a best.pt", fix="start again with --force")
        changed = checkpoint.options.differences(self._options)
        if checkpoint.position.processes != self._ranks.world:
            changed["torchrun --nproc-per-node"] = (checkpoint.position.processes, self._ranks.world)
        if changed:
            raise TrainingError(
                "this run was started with " + ", ".join(f"{name} {theirs} (now {ours})" for name, (theirs, ours) in changed.items()),
                why="with other options it would not become what it was going to be",
                fix="resume with the same options, or start again with --force",
            )
        if (checkpoint.spec, checkpoint.dataset_fingerprint) != (self._dataset.spec, self._fingerprint):
            raise TrainingError(
                f"{self._dataset.root}: not the data set that this run was started with ({checkpoint.dataset})",
                why="its strips or their spec are others",
                fix="resume with the same data set, or start again with --force",
            )
        return checkpoint.position


def _timed_next(stream: Any) -> tuple[Batch, float]:
    """The next batch, and how many milliseconds the loop waited for it."""
    begin = time.perf_counter_ns()
    batch: Batch = next(stream)
    return batch, (time.perf_counter_ns() - begin) / 1e6


def _check_batch(options: TrainOptions, spec: StripSpec) -> None:
    deepest_px = spec.tile_px // 2**POOLINGS
    if options.batch_size * deepest_px**2 < 2:
        raise ConfigError(
            f"--batch-size {options.batch_size} with tiles of {spec.tile_px} px",
            why="the deepest layer sees one pixel of such a tile, and batch norm needs two values",
            fix="use --batch-size 2 or more, or larger tiles",
        )


def _examples(dataset: Dataset) -> Tensor:
    strips = [read_strip(path, dataset.spec)[: len(CHANNELS)] for path in dataset.train[:EXAMPLES]]
    return torch.from_numpy(np.rint(np.stack(strips)).astype(np.uint8))


def _check_strips(dataset: Dataset, progress: Progress) -> None:
    """Read every strip once: a damaged one ends the run before it begins, not after hours, and before anything is written."""
    for path in progress(dataset.train, total=len(dataset.train), what="check train"):
        read_strip(path, dataset.spec)
    for sample in progress(dataset.valid, total=len(dataset.valid), what="check valid"):
        read_sample(sample, dataset.spec)
