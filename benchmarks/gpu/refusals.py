"""The step `refusals`: an engine whose sidecar does not fit, or whose bytes are damaged, is refused and never crashes the process."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lineside.engine.files.sidecar import sidecar_path
from lineside.engine.inspector import Inspector
from lineside.errors import LinesideError

from .steps import Bench, check

Sidecar = dict[str, Any]


def refusals(bench: Bench, *, model: str) -> dict[str, Any]:
    """Load the first engine under one wrong claim after the other, and with damaged bytes."""
    found: dict[str, Any] = {"refusals": {}, "checks": []}
    for name, spoil in _SPOILT.items():
        with tempfile.TemporaryDirectory() as folder:
            engine = Path(shutil.copy(bench.engine(model), folder))
            sidecar = json.loads(sidecar_path(bench.engine(model)).read_text())
            spoil(engine, sidecar)
            sidecar_path(engine).write_text(json.dumps(sidecar))
            said = _load(engine)
        found["refusals"][name] = said
        found["checks"].append(check(f"{name} is refused", None if said is None else said["kind"], said is not None, "a LinesideError"))
        bench.write(found)
    return found


def _load(engine: Path) -> dict[str, str] | None:
    """What the refusal says; None when it loaded."""
    try:
        Inspector.load(engine).close()
    except LinesideError as exc:
        return {"kind": type(exc).__name__, "what": exc.what, "why": exc.why, "fix": exc.fix}
    return None


def _another_sha(engine: Path, sidecar: Sidecar) -> None:
    sidecar["plan_sha256"] = "0" * 64


def _another_gpu(engine: Path, sidecar: Sidecar) -> None:
    sidecar["compute_capability"] = [5, 3]
    sidecar["gpu"] = "another GPU"


def _another_version(engine: Path, sidecar: Sidecar) -> None:
    sidecar["tensorrt"] = "10.0.1"


def _damaged(engine: Path, sidecar: Sidecar) -> None:
    """Half of the engine, under a sidecar that says that this is all: TensorRT itself has to refuse it."""
    half = engine.read_bytes()[: engine.stat().st_size // 2]
    engine.write_bytes(half)
    sidecar["plan_sha256"] = hashlib.sha256(half).hexdigest()


_SPOILT: dict[str, Callable[[Path, Sidecar], None]] = {
    "another sha256": _another_sha,
    "another GPU": _another_gpu,
    "another TensorRT": _another_version,
    "half of the bytes": _damaged,
}
