"""The file of ranges: what is written is what is read, and only that."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.ranges.table import HistogramSummary, Patch, RangesTable, TensorRange, network_sha256
from lineside.errors import CalibrationError, ConfigError
from lineside.graph.float_model import FloatModel
from lineside.spec import PRESETS


def tensor(amax: float) -> TensorRange:
    return TensorRange(
        low=-0.25,
        high=amax,
        amax={"minmax": amax, "entropy": amax / 2, "percentile": amax / 3},
        clipped={"minmax": 0.0, "entropy": 0.125, "percentile": 1e-4},
        histogram=HistogramSummary(limit=8.0, zeros=3, counts=(5, 0, 1)),
    )


TABLE = RangesTable(
    model="strip.onnx",
    network_sha256="a" * 64,
    weights_sha256="b" * 64,
    spec=PRESETS["strip"],
    method="entropy",
    percentile=99.99,
    seed=7,
    tensors={"tiles": tensor(1.0), "logits": tensor(1 / 3), "dead": replace(tensor(0.01), low=0.0, high=0.0)},
    patches=(
        Patch(file="train/good/ä.tif", row=0, column=1, defects=None),
        Patch(file="train/good/ä.tif", row=8, column=0, defects=12345),
    ),
    images={"train/good/ä.tif": "c" * 64},
    versions={"lineside": "0.1.0"},
)


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "strip.ranges.json"
    TABLE.write(path)
    assert RangesTable.read(path) == TABLE
    assert RangesTable.read(path).sha256 == TABLE.sha256 == json.loads(path.read_text())["sha256"]


def test_it_answers_by_base_name_and_by_the_method_that_was_chosen() -> None:
    assert TABLE.amax("logits") == TABLE.amax("logits@17") == 1 / 3 / 2
    assert replace(TABLE, method="percentile").amax("tiles") == 1 / 3
    assert TABLE.dead == ("dead",)
    assert TABLE.with_defects == 1


def test_every_tensor_patch_and_image_has_a_line_of_its_own(tmp_path: Path) -> None:
    TABLE.write(tmp_path / "a.json")
    changed = replace(TABLE, tensors={**TABLE.tensors, "logits": tensor(0.5)})
    changed.write(tmp_path / "b.json")
    lines = [(tmp_path / name).read_text().splitlines() for name in ("a.json", "b.json")]
    differing = [before for before, after in zip(*lines, strict=True) if before != after]
    assert len(differing) == 2, "the digest and the tensor"
    assert '"logits": {"low"' in differing[1]
    assert sum('"file"' in line for line in lines[0]) == 2


@pytest.mark.parametrize(("old", "new"), [('"high": 1.0', '"high": 2.0'), ('"seed": 7', '"seed": 8'), ('"defects": 12345', '"defects": 1')])
def test_a_number_changed_by_hand_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "strip.ranges.json"
    TABLE.write(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(CalibrationError, match="changed after it was made"):
        RangesTable.read(path)


def test_formatting_it_anew_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "strip.ranges.json"
    TABLE.write(path)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4, sort_keys=True))
    assert RangesTable.read(path) == TABLE


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "not JSON"),
        (b"\x89PNG\xff", "not JSON"),
        (b"[1, 2]", "did not write it"),
        (b'{"kind": "something else", "schema": 1}', "did not write it"),
        (b'{"kind": "lineside ranges", "schema": 2}', "reads schema 1"),
        (b'{"kind": "lineside ranges", "schema": 1, "sha256": "0"}', "changed after"),
    ],
)
def test_what_is_not_a_table_of_this_schema_is_refused(tmp_path: Path, content: bytes, named: str) -> None:
    path = tmp_path / "strip.ranges.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=named):
        RangesTable.read(path)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="lineside calibrate"):
        RangesTable.read(tmp_path / "missing.json")


@pytest.mark.parametrize("missing", ["spec", "tensors", "patches", "seed"])
def test_a_table_with_a_right_digest_and_a_missing_part_is_refused(tmp_path: Path, missing: str) -> None:
    """Another program may have written it."""
    from lineside.calibration.ranges.table import _digest

    path = tmp_path / "strip.ranges.json"
    value = json.loads(json.dumps(TABLE.to_json()))
    content = {key: entry for key, entry in value.items() if key not in ("kind", "schema", "sha256", missing)}
    path.write_text(json.dumps({"kind": value["kind"], "schema": 1, "sha256": _digest(content), **content}))
    with pytest.raises(CalibrationError, match="damaged"):
        RangesTable.read(path)


@pytest.mark.parametrize("amax", [0.0, -1.0, float("nan")])
def test_a_range_that_is_not_above_zero_cannot_be(amax: float) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        replace(tensor(1.0), amax={"minmax": amax, "entropy": 1.0, "percentile": 1.0})


@pytest.fixture
def network(write_model: Callable[..., Path], tmp_path: Path) -> Any:
    return FloatModel.read(write_model(tmp_path / "model.onnx")).network


def test_the_networks_digest_is_that_of_its_weights_alone(write_model: Callable[..., Path], network: Any, tmp_path: Path) -> None:
    for form in ({"tiling": "unrolled"}, {"tiling": "full", "io": "raw"}, {"opset": 11}):
        assert network_sha256(FloatModel.read(write_model(tmp_path / "other.onnx", **form)).network) == network_sha256(network)


def test_a_table_refuses_another_model_and_says_how_to_make_its_own(
    write_model: Callable[..., Path], lively_network: Any, network: Any, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    table = replace(TABLE, network_sha256=network_sha256(network))
    table.refuse_other(network, path=path)
    with pytest.raises(CalibrationError, match=r"lineside calibrate .*model.onnx DATASET"):
        TABLE.refuse_other(network, path=path)
    bias = next(tensor for tensor in network.model.graph.initializer if tensor.name == "logits.bias")
    values = np.frombuffer(bias.raw_data, np.float32).copy()
    values[1] = np.nextafter(values[1], np.float32(9))
    bias.raw_data = values.tobytes()
    with pytest.raises(CalibrationError, match="another model"):
        table.refuse_other(network, path=path)
