"""The table of ranges, `strip.ranges.json`: how far every tensor of a network reaches, and what that was measured on.

In:   a file that `lineside calibrate` wrote, or the numbers to write.
Out:  `RangesTable`. One table serves every tiling, io form and opset of one checkpoint: it is bound to the float weights
      (`network_sha256`) and its tensors go by their base names.
The file is JSON with one line per tensor, patch and image, so that versions can be compared line by line. It holds a digest
of its own content: a range that somebody changed by hand is refused, as is the table of another model or schema.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lineside._optional import require
from lineside.errors import CalibrationError, ConfigError
from lineside.files import write_text
from lineside.graph.network import Network, base_name
from lineside.manifest import versions
from lineside.spec import StripSpec

Method = Literal["minmax", "entropy", "percentile"]
"""How a symmetric range is chosen from the values of a tensor; `ranges` says what each one does."""
METHODS: tuple[Method, ...] = get_args(Method)

KIND = "lineside ranges"
SCHEMA = 1
_SHA256 = "sha256"
_AGAIN = "make the table again: lineside calibrate"


@dataclass(frozen=True, kw_only=True)
class HistogramSummary:
    """How often which magnitude came: `counts` of bins of equal width from 0 to `limit`; exact zeros are in `zeros` alone."""

    limit: float
    zeros: int
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TensorRange:
    """What one tensor reached.

    Attributes:
        low, high: The least and the greatest value that came.
        amax: The symmetric range -amax..amax of each method; above 0.
        clipped: The share of the values outside of it.
        histogram: Of the magnitudes.
    """

    low: float
    high: float
    amax: Mapping[Method, float]
    clipped: Mapping[Method, float]
    histogram: HistogramSummary

    def __post_init__(self) -> None:
        if set(self.amax) != set(METHODS) or set(self.clipped) != set(METHODS) or not all(amax > 0 for amax in self.amax.values()):
            raise ConfigError(f"ranges {dict(self.amax)}", why=f"{', '.join(METHODS)} have one each, above 0", fix=_AGAIN)

    @property
    def dead(self) -> bool:
        """Whether nothing but zeros came: its range is a stand-in."""
        return self.low == self.high == 0.0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TensorRange:
        """The range that `asdict` wrote. Raises: KeyError, TypeError, ConfigError."""
        histogram = HistogramSummary(**{**value["histogram"], "counts": tuple(value["histogram"]["counts"])})
        return cls(**{**value, "histogram": histogram})


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One patch that was calibrated on.

    Attributes:
        file: The strip, relative to the data set, with forward slashes.
        row, column: The tile in the strip's grid.
        defects: Seed of the defects that were added; None: it stayed clean.
    """

    file: str
    row: int
    column: int
    defects: int | None


