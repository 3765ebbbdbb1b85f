"""An audit as one HTML page: the verdict, the faults, and how every tensor stands to its range.

In:   an `Audit`.
Out:  the text of a page that needs nothing else: no script, no other file. It is read from disk, on a desk or on a phone.
Places within a plot are percentages, so that text and dots keep their size at every width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path

from lineside.calibration.ranges.table import METHODS, Method, TensorRange
from lineside.pictures.page import facts_of, page, table_of

from .audit_answer import MOST_LOST, MOST_MOVED, Audit, TensorFit

GOOD, INJECTED, LABELLED, SEED, RANGE = "#3a923a", "#d95f02", "#7b3fa0", "#1f6fb4", "#222222"
HISTOGRAMS = 6
"""Tensors whose histograms are shown: those that lose most."""
_OCTAVES = 3
"""The axis of ratios goes from 1/8 to 8."""
_LEAST_LOST_AXIS = 4 * MOST_LOST
_LANE_PX, _HISTOGRAM_PX = 18, 150

_STYLE = f"""
.row {{ display: grid; grid-template-columns: 15rem 1fr 5rem; gap: .6rem; align-items: center; border-top: 1px solid #eee; }}
.row, .histogram {{ break-inside: avoid; }}
.value {{ text-align: right; font-variant-numeric: tabular-nums; }}
.row svg, .histogram svg {{ width: 100%; overflow: visible; }}
.row svg {{ height: {_LANE_PX}px; }}
.histogram svg {{ height: {_HISTOGRAM_PX}px; }}
svg text {{ font-size: 12px; fill: #555; }}
.key {{ margin-right: 1rem; white-space: nowrap; }}
.key i {{ display: inline-block; width: .75em; height: .75em; border-radius: 50%; }}
td {{ white-space: nowrap; }}
@media (max-width: 40rem) {{
  .row {{ grid-template-columns: 1fr 5rem; gap: 0 .6rem; padding: .15rem 0; }}
  .row .name {{ grid-column: 1 / -1; font-size: .85rem; }}
}}
"""
"""Plots as wide as the page: a row per tensor, and histograms."""


def page_of(audit: Audit, ranges: Path) -> str:
    """The page about the table in the file `ranges`."""
    verdict = "fit" if audit.fit else "unfit"
    return page(f"{ranges.name}: {verdict}", _parts(audit, ranges.name, verdict), style=_STYLE)


def _parts(audit: Audit, name: str, verdict: str) -> Iterator[str]:
    yield f'<h1>{escape(name)} <span class="verdict {"yes" if audit.fit else "no"}">{verdict}</span></h1>'
    yield _facts(audit)
    yield from _faults(audit)
    yield _lost(audit)
    yield _reaches(audit)
    yield _seeds(audit)
    yield from _histograms(audit)
    yield _numbers(audit)


def _facts(audit: Audit) -> str:
    table, scores = audit.table, audit.scores
    return facts_of(
        [
            ("model", audit.model),
            ("data set", audit.dataset + ("" if audit.same_images else " (another one than the table was made on)")),
            ("table", f"{table.method}, {len(table.patches)} patches of {len(table.images)} strips, {table.with_defects} with defects"),
            (
                "looked at",
                f"{audit.tiles['good']} good tiles, clean and with synthetic defects; {audit.tiles['defective']} with labelled ones",
            ),
            (
                "scores",
                f"clipping alone flips {scores.flipped} of {scores.tiles} tiles at the threshold {audit.threshold:.4g}"
                f" and moves a score by {scores.mean_change:.4f} on average, {scores.max_change:.4f} at most",
            ),
            ("dead tensors", ", ".join(table.dead) or "none"),
            *(("remark", remark) for remark in audit.remarks),
            ("table sha256", table.sha256),
        ]
    )


def _faults(audit: Audit) -> Iterator[str]:
    for fault in audit.faults:
        tensors = " ".join(f"<code>{escape(name)}</code>" for name in fault.tensors)
        yield f'<div class="fault"><strong>{escape(fault.what)}</strong><div>{tensors}</div></div>'
    if not audit.fit:
        yield f"<p>Fix: <code>{escape(audit.fix)}</code></p>"


def _lost(audit: Audit) -> str:
    limit = max(_LEAST_LOST_AXIS, *(tensor.lost for tensor in audit.tensors.values()))

    def bar(tensor: TensorFit) -> str:
        width = 100 * tensor.lost / limit
        return f'<rect x="0" y="4" width="{width:.2f}%" height="10" fill="{INJECTED}"/>{_line(100 * MOST_LOST / limit)}'

    return _rows(
        audit,
        "Response to defects that the range cuts off",
        f"Of the difference that synthetic defects make to each tensor; the line is the most that is fit, {MOST_LOST:.0%}.",
        bar,
        lambda tensor: f"{tensor.lost:.2%}",
        lambda tensor: tensor.loses,
        [(100 * share / limit, f"{share:.0%}") for share in (0.0, MOST_LOST, limit)],
    )


def _reaches(audit: Audit) -> str:
    key = _key((GOOD, "good"), (INJECTED, "synthetic defects"), (LABELLED, "labelled defects"))

    def dots(tensor: TensorFit) -> str:
        reaches = ((GOOD, tensor.good), (INJECTED, tensor.injected), (LABELLED, tensor.defective))
        return _line(_place(1.0)) + "".join(_dot(_place(reach.peak), colour) for colour, reach in reaches if reach is not None)

    return _rows(
        audit,
        "How far the values reach",
        f"The greatest magnitude, in ranges: beyond 1 it is clipped. The number is the share of values outside on good strips. {key}",
        dots,
        lambda tensor: f"{tensor.good.outside:.2g}",
        lambda tensor: tensor.saturates,
        _RATIOS,
    )


def _seeds(audit: Audit) -> str:
    return _rows(
        audit,
        "The range by another seed",
        f"Over this one. Outside of the lines, a factor of {MOST_MOVED:g}, it depends on the patches; marked where that costs something.",
        lambda tensor: _line(_place(1 / MOST_MOVED)) + _line(_place(MOST_MOVED)) + _dot(_place(tensor.moved), SEED),
        lambda tensor: f"x {tensor.moved:.2f}",
        lambda tensor: tensor.wanders,
        _RATIOS,
    )


def _rows(
    audit: Audit,
    title: str,
    text: str,
    plot: Callable[[TensorFit], str],
    value: Callable[[TensorFit], str],
    bad: Callable[[TensorFit], bool],
    ticks: Iterable[tuple[float, str]],
) -> str:
    """A plot with a row per tensor: name, drawing, number; above them the axis, with ticks at percents of its width."""
    axis = "".join(_label(percent, 13, tick) for percent, tick in ticks)
    head = f'<div class="row"><span class="name"></span><svg>{axis}</svg><span></span></div>'
    rows = "".join(
        f'<div class="row{" bad" if bad(tensor) else ""}"><span class="name">{escape(name)}</span>'
        f'<svg>{plot(tensor)}</svg><span class="value">{value(tensor)}</span></div>'
        for name, tensor in audit.tensors.items()
    )
    return f"<h2>{escape(title)}</h2><p>{text}</p>{head}{rows}"


def _histograms(audit: Audit) -> Iterator[str]:
    worst = sorted(audit.tensors, key=lambda name: -audit.tensors[name].lost)[:HISTOGRAMS]
    yield (
        "<h2>What calibration saw</h2><p>Counts of magnitudes on a logarithmic scale, zeros left out, of the tensors that lose most. Lines:"
        " the ranges of the methods, the table's own drawn through. Dots: the farthest that defects reached in this audit.</p>"
    )
    for name in worst:
        drawn = _histogram(audit.table.tensors[name], audit.tensors[name], audit.table.method)
        yield f'<div class="histogram"><h3>{escape(name)}</h3>{drawn}</div>'


def _histogram(tensor: TensorRange, fit: TensorFit, method: Method) -> str:
    counts = tensor.histogram.counts
    reached = [
        (colour, fit.amax * reach.peak) for colour, reach in ((INJECTED, fit.injected), (LABELLED, fit.defective)) if reach is not None
    ]
    end = 1.03 * max(max(tensor.amax.values()), *(magnitude for _, magnitude in reached))
    width = 100 * tensor.histogram.limit / len(counts) / end
    highest = math.log1p(max(counts)) or 1.0
    base = _HISTOGRAM_PX - 20
    bars = "".join(
        f'<rect x="{index * width:.2f}%" y="{base - height:.1f}" width="{width * 0.9:.2f}%" height="{height:.1f}" fill="#b9c7d6"/>'
        for index, count in enumerate(counts)
        if count
        for height in [(base - 46) * math.log1p(count) / highest]
    )
    lines = "".join(
        _line(place, height=base, dashed=one != method) + _label(place, 12 + 14 * row, one, beside=True)
        for row, (one, place) in enumerate((one, 100 * tensor.amax[one] / end) for one in METHODS)
    )
    axis = f'<line x1="0" x2="100%" y1="{base}" y2="{base}" stroke="#888"/>'
    ticks = "".join(_label(percent, base + 15, f"{end * percent / 100:.3g}") for percent in (0, 50, 100))
    dots = "".join(_dot(100 * magnitude / end, colour, y=base - 6) for colour, magnitude in reached)
    return f"<svg>{bars}{axis}{lines}{ticks}{dots}</svg>"


def _numbers(audit: Audit) -> str:
    """Every number, folded away."""
    head = ("tensor", "range", "lost", "good: peak", "outside", "synthetic: peak", "outside", "labelled: peak", "outside", "seed", "dead")
    rows = []
    for name, tensor in audit.tensors.items():
        cells = [name, f"{tensor.amax:.4g}", f"{tensor.lost:.2%}"]
        for reach in (tensor.good, tensor.injected, tensor.defective):
            cells += ["-", "-"] if reach is None else [f"{reach.peak:.2f}", f"{reach.outside:.2g}"]
        cells += [f"{tensor.moved:.2f}", f"{tensor.dead_channels} of {tensor.channels}"]
        rows.append(cells)
    return f"<h2>Numbers</h2><details><summary>All tensors</summary>{table_of(head, rows)}</details>"


def _key(*entries: tuple[str, str]) -> str:
    return " ".join(f'<span class="key"><i style="background:{colour}"></i> {name}</span>' for colour, name in entries)


def _place(ratio: float) -> float:
    """Where a ratio lies on the logarithmic axis, in percent; beyond the ends at the end."""
    octave = math.log2(ratio) if ratio > 0 else -_OCTAVES
    return 50 + 50 * max(-1.0, min(1.0, octave / _OCTAVES))


def _line(percent: float, *, height: int = _LANE_PX, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="3 3"' if dashed else ""
    return f'<line x1="{percent:.2f}%" x2="{percent:.2f}%" y1="0" y2="{height}" stroke="{RANGE}"{dashes}/>'


def _dot(percent: float, colour: str, *, y: float = _LANE_PX / 2) -> str:
    return f'<circle cx="{percent:.2f}%" cy="{y:g}" r="4.5" fill="{colour}" fill-opacity=".85"/>'


def _label(percent: float, y: float, text: str, *, beside: bool = False) -> str:
    """Text at a place, or beside it where there is room; never beyond the ends of the plot."""
    low, high, shift = (50, 49, 5) if beside else (5, 95, 0)
    anchor, shift = ("start", shift) if percent < low else ("end", -shift) if percent > high else ("middle", 0)
    return f'<text x="{percent:.2f}%" y="{y:g}" dx="{shift}" text-anchor="{anchor}">{escape(text)}</text>'


_RATIOS = [(_place(2.0**octave), f"{2**octave}" if octave >= 0 else f"1/{2**-octave}") for octave in range(-_OCTAVES, _OCTAVES + 1)]
