"""Run a patch model and give its activations, in batches that bound the memory.

In:   a model of `Network.patch_model`, the names of its outputs, patches (3, tile, tile) float32 in [0, 1], each with a record
      of the caller's.
Out:  per batch the records, and every tensor's values (B, C, h, w) float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lineside.engine.machine import physical_cores
from lineside.engine.run.session import ask, open_session
from lineside.graph.network import TILES

if TYPE_CHECKING:
    import onnx

BATCH_BYTES = 192 << 20
"""Activations of one batch: two patches at base 64. They exist four times for a moment, this batch's and those of the last one."""
MAX_BATCH = 64

Record = TypeVar("Record")
Values = Mapping[str, NDArray[np.float32]]


class Activations:
    """A network whose named tensors are its outputs. Owns an ONNX Runtime session, which goes with it."""

    def __init__(self, model: onnx.ModelProto, names: Sequence[str], *, path: Path) -> None:
        """Open the network. `path`: the file that it is of, for errors. Raises: ModelError, when ONNX Runtime does not take it."""
        self._path = path
        self._names = [name for name in names if name != TILES]
        no_arena = {"enable_cpu_mem_arena": False}  # an arena never gives back the most that a batch took
        self._session: Any = open_session(path, threads=physical_cores(), content=model.SerializeToString(), settings=no_arena)
        rows = self._session.get_inputs()[0].shape[0]
        self._most = rows if isinstance(rows, int) else MAX_BATCH  # another program's model may take one picture at a time

    def of(self, tiles: NDArray[np.float32]) -> Values:
        """The values of all tensors, and of the tiles, for (B, 3, tile, tile). Raises: ModelError, when the network fails."""
        return {TILES: tiles, **dict(zip(self._names, ask(self._session, self._names, {TILES: tiles}, path=self._path), strict=True))}

    def batches(self, patches: Iterable[tuple[Record, NDArray[np.float32]]]) -> Iterator[tuple[tuple[Record, ...], Values]]:
        """Run all patches, the first one alone: it tells how many fit into `BATCH_BYTES`."""
        source, size = iter(patches), 1
        while batch := list(islice(source, size)):
            records, pixels = zip(*batch, strict=True)
            values = self.of(np.stack(pixels))
            size = max(1, min(self._most, BATCH_BYTES * len(batch) // sum(array.nbytes for array in values.values())))
            yield records, values
