"""The kinds of files that lineside writes and reads, told by their suffix: one place for every command that takes more than one kind.

In:   a path; it need not exist.
Out:  its `Kind`, or None for a file of another program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["checkpoint", "onnx", "engine", "ranges"]

CHECKPOINT = ".pt"
ONNX = ".onnx"
ENGINES = (".engine", ".plan")
RANGES = ".json"
"""As `lineside calibrate` is asked for it: NAME.ranges.json."""
_KINDS: dict[str, Kind] = {CHECKPOINT: "checkpoint", ONNX: "onnx", **dict.fromkeys(ENGINES, "engine"), RANGES: "ranges"}


def kind_of(path: Path) -> Kind | None:
    """What the file is by its name."""
    return _KINDS.get(path.suffix.lower())
