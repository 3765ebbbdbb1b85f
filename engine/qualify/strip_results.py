"""What two models made of every strip, kept in a file as it is found, so that an interrupted qualification goes on.

In:   two models, labelled strips, and the report's folder.
Out:  `strips.jsonl` there: a first line that says which pair it is, then one line per strip with scores, verdicts, the counts of
      `StripOutcome`, how far the heatmaps are apart, and the milliseconds that a model told. A second run reads it and does the rest.
A strip whose file has changed its size since is done again; of two lines about one strip the later counts.
One strip is in memory at a time, and no heatmap is kept.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.dataset import Sample, read_sample
from lineside.errors import ModelError, OutputError
from lineside.files import make_output_folder, writing
from lineside.judge.compare import HeatDifference
from lineside.judge.evaluation import StripRow
from lineside.judge.model import Model
from lineside.judge.outcome import LEVELS, StripOutcome, outcome_of
from lineside.progress import Progress, silent

FILE = "strips.jsonl"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """One strip under both models.

    Attributes:
        reference, candidate: What each made of it.
        difference: Of the heatmaps.
        reference_ms, candidate_ms: What inspecting it took; None for a model that does not tell.
    """

    reference: StripOutcome
    candidate: StripOutcome
    difference: HeatDifference
    reference_ms: float | None
    candidate_ms: float | None

    @property
    def sample(self) -> Sample:
        """The strip and its label."""
        return self.reference.row.sample

    @property
    def flips(self) -> bool:
        """Whether the verdict changed."""
        return self.reference.row.ng != self.candidate.row.ng


def prepare_folder(folder: Path, *, force: bool) -> None:
    """Make the folder ready. One with the results of a qualification is taken as it is; `force` begins anew.

    Raises:
        OutputError: It holds something else, or cannot be written.
    """
    begun = folder / FILE
    make_output_folder(folder, force=force or begun.is_file())
    if force:
        begun.unlink(missing_ok=True)


def compare_strips(
    reference: Model,
    candidate: Model,
    samples: Sequence[Sample],
    *,
    threshold: float,
    folder: Path,
    pair: dict[str, Any],
    progress: Progress = silent,
) -> tuple[Compared, ...]:
    """Run both models over `samples`; what an earlier run of this pair has done is not done again.

    Args:
        reference: The trusted one.
        candidate: The one that is to replace it.
        samples: Labelled strips.
        threshold: For the verdicts of both.
        folder: Where `strips.jsonl` is, or will be.
        pair: What identifies both models, the strips and the threshold, as JSON values.
        progress: Told of every strip.

    Raises:
        OutputError: The folder holds results of another pair, or cannot be written.
        StripError, DatasetError: A strip or mask is not what the spec says.
        ModelError: A model cannot answer; names the strip.
    """
    path = folder / FILE
    known = _read(path, pair, samples) if path.exists() else {}
    missing = [sample for sample in samples if sample.path not in known]
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write("\n" if path.stat().st_size else json.dumps({"schema": SCHEMA, **pair}) + "\n")  # a killed run may have left half a line
        for sample in progress(missing, total=len(missing), what="compare"):
            known[sample.path] = _compare(reference, candidate, sample, threshold)
            file.write(_line(known[sample.path]))
            file.flush()
    return tuple(known[sample.path] for sample in samples)


def _compare(reference: Model, candidate: Model, sample: Sample, threshold: float) -> Compared:
    strip, mask = read_sample(sample, reference.spec)
    trusted, reference_ms = _answer(reference, strip, sample, "reference")
    trusted = trusted.copy()  # a model may write its next answer into the same memory
    heatmap, candidate_ms = _answer(candidate, strip, sample, "candidate")
    return Compared(
        reference=outcome_of(sample, trusted, mask, threshold=threshold),
        candidate=outcome_of(sample, heatmap, mask, threshold=threshold),
        difference=HeatDifference.of(trusted, heatmap),
        reference_ms=reference_ms,
        candidate_ms=candidate_ms,
    )


def _answer(model: Model, strip: NDArray[Any], sample: Sample, role: str) -> tuple[NDArray[np.float32], float | None]:
    """The heatmap, and the milliseconds of a model that measures itself. Raises: ModelError that names strip and model."""
    try:
        (answer,) = model.inspect_many((strip,))
        return answer.heatmap, None if answer.timing is None else answer.timing.total_ms
    except ModelError as exc:
        raise ModelError(f"{sample.path}: the {role}: {exc.what}", why=exc.why, fix=exc.fix) from exc


def _line(one: Compared) -> str:
    value = {
        "path": str(one.sample.path),
        "bytes": one.sample.path.stat().st_size,
        "reference": _outcome_json(one.reference),
        "candidate": _outcome_json(one.candidate),
        "difference": asdict(one.difference),
        "reference_ms": one.reference_ms,
        "candidate_ms": one.candidate_ms,
    }
    return json.dumps(value) + "\n"


def _outcome_json(outcome: StripOutcome) -> dict[str, Any]:
    row = outcome.row
    counts = None if outcome.pixels is None else base64.b64encode(zlib.compress(outcome.pixels.astype("<u4").tobytes())).decode()
    values = {name: getattr(row, name) for name in ("score", "ng", "defects", "found", "false_alarms")}
    return {**values, "pixels": counts}


def _read(path: Path, pair: dict[str, Any], samples: Sequence[Sample]) -> dict[Path, Compared]:
    """What an earlier run of the same pair has done. Raises: OutputError."""
    with path.open(encoding="utf-8") as file:
        values = [_parsed(line) for line in file]
    head = values[0] if values else None
    if head != {"schema": SCHEMA, **pair}:
        other = [name for name in pair if head is None or head.get(name) != pair[name]]
        raise OutputError(
            f"{path.parent}: holds the results of another pair (other {', '.join(other) or 'schema'})",
            why="results of two pairs are not mixed",
            fix="name another --report folder, or overwrite it with --force",
        )
    by_path = {str(sample.path): sample for sample in samples}
    found = {}
    for value in values[1:]:
        sample = by_path.get(value["path"]) if value else None
        if value and sample is not None and value["bytes"] == sample.path.stat().st_size:
            found[sample.path] = _compared(value, sample)
    return found


def _parsed(line: str) -> dict[str, Any] | None:
    """The object in a line; None for an empty line, and for half a line of a run that was killed."""
    try:
        value: Any = json.loads(line)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _compared(value: dict[str, Any], sample: Sample) -> Compared:
    return Compared(
        reference=_outcome(value["reference"], sample),
        candidate=_outcome(value["candidate"], sample),
        difference=HeatDifference(**value["difference"]),
        reference_ms=value["reference_ms"],
        candidate_ms=value["candidate_ms"],
    )


def _outcome(value: dict[str, Any], sample: Sample) -> StripOutcome:
    counts = value.pop("pixels")
    pixels = None
    if counts is not None:
        pixels = np.frombuffer(zlib.decompress(base64.b64decode(counts)), "<u4").reshape(2, LEVELS).astype(np.uint32)
    return StripOutcome(row=StripRow(sample=sample, **value), pixels=pixels)
