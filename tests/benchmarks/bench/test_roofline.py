"""The roofline: shares of a peak that is known, and a peak that is measured on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lineside.benchmarks.bench.bench import bench
from lineside.benchmarks.bench.bench_options import BenchOptions
from lineside.benchmarks.roofline.peak import Peak, measure_peak
from lineside.benchmarks.roofline.roofline import placed
from lineside.benchmarks.subjects.cases import Axes
from lineside.graph.cost import FLOAT32, INT8, Work
from lineside.manifest import Tiling

PEAK = Peak(
    threads=2, multiply_adds_per_s={FLOAT32: 100e9, INT8: 400e9}, by={FLOAT32: "convolution", INT8: "convolution"}, bytes_per_s=20e9
)


def test_half_the_speed_of_the_peak_is_half_of_the_peak() -> None:
    place = placed(Work(multiply_adds={FLOAT32: 10_000_000_000}, nbytes=1_000_000), 0.2, PEAK)
    assert place.multiply_adds_per_s == 50e9
    assert (place.of_peak, place.of_roof, place.bound) == (0.5, 0.5, "compute")


def test_layers_of_both_kinds_are_compared_with_the_time_that_both_take_at_their_peaks() -> None:
    work = Work(multiply_adds={FLOAT32: 1_000_000_000, INT8: 4_000_000_000}, nbytes=1000)
    assert placed(work, 0.04, PEAK).of_peak == pytest.approx((0.01 + 0.01) / 0.04)


def test_where_few_multiply_adds_come_to_a_byte_memory_is_the_roof() -> None:
    place = placed(Work(multiply_adds={FLOAT32: 1_000_000}, nbytes=20_000_000), 0.002, PEAK)
    assert place.bound == "memory"
    assert place.of_roof == pytest.approx(0.5)
    assert place.of_peak == pytest.approx(0.005)


def test_a_peak_is_measured() -> None:
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="the peak is measured with it")
    peak = measure_peak(1, seconds=0.01, side=128, copy_bytes=1 << 20)
    assert set(peak.multiply_adds_per_s) == set(peak.by) == {FLOAT32, INT8}
    assert all(1e8 < rate < 1e13 for rate in peak.multiply_adds_per_s.values()), "between a slow and an impossible core"
    assert 1e8 < peak.bytes_per_s < 1e13


def test_the_page_draws_what_has_a_place_and_says_what_has_none(
    write_detector: Callable[[Path, Tiling], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lineside.benchmarks.bench import bench_roofline
    from lineside.benchmarks.bench.bench_page import page_of
    from lineside.benchmarks.bench.report import csv_of, remarks_of

    models = Path(__file__).parents[2] / "engine" / "models"
    monkeypatch.setattr(bench_roofline, "measure_peak", lambda threads: replace(PEAK, threads=threads))
    options = BenchOptions(seconds=0.2, warm_up_seconds=0.05, loads=1, cold=False, roofline=True)
    found = bench([write_detector(tmp_path / "detector.onnx", "batched"), models / "production.onnx"], Axes(threads=(1, 2)), options)
    assert [peak.threads for peak in found.peaks] == [1, 2]
    assert [row.placed.threads if row.placed else None for row in found.rows] == [1, 2, None, None]
    first = found.rows[0]
    assert first.placed is not None
    inference_s = first.row.stages_ms["inference"].p50 / 1e3
    assert first.placed.multiply_adds_per_s == pytest.approx(sum(first.placed.multiply_adds.values()) / inference_s)
    assert any("production.onnx, 1 thread in the roofline: it has no convolution" in text for text in remarks_of(found))
    page = page_of(found)
    assert len(re.findall("aria-label=.roofline", page)) == 2
    assert f"{first.placed.of_peak:.0%} of the peak" in page
    assert "of_peak" in csv_of(found).splitlines()[0]
    assert "--roofline" in found.command
