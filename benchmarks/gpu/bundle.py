"""The folder that a GPU machine needs: models, strips, the heatmaps to find again, and lineside itself.

    models.json       what is here: the schema, the strips, one entry per model
    NAME.onnx         such as batched.fp16.production.onnx
    strips.npy        (N, 4, H, W) uint8, strips with and without defects
    heatmaps/*.npy    (N, H, W) float32, what ONNX Runtime on the CPU makes of them
    site/lineside/    this package
    absent/NAME/      placeholders for packages that the machine may lack and a measurement does not use
    run.py            python run.py --out RESULTS

In:   a folder that `prepare` wrote.
Out:  `Bundle`. Reading it needs numpy and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.errors import ModelError
from lineside.files import write_json
from lineside.manifest import Io, Precision, Tiling, sha256_of_file

SCHEMA = 1
INDEX = "models.json"
STRIPS = "strips.npy"
HEATMAPS = "heatmaps"
PREPARE = "python -m lineside.benchmarks.gpu prepare 64 --out DIR"


@dataclass(frozen=True, kw_only=True)
class BundledModel:
    """One ONNX file.

    Attributes:
        tiling, precision, io: Which form of the network.
        sha256: Of the file.
        operations: Of one strip: two per multiply-add of every convolution.
        reference: Its float32 heatmaps, a file in `heatmaps/`.
        own: What ONNX Runtime makes of this very file, where it was computed.
    """

    tiling: Tiling
    precision: Precision
    io: Io
    sha256: str
    operations: int
    reference: str
    own: str | None = None

    @property
    def name(self) -> str:
        """Such as "batched.fp16.production"."""
        return f"{self.tiling}.{self.precision}.{self.io}"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A prepared folder. `base_channels` is the width of the network, `made_by` the versions of what made the folder."""

    folder: Path
    base_channels: int
    size: str
    models: tuple[BundledModel, ...]
    made_by: Mapping[str, str]

    def path(self, name: str) -> Path:
        """The ONNX file of a model."""
        return self.folder / f"{name}.onnx"

    def model(self, name: str) -> BundledModel:
        """The entry of a model.

        Raises:
            ModelError: The folder was prepared without it, or its file is not what was prepared.
        """
        found = next((model for model in self.models if model.name == name), None)
        if found is None:
            raise ModelError(
                f"{self.folder}: no model {name}", why=f"it holds {', '.join(model.name for model in self.models)}", fix=f"{PREPARE}"
            )
        path = self.path(name)
        if not path.is_file() or sha256_of_file(path) != found.sha256:
            raise ModelError(f"{path}: not the file that was prepared", why="its sha256 is another one", fix="bring the folder again")
        return found

    def strips(self) -> NDArray[np.uint8]:
        """(N, 4, H, W) uint8."""
        strips: NDArray[np.uint8] = np.load(self.folder / STRIPS)
        return strips

    def heatmaps(self, file: str) -> NDArray[np.float32]:
        """(N, H, W) float32."""
        heatmaps: NDArray[np.float32] = np.load(self.folder / HEATMAPS / file)
        return heatmaps

    def write_index(self) -> None:
        """Write `models.json`. Raises: OutputError."""
        value = {**asdict(self), "schema": SCHEMA, "made_by": dict(self.made_by)}
        del value["folder"]
        write_json(self.folder / INDEX, value)

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        """The bundle in `folder`.

        Raises:
            ModelError: There is none, or it is damaged or of another schema.
        """
        try:
            value: dict[str, Any] = json.loads((folder / INDEX).read_bytes())
            if value.pop("schema") != SCHEMA:
                raise ValueError(f"this version reads schema {SCHEMA}")
            models = tuple(BundledModel(**entry) for entry in value.pop("models"))
            return cls(folder=folder, models=models, **value)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            why = f"{INDEX}: {exc}".split("\n")[0]
            raise ModelError(f"{folder}: not a prepared folder", why=why, fix=f"prepare one: {PREPARE}") from exc
