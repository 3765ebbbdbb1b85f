"""The step `gpu tests`: the tests marked `gpu`, from the prepared folder."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .gpu_site import TESTS
from .gpu_steps import Bench, check

LAST_LINES = 40
_NO_TESTS = 5  # pytest.ExitCode.NO_TESTS_COLLECTED


def run_tests(bench: Bench) -> dict[str, Any]:
    """Run them; what pytest counted and the end of what it said."""
    folder = bench.bundle.folder / TESTS
    if importlib.util.find_spec("pytest") is None or not folder.is_dir():
        return {"not_run": "pytest is not installed" if folder.is_dir() else "the folder was prepared outside of a checkout, without tests"}
    with tempfile.TemporaryDirectory() as scratch:
        settings = Path(scratch) / "pytest.ini"  # not the project's own: it needs plugins that this machine may lack
        markers = "markers =\n    gpu: needs a CUDA device and TensorRT\n    slow: takes long\n"
        settings.write_text(f"[pytest]\npythonpath = {folder / 'standin'}\n{markers}")
        command = [sys.executable, "-m", "pytest", str(folder / "engine"), "-m", "gpu", "-c", str(settings)]
        options = ["--import-mode=importlib", "-ra", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()[-LAST_LINES:]
    counts = {
        what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|skipped|error|errors|deselected)", "\n".join(said[-3:]))
    }
    passed = done.returncode == 0 and counts.get("passed", 0) > 0
    value = "no tests are marked gpu" if done.returncode == _NO_TESTS else ", ".join(f"{count} {what}" for what, count in counts.items())
    return {"counts": counts, "said": said, "checks": [check("tests marked gpu", value, passed, "all pass, one at least")]}
