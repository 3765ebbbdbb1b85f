"""What the zoo has to know of a network to write it as files, and to compare what they answer.

In:   nothing: `Network` is a description; `networks` has one for each name.
Out:  random inputs in the shapes that a network takes, and how decisions are read from its answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.benchmarks.subjects.cases import Shape
from lineside.errors import ConfigError

Array = NDArray[Any]
Decide = Callable[[Array], Array]
"""Flat answers (N, values) -> (N, decisions): what a caller would do with each."""
MOST_PX = 2048


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network of the zoo. Its inputs are float32, batch first; the batch is the only open axis.

    Attributes:
        make: Side in pixels -> an nn.Module with random weights from PyTorch's generator, in training mode or not.
        inputs: Side in pixels -> name of an input -> its shape without the batch, in the order of `forward`.
        size_px: The side that it is known for: of the picture, or of the patch.
        step_px: Sides are multiples of it, and not below `least_px`.
        least_px: The smallest side.
        decide: Of its first output; None where nobody decides by it.
        samples: Random inputs that norms are adjusted on and INT8 is calibrated on.
        compared_on: Random inputs that files are compared on.
    """

    make: Callable[[int], Any]
    inputs: Callable[[int], Mapping[str, Shape]]
    size_px: int
    step_px: int = 1
    least_px: int = 32
    decide: Decide | None = None
    samples: int = 16
    compared_on: int = 32

    def side_px(self, wanted_px: int | None) -> int:
        """The side to make it with; None: its own. Raises: ConfigError, for one that it does not take."""
        side_px = self.size_px if wanted_px is None else wanted_px
        if not self.least_px <= side_px <= MOST_PX or side_px % self.step_px:
            steps = f" in steps of {self.step_px}" if self.step_px > 1 else ""
            raise ConfigError(
                f"inputs of {side_px} px", why=f"it takes {self.least_px} to {MOST_PX} px{steps}", fix=f"say --size {self.size_px}"
            )
        return side_px

    def random_inputs(self, count: int, side_px: int, seed: int) -> dict[str, Array]:
        """Name of an input -> (count, ...) float32, standard normal: about what a network gets after a normalisation."""
        rng = np.random.default_rng(seed)
        return {name: rng.standard_normal((count, *shape), np.float32) for name, shape in self.inputs(side_px).items()}


def largest_of(classes: int) -> Decide:
    """The class with the largest logit, of one picture or of each pixel: answers are (classes, ...)."""
    return lambda answers: np.asarray(answers.reshape(len(answers), classes, -1).argmax(axis=1))


def above_zero(answers: Array) -> Array:
    """Whether each logit says yes."""
    return np.asarray(answers > 0)
