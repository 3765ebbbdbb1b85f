"""The fastest way to run a network on this machine's CPU that keeps the verdicts: measured, qualified, not guessed.

In:   a checkpoint (every tiling is tried) or a float32 ONNX file (its own tiling), and a data set with train/good to calibrate on and
      labelled strips in test/.
Out:  `Tuning`: every candidate with its latency against the float32 unrolled graph (of an ONNX file: against itself), and the fastest one
      that qualifies; `write_choice` puts it beside the model with the number of threads.
Candidates: tilings x (float32, INT8, INT8 with the first and last layer); then threads for what is fastest. Latency in one interleaved run.
They are qualified in the order of their speed until one passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any, get_args

from lineside._optional import require
from lineside.calibration.place.precision_file import write_quantized_model
from lineside.calibration.place.quantize import QuantizeOptions
from lineside.calibration.ranges.ranges import CalibrateOptions, calibrate
from lineside.dataset import Dataset
from lineside.engine.files.tuned import Tuned, this_machine
from lineside.engine.inspector import Inspector
from lineside.engine.machine import physical_cores
from lineside.engine.qualify.qualification import Qualification, Strips, Subject, qualify
from lineside.errors import CalibrationError
from lineside.files import file_being_written
from lineside.graph.float_model import FloatModel
from lineside.judge.bootstrap import Interval
from lineside.kinds import kind_of
from lineside.manifest import Tiling, sha256_of_file
from lineside.progress import Progress, silent

from .measure.environment import environment
from .measure.inputs import strips
from .measure.latency import LatencyOptions, Row, measure
from .subjects.inspector_subject import Inspected

FLOAT = "fp32"
PRECISIONS = {
    FLOAT: None,
    "int8": QuantizeOptions(target="onnxruntime"),
    "int8, first and last too": QuantizeOptions(target="onnxruntime", first_and_last=True),
}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to run the network."""

    tiling: str
    precision: str
    threads: int
    path: Path

    @property
    def name(self) -> str:
        """Such as "full, int8, 2 threads"."""
        return f"{self.tiling}, {self.precision}, {self.threads} thread{'s' if self.threads > 1 else ''}"


@dataclass(frozen=True, kw_only=True)
class Timed:
    """The latency of a candidate, and how many times as fast as the reference it was in the same interleaved run."""

    row: Row
    times_faster: Interval


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A candidate that was measured. `qualification` is None where a faster one had passed already."""

    candidate: Candidate
    timed: Timed
    qualification: Qualification | None

    @property
    def answer(self) -> str:
        """What qualification said."""
        return "not asked" if self.qualification is None else self.qualification.answer


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was found, the fastest first. `reference` is what all are compared with, and qualified against."""

    reference: Candidate
    tried: tuple[Tried, ...]

    @property
    def chosen(self) -> Tried | None:
        """The fastest that qualifies; None when none does, which the reference itself only fails for want of data."""
        return next((one for one in self.tried if one.qualification is not None and one.qualification.answer == "qualified"), None)

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        rows = [
            {
                "name": one.candidate.name,
                "tiling": one.candidate.tiling,
                "precision": one.candidate.precision,
                "threads": one.candidate.threads,
                "p50_ms": one.timed.row.total_ms.p50,
                "p99_ms": one.timed.row.total_ms.p99,
                "rounds": one.timed.row.total_ms.n,
                "times_faster": one.timed.times_faster.to_json(),
                "answer": one.answer,
                "against_it": list(one.qualification.failures) if one.qualification else [],
                "not_known": list(one.qualification.missing) if one.qualification else [],
            }
            for one in self.tried
        ]
        return {
            "reference": self.reference.name,
            "chosen": self.chosen.candidate.name if self.chosen else None,
            "candidates": rows,
            "environment": environment(),
        }


