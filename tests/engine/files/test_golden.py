"""Golden strips: written, read, and an engine that answers otherwise is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from lineside import ModelError, StripError
from lineside.engine.builder.golden_strips import choose, golden_strips
from lineside.engine.files.golden import (
    GoldenStrip,
    digest,
    golden_bytes,
    golden_file,
    golden_path,
    read_golden,
    refuse_other_answers,
)
from lineside.engine.files.sidecar import EngineManifest, GoldenFile

Heat = Callable[[NDArray[Any]], NDArray[np.float32]]
SidecarOf = Callable[..., EngineManifest]


@pytest.fixture
def golden(models: Path, strip: NDArray[np.uint8], tmp_path: Path) -> tuple[GoldenStrip, ...]:
    pytest.importorskip("onnxruntime", reason="it gives the reference")
    tifffile.imwrite(tmp_path / "one.tif", strip, photometric="minisblack")
    tifffile.imwrite(tmp_path / "two.tif", np.full_like(strip, 90), photometric="minisblack")
    return golden_strips(models / "raw.onnx", (tmp_path / "one.tif", tmp_path / "two.tif"))


def write_golden(engine: Path, data: bytes) -> GoldenFile:
    golden_path(engine).write_bytes(data)
    return golden_file(engine, data)


def test_three_strips_are_chosen_from_the_first_to_the_last() -> None:
    paths = [Path(f"{index}.tif") for index in range(10)]
    assert [path.stem for path in choose(paths)] == ["0", "4", "9"]
    assert choose(paths[:2]) == tuple(paths[:2])
    assert choose(()) == ()


def test_a_digest_is_the_largest_heat_of_each_block() -> None:
    heat = np.zeros((40, 33), np.float32)
    heat[39, 32], heat[0, 0] = 0.5, 0.25
    expected = np.zeros((3, 3), np.float32)
    expected[2, 2], expected[0, 0] = 0.5, 0.25
    np.testing.assert_array_equal(digest(heat), expected)


def test_the_reference_is_what_the_onnx_file_answers(golden: tuple[GoldenStrip, ...], strip: NDArray[np.uint8], heat_of: Heat) -> None:
    assert [one.name for one in golden] == ["one.tif", "two.tif"]
    assert golden[0].score == pytest.approx(heat_of(strip).max(), abs=1e-6)
    np.testing.assert_allclose(golden[0].digest, digest(heat_of(strip)), atol=1e-6)
    assert golden[1].score == 0


def test_what_was_written_is_read(golden: tuple[GoldenStrip, ...], sidecar_of: SidecarOf, tmp_path: Path, strip: NDArray[np.uint8]) -> None:
    engine = tmp_path / "strip.engine"
    file = write_golden(engine, golden_bytes(golden))
    assert file.name == "strip.engine.golden.npz"
    read = read_golden(engine, sidecar_of(golden=file))
    assert [(one.name, one.score) for one in read] == [(one.name, one.score) for one in golden]
    np.testing.assert_array_equal(read[0].strip, strip)
    np.testing.assert_array_equal(read[0].digest, golden[0].digest)
    assert read_golden(engine, sidecar_of()) == ()


def test_other_golden_strips_than_the_sidecars_are_refused(golden: tuple[GoldenStrip, ...], sidecar_of: SidecarOf, tmp_path: Path) -> None:
    engine = tmp_path / "strip.engine"
    file = write_golden(engine, golden_bytes(golden))
    golden_path(engine).write_bytes(golden_bytes(golden[:1]))
    with pytest.raises(ModelError, match="not the golden strips"):
        read_golden(engine, sidecar_of(golden=file))
    golden_path(engine).unlink()
    with pytest.raises(ModelError, match="no such file") as error:
        read_golden(engine, sidecar_of(golden=file))
    assert "lineside build" in error.value.fix


def test_a_damaged_file_is_one_error_even_when_its_sum_is_right(sidecar_of: SidecarOf, tmp_path: Path) -> None:
    engine = tmp_path / "strip.engine"
    for data in (b"", b"PK\x03\x04 and no more"):
        with pytest.raises(ModelError, match="damaged"):
            read_golden(engine, sidecar_of(golden=write_golden(engine, data)))


def test_an_engine_that_answers_otherwise_is_refused(golden: tuple[GoldenStrip, ...], heat_of: Heat) -> None:
    def right(strip: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        heat = heat_of(strip)
        return heat, float(heat.max())

    def blind(strip: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        return np.zeros(strip.shape[1:], np.float32), 0.0

    def nan(strip: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        return np.full(strip.shape[1:], np.nan, np.float32), float("nan")

    path = Path("strip.engine")
    assert refuse_other_answers(golden, right, path=path) < 1e-6
    for wrong in (blind, nan):
        with pytest.raises(ModelError, match="golden strip one"):
            refuse_other_answers(golden, wrong, path=path)
    resized = (dataclasses.replace(golden[0], digest=np.zeros((1, 1), np.float32)),)
    with pytest.raises(ModelError):
        refuse_other_answers(resized, right, path=path)


def test_a_strip_of_another_model_is_refused(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="it gives the reference")
    tifffile.imwrite(tmp_path / "other.tif", np.zeros((3, 32, 32), np.uint8), photometric="minisblack")
    with pytest.raises(StripError):
        golden_strips(models / "raw.onnx", (tmp_path / "other.tif",))
