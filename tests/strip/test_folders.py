"""One walk for all commands: what is a strip, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lineside.dataset import Dataset
from lineside.engine.infer.strip_names import find_sources
from lineside.errors import DatasetError, StripError
from lineside.folders import files_below, files_in
from lineside.reader import read_strip
from lineside.spec import StripSpec

SPEC = StripSpec.of_size(64, 96, tile_px=64)


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.zeros((3, 64, 96), np.uint8), photometric="minisblack")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A data set with what programs and systems leave behind in it."""
    for name in ("0.tif", "1.tif", "._0.tif", ".ipynb_checkpoints/0-checkpoint.tif", "__MACOSX/0.tif", ".hidden/deep/2.tif"):
        write(tmp_path / "data/train/good" / name)
    write(tmp_path / "data/test/good/3.tif")
    write(tmp_path / "data/test/.Trash-1000/4.tif")
    (tmp_path / "data/train/good/notes.txt").write_text("not a strip")
    (tmp_path / "data/train/good/Thumbs.db").write_text("nor is this")
    return tmp_path / "data"


def test_hidden_files_and_folders_hold_no_strips_for_any_command(tree: Path, tmp_path: Path) -> None:
    found = [tree / "train/good/0.tif", tree / "train/good/1.tif"]
    assert list(files_below(tree / "train")) == found
    assert [source.path for source in find_sources([tree / "train"], out=tmp_path / "out")] == found
    assert list(Dataset.open(tree, spec=SPEC).train) == found
    assert [sample.path for sample in Dataset.open(tree, spec=SPEC).test] == [tree / "test/good/3.tif"]


def test_a_hidden_folder_that_is_named_is_meant(tree: Path, tmp_path: Path) -> None:
    assert [source.name for source in find_sources([tree / "train/good/.hidden"], out=tmp_path / "out")] == ["deep/2"]


def test_masks_are_no_strips_wherever_the_data_set_lies(tree: Path) -> None:
    write(tree / "ground_truth/spot/0.tif")
    assert list(files_below(tree.parent)) == [tree / "test/good/3.tif", tree / "train/good/0.tif", tree / "train/good/1.tif"]


def test_what_cannot_be_opened_is_there_and_is_an_error_where_it_is_read(tree: Path) -> None:
    folder = tree / "train/good"
    (folder / "5.tif").symlink_to(tree / "gone.tif")
    (folder / "6.tif").symlink_to(folder / "6.tif")
    os.mkfifo(folder / "7.tif")
    assert [path.name for path in files_in(folder)] == ["0.tif", "1.tif", "5.tif", "6.tif", "7.tif"]
    for name in ("5.tif", "6.tif", "7.tif"):
        with pytest.raises(StripError, match=name):
            read_strip(folder / name, SPEC)
    with pytest.raises(StripError, match=r"5\.tif"):
        Dataset.open(tree, spec=SPEC).fingerprint()


def test_a_link_to_a_folder_is_followed_and_one_that_goes_in_a_circle_is_not(tree: Path) -> None:
    write(tree / "day/8.tif")
    (tree / "train/good/today").symlink_to(tree / "day", target_is_directory=True)
    (tree / "day/around").symlink_to(tree / "day", target_is_directory=True)
    assert [path.name for path in files_below(tree / "train")] == ["0.tif", "1.tif", "8.tif"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_the_right_to_read_it_is_an_error(tree: Path) -> None:
    (tree / "train").chmod(0)
    try:
        with pytest.raises(DatasetError, match="cannot be read"):
            list(files_below(tree))
    finally:
        (tree / "train").chmod(0o755)