@dataclass(frozen=True, kw_only=True)
class RangesTable:
    """The ranges of all tensors of a network, and all it takes to measure them again.

    Attributes:
        model: Name of the ONNX file that was measured; any other form of the same checkpoint does as well.
        network_sha256: Of the float weights in the ONNX file (`network_sha256`).
        weights_sha256: Of the checkpoint, from the file's manifest.
        spec: The strips.
        method: Which of the ranges counts.
        percentile: The share of values, in percent, that the method "percentile" keeps.
        seed: Of the choice of patches.
        tensors: By base name, in the order of the graph.
        patches: What was looked at.
        images: sha256 of every file that a patch was cut from.
        versions: Tools that measured.
    """

    model: str
    network_sha256: str
    weights_sha256: str
    spec: StripSpec
    method: Method
    percentile: float
    seed: int
    tensors: Mapping[str, TensorRange]
    patches: tuple[Patch, ...]
    images: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=versions)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"method {self.method!r}", why="unknown", fix=f"use {', '.join(METHODS)}")

    @property
    def with_defects(self) -> int:
        """How many patches carry defects."""
        return sum(patch.defects is not None for patch in self.patches)

    @property
    def dead(self) -> tuple[str, ...]:
        """The tensors in which nothing but zeros came."""
        return tuple(name for name, tensor in self.tensors.items() if tensor.dead)

    @property
    def sha256(self) -> str:
        """Of the content, as lower-case hex: what a file that was quantised with this table names."""
        return _digest(self._content())

    def amax(self, tensor: str) -> float:
        """The range -amax..amax of a tensor by the table's method, by its base name or that of a copy. Raises: KeyError."""
        return self.tensors[base_name(tensor)].amax[self.method]

    def refuse_other(self, network: Network, *, path: Path) -> None:
        """Refuse the network of the file `path` when this is not its table.

        Raises:
            CalibrationError: The table was made for other weights.
        """
        found = network_sha256(network)
        if found != self.network_sha256:
            raise CalibrationError(
                f"{path}: the table of ranges is of another model ({self.model})",
                why=f"it was made for the weights {self.network_sha256[:12]}, these are {found[:12]}",
                fix=f"make a table for this model: lineside calibrate {path} DATASET --out {path.with_suffix('.ranges.json')}",
            )

    @classmethod
    def read(cls, path: Path) -> RangesTable:
        """The table in the file `path`.

        Raises:
            CalibrationError: There is none, or it is damaged, edited or of another schema.
        """
        value = _content_of(path)
        try:
            return cls(
                **{
                    **value,
                    "spec": StripSpec.from_json(value["spec"]),
                    "tensors": {name: TensorRange.from_json(tensor) for name, tensor in value["tensors"].items()},
                    "patches": tuple(Patch(**patch) for patch in value["patches"]),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as exc:
            why = f"{type(exc).__name__}: {exc}".split("\n")[0]
            raise CalibrationError(f"{path}: a damaged table of ranges", why=why, fix=_AGAIN) from exc

    def write(self, path: Path) -> None:
        """Write the file `path`, whole or not at all. Raises: OutputError."""
        write_text(path, _text(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values: what the file holds."""
        content = self._content()
        return {"kind": KIND, "schema": SCHEMA, _SHA256: _digest(content), **content}

    def _content(self) -> dict[str, Any]:
        return asdict(self)


def network_sha256(network: Network) -> str:
    """A sha256 over names, shapes and values of the network's weights: the same for every tiling, io form and opset.

    Of another program's graph all constants count.
    """
    to_array = require("onnx.numpy_helper", extra="export").to_array
    tensors = {tensor.name: tensor for tensor in network.model.graph.initializer}
    digest = hashlib.sha256()
    for node in network.first_copy:
        if network.whole or node.op_type == "Conv":
            for name in filter(tensors.__contains__, node.input):
                values = to_array(tensors[name])
                digest.update(f"{name}\0{values.shape}\0{values.dtype.str}\0".encode())
                digest.update(values.tobytes())
    return digest.hexdigest()


def _content_of(path: Path) -> dict[str, Any]:
    """The content of the file `path` without what frames it. Raises: CalibrationError."""
    if not path.is_file():
        raise CalibrationError(f"{path}: no such file", why="a table of ranges was expected there", fix=_AGAIN)
    try:
        value = json.loads(path.read_bytes())
    except ValueError as exc:
        raise CalibrationError(f"{path}: not a table of ranges", why=f"it is not JSON: {exc}", fix=_AGAIN) from exc
    if not isinstance(value, dict) or value.pop("kind", None) != KIND:
        raise CalibrationError(f"{path}: not a table of ranges", why="`lineside calibrate` did not write it", fix=_AGAIN)
    schema = value.pop("schema", None)
    if schema != SCHEMA:
        raise CalibrationError(f"{path}: a table of ranges of schema {schema}", why=f"this version reads schema {SCHEMA}", fix=_AGAIN)
    if value.pop(_SHA256, None) != _digest(value):
        raise CalibrationError(
            f"{path}: the table of ranges was changed after it was made",
            why="its digest is not that of its content",
            fix="take the file back from version control, or " + _AGAIN,
        )
    return value


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _text(value: Mapping[str, Any]) -> str:
    """JSON with a line for every entry of every list and object of the first level."""
    return "{\n" + ",\n".join(f"  {_json(key)}: {_entries(entry)}" for key, entry in value.items()) + "\n}\n"


def _entries(value: Any) -> str:
    if isinstance(value, dict):
        return _block("{}", (f"{_json(key)}: {_json(entry)}" for key, entry in value.items()))
    return _block("[]", map(_json, value)) if isinstance(value, (list, tuple)) else _json(value)


def _block(brackets: str, lines: Iterable[str]) -> str:
    return brackets[0] + "\n    " + ",\n    ".join(lines) + "\n  " + brackets[1]


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
