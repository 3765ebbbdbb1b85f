"""A measurement as one HTML page that can go into a report: the answer in words first, then the table, then the plots, then the machine.

In:   a `Measurement`.
Out:  the text of a page that needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from lineside.benchmarks.measure.environment import machine_of
from lineside.pictures.page import facts_of, page, table_of
from lineside.pictures.svg import (
    AXIS_PX,
    COLOURS,
    INK,
    LABEL_PX,
    LANE_PX,
    MARGIN_PX,
    Axis,
    intervals,
    line,
    lines,
    path,
    scale,
    stacked_bars,
    svg,
    text,
)

from .baseline import Against
from .measurement import FLAT_OUT, BenchRow, Measurement
from .report import CELLS, CHANGE_CELLS, cells_of, change_cells_of, gpu_memory_cells, number, remarks_of, stage_cells, stage_name
from .roofline_plot import roofline_parts

BINS = 96
"""Of a distribution, over the whole axis."""
IN_WORDS = 6
"""Comparisons that are said in words; of more the fastest alone."""


def page_of(found: Measurement, against: Against | None = None) -> str:
    """The page; with `against`, also what has changed since."""
    models = list(dict.fromkeys(row.case.model for row in found.rows))
    title = f"{models[0]}: how fast" if len(models) == 1 else f"{models[0]} and {len(models) - 1} more: how fast"
    return page(title, _parts(found, against, title))


def _parts(found: Measurement, against: Against | None, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield from (f"<p>{escape(sentence)}</p>" for sentence in _in_words(found))
    there = found.environment
    yield facts_of([("machine", machine_of(there)), ("measured", found.when), ("command", found.command)])
    yield from (f'<p class="unknown">{escape(text)}</p>' for text in remarks_of(found))
    if against is not None:
        yield from _changes(against)
    yield "<h2>Latency of one call</h2>"
    yield table_of(CELLS, [cells_of(row) for row in found.rows])
    yield (
        "<p>All ran in one process in turn, in a new order every round, each on inputs that it had not seen. Ratio: how many times as "
        "long one strip (or one row of the batch) takes as with the first model; the median over the rounds, and the interval that holds "
        "it with 95 %. Cold: from starting a process to its first answer; peak: its most resident memory.</p>"
    )
    yield "<h2>Distribution</h2><p>All calls. Bars: p50; ticks: p90, p99 and the longest.</p>"
    yield distributions(found.rows)
    compared = [row for row in found.rows if row.ratio is not None and row.is_compared]
    if compared:
        yield "<h2>Ratios</h2><p>Time per strip or row against the first model. Left of the line is faster.</p>"
        rows = [(row.title, row.ratio.value, row.ratio.low, row.ratio.high) for row in compared if row.ratio is not None]
        yield intervals(rows, unit="times", at=1.0, says="ratios with their intervals")
    staged = [row for row in found.rows if row.row.stages_ms]
    if staged:
        yield from _stages(found, staged)
    started = [row for row in found.rows if row.start is not None and row.mode == FLAT_OUT]
    if started:
        yield "<h2>Cold start</h2><p>In a process of its own: Python, importing what runs the model, loading it, its first answer.</p>"
        yield stacked_bars([(row.case.name, _start(row)) for row in started], unit="ms", says="cold start as stacked bars")
    if found.peaks:
        yield from roofline_parts(found)
    if found.minutes:
        yield from _soak(found)
    yield "<h2>What ran</h2>"
    yield from (_about(row) for row in found.rows if row.mode == FLAT_OUT)
    yield "<h2>Where</h2>" + facts_of(_environment(there))


def distributions(rows: Sequence[BenchRow]) -> str:
    """How often each time was measured, a lane per row on one axis."""
    axis = Axis.over(sample for row in rows for sample in row.row.samples_ms)
    height = LABEL_PX + LANE_PX + 8
    bottom = len(rows) * height
    body = [*scale(axis, 0, bottom, "ms")]
    for position, row in enumerate(rows):
        total, y = row.row.total_ms, position * height
        base = y + height - 4
        body.append(text(MARGIN_PX, y + 12, f"{row.title}: p50 {number(total.p50)}, p99 {number(total.p99)}, max {number(total.max)} ms"))
        counts, edges = np.histogram([axis.at(sample) for sample in row.row.samples_ms], BINS, (axis.left, axis.right))
        tops = base - counts / max(1, counts.max()) * LANE_PX
        steps = zip(edges, edges[1:], tops, strict=False)
        outline = [(float(x), float(top)) for left, right, top in steps for x in (left, right)]
        body.append(path([(axis.left, base), *outline, (axis.right, base)], colour=COLOURS[0], filled=True))
        body.append(line(axis.at(total.p50), base - LANE_PX, axis.at(total.p50), base, colour=COLOURS[0], width=2.5))
        body += [line(axis.at(tail), base - 9, axis.at(tail), base, colour=INK, width=1.3) for tail in (total.p90, total.p99, total.max)]
    return svg(bottom + AXIS_PX - 10, body, says="distributions of the latencies")


def _changes(against: Against) -> Iterator[str]:
    yield f"<h2>Since {escape(against.when)}</h2>"
    yield from (f'<p class="unknown">{escape(text)}</p>' for text in against.remarks)
    yield table_of(CHANGE_CELLS, [change_cells_of(change) for change in against.changes])
    allowed = against.changes[0].allowed
    yield f"<p>Slower: the whole interval of the ratio lies above {1 + allowed:.2f}. Baseline: {escape(str(against.path))}.</p>"


def _stages(found: Measurement, rows: Sequence[BenchRow]) -> Iterator[str]:
    yield (
        "<h2>Stages of one call</h2><p>Medians on the host's clock. Read: the strip's file, where strips are read. Convert: checking a "
        "strip and writing it as the model takes it. Inference: on a CPU computing alone; with an engine copying in, computing, copying "
        "out, and waiting for them. Post: checking the answer, and the verdict.</p>"
    )
    bars = []
    for row in rows:
        bars.append((row.title, {stage_name(stage): times.p50 for stage, times in row.row.stages_ms.items()}))
        if row.device is not None:
            on_gpu = {stage_name(stage): times.p50 for stage, times in row.device.stages_ms.items()}
            bars.append((f"{row.title}, inference on the GPU's clock", on_gpu))
    yield stacked_bars(bars, unit="ms", says="stages as stacked bars")
    head, *cells = stage_cells(found)
    yield table_of(head, cells)
    if memory := gpu_memory_cells(found):
        yield (
            "<p>GPU: by CUDA events, without a CUDA graph, which has no stages; its clock is never added to the host's.</p>"
            "<h2>Memory on the GPU</h2><p>What the device says before an engine is loaded and after it ran, with nothing else of this "
            "process on it; other programs are in it, and CUDA's own share is not.</p>"
        )
        yield table_of(memory[0], memory[1:])


def _soak(found: Measurement) -> Iterator[str]:
    minutes = found.minutes
    yield "<h2>Soak: minute by minute</h2><p>In every window of a minute or less, solid: p50; dashed: p99.</p>"
    names = list(minutes[0].total_ms)
    series = [
        (name, [getattr(minute.total_ms[name], which) for minute in minutes], dash)
        for name in names
        for which, dash in (("p50", ""), ("p99", "5 3"))
    ]
    yield lines(series, unit="ms", across="window", says="latency in each minute of the soak")
    memory = [minute.rss_mib for minute in minutes]
    yield f"<p>Resident memory of the process with all models: {memory[0]:.0f} MiB in the first window, {memory[-1]:.0f} in the last.</p>"
    yield lines([("resident memory", memory, "")], unit="MiB", across="window", says="memory in each minute of the soak", height=120)
    throttled = sum(sum(minute.throttled.values()) for minute in minutes)
    said = f"It held itself back in {throttled} calls" if found.watched else "This machine does not tell when it holds itself back"
    yield f"<p>{escape(said)}.</p>"


def _in_words(found: Measurement) -> Iterator[str]:
    first = found.rows[0]
    yield f"{first.case.name} takes {number(first.item_ms)} ms per strip or row (median), {number(first.items_per_second)} per second."
    compared = [row for row in found.rows if row.is_compared and row.mode == FLAT_OUT]
    if len(compared) > IN_WORDS:
        best = min(found.rows, key=lambda row: row.item_ms)
        yield f"{best.case.name} takes the least: {number(best.item_ms)} ms per strip or row. The table has all {len(found.rows)} rows."
        return
    for row in compared:
        if row.ratio is None:
            continue
        name, to, ratio = row.case.name, row.reference, row.ratio
        if ratio.high < 1:
            yield f"{name} is {1 / ratio.value:.2f} times as fast as {to} (95 %: {1 / ratio.high:.2f} to {1 / ratio.low:.2f})."
        elif ratio.low > 1:
            yield f"{name} takes {ratio.value:.2f} times as long as {to} (95 %: {ratio.low:.2f} to {ratio.high:.2f})."
        else:
            yield f"Between {name} and {to} no difference is shown (ratio {ratio.low:.3f} to {ratio.high:.3f})."


def _start(row: BenchRow) -> dict[str, float]:
    assert row.start is not None
    start = row.start
    return {"Python": start.startup_ms, "import": start.import_ms, "load": start.load_ms, "first answer": start.first_ms}


def _about(row: BenchRow) -> str:
    hidden = ("manifest", "spec", "path", "sha256", "provider_options", "threshold", "fallback", "batch")
    about = {name: _words(value) for name, value in row.about.items() if name not in hidden and value is not None}
    facts: dict[str, object] = {"file": row.case.path, "sha256": row.file["sha256"], **about, "batch": row.case.batch}
    return f"<h3>{escape(row.case.name)}</h3>" + facts_of(facts.items())


def _words(value: object) -> object:
    """A list or a dict as one would write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _environment(there: Any) -> list[tuple[str, object]]:
    cpu, memory = there["cpu"], there["memory"]
    return [
        ("system", f"{there['system']}, Linux {there['kernel']}, Python {there['python']}"),
        ("CPU", f"{cpu['model']}, {cpu['physical']} cores, {cpu['logical']} threads, governor {cpu['governor'] or 'not told'}"),
        ("instruction sets", " ".join(cpu["features"]) or "none that matter"),
        ("memory", f"{memory['total_bytes'] / 2**30:.1f} GiB" if memory["total_bytes"] else "not told"),
        ("load before", f"{there['load_1_minute']:.2f} in the last minute"),
        ("GPU", "; ".join(str(gpu) for gpu in there["gpus"]) or "none"),
        ("packages", ", ".join(f"{name} {version}" for name, version in there["packages"].items())),
        ("variables", ", ".join(f"{name}={value}" for name, value in there["variables"].items()) or "none that matter"),
    ]
