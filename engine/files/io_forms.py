"""The two io forms of a full-image model (design 4): names, channels and types of its inputs and outputs.

`CONTRACTS[io]` is the one place that knows them; `check_graph` refuses a model that breaks its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lineside.errors import ModelError
from lineside.manifest import Io
from lineside.spec import CHANNELS, StripSpec


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output as a model declares it. `None` is an axis of any size; `dtype` is numpy's name of the type."""

    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        return f"({', '.join('N' if side is None else str(side) for side in self.shape)}) {self.dtype}"


@dataclass(frozen=True, kw_only=True)
class Contract:
    """One io form. The heatmap is channel 0 of the output `heatmap`; `score` is None where the graph leaves it to the caller."""

    input: str
    input_channels: int
    input_dtypes: tuple[str, ...]
    heatmap: str
    heatmap_channels: int
    score: str | None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, the heatmap first."""
        return (self.heatmap,) if self.score is None else (self.heatmap, self.score)


CONTRACTS: dict[Io, Contract] = {
    # What the production line's callers send: `input` in [0, 1] -> `output` = heatmap, zeros, zeros. It never changes.
    "production": Contract(
        input="input",
        input_channels=len(CHANNELS),
        input_dtypes=("float32",),
        heatmap="output",
        heatmap_channels=3,
        score=None,
    ),
    "raw": Contract(
        input="strip",
        input_channels=len(CHANNELS) + 1,
        input_dtypes=("uint8", "float32"),
        heatmap="heatmap",
        heatmap_channels=1,
        score="score",
    ),
}


def check_graph(inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], *, io: Io, spec: StripSpec, path: Path) -> int | None:
    """Check that a model takes and gives what its io form says, for strips of `spec`.

    Returns:
        How many strips go in at once; None when any number does.

    Raises:
        ModelError: Another name, size or type.
    """
    contract = CONTRACTS[io]
    taken = inputs.get(contract.input)
    dtype = taken.dtype if taken is not None and taken.dtype in contract.input_dtypes else contract.input_dtypes[0]
    size = (spec.height_px, spec.width_px)
    expected_inputs = {contract.input: Tensor(shape=(None, contract.input_channels, *size), dtype=dtype)}
    expected_outputs = {contract.heatmap: Tensor(shape=(None, contract.heatmap_channels, *size), dtype="float32")}
    if contract.score is not None:
        expected_outputs[contract.score] = Tensor(shape=(None,), dtype="float32")
    if taken is None or not _same(inputs, expected_inputs) or not _same(outputs, expected_outputs):
        raise ModelError(
            f"{path}: the graph is {_listed(inputs)} -> {_listed(outputs)}",
            why=f"an io={io} model of {spec.size} px strips is {_listed(expected_inputs)} -> {_listed(expected_outputs)}",
            fix=f"export it again from its checkpoint: lineside export CHECKPOINT --io {io} --out {path.name}",
        )
    return taken.shape[0]


def _same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    """Same names, types and sizes; the first axis is the batch and may be anything."""
    return found.keys() == expected.keys() and all(
        found[name].dtype == tensor.dtype and len(found[name].shape) == len(tensor.shape) and found[name].shape[1:] == tensor.shape[1:]
        for name, tensor in expected.items()
    )


def _listed(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tensor}" for name, tensor in tensors.items()) or "nothing"
