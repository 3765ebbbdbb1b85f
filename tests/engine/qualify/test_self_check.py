"""Ten backends with one fault each, all caught and called by their name, and a healthy one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lineside import Inspector, StripSpec
from lineside.engine.qualify.probes import PITCH_PX, Probes
from lineside.engine.qualify.self_check import Check, self_checks
from lineside.engine.run.backend import LoadOptions
from lineside.engine.run.onnxruntime_backend import OnnxRuntimeBackend
from lineside.errors import ModelError

BATCHES = (1, 3, 4)
SEED = 0

Heatmaps = NDArray[np.float32]


class Faulty(OnnxRuntimeBackend):
    """ONNX Runtime with a fault: `spoil_input` sees what goes in, `spoil` what comes out."""

    def run(self, rows: int) -> tuple[Heatmaps, Heatmaps | None]:
        fed = self.input[: self.model.batch or rows]
        kept = fed.copy()
        fed[:] = self.spoil_input(fed)
        heatmaps, _ = super().run(rows)
        fed[:] = kept
        return self.spoil(heatmaps.copy(), kept), None  # the score is the caller's, so that the heatmap alone can be wrong

    def spoil_input(self, fed: NDArray[Any]) -> NDArray[Any]:
        return fed

    def spoil(self, heatmaps: Heatmaps, fed: NDArray[Any]) -> Heatmaps:
        return heatmaps


class LastRowDiffers(Faulty):
    def spoil(self, heatmaps: Heatmaps, fed: NDArray[Any]) -> Heatmaps:
        if len(heatmaps) > 1:
            heatmaps[-1] = np.roll(heatmaps[-1], 4, axis=0)
        return heatmaps


class BatchesDiffer(Faulty):
    """All rows alike, and all wrong."""

    def spoil(self, heatmaps: Heatmaps, fed: NDArray[Any]) -> Heatmaps:
        return heatmaps * np.float32(0.9) if len(heatmaps) > 1 else heatmaps


class LargestBatchDiffers(Faulty):
    """A corner of a profile."""

    def spoil(self, heatmaps: Heatmaps, fed: NDArray[Any]) -> Heatmaps:
        return heatmaps * np.float32(0.9) if len(heatmaps) == max(BATCHES) else heatmaps


class NeverWritten(Faulty):
    def spoil(self, heatmaps: Heatmaps, fed: NDArray[Any]) -> Heatmaps:
        heatmaps[:, 32:56, 16:48] = 0.03  # what lay there
        return heatmaps


class RunsDiffer(Faulty):
    runs = 0

    def spoil(self, heatmaps: Heatmaps, fed: NDArray[Any]) -> Heatmaps:
        self.runs += 1
        return np.clip(heatmaps + 0.01 * (self.runs % 3), 0, 1).astype(np.float32)


class AnswersTheStripBefore(Faulty):
    before: Heatmaps | None = None

    def spoil(self, heatmaps: Heatmaps, fed: NDArray[Any]) -> Heatmaps:
        late, self.before = self.before, heatmaps
        return heatmaps if late is None or late.shape != heatmaps.shape else late


class ChannelsSwapped(Faulty):
    def spoil_input(self, fed: NDArray[Any]) -> NDArray[Any]:
        return fed[:, [1, 0, 2]]


class NormalisesTwice(Faulty):
    def spoil_input(self, fed: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(fed / np.float32(255), fed.dtype)


class TakesWrongStride(Faulty):
    """Reads every strip as if its rows were a pixel longer."""

    def spoil_input(self, fed: NDArray[Any]) -> NDArray[Any]:
        rows, width = fed.shape[2:]
        wrong = np.arange(rows)[:, None] * (width + 1) + np.arange(width)
        return fed.reshape(*fed.shape[:2], -1)[:, :, np.minimum(wrong, rows * width - 1)]


class TileShifted(Faulty):
    """The last tile lies a pixel too high."""

    def spoil(self, heatmaps: Heatmaps, fed: NDArray[Any]) -> Heatmaps:
        tile = self.model.spec.grid.tiles[-1]
        rows, columns = tile.rows.kept, tile.columns.kept
        heatmaps[:, rows, columns] = np.roll(heatmaps[:, rows, columns], -1, axis=1)
        return heatmaps


class AnswersNaN(Faulty):
    def spoil(self, heatmaps: Heatmaps, fed: NDArray[Any]) -> Heatmaps:
        heatmaps[:, 5, 5] = np.nan
        return heatmaps


@pytest.fixture
def probes(small: StripSpec) -> Probes:
    """Of a noisy pattern that is the same in all three pictures."""
    rng = np.random.default_rng(SEED)
    pattern = rng.uniform(90, 160, (small.height_px, small.width_px))
    strip = np.clip(pattern + rng.normal(0, 1.5, (4, small.height_px, small.width_px)), 0, 255)
    return Probes.of(strip.astype(np.float32))


@pytest.fixture
def found(models: Path, probes: Probes) -> Callable[[type[OnnxRuntimeBackend]], tuple[Check, ...]]:
    """What is found in a backend, with the same model in a healthy one as the reference."""

    def checks(kind: type[OnnxRuntimeBackend]) -> tuple[Check, ...]:
        backend = kind.load(models / "production.onnx", LoadOptions(threads=1))
        with Inspector.load(models / "production.onnx", threads=1) as reference, Inspector(backend, threshold=0.5) as candidate:
            return self_checks(reference, candidate, probes, batches=BATCHES)

    return checks


FAULTS: dict[type[Faulty], str] = {
    LastRowDiffers: "rows of a batch agree",
    BatchesDiffer: "a batch answers what single strips do, at every profile's corners",
    NeverWritten: "every place is written",
    RunsDiffer: "two runs agree",
    AnswersTheStripBefore: "no answer is that of the strip before",
    ChannelsSwapped: "channels are in their order",
    NormalisesTwice: "normalised once",
    LargestBatchDiffers: "a batch answers what single strips do, at every profile's corners",
    TakesWrongStride: "answers to the strip that it was given",
    TileShifted: "every tile lies in its place",
}


@pytest.mark.parametrize(("kind", "name"), FAULTS.items(), ids=lambda value: value.__name__ if isinstance(value, type) else "")
def test_a_fault_is_found_and_called_by_its_name(
    kind: type[Faulty], name: str, found: Callable[[type[OnnxRuntimeBackend]], tuple[Check, ...]]
) -> None:
    failed = {check.name: check.detail for check in found(kind) if check.passed is False}
    assert failed.get(name)


def test_ten_faults_are_planted() -> None:
    assert len(FAULTS) == 10


def test_a_healthy_backend_passes_every_check(found: Callable[[type[OnnxRuntimeBackend]], tuple[Check, ...]]) -> None:
    assert [(check.name, check.detail) for check in found(OnnxRuntimeBackend) if check.passed is not True] == []


def test_what_is_wrong_says_where(found: Callable[[type[OnnxRuntimeBackend]], tuple[Check, ...]]) -> None:
    def detail(kind: type[Faulty]) -> str:
        return next(check.detail for check in found(kind) if check.name == FAULTS[kind])

    assert "row 32, column 16" in detail(NeverWritten)
    assert detail(TileShifted) == "tile 12 lies -1 rows and +0 columns from its place"
    assert "Ref1, Target, Ref2" in detail(ChannelsSwapped)
    assert "batch of 4" in detail(LargestBatchDiffers)


def test_nan_fails_the_checks_that_it_is_answered_in(found: Callable[[type[OnnxRuntimeBackend]], tuple[Check, ...]]) -> None:
    failed = [check for check in found(AnswersNaN) if check.passed is False]
    assert len(failed) == len(FAULTS)
    assert all("nan" in check.detail for check in failed)


def test_a_reference_that_cannot_answer_is_an_error_of_its_own(models: Path, probes: Probes) -> None:
    broken = AnswersNaN.load(models / "production.onnx", LoadOptions(threads=1))
    with Inspector(broken, threshold=0.5) as reference, Inspector.load(models / "production.onnx", threads=1) as candidate:
        with pytest.raises(ModelError, match="nan"):
            reference.heatmap(probes.planted)
        with pytest.raises(ModelError, match="nan"):
            self_checks(reference, candidate, probes)


def test_without_batches_the_checks_of_batches_are_not_made(models: Path, probes: Probes) -> None:
    with Inspector.load(models / "production.onnx", threads=1) as model:
        skipped = [check for check in self_checks(model, model, probes) if check.passed is None]
    assert [check.name for check in skipped] == [FAULTS[LastRowDiffers], FAULTS[BatchesDiffer]]
    assert all(check.detail for check in skipped)


def test_probes_have_target_only_defects_all_over_the_strip(probes: Probes, heat_of: Callable[[NDArray[Any]], Heatmaps]) -> None:
    for strip in (probes.planted, probes.other):
        assert strip.dtype == probes.clean.dtype
        assert np.array_equal(strip, np.rint(strip))
        rows, columns = np.nonzero(heat_of(strip) - heat_of(probes.clean) > 0.2)
        assert {(row // (2 * PITCH_PX), column // (2 * PITCH_PX)) for row, column in zip(rows, columns, strict=True)} == {
            (row, column) for row in range(2) for column in range(3)
        }
    assert np.abs(heat_of(probes.planted) - heat_of(probes.other)).max() > 0.2
