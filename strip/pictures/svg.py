"""Plots as inline SVG, drawn by a few functions: no script, no font, no file beside the page.

In:   numbers and names.
Out:  the text of an `<svg>` that grows and shrinks with the page, and says in words what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 640
"""Of every plot, in its own units."""
SHOWN_PX = 800
"""As wide as that on a desk; the page makes it narrower on a phone."""
COLOURS = ("#1f6fb4", "#d95f02", "#3a923a", "#b5383d", "#7a4fa3", "#8a6100", "#17868a", "#666666")
"""Told apart also on paper and with red-green blindness (order of use: blue, orange, green, red, ...)."""
INK, FAINT = "#222", "#ccc"
LABEL_PX, LANE_PX, MARGIN_PX, AXIS_PX = 16, 26, 12, 34
_FONT = 12.5


@dataclass(frozen=True, kw_only=True)
class Axis:
    """From values to places between `left` and `right`; logarithmic when it spans more than a factor of 20."""

    low: float
    high: float
    left: float = MARGIN_PX
    right: float = WIDTH - 3 * MARGIN_PX
    logarithmic: bool = False

    @classmethod
    def over(cls, values: Iterable[float], *, zero: bool = False) -> Axis:
        """That all `values` lie on."""
        found = list(values)
        low, high = (0.0 if zero else min(found)), max(found)
        if not zero and low > 0 and high > 20 * low:
            return cls(low=low, high=high, logarithmic=True)
        if high <= low:
            return cls(low=low - max(abs(low), 1) * 0.05, high=high + max(abs(high), 1) * 0.05)
        return cls(low=low if zero else low - 0.03 * (high - low), high=high + 0.03 * (high - low))

    def at(self, value: float) -> float:
        """Where a value lies."""
        low, high, value = (math.log(one) if self.logarithmic else one for one in (self.low, self.high, value))
        return self.left + (value - low) / ((high - low) or 1) * (self.right - self.left)

    @property
    def ticks(self) -> list[float]:
        """Round numbers on it."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            few = len(decades) <= 3
            found = [step * 10.0**decade for decade in decades for step in ((1, 2, 5) if few else (1,))]
        else:
            rough = (self.high - self.low) / 6
            size = 10 ** math.floor(math.log10(rough))
            step = next(size * times for times in (1, 2, 5, 10) if size * times >= rough)
            found = [step * count for count in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [value for value in found if self.low <= value <= self.high]


def svg(height: float, parts: Iterable[str], *, says: str) -> str:
    """A picture; `says` is for whoever cannot see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="{SHOWN_PX}" role="img" aria-label="{escape(says)}" '
        f'font-family="system-ui, sans-serif" font-size="{_FONT}">{"".join(parts)}</svg>'
    )


def text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = INK) -> str:
    """Words; `anchor` says whether x is their start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, colour: str = INK, width: float = 1, dash: str = "") -> str:
    """A straight line."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"{dashed}/>'


def rect(x: float, y: float, width: float, height: float, *, colour: str, says: str = "") -> str:
    """A filled box; `says` is shown where the pointer rests."""
    title = f"<title>{escape(says)}</title>" if says else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" fill="{colour}">{title}</rect>'


def path(points: Sequence[tuple[float, float]], *, colour: str, filled: bool = False, dash: str = "") -> str:
    """A line through points, or the area that it encloses."""
    moves = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    if filled:
        return f'<polygon points="{moves}" fill="{colour}" fill-opacity=".35"/>'
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{moves}" fill="none" stroke="{colour}" stroke-width="1.6"{dashed}/>'


def scale(axis: Axis, top: float, bottom: float, unit: str) -> Iterable[str]:
    """Grid lines with their numbers below."""
    last = -math.inf
    for value in axis.ticks:
        x = axis.at(value)
        yield line(x, top, x, bottom, colour=FAINT, width=0.7)
        if x - last > 38:  # room for a number
            yield text(x, bottom + 15, f"{value:g}", anchor="middle", colour="#555")
            last = x
    yield text(WIDTH - 2, bottom + 15, unit, anchor="end", colour="#555")


def legend(names: Sequence[str], y: float) -> tuple[str, float]:
    """Coloured names in as many lines as they take, and the height of that."""
    parts, x, start = [], float(MARGIN_PX), y
    for index, name in enumerate(names):
        width = 22 + 7 * len(name)
        if x + width > WIDTH and x > MARGIN_PX:
            x, y = float(MARGIN_PX), y + LABEL_PX
        parts += [rect(x, y, 10, 10, colour=colour_of(index)), text(x + 14, y + 9.5, name)]
        x += width
    return "".join(parts), y + LABEL_PX + 4 - start


def colour_of(index: int) -> str:
    """The colour of series number `index`."""
    return COLOURS[index % len(COLOURS)]


def stacked_bars(rows: Sequence[tuple[str, Mapping[str, float]]], *, unit: str, says: str) -> str:
    """A bar per row, one part per stage; the stages of all rows have the same colours."""
    stages = list(dict.fromkeys(stage for _, parts in rows for stage in parts))
    axis = Axis.over((sum(parts.values()) for _, parts in rows), zero=True)
    drawn, top = legend(stages, 2)
    bottom = top + len(rows) * (LABEL_PX + LANE_PX)
    body = [*scale(axis, top, bottom, unit)]
    for position, (name, parts) in enumerate(rows):
        y, before = top + position * (LABEL_PX + LANE_PX), 0.0
        body.append(text(MARGIN_PX, y + 12, f"{name}: {sum(parts.values()):.4g} {unit}"))
        for stage, value in parts.items():
            x = axis.at(before)
            width = axis.at(before + value) - x
            body.append(
                rect(x, y + LABEL_PX, width, LANE_PX - 9, colour=colour_of(stages.index(stage)), says=f"{stage} {value:.4g} {unit}")
            )
            before += value
    return svg(bottom + AXIS_PX - 10, [drawn, *body], says=says)


def intervals(rows: Sequence[tuple[str, float, float, float]], *, unit: str, at: float, says: str) -> str:
    """A point with its interval per row, and a line at the value that all are compared with."""
    axis = Axis.over([*(value for _, *values in rows for value in values), at])
    bottom = len(rows) * (LABEL_PX + LANE_PX)
    body = [*scale(axis, 0, bottom, unit), line(axis.at(at), 0, axis.at(at), bottom, colour="#555", dash="4 3")]
    for position, (name, value, low, high) in enumerate(rows):
        y = position * (LABEL_PX + LANE_PX)
        middle = y + LABEL_PX + LANE_PX / 2 - 4
        body += [
            text(MARGIN_PX, y + 12, f"{name}: {value:.3f} ({low:.3f} .. {high:.3f})"),
            line(axis.at(low), middle, axis.at(high), middle, colour=COLOURS[0], width=3),
            f'<circle cx="{axis.at(value):.1f}" cy="{middle:.1f}" r="4.5" fill="{COLOURS[0]}"/>',
        ]
    return svg(bottom + AXIS_PX - 10, body, says=says)


def lines(rows: Sequence[tuple[str, Sequence[float], str]], *, unit: str, across: str, says: str, height: float = 230) -> str:
    """Lines over 1, 2, 3, ...: a name, values, and how the line is dashed; a name that comes again keeps its colour."""
    names = list(dict.fromkeys(name for name, _, _ in rows))
    drawn, top = legend(names, 2)
    top += LABEL_PX
    values = Axis.over((value for _, series, _ in rows for value in series), zero=True)
    count = max(len(series) for _, series, _ in rows)
    axis = Axis(low=0.5, high=count + 0.5, left=52)
    body = [text(2, top - 4, unit, colour="#555"), text(WIDTH - 2, top + height + 16, across, anchor="end", colour="#555")]

    def y_of(value: float) -> float:
        return top + height - (value - values.low) / (values.high - values.low) * height

    for tick in values.ticks:
        body += [line(axis.left, y_of(tick), axis.right, y_of(tick), colour=FAINT, width=0.7)]
        body += [text(axis.left - 6, y_of(tick) + 4, f"{tick:g}", anchor="end", colour="#555")]
    body += [
        text(axis.at(tick), top + height + 16, f"{tick:g}", anchor="middle", colour="#555")
        for tick in axis.ticks
        if tick == int(tick) and axis.at(tick) < WIDTH - 70
    ]
    for name, series, dash in rows:
        points = [(axis.at(index + 1), y_of(value)) for index, value in enumerate(series)]
        colour = colour_of(names.index(name))
        body.append(path(points, colour=colour, dash=dash))
        body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}"/>' for x, y in points]
    return svg(top + height + AXIS_PX, [drawn, *body], says=says)
