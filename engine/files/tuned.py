"""What `lineside tune` chose for this machine, beside the model that it chose.

In:   the path of a model.
Out:  `Tuned`, from NAME.tuned.json beside NAME.onnx or NAME.tuned.onnx: the threads to run it with.
It counts on the machine and for the file that it was measured on, and is passed over elsewhere: it makes a model faster, never another one.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineside.engine.machine import physical_cores, processor
from lineside.errors import ModelError
from lineside.files import write_json

SCHEMA = 1
_TUNED = ".tuned"
SUFFIX = f"{_TUNED}.json"


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A choice.

    Attributes:
        sha256: Of the model.
        machine: Where it was measured, as `this_machine` says.
        threads: Of one run.
        measured: What the choice rests on, as JSON values.
    """

    sha256: str
    machine: str
    threads: int
    measured: dict[str, Any]

    @classmethod
    def beside(cls, model: Path) -> Tuned | None:
        """The choice beside a model; None without one. Raises: ModelError, when it is damaged or of another schema."""
        path = tuned_path(model)
        if not path.is_file():
            return None
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["schema"] != SCHEMA:
                raise KeyError(f"schema {value['schema']}")
            return cls(sha256=value["sha256"], machine=value["machine"], threads=int(value["threads"]), measured=value["measured"])
        except (ValueError, TypeError, KeyError) as exc:
            raise ModelError(
                f"{path}: not what `lineside tune` wrote ({exc})", why=f"schema {SCHEMA}", fix="tune again, or remove it"
            ) from exc

    def write(self, model: Path) -> None:
        """Write it beside the model. Raises: OutputError."""
        write_json(tuned_path(model), {"schema": SCHEMA, **self.__dict__})

    def counts_for(self, sha256: str) -> bool:
        """Whether it was measured on this machine with this file."""
        return (self.sha256, self.machine) == (sha256, this_machine())


def tuned_path(model: Path) -> Path:
    """Where the choice about a model lies: strip.tuned.json for strip.onnx and for strip.tuned.onnx."""
    return model.with_name(model.stem.removesuffix(_TUNED) + SUFFIX)


def this_machine() -> str:
    """What decides how many threads pay: the processor and how many cores of it this process may use."""
    return f"{processor() or platform.machine()}, {physical_cores()} cores"
