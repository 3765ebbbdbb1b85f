"""Bad input, through the program: exit code 2, one message with what, why and fix, no traceback, nothing left, nothing harmed."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from lineside.cli.main import main
from lineside.spec import StripSpec
from lineside.synth.synthetic import SynthOptions, synthesize

MODEL = Path(__file__).parents[1] / "engine" / "models" / "production.onnx"
TRAIN = ("--base-channels", "2", "--batch-size", "2", "--epochs", "1", "--steps-per-epoch", "2", "--workers", "0")
SPEC = StripSpec.of_size(64, 96, tile_px=64)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set that every test may copy."""
    out = tmp_path_factory.mktemp("clean") / "data"
    synthesize(out, SynthOptions(spec=SPEC, train=2, valid=1, test=1))
    return out


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "data"))


@pytest.fixture(scope="module")
def checkpoint(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="PyTorch is not installed: no checkpoint can be made")
    run = tmp_path_factory.mktemp("run")
    assert main(["train", str(clean), "--out", str(run), *TRAIN]) == 0
    return run / "best.pt"


Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Run a command that has to be refused; gives its message. Whatever was there before is there afterwards, and nothing else."""

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def run(*arguments: object, leaves: str = "") -> str:
        before = content()
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert code == 2, captured.err
        assert "error:" in captured.err.lower()
        assert "Traceback" not in captured.err
        after = {path: data for path, data in content().items() if not leaves or leaves not in path.parts}
        assert after == before
        return " ".join(captured.err.split())

    return run


def first_strip(data: Path) -> Path:
    return min((data / "train" / "good").iterdir())


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:  # type: ignore[type-arg]
    tifffile.imwrite(path, change(tifffile.imread(path)), photometric="minisblack")


def with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:  # type: ignore[type-arg]
    def change(strip: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        strip[0, 3, 5] = value
        return strip

    return change


BAD_STRIPS = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "TIFF"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "text": (lambda path: path.write_text("this is no picture"), "TIFF"),
    "another size": (lambda path: rewrite(path, lambda strip: strip[:, :60]), "60"),
    "two channels": (lambda path: rewrite(path, lambda strip: strip[:2]), "2 channels"),
    "nan": (lambda path: rewrite(path, with_value(np.nan)), "row 3, column 5"),
    "infinity": (lambda path: rewrite(path, with_value(np.inf)), "row 3, column 5"),
    "above 255": (lambda path: rewrite(path, with_value(300.0)), "300"),
    "negative": (lambda path: rewrite(path, with_value(-1.0)), "-1"),
    "uint16": (lambda path: rewrite(path, lambda strip: strip.astype(np.uint16)), "--full-scale"),
    "float64": (lambda path: rewrite(path, lambda strip: strip.astype(np.float64)), "float64"),
}


@pytest.mark.parametrize("kind", BAD_STRIPS)
def test_training_names_a_bad_strip(data: Path, tmp_path: Path, refused: Refused, kind: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: nothing is trained")
    damage, said = BAD_STRIPS[kind]
    path = first_strip(data)
    damage(path)
    message = refused("train", data, "--out", tmp_path / "run", *TRAIN, leaves="run")
    assert path.name in message
    assert said in message
    assert "fix:" in message


@pytest.mark.parametrize("kind", BAD_STRIPS)
def test_a_bad_strip_becomes_a_row_and_the_rest_is_done(data: Path, tmp_path: Path, refused: Refused, kind: str) -> None:
    damage, _ = BAD_STRIPS[kind]
    path = first_strip(data)
    damage(path)
    message = refused("infer", MODEL, data / "train", "--out", tmp_path / "results", leaves="results")
    assert path.name in message
    rows = (tmp_path / "results" / "results.csv").read_text().splitlines()
    assert len(rows) == 3
    assert sum("NOT_INSPECTED" in row for row in rows) == 1
    assert len(list((tmp_path / "results" / "heatmaps").rglob("*.tif"))) == 1


@pytest.mark.parametrize(
    "arguments", [("train", "MISSING", "--out", "OUT"), ("evaluate", MODEL, "MISSING"), ("infer", MODEL, "MISSING", "--out", "OUT")]
)
def test_a_missing_folder(tmp_path: Path, refused: Refused, arguments: tuple[object, ...]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: nothing is trained")
    names = {"MISSING": tmp_path / "missing", "OUT": tmp_path / "out"}
    assert str(tmp_path / "missing") in refused(*(names.get(str(argument), argument) for argument in arguments))


def test_no_good_strips(data: Path, tmp_path: Path, refused: Refused) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: nothing is trained")
    for path in (data / "train" / "good").iterdir():
        path.unlink()
    assert "put good strips into" in refused("train", data, "--out", tmp_path / "run", *TRAIN)


def test_a_missing_mask(data: Path, refused: Refused) -> None:
    mask = min((data / "ground_truth" / "spot").glob("test*"))
    mask.unlink()
    assert mask.stem in refused("evaluate", MODEL, data)


def test_a_mask_of_another_size(data: Path, refused: Refused) -> None:
    mask = min((data / "ground_truth" / "spot").glob("test*"))
    Image.new("L", (50, 64), 255).save(mask)
    assert "64 x 50 px" in refused("evaluate", MODEL, data)


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "nan"])
def test_a_threshold_outside_0_to_1(data: Path, tmp_path: Path, refused: Refused, threshold: str) -> None:
    assert "0 to 1" in refused("evaluate", MODEL, data, f"--threshold={threshold}")
    assert "0 to 1" in refused("infer", MODEL, data, "--out", tmp_path / "out", f"--threshold={threshold}")


def test_a_tile_that_the_network_cannot_halve(data: Path, tmp_path: Path, refused: Refused) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: nothing is trained")
    message = refused("train", data, "--out", tmp_path / "run", "--size", "976x176", "--tile", "100", *TRAIN)
    assert "--tile 96 or --tile 128" in message


class Evil:
    """Would make a file when unpickled by a loader that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


