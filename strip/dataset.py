"""A data set on disk: MVTec AD's own tree, so its folders work unchanged.

    train/good/            good strips; training and calibration start from these
    valid/{good,DEFECT}/   optional: chooses the best epoch and the threshold
    test/{good,DEFECT}/    what `evaluate` and `qualify` look at
    ground_truth/DEFECT/   a mask per defective strip: its stem, or STEM_mask

In:   the folder, and the spec of its strips: from the caller, else from `dataset.json`, else the preset of the first strip.
Out:  `Dataset`, lists of paths; pixels are read by `reader.read_strip` and `read_mask` when they are needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError, DatasetError, StripError
from .folders import GROUND_TRUTH, files_in, folders_in, listing
from .notices import notice
from .pixels import SUFFIXES, read_marks, reason
from .reader import read_strip, spec_of_file
from .spec import StripSpec

GOOD = "good"
_PARTS = ("train", "valid", "test", GROUND_TRUTH)
DATASET_FILE = "dataset.json"
"""Written by `lineside synth`: {"schema": 1, "spec": {...}, ...}. Optional in a data set of the user's own."""
DATASET_SCHEMA = 1
_EDGE_BYTES = 1 << 16
MOST_OF_A_STRIP = 0.5
"""A mask that marks more is probably inverted."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A labelled strip. `kind` is "good" or the name of the defect; `mask` is None for good ones or without ground truth."""

    path: Path
    kind: str
    mask: Path | None = None

    @property
    def defective(self) -> bool:
        """Whether the right verdict is NG."""
        return self.kind != GOOD


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set whose folders have been looked at; no picture has been read but, perhaps, the first."""

    root: Path
    spec: StripSpec

    @classmethod
    def open(cls, root: Path, *, spec: StripSpec | None = None) -> Dataset:
        """Look at the folders of `root`.

        Args:
            root: The folder that holds train/ or test/.
            spec: What its strips are; None: what `dataset.json` says, else the preset of the first strip.

        Raises:
            DatasetError: There is no such folder, or it holds neither train/good nor test.
            StripError: The spec has to come from the first strip, and that cannot be read or fits no preset.
        """
        if not root.is_dir():
            raise DatasetError(
                f"{root}: no such folder",
                why="a data set was expected there",
                fix="check the path, or make one: lineside synth " + str(root),
            )
        if not (root / "train" / GOOD).is_dir() and not (root / "test").is_dir():
            if (parent := _dataset_around(root)) is not None:
                raise DatasetError(
                    f"{root}: a folder inside a data set",
                    why=f"a command takes the whole data set, which is {parent}",
                    fix=f"say {shlex.quote(str(parent))}",
                )
            found = ", ".join(child.name for child in listing(root)[:8]) or "nothing"
            raise DatasetError(
                f"{root}: not a data set (found {found})",
                why="good strips lie in train/good, labelled ones in test/good and test/DEFECT",
                fix=f"put your good strips into {root / 'train' / GOOD}",
            )
        return cls(root=root, spec=spec or _spec_of(root))

    @cached_property
    def train(self) -> tuple[Path, ...]:
        """Good strips for training and calibration, sorted by name.

        Raises:
            DatasetError: train/good is missing or holds no strips.
        """
        folder = self.root / "train" / GOOD
        paths = files_in(folder)
        if not paths:
            raise DatasetError(
                f"{folder}: no strips",
                why=f"training starts from good strips ({', '.join(SUFFIXES)})",
                fix=f"put good strips into {folder}",
            )
        return paths

    @cached_property
    def valid(self) -> tuple[Sample, ...]:
        """Labelled strips that choose epoch and threshold; empty without a valid/ folder. Raises: DatasetError."""
        return self._samples("valid")

    @cached_property
    def test(self) -> tuple[Sample, ...]:
        """Labelled strips to measure on.

        Raises:
            DatasetError: There are none, or a mask is missing.
        """
        samples = self._samples("test")
        if not samples:
            folder = self.root / "test"
            raise DatasetError(
                f"{folder}: no strips", why="strips to test lie in test/good and test/DEFECT", fix=f"put strips into {folder / GOOD}"
            )
        return samples

    def fingerprint(self) -> str:
        """A sha256 over names, sizes and the first and last 64 KiB of every strip of train/ and valid/.

        Whole files are not read, so that a data set of any size is fingerprinted in seconds.

        Raises:
            StripError: A strip cannot be read.
        """
        digest = hashlib.sha256()
        for path in (*self.train, *(sample.path for sample in self.valid)):
            size, edges = _edges(path)
            digest.update(f"{path.relative_to(self.root).as_posix()}\0{size}\0".encode())
            digest.update(edges)
        return digest.hexdigest()

    def _samples(self, part: str) -> tuple[Sample, ...]:
        samples: list[Sample] = []
        for folder in sorted(folders_in(self.root / part), key=lambda folder: (folder.name != GOOD, folder.name)):
            masks = self._masks_of(folder)
            samples += [Sample(path=path, kind=folder.name, mask=masks.get(path)) for path in files_in(folder)]
        return tuple(samples)

    def _masks_of(self, folder: Path) -> dict[Path, Path]:
        """The mask of every strip of a DEFECT folder; empty when the data set has no ground truth at all."""
        truth = self.root / GROUND_TRUTH
        if folder.name == GOOD or not truth.is_dir():
            return {}
        self._refuse_shared_masks(folder.name)
        drawn = {path.stem: path for path in files_in(truth / folder.name)}
        masks = {}
        for path in files_in(folder):
            mask = drawn.get(path.stem) or drawn.get(f"{path.stem}_mask")
            if mask is None:
                raise DatasetError(
                    f"{truth / folder.name}: no mask for {path.relative_to(self.root)}",
                    why=f"with a ground_truth folder every defective strip needs {path.stem}.png or {path.stem}_mask.png (or .tif) in it",
                    fix="add the mask, move the strip out, or remove ground_truth to measure verdicts alone",
                )
            masks[path] = mask
        return masks

    def _refuse_shared_masks(self, kind: str) -> None:
        seen: dict[str, Path] = {}
        for path in (*files_in(self.root / "valid" / kind), *files_in(self.root / "test" / kind)):
            twin = seen.setdefault(path.stem, path)
            if twin != path:
                raise DatasetError(
                    f"{self.root}: {twin.relative_to(self.root)} and {path.relative_to(self.root)} have the same stem",
                    why="they share the folder ground_truth, so one mask would stand for two strips",
                    fix="rename one of the strips and its mask",
                )


def read_mask(sample: Sample, spec: StripSpec) -> NDArray[np.bool_]:
    """The ground truth of a labelled strip, (H, W) bool; all False for a good one.

    Raises:
        DatasetError: The mask has another size, or marks nothing.
        StripError: The mask cannot be read.
    """
    size = (spec.height_px, spec.width_px)
    if sample.mask is None:
        return np.zeros(size, np.bool_)
    mask = read_marks(sample.mask, size)
    if mask.shape != size:
        raise DatasetError(
            f"{sample.mask}: mask of {' x '.join(str(side) for side in mask.shape)} px",
            why=f"its strip {sample.path.name} has {spec.height_px} x {spec.width_px} px",
            fix="draw the mask on the strip itself",
        )
    if not mask.any():
        raise DatasetError(
            f"{sample.mask}: the mask marks no pixel",
            why="its strip is called defective",
            fix=f"draw the defect, or move {sample.path.name} to {GOOD}",
        )
    if mask.mean() > MOST_OF_A_STRIP:
        notice(sample.mask, "the mask marks more than half of its strip: black and white may be the wrong way round")
    return mask


def read_sample(sample: Sample, spec: StripSpec) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The strip (C, H, W) and its mask (H, W) bool. Raises: StripError, DatasetError."""
    return read_strip(sample.path, spec), read_mask(sample, spec)


