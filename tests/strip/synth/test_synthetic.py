"""A labelled data set of what a line sees: its tree, its labels, and that nothing is lost or half made."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lineside import PRESETS, ConfigError, Dataset, OutputError, StripSpec, read_strip
from lineside.dataset import read_sample
from lineside.synth.synthetic import GOOD_TURNS, KINDS_OF_PART, Drawn, SynthOptions, draw_strip, synthesize

T = TypeVar("T")
TextureOf = Callable[[int], NDArray[np.float32]]

SMALL = SynthOptions(spec=StripSpec.of_size(96, 80), train=2, valid=3, test=3)
DEFECTS = ("spot", "faint", "blob", "scratch")
FLAT = np.full((200, 200), 128, np.float32)
NEIGHBOURS = np.ones((3, 3), int)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("synth") / "data", SMALL).out


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def on_flat(part: str, kind: str, index: int, **changes: Any) -> Drawn:
    """A strip of a plain grey surface, where nothing but defects changes a pixel by much."""
    options = replace(SynthOptions(spec=StripSpec.of_size(256, 200)), **changes)
    return draw_strip(FLAT, options, part, kind, index)


def changes_of(drawn: Drawn) -> NDArray[np.bool_]:
    """(3, H, W): where a channel is more than 10 grey levels (6 sigma of the noise) off the plane that gain, offset and light make."""
    _, height, width = drawn.pixels.shape
    y, x = (axis.ravel() for axis in np.mgrid[:height, :width])
    plane = np.stack([np.ones_like(y), y, x], axis=1).astype(np.float64)
    pictures = drawn.pixels[:3].reshape(3, -1).T.astype(np.float64)
    weights, *_ = np.linalg.lstsq(plane, pictures, rcond=None)
    return (np.abs(pictures - plane @ weights) > 10).T.reshape(3, height, width)


def test_the_tree_is_that_of_a_data_set(made: Path) -> None:
    data = Dataset.open(made)
    assert data.spec == SMALL.spec
    assert len(data.train) == 2
    assert [sample.kind for sample in data.valid] == ["good"] * 3 + ["spot"] * 3
    assert [sample.kind for sample in data.test] == [kind for kind in ("good", "blob", "faint", "scratch", "spot") for _ in range(3)]


def test_every_defective_strip_and_no_good_one_has_a_mask(made: Path) -> None:
    data = Dataset.open(made)
    for sample in (*data.valid, *data.test):
        strip, mask = read_sample(sample, data.spec)
        assert strip.shape == (4, 96, 80)
        assert mask.any() == sample.defective == (sample.mask is not None)
    assert len(list((made / "ground_truth").rglob("*.png"))) == 3 + 4 * 3


def test_strips_are_mapped_float_tiffs_of_four_channels_and_masks_are_black_and_white(made: Path) -> None:
    strip = tifffile.memmap(made / "train/good/train-good-0000.tif", mode="r")
    assert (strip.shape, strip.dtype) == ((4, 96, 80), np.float32)
    assert (strip.min() >= 0, strip.max() <= 255) == (True, True)
    with Image.open(made / "ground_truth/spot/test-spot-0000.png") as mask:
        assert mask.mode == "L"
        assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_no_two_strips_have_the_same_stem(made: Path) -> None:
    stems = [path.stem for part in KINDS_OF_PART for path in (made / part).rglob("*.tif")]
    assert len(stems) == len(set(stems)) == 2 + 6 + 15


@pytest.mark.parametrize("name", ["square", "mvtec"])
def test_square_and_mvtec_are_colour_pictures_of_8_bits(texture_of: TextureOf, tmp_path: Path, name: str) -> None:
    options = SynthOptions(spec=PRESETS[name], train=1, valid=0, test=0)
    data = Dataset.open(synthesize(tmp_path / "data", options).out)
    assert data.spec == PRESETS[name]
    assert [path.name for path in data.train] == ["train-good-0000.png"]
    strip = read_strip(data.train[0], data.spec)
    assert (strip.shape, strip.dtype) == ((3, data.spec.height_px, data.spec.width_px), np.uint8)
    drawn = draw_strip(texture_of(0), options, "train", "good", 0)
    np.testing.assert_array_equal(strip, np.rint(drawn.pixels[:3]))


def test_the_same_seed_makes_the_same_bytes(made: Path, tmp_path: Path) -> None:
    assert files_of(synthesize(tmp_path / "again", SMALL).out) == files_of(made)


def test_another_seed_makes_other_strips(made: Path, tmp_path: Path) -> None:
    other = files_of(synthesize(tmp_path / "other", replace(SMALL, seed=1)).out)
    assert other.keys() == files_of(made).keys()
    assert not set(other.values()) & set(files_of(made).values())


def test_a_strip_is_the_same_whatever_the_counts(made: Path, tmp_path: Path) -> None:
    fewer = files_of(synthesize(tmp_path / "fewer", replace(SMALL, train=1, valid=0, test=2)).out)
    del fewer["dataset.json"]
    assert len(fewer) == 1 + 5 * 2 + 4 * 2
    assert fewer.items() <= files_of(made).items()


def test_no_two_strips_show_the_same_pattern(texture_of: TextureOf) -> None:
    strips = {(part, kind): draw_strip(texture_of(0), SMALL, part, kind, 0) for part, kinds in KINDS_OF_PART.items() for kind in kinds}
    patterns = [drawn.pixels[1] - drawn.pixels[1].mean() for drawn in strips.values()]
    for first, second in itertools.combinations(patterns, 2):
        assert np.abs(first - second).mean() > 5  # twice what gain, light and noise can do


@pytest.mark.parametrize("kind", DEFECTS)
def test_the_mask_is_what_is_in_target_and_in_neither_reference(kind: str) -> None:
    for index in range(6):
        drawn = on_flat("test", kind, index)
        target, ref1, ref2 = changes_of(drawn)
        assert not (drawn.mask & (ref1 | ref2)).any()
        outside = target & ~ndimage.binary_dilation(drawn.mask, NEIGHBOURS)
        assert not outside.any()
        assert (target & drawn.mask).sum() > 0.5 * drawn.mask.sum()  # the rest is the soft edge


@pytest.mark.parametrize(("kind", "most"), [("spot", 2), ("faint", 2), ("blob", 1), ("scratch", 1)])
def test_a_defective_strip_has_one_or_two_defects_and_distractors_in_the_references(kind: str, most: int) -> None:
    counts = set()
    for index in range(12):
        drawn = on_flat("test", kind, index)
        _, ref1, ref2 = changes_of(drawn)
        counts.add(ndimage.label(drawn.mask, NEIGHBOURS)[1])
        assert 1 <= ndimage.label(ref1 | ref2, NEIGHBOURS)[1] <= 5
        assert (ref1 != ref2).any()
    assert counts == set(range(1, most + 1))


def test_faint_defects_are_fainter_than_spots() -> None:
    def peaks(kind: str) -> list[float]:
        strips = [on_flat("test", kind, index) for index in range(20)]
        return [float(np.abs(drawn.pixels[0] - drawn.pixels[1:3].mean(axis=0))[drawn.mask].max()) for drawn in strips]

    # Amplitudes of 25 to 40 and of 60 and 80, give or take gain, offset, light and noise of three pictures.
    assert max(peaks("faint")) < 60
    assert min(peaks("spot")) > 40


def test_training_strips_are_clean() -> None:
    for index in range(6):
        drawn = on_flat("train", "good", index)
        assert not changes_of(drawn).any()
        assert not drawn.mask.any()


@pytest.mark.parametrize("part", ["valid", "test"])
def test_good_strips_are_clean_or_marked_in_the_references_or_everywhere_in_turn(part: str) -> None:
    for index in range(9):
        drawn = on_flat(part, "good", index)
        target, ref1, ref2 = changes_of(drawn)
        found = (target.any(), ref1.any() or ref2.any())
        assert found == {"clean": (False, False), "refs": (False, True), "all": (True, True)}[GOOD_TURNS[index % 3]]
        assert not drawn.mask.any()
        if GOOD_TURNS[index % 3] == "all":  # the same marks, each where the shift of its picture puts it
            grown = ndimage.binary_dilation(ref1 & ref2, NEIGHBOURS, iterations=2)
            assert not (target & ~grown).any()
        elif GOOD_TURNS[index % 3] == "refs":
            assert (ref1 != ref2).any()


def test_the_turn_of_a_good_strip_is_in_its_name(made: Path) -> None:
    names = sorted(path.name for path in (made / "test/good").iterdir())
    assert names == ["test-good-0000-clean.tif", "test-good-0001-refs.tif", "test-good-0002-all.tif"]


def test_defects_lie_in_the_inspected_region_which_is_black_and_white() -> None:
    for index in range(10):
        drawn = on_flat("test", "scratch", index)
        region = drawn.pixels[3]
        assert set(np.unique(region)) == {0, 255}
        assert (region == 255).mean() > 0.85
        assert region[changes_of(drawn).any(axis=0)].min() == 255


def test_a_larger_shift_makes_larger_differences() -> None:
    # Stripes of a gradient of 24 grey levels per px. At 0 px the differences are those of gain, light and noise alone.
    stripes = np.tile(128 + 30 * np.sin(np.arange(200) * 0.8), (200, 1)).astype(np.float32)

    def difference(shift_px: float) -> float:
        options = replace(SMALL, shift_px=shift_px)
        strips = [draw_strip(stripes, options, "train", "good", index).pixels for index in range(30)]
        return float(np.mean([np.std(target - ref1) for target, ref1, *_ in strips]))

    assert 2 * difference(0.0) < difference(0.5) < 0.6 * difference(2.0)


def test_dataset_json_says_how_it_was_made(tmp_path: Path) -> None:
    photo = tmp_path / "my photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (70, 70), np.uint8)).save(photo)
    out = synthesize(tmp_path / "data", replace(SMALL, texture=photo, seed=7, shift_px=0.5)).out
    said = json.loads((out / "dataset.json").read_text())
    assert (said["schema"], said["seed"], said["shift_px"]) == (1, 7, 0.5)
    assert said["texture"]["file"] == "my photo.png"
    assert len(said["texture"]["sha256"]) == 64
    assert said["counts"] == {"train/good": 2} | {f"valid/{kind}": 3 for kind in ("good", "spot")} | {
        f"test/{kind}": 3 for kind in ("good", *DEFECTS)
    }
    assert str(tmp_path) not in (out / "dataset.json").read_text()


def test_progress_hears_about_every_strip(tmp_path: Path) -> None:
    heard = []

    def progress(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
        for item in items:
            heard.append((total, what))
            yield item

    synthesize(tmp_path / "data", replace(SMALL, train=2, valid=0, test=0), progress=progress)
    assert heard == [(2, "strips")] * 2


# What may be in the way.


def test_a_data_set_of_ours_is_replaced_with_force_alone(tmp_path: Path) -> None:
    out = synthesize(tmp_path / "data", replace(SMALL, train=3, valid=1, test=0)).out
    before = files_of(out)
    with pytest.raises(OutputError, match="--force"):
        synthesize(out, replace(SMALL, train=1, valid=0, test=0))
    assert files_of(out) == before
    synthesize(out, replace(SMALL, train=1, valid=0, test=0), force=True)
    assert set(files_of(out)) == {"dataset.json", "train/good/train-good-0000.tif"}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["holiday.jpg", "dataset.json", "train/good/mine.tif", "empty folder/"])
def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path, name: str, force: bool) -> None:
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True)
    said = {"schema": 1, "spec": SMALL.spec.to_json(), "counts": {}, "maker": "somebody"}
    path.mkdir() if name.endswith("/") else path.write_text(json.dumps(said))
    with pytest.raises(OutputError) as caught:
        synthesize(tmp_path / "data", SMALL, force=force)
    assert name.rstrip("/") in caught.value.what
    assert path.exists()


@pytest.mark.parametrize("name", ["RUN/best.pt", "train/good/mine.tif", "ground_truth/spot/mine.png"])
def test_what_the_user_put_into_a_data_set_of_ours_is_not_lost(tmp_path: Path, name: str) -> None:
    out = synthesize(tmp_path / "data", replace(SMALL, train=1, valid=0, test=1)).out
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("work of a week")
    with pytest.raises(OutputError) as caught:
        synthesize(out, SMALL, force=True)
    assert name in caught.value.what
    assert (out / name).read_text() == "work of a week"


def test_an_empty_folder_may_be_filled_but_not_the_one_you_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    assert len(Dataset.open(synthesize(tmp_path / "data", SMALL).out).train) == 2
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputError, match="the folder you are in"):
        synthesize(Path(), SMALL)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        synthesize(tmp_path / "data", SMALL, force=True)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), MemoryError()])
def test_an_interrupted_run_leaves_nothing_new_and_the_old_data_set_whole(tmp_path: Path, interruption: BaseException) -> None:
    out = synthesize(tmp_path / "data", replace(SMALL, train=1, valid=0, test=0)).out
    before = files_of(out)

    def progress(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
        for number, item in enumerate(items):
            if number == 4:
                raise interruption
            yield item

    for folder, force in ((out, True), (tmp_path / "new", False)):
        with pytest.raises(type(interruption)):
            synthesize(folder, SMALL, force=force, progress=progress)
    assert files_of(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_full_disk_is_an_output_error_and_leaves_nothing(small_disk: Path) -> None:
    options = replace(SMALL, train=1, valid=0, test=0)
    synthesize(small_disk / "data", options)
    before = files_of(small_disk)
    for out, force in ((small_disk / "data", True), (small_disk / "more", False)):
        with pytest.raises(OutputError, match="no space left on device"):
            synthesize(out, replace(SMALL, train=40), force=force)
    assert files_of(small_disk) == before
    assert [path.name for path in small_disk.iterdir()] == ["data"]


def test_a_mounted_volume_is_told_to_hold_the_data_set(small_disk: Path) -> None:
    with pytest.raises(OutputError, match="name a new folder inside it"):
        synthesize(small_disk, replace(SMALL, train=1, valid=0, test=0))
    assert list(small_disk.iterdir()) == []
    assert [path.name for path in small_disk.parent.iterdir()] == [small_disk.name]


# What cannot be asked for.


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"train": 0}, "0 strips for train"),
        ({"valid": -1}, "-1 for valid"),
        ({"test": -1}, "-1 for test"),
        ({"seed": -1}, "seed -1"),
        ({"shift_px": -0.1}, "shift of -0.1 px"),
        ({"shift_px": 4.1}, "shift of 4.1 px"),
        ({"shift_px": float("nan")}, "shift of nan px"),
        ({"spec": StripSpec.of_size(63, 300)}, "strips of 63 x 300 px"),
    ],
)
def test_options_that_cannot_be_are_refused(change: dict[str, Any], found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(SMALL, **change)
    assert found in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize("kind", DEFECTS)
def test_the_smallest_strips_hold_every_kind(kind: str) -> None:
    for index in range(20):
        assert on_flat("test", kind, index, spec=StripSpec.of_size(64, 64)).mask.any()
