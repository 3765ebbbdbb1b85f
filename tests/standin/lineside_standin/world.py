"""What the machine of the stand-in has, and which faults it shows.

In:   the environment variable `LINESIDE_STANDIN`, as JSON, so that child processes live in the same world as the test.
Out:  `here()`, and `fault(NAME)` for every place that can fail: None, or what the test wants to happen there.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

VARIABLE = "LINESIDE_STANDIN"
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU that the driver shows."""

    name: str = "Stand-in GPU"
    compute_capability: tuple[int, int] = (8, 7)
    memory_bytes: int = 8192 * MIB
    integrated: bool = False


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens at a place: `value`, from the hit number `after` on (0: the first), `times` times; None: for ever."""

    value: Any = True
    after: int = 0
    times: int | None = None


@dataclass(frozen=True, kw_only=True)
class World:
    """Versions, GPUs and faults. Without GPUs, touching TensorRT is a failed test: the real one ends the process there."""

    tensorrt: str = "10.3.0"
    cuda_version: tuple[int, int] = (12, 6)
    gpus: tuple[Gpu, ...] = (Gpu(),)
    faults: dict[str, Fault] = field(default_factory=dict)

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> World:
        value = json.loads(text)
        return cls(
            tensorrt=value["tensorrt"],
            cuda_version=tuple(value["cuda_version"]),
            gpus=tuple(Gpu(**{**gpu, "compute_capability": tuple(gpu["compute_capability"])}) for gpu in value["gpus"]),
            faults={name: Fault(**fault) for name, fault in value["faults"].items()},
        )


_hits: Counter[tuple[str, str]] = Counter()


@lru_cache(maxsize=8)
def _read(text: str) -> World:
    return World.from_text(text)


def here() -> World:
    """The world that the environment describes."""
    return _read(os.environ[VARIABLE]) if VARIABLE in os.environ else World()


def fault(name: str) -> Any:
    """What a test wants to go wrong here; None: nothing."""
    entry = here().faults.get(name)
    if entry is None:
        return None
    key = (name, json.dumps(asdict(entry)))
    _hits[key] += 1
    hit = _hits[key] - entry.after
    if hit < 1 or (entry.times is not None and hit > entry.times):
        return None
    return entry.value


def forget() -> None:
    """Count hits from the start again."""
    _hits.clear()
