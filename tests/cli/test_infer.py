from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lineside.cli.main import main
from lineside.errors import INTERRUPTED, USER_ERROR

MODELS = Path(__file__).parent.parent / "engine" / "models"
MODEL = str(MODELS / "production.onnx")


def write_strip(path: Path, *, defect: bool = False) -> None:
    pixels = np.full((3, 64, 96), 120, np.float32)
    pixels[0, 10:13, 20:24] += 100 * defect
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="separate")


@pytest.fixture
def strips(tmp_path: Path) -> Path:
    write_strip(tmp_path / "strips/good/000.tif")
    write_strip(tmp_path / "strips/spot/000.tif", defect=True)
    return tmp_path / "strips"


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_ng_strips_are_a_result_and_no_failure(strips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", MODEL, str(strips), "--out", str(tmp_path / "out")]) == 0
    assert [row["verdict"] for row in rows(tmp_path / "out")] == ["OK", "NG"]
    shown = capsys.readouterr()
    assert "Verdicts" in shown.out
    assert "inspecting" in shown.err  # progress is not a result


def test_one_bad_file_is_a_row_and_the_exit_code(strips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (strips / "good/001.tif").write_text("not a picture")
    assert main(["infer", MODEL, str(strips), "--out", str(tmp_path / "out")]) == USER_ERROR
    assert [row["verdict"] for row in rows(tmp_path / "out")] == ["OK", "NOT_INSPECTED", "NG"]
    shown = capsys.readouterr()
    assert shown.err.count("error:") == 1
    assert "1 of 3 strips" in shown.err
    assert "001.tif" in shown.err


def test_json_on_stdout_is_nothing_but_json(strips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", MODEL, str(strips), "--out", str(tmp_path / "out"), "--json", "-"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["counts"] == {"OK": 1, "NG": 1, "NOT_INSPECTED": 0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--threshold", "1.5"], "threshold"),
        (["--threads", "0"], "threads"),
        (["--provider", "rocket"], "not available"),
        (["--model", "absent.onnx"], "no such file"),
        (["--model", "best.pt"], "lineside export"),
        (["--path", "absent"], "no such file"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_no_output(
    strips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], said: str
) -> None:
    given = dict(zip(changes[::2], changes[1::2], strict=True))
    model, path = given.pop("--model", MODEL), given.pop("--path", str(strips))
    code = main(["infer", model, path, "--out", str(tmp_path / "out"), *(word for pair in given.items() for word in pair)])
    shown = capsys.readouterr()
    assert code == USER_ERROR
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not (tmp_path / "out").exists()


def test_files_of_another_white_are_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strip = np.full((3, 64, 96), 1000, np.uint16)
    strip[0, 10:13, 20:24] = 2638  # 0.4 of white above the references
    tifffile.imwrite(tmp_path / "strip.tif", strip, photometric="minisblack", planarconfig="separate")
    call = ["infer", MODEL, str(tmp_path / "strip.tif"), "--no-pictures", "--force", "--out", str(tmp_path / "out")]
    assert main(call) == USER_ERROR
    assert "--full-scale 65535" in " ".join(capsys.readouterr().err.split())
    assert main([*call, "--full-scale", "4095"]) == 0
    (row,) = rows(tmp_path / "out")
    assert float(row["score"]) == pytest.approx(1638 / 4095, abs=1e-6)
    assert main([*call, "--full-scale", "0"]) == USER_ERROR
    assert "use 255, 4095 or 65535" in capsys.readouterr().err


def test_existing_results_are_refused_without_force(strips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["infer", MODEL, str(strips), "--out", str(tmp_path / "out"), "--no-pictures"]
    assert main(call) == 0
    assert main(call) == USER_ERROR
    assert "--force" in capsys.readouterr().err
    assert main([*call, "--force"]) == 0


def test_a_model_of_other_strips_says_which_ones_it_inspects(strips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", str(MODELS / "line.onnx"), str(strips), "--out", str(tmp_path / "out")]) == USER_ERROR
    assert "976 x 176" in rows(tmp_path / "out")[0]["error"]


def test_ctrl_c_keeps_what_was_done_and_exits_130(tmp_path: Path) -> None:
    for index in range(400):
        write_strip(tmp_path / f"strips/{index:03}.tif", defect=True)
    out = tmp_path / "out"
    program = subprocess.Popen(
        [sys.executable, "-c", "from lineside.cli.main import entry; entry()", "infer", MODEL, str(tmp_path / "strips"), "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    partial = out / "results.partial.jsonl"
    deadline = time.monotonic() + 30
    while not (partial.exists() and partial.read_text().count("\n") >= 3):
        assert time.monotonic() < deadline
        assert program.poll() is None
        time.sleep(0.01)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=30)
    assert program.returncode == INTERRUPTED
    assert "Traceback" not in err
    done = rows(out)
    assert 3 <= len(done) < 400
    assert json.loads((out / "results.json").read_text())["complete"] is False
    assert not partial.exists()
    assert all((out / row["heatmap"]).is_file() for row in done)


def test_a_link_that_leads_nowhere_is_a_part_that_was_not_inspected(strips: Path, tmp_path: Path) -> None:
    (strips / "lost.tif").symlink_to(tmp_path / "gone.tif")
    (strips / "circle.tif").symlink_to(strips / "circle.tif")
    out = tmp_path / "out"
    assert main(["infer", MODEL, str(strips), "--out", str(out), "--no-pictures"]) == 2
    rows = {Path(row["file"]).name: row for row in json.loads((out / "results.json").read_text())["results"]}
    assert rows["lost.tif"]["verdict"] == "NOT_INSPECTED"
    assert "no such file" in rows["lost.tif"]["error"]


def test_a_link_that_leads_nowhere_is_a_row_too_when_a_shell_names_it(strips: Path, tmp_path: Path) -> None:
    (strips / "lost.tif").symlink_to(tmp_path / "gone.tif")
    out = tmp_path / "out"
    assert main(["infer", MODEL, *map(str, sorted(strips.glob("*.tif"))), "--out", str(out), "--no-pictures"]) == 2
    assert json.loads((out / "results.json").read_text())["counts"]["NOT_INSPECTED"] >= 1
