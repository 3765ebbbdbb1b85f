"""The tree of a data set, its masks, and what it may lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lineside import PRESETS, Dataset, DatasetError, Sample, StripError, StripSpec
from lineside.dataset import read_mask, read_sample

SPEC = StripSpec.of_size(96, 64)
GRAY = np.full((96, 64), 100, np.uint8)
MARKED = np.zeros((96, 64), np.uint8)
MARKED[10:14, 20:30] = 255


def put(path: Path, pixels: Any = GRAY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set with every folder; names as in MVTec AD."""
    for name in ("train/good/001", "train/good/000", "valid/good/100", "valid/spot/101", "test/good/000", "test/spot/002", "test/dent/002"):
        put(tmp_path / f"{name}.png")
    for name in ("spot/101_mask", "spot/002_mask", "dent/002"):
        put(tmp_path / "ground_truth" / f"{name}.png", MARKED)
    return tmp_path


def opened(root: Path) -> Dataset:
    return Dataset.open(root, spec=SPEC)


def test_training_strips_are_sorted_by_name(root: Path) -> None:
    assert [path.name for path in opened(root).train] == ["000.png", "001.png"]


def test_samples_have_kind_and_mask_and_good_ones_come_first(root: Path) -> None:
    truth = root / "ground_truth"
    assert opened(root).test == (
        Sample(path=root / "test/good/000.png", kind="good", mask=None),
        Sample(path=root / "test/dent/002.png", kind="dent", mask=truth / "dent/002.png"),
        Sample(path=root / "test/spot/002.png", kind="spot", mask=truth / "spot/002_mask.png"),
    )
    assert [sample.kind for sample in opened(root).valid] == ["good", "spot"]
    assert [sample.defective for sample in opened(root).valid] == [False, True]


def test_other_files_and_hidden_folders_are_passed_over(root: Path) -> None:
    (root / "train/good/Thumbs.db").write_text("")
    (root / "train/good/.000.png").write_text("")
    (root / "train/good/folder.png").mkdir()
    put(root / "test/.ipynb_checkpoints/000.png")
    assert len(opened(root).train) == 2
    assert len(opened(root).test) == 3


def test_valid_is_optional(root: Path) -> None:
    (root / "valid").rename(root / "elsewhere")
    assert opened(root).valid == ()


def test_without_ground_truth_verdicts_can_still_be_measured(root: Path) -> None:
    (root / "ground_truth").rename(root / "elsewhere")
    assert [sample.mask for sample in opened(root).test] == [None, None, None]


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".tiff"])
def test_a_mask_may_be_of_another_format_than_its_strip(root: Path, suffix: str) -> None:
    (root / "ground_truth/dent/002.png").unlink()
    mask = root / f"ground_truth/dent/002{suffix}"
    Image.fromarray(MARKED).save(mask, "PNG" if suffix.lower() == ".png" else "TIFF")
    sample = opened(root).test[1]
    assert sample.mask == mask
    np.testing.assert_array_equal(read_mask(sample, SPEC), MARKED > 0)


def test_a_missing_mask_names_strip_and_mask(root: Path) -> None:
    (root / "ground_truth/spot/002_mask.png").unlink()
    with pytest.raises(DatasetError) as caught:
        _ = opened(root).test
    assert str(root / "ground_truth" / "spot") in caught.value.what
    assert "test/spot/002.png" in caught.value.what
    assert "002.png or 002_mask.png" in caught.value.why


@pytest.mark.parametrize("twin", ["valid/spot/002.png", "test/spot/002.tif"])
def test_two_strips_never_share_a_mask(root: Path, twin: str) -> None:
    put(root / twin)
    with pytest.raises(DatasetError, match="same stem"):
        _ = opened(root).test


def test_good_strips_may_share_names(root: Path) -> None:
    put(root / "valid/good/000.png")
    assert len(opened(root).valid) == 3


@pytest.mark.parametrize(
    ("missing", "part", "fix"),
    [("train/good", "train", "put good strips into"), ("test", "test", "put strips into")],
)
def test_a_part_without_strips_says_where_to_put_them(root: Path, missing: str, part: str, fix: str) -> None:
    (root / missing).rename(root / "elsewhere")
    with pytest.raises(DatasetError) as caught:
        getattr(opened(root), part)
    assert str(root / missing) in caught.value.what
    assert fix in caught.value.fix


def test_an_empty_train_folder_says_so(root: Path) -> None:
    for path in (root / "train/good").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no strips"):
        _ = opened(root).train


