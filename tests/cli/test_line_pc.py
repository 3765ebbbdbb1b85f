"""A line PC has the core and ONNX Runtime, no PyTorch: what works there works, the rest says what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[1] / "engine" / "models" / "line.onnx"
WITHOUT = "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'matplotlib', 'skimage')))\nfrom lineside.cli.main import main\n"
"""A None in sys.modules makes an import fail as if the package were not installed."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"{WITHOUT}raise SystemExit(main({list(arguments)!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line") / "data"
    done = run("synth", str(folder), "--train", "1", "--valid", "0", "--test", "1")
    assert done.returncode == 0, done.stderr
    return folder


def test_strips_are_inspected(data: Path, tmp_path: Path) -> None:
    done = run("infer", str(MODEL), str(data / "test" / "good"), "--out", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "results").rglob("*.tif"))) == 1


def test_a_model_is_evaluated(data: Path) -> None:
    done = run("evaluate", str(MODEL), str(data))
    assert done.returncode == 0, done.stderr
    assert "image AUROC" in done.stdout


def test_doctor_answers() -> None:
    assert run("doctor").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "DATA", "--out", "OUT"], "[train]"),
        (["export", "DATA/x.pt", "--out", "OUT.onnx"], "[export]"),
        (["evaluate", "MODEL", "DATA", "--out", "OUT"], "[bench]"),
        (["demo", "--out", "OUT"], "[demo]"),
    ],
)
def test_what_needs_more_names_the_extra_and_leaves_nothing(data: Path, tmp_path: Path, arguments: list[str], extra: str) -> None:
    names = {
        "DATA": str(data),
        "MODEL": str(MODEL),
        "OUT": str(tmp_path / "out"),
        "DATA/x.pt": str(data / "x.pt"),
        "OUT.onnx": str(tmp_path / "out.onnx"),
    }
    done = run(*(names.get(argument, argument) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert extra in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
