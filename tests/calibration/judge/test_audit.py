"""An audit on a small network: clean-only calibration fails, calibration with defects passes, and every fault has its rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from lineside.calibration.judge.audit import AuditOptions, audit, calibrated_on, find_model
from lineside.calibration.judge.audit_answer import Audit, ScoreEffect, TensorFit
from lineside.calibration.judge.audit_page import page_of
from lineside.calibration.judge.clipping import Reach, ReachTally, ResponseTally, clipping
from lineside.calibration.ranges.ranges import CalibrateOptions, calibrate
from lineside.calibration.ranges.sampler import SampleOptions
from lineside.calibration.ranges.table import RangesTable
from lineside.dataset import Dataset
from lineside.errors import CalibrationError, ConfigError, DatasetError
from lineside.graph.float_model import FloatModel
from lineside.spec import StripSpec

SMALL = StripSpec.of_size(100, 70, tile_px=64)
PATCHES = 16
FEW = AuditOptions(tiles=6)


def make_strips(root: Path, *, labelled: bool = True) -> Path:
    """Smooth gray strips: 6 to calibrate on, 3 good ones in test/, and 2 with a spot that has a mask."""
    rng = np.random.default_rng(0)
    for folder, count in (("train/good", 6), ("test/good", 3), *([("test/spot", 2)] if labelled else [])):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            strip = np.tile(rng.normal(120, 6, (1, 100, 70)).round(), (3, 1, 1)).astype(np.uint8)
            if folder == "test/spot":
                strip[0, 40:43, 30:33] += 70
                mask = np.zeros((100, 70), np.uint8)
                mask[40:43, 30:33] = 255
                path = root / "ground_truth" / "spot" / f"{index}_mask.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(path)
            tifffile.imwrite(root / folder / f"{index}.tif", strip, photometric="minisblack")
    return root


@pytest.fixture(scope="module")
def model(write_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return FloatModel.read(write_model(tmp_path_factory.mktemp("audit") / "strip.onnx"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(make_strips(tmp_path_factory.mktemp("smooth")), spec=SMALL)


def table_of(model: FloatModel, dataset: Dataset, **values: Any) -> RangesTable:
    return calibrate(model, dataset, CalibrateOptions(sample=SampleOptions(patches=PATCHES, **values)))


@pytest.fixture(scope="module")
def table(model: FloatModel, dataset: Dataset) -> RangesTable:
    return table_of(model, dataset)


@pytest.fixture(scope="module")
def answer(table: RangesTable, model: FloatModel, dataset: Dataset) -> Audit:
    return audit(table, model, dataset, FEW)


def test_a_table_made_with_defects_is_fit(answer: Audit) -> None:
    assert [fault.what for fault in answer.faults] == []
    assert answer.fit
    assert answer.tiles == {"good": 6, "injected": 6, "defective": 2}, "each of the two spots counts in one tile"
    assert answer.scores.tiles == 14
    assert len(answer.tensors) == 28, "what each convolution reads"
    assert max(tensor.lost for tensor in answer.tensors.values()) < 0.05
    assert answer.same_images


def test_a_table_made_of_clean_patches_is_unfit_and_called_by_its_name(model: FloatModel, dataset: Dataset) -> None:
    clean = audit(table_of(model, dataset, defects=False), model, dataset, FEW)
    assert not clean.fit
    first, second, *_ = clean.faults
    assert "clean patches alone: 0 of 16" in first.what
    assert "response to defects" in second.what
    assert "tiles" in second.tensors
    assert clean.tensors["tiles"].lost > 0.2, "bright spots of 60 to 80 gray levels lie outside of a surface of 120, dark ones do not"
    assert "--method" not in clean.fix
    assert clean.to_json()["fit"] is False


def test_the_numbers_are_those_of_the_tiles(answer: Audit, table: RangesTable, dataset: Dataset) -> None:
    """The tiles themselves are a tensor whose values are known."""
    tiles = answer.tensors["tiles"]
    assert tiles.amax == table.tensors["tiles"].high
    labelled = max(float(tifffile.imread(path).max()) for path in (dataset.root / "test" / "spot").iterdir()) / 255
    assert tiles.defective is not None
    assert tiles.defective.peak == pytest.approx(labelled / tiles.amax)
    assert (tiles.channels, tiles.dead_channels) == (3, 0)
    assert tiles.good.peak < tiles.injected.peak


def test_without_labelled_defects_synthetic_ones_are_enough(model: FloatModel, tmp_path: Path) -> None:
    dataset = Dataset.open(make_strips(tmp_path / "data", labelled=False), spec=SMALL)
    answer = audit(table_of(model, dataset), model, dataset, FEW)
    assert answer.tiles["defective"] == 0
    assert all(tensor.defective is None for tensor in answer.tensors.values())
    assert "labelled" in page_of(answer, tmp_path / "a.ranges.json")


def test_an_audit_needs_strips_that_calibration_did_not_see(
    model: FloatModel, table: RangesTable, dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "train").symlink_to(dataset.root / "train")
    with pytest.raises(DatasetError, match="has seen all 6 good strips"):
        audit(table, model, Dataset.open(tmp_path, spec=SMALL), FEW)


def test_images_that_changed_since_are_named_and_another_data_set_is_told_apart(
    table: RangesTable, model: FloatModel, dataset: Dataset, tmp_path: Path
) -> None:
    assert calibrated_on(table, dataset.root)
    other = make_strips(tmp_path / "data")
    assert calibrated_on(table, other), "the same bytes elsewhere"
    for index in range(6):
        path = other / "train" / "good" / f"{index}.tif"
        path.write_bytes((other / "test" / "spot" / "1.tif").read_bytes())
        if index == 2:
            with pytest.raises(CalibrationError, match=r"3 of the 6 images .* have changed, the first train/good/0.tif"):
                calibrated_on(table, other)
    assert not calibrated_on(table, other)
    answer = audit(table, model, Dataset.open(other, spec=SMALL), FEW)
    assert not answer.same_images


def test_the_model_is_found_beside_the_table_or_in_the_current_folder(
    table: RangesTable, model: FloatModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_model(model.path.parent / "strip.ranges.json", table).path == model.path
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CalibrationError, match=r"--model strip.onnx"):
        find_model(tmp_path / "strip.ranges.json", table)
    assert find_model(tmp_path / "strip.ranges.json", table, model.path).path == model.path
    (tmp_path / "strip.onnx").write_bytes(model.path.read_bytes())
    assert find_model(Path("tables/strip.ranges.json"), table).path == Path("strip.onnx")
    with pytest.raises(CalibrationError, match="another model"):
        find_model(tmp_path / "a.json", replace(table, network_sha256="0" * 64))


def fit_of(**values: Any) -> TensorFit:
    fine = Reach(peak=0.9, outside=0.0)
    usual = {"amax": 2.0, "good": fine, "injected": fine, "defective": fine, "lost": 0.0, "moved": 1.0, "channels": 8, "dead_channels": 0}
    return TensorFit(**{**usual, **values})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"lost": 0.2}, "response to defects"),
        ({"good": Reach(peak=3.0, outside=0.05)}, "saturated on good strips"),
        ({"moved": 2.0, "lost": 0.02}, "another seed"),
        ({"moved": 0.2}, "another seed"),
    ],
)
def test_a_tensor_that_breaks_a_rule_is_listed_with_it(answer: Audit, values: dict[str, Any], named: str) -> None:
    broken = replace(answer, tensors={"fine": fit_of(), "broken": fit_of(**values)})
    (fault,) = broken.faults
    assert named in fault.what
    assert fault.tensors == ("broken",)


def test_a_defect_that_reaches_beyond_the_range_is_no_fault_while_little_of_it_is_lost(answer: Audit) -> None:
    """A large blob saturates and is still found."""
    assert replace(answer, tensors={"a": fit_of(defective=Reach(peak=6.0, outside=0.02), lost=0.01)}).fit


@pytest.mark.parametrize("moved", [0.4, 2.0])
def test_a_range_that_moves_at_no_cost_is_a_remark(answer: Audit, moved: float) -> None:
    """The largest of the few values of a deep layer differs from sample to sample; what lies beyond it counts."""
    moving = replace(answer, tensors={"fine": fit_of(), "deep": fit_of(moved=moved, lost=0.005)})
    assert moving.fit
    assert [remark.endswith("naming: deep") for remark in moving.remarks] == [True]
    assert moving.to_json()["remarks"] == list(moving.remarks)


def test_flipped_scores_are_a_fault(answer: Audit) -> None:
    flipping = replace(answer, scores=ScoreEffect(tiles=100, flipped=5, mean_change=0.1, max_change=0.9))
    assert "5 of 100 tiles" in flipping.faults[0].what


def test_the_fix_is_computed_from_what_is_wrong(answer: Audit) -> None:
    flipping = replace(answer, scores=ScoreEffect(tiles=10, flipped=5, mean_change=0.1, max_change=0.9))
    assert flipping.fix.endswith(f"--patches {2 * PATCHES}")
    assert replace(flipping, table=replace(answer.table, method="entropy")).fix.endswith("--method minmax")
    assert replace(flipping, same_images=False).fix.endswith("NEW.ranges.json")


def test_reach_and_response_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    clean, defective = rng.normal(0, 1, (2, 6, 3, 8, 8)).astype(np.float32)
    clean[:, 1] = defective[:, 1] = 0
    reach, response = ReachTally(1.5), ResponseTally(1.5)
    for rows in (slice(0, 2), slice(2, 6)):
        reach.add(defective[rows])
        response.add(clean[rows], defective[rows])
    assert reach.reach is not None
    assert reach.reach.peak == pytest.approx(np.abs(defective).max() / 1.5)
    assert reach.reach.outside == pytest.approx(np.mean(np.abs(defective) > 1.5))
    assert np.flatnonzero(reach.channels == 0).tolist() == [1]
    whole = ((defective - clean) ** 2).sum()
    kept = ((np.clip(defective, -1.5, 1.5) - np.clip(clean, -1.5, 1.5)) ** 2).sum()
    assert response.lost == pytest.approx(1 - kept / whole, rel=1e-4)
    assert ResponseTally(1.0).lost == 0.0
    assert ReachTally(1.0).reach is None


def test_the_clipping_model_holds_every_tensor_within_its_range(model: FloatModel) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    name = "encoder.0.convs.0.relu"
    tiles = {"tiles": np.random.default_rng(0).uniform(0, 1, (2, 3, 64, 64)).astype(np.float32)}

    def run(proto: Any, *outputs: str) -> list[Any]:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        return list(session.run(list(outputs), tiles))

    patch = model.network.patch_model((name, "logits"))
    exact, logits = run(patch, name, "logits")
    (same,) = run(clipping(patch, {name: float(exact.max())}), "logits")
    np.testing.assert_allclose(same, logits, atol=1e-5)
    limit = float(exact.max()) / 2
    (cut,) = run(clipping(patch, {"tiles": 0.5, name: limit}), "logits")
    assert np.abs(cut - logits).max() > 1e-3
    halved = {"tiles": np.minimum(tiles["tiles"], 0.5)}
    session = onnxruntime.InferenceSession(patch.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(run(clipping(patch, {"tiles": 0.5}), "logits")[0], session.run(["logits"], halved)[0], atol=1e-5)


class Page(HTMLParser):
    """Checks that every element is closed, and collects tags and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_needs_no_other_file(answer: Audit) -> None:
    text = page_of(replace(answer, dataset="<b>&"), Path("strip.ranges.json"))
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"script", "link", "img", "iframe", "b"}
    assert not page.attributes & {"src", "href"}
    assert "http" not in text
    assert "nan" not in text
    assert 'name="viewport"' in text
    for name in (*answer.tensors, "<b>&", answer.table.sha256):
        assert name in page.text


def test_the_page_of_an_unfit_table_names_faults_and_fix(answer: Audit) -> None:
    unfit = replace(answer, tensors={**answer.tensors, "tiles": fit_of(lost=0.5, defective=None)})
    text = Page(page_of(unfit, Path("strip.ranges.json"))).text
    assert "unfit" in text
    assert unfit.faults[0].what in text
    assert unfit.fix in text


@pytest.mark.parametrize("tiles", [0, 2])
def test_too_few_tiles_are_no_audit(tiles: int) -> None:
    with pytest.raises(ConfigError, match="--tiles 64"):
        AuditOptions(tiles=tiles)