def test_a_folder_that_is_not_there_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="lineside synth"):
        Dataset.open(tmp_path / "none")


@pytest.mark.parametrize("content", [[], ["pictures/a.png"], ["train/a.png"]])
def test_a_folder_that_is_no_data_set_says_what_it_holds(tmp_path: Path, content: list[str]) -> None:
    for name in content:
        put(tmp_path / name)
    with pytest.raises(DatasetError) as caught:
        Dataset.open(tmp_path)
    assert (content[0].split("/")[0] if content else "nothing") in caught.value.what
    assert "train/good" in caught.value.why


def test_a_file_is_no_data_set(root: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        Dataset.open(root / "train/good/000.png")


def test_the_first_strip_tells_the_preset(tmp_path: Path) -> None:
    put(tmp_path / "train/good/a.png", np.zeros((256, 256), np.uint8))
    assert Dataset.open(tmp_path).spec == PRESETS["square"]


def test_strips_of_no_presets_size_need_their_size_said(root: Path) -> None:
    with pytest.raises(StripError, match="--size 96x64"):
        Dataset.open(root)


def test_dataset_json_tells_the_spec(root: Path) -> None:
    (root / "dataset.json").write_text(json.dumps({"schema": 1, "spec": SPEC.to_json()}))
    assert Dataset.open(root).spec == SPEC
    assert Dataset.open(root, spec=PRESETS["strip"]).spec == PRESETS["strip"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '{"schema": 1}',
        '{"schema": 2, "spec": {}}',
        '{"schema": 1, "spec": {}}',
        '{"schema": 1, "spec": 5}',
        "\xff\xfe",
    ],
)
def test_a_damaged_dataset_json_is_refused(root: Path, text: str) -> None:
    (root / "dataset.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError) as caught:
        Dataset.open(root)
    assert str(root / "dataset.json") in caught.value.what
    assert caught.value.fix


def test_the_mask_of_a_good_strip_is_empty() -> None:
    mask = read_mask(Sample(path=Path("a.png"), kind="good"), SPEC)
    assert (mask.shape, mask.dtype, mask.any()) == ((96, 64), np.bool_, False)


def test_strip_and_mask_are_read_together(root: Path) -> None:
    strip, mask = read_sample(opened(root).test[1], SPEC)
    np.testing.assert_array_equal(strip, np.stack([GRAY] * 3))
    np.testing.assert_array_equal(mask, MARKED > 0)


@pytest.mark.parametrize("shape", [(64, 96), (96, 65), (9, 6, 3)])
def test_a_mask_of_another_size_is_refused(root: Path, shape: tuple[int, ...]) -> None:
    put(root / "ground_truth/dent/002.png", np.ones(shape, np.uint8))
    with pytest.raises(DatasetError) as caught:
        read_mask(opened(root).test[1], SPEC)
    assert f"{shape[0]} x {shape[1]} px" in caught.value.what
    assert "002.png has 96 x 64 px" in caught.value.why


def test_a_mask_that_marks_nothing_is_refused(root: Path) -> None:
    put(root / "ground_truth/dent/002.png", MARKED * 0)
    with pytest.raises(DatasetError, match="marks no pixel"):
        read_mask(opened(root).test[1], SPEC)


def test_a_damaged_mask_names_the_file(root: Path) -> None:
    (root / "ground_truth/dent/002.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(StripError, match=r"dent/002\.png"):
        read_mask(opened(root).test[1], SPEC)


def test_the_fingerprint_knows_names_and_pixels_of_train_and_valid_alone(root: Path) -> None:
    before = opened(root).fingerprint()
    put(root / "test/good/more.png")
    assert opened(root).fingerprint() == before
    put(root / "valid/good/100.png", GRAY + 1)
    changed = opened(root).fingerprint()
    (root / "train/good/000.png").rename(root / "train/good/002.png")
    assert len({before, changed, opened(root).fingerprint()}) == 3


def test_the_fingerprint_does_not_depend_on_where_the_data_set_lies(root: Path) -> None:
    before = opened(root).fingerprint()
    moved = root.rename(root.with_name("moved"))
    assert opened(moved).fingerprint() == before


@pytest.mark.parametrize("part", ["train", "train/good"])
def test_a_folder_inside_a_data_set_is_told_the_data_set(tmp_path: Path, part: str) -> None:
    (tmp_path / "my data/train/good").mkdir(parents=True)
    with pytest.raises(DatasetError, match="inside a data set") as error:
        Dataset.open(tmp_path / "my data" / part)
    assert error.value.fix == f"say '{tmp_path / 'my data'}'"
