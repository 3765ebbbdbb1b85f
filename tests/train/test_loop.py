"""A run: its files, its end, and that nothing which happens to it on the way changes where it ends."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from lineside.dataset import Dataset
from lineside.errors import CheckpointError, ConfigError, DatasetError, DeviceError, OutputError, StripError, TrainingError
from lineside.judge.evaluation import evaluate
from lineside.judge.threshold import choose_threshold
from lineside.train import schedule, stepper
from lineside.train.checkpoint import Checkpoint, load_checkpoint
from lineside.train.checkpoint_model import CheckpointModel
from lineside.train.config import TrainOptions
from lineside.train.curves import COLUMNS, Row
from lineside.train.loop import train
from lineside.train.report import Deaf, StepReport, TrainResult
from lineside.train.schedule import gamma_at, lr_at

FILES = {"best.pt", "last.pt", "metrics.csv", "curves.png"}


class Ears(Deaf):
    """Remembers what it heard, and does something after a step or an epoch."""

    def __init__(self, *, after_step: Callable[[int], None] | None = None, after_epoch: Callable[[int], None] | None = None) -> None:
        self.steps: list[StepReport] = []
        self.epochs: list[Row] = []
        self._after_step = after_step
        self._after_epoch = after_epoch

    def on_step(self, report: StepReport) -> None:
        self.steps.append(report)
        if self._after_step:
            self._after_step(report.step)

    def on_epoch(self, row: Row) -> None:
        self.epochs.append(row)
        if self._after_epoch:
            self._after_epoch(int(row["epoch"] or 0))


def finished(result: TrainResult | None) -> TrainResult:
    assert result is not None
    return result


def interrupt_after(step: int) -> Callable[[int], None]:
    def after_step(done: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGINT)

    return after_step


def same_weights(one: Checkpoint, other: Checkpoint) -> bool:
    return all(torch.equal(one.weights[name], other.weights[name]) for name in (*one.weights, *other.weights))


@pytest.fixture(scope="module", autouse=True)
def _every_epoch_validates() -> Iterator[None]:
    """Epochs of 12 patches would not be worth it otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule, "VALIDATION_SHARE", 100.0)
        yield


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, Ears]:
    """A run from beginning to end, without workers."""
    ears = Ears()
    options = TrainOptions(epochs=3, steps_per_epoch=3, batch_size=4, base_channels=2, workers=0, device="cpu")
    return finished(train(dataset, tmp_path_factory.mktemp("run") / "run", options, listener=ears)), ears


def test_a_run_leaves_four_files_and_nothing_else(run: tuple[TrainResult, Ears]) -> None:
    result, _ = run
    assert {path.name for path in result.files.folder.iterdir()} == FILES
    with Image.open(result.files.curves) as picture:
        assert min(picture.size) > 500
        assert np.asarray(picture.convert("L")).std() > 10


def test_every_step_and_epoch_is_reported_as_the_schedule_says(run: tuple[TrainResult, Ears]) -> None:
    _, ears = run
    assert [report.step for report in ears.steps] == list(range(1, 10))
    assert [report.epoch for report in ears.steps] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [report.gamma for report in ears.steps] == [gamma_at(step, 9, (1.0, 3.0)) for step in range(9)]
    assert [report.lr for report in ears.steps] == [lr_at(step, 9, 1e-3) for step in range(9)]
    for row, first in zip(ears.epochs, (0, 3, 6), strict=True):
        assert row["loss"] == pytest.approx(np.mean([report.loss for report in ears.steps[first : first + 3]]))


def test_metrics_csv_is_the_history(run: tuple[TrainResult, Ears]) -> None:
    result, ears = run
    with result.files.metrics.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert [{key: float(text) for key, text in row.items() if text} for row in rows] == [dict(row) for row in ears.epochs]
    assert [dict(row) for row in load_checkpoint(result.files.last).history] == [dict(row) for row in ears.epochs]


