"""The roofline of a measurement as a part of its page: where every model lies under what the machine can do.

In:   a `Measurement` with peaks.
Out:  HTML: a plot with logarithmic axes for every number of threads, and the numbers as a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from lineside.benchmarks.roofline.peak import Peak
from lineside.benchmarks.roofline.roofline import Placed
from lineside.graph.cost import Kind
from lineside.pictures.page import table_of
from lineside.pictures.svg import AXIS_PX, FAINT, INK, LABEL_PX, WIDTH, Axis, colour_of, legend, line, path, scale, svg, text

from .measurement import BenchRow, Measurement
from .report import peaks_in_words, roofline_cells

HEIGHT_PX = 260.0
LEFT_PX = 58.0
ROOM = 3.0
"""How many times further than what is drawn an axis goes, on both sides."""
_GIGA = 1e9
_DASH = {"float32": "", "int8": "6 3"}


def roofline_parts(found: Measurement) -> Iterator[str]:
    """The part of the page."""
    yield "<h2>Roofline</h2>"
    yield from (f"<p>{escape(sentence[0].upper() + sentence[1:])}.</p>" for sentence in peaks_in_words(found))
    yield (
        "<p>Measured in the same run, by ONNX Runtime on this machine: the faster of a large matrix product and a large convolution; "
        "memory by copying a large array. A model's multiply-adds are those of its convolutions and matrix products, its bytes the least: "
        "weights, input and output, each once. A model above the slope keeps them in the caches from call to call.</p>"
    )
    for peak in found.peaks:
        rows = [row for row in found.rows if row.placed is not None and row.placed.threads == peak.threads]
        if rows:
            yield f"<h3>{peak.threads} {'thread' if peak.threads == 1 else 'threads'}</h3>{roofline(rows, peak)}"
    if cells := roofline_cells(found):
        yield "<p>G: a thousand million multiply-adds.</p>" + table_of(cells[0], cells[1:])


def roofline(rows: Sequence[BenchRow], peak: Peak) -> str:
    """Points under the roofs of one number of threads."""
    places = [(row.case.name, row.placed) for row in rows if row.placed is not None]
    drawn, top = legend([f"{index}  {name}: {place.of_peak:.0%} of the peak" for index, (name, place) in enumerate(places, 1)], 2)
    top += LABEL_PX
    bottom = top + HEIGHT_PX
    across, up = _axes([place for _, place in places], peak, top, bottom)
    body = [drawn, *scale(across, top, bottom, ""), *_grid(up, across)]
    body += [part for kind in peak.multiply_adds_per_s for part in _roof(kind, peak, across, up)]
    for index, (name, place) in enumerate(places):
        x, y = across.at(place.intensity), up.at(place.multiply_adds_per_s / _GIGA)
        said = escape(f"{name}: {place.multiply_adds_per_s / _GIGA:.4g} G/s, {place.of_peak:.1%} of the peak")
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour_of(index)}"><title>{said}</title></circle>')
        body.append(text(x + 8, y + 4, str(index + 1)))
    body.append(text(2, top - 5, "G multiply-adds per second", colour="#555"))
    body.append(text(WIDTH - 2, bottom + 30, "multiply-adds per byte", anchor="end", colour="#555"))
    return svg(bottom + AXIS_PX + 2, body, says="roofline: multiply-adds per second over multiply-adds per byte")


def _axes(places: Sequence[Placed], peak: Peak, top: float, bottom: float) -> tuple[Axis, Axis]:
    """Logarithmic, wide enough for the points and for the corners of the roofs; the second one goes up."""
    corners = [rate / peak.bytes_per_s for rate in peak.multiply_adds_per_s.values()]
    intensities = [*corners, *(place.intensity for place in places)]
    rates = [rate / _GIGA for rate in (*peak.multiply_adds_per_s.values(), *(place.multiply_adds_per_s for place in places))]
    across = Axis(low=min(intensities) / ROOM, high=max(intensities) * ROOM, left=LEFT_PX, logarithmic=True)
    return across, Axis(low=min(rates) / ROOM, high=max(rates) * ROOM, left=bottom, right=top, logarithmic=True)


def _grid(up: Axis, across: Axis) -> Iterator[str]:
    for tick in up.ticks:
        y = up.at(tick)
        yield line(across.left, y, across.right, y, colour=FAINT, width=0.7)
        yield text(across.left - 6, y + 4, f"{tick:g}", anchor="end", colour="#555")


def _roof(kind: Kind, peak: Peak, across: Axis, up: Axis) -> Iterator[str]:
    """The slope of memory up to the corner, and the peak from there on."""
    rate, slope = peak.multiply_adds_per_s[kind] / _GIGA, peak.bytes_per_s / _GIGA
    start = max(across.low, up.low / slope)  # where the slope enters the plot
    corner = rate / slope
    points = [(start, start * slope), (corner, rate), (across.high, rate)]
    yield path([(across.at(x), up.at(y)) for x, y in points], colour=INK, dash=_DASH[kind])
    yield text(across.at(corner) + 6, up.at(rate) + 14, f"{kind} {rate:.4g}")  # under the corner: models lie further right
