"""The frame of every HTML page: one self-contained file, read from disk on a desk, on a phone or on A4 paper.

In:   the title, and parts that are HTML already.
Out:  the text of the page. No script, no other file, no network.
Whoever puts text into a part escapes it; `facts_of` and `table_of` do.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

from PIL import Image

FAILED = "FAILED"
"""A cell with this word is red."""
_BAD = ' class="bad"'
_COLOURS = 256
"""Of a picture: greys and heat need no more, and the page stays a third of the size."""

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.35rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
h3 { font-size: .95rem; margin: 1.2rem 0 .2rem; overflow-wrap: anywhere; }
code, pre { background: #f2f2f2; padding: .1em .3em; overflow-wrap: anywhere; }
pre { padding: .6em; white-space: pre-wrap; }
.verdict { padding: .1em .6em; border-radius: .3em; color: #fff; white-space: nowrap;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.yes { background: #2f7d32; }
.no { background: #b5383d; }
.unsure { background: #8a6100; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
dt { color: #666; }
dd { margin: 0; overflow-wrap: anywhere; }
.fault { border-left: .3rem solid #b5383d; padding: .1rem 0 .1rem .8rem; margin: .5rem 0; }
.unknown { border-left: .3rem solid #8a6100; padding: .1rem 0 .1rem .8rem; margin: .5rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .2rem .6rem; text-align: right; border-top: 1px solid #ddd; vertical-align: top; }
td:first-child, th:first-child { text-align: left; }
table:not(.text) td:not(:first-child) { white-space: nowrap; }
.text td, .text th { text-align: left; }
.bad { color: #b5383d; font-weight: 600; }
.good { color: #2f7d32; }
img { max-width: 100%; height: auto; image-rendering: pixelated; }
figure { margin: .8rem 0 1.4rem; break-inside: avoid; }
figcaption { font-size: .9rem; }
svg { max-width: 100%; height: auto; display: block; }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .4rem; }
  td, th { padding: .2rem .35rem; font-size: .85rem; }
}
@media print {
  @page { size: A4; margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2, h3 { break-after: avoid; }
  tr { break-inside: avoid; }
  details > * { display: block; }
}
"""


def page(title: str, parts: Iterable[str], *, style: str = "") -> str:
    """A whole page; `style` are rules of this page alone."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def facts_of(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in rows) + "</dl>"


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "") -> str:
    """A table of text that may be scrolled sideways; `kind` is a class of the style."""
    lines = [_cells("th", head), *(_cells("td", row) for row in rows)]
    return f'<div class="scroll"><table class="{kind}">{"".join(lines)}</table></div>'


def picture_of(image: Image.Image, text: str) -> str:
    """A picture inside the page; `text` says what it shows, for whoever cannot see it."""
    data = io.BytesIO()
    image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
    return f'<img src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}" alt="{escape(text)}">'


def _cells(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}{_BAD if cell == FAILED else ''}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