def test_best_pt_is_the_epoch_with_the_highest_pixel_ap_and_its_threshold_was_chosen_with_it(
    run: tuple[TrainResult, Ears], dataset: Dataset
) -> None:
    result, ears = run
    best = result.best
    precisions = [row["pixel_ap"] or -1.0 for row in ears.epochs]
    assert best.epoch == 1 + int(np.argmax(precisions))
    assert "pixel AP" in best.chosen_by
    assert best.position is None
    with CheckpointModel.load(result.files.best) as model:
        found = evaluate(model, dataset.valid)
    assert best.metrics["pixel_ap"] == found.pixel_ap == max(precisions)
    assert (best.threshold, best.threshold_rule) == choose_threshold(found.scores, found.defective)
    assert (found.threshold, found.threshold_rule) == (best.threshold, best.threshold_rule)


def test_the_checkpoint_says_where_it_comes_from_and_carries_strips_to_check_with(run: tuple[TrainResult, Ears], dataset: Dataset) -> None:
    best = run[0].best
    assert (best.spec, best.dataset, best.dataset_fingerprint) == (dataset.spec, "dataset", dataset.fingerprint())
    assert best.examples.shape == (2, 3, 72, 64)
    np.testing.assert_array_equal(best.examples[1].numpy(), np.rint(tifffile.imread(dataset.train[1])[:3]).astype(np.uint8))


def test_two_runs_are_the_same_and_workers_change_nothing(
    run: tuple[TrainResult, Ears], dataset: Dataset, options: TrainOptions, tmp_path: Path
) -> None:
    again = finished(train(dataset, tmp_path / "run", replace(options, workers=2, cache_mb=0)))
    assert again.best.weights_sha256 == run[0].best.weights_sha256
    other = finished(train(dataset, tmp_path / "other", replace(options, seed=1)))
    assert other.best.weights_sha256 != again.best.weights_sha256


@pytest.mark.parametrize("step", [1, 4, 6, 9])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    run: tuple[TrainResult, Ears], dataset: Dataset, options: TrainOptions, tmp_path: Path, step: int
) -> None:
    """In the first epoch, in the middle, between two epochs, and after the last step."""
    ears = Ears(after_step=interrupt_after(step))
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path, options, listener=ears)
    assert len(ears.steps) == step  # the step that was going on is finished, and no other begun
    position = load_checkpoint(tmp_path / "last.pt").position
    assert position is not None
    assert position.step == step
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    more = Ears()
    resumed = finished(train(dataset, tmp_path, options, start="resume", listener=more))
    assert [report.step for report in more.steps] == list(range(step + 1, 10))
    whole = run[0]
    assert same_weights(load_checkpoint(resumed.files.last), load_checkpoint(whole.files.last))
    assert same_weights(resumed.best, whole.best)
    without_clock = [[{**row, "seconds": 0} for row in checkpoint.history] for checkpoint in (resumed.best, whole.best)]
    assert without_clock[0] == without_clock[1]


def test_a_run_interrupted_while_it_validates_keeps_its_steps(
    run: tuple[TrainResult, Ears], dataset: Dataset, options: TrainOptions, tmp_path: Path
) -> None:
    class Impatient(Ears):
        def progress(self, items: Any, *, total: int, what: str) -> Any:  # type: ignore[override]
            for item in items:
                if what == "evaluate":
                    os.kill(os.getpid(), signal.SIGINT)
                yield item

    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path, options, listener=Impatient())
    assert [row for row in load_checkpoint(tmp_path / "last.pt").history if "image_auroc" in row] == []
    resumed = finished(train(dataset, tmp_path, options, start="resume"))
    assert same_weights(resumed.best, run[0].best)


def test_resuming_a_finished_run_gives_its_result(run: tuple[TrainResult, Ears], dataset: Dataset, options: TrainOptions) -> None:
    ears = Ears()
    again = finished(train(dataset, run[0].files.folder, options, start="resume", listener=ears))
    assert ears.steps == []
    assert again.to_json() == run[0].to_json()


