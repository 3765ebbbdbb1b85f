"""What a command reads and what it writes, told by its parameters: every command is checked before it begins.

A parameter that is a path is read, unless it is one of `WRITTEN`; a new command is checked by the same rule.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lineside.outputs import refuse_harmful_outputs

from ._console import STDOUT

WRITTEN = ("out", "report", "timing_cache", "json")
"""Names of parameters; every other path is read."""
REPLACES_ITS_FOLDER = "synth"


def checked(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, which refuses outputs that would destroy something before it does anything. Raises: OutputError."""

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        written = [(f"--{name.replace('_', '-')}", path) for name in WRITTEN for path in _written(values.get(name))]
        written += [("what --out brings along", path) for path in _also_written(command.__name__, values.get("out"))]
        read = [path for name, value in values.items() if name not in WRITTEN for path in _read(value)]
        replaced = [values["out"]] if command.__name__ == REPLACES_ITS_FOLDER else []
        refuse_harmful_outputs(written, read, replaced=replaced)
        return command(**values)

    return run


def _written(value: Any) -> Iterator[Path]:
    """The path of an output; that of --json is text, and may be stdout."""
    if value is not None and value != STDOUT:
        yield Path(value)


def _read(value: Any) -> Iterator[Path]:
    """The paths in the value of any other parameter."""
    yield from (one for one in (value if isinstance(value, (list, tuple)) else (value,)) if isinstance(one, Path))


def _also_written(command: str, out: Path | None) -> tuple[Path, ...]:
    """What lies beside the file of --out afterwards."""
    if out is None:
        return ()
    if command == "build":
        from lineside.engine.files.golden import golden_path
        from lineside.engine.files.sidecar import sidecar_path

        return sidecar_path(out), golden_path(out)
    if command == "quantize":
        from lineside.calibration.judge.auto import report_path

        return (report_path(out),)
    return ()
