"""Put the rows of a measurement under the machine's roofline.

In:   rows.
Out:  the same rows, with their place where they have one; the peaks; and which have none, and why.
Only ONNX files that run on the CPU have one: their work can be counted, and the CPU's peak is measured beside them. Time is that of the
stage `inference` where the row has stages, else of the whole call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lineside.benchmarks.roofline.peak import Peak, measure_peak
from lineside.benchmarks.roofline.roofline import placed
from lineside.benchmarks.subjects.cases import Case
from lineside.benchmarks.subjects.inspector_subject import INFERENCE
from lineside.engine.run.onnxruntime_providers import CPU
from lineside.errors import ModelError
from lineside.graph.cost import Work, count_work
from lineside.kinds import kind_of
from lineside.progress import Progress, silent

from .measurement import FLAT_OUT, BenchRow

_MS_PER_S = 1e3


def count_cases(cases: Sequence[Case], abouts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Work], list[str]]:
    """The work of a call of each case, by its name; and what has none, in words. `abouts`: what runs them. Raises: MissingPackageError."""
    found, left_out = {}, []
    for case, about in zip(cases, abouts, strict=True):
        try:
            found[case.name] = _work(case, about)
        except ModelError as exc:
            left_out.append(f"{case.name} in the roofline: {exc.why}")
    return found, left_out


def with_rooflines(
    rows: Sequence[BenchRow], works: dict[str, Work], progress: Progress = silent
) -> tuple[tuple[BenchRow, ...], tuple[Peak, ...]]:
    """Measure the peaks that the rows need, and place them."""
    threads = sorted({row.about["threads"] for row in rows if row.case.name in works})
    peaks = {count: measure_peak(count) for count in progress(threads, total=len(threads), what="this machine's peak")}
    return tuple(_with_place(row, works, peaks) for row in rows), tuple(peaks.values())


def _with_place(row: BenchRow, works: dict[str, Work], peaks: dict[int, Peak]) -> BenchRow:
    if row.case.name not in works or row.mode != FLAT_OUT:
        return row
    seconds = row.row.stages_ms.get(INFERENCE, row.row.total_ms).p50 / _MS_PER_S
    return replace(row, placed=placed(works[row.case.name], seconds, peaks[row.about["threads"]]))


def _work(case: Case, about: Mapping[str, Any]) -> Work:
    """Raises: ModelError, where there is no graph to count, or no peak to compare with."""
    if kind_of(case.path) != "onnx":
        raise ModelError(f"{case.path}: no ONNX file", why="only ONNX files on the CPU are counted")
    if about.get("providers", [CPU]) != [CPU]:
        raise ModelError(f"{case.path}: not on the CPU", why="the peak that is measured is the CPU's")
    return count_work(case.path, (case.shapes or {}).get, case.batch)