def test_resuming_with_other_options_is_refused_and_names_them(
    run: tuple[TrainResult, Ears], dataset: Dataset, options: TrainOptions
) -> None:
    before = run[0].files.last.read_bytes()
    with pytest.raises(TrainingError, match=r"--epochs 3 \(now 4\), --lr 0\.001 \(now 0\.01\)"):
        train(dataset, run[0].files.folder, replace(options, epochs=4, lr=0.01, workers=1), start="resume")
    assert run[0].files.last.read_bytes() == before


def test_resuming_with_another_data_set_is_refused(run: tuple[TrainResult, Ears], own_dataset: Dataset, options: TrainOptions) -> None:
    own_dataset.train[0].unlink()
    with pytest.raises(TrainingError, match="not the data set"):
        train(Dataset.open(own_dataset.root, spec=own_dataset.spec), run[0].files.folder, options, start="resume")


def test_there_has_to_be_something_to_resume(dataset: Dataset, options: TrainOptions, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"last\.pt: no such file"):
        train(dataset, tmp_path / "run", options, start="resume")
    assert not (tmp_path / "run").exists()


def test_a_best_pt_cannot_be_resumed(run: tuple[TrainResult, Ears], dataset: Dataset, options: TrainOptions, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(run[0].files.best.read_bytes())
    with pytest.raises(TrainingError, match="holds no optimiser"):
        train(dataset, tmp_path, options, start="resume")


def test_a_folder_that_holds_files_is_refused_and_overwritten_when_asked(dataset: Dataset, options: TrainOptions, tmp_path: Path) -> None:
    for name in (*FILES, "notes.txt"):
        (tmp_path / name).write_text("old")
    with pytest.raises(OutputError, match="already holds files"):
        train(dataset, tmp_path, options)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}

    ears = Ears(after_step=interrupt_after(1))
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path, options, start="overwrite", listener=ears)
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "notes.txt"}  # nothing of the old run that could be taken for this one
    assert load_checkpoint(tmp_path / "last.pt").epoch == 0


def test_last_pt_is_there_before_the_first_step(dataset: Dataset, options: TrainOptions, tmp_path: Path) -> None:
    ears = Ears(after_step=lambda step: found.append(load_checkpoint(tmp_path / "last.pt")))
    found: list[Checkpoint] = []
    train(dataset, tmp_path, replace(options, epochs=1, steps_per_epoch=1), listener=ears)
    assert found[0].position is not None
    assert found[0].position.step == 0
    assert (found[0].threshold, found[0].threshold_rule) == (0.5, "not tuned")


