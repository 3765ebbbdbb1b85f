"""The process of one step: python -m lineside.benchmarks.gpu.child TASK, where TASK is what `runner` wrote.

In:   a JSON file: the step, the prepared folder, where the results go, the time.
Out:  the step's file of results, whole after every `Bench.write` and at the end. Exit code 0, or 2 with a LinesideError in the file;
      whatever else happens here (an exception, a crash of a library) ends this process alone.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lineside.errors import USER_ERROR, LinesideError
from lineside.files import write_json

from .bundle import Bundle
from .steps import Bench


def main(task_file: str) -> int:
    """Do the step that `task_file` describes and return the exit code."""
    task = json.loads(Path(task_file).read_text())
    step, out = task["step"], Path(task["results"])
    head = {"schema": task["schema"], "step": step["name"], "does": step["does"], "status": "running"}

    def write(result: Mapping[str, Any]) -> None:
        write_json(out, {**head, "result": dict(result)})

    try:
        bench = Bench(bundle=Bundle.read(Path(task["bundle"])), engines=Path(task["engines"]), limit_s=task["limit_s"], write=write)
        function = getattr(importlib.import_module(step["module"]), step["function"])
        write(function(bench, **step["options"]))
    except LinesideError as exc:
        known = json.loads(out.read_text()) if out.exists() else head
        write_json(out, {**known, "error": {"kind": type(exc).__name__, "what": exc.what, "why": exc.why, "fix": exc.fix}})
        sys.stderr.write(f"{exc}\n")
        return USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
