"""A measurement as lines: CSV for a spreadsheet, cells for a terminal and a page.

In:   a `Measurement`, or one of its rows.
Out:  text. `CELLS` is the table that people read, and `stage_cells`, `gpu_memory_cells` and `roofline_cells` those behind it; `csv_of` has
      every number in plain units, and the machine in every line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from lineside.graph.cost import INT8

from .baseline import Change
from .measurement import FLAT_OUT, BenchRow, Measurement

CELLS = ("model", "n", "p50 ms", "p90 ms", "p99 ms", "max ms", "per second", "ratio", "95 %", "cold ms", "peak MiB", "file MiB")
_MIB = 2**20
_GIGA, _MEGA = 1e9, 1e6
_NONE = "-"
_GAP = "\N{NO-BREAK SPACE}"


def cells_of(row: BenchRow) -> tuple[str, ...]:
    """One line of the table; times are of one call."""
    total, start = row.row.total_ms, row.start
    return (
        row.title,
        str(total.n),
        *(number(value) for value in (total.p50, total.p90, total.p99, total.max, row.items_per_second)),
        f"{row.ratio.value:.3f}" if row.ratio else _NONE,
        f"{row.ratio.low:.3f}{_GAP}..{_GAP}{row.ratio.high:.3f}" if row.ratio and row.is_compared else _NONE,
        f"{start.total_ms:.0f}" if start else _NONE,
        f"{start.process_mib:.0f}" if start else _NONE,
        f"{row.file['bytes'] / _MIB:.1f}",
    )


def stage_cells(measurement: Measurement) -> list[tuple[str, ...]]:
    """Medians of the stages, the head first; what the caller sees beside them, by the host's clock too. Empty where no row has stages."""
    rows = [row for row in measurement.rows if row.row.stages_ms]
    host = list(dict.fromkeys(stage for row in rows for stage in row.row.stages_ms))
    gpu = list(dict.fromkeys(stage for row in rows if row.device for stage in row.device.stages_ms))
    if not rows:
        return []
    found = [("p50 ms of one call", *map(stage_name, host), "caller sees", *(f"GPU: {stage_name(stage)}" for stage in gpu))]
    for row in rows:
        on_gpu = row.device.stages_ms if row.device else {}
        times = [row.row.stages_ms.get(stage) for stage in host] + [row.row.total_ms] + [on_gpu.get(stage) for stage in gpu]
        found.append((row.title, *(number(time.p50) if time else _NONE for time in times)))
    return found


def stage_name(stage: str) -> str:
    """As people read it."""
    return stage.replace("_", " ")


def gpu_memory_cells(measurement: Measurement) -> list[tuple[str, ...]]:
    """What engines take on the GPU, the head first; empty without engines."""
    rows: list[tuple[str, ...]] = [("on the GPU, MiB", "free before", "after", "taken", "file", "activations (sidecar)")]
    for row in measurement.rows:
        if row.device is not None and row.mode == FLAT_OUT:
            memory = row.device.memory
            told = (memory.free_before_bytes, memory.free_after_bytes, memory.taken_bytes, memory.engine_bytes, memory.activations_bytes)
            rows.append((row.case.name, *(_NONE if nbytes is None else f"{nbytes / _MIB:.1f}" for nbytes in told)))
    return rows if len(rows) > 1 else []


def roofline_cells(measurement: Measurement) -> list[tuple[str, ...]]:
    """Where rows lie under the roofline, the head first; empty where that was not asked for."""
    rows: list[tuple[str, ...]] = [
        ("roofline", "threads", "G per call", "of them INT8", "MB, least", "per byte", "G per second", "of the peak", "of the roof", "roof")
    ]
    for row in measurement.rows:
        if row.placed is not None:
            place = row.placed
            total = sum(place.multiply_adds.values())
            rows.append(
                (
                    row.case.name,
                    str(place.threads),
                    number(total / _GIGA),
                    f"{place.multiply_adds.get(INT8, 0) / total:.0%}",
                    number(place.nbytes / _MEGA),
                    number(place.intensity),
                    number(place.multiply_adds_per_s / _GIGA),
                    f"{place.of_peak:.1%}",
                    f"{place.of_roof:.1%}",
                    place.bound,
                )
            )
    return rows if len(rows) > 1 else []


