"""May this model go on the line in place of that one? (design 8)

In:   a reference that is trusted, a candidate, labelled strips, and a folder for what is found on the way.
Out:  a `Qualification`: the answer, and everything that it rests on: the gate's decision over the strips, the checks for wrong answers
      without an error, and how far the heatmaps are apart.
"qualified" needs all of it; a failed criterion or check is "not qualified"; criteria that hold on these strips, but not surely enough,
and labels that are missing are "not enough data". Streams: memory does not grow with the strips beyond 21 KiB each.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from lineside.dataset import GOOD, Dataset, Sample
from lineside.engine.files.qualification_mark import mark_of
from lineside.errors import DatasetError, ModelError
from lineside.judge.gate import MARGIN, GateDecision, decide
from lineside.judge.model import Model
from lineside.manifest import checked_threshold, sha256_of_file, versions
from lineside.notices import lines_so_far
from lineside.progress import Progress, silent
from lineside.reader import read_strip

from .probes import Probes
from .self_check import Check, self_checks
from .strip_results import Compared, compare_strips, prepare_folder

SCHEMA = 1
WORST = 10
"""Strips that the report shows side by side."""
OPEN_BATCHES = (2, 5)
"""Batches to test where the model takes any number: one that is small, one that is no power of two."""

Answer = Literal["qualified", "not qualified", "not enough data"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One of the two models.

    Attributes:
        model: What answers.
        path, sha256: Its file.
        weights_sha256: Of the network that it was made from; None for a file that does not say.
        about: What it says of itself, as JSON values.
    """

    model: Model
    path: Path
    sha256: str
    weights_sha256: str | None
    about: dict[str, Any]

    @classmethod
    def of(cls, model: Model, path: Path) -> Subject:
        """The model that was opened from `path`."""
        return cls(model=model, path=path, sha256=sha256_of_file(path), weights_sha256=model.weights_sha256, about=model.describe())

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes worth testing: the corners of every profile."""
        return OPEN_BATCHES if self.model.profiles is None else self.model.profiles.corners

    def to_json(self) -> dict[str, Any]:
        """Its lineage."""
        return {"path": str(self.path), "sha256": self.sha256, "weights_sha256": self.weights_sha256, "about": self.about}


@dataclass(frozen=True, kw_only=True)
class Strips:
    """What both models are compared on. `labelled` is False for strips of which nobody says whether they are good."""

    root: Path
    samples: tuple[Sample, ...]
    labelled: bool

    @classmethod
    def of(cls, dataset: Dataset) -> Strips:
        """The labelled strips of test/; without that folder those of train/good, which say nothing of defects.

        Raises:
            DatasetError: There are none, or a mask is missing.
        """
        if (dataset.root / "test").is_dir():
            return cls(root=dataset.root, samples=dataset.test, labelled=True)
        return cls(root=dataset.root, samples=tuple(Sample(path=path, kind=GOOD) for path in dataset.train), labelled=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Qualification:
    """The answer, and what it rests on."""

    reference: Subject
    candidate: Subject
    strips: Strips
    decision: GateDecision
    checks: tuple[Check, ...]
    compared: tuple[Compared, ...]
    when: str
    warnings: tuple[str, ...] = ()

    @property
    def answer(self) -> Answer:
        """One of three."""
        if self.failures:
            return "not qualified"
        return "not enough data" if self.missing else "qualified"

    @property
    def failures(self) -> tuple[str, ...]:
        """What speaks against the candidate, in words."""
        return (*self.decision.reasons, *(f"{check.name}: no; {check.detail}" for check in self.checks if check.passed is False))

    @property
    def missing(self) -> tuple[str, ...]:
        """What nobody can tell from these strips, in words, and how many more it would take."""
        if not self.strips.labelled:
            return (f"no labels: {self.strips.root} has no test folder, so nobody knows which verdicts are right",)
        unsure = [
            f"{one.name}: falls by {one.down.value:.4f}, and by up to {one.down.high:.4f} with 95 % confidence, {one.limit:g} may be lost; "
            + (f"some {one.more_strips} more strips would decide" if one.more_strips else "its fall is the limit")
            for one in self.decision.unsure
        ]
        return (*self.decision.undefined, *unsure)

    @property
    def worst(self) -> tuple[Compared, ...]:
        """Flips first, then by the largest difference of the heatmaps."""
        return tuple(sorted(self.compared, key=lambda one: (not one.flips, -one.difference.max)))[:WORST]

    @property
    def max_difference(self) -> float:
        """The largest of all strips."""
        return max(one.difference.max for one in self.compared)

    @property
    def mean_difference(self) -> float:
        """Over all pixels of all strips."""
        return float(np.mean([one.difference.mean for one in self.compared]))

    @property
    def median_ms(self) -> tuple[float | None, float | None]:
        """Of one strip, by the reference and by the candidate, as they told; they ran in turn."""
        times = ([one.reference_ms for one in self.compared], [one.candidate_ms for one in self.compared])
        one, other = (median(told) if (told := [value for value in values if value is not None]) else None for values in times)
        return one, other

    def mark(self, report: Path) -> dict[str, Any]:
        """What the sidecar of an engine keeps of it, with the report.json at `report`."""
        return mark_of(
            report,
            answer=self.answer,
            when=self.when,
            strips=len(self.compared),
            plan_sha256=self.candidate.sha256,
            reference_sha256=self.reference.sha256,
        )

    def to_json(self) -> dict[str, Any]:
        """The content of report.json."""
        return {
            "schema": SCHEMA,
            "answer": self.answer,
            "failures": list(self.failures),
            "missing": list(self.missing),
            "when": self.when,
            "reference": self.reference.to_json(),
            "candidate": self.candidate.to_json(),
            "dataset": {"path": str(self.strips.root), "strips": len(self.compared), "labelled": self.strips.labelled},
            "gate": self.decision.to_json(),
            "checks": [check.to_json() for check in self.checks],
            "max_difference": self.max_difference,
            "mean_difference": self.mean_difference,
            "median_ms": dict(zip(("reference", "candidate"), self.median_ms, strict=True)),
            "warnings": list(self.warnings),
            "strips": [_strip_json(one) for one in self.compared],
            "made_with": versions(),
        }


def qualify(
    reference: Subject,
    candidate: Subject,
    strips: Strips,
    *,
    folder: Path,
    threshold: float | None = None,
    margin: float = MARGIN,
    other_network: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Qualification:
    """Find out whether the candidate may take the reference's place.

    Args:
        reference: The trusted one.
        candidate: The one that is to replace it.
        strips: What both are asked.
        folder: Where the results of every strip are kept; another run on the same pair goes on there.
        threshold: For the verdicts of both; None: the reference's own.
        margin: Strips whose score is nearer to the threshold are listed.
        other_network: Whether the two may be made from different networks.
        force: Begin anew in a folder that holds something.
        progress: Told of every strip.

    Raises:
        ModelError: The two are of different strips or networks, or one cannot answer.
        ConfigError: The threshold or margin is not in 0..1.
        StripError, DatasetError: A strip or mask is not what the spec says.
        OutputError: The folder is another pair's, or cannot be written.
    """
    level = checked_threshold(reference.model.threshold if threshold is None else threshold)
    _refuse_unlike(reference, candidate, other_network=other_network)
    good = next((sample for sample in strips.samples if not sample.defective), None)
    if good is None:
        raise DatasetError(f"{strips.root}: no good strips in test", why="the checks begin with one", fix="put good strips into test/good")
    prepare_folder(folder, force=force)
    probes = Probes.of(read_strip(good.path, reference.model.spec))
    pair = {
        "reference": reference.sha256,
        "candidate": candidate.sha256,
        "threshold": level,
        "dataset": str(strips.root.resolve()),
    }
    compared = compare_strips(
        reference.model, candidate.model, strips.samples, threshold=level, folder=folder, pair=pair, progress=progress
    )
    return Qualification(
        reference=reference,
        candidate=candidate,
        strips=strips,
        decision=decide([one.reference for one in compared], [one.candidate for one in compared], threshold=level, margin=margin),
        checks=self_checks(reference.model, candidate.model, probes, batches=candidate.batches),
        compared=compared,
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        warnings=lines_so_far(),
    )


def _refuse_unlike(reference: Subject, candidate: Subject, *, other_network: bool) -> None:
    one, other = reference.model.spec, candidate.model.spec
    if one.size != other.size:
        raise ModelError(
            f"{candidate.path}: a model of {other.size} px strips",
            why=f"{reference.path} inspects {one.size} px strips, and the two are compared on the same ones",
            fix="make both from one checkpoint",
        )
    known = None not in (reference.weights_sha256, candidate.weights_sha256)
    if known and reference.weights_sha256 != candidate.weights_sha256 and not other_network:
        raise ModelError(
            f"{candidate.path}: made from another network (weights {str(candidate.weights_sha256)[:12]})",
            why=f"{reference.path} is made from weights {str(reference.weights_sha256)[:12]}",
            fix="name the float32 file that the candidate was made from; to replace a network by another, add --other-network",
        )


def _strip_json(one: Compared) -> dict[str, Any]:
    return {
        "path": str(one.sample.path),
        "kind": one.sample.kind,
        "reference": one.reference.row.to_json(),
        "candidate": one.candidate.row.to_json(),
        "difference": asdict(one.difference),
        "flips": one.flips,
        "reference_ms": one.reference_ms,
        "candidate_ms": one.candidate_ms,
    }