def tune(model: Path, dataset: Path, folder: Path, *, seconds: float = 120.0, progress: Progress = silent) -> Tuning:
    """Find the fastest candidate that qualifies.

    Args:
        model: A checkpoint, or a float32 ONNX file.
        dataset: Calibrated on its train/good, qualified on its test/.
        folder: Where the files of the candidates, and what qualification finds, are written.
        seconds: Of latency, for all candidates together.
        progress: Told of the strips.

    Raises:
        CheckpointError, ModelError: The model is not one, or not float32.
        CalibrationError: The data set has no labelled strips to qualify on.
        DatasetError, StripError: The strips cannot be read.
    """
    floats = _float_files(model, folder)
    reference = floats.get("unrolled") or next(iter(floats.values()))
    opened = Dataset.open(dataset, spec=FloatModel.read(reference).spec)
    strips = Strips.of(opened)
    if not strips.labelled:
        raise CalibrationError(
            f"{dataset}: no test folder", why="what is faster has to keep the verdicts, too", fix="put labelled strips into test/"
        )
    cores = physical_cores()
    candidates = _candidates(floats, opened, folder, cores, progress)
    base = next(one for one in candidates if one.path == reference)
    timed = _measure(candidates, base, seconds * 2 / 3)
    fastest = min(candidates, key=lambda one: timed[one].row.total_ms.p50)
    fewer = [Candidate(**{**vars(fastest), "threads": threads}) for threads in range(1, cores)]
    if fewer:
        timed |= _measure(list(dict.fromkeys([base, fastest, *fewer])), base, seconds / 3)
    return _qualified(timed, base, strips, folder, progress)


def write_choice(tuning: Tuning, out: Path) -> None:
    """Copy the chosen model to `out`, and write how to run it beside it. Raises: OutputError."""
    chosen = tuning.chosen
    assert chosen is not None, "there is nothing to write"
    sha256, threads = sha256_of_file(chosen.candidate.path), chosen.candidate.threads
    tuned = Tuned(sha256=sha256, machine=this_machine(), threads=threads, measured=tuning.to_json())
    with file_being_written(out) as temporary:
        copyfile(chosen.candidate.path, temporary)
    tuned.write(out)


def _float_files(model: Path, folder: Path) -> dict[str, Path]:
    """Float32 files by their tiling."""
    if kind_of(model) != "checkpoint":
        return {FloatModel.read(model).manifest.tiling: model}
    require("torch", extra="export")
    from lineside.export.graph import ExportOptions
    from lineside.export.to_onnx import export_checkpoint

    found = {}
    for tiling in get_args(Tiling):
        found[tiling] = folder / f"{tiling}.onnx"
        export_checkpoint(model, found[tiling], ExportOptions(tiling=tiling), force=True)
    return found


def _candidates(floats: dict[str, Path], dataset: Dataset, folder: Path, threads: int, progress: Progress) -> list[Candidate]:
    """Every tiling in every precision."""
    models = {tiling: FloatModel.read(source) for tiling, source in floats.items()}
    table = calibrate(next(iter(models.values())), dataset, CalibrateOptions(), progress=progress)
    found = []
    for tiling, source in floats.items():
        for number, (precision, options) in enumerate(PRECISIONS.items()):
            path = source
            if options is not None:
                path = folder / f"{tiling}.int8.{number}.onnx"
                write_quantized_model(models[tiling], table, path, options, force=True)
            found.append(Candidate(tiling=tiling, precision=precision, threads=threads, path=path))
    return found


def _measure(candidates: Sequence[Candidate], base: Candidate, seconds: float) -> dict[Candidate, Timed]:
    """One interleaved run of `candidates`, of which `base` is one."""
    with ExitStack() as stack:
        loaded = [stack.enter_context(Inspector.load(one.path, threads=one.threads)) for one in candidates]
        rotation = strips(loaded[0].spec)
        subjects = [
            Inspected(name=one.name, inspector=inspector, strips=rotation) for one, inspector in zip(candidates, loaded, strict=True)
        ]
        rows = dict(zip(candidates, measure(subjects, LatencyOptions(seconds=seconds)), strict=True))
    return {one: Timed(row=row, times_faster=rows[base].over(row)) for one, row in rows.items()}


def _qualified(timed: Mapping[Candidate, Timed], base: Candidate, strips: Strips, folder: Path, progress: Progress) -> Tuning:
    """Ask in the order of the speed until one qualifies."""
    tried: list[Tried] = []
    passed = False
    for one in sorted(timed, key=lambda candidate: timed[candidate].row.total_ms.p50):
        found = None if passed else _ask(one, base, strips, folder, progress)
        passed = passed or (found is not None and found.answer == "qualified")
        tried.append(Tried(candidate=one, timed=timed[one], qualification=found))
    return Tuning(reference=base, tried=tuple(tried))


def _ask(one: Candidate, base: Candidate, strips: Strips, folder: Path, progress: Progress) -> Qualification:
    report = folder / f"{one.path.stem}.{one.threads}"
    report.mkdir(exist_ok=True)
    with Inspector.load(base.path, threads=base.threads) as trusted, Inspector.load(one.path, threads=one.threads) as candidate:
        return qualify(Subject.of(trusted, base.path), Subject.of(candidate, one.path), strips, folder=report, progress=progress)
