"""What can be judged: a checkpoint, an ONNX file, an engine, each behind the same form.

In:   nothing.
Out:  `HeatmapModel`, what answers heatmaps; `Model`, what also says what it is and how many strips it takes at once. An Inspector and a
      CheckpointModel keep both, so that nobody who compares models asks which kind one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lineside.spec import StripSpec


class HeatmapModel(Protocol):
    """What can be measured."""

    @property
    def spec(self) -> StripSpec:
        """The strips it looks at."""
        ...

    @property
    def threshold(self) -> float:
        """NG when the score is at least this."""
        ...

    @property
    def threshold_rule(self) -> str | None:
        """How the threshold was chosen; None when the model does not say it."""
        ...

    def heatmap(self, strip: NDArray[Any]) -> NDArray[np.float32]:
        """(C, H, W) uint8 or float32 in 0..255 -> (H, W) float32 in [0, 1]."""
        ...


class Duration(Protocol):
    """What inspecting one strip took."""

    @property
    def total_ms(self) -> float:
        """All of it."""
        ...


class Answer(Protocol):
    """What a model makes of one strip; `timing` is None where it does not tell."""

    @property
    def heatmap(self) -> NDArray[np.float32]:
        """(H, W) float32 in [0, 1]."""
        ...

    @property
    def timing(self) -> Duration | None:
        """What it took."""
        ...


class Profiles(Protocol):
    """How many strips go in at once."""

    @property
    def corners(self) -> tuple[int, ...]:
        """The batches worth testing: the ends of every profile, and where it is fastest."""
        ...


class Model(HeatmapModel, Protocol):
    """What can take another model's place."""

    @property
    def weights_sha256(self) -> str | None:
        """Of the network that it was made from; None where that is not known."""
        ...

    @property
    def profiles(self) -> Profiles | None:
        """How many strips go in at once; None when any number does."""
        ...

    def describe(self) -> dict[str, Any]:
        """What it is and what runs it, as JSON values."""
        ...

    def inspect_many(self, strips: Iterable[NDArray[Any]], *, batch: int | None = None) -> Iterator[Answer]:
        """Answers in the order of the strips, `batch` of them in one run; None: as few as it takes."""
        ...
