"""The child that builds, and every other way in which it can end. Here it is a small script that speaks as `build_child` does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lineside import ConfigError, DeviceError, LinesideError
from lineside.engine.builder import build_process
from lineside.engine.builder.build_child import Job
from lineside.engine.builder.build_process import run_child
from lineside.engine.builder.build_progress import SILENT, Listener
from lineside.engine.builder.memory import Estimate
from lineside.engine.device.driver import ask_driver

JOB = Job(
    onnx="strip.onnx",
    partial="strip.partial",
    input="input",
    shape=(3, 976, 176),
    profiles="1,4",
    convolutions=("a", "b"),
    needs=Estimate(activations=1, io=2, device=3, host=4),
    workspace_mib=512,
    timing_cache=None,
    optimization_level=3,
    version_compatible=False,
    hardware_compatible=False,
    device=0,
)
Speak = Callable[[str], None]


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Speak:
    """Make the child run a script. It can `say(event, **values)`; `job` is what it was given."""
    begin = (
        "import json, os, signal, sys, time\n"
        "def say(event, **values): print(json.dumps({'event': event, **values}), flush=True)\n"
        "job = json.loads(sys.stdin.readline())\n"
    )

    def speak(script: str) -> None:
        monkeypatch.setattr(build_process, "COMMAND", (sys.executable, "-c", begin + script))

    return speak


class Heard(Listener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def stage(self, what: str) -> None:
        self.calls.append(("stage", what))

    def phase(self, name: str, *, steps: int, parent: str | None) -> None:
        self.calls.append(("phase", name, steps, parent))

    def step(self, name: str, *, done: int) -> None:
        self.calls.append(("step", name, done))

    def end(self, name: str) -> None:
        self.calls.append(("end", name))

    def warning(self, text: str) -> None:
        self.calls.append(("warning", text))


def test_a_job_is_one_line_and_comes_back() -> None:
    line = JOB.to_line()
    assert line.count("\n") == 1
    assert Job.from_line(line) == JOB


def test_the_child_gets_the_job_and_its_result_comes_back(child: Speak) -> None:
    child("say('built', onnx=job['onnx'], needs=job['needs'])")
    assert run_child(JOB, time_limit_s=None, listener=SILENT) == {
        "event": "built",
        "onnx": "strip.onnx",
        "needs": {"activations": 1, "io": 2, "device": 3, "host": 4},
    }


def test_the_listener_hears_the_phases_in_order(child: Speak) -> None:
    child(
        "say('stage', what='building')\n"
        "say('phase', name='Tactics', steps=2, parent='Building')\n"
        "say('step', name='Tactics', done=1)\n"
        "say('warning', text='careful')\n"
        "say('end', name='Tactics')\n"
        "say('built')"
    )
    heard = Heard()
    run_child(JOB, time_limit_s=None, listener=heard)
    assert heard.calls == [
        ("stage", "building"),
        ("phase", "Tactics", 2, "Building"),
        ("step", "Tactics", 1),
        ("warning", "careful"),
        ("end", "Tactics"),
    ]


def test_an_error_of_the_childs_is_raised_as_it_was(child: Speak) -> None:
    child("say('error', kind='ConfigError', what='w', why='y', fix='f'); sys.exit(2)")
    with pytest.raises(ConfigError) as error:
        run_child(JOB, time_limit_s=None, listener=SILENT)
    assert (error.value.what, error.value.why, error.value.fix) == ("w", "y", "f")


def test_a_killed_child_says_which_limit_to_lower(child: Speak) -> None:
    child("say('stage', what='building'); os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(DeviceError, match="killed") as error:
        run_child(JOB, time_limit_s=None, listener=SILENT)
    assert "512 MiB" in error.value.why
    assert "--workspace-mib" in error.value.fix
    assert "--batch" in error.value.fix


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV"])
def test_a_child_that_aborts_hands_on_its_last_words(child: Speak, name: str) -> None:
    child(f"print('Cuda failure 999', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.{name})")
    with pytest.raises(DeviceError, match=name) as error:
        run_child(JOB, time_limit_s=None, listener=SILENT)
    assert "Cuda failure 999" in error.value.why


def test_a_bug_in_the_child_keeps_its_traceback(child: Speak) -> None:
    child("raise ZeroDivisionError('here')")
    with pytest.raises(RuntimeError, match="ZeroDivisionError: here") as error:
        run_child(JOB, time_limit_s=None, listener=SILENT)
    assert not isinstance(error.value, LinesideError)


def test_a_child_that_never_reads_its_job_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_process, "COMMAND", (sys.executable, "-c", "import sys; sys.exit(7)"))
    longer_than_a_pipe_holds = replace(JOB, convolutions=("convolution",) * 100_000)
    for job in (JOB, longer_than_a_pipe_holds):
        with pytest.raises(RuntimeError, match="exit code 7"):
            run_child(job, time_limit_s=None, listener=SILENT)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_time_limit_ends_the_child(child: Speak, tmp_path: Path) -> None:
    child(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); say('stage', what='building'); time.sleep(60)")
    started = time.monotonic()
    with pytest.raises(DeviceError, match="ended after 1 s") as error:
        run_child(JOB, time_limit_s=1, listener=SILENT)
    assert time.monotonic() - started < 20
    assert "--timing-cache" in error.value.fix
    assert not alive(int((tmp_path / "pid").read_text()))


def test_ctrl_c_ends_the_child(child: Speak, tmp_path: Path) -> None:
    child(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); say('stage', what='building'); time.sleep(60)")

    class Interrupting(Listener):
        def stage(self, what: str) -> None:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        run_child(JOB, time_limit_s=None, listener=Interrupting())
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_listener_that_raises_ends_the_child(child: Speak, tmp_path: Path) -> None:
    child(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); say('stage', what='building'); time.sleep(60)")

    class Broken(Listener):
        def stage(self, what: str) -> None:
            raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        run_child(JOB, time_limit_s=None, listener=Broken())
    assert not alive(int((tmp_path / "pid").read_text()))


def test_the_real_child_says_without_a_gpu_what_is_missing_and_ends_with_2() -> None:
    try:
        ask_driver()
    except DeviceError as exc:
        missing = exc
    else:
        pytest.skip("this machine has a GPU")
    command = [sys.executable, "-m", "lineside.engine.builder.build_child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(JOB.to_line())
        process.stdin.flush()  # and stays open: when it closes, the child believes that its parent is gone
        *before, last = [json.loads(line) for line in process.stdout]
        process.wait(timeout=30)
    assert [event["event"] for event in before] == ["stage"]
    assert last == {"event": "error", "kind": "DeviceError", "what": missing.what, "why": missing.why, "fix": missing.fix}
    assert process.returncode == 2


def test_the_real_child_ends_when_its_parent_does() -> None:
    hang = "import lineside.engine.builder.build_child as child, time; child._build = lambda job, say: time.sleep(60); child.main()"
    with subprocess.Popen([sys.executable, "-c", hang], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(JOB.to_line())
        process.stdin.close()
        assert process.wait(timeout=30) == 1