def peaks_in_words(measurement: Measurement) -> list[str]:
    """What the machine reached, a sentence for every number of threads."""
    found = []
    for peak in measurement.peaks:
        rates = ", ".join(f"{number(rate / _GIGA)} G in {kind} ({peak.by[kind]})" for kind, rate in peak.multiply_adds_per_s.items())
        threads = f"{peak.threads} threads" if peak.threads != 1 else "1 thread"
        found.append(f"measured peak of {threads}: multiply-adds per second {rates}; memory {number(peak.bytes_per_s / _GIGA)} GB/s")
    return found


def number(value: float) -> str:
    """Four significant digits, and no exponent where none is needed."""
    return f"{value:.{max(0, 3 - len(str(int(abs(value)))) + 1)}f}" if abs(value) >= 1 else f"{value:.3g}"


def remarks_of(measurement: Measurement) -> list[str]:
    """What a reader has to know of single rows."""
    remarks = [f"left out: {text}" for text in measurement.left_out]
    for row in measurement.rows:
        name = f"{row.case.name} ({row.mode})"
        if row.doubt:
            remarks.append(f"{name}: {row.doubt}; no ratio")
        if row.row.throttled:
            reasons = ", ".join(dict.fromkeys(row.row.throttled.values()))
            told = f"{name}: the machine held itself back in {len(row.row.throttled)} of {row.row.total_ms.n} calls ({reasons})"
            remarks.append(f"{told}; they do not count in ratios")
        if not row.row.settled and row.mode == FLAT_OUT:
            remarks.append(f"{name}: its times did not settle in the warm-up of {row.row.warm_up_calls} calls")
        if row.joules:
            energy = ", ".join(f"{meter} {number(joules)} J" for meter, joules in row.joules.items())
            remarks.append(f"{name}: energy per strip or row, run alone: {energy}")
        if row.row.overrun:
            remarks.append(f"{name}: {row.row.overrun} of {row.row.total_ms.n} calls took longer than the period")
    return remarks


CHANGE_CELLS = ("row", "then ms", "now ms", "ratio", "95 %", "")


def change_cells_of(change: Change) -> tuple[str, ...]:
    """One line of the table of changes; times are medians of one call."""
    ratio = change.ratio
    return (
        f"{change.name}, {change.mode}",
        number(change.before_ms),
        number(change.now_ms),
        f"{ratio.value:.3f}",
        f"{ratio.low:.3f}{_GAP}..{_GAP}{ratio.high:.3f}",
        change.answer,
    )


def csv_of(measurement: Measurement) -> str:
    """One line per row."""
    lines = [_flat(row, measurement) for row in measurement.rows]
    stages = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, stages, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _flat(row: BenchRow, measurement: Measurement) -> dict[str, Any]:
    value = row.to_json()
    start: Mapping[str, Any] = value["cold_start"] or {}
    stages = {f"{stage}_p50_ms": found.p50 for stage, found in row.row.stages_ms.items()}
    if row.device is not None:
        stages |= {f"gpu_{stage}_p50_ms": found.p50 for stage, found in row.device.stages_ms.items()}
        stages |= {f"gpu_{name}": nbytes for name, nbytes in row.device.memory.to_json().items()}
    if row.placed is not None:
        stages |= {name: value["roofline"][name] for name in ("intensity", "multiply_adds_per_s", "of_peak", "of_roof")}
    return {
        **{name: value[name] for name in ("name", "model", "mode", "runner", "batch", "threads", "precision", "tiling", "io")},
        **{f"{name}_ms" if name != "n" else name: value["latency"]["total_ms"][name] for name in ("n", "mean", "p50", "p90", "p99", "max")},
        "items_per_second": row.items_per_second,
        "ratio": row.ratio.value if row.ratio else None,
        "ratio_low": row.ratio.low if row.ratio else None,
        "ratio_high": row.ratio.high if row.ratio else None,
        "ratio_to": row.reference,
        "throttled_calls": len(row.row.throttled),
        **{f"joules_{meter}": joules for meter, joules in row.joules.items()},
        "doubt": row.doubt,
        **{name: start.get(name) for name in ("startup_ms", "import_ms", "load_ms", "first_ms", "peak_mib", "process_mib")},
        "file_bytes": row.file["bytes"],
        "sha256": row.file["sha256"],
        **_machine(measurement),
        **stages,
    }


def _machine(measurement: Measurement) -> dict[str, Any]:
    there = measurement.environment
    return {
        "when": measurement.when,
        "cpu": there["cpu"]["model"],
        "cores": there["cpu"]["physical"],
        "gpu": "; ".join(str(gpu.get("name")) for gpu in there["gpus"]),
        "system": there["system"],
        "packages": "; ".join(f"{name} {version}" for name, version in there["packages"].items()),
    }
