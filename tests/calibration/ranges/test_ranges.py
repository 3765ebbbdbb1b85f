"""Ranges against numpy, and the pass that collects them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.ranges.histogram import BINS, Histogram
from lineside.calibration.ranges.ranges import (
    DEAD_AMAX,
    CalibrateOptions,
    bins_by_entropy,
    bins_by_percentile,
    calibrate,
    measure,
    tensor_range,
)
from lineside.calibration.ranges.sampler import SampleOptions, read_patches
from lineside.calibration.ranges.table import METHODS, RangesTable
from lineside.dataset import Dataset
from lineside.errors import CalibrationError, ConfigError, DatasetError
from lineside.graph.float_model import FloatModel
from lineside.spec import StripSpec

SMALL = StripSpec.of_size(100, 70, tile_px=64)


@pytest.fixture(scope="module")
def model(write_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return FloatModel.read(write_model(tmp_path_factory.mktemp("model") / "model.onnx"))


@pytest.fixture(scope="module")
def dataset(strips: Path) -> Dataset:
    return Dataset.open(strips, spec=SMALL)


@pytest.fixture(scope="module")
def table(model: FloatModel, dataset: Dataset) -> RangesTable:
    return calibrate(model, dataset, options())


def options(patches: int = 12, **values: Any) -> CalibrateOptions:
    return CalibrateOptions(sample=SampleOptions(patches=patches, **values))


def histogram_of(values: object) -> Histogram:
    histogram = Histogram()
    histogram.add(np.asarray(values, np.float32))
    return histogram


def test_the_ranges_are_those_of_the_values_that_pytorch_computes(lively_network: Any, table: RangesTable, strips: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is what the ranges are compared with")
    tiles = np.stack([pixels for _, pixels in read_patches(table.patches, strips, SMALL)])
    seen: dict[str, Any] = {}
    block = lively_network.encoder[0].convs[0]  # conv, batch norm, ReLU
    block.register_forward_hook(lambda *call: seen.update(relu=call[2]))
    with torch.inference_mode():
        seen["logits"] = lively_network(torch.from_numpy(tiles))
    for name, values in (("tiles", tiles), ("encoder.0.convs.0.relu", seen["relu"].numpy()), ("logits", seen["logits"].numpy())):
        found = table.tensors[name]
        # float32 rounding: batch norms are folded in the file, and PyTorch sums in another order
        np.testing.assert_allclose([found.low, found.high], [values.min(), values.max()], rtol=1e-4, atol=1e-5)
        magnitudes = np.abs(values[values != 0])
        for method, amax in found.amax.items():
            assert abs(np.mean(np.abs(values) > amax) - found.clipped[method]) < 1e-4
        np.testing.assert_allclose(found.amax["minmax"], magnitudes.max(), rtol=1e-4)
        np.testing.assert_allclose(found.amax["percentile"], np.percentile(magnitudes, 99.99), rtol=0.02)  # two bins, few values
    assert len(table.tensors) == 1 + 28 + 27 + 5 + 5 + 5, "tiles, and what convolutions, ReLUs, pools, resizes and concats make"


def test_the_same_patches_give_the_same_table_and_a_table_can_be_replayed(model: FloatModel, dataset: Dataset, table: RangesTable) -> None:
    assert calibrate(model, dataset, options()) == table
    assert measure(model, read_patches(table.patches, dataset.root, SMALL)) == table.tensors
    assert calibrate(model, dataset, options(seed=1)).tensors != table.tensors


@pytest.mark.parametrize("form", [{"tiling": "unrolled"}, {"tiling": "full"}, {"io": "raw", "raw_dtype": "uint8"}, {"opset": 11}], ids=str)
def test_every_form_of_a_model_gives_the_same_table(
    write_model: Callable[..., Path], dataset: Dataset, table: RangesTable, tmp_path: Path, form: dict[str, Any]
) -> None:
    assert calibrate(FloatModel.read(write_model(tmp_path / "model.onnx", **form)), dataset, options()) == table


def test_batches_of_any_size_give_the_same_ranges(
    model: FloatModel, dataset: Dataset, table: RangesTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lineside.calibration.ranges.activations.BATCH_BYTES", 0)
    one_by_one = calibrate(model, dataset, options())
    for name, tensor in table.tensors.items():
        # ONNX Runtime may sum a batch in another order than a single tile
        np.testing.assert_allclose(tensor.high, one_by_one.tensors[name].high, rtol=1e-5)


def test_defects_reach_further_than_clean_patches(model: FloatModel, dataset: Dataset, table: RangesTable) -> None:
    clean = calibrate(model, dataset, options(defects=False))
    assert (table.with_defects, clean.with_defects) == (6, 0)
    assert table.tensors["tiles"].high > clean.tensors["tiles"].high == np.float32(199 / 255)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_zeros_gets_a_small_range_and_is_called_dead(method: Any) -> None:
    tensor = tensor_range(histogram_of(np.zeros(100)))
    assert tensor.dead
    assert tensor.amax[method] == DEAD_AMAX > 0
    assert tensor.clipped[method] == 0
    assert float(np.float16(DEAD_AMAX / 127)) == DEAD_AMAX / 127 == float(np.finfo(np.float16).tiny)


@pytest.mark.parametrize("percentile", [50.0, 99.0, 99.99, 100.0])
def test_a_percentile_keeps_that_share_of_the_values_that_are_not_zero(percentile: float) -> None:
    values = np.random.default_rng(0).uniform(0, 1, 50_000)
    histogram = histogram_of(np.concatenate([values, np.zeros(1_000_000)]))
    amax = bins_by_percentile(histogram.counts, percentile) * histogram.limit / BINS
    assert 0 <= amax - np.percentile(values, percentile) <= 2 / BINS


def test_minmax_is_exact_and_clips_nothing() -> None:
    tensor = tensor_range(histogram_of([-3.3, 0.0, 1.7]))
    assert tensor.amax["minmax"] == np.float32(3.3)
    assert tensor.clipped["minmax"] == 0


def test_entropy_keeps_evenly_spread_values_whole() -> None:
    histogram = histogram_of(np.random.default_rng(0).uniform(-1, 1, 200_000))
    assert bins_by_entropy(histogram.counts) > 0.98 * BINS


def test_entropy_cuts_off_a_lone_outlier() -> None:
    values = np.abs(np.random.default_rng(0).normal(0, 1, 500_000))
    tensor = tensor_range(histogram_of(np.append(values, 100.0)))
    assert values.max() / 2 < tensor.amax["entropy"] < 8 < tensor.amax["minmax"] == 100


def test_entropy_does_not_clip_all_values_of_a_comb_to_one() -> None:
    """Grey levels of bytes, none of them dark: a range below all but one would look perfect."""
    levels = np.random.default_rng(0).normal(150, 20, 100_000).round().clip(60, 240)
    assert tensor_range(histogram_of(levels / 255)).amax["entropy"] > 0.7


def test_entropy_is_the_least_divergence_written_out() -> None:
    """TensorRT's procedure, bin by bin, on a histogram of 512 bins."""
    rng = np.random.default_rng(3)
    counts = np.bincount(np.minimum(511, np.abs(rng.standard_t(2.5, 20_000) * 60).astype(int)), minlength=512)

    def divergence(end: int) -> float:
        reference = [float(count) for count in counts[:end]]
        reference[-1] += sum(counts[end:])
        expanded = [0.0] * end
        for level in range(128):
            bins = [bin_ for bin_ in range(end) if bin_ * 128 // end == level and counts[bin_]]
            for bin_ in bins:
                expanded[bin_] = sum(counts[other] for other in bins) / len(bins)
        p, q = np.array(reference) / sum(reference), np.array(expanded) / sum(expanded)
        return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a))

    ends = [end for end in range(128, 513) if counts[end - 1] and counts[:end].sum() >= counts.sum() / 2]
    found = bins_by_entropy(counts)
    assert found in ends
    # some of the ends are tried, so the best of those is compared
    assert divergence(found) == pytest.approx(min(divergence(end) for end in [*ends[:: -(-len(ends) // 128)], ends[-1]]))


def test_nan_names_the_tensor_and_the_patch(write_model: Callable[..., Path], dataset: Dataset, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = write_model(tmp_path / "model.onnx")
    proto = onnx.load(str(path))
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "encoder.1.convs.0.conv.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, np.nan, np.float32), bias.name))
    onnx.save(proto, str(path))
    with pytest.raises(CalibrationError, match=r"train/good/0.tif: encoder.1.convs.0.conv holds NaN .* row \d, column \d"):
        calibrate(FloatModel.read(path), dataset, options())


def test_a_data_set_without_good_strips_is_refused(model: FloatModel, tmp_path: Path) -> None:
    (tmp_path / "train" / "good").mkdir(parents=True)
    with pytest.raises(DatasetError, match="put good strips into"):
        calibrate(model, Dataset.open(tmp_path, spec=SMALL), options())


@pytest.mark.parametrize(
    ("values", "named"), [({"method": "median"}, "minmax, entropy"), ({"percentile": 0.9999}, "99.99"), ({"percentile": 101.0}, "99.99")]
)
def test_options_that_cannot_be_are_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        CalibrateOptions(**values)
