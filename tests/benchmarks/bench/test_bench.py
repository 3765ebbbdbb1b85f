"""Models are measured against each other, and every row says what of, where and how sure."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lineside.benchmarks.bench.bench import bench, reference_of
from lineside.benchmarks.bench.bench_options import BenchOptions
from lineside.benchmarks.bench.bench_page import page_of
from lineside.benchmarks.bench.measurement import Measurement
from lineside.benchmarks.bench.report import CELLS, cells_of, csv_of, number, remarks_of
from lineside.benchmarks.subjects.cases import Axes
from lineside.errors import ConfigError, ModelError

pytest.importorskip("onnxruntime", reason="it runs the models")

MODELS = Path(__file__).parents[2] / "engine" / "models"
QUICK: dict[str, Any] = {"seconds": 0.3, "warm_up_seconds": 0.1, "loads": 2}


@pytest.fixture(scope="module")
def measured() -> Measurement:
    """Two models, one of them twice, with two batches, flat out and paced."""
    return bench(
        [MODELS / "production.onnx", MODELS / "raw_float.onnx", MODELS / "production.onnx"],
        Axes(batch=(1, 2), threads=(1,)),
        BenchOptions(**QUICK, paced_ms=5.0, cold=False),
    )


def test_every_case_has_a_row_for_each_mode(measured: Measurement) -> None:
    names = [f"{model}, batch {batch}" for model in ("production.onnx #1", "raw_float.onnx", "production.onnx #2") for batch in (1, 2)]
    assert [(row.mode, row.case.name) for row in measured.rows] == [(mode, name) for mode in ("flat out", "paced") for name in names]


def test_a_ratio_is_per_strip_and_to_the_first_model_with_the_same_axes(measured: Measurement) -> None:
    references = {row.case.name: row.reference for row in measured.rows}
    assert references == {
        "production.onnx #1, batch 1": "production.onnx #1, batch 1",
        "production.onnx #1, batch 2": "production.onnx #1, batch 1",
        "raw_float.onnx, batch 1": "production.onnx #1, batch 1",
        "raw_float.onnx, batch 2": "production.onnx #1, batch 2",
        "production.onnx #2, batch 1": "production.onnx #1, batch 1",
        "production.onnx #2, batch 2": "production.onnx #1, batch 2",
    }
    one, two = measured.rows[:2]
    ratios = sorted(pair / single / 2 for pair, single in zip(two.row.samples_ms, one.row.samples_ms, strict=True))
    assert two.ratio is not None
    assert ratios[(len(ratios) - 1) // 2] <= two.ratio.value <= ratios[len(ratios) // 2]
    assert two.item_ms == two.row.total_ms.p50 / 2
    assert two.items_per_second == pytest.approx(2000 / two.row.total_ms.mean)


def test_stages_are_those_of_an_inspector(measured: Measurement) -> None:
    for row in measured.rows:
        assert list(row.row.stages_ms) == ["convert", "inference", "post"]
        assert sum(stage.p50 for stage in row.row.stages_ms.values()) <= row.row.total_ms.max


def test_paced_calls_have_idle_time_and_flat_out_ones_none(measured: Measurement) -> None:
    flat, paced = (next(row for row in measured.rows if row.mode == mode) for mode in ("flat out", "paced"))
    assert flat.row.overrun is None
    assert paced.row.overrun is not None
    assert paced.row.total_ms.n * 7 * 5 <= 2 * 150 + 2 * 7 * 5 + 100  # six calls and the yardstick per round; a load ends its round


def test_every_row_is_json_with_its_environment(measured: Measurement) -> None:
    value = json.loads(json.dumps(measured.to_json(), allow_nan=False))
    assert value["schema"] == 1
    for row in value["rows"]:
        assert row["environment"]["cpu"]["physical"] >= 1
        assert row["latency"]["total_ms"]["n"] == len(row["latency"]["samples_ms"])
        assert (row["precision"], row["io"]) == ("fp32", "raw" if row["model"] == "raw_float.onnx" else "production")
        assert len(row["file"]["sha256"]) == 64


def test_the_command_measures_the_same_again(measured: Measurement) -> None:
    words = shlex.split(measured.command)
    assert words[:2] == ["lineside", "bench"]
    assert words[5:] == ["--batch", "1,2", "--threads", "1", "--seconds", "0.3", "--paced", "5", "--loads", "2", "--no-cold-start"]


def test_csv_has_a_line_per_row_with_the_machine_in_it(measured: Measurement) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_of(measured))))
    assert len(lines) == len(measured.rows)
    for line, row in zip(lines, measured.rows, strict=True):
        assert float(line["p99_ms"]) == row.row.total_ms.p99
        assert line["cpu"] == str(measured.environment["cpu"]["model"])
        assert float(line["inference_p50_ms"]) == row.row.stages_ms["inference"].p50


def test_the_page_needs_nothing_else_and_shows_every_row(measured: Measurement) -> None:
    text = page_of(measured)
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert "<script" not in text
    assert text.count("<svg") == 3
    for row in measured.rows:
        assert text.count(f"{row.case.name}") >= 4


def test_cells_are_as_many_as_columns(measured: Measurement) -> None:
    assert all(len(cells_of(row)) == len(CELLS) for row in measured.rows)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (1.23456, "1.235"), (12.3456, "12.35"), (123.456, "123.5"), (98765.4, "98765")],
)
def test_numbers_have_four_digits_and_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


def test_a_cold_start_is_told_part_by_part() -> None:
    found = bench([MODELS / "production.onnx"], Axes(threads=(1,)), BenchOptions(**QUICK))
    start = found.rows[0].start
    assert start is not None
    assert min(start.startup_ms, start.import_ms, start.load_ms, start.first_ms) > 0
    assert start.total_ms == pytest.approx(start.startup_ms + start.import_ms + start.load_ms + start.first_ms)
    assert 0 < start.peak_mib < start.process_mib < 1000
    assert page_of(found).count("<svg") == 3


def test_a_checkpoint_runs_in_pytorch_beside_an_onnx_file(detector: Any, write_strips: Callable[..., Path], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="it runs the checkpoint")
    from lineside.spec import StripSpec
    from lineside.train.checkpoint import Checkpoint, save_checkpoint
    from lineside.train.config import TrainOptions
    from lineside.train.unet import weights_sha256

    weights = detector.state_dict()
    checkpoint = Checkpoint(
        spec=StripSpec(height_px=64, width_px=96, tile_px=32, rows=3, columns=4),
        options=TrainOptions(base_channels=2),
        dataset="none",
        dataset_fingerprint="f" * 64,
        epoch=0,
        chosen_by="hand",
        examples=torch.zeros(1, 3, 64, 96, dtype=torch.uint8),
        weights=weights,
        weights_sha256=weights_sha256(weights),
    )
    save_checkpoint(tmp_path / "best.pt", checkpoint)
    before = torch.get_num_threads()
    options = BenchOptions(**QUICK, cold=False, strips=write_strips(tmp_path / "strips", 8))
    found = bench([MODELS / "production.onnx", tmp_path / "best.pt"], Axes(batch=(2,), threads=(1,)), options)
    row = found.rows[1]
    assert (row.case.name, row.about["backend"], row.about["threads"]) == ("best.pt", "pytorch-eager", 1)
    assert row.ratio is not None
    assert row.ratio.low > 1, "a network of 35 layers is slower than one subtraction"
    assert list(row.row.stages_ms) == ["read", "inference"]
    assert torch.get_num_threads() == before


def test_a_model_that_answers_every_input_alike_is_doubted_and_has_no_ratio(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="it makes the graph")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    taken, given = (helper.make_tensor_value_info(name, kind, [1, 3, 8, 8]) for name in ("input", "output"))
    graph = helper.make_graph([helper.make_node("Sub", ["input", "input"], ["output"])], "blind", [taken], [given])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "blind.onnx")
    found = bench([MODELS / "production.onnx", tmp_path / "blind.onnx"], Axes(threads=(1,)), BenchOptions(**QUICK, cold=False))
    assert [row.ratio is None for row in found.rows] == [False, True]
    assert any("blind.onnx" in text and "same answer" in text for text in remarks_of(found))


def test_a_runner_is_compared_with_itself_where_it_ran_the_first_model() -> None:
    axes = Axes.parse(runners="inspector,onnxruntime", threads="1")
    found = bench([MODELS / "production.onnx", MODELS / "raw.onnx"], axes, BenchOptions(**QUICK, cold=False))
    assert [(row.case.name, row.reference) for row in found.rows] == [
        ("production.onnx, inspector", "production.onnx, inspector"),
        ("production.onnx, onnxruntime", "production.onnx, inspector"),
        ("raw.onnx, inspector", "production.onnx, inspector"),
        ("raw.onnx, onnxruntime", "production.onnx, onnxruntime"),
    ]


def test_the_first_model_is_compared_with_its_own_first_case() -> None:
    found = bench([MODELS / "production.onnx"], Axes(batch=(1, 4)), BenchOptions(**QUICK, cold=False))
    cases = [row.case for row in found.rows]
    assert [reference_of(cases, position) for position in range(2)] == [0, 0]


@pytest.mark.parametrize("name", ["nothing.onnx", "model.tflite"])
def test_what_is_no_model_is_refused(name: str, tmp_path: Path) -> None:
    if name != "nothing.onnx":
        (tmp_path / name).touch()
    with pytest.raises(ModelError, match=re.escape(name)):
        bench([tmp_path / name])


@pytest.mark.parametrize("options", [{"seconds": 0.0}, {"paced_ms": 0.0}, {"paced_ms": float("nan")}, {"soak_minutes": 0.0}])
def test_options_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        BenchOptions(**options)  # type: ignore[arg-type]
