"""A checkpoint: the weights, and everything that later stages ask about them.

In/out: a `.pt` file of schema 1, plain values and tensors only.
`save_checkpoint` writes it whole or not at all. `load_checkpoint` never runs code of the file (PyTorch's weights_only) and
refuses what is missing, cut off, not ours, of another schema, or whose weights are not what they were when saved.
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineside.errors import CheckpointError, ConfigError, TrainingError
from lineside.files import write_bytes
from lineside.judge.threshold import DEFAULT_THRESHOLD
from lineside.manifest import UNTUNED, checked_threshold, versions
from lineside.spec import CHANNELS, StripSpec

from .config import TrainOptions
from .unet import UNet, weights_sha256

SCHEMA = 1
KIND = "lineside checkpoint"
TENSORS = ("examples", "weights", "position")
"""Fields of a checkpoint that are tensors, or hold some."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Position:
    """Where a run stands, so that it can go on.

    Attributes:
        step: Steps done.
        processes: How many processes train together.
        epoch_loss: Sum of the losses of the steps done in the epoch that is not over.
        epoch_seconds: How long they took.
        optimizer: State of Adam.
    """

    step: int
    processes: int
    epoch_loss: float
    epoch_seconds: float
    optimizer: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        spec: The strips that the network inspects.
        options: How it was trained; `base_channels` and `seed` are in there.
        dataset: Name of the data set's folder.
        dataset_fingerprint: `Dataset.fingerprint` of it.
        epoch: Epochs done when it was written; 0 before the first ended.
        chosen_by: How the best epoch is chosen.
        metrics: Of the labelled strips of valid/ with these weights; empty without.
        threshold, threshold_rule: Verdict threshold, and how it was chosen.
        history: One row per epoch, the columns of metrics.csv.
        examples: (N, 3, H, W) uint8, strips of the training set: later stages check their models on them.
        weights: The network's state on the CPU.
        weights_sha256: Of `weights`: the identity of the model in every later file.
        versions: Tools that made it.
        position: Where the run stands; only in last.pt.
    """

    spec: StripSpec
    options: TrainOptions
    dataset: str
    dataset_fingerprint: str
    epoch: int
    chosen_by: str
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    threshold: float = DEFAULT_THRESHOLD
    threshold_rule: str = UNTUNED
    history: tuple[Mapping[str, float | None], ...] = ()
    examples: Tensor = field(repr=False)
    weights: Mapping[str, Tensor] = field(repr=False)
    weights_sha256: str
    versions: Mapping[str, str] = field(default_factory=versions)
    position: Position | None = field(default=None, repr=False)

    @property
    def base_channels(self) -> int:
        """Width of the network."""
        return self.options.base_channels

    def network(self) -> UNet:
        """The network with these weights, on the CPU, in evaluation mode."""
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            network = UNet(self.base_channels)
        network.to_empty(device="cpu").load_state_dict(self.weights)
        return network.eval()

    def to_json(self) -> dict[str, Any]:
        """All but the tensors, as JSON values."""
        value = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in TENSORS}
        value.update(schema=SCHEMA, spec=self.spec.to_json(), options=self.options.to_json(), history=[dict(row) for row in self.history])
        return {**value, "metrics": dict(self.metrics), "versions": dict(self.versions)}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        TrainingError: A weight is not a number; what was there stays.
        OutputError: The disk is full or the place is not writable.
    """
    bad = _not_numbers(checkpoint.weights)
    if bad:
        raise TrainingError(
            f"{bad} is not a number any more", why="the last update was too large", fix="use a smaller --lr, or leave --amp out"
        )
    position = None if checkpoint.position is None else dict(vars(checkpoint.position))
    value = {
        **checkpoint.to_json(),
        "kind": KIND,
        "examples": checkpoint.examples,
        "weights": dict(checkpoint.weights),
        "position": position,
    }
    buffer = io.BytesIO()  # in memory first: a full disk is an error of the file system, not of torch.save
    torch.save(value, buffer)
    write_bytes(path, buffer.getbuffer())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and check a checkpoint.

    Raises:
        CheckpointError: It is missing, cut off, not ours, unsafe, of another schema, or its weights are damaged.
    """
    value = _load(path)
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise CheckpointError(
            f"{path}: not a checkpoint of lineside", why=_what_it_is(value), fix="name the best.pt of a run of lineside train"
        )
    if value.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{path}: checkpoint of schema {value.get('schema')}",
            why=f"this version reads schema {SCHEMA}",
            fix="train again with this version",
        )
    try:
        names = {item.name for item in fields(Checkpoint)}
        checkpoint = Checkpoint(**{name: value[name] for name in names})
        checked_threshold(checkpoint.threshold)
        checkpoint = replace(
            checkpoint,
            spec=StripSpec.from_json(value["spec"]),
            options=TrainOptions.from_json(value["options"]),
            history=tuple(value["history"]),
            position=None if value["position"] is None else Position(**value["position"]),
        )
        _check_tensors(checkpoint)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as exc:
        raise CheckpointError(
            f"{path}: damaged checkpoint", why=f"{type(exc).__name__}: {exc}".split("\n")[0], fix="use another checkpoint of the run"
        ) from exc
    _check_weights(checkpoint, path)
    return checkpoint


def _load(path: Path) -> Any:
    """The value in the file, without running code of it."""
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file", why="a checkpoint was expected there", fix="train one: lineside train DATASET --out RUN"
        )
    damaged = _damage(path)
    if damaged:
        raise CheckpointError(f"{path}: not a whole checkpoint", why=damaged, fix="use another checkpoint of the run, or train again")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise CheckpointError(
            f"{path}: holds more than values and tensors",
            why="such a file can run code when it is opened, so it was not opened",
            fix="use a checkpoint that lineside train wrote",
        ) from exc
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as exc:
        raise CheckpointError(
            f"{path}: damaged checkpoint", why=str(exc).split("\n")[0], fix="use another checkpoint of the run, or train again"
        ) from exc


def _damage(path: Path) -> str | None:
    """What is wrong with the archive that a checkpoint is. PyTorch itself does not look at its checksums."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return "a checkpoint is a zip archive, and this is none"
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as exc:
        return f"a part of it is missing or damaged: {exc}"
    return f"the checksum of {bad} is wrong" if bad else None


