"""Run the child that builds, hear it out, and say what happened when it ends in another way than it should.

In:   a `Job`, a time limit, a `Listener`.
Out:  the event `built` of `build_child`, or the error that it reports; a DeviceError when it was killed or took too long.
However this ends, the child has ended too.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import IO, Any

from lineside import errors
from lineside.errors import DeviceError, LinesideError

from .build_child import Job
from .build_progress import Listener, relay

COMMAND = (sys.executable, "-m", "lineside.engine.builder.build_child")
_SAID_LINES = 12
"""Of the child's stderr, the last ones, in an error."""


def run_child(job: Job, *, time_limit_s: float | None, listener: Listener) -> Mapping[str, Any]:
    """Build in a child process.

    Returns:
        The event `built`.

    Raises:
        LinesideError: What the child reports.
        DeviceError: The child was killed, or the time limit was reached.
        RuntimeError: A bug of ours ended the child; with its traceback.
    """
    with tempfile.TemporaryFile() as stderr:
        # a session of its own: Ctrl-C of the terminal reaches this process alone, which then ends the child
        with subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, encoding="utf-8", start_new_session=True
        ) as child:
            try:
                result = _hear(child, job, time_limit_s, listener)
            finally:
                child.kill()  # does nothing to one that has ended
        stderr.seek(0)
        said = stderr.read().decode(errors="replace").strip()
    if result is None:
        raise _ended(child.returncode, said, job)
    if result["event"] == "error":
        raise _reported(result)
    return result


def _hear(child: subprocess.Popen[str], job: Job, time_limit_s: float | None, listener: Listener) -> Mapping[str, Any] | None:
    """Relay the child's events; its result, or None when it ended without one. Raises: DeviceError."""
    assert child.stdin is not None
    assert child.stdout is not None
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
    deadline = None if time_limit_s is None else time.monotonic() + time_limit_s
    try:
        child.stdin.write(job.to_line())
        child.stdin.flush()  # and it stays open: when it closes, the child takes it that its parent is gone
    except BrokenPipeError:  # it ended before it read; what it said on stderr tells why
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        child.wait()
        return None
    while True:
        try:
            line = lines.get(timeout=None if deadline is None else max(deadline - time.monotonic(), 0))
        except queue.Empty:
            raise _too_long(time_limit_s) from None
        if line is None:
            child.wait()
            return None
        event = json.loads(line)
        if not relay(event, listener):
            return dict(event)


def _read(stdout: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    for line in stdout:
        lines.put(line)
    lines.put(None)


def _too_long(time_limit_s: float | None) -> DeviceError:
    return DeviceError(
        f"the build was ended after {time_limit_s:g} s",
        why="that is the --time-limit",
        fix="allow more, lower --optimization-level, build for fewer --batch sizes, or keep measured tactics with --timing-cache FILE",
    )


def _reported(result: Mapping[str, Any]) -> LinesideError:
    kind = getattr(errors, result["kind"], LinesideError)
    return kind(result["what"], why=result["why"], fix=result["fix"])


def _ended(code: int, said: str, job: Job) -> Exception:
    """What to raise for a child that ended without a result."""
    if code >= 0:
        return RuntimeError(f"the build process ended with exit code {code}:\n{said}")
    name = signal.Signals(-code).name
    workspace = f"{job.workspace_mib} MiB" if job.workspace_mib is not None else "three quarters of what was free"
    if -code == signal.SIGKILL:
        return DeviceError(
            "the builder was killed (SIGKILL)",
            why=f"most likely the system ran out of memory: workspace {workspace}, batch {job.profiles or 'of the file'}",
            fix="lower --workspace-mib (try 1024) or --batch, or add swap; `dmesg` tells whether it was memory",
        )
    last = "\n    ".join(said.splitlines()[-_SAID_LINES:])
    return DeviceError(
        f"the builder ended with {name}",
        why=f"TensorRT or the driver gave up: {last}" if last else "TensorRT or the driver gave up without a word",
        fix="lower --workspace-mib (try 1024) or --optimization-level; check that driver, CUDA and TensorRT fit together: lineside doctor",
    )
