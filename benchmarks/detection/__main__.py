"""Is what a line has found? Defects and lines that no recipe knows, one row for each.

    python -m lineside.benchmarks.detection --json detection.json
    python -m lineside.benchmarks.detection --quick

In:   names of patterns and lines, how many strips.
Out:  for each line and pattern: AUROC, and the share of defective strips above the highest good one, of every kind; as a table, and with
      --json with the scores and the environment.
What is judged: the plain difference of the strips as they come, and after `lineside.train.registration`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lineside._optional import require
from lineside.benchmarks.measure.console import console, table_with
from lineside.benchmarks.measure.environment import environment
from lineside.errors import ConfigError
from lineside.files import refuse_existing, write_json
from lineside.judge.metrics import Curve
from lineside.spec import FULL_SCALE, PRESETS, StripSpec

from .camera import LINES, ROOM_PX, take
from .kinds import KINDS, spoil
from .patterns import NAMES, pattern_of
from .plain import difference

Strip = NDArray[np.float32]
SPEC = PRESETS["strip"]
QUICK = ("shift 1, jitter",)


@dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """What is judged on. `good` strips of every pattern on every line, and `defective` ones of every kind."""

    patterns: Sequence[str] = NAMES
    lines: Sequence[str] = tuple(LINES)
    good: int = 20
    defective: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for what, names, known in (("pattern", self.patterns, NAMES), ("line", self.lines, tuple(LINES))):
            for name in names:
                if name not in known:
                    raise ConfigError(f"{what} {name!r}", why=f"there are {', '.join(known)}", fix="name one of them")
        if min(self.good, self.defective) < 1:
            raise ConfigError(f"{self.good} good and {self.defective} defective strips", why="one of each at least", fix="use 20 and 10")


@dataclass(frozen=True, kw_only=True)
class Found:
    """One row: the scores of good strips, and of defective ones by kind."""

    model: str
    line: str
    pattern: str
    good: tuple[float, ...]
    defective: dict[str, tuple[float, ...]]

    def auroc(self, kind: str) -> float:
        """Of one kind against the good strips."""
        scores = (*self.good, *self.defective[kind])
        area = Curve.of_scores(scores, [index >= len(self.good) for index in range(len(scores))]).auroc
        assert area is not None
        return area

    def recall(self, kind: str) -> float:
        """Share of the defective strips above every good one."""
        return sum(score > max(self.good) for score in self.defective[kind]) / len(self.defective[kind])


def strip_of(pattern: str, line: str, kind: str | None, index: int, seed: int, spec: StripSpec = SPEC) -> Strip:
    """Strip number `index`: (3, H, W) float32 in 0..255; the same for the same arguments."""
    place = (NAMES.index(pattern), tuple(LINES).index(line), 0 if kind is None else 1 + tuple(KINDS).index(kind))
    rng = np.random.default_rng([seed, *place, index])
    piece = pattern_of(pattern, spec.height_px + 2 * ROOM_PX, spec.width_px + 2 * ROOM_PX, rng)
    return take(piece, LINES[line], rng, None if kind is None else partial(spoil, kind=kind, rng=rng))


def judged(models: dict[str, Callable[[Strip], float]], options: DetectionOptions, pattern: str, line: str) -> list[Found]:
    """A row for every model, on the same strips."""
    scores: dict[str, dict[str | None, list[float]]] = {name: {kind: [] for kind in (None, *KINDS)} for name in models}
    for kind in (None, *KINDS):
        for index in range(options.good if kind is None else options.defective):
            strip = strip_of(pattern, line, kind, index, options.seed)
            for name, score in models.items():
                scores[name][kind].append(score(strip))
    return [
        Found(model=name, line=line, pattern=pattern, good=tuple(of[None]), defective={kind: tuple(of[kind]) for kind in KINDS})
        for name, of in scores.items()
    ]


def models() -> dict[str, Callable[[Strip], float]]:
    """What is judged, by name. Raises: MissingPackageError: PyTorch, which registers, is not installed."""
    torch = require("torch", extra="train")
    from lineside.train.registration.register import Registration

    registration = Registration(SPEC.height_px, SPEC.width_px).eval()

    def registered(strip: Strip) -> float:
        with torch.no_grad():
            laid: Any = registration(torch.from_numpy(strip / np.float32(FULL_SCALE))[None])[0].numpy() * FULL_SCALE
        return float(difference(laid).max())

    return {"difference": lambda strip: float(difference(strip).max()), "registered difference": registered}


def detection_table(found: Sequence[Found]) -> Table:
    """A row for each model on each line with each pattern: AUROC / recall of every kind, and the highest good score in grey levels."""
    table = table_with("AUROC / recall above the highest good strip", "line", "pattern", "model", numbers=(*KINDS, "good up to"))
    for row in found:
        cells = [f"{row.auroc(kind):.3f} / {row.recall(kind):.2f}" for kind in KINDS]
        table.add_row(row.line, row.pattern, row.model, *cells, f"{max(row.good):.1f}")
    return table


def main(
    pattern: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(NAMES)}; again for more. All unless said.")] = None,
    line: Annotated[list[str] | None, typer.Option(help=f"One of: {'; '.join(LINES)}. Again for more. All unless said.")] = None,
    good: Annotated[int, typer.Option(help="Good strips of each pattern on each line.")] = 20,
    defective: Annotated[int, typer.Option(help="Defective strips of each kind.")] = 10,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="One line, four good strips and two of each kind.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write scores and environment.")] = None,
) -> None:
    """Judge on lines and defects that no recipe knows."""
    if json is not None:
        refuse_existing(json, force=False)
    options = DetectionOptions(
        patterns=tuple(pattern or NAMES),
        lines=tuple(line or (QUICK if quick else LINES)),
        good=4 if quick else good,
        defective=2 if quick else defective,
        seed=seed,
    )
    judges = models()
    pairs = [(one, other) for one in options.lines for other in options.patterns]
    bar = track(pairs, description="lines and patterns", console=Console(stderr=True))
    found = [row for on, of in bar for row in judged(judges, options, of, on)]
    console().print(detection_table(found))
    if json is not None:
        kept = [{**asdict(row), "auroc": {k: row.auroc(k) for k in KINDS}, "recall": {k: row.recall(k) for k in KINDS}} for row in found]
        write_json(json, {"schema": 1, "options": asdict(options), "rows": kept, "environment": environment()})


if __name__ == "__main__":
    typer.run(main)