def _edges(path: Path) -> tuple[int, bytes]:
    """The size of a file, and its first and last 64 KiB. Raises: StripError."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(_EDGE_BYTES)
            file.seek(max(0, size - _EDGE_BYTES))
            return size, first + file.read(_EDGE_BYTES)
    except OSError as exc:
        raise StripError(f"{path}: {reason(exc)}", why="a strip was expected there", fix="mend or remove this file") from exc


def dataset_of_part(path: Path) -> Path | None:
    """The data set in whose train, valid, test or ground_truth folder `path` lies, or would lie; None when it lies in none."""
    place = Path(os.path.realpath(path))  # resolve() fails on a link in a circle
    for part in (place, *place.parents):
        if part.name in _PARTS and any((part.parent / split / GOOD).is_dir() for split in _PARTS[:3]):
            return part.parent
    return None


def _dataset_around(folder: Path) -> Path | None:
    """The data set that `folder` is a part of, such as the parent of train/good; None when it is in none."""
    inside = folder.resolve()
    for given, part in ((folder, inside), (folder.parent, inside.parent)):
        if part.name in _PARTS and ((part.parent / "train" / GOOD).is_dir() or (part.parent / "test").is_dir()):
            return given.parent if given.name == part.name else part.parent
    return None


def _spec_of(root: Path) -> StripSpec:
    """The spec in `dataset.json`, else the preset of the first strip that the folder holds."""
    file = root / DATASET_FILE
    if file.is_file():
        try:
            value = json.loads(file.read_bytes())
            if value["schema"] != DATASET_SCHEMA:
                raise DatasetError(
                    f"{file}: schema {value['schema']}", why=f"this version reads schema {DATASET_SCHEMA}", fix="make the data set again"
                )
            return StripSpec.from_json(value["spec"])
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as exc:
            why = f"{type(exc).__name__}: {exc}".split("\n")[0]
            raise DatasetError(f"{file}: damaged", why=why, fix="make the data set again, or remove the file and say --size") from exc
    folders = [root / "train" / GOOD, root / "test" / GOOD, *folders_in(root / "test")]
    first = next((path for folder in folders for path in files_in(folder)), None)
    if first is None:
        folder = root / "train" / GOOD
        raise DatasetError(
            f"{folder}: no strips", why=f"a data set holds good strips ({', '.join(SUFFIXES)})", fix=f"put good strips into {folder}"
        )
    return spec_of_file(first)
