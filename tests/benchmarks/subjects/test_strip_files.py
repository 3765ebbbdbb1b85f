"""Reading is a stage of its own: strips from files, each read inside the call."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.benchmarks.bench.bench import bench
from lineside.benchmarks.bench.bench_options import BenchOptions
from lineside.benchmarks.bench.measurement import Measurement
from lineside.benchmarks.bench.report import stage_cells
from lineside.benchmarks.subjects.cases import Axes
from lineside.benchmarks.subjects.strip_files import LEAST, MOST, StripFolder
from lineside.errors import ConfigError, LinesideError, StripError
from lineside.reader import read_strip
from lineside.spec import PRESETS, StripSpec

MODELS = Path(__file__).parents[2] / "engine" / "models"
SPEC = StripSpec(height_px=64, width_px=96, tile_px=32, rows=3, columns=4)
WriteStrips = Callable[..., Path]


def quick(strips: Path, *names: str, axes: Axes = Axes(threads=(1,)), seconds: float = 0.2) -> Measurement:
    options = BenchOptions(seconds=seconds, warm_up_seconds=0.05, loads=2, cold=False, strips=strips)
    return bench([MODELS / f"{name}.onnx" for name in names], axes, options)


def test_files_come_in_turn_and_the_time_of_reading_is_kept(write_strips: WriteStrips, tmp_path: Path) -> None:
    folder = StripFolder.find(write_strips(tmp_path / "strips", LEAST))
    files = folder.strips(SPEC)
    for index in (0, 1, LEAST - 1, LEAST, 5 * LEAST + 2):
        before_ns = files.read_ns
        assert np.array_equal(files.take(index), read_strip(folder.paths[index % LEAST], SPEC))
        assert files.read_ns > before_ns


def test_of_many_files_some_are_taken_over_the_whole_length(write_strips: WriteStrips, tmp_path: Path) -> None:
    paths = StripFolder.find(write_strips(tmp_path, 3 * MOST)).paths
    assert len(paths) == MOST
    assert [path.name for path in paths[:2]] == ["000.tif", "003.tif"]
    assert paths[-1].name == f"{3 * MOST - 3:03d}.tif"


def test_copies_of_a_file_are_one_and_too_few_different_ones_are_refused(write_strips: WriteStrips, tmp_path: Path) -> None:
    folder = write_strips(tmp_path / "strips", LEAST - 1)
    for copy in range(5):
        shutil.copy(folder / "000.tif", folder / f"copy{copy}.tif")
    with pytest.raises(ConfigError, match=f"{LEAST - 1} different strips .{LEAST + 4} files") as caught:
        StripFolder.find(folder)
    assert str(LEAST) in caught.value.fix


def test_masks_are_no_strips(write_strips: WriteStrips, tmp_path: Path) -> None:
    write_strips(tmp_path / "test" / "good", LEAST)
    write_strips(tmp_path / "ground_truth" / "spot", LEAST + 1, size=(32, 32))
    assert {path.parent.name for path in StripFolder.find(tmp_path).paths} == {"good"}


def test_reading_is_a_stage_and_part_of_what_the_caller_sees(write_strips: WriteStrips, tmp_path: Path) -> None:
    found = quick(write_strips(tmp_path, LEAST), "production", "raw_float", axes=Axes(batch=(1, 3), threads=(1,)), seconds=2)
    for row in found.rows:
        stages = row.row.stages_ms
        assert list(stages) == ["read", "convert", "inference", "post"]
        assert stages["read"].p50 > stages["convert"].p50, "a file is opened, checked and mapped"
        assert sum(stage.p50 for stage in stages.values()) <= row.row.total_ms.max
        assert f"{LEAST} strips read from {tmp_path}" in row.about["takes"]
        assert row.doubt == "", "whether a model looks at its input is found out with strips that never come again"
    one, three = found.rows[:2]
    assert three.row.stages_ms["read"].p50 > 2 * one.row.stages_ms["read"].p50
    assert f"--strips {tmp_path}" in found.command
    assert stage_cells(found)[0] == ("p50 ms of one call", "read", "convert", "inference", "post", "caller sees")


@pytest.mark.parametrize(
    ("name", "written", "error", "said"),
    [
        ("production", {"size": (64, 97)}, StripError, "64 x 97"),
        ("raw", {}, StripError, "float32"),
    ],
)
def test_files_that_a_model_does_not_take_are_said_before_anything_is_measured(
    name: str, written: dict[str, Any], error: type[LinesideError], said: str, write_strips: WriteStrips, tmp_path: Path
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        quick(write_strips(tmp_path, LEAST, **written), name)


def test_the_camera_s_bytes_are_read_for_a_model_of_bytes(write_strips: WriteStrips, tmp_path: Path) -> None:
    found = quick(write_strips(tmp_path, LEAST, dtype="uint8"), "raw")
    assert found.rows[0].row.stages_ms["read"].p50 > 0


def test_a_bare_graph_takes_no_strips(write_strips: WriteStrips, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--strips with"):
        quick(write_strips(tmp_path, LEAST), "production", axes=Axes.parse(runners="onnxruntime"))


def test_one_bad_file_among_them_is_found_before_it_counts(write_strips: WriteStrips, tmp_path: Path) -> None:
    folder = write_strips(tmp_path, LEAST + 1)
    (folder / "003.tif").write_bytes(b"II*\0")
    with pytest.raises(StripError, match=r"003\.tif"):
        quick(folder, "production")


def test_presets_of_another_size_are_not_resized(write_strips: WriteStrips, tmp_path: Path) -> None:
    with pytest.raises(StripError, match="976 x 176"):
        StripFolder.find(write_strips(tmp_path, LEAST)).strips(PRESETS["strip"])