def test_without_valid_the_last_epoch_is_the_best_and_the_threshold_is_not_tuned(
    own_dataset: Dataset, options: TrainOptions, tmp_path: Path
) -> None:
    for path in sorted((own_dataset.root / "valid").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    result = finished(train(Dataset.open(own_dataset.root, spec=own_dataset.spec), tmp_path / "run", options))
    assert (result.best.epoch, result.best.threshold, result.best.threshold_rule) == (3, 0.5, "not tuned")
    assert result.best.chosen_by.startswith("last epoch")
    assert result.best.metrics == {}


def test_without_masks_image_auroc_chooses(own_dataset: Dataset, options: TrainOptions, tmp_path: Path) -> None:
    for path in (own_dataset.root / "ground_truth" / "spot").iterdir():
        path.unlink()
    (own_dataset.root / "ground_truth" / "spot").rmdir()
    (own_dataset.root / "ground_truth").rmdir()
    result = finished(train(Dataset.open(own_dataset.root, spec=own_dataset.spec), tmp_path / "run", options))
    assert "image AUROC" in result.best.chosen_by


def test_a_loss_that_is_no_number_ends_the_run_with_the_step_and_the_strips_and_last_pt_is_from_before(
    dataset: Dataset, options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([*[stepper.focal_loss] * 4, lambda logits, mask, gamma: logits.sum() * float("nan")])
    monkeypatch.setattr(stepper, "focal_loss", lambda *given: next(losses)(*given))
    with pytest.raises(TrainingError, match="the loss is nan at step 5") as caught:
        train(dataset, tmp_path, options)
    assert all(path.name in caught.value.why for path in dataset.train)
    assert load_checkpoint(tmp_path / "last.pt").epoch == 1


@pytest.mark.parametrize("name", ["train/good/t3.tif", "valid/spot/s1.tif", "valid/good/g0.tif"])
def test_a_damaged_strip_ends_the_run_before_anything_is_written(
    own_dataset: Dataset, options: TrainOptions, tmp_path: Path, name: str
) -> None:
    (own_dataset.root / name).write_bytes(b"II*\0")
    with pytest.raises(StripError, match=Path(name).stem):
        train(own_dataset, tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_an_empty_train_folder_and_a_missing_mask_end_the_run_before_anything_is_written(
    own_dataset: Dataset, options: TrainOptions, tmp_path: Path
) -> None:
    mask = own_dataset.root / "ground_truth/spot/s1.png"
    mask.unlink()
    with pytest.raises(DatasetError, match="no mask"):
        train(own_dataset, tmp_path / "run", options)
    for path in own_dataset.train:
        path.unlink()
    with pytest.raises(DatasetError, match="no strips"):
        train(Dataset.open(own_dataset.root, spec=own_dataset.spec), tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_a_batch_too_small_for_batch_norm_is_refused_before_anything_is_written(
    dataset: Dataset, options: TrainOptions, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--batch-size 1 with tiles of 32 px"):
        train(dataset, tmp_path / "run", replace(options, batch_size=1))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda_is_refused_before_anything_is_written(dataset: Dataset, options: TrainOptions, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no usable CUDA device"):
        train(dataset, tmp_path / "run", replace(options, device="cuda"))
    assert not (tmp_path / "run").exists()


def test_half_an_environment_of_torchrun_is_refused(
    dataset: Dataset, options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="WORLD_SIZE=2"):
        train(dataset, tmp_path / "run", options)


def test_bfloat16_learns_too(dataset: Dataset, options: TrainOptions, tmp_path: Path) -> None:
    ears = Ears()
    result = finished(train(dataset, tmp_path, replace(options, amp=True, gamma=(1.0, 1.0), lr=1e-2, steps_per_epoch=20), listener=ears))
    assert {tensor.dtype for tensor in result.best.weights.values()} == {torch.float32, torch.int64}
    last = ears.epochs[-1]["loss"]
    assert last is not None
    assert last < 0.7 * ears.steps[0].loss


ENDLESS = """
    import sys
    from pathlib import Path
    from lineside.dataset import Dataset
    from lineside.spec import StripSpec
    from lineside.train.config import TrainOptions
    from lineside.train.loop import train

    if __name__ == "__main__":
        options = TrainOptions(epochs=10_000, steps_per_epoch=1, batch_size=2, base_channels=4, workers=0, device="cpu")
        train(Dataset.open(Path(sys.argv[1]), spec=StripSpec.of_size(72, 64, tile_px=32)), Path(sys.argv[2]), options, start=sys.argv[3])
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_last_pt_to_go_on_from(dataset: Dataset, tmp_path: Path) -> None:
    script, last = tmp_path / "endless.py", tmp_path / "run" / "last.pt"
    script.write_text(textwrap.dedent(ENDLESS))
    rng, step = np.random.default_rng(), 0
    for start in ("new", "resume"):
        before = last.stat().st_mtime_ns if last.exists() else 0
        process = subprocess.Popen(
            [sys.executable, script, dataset.root, tmp_path / "run", start], env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        try:
            while not last.exists() or last.stat().st_mtime_ns == before:
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
        finally:
            process.kill()
            process.wait()
        position = load_checkpoint(last).position
        assert position is not None
        assert position.step >= step
        step = position.step
    assert step > 0
