"""Steps are done in their order, each in a process of its own; whatever becomes of one, the others' results are there."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.benchmarks.gpu.bundle import Bundle
from lineside.benchmarks.gpu.runner import Outcome, RunOptions, run_steps
from lineside.benchmarks.gpu.steps import Step

STEPS_MODULE = """
import os, signal, subprocess, sys, time
from pathlib import Path
from lineside.errors import DeviceError

def well(bench, *, value):
    return {"value": value, "size": bench.bundle.size, "checks": [{"name": "c", "value": 1.0, "target": "1", "passed": value > 0}]}

def refuses(bench):
    bench.write({"before": 1})
    raise DeviceError("no such GPU", why="there is none", fix="buy one")

def breaks(bench):
    raise KeyError("a bug")

def crashes(bench):
    bench.write({"before": 1})
    os.kill(os.getpid(), signal.SIGSEGV)

def hangs(bench, *, pid_file):
    bench.write({"limit_s": bench.limit_s})
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(pid_file).write_text(str(child.pid))
    time.sleep(600)

def not_json(bench):
    return {"value": float("nan")}
"""


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "some_steps.py").write_text(STEPS_MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    bundle = Bundle(folder=tmp_path / "bundle", base_channels=2, size="64x64", models=(), made_by={})
    bundle.write_index()
    (tmp_path / "results").mkdir()
    return RunOptions(bundle=bundle.folder, results=tmp_path / "results", engines=tmp_path, budget_s=60)


def step(function: str, *, limit_s: float = 30, name: str = "", **given: Any) -> Step:
    return Step(name=name or function, does="something", module="some_steps", function=function, options=given, limit_s=limit_s)


def read(options: RunOptions, outcome: Outcome) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((options.results / outcome.file).read_text())
    return value


def test_every_step_writes_its_own_file_and_the_order_is_theirs(options: RunOptions) -> None:
    told: list[str] = []
    outcomes = run_steps([step("well", name="Second best", value=2), step("well", value=0)], options, tell=told.append)
    assert [outcome.file for outcome in outcomes] == ["01-second-best.json", "02-well.json"]
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert [outcome.proved for outcome in outcomes] == [True, False], "a check that fails is not a proof"
    first = read(options, outcomes[0])
    assert (first["schema"], first["status"], first["result"]["value"], first["result"]["size"]) == (1, "done", 2, "64x64")
    summary = json.loads((options.results / "summary.json").read_text())
    assert [one["step"] for one in summary["steps"]] == ["Second best", "well"]
    assert told[0].startswith("1/2 Second best")


def test_a_step_that_refuses_breaks_or_crashes_loses_itself_alone(options: RunOptions) -> None:
    outcomes = run_steps([step("refuses"), step("breaks"), step("crashes"), step("not_json"), step("well", value=1)], options)
    assert [outcome.status for outcome in outcomes] == ["refused", "failed", "crashed", "failed", "done"]
    refused, broken, crashed, not_json, _ = (read(options, outcome) for outcome in outcomes)
    assert (refused["error"]["what"], refused["error"]["fix"], refused["result"]) == ("no such GPU", "buy one", {"before": 1})
    assert "KeyError: 'a bug'" in broken["message"]
    assert "Traceback" in broken["log"]
    assert (crashed["message"], crashed["result"]) == ("SIGSEGV", {"before": 1}), "what was known stays"
    assert "JSON" in not_json["message"]


def test_a_step_that_hangs_is_cut_off_with_all_that_it_started(
    options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lineside.benchmarks.gpu.runner.GRACE_S", 0.2)
    outcomes = run_steps([step("hangs", limit_s=2, pid_file=str(tmp_path / "pid")), step("well", value=1)], options)
    assert [outcome.status for outcome in outcomes] == ["cut off", "done"]
    assert read(options, outcomes[0])["result"] == {"limit_s": 2}
    refuse_to_live_on(int((tmp_path / "pid").read_text()))


def refuse_to_live_on(pid: int) -> None:
    """A kill is carried out when the kernel comes to it."""
    for _ in range(50):
        if not running(pid):
            return
        time.sleep(0.1)
    pytest.fail("what the step started lives on")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_the_time_does_not_reach_says_so_and_the_last_step_gets_what_is_left(
    options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lineside.benchmarks.gpu.runner.GRACE_S", 0.2)
    short = RunOptions(bundle=options.bundle, results=options.results, engines=options.engines, budget_s=4)
    begin = time.monotonic()
    outcomes = run_steps([step("hangs", limit_s=100, pid_file=str(tmp_path / "pid")), step("well", value=1)], short)
    assert time.monotonic() - begin < 4 + 4
    assert [outcome.status for outcome in outcomes] == ["cut off", "not reached"]
    assert read(short, outcomes[0])["result"]["limit_s"] <= 4
    assert read(short, outcomes[1])["status"] == "not reached"


def test_an_interrupt_ends_the_step_and_keeps_what_was_found(options: RunOptions, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("2/"):
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
            signal.setitimer(signal.ITIMER_REAL, 2.0)

    with pytest.raises(KeyboardInterrupt):
        run_steps([step("well", value=1), step("hangs", pid_file=str(tmp_path / "pid"))], options, tell=interrupt)
    summary = json.loads((options.results / "summary.json").read_text())
    assert [one["status"] for one in summary["steps"]] == ["done"]
    refuse_to_live_on(int((tmp_path / "pid").read_text()))


def test_the_results_of_an_earlier_run_never_count_for_this_one(options: RunOptions) -> None:
    (options.results / "01-crashes.json").write_text(json.dumps({"result": {"checks": [{"passed": True}]}, "before": "old"}))
    [outcome] = run_steps([step("crashes")], options)
    assert outcome.checks == ()
    assert "before" not in read(options, outcome)


def test_a_folder_that_is_not_prepared_is_refused_by_every_step(options: RunOptions) -> None:
    (options.bundle / "models.json").write_text("{}")
    [outcome] = run_steps([step("well", value=1)], options)
    assert outcome.status == "refused"
    assert "not a prepared folder" in outcome.message


def test_results_are_json_that_others_can_read(options: RunOptions) -> None:
    [outcome] = run_steps([step("well", value=1)], options)
    text = (options.results / outcome.file).read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["result"]["value"] == 1
    assert np.isfinite(json.loads(text)["seconds"])