def _check_tensors(checkpoint: Checkpoint) -> None:
    """Raises: TypeError."""
    if not all(isinstance(tensor, Tensor) for tensor in (checkpoint.examples, *checkpoint.weights.values())):
        raise TypeError("a value stands where a tensor belongs")
    size = (len(CHANNELS), checkpoint.spec.height_px, checkpoint.spec.width_px)
    if checkpoint.examples.dtype != torch.uint8 or checkpoint.examples.shape[1:] != size:
        raise TypeError(f"examples of shape {_shape(checkpoint.examples.shape)}")


def _check_weights(checkpoint: Checkpoint, path: Path) -> None:
    with torch.device("meta"):
        expected = UNet(checkpoint.base_channels).state_dict()
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    found = {name: tensor.shape for name, tensor in checkpoint.weights.items()}
    if shapes != found:
        name = next(name for name in (*shapes, *found) if shapes.get(name) != found.get(name))
        raise CheckpointError(
            f"{path}: {name} has the shape {_shape(found.get(name))}",
            why=f"a network of {checkpoint.base_channels} base channels has {_shape(shapes.get(name))} there",
            fix="use a checkpoint that lineside train wrote",
        )
    bad = _not_numbers(checkpoint.weights)
    if bad or weights_sha256(checkpoint.weights) != checkpoint.weights_sha256:
        why = f"{bad} is not a number" if bad else "their sha256 is not the one that was saved with them"
        raise CheckpointError(f"{path}: damaged weights", why=why, fix="use another checkpoint of the run, or train again")


def _not_numbers(weights: Mapping[str, Tensor]) -> str | None:
    """The first tensor with NaN or infinity in it."""
    return next((name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())), None)


def _shape(shape: torch.Size | None) -> str:
    return "nothing" if shape is None else "x".join(map(str, shape)) or "one value"


def _what_it_is(value: Any) -> str:
    if isinstance(value, dict):
        return f"it holds {', '.join(map(str, list(value)[:4])) or 'nothing'}"
    return f"it holds a {type(value).__name__}"
