"""Who made this file, from what: hashes, tool versions, and the properties that every model file of ours carries.

In:   files, or values to record.
Out:  `ModelManifest`, which an ONNX file keeps as metadata properties `lineside.*` and an engine in its sidecar, so that
      any later stage reads them and no later command asks again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from .errors import ConfigError, ModelError
from .spec import StripSpec

SCHEMA = 1
PREFIX = "lineside."
"""Every metadata property of ours begins with it."""

Tiling = Literal["batched", "unrolled", "full"]
Io = Literal["production", "raw"]
Precision = Literal["fp32", "fp16", "int8"]

UNTUNED = "not tuned"
"""The threshold rule of a model that had no validation set."""

_OF_A_PRECISION = ("kept", "target", "ranges_sha256", "cpu", "seven_bits")
"""Properties that a float32 file does not have."""

TOOLS = ("lineside", "torch", "onnx", "onnxruntime", "numpy", "tensorrt")
"""Packages whose versions a manifest records, where they are installed."""


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's bytes, as lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def versions(packages: Iterable[str] = TOOLS) -> dict[str, str]:
    """The versions of the installed ones of `packages`, without importing any."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def checked_threshold(value: float) -> float:
    """`value`, when it can be a verdict threshold.

    Raises:
        ConfigError: It is not a number in 0..1.
    """
    if not 0.0 <= value <= 1.0:  # also catches NaN
        raise ConfigError(f"threshold {value}", why="scores are probabilities", fix="use a number from 0 to 1")
    return value


@dataclass(frozen=True, kw_only=True)
class ModelManifest:
    """What a model file says about itself.

    Attributes:
        spec: The strips it inspects.
        tiling: How the graph cuts them: "batched", "unrolled" or "full".
        io: "production" (`input` -> `output`) or "raw" (`strip` -> `heatmap`, `score`).
        precision: "fp32", "fp16" or "int8".
        threshold: NG when the score is at least this.
        threshold_rule: How the threshold was chosen, or "not tuned".
        base_channels: Width of the UNet.
        weights_sha256: Of the float weights, the same for every file that was made from one checkpoint.
        checkpoint_sha256: Of the checkpoint file.
        versions: Tools that made it.
        kept: Layers that are not of this precision -> why; empty for fp32.
        target: What an int8 graph is laid out for: "tensorrt" or "onnxruntime".
        ranges_sha256: Of the table of ranges that an int8 graph was made with.
        cpu: The CPUs on which an int8 graph for ONNX Runtime computes rightly: "any", or "vnni" alone.
        seven_bits: Its convolutions whose weights use 7 bits, so that no sum of two products leaves 16.
    """

    spec: StripSpec
    tiling: Tiling
    io: Io
    precision: Precision = "fp32"
    threshold: float = 0.5
    threshold_rule: str = UNTUNED
    base_channels: int
    weights_sha256: str
    checkpoint_sha256: str
    versions: Mapping[str, str] = field(default_factory=versions)
    kept: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    ranges_sha256: str = ""
    cpu: str = ""
    seven_bits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked_threshold(self.threshold)
        if self.base_channels < 1:
            raise ConfigError(f"base channels {self.base_channels}", why="a network has one channel at least", fix="use 16 or 64")
        for name, value, known in (("tiling", self.tiling, Tiling), ("io", self.io, Io), ("precision", self.precision, Precision)):
            if value not in get_args(known):
                raise ConfigError(f"{name} {value!r}", why="unknown", fix=f"use {', '.join(get_args(known))}")

    def changed(self, **values: Any) -> ModelManifest:
        """The manifest of a file that is made from this one's: `values` are new, and so are the tools that make it."""
        return replace(self, versions={**self.versions, **versions()}, **values)

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {
            **self.__dict__,
            "schema": SCHEMA,
            "spec": self.spec.to_json(),
            "versions": dict(self.versions),
            "kept": dict(self.kept),
            "seven_bits": list(self.seven_bits),
        }

    def to_properties(self) -> dict[str, str]:
        """Metadata properties of an ONNX file: text under `lineside.*`."""
        values = sorted((key, value) for key, value in self.to_json().items() if value or key not in _OF_A_PRECISION)
        return {PREFIX + key: value if isinstance(value, str) else json.dumps(value) for key, value in values}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], *, path: Path) -> ModelManifest | None:
        """The manifest in the metadata of the file `path`; None when there is none (a file that is not ours).

        Raises:
            ModelError: Properties of ours are there, but damaged or of another schema.
        """
        ours = {key[len(PREFIX) :]: text for key, text in properties.items() if key.startswith(PREFIX)}
        if not ours:
            return None
        again = "export or quantise it again with this version of lineside"
        if ours.get("schema") != str(SCHEMA):
            raise ModelError(f"{path}: metadata of schema {ours.get('schema')}", why=f"this version reads schema {SCHEMA}", fix=again)
        try:
            return cls(
                spec=StripSpec.from_json(json.loads(ours["spec"])),
                tiling=ours["tiling"],  # type: ignore[arg-type]  # __post_init__ checks these three
                io=ours["io"],  # type: ignore[arg-type]
                precision=ours["precision"],  # type: ignore[arg-type]
                threshold=float(ours["threshold"]),
                threshold_rule=ours["threshold_rule"],
                base_channels=int(ours["base_channels"]),
                weights_sha256=ours["weights_sha256"],
                checkpoint_sha256=ours["checkpoint_sha256"],
                versions=dict(json.loads(ours["versions"])),
                kept=dict(json.loads(ours.get("kept", "{}"))),
                target=ours.get("target", ""),
                ranges_sha256=ours.get("ranges_sha256", ""),
                cpu=ours.get("cpu", ""),
                seven_bits=tuple(json.loads(ours.get("seven_bits", "[]"))),
            )
        except (KeyError, ValueError, TypeError, ConfigError) as exc:
            why = f"{type(exc).__name__}: {exc}".split("\n")[0]
            raise ModelError(f"{path}: damaged metadata", why=why, fix=again) from exc