BAD_CHECKPOINTS: dict[str, Callable[[bytes, Path], bytes]] = {
    "not ours": lambda good, folder: b"x" * 1000,
    "cut off": lambda good, folder: good[: len(good) // 2],
    "empty": lambda good, folder: b"",
    "malicious": lambda good, folder: pickle.dumps(Evil(folder / "evil")),
}


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
@pytest.mark.parametrize("command", ["evaluate", "export", "show"])
def test_a_bad_checkpoint(checkpoint: Path, data: Path, tmp_path: Path, refused: Refused, kind: str, command: str) -> None:
    bad = tmp_path / "bad.pt"
    bad.write_bytes(BAD_CHECKPOINTS[kind](checkpoint.read_bytes(), tmp_path))
    more = {"evaluate": (data,), "export": ("--out", tmp_path / "out.onnx"), "show": ()}[command]
    assert "bad.pt" in refused(command, bad, *more)
    assert not (tmp_path / "evil").exists(), "code in a checkpoint must not run"


@pytest.mark.parametrize("command", ["evaluate", "infer", "show"])
def test_a_corrupt_onnx(data: Path, tmp_path: Path, refused: Refused, command: str) -> None:
    if command == "show":
        pytest.importorskip("onnx", reason="onnx is not installed: show names the extra instead")
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(MODEL.read_bytes()[:300])
    more = {"evaluate": (data,), "infer": (data, "--out", tmp_path / "out"), "show": ()}[command]
    assert "bad.onnx" in refused(command, bad, *more)


def test_strips_of_another_size_than_the_model(tmp_path: Path, refused: Refused) -> None:
    synthesize(tmp_path / "other", SynthOptions(spec=StripSpec.of_size(128, 96, tile_px=64), train=1, valid=0, test=1))
    assert "64 x 96" in refused("evaluate", MODEL, tmp_path / "other")


def test_an_existing_output_is_refused_and_kept(checkpoint: Path, data: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "out.onnx").write_text("mine")
    assert "--force" in refused("export", checkpoint, "--out", tmp_path / "out.onnx")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    for command in (
        ("train", data, "--out", tmp_path / "folder", *TRAIN),
        ("infer", MODEL, data, "--out", tmp_path / "folder"),
        ("evaluate", MODEL, data, "--out", tmp_path / "folder"),
        ("demo", "--out", tmp_path / "folder"),
        ("doctor", "--json", tmp_path / "out.onnx"),
    ):
        assert "--force" in refused(*command)


def test_force_never_replaces_a_folder_that_is_not_a_data_set(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    for force in ((), ("--force",)):
        assert "chapter1.txt" in refused("synth", tmp_path / "thesis", *force)


@pytest.mark.parametrize("command", ["train", "export", "infer", "evaluate", "synth"])
def test_an_output_below_a_file(checkpoint: Path, data: Path, tmp_path: Path, refused: Refused, command: str) -> None:
    (tmp_path / "file").write_text("mine")
    place = tmp_path / "file" / "out"
    arguments = {
        "train": (data, "--out", place, *TRAIN),
        "export": (checkpoint, "--out", place),
        "infer": (MODEL, data, "--out", place),
        "evaluate": (MODEL, data, "--out", place),
        "synth": (place,),
    }
    assert "fix:" in refused(command, *arguments[command])


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a tmpfs here, which a full disk is made of")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.parametrize("command", ["train", "export", "infer", "evaluate", "synth"])
def test_a_full_disk(checkpoint: Path, data: Path, tiny_disk: Path, refused: Refused, command: str) -> None:
    place = tiny_disk / "out"
    arguments = {
        "train": (data, "--out", place, *TRAIN),
        "export": (checkpoint, "--out", place.with_suffix(".onnx")),
        "infer": (MODEL, data, "--out", place),
        "evaluate": (MODEL, data, "--out", place),
        "synth": (place, "--train", "3"),
    }
    message = refused(command, *arguments[command], leaves="out")
    assert "no space left" in message
    # infer keeps the rows that it had; nothing else is left half done
    assert not [path for path in tiny_disk.rglob("*partial*") if path.name != "results.partial.jsonl"]


def test_a_place_without_the_right_to_write(checkpoint: Path, tmp_path: Path, refused: Refused) -> None:
    place = tmp_path / "readonly"
    place.mkdir()
    if os.geteuid() == 0:  # root may write everywhere but on a read-only file system
        mounted = (
            subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], capture_output=True, check=False).returncode == 0
        )
        if not mounted:
            pytest.skip("root without the right to mount: no place that cannot be written")
    place.chmod(0o500) if os.geteuid() else None
    try:
        assert "fix:" in refused("export", checkpoint, "--out", place / "out.onnx")
        assert "fix:" in refused("synth", place / "data")
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", str(place)], check=True)
        else:
            place.chmod(0o700)


def test_options_that_cannot_be_are_named(data: Path, tmp_path: Path, refused: Refused) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: nothing is trained")
    for option, value in (
        ("--defects", "8:3"),
        ("--gamma", "x"),
        ("--lr", "-1"),
        ("--epochs", "0"),
        ("--device", "quantum"),
        ("--batch-size", "0"),
    ):
        assert "fix:" in refused("train", data, "--out", tmp_path / "run", option, value)
    assert "fix:" in refused("synth", tmp_path / "d", "--size", "12by7")
    assert "fix:" in refused("synth", tmp_path / "d", "--train", "-1")
    assert "No such option" in refused("synth", tmp_path / "d", "--nonsense")
