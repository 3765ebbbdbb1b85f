"""The step `gpu tests`: the tests marked `gpu`, from the prepared folder."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .site import TESTS
from .steps import Bench, check

LAST_LINES = 40
MARK = "mark.gpu"
SETTINGS = "[pytest]\npythonpath = {standin}\nmarkers =\n    gpu: needs a CUDA device and TensorRT\n    slow: takes long\n"


def run_tests(bench: Bench) -> dict[str, Any]:
    """Run them; what pytest counted and the end of what it said."""
    folder = bench.bundle.folder / TESTS
    files = [str(path) for path in sorted(folder.rglob("test_*.py")) if MARK in path.read_text()]
    if importlib.util.find_spec("pytest") is None or not files:
        return {
            "not_run": "pytest is not installed" if files else f"no test in {TESTS}/ is marked gpu, or it was prepared without a checkout"
        }
    with tempfile.TemporaryDirectory() as scratch:
        settings = Path(scratch) / "pytest.ini"  # not the project's own: it needs plugins that this machine may lack
        settings.write_text(SETTINGS.format(standin=folder / "standin"))
        command = [sys.executable, "-m", "pytest", *files, "-m", "gpu", "-c", str(settings), f"--rootdir={folder}"]
        options = ["--import-mode=importlib", "-ra", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()[-LAST_LINES:]
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|skipped|errors?|deselected)", "\n".join(said[-3:]))}
    passed = done.returncode == 0 and counts.get("passed", 0) > 0
    value = ", ".join(f"{count} {what}" for what, count in counts.items())
    return {"counts": counts, "said": said, "checks": [check("tests marked gpu", value, passed, "one passes at least, none fails")]}
