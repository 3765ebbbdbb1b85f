"""`lineside train`, through the program itself."""

from __future__ import annotations

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
from lineside.spec import StripSpec
from lineside.synth.synthetic import SynthOptions, synthesize

pytest.importorskip("torch", reason="PyTorch trains")

TINY = ("--base-channels", "2", "--batch-size", "4", "--epochs", "2", "--steps-per-epoch", "3", "--workers", "0", "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it, never write into it."""
    out = tmp_path_factory.mktemp("train") / "data"
    synthesize(out, SynthOptions(spec=StripSpec.of_size(96, 64, tile_px=32), train=3, valid=2, test=0))
    return out


def test_a_run_ends_with_a_table_and_the_next_commands_and_says_every_epoch_on_a_pipe(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", str(data), "--out", str(run), *TINY, "--json", str(tmp_path / "result.json")]) == 0
    captured = capsys.readouterr()
    assert [line.split()[:2] for line in captured.err.splitlines()] == [["epoch", "1"], ["epoch", "2"]]
    table = " ".join(captured.out.split())
    for word in ("best epoch", "image AUROC", "pixel AP", "threshold", "lineside evaluate", "lineside export"):
        assert word in table
    value = json.loads((tmp_path / "result.json").read_text())
    assert value["best_epoch"] in (1, 2)
    assert value["options"]["base_channels"] == 2
    assert [row["epoch"] for row in value["history"]] == list(range(1, value["best_epoch"] + 1))
    assert sorted(path.name for path in run.iterdir()) == ["best.pt", "curves.png", "last.pt", "metrics.csv"]
    assert main(["evaluate", str(run / "best.pt"), str(data)]) == 2  # it has no test folder; the model is fine
    assert "test" in capsys.readouterr().err


def test_every_option_reaches_the_run(data: Path, tmp_path: Path) -> None:
    options = {
        "--lr": ("0.002", "lr", 0.002),
        "--defects": ("2:4", "defects", {"count": [2, 4], "share": 0.5}),
        "--gamma": ("0.5:2", "gamma", [0.5, 2.0]),
        "--cache-mb": ("7", "cache_mb", 7),
        "--seed": ("3", "seed", 3),
    }
    given = [word for name, (text, _, _) in options.items() for word in (name, text)]
    result = tmp_path / "result.json"
    assert main(["train", str(data), "--out", str(tmp_path / "run"), *TINY, *given, "--amp", "--json", str(result)]) == 0
    found = json.loads(result.read_text())["options"]
    expected = {key: value for _, key, value in options.values()} | {
        "amp": True,
        "epochs": 2,
        "steps_per_epoch": 3,
        "batch_size": 4,
        "base_channels": 2,
        "workers": 0,
        "device": "cpu",
    }
    assert found == expected


def test_strips_that_say_nothing_of_themselves_are_told_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, rng = tmp_path / "data" / "train" / "good", np.random.default_rng(0)
    good.mkdir(parents=True)
    for index in range(2):
        tifffile.imwrite(good / f"{index}.tif", rng.integers(0, 4096, (96, 64, 3), np.uint16), photometric="rgb")
    command = ["train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *TINY]
    assert main(command) == 2
    assert "--size 96x64" in capsys.readouterr().err
    assert main([*command, "--size", "96x64"]) == 2
    assert "--full-scale" in capsys.readouterr().err
    told = ["--size", "96x64", "--tile", "32", "--full-scale", "4095", "--layout"]
    assert main([*command, *told, "chw"]) == 2
    assert "--layout chw" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*command, *told, "hwc"]) == 0
    assert main(["show", str(tmp_path / "run" / "best.pt"), "--json", "-"]) == 0
    shown = capsys.readouterr().out
    spec = json.loads(shown[shown.index("\n{") :])["spec"]
    assert (spec["tile_px"], spec["full_scale"], spec["layout"]) == (32, 4095.0, "hwc")


def test_another_tile_leaves_the_rest_as_the_data_set_says(data: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    assert main(["train", str(data), "--out", str(tmp_path / "run"), *TINY, "--tile", "64", "--json", str(result)]) == 0
    assert main(["show", str(tmp_path / "run" / "best.pt"), "--json", str(tmp_path / "shown.json")]) == 0
    assert json.loads((tmp_path / "shown.json").read_text())["spec"]["tile_px"] == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tile", "100"], "multiple of 32"),
        (["--resume", "--force"], "say one of them"),
        (["--resume"], "last.pt: no such file"),
        (["--device", "tpu"], "auto, cpu, cuda"),
        (["--layout", "cwh"], "chw, hwc"),
        (["--defects", "8:3"], "--defects 3:8"),
        (["--epochs", "0"], "--epochs 1 or more"),
        (["--lr", "nan"], "--lr 1e-3"),
        (["--size", "big"], "512x256"),
    ],
)
def test_options_that_cannot_be_are_refused_and_nothing_is_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["train", str(data), "--out", str(tmp_path / "run"), *TINY, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_refused_and_resumed_or_replaced_when_asked(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(data), "--out", str(tmp_path / "run"), *TINY]
    assert main(command) == 0
    before = (tmp_path / "run" / "best.pt").read_bytes()
    assert main(command) == 2
    assert "already holds files" in capsys.readouterr().err
    assert main([*command, "--resume", "--epochs", "5"]) == 2
    assert "--epochs 2 (now 5)" in capsys.readouterr().err
    assert (tmp_path / "run" / "best.pt").read_bytes() == before
    assert main([*command, "--resume"]) == 0
    assert main([*command, "--force"]) == 0


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    code = "import sys; from lineside.cli.main import main; sys.exit(main(sys.argv[1:]))"
    run = tmp_path / "run"
    arguments = ["train", str(data), "--out", str(run), *TINY, "--steps-per-epoch", "100000", "--workers", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            while not (run / "last.pt").exists():
                assert process.poll() is None
                time.sleep(0.05)
            time.sleep(1.0)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "--resume goes on" in said
    assert "Traceback" not in said
