"""Which layers INT8 hurts: a network set by hand, and a table that cuts off what one of its layers reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnxruntime
import pytest

from lineside.calibration.judge.sensitivity import Damage, Sensitivity, SensitivityOptions, measure_sensitivity
from lineside.calibration.place.quantize import QuantizeOptions, quantized
from lineside.calibration.ranges.ranges import CalibrateOptions, calibrate
from lineside.calibration.ranges.sampler import SampleOptions
from lineside.calibration.ranges.table import RangesTable
from lineside.dataset import Dataset, Sample
from lineside.errors import CalibrationError, ConfigError, ModelError
from lineside.graph.float_model import FloatModel
from lineside.reader import read_strip
from lineside.spec import StripSpec

T = TypeVar("T")
SPEC = StripSpec.of_size(100, 70, tile_px=64)
CUT = "encoder.0.convs.0.relu"
"""Read by one layer alone."""
HURT = "encoder.0.convs.1.conv"


@pytest.fixture(scope="module")
def model(write_model: Callable[..., Path], detector: Any, tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return FloatModel.read(write_model(tmp_path_factory.mktemp("model") / "detector.onnx", network=detector))


@pytest.fixture(scope="module")
def table(model: FloatModel, labelled: Path) -> RangesTable:
    return calibrate(model, Dataset.open(labelled, spec=SPEC), CalibrateOptions(sample=SampleOptions(patches=16)))


@pytest.fixture(scope="module")
def cut_table(table: RangesTable) -> RangesTable:
    """The detector sees differences of up to 0.01 alone."""
    tensor = replace(table.tensors[CUT], high=0.01, amax=dict.fromkeys(table.tensors[CUT].amax, 0.01))
    return replace(table, tensors={**table.tensors, CUT: tensor})


@pytest.fixture(scope="module")
def samples(labelled: Path) -> tuple[Sample, ...]:
    return Dataset.open(labelled, spec=SPEC).test


@pytest.fixture(scope="module", params=["tensorrt", "onnxruntime"])
def cut(request: Any, model: FloatModel, cut_table: RangesTable, samples: tuple[Sample, ...]) -> Sensitivity:
    return measure_sensitivity(model, cut_table, samples, SensitivityOptions(target=request.param, tiles=12))


def test_the_layer_whose_range_is_cut_comes_first(cut: Sensitivity) -> None:
    worst = cut.layers[0]
    # under ONNX Runtime's rules the layer before gives that tensor as integers and suffers alike
    assert worst.name == HURT or (cut.target == "onnxruntime" and worst.name == "encoder.0.convs.0.conv")
    assert worst.alone.heat > 10 * cut.layers[2].alone.heat
    assert len(cut.layers) == 28
    assert sum(layer.share for layer in cut.layers) == pytest.approx(1)


def test_a_defect_that_is_lost_costs_its_heat_and_its_margin(cut: Sensitivity) -> None:
    worst = next(layer for layer in cut.layers if layer.name == HURT)
    assert worst.alone.defective is not None
    # a difference of 60 grey levels: logit 60 * 60 / 255 - 6 = 8.1, heat 0.9997; cut to 0.01 it is at most sigmoid(0.6 - 6) = 0.0045
    assert worst.alone.defective == pytest.approx(0.995, abs=0.003)
    assert worst.alone.good == pytest.approx(0, abs=1e-3)
    assert worst.alone.heat == pytest.approx(worst.alone.defective / 2, abs=1e-3)
    assert worst.alone.margin == pytest.approx(worst.alone.defective / 2, abs=1e-3)  # half of the tiles are defective


def test_leaving_that_layer_out_mends_the_network(model: FloatModel, cut_table: RangesTable, samples: tuple[Sample, ...]) -> None:
    found = measure_sensitivity(model, cut_table, samples, SensitivityOptions(target="tensorrt", tiles=12))
    without = {layer.name: layer.without for layer in found.layers}
    assert found.everything.heat > 0.4
    assert without[HURT] is not None
    assert without[HURT].heat < 0.02
    assert all(damage is not None and damage.heat > 0.4 for name, damage in without.items() if name != HURT)


@pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
def test_the_damage_is_that_of_the_written_graph(model: FloatModel, table: RangesTable, samples: tuple[Sample, ...], target: Any) -> None:
    """All tiles of the good strips, so that the stitched heatmaps of the whole INT8 model say the same."""
    good = [sample for sample in samples if not sample.defective]
    found = measure_sensitivity(model, table, good, SensitivityOptions(target=target, tiles=1000, leave_one_out=False))
    options = QuantizeOptions(target=target, rest="fp32", first_and_last=True)
    changes = []
    for sample in good:
        given = {"input": read_strip(sample.path, SPEC)[np.newaxis, :3].astype(np.float32) / np.float32(255)}
        heat = [run(proto, given) for proto in (model.network.model, quantized(model.network.model, table, options, path=model.path))]
        change = np.abs(heat[0] - heat[1])
        changes += [change[tile.rows.kept, tile.columns.kept].max() for tile in SPEC.grid.tiles]
    assert found.good_tiles == len(changes)
    assert found.everything.good == pytest.approx(np.mean(changes), rel=1e-3)
    assert found.everything.defective is None
    assert found.everything.heat == found.everything.good


def run(proto: onnx.ModelProto, given: dict[str, Any]) -> Any:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, given)[0][0, 0]


def test_half_the_networks_are_tried_when_nothing_is_left_out(model: FloatModel, table: RangesTable, samples: tuple[Sample, ...]) -> None:
    heard: list[int] = []

    def progress(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
        heard.append(total)
        return items

    options = SensitivityOptions(target="tensorrt", tiles=2, leave_one_out=False)
    found = measure_sensitivity(model, table, samples, options, progress=progress)
    assert heard == [1 + 28]
    assert all(layer.without is None for layer in found.layers)


def test_json_holds_every_layer(cut: Sensitivity) -> None:
    value = json.loads(json.dumps(cut.to_json(), allow_nan=False))
    assert (value["schema"], value["defective_tiles"] + value["good_tiles"], len(value["layers"])) == (1, 12, 28)
    assert set(value["layers"][0]["alone"]) == {"defective", "good", "margin"}


def test_damage_of_tiles_of_one_class_is_that_class() -> None:
    assert Damage(defective=None, good=0.2, margin=0).heat == pytest.approx(0.2)
    assert Damage(defective=0.4, good=0.2, margin=0).heat == pytest.approx(0.3)


def test_the_table_of_another_model_is_refused(
    write_model: Callable[..., Path], table: RangesTable, samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    other = FloatModel.read(write_model(tmp_path / "other.onnx"))
    with pytest.raises(CalibrationError, match="of another model"):
        measure_sensitivity(other, table, samples, SensitivityOptions(target="tensorrt"))


def test_an_opset_without_scales_per_channel_is_refused(
    write_model: Callable[..., Path], detector: Any, table: RangesTable, samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    old = FloatModel.read(write_model(tmp_path / "old.onnx", network=detector, opset=12))
    with pytest.raises(ModelError, match="opset 12"):
        measure_sensitivity(old, table, samples, SensitivityOptions(target="tensorrt"))


@pytest.mark.parametrize("values", [{"tiles": 1}, {"tiles": 0}, {"seed": -1}])
def test_options_that_cannot_be_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SensitivityOptions(target="tensorrt", **values)
