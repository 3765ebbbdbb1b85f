"""Do steps one after another, each in a process of its own, and keep what each found at once.

In:   `Step`s in the order of their worth, a prepared folder, a folder for the results, and how much time there is.
Out:  NN-name.json per step and summary.json, each whole whenever this process is ended.
A step that crashes, hangs or refuses loses itself alone: the next one begins. One that is ended by its limit, or by the end of the
time, keeps what it had written. A step that the time does not reach says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lineside.errors import USER_ERROR
from lineside.files import write_json

from .steps import Step

SCHEMA = 1
SUMMARY = "summary.json"
LEAST_S = 3.0
"""With less time left a step is not begun: its process would hardly have started."""
GRACE_S = 5.0
"""Between asking a step to end and ending it."""
LOG_CHARACTERS = 4000

Status = Literal["done", "refused", "failed", "crashed", "cut off", "not reached"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a step. `file` is its results' name; `checks` are those of its results."""

    step: str
    status: Status
    seconds: float
    file: str
    message: str = ""
    checks: tuple[dict[str, Any], ...] = ()

    @property
    def proved(self) -> bool:
        """Whether it ended well and every check passed."""
        return self.status == "done" and all(check["passed"] for check in self.checks)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where things lie, and how much time there is: `budget_s` for all steps together."""

    bundle: Path
    results: Path
    engines: Path
    budget_s: float


def run_steps(steps: Sequence[Step], options: RunOptions, *, tell: Callable[[str], None] = lambda line: None) -> tuple[Outcome, ...]:
    """Do `steps` and return what became of each, in their order.

    Args:
        steps: The most worth first.
        options: Folders and time.
        tell: Hears one line when a step begins and one when it ends.

    Raises:
        OutputError: The results cannot be written.
    """
    begin = time.monotonic()
    outcomes: list[Outcome] = []
    for number, step in enumerate(steps, start=1):
        left_s = options.budget_s - (time.monotonic() - begin)
        file = f"{number:02d}-{re.sub(r'[^a-z0-9.]+', '-', step.name.lower())}.json"
        if left_s < LEAST_S:
            outcome = Outcome(step=step.name, status="not reached", seconds=0.0, file=file, message="the time was over")
            write_json(options.results / file, {"schema": SCHEMA, "step": step.name, "does": step.does, "status": outcome.status})
        else:
            tell(f"{number}/{len(steps)} {step.name}: {step.does} (up to {min(step.limit_s, left_s):.0f} s)")
            outcome = _run(step, options, file, min(step.limit_s, left_s))
            tell(f"    {outcome.status} after {outcome.seconds:.1f} s {outcome.message}".rstrip())
        outcomes.append(outcome)
        summary = {"schema": SCHEMA, "budget_s": options.budget_s, "seconds": time.monotonic() - begin}
        write_json(options.results / SUMMARY, {**summary, "steps": [asdict(one) for one in outcomes]})
    return tuple(outcomes)


def _run(step: Step, options: RunOptions, file: str, limit_s: float) -> Outcome:
    """Do one step and complete its file of results."""
    results = options.results / file
    results.unlink(missing_ok=True)  # of an earlier run: it must not count for this one
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+", errors="replace") as log:
        task = Path(folder) / "task.json"
        paths = {"bundle": str(options.bundle), "results": str(results), "engines": str(options.engines)}
        write_json(task, {"schema": SCHEMA, "step": asdict(step), "limit_s": limit_s, **paths})
        begin = time.monotonic()
        code = _wait(
            subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "lineside.benchmarks.gpu.child", str(task)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that the step and all that it started end together
            ),
            limit_s,
        )
        seconds = time.monotonic() - begin
        log.seek(0)
        said = log.read()[-LOG_CHARACTERS:]
    value: dict[str, Any] = (
        json.loads(results.read_text()) if results.exists() else {"schema": SCHEMA, "step": step.name, "does": step.does}
    )
    status, message = _judged(code, value, said, limit_s)
    write_json(results, {**value, "status": status, "seconds": seconds, "message": message, "log": said})
    checks = tuple(value.get("result", {}).get("checks", ()))
    return Outcome(step=step.name, status=status, seconds=seconds, file=file, message=message, checks=checks)


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """The exit code; None when the step had to be ended. Nothing that it started lives on."""
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the step's processes, also when this one is interrupted."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _judged(code: int | None, value: dict[str, Any], said: str, limit_s: float) -> tuple[Status, str]:
    if code is None:
        return "cut off", f"its {limit_s:.0f} s were over"
    if code == 0:
        return "done", ""
    if code == USER_ERROR and "error" in value:
        return "refused", value["error"]["what"]
    if code < 0:
        return "crashed", signal.Signals(-code).name
    last = [line for line in said.splitlines() if line.strip()][-1:]
    return "failed", last[0] if last else f"exit code {code}"
