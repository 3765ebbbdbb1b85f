"""How to train: the options of a run.

In:   numbers from the command line or from a caller; `1:3` texts through `parse_gamma`.
Out:  `TrainOptions`, checked, which travels inside the checkpoint.
Two runs with the same options, data set and number of processes give the same weights on a CPU, except that
`cache_mb`, `workers` and `device` say only where and how fast: `differences` leaves them out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from lineside.errors import ConfigError
from lineside.synth.defects import DefectOptions

Device = Literal["auto", "cpu", "cuda"]

GAMMA = (1.0, 3.0)
"""Focal loss: gamma at the first and at the last step (design 3)."""
STEPS_PER_EPOCH = (50, 1000)
"""Least and most steps of an epoch that nobody chose: a dozen strips still make enough, a hundred thousand not too many."""
HOW_FAST = ("cache_mb", "workers", "device")
"""Options that do not change what is learned."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train. The defaults are those of design 3.

    Attributes:
        epochs: Passes over the data set.
        steps_per_epoch: Batches of an epoch; None: as many patches as the tiles of all good strips hold, 50 to 1000 steps.
        batch_size: Patches of a batch, in every process.
        base_channels: Width of the first block of the UNet.
        lr: Learning rate of Adam before it falls.
        defects: How many synthetic defects a patch gets.
        gamma: Of the focal loss, at the first and at the last step.
        cache_mb: Memory for strips, all workers of one process together, in 2**20 bytes.
        workers: Processes that make batches; 0: the training process makes them itself.
        device: "cpu", "cuda", or "auto": CUDA where there is any.
        amp: Run the network in bfloat16 where that is safe; weights and loss stay float32.
        seed: Of weights, patches and defects.
    """

    epochs: int = 30
    steps_per_epoch: int | None = None
    batch_size: int = 16
    base_channels: int = 64
    lr: float = 1e-3
    defects: DefectOptions = field(default_factory=DefectOptions)
    gamma: tuple[float, float] = GAMMA
    cache_mb: int = 1024
    workers: int = 2
    device: Device = "auto"
    amp: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 1, "base_channels": 1, "cache_mb": 0, "workers": 0, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"{_option(name)} {value}", why=f"{low} is the least", fix=f"use {_option(name)} {low} or more")
        if not 0.0 < self.lr < 1.0:
            raise ConfigError(f"--lr {self.lr}", why="a learning rate lies between 0 and 1", fix="use --lr 1e-3")
        if not all(0.0 <= value < math.inf for value in self.gamma):
            raise ConfigError(f"--gamma {self.gamma[0]}:{self.gamma[1]}", why="gamma is not negative", fix="use --gamma 1:3")
        if self.device not in get_args(Device):
            raise ConfigError(f"--device {self.device}", why="unknown", fix=f"use {', '.join(get_args(Device))}")

    def with_steps(self, patches: int, *, processes: int) -> TrainOptions:
        """The same options with a number of steps, chosen from the patches that all good strips hold where nobody chose."""
        if self.steps_per_epoch is not None:
            return self
        low, high = STEPS_PER_EPOCH
        return replace(self, steps_per_epoch=min(high, max(low, -(-patches // (self.batch_size * processes)))))

    def differences(self, other: TrainOptions) -> dict[str, tuple[object, object]]:
        """Options that change the result and are not the same here and there: name on the command line, ours, theirs."""
        ours, theirs = self.to_json(), other.to_json()
        return {_option(key): (ours[key], theirs[key]) for key in ours if key not in HOW_FAST and ours[key] != theirs[key]}

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values that `from_json` takes."""
        least, most = self.defects.count
        return {**asdict(self), "defects": {"count": [least, most], "share": self.defects.share}, "gamma": list(self.gamma)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrainOptions:
        """The options that `to_json` wrote.

        Raises:
            ConfigError: A key is missing or unknown, or a value cannot be.
        """
        known = {item.name for item in fields(cls)}
        if set(value) != known:
            raise ConfigError(
                "training options with other keys", why=f"they are {', '.join(sorted(known))}", fix="train again with this version"
            )
        defects = DefectOptions(count=tuple(value["defects"]["count"]), share=value["defects"]["share"])
        return cls(**{**value, "defects": defects, "gamma": tuple(value["gamma"])})


def parse_gamma(text: str) -> tuple[float, float]:
    """Gamma at the first and the last step, of `1:3`, or of `2` for both. Raises: ConfigError."""
    number = r"(\d{1,2}(?:\.\d*)?)"
    match = re.fullmatch(f"{number}(?::{number})?", text)
    if not match:
        raise ConfigError(f"gamma {text!r}", why="gamma goes from FIRST to LAST", fix="use --gamma 1:3")
    return float(match[1]), float(match[2] or match[1])


def _option(name: str) -> str:
    """The name on the command line."""
    return "--" + name.replace("_", "-")
