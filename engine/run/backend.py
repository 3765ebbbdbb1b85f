"""What runs a model, whatever it is: the one form that every backend has.

In:   nothing.
Out:  `Backend` and `LoadedModel`, protocols that `OnnxRuntimeBackend` and `TensorRtBackend` keep, method for method and in this order, and
      `LoadOptions`, how the caller wants a model run. Nobody outside of this folder asks which backend it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lineside.engine.files.golden import GoldenStrip
from lineside.engine.files.profiles import BatchProfiles
from lineside.manifest import Io, ModelManifest
from lineside.spec import StripSpec

from .runner import RunOptions


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How the caller wants a model run; see `Inspector.load`. What is for the other kind of model stays at its default.

    Attributes:
        providers, threads: For ONNX files.
        spec: The strips of a model that carries no metadata.
        run: For engines.
    """

    providers: Sequence[str] | None = None
    threads: int | None = None
    spec: StripSpec | None = None
    run: RunOptions = field(default_factory=RunOptions)


class LoadedModel(Protocol):
    """What is known of a loaded model and shared by its clones."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def manifest(self) -> ModelManifest | None:
        """What it says of itself; None for a model without metadata."""
        ...

    @property
    def spec(self) -> StripSpec:
        """The strips that it inspects."""
        ...

    @property
    def io(self) -> Io:
        """Its form, a key of `CONTRACTS`."""
        ...

    @property
    def profiles(self) -> BatchProfiles | None:
        """How many strips go in at once; None when any number does."""
        ...


class Backend(Protocol):
    """A model that is open, with the buffers of one thread. `close()` is idempotent.

    Attributes:
        name: What a result calls it.
        input: (rows, C, H, W), C-contiguous, host, in the type that the model takes: the caller writes strips into it.
    """

    name: str
    input: NDArray[Any]

    @property
    def model(self) -> LoadedModel:
        """What is loaded."""
        ...

    def clone(self) -> Backend:
        """The same model with buffers of its own, for another thread."""
        ...

    def reserve(self, rows: int) -> None:
        """Make room for `rows` strips in `input`."""
        ...

    def run(self, rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Heatmaps (rows, H, W) of the first `rows` strips of `input`, and the scores (rows,) of a graph that has them."""
        ...

    def start(self, rows: int) -> None:
        """Begin a run, and do not wait, where that can be."""
        ...

    def finish(self, rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Wait for the run that was begun; answers as `run`."""
        ...

    def golden(self) -> tuple[GoldenStrip, ...]:
        """Strips whose answers are known and have to come again before the first verdict; none where the file itself is the reference."""
        ...

    def describe(self) -> dict[str, Any]:
        """What is loaded and what really runs, as JSON values."""
        ...

    def close(self) -> None:
        """Let go of the model and the buffers."""
        ...
