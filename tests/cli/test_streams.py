"""A terminal, a log or a disk that takes nothing any more, through the installed program."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lineside.cli.main import main

MODEL = Path(__file__).parents[1] / "engine" / "models" / "production.onnx"
PROGRAM = (sys.executable, "-c", "from lineside.cli.main import entry; entry()")
STRIPS = 12
LIMIT_BYTES = 9_000
"""Less than a heatmap takes, and more than the lines of all strips."""
SMALL_FILES = (
    sys.executable,
    "-c",
    "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); del sys.argv[1]; "
    "from lineside.cli.main import entry; entry()",
)


@pytest.fixture
def strips(tmp_path: Path) -> Path:
    folder = tmp_path / "strips"
    folder.mkdir()
    for index in range(STRIPS):
        strip = np.random.default_rng(index).integers(0, 255, (3, 64, 96)).astype(np.uint8)
        tifffile.imwrite(folder / f"{index:02}.tif", strip, photometric="minisblack")
    return folder


def shell(line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which "$@" is `lineside ARGUMENTS`."""
    words = [*PROGRAM, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", "-c", line, "bash", *words], capture_output=True, text=True, timeout=120, check=False, env=environment)


@pytest.mark.parametrize(
    "line",
    [
        '"$@" 2>/dev/full',
        '"$@" 2>&-',
        '"$@" >&-',
        '"$@" >&- 2>&-',
        '"$@" | true; exit ${PIPESTATUS[0]}',
        '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}',
        '"$@" 2> >(true)',
    ],
)
def test_nobody_who_listens_is_no_reason_to_stop(line: str, strips: Path, tmp_path: Path) -> None:
    done = shell(line, "infer", MODEL, strips, "--out", tmp_path / "out", "--no-pictures", "--json", tmp_path / "result.json")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["complete"]
    assert len(results["results"]) == STRIPS
    assert json.loads((tmp_path / "result.json").read_text())["counts"] == results["counts"]


@pytest.mark.parametrize("words", [[], ["--json", "-"]])
def test_results_that_cannot_be_shown_are_an_error_after_the_files_are_written(words: list[str], strips: Path, tmp_path: Path) -> None:
    done = shell('"$@" >/dev/full', "infer", MODEL, strips, "--out", tmp_path / "out", "--no-pictures", *words)
    assert done.returncode == 2
    assert "cannot write to standard output" in done.stderr
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "out/results.json").read_text())["complete"]


@pytest.mark.parametrize("line", ['"$@" | head -1; exit ${PIPESTATUS[0]}', '"$@" >/dev/full'])
def test_help_that_is_cut_off_is_no_bug(line: str) -> None:
    done = shell(line, "infer", "--help")
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr


def test_a_disk_that_takes_no_heatmap_is_one_message_and_the_same_command_goes_on(strips: Path, tmp_path: Path) -> None:
    # a limit of a file's size stands for the disk's
    words = ["infer", str(MODEL), str(strips), "--out", str(tmp_path / "out"), "--no-pictures"]
    full = subprocess.run([*SMALL_FILES, str(LIMIT_BYTES), *words], capture_output=True, text=True, timeout=120, check=False)
    assert full.returncode == 2
    assert "Traceback" not in full.stderr
    assert "cannot write" in full.stderr
    assert "the same command goes on from there" in full.stderr
    done = shell('"$@"', *words)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/results.json").read_text())["complete"]


def test_a_scratch_folder_without_room_is_one_message(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/scratch")

    monkeypatch.setattr("lineside.cli.main.app", full)
    assert main(["doctor"]) == 2
    assert "cannot write /tmp/scratch" in capsys.readouterr().err
