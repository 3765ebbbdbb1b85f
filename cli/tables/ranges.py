"""A table of ranges, as tables of the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from lineside.cli._console import facts

if TYPE_CHECKING:
    from lineside.calibration.ranges.table import RangesTable

_SHADES = " ▁▂▃▄▅▆▇█"
_COLUMNS = 12


def ranges_tables(path: Path, table: RangesTable) -> tuple[Table, Table]:
    """What the table is bound to, and a line per tensor: what came, its range, and how the magnitudes lie."""
    spec = table.spec
    about = facts(
        f"{path}: ranges of {table.model}",
        [
            ("strips", f"{spec.name} {spec.size}, {len(spec.grid)} tiles of {spec.tile_px} px"),
            ("method", table.method + (f", {table.percentile:g} % kept" if table.method == "percentile" else "")),
            ("patches", f"{len(table.patches)} of {len(table.images)} strips, {table.with_defects} with defects, seed {table.seed}"),
            ("dead tensors", ", ".join(table.dead) or "none"),
            ("network sha256", table.network_sha256),
            ("weights sha256", table.weights_sha256),
            ("sha256", table.sha256),
            ("made with", ", ".join(f"{name} {version}" for name, version in table.versions.items())),
        ],
    )
    ranges = Table(title=f"Ranges by {table.method}; the file has the other methods', too", title_justify="left", title_style="bold")
    ranges.add_column("tensor", style="cyan", no_wrap=True)
    for column in ("least", "most", "range", "clipped"):
        ranges.add_column(column, justify="right")
    ranges.add_column("magnitudes", no_wrap=True)
    for name, tensor in table.tensors.items():
        cells = (*(f"{number:.4g}" for number in (tensor.low, tensor.high, table.amax(name))), f"{tensor.clipped[table.method]:.1g}")
        ranges.add_row(Text(name), *cells, _sparkline(tensor.histogram.counts))
    return about, ranges


def _sparkline(counts: tuple[int, ...]) -> str:
    """How many values lie at which magnitude, from 0 to the greatest, each bar on a logarithmic scale."""
    width = -(-len(counts) // _COLUMNS)
    sums = [sum(counts[start : start + width]) for start in range(0, len(counts), width)]
    highest = max(*sums, 1).bit_length()
    return "".join(_SHADES[round(count.bit_length() / highest * (len(_SHADES) - 1))] for count in sums)
