"""Is this backend's answer the answer to this strip? The faults that give wrong heatmaps without any error (design 8).

In:   a reference and a candidate that answer heatmaps, and `Probes`.
Out:  a `Check` per fault: passed, failed with what was seen, or not applicable with the reason.
Every check compares answers that have to agree whatever the network has learned: it is no judgement of accuracy. A backend that
raises fails the check it raised in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.errors import ModelError, StripError
from lineside.judge.model import HeatmapModel, Model
from lineside.spec import CHANNELS, FULL_SCALE

from .probes import Probes

SAME = 1e-3
"""Two answers to one strip may be this far apart (design 8: bit for bit, or within 1e-3)."""
HALF = 0.5
"""An explanation is believed when it leaves less than this share of the difference unexplained. The rounding of INT8 explains nothing of
the kind: it is as far from the answer to another question as from the answer to this one."""
VISIBLE = 0.05
"""Heat differences below this are not looked into for a shifted tile, an unwritten place, or an answer to another strip: the rounding of
a network that hardly answers anything looks like any of them."""
_BLOCK_PX = 8
"""Places that are never written are looked for in blocks of this size: a row of a tile's keep window is longer."""

Heatmap = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One fault that was looked for.

    Attributes:
        name: Of the fault, in words.
        passed: None when it cannot be looked for in this candidate.
        detail: What was seen, or why it cannot be looked for.
    """

    name: str
    passed: bool | None
    detail: str

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return asdict(self)


def self_checks(reference: HeatmapModel, candidate: Model, probes: Probes, *, batches: Sequence[int] = ()) -> tuple[Check, ...]:
    """Look for every fault.

    Args:
        reference: The trusted model; its own answers are taken as they are.
        candidate: The model under suspicion, of the same spec.
        probes: Of a good strip of that spec.
        batches: The sizes of batches to ask the candidate for, such as the corners of every profile.

    Raises:
        ModelError: The reference cannot answer.
    """
    asked = _Asked(reference, candidate, probes, batches)
    return tuple(_guarded(name, check, asked) for name, check in _CHECKS.items())


class _NotApplicableError(Exception):
    """This candidate cannot have the fault, or cannot be asked in the way that would show it."""


class _Asked:
    """Both models and what they answered, asked once each."""

    def __init__(self, reference: HeatmapModel, candidate: Model, probes: Probes, batches: Sequence[int]) -> None:
        self.reference, self.candidate, self.probes = reference, candidate, probes
        self.batches = [rows for rows in batches if rows > 1]
        self._truth: dict[bytes, Heatmap] = {}
        self._answer: Heatmap | None = None
        for strip in (probes.clean, probes.planted, probes.other):
            self.truth(strip)  # now: a reference that cannot answer is no fault of the candidate

    def truth(self, strip: NDArray[Any]) -> Heatmap:
        """The reference's answer."""
        key = strip.tobytes()
        if key not in self._truth:
            self._truth[key] = self.reference.heatmap(strip).copy()
        return self._truth[key]

    def ask(self, strip: NDArray[Any]) -> Heatmap:
        """The candidate's answer, asked now."""
        answer: Heatmap = self.candidate.heatmap(strip).copy()
        return answer

    @property
    def answer(self) -> Heatmap:
        """The candidate's answer to the planted strip, asked a second time in a row: of a late answer it is the right one."""
        if self._answer is None:
            self.ask(self.probes.planted)
            self._answer = self.ask(self.probes.planted)
        return self._answer


def _guarded(name: str, check: Callable[[_Asked], str | None], asked: _Asked) -> Check:
    """A check returns what is wrong, or nothing; `_NotApplicableError` says why it cannot be made."""
    try:
        wrong = check(asked)
    except _NotApplicableError as exc:
        return Check(name=name, passed=None, detail=str(exc))
    except ModelError as exc:
        return Check(name=name, passed=False, detail=f"{exc.what}: {exc.why}")
    return Check(name=name, passed=wrong is None, detail=wrong or "")


def _two_runs(asked: _Asked) -> str | None:
    first, second = asked.ask(asked.probes.planted), asked.ask(asked.probes.planted)
    return _apart(first, second, "the same strip twice in a row")


def _late(asked: _Asked) -> str | None:
    """The answer to the strip before."""
    asked.ask(asked.probes.planted)
    answer = asked.ask(asked.probes.other)
    right, late = (_mean_apart(answer, asked.truth(strip)) for strip in (asked.probes.other, asked.probes.planted))
    if late < HALF * right:
        return f"the answer is that to the strip before: {late:.2g} from it, {right:.2g} from the right one on average"
    return None


def _rows(asked: _Asked) -> str | None:
    """Every row of a batch holds the same strip."""
    strip = asked.probes.planted
    for rows, results in _batches(asked, lambda rows: [strip] * rows):
        for row, heatmap in enumerate(results[1:], 2):
            if wrong := _apart(results[0], heatmap, f"rows 1 and {row} of a batch of {rows} that holds one strip {rows} times"):
                return wrong
    return None


def _batch_and_single(asked: _Asked) -> str | None:
    """Every row holds another strip, and answers what it answers alone."""
    strips = (asked.probes.planted, asked.probes.other, asked.probes.clean)
    alone = [asked.ask(strip) for strip in strips for _ in range(2)][1::2]  # the second of two: a late answer is another check's
    for rows, results in _batches(asked, lambda rows: [strips[row % len(strips)] for row in range(rows)]):
        for row, heatmap in enumerate(results):
            if wrong := _apart(alone[row % len(strips)], heatmap, f"row {row + 1} of a batch of {rows} and the same strip alone"):
                return wrong
    return None


def _batches(asked: _Asked, strips: Callable[[int], list[NDArray[Any]]]) -> Iterator[tuple[int, list[Heatmap]]]:
    """The heatmaps of a batch of every size that is worth it."""
    if not asked.batches:
        raise _NotApplicableError("it takes one strip at a time")
    for rows in asked.batches:
        yield rows, [result.heatmap.copy() for result in asked.candidate.inspect_many(strips(rows), batch=rows)]


def _written(asked: _Asked) -> str | None:
    """A place that answers the same to everything, where the reference does not."""
    strips = (asked.probes.planted, asked.probes.other, asked.probes.clean)
    answers = np.stack([asked.ask(strip) for strip in strips for _ in range(2)][1::2])
    truths = np.stack([asked.truth(strip) for strip in strips])
    moves, should_move = (_blocks(values.max(axis=0) - values.min(axis=0)) for values in (answers, truths))
    dead = (moves == 0) & (should_move > VISIBLE)
    if dead.any():
        row, column = (int(place[0]) * _BLOCK_PX for place in np.nonzero(dead))
        return f"{int(dead.sum())} blocks of {_BLOCK_PX} px answer the same to every strip, the first at row {row}, column {column}"
    return None


def _shifted(asked: _Asked) -> str | None:
    """A keep window that fits the reference when it is moved by a pixel."""
    answer, truth = asked.answer, asked.truth(asked.probes.planted)
    for index, tile in enumerate(asked.candidate.spec.grid.tiles):
        rows, columns = tile.rows.kept, tile.columns.kept
        inner = slice(rows.start + 1, rows.stop - 1), slice(columns.start + 1, columns.stop - 1)
        right = truth[inner]
        apart = {
            (down, across): _mean_apart(answer[_moved(inner[0], down), _moved(inner[1], across)], right)
            for down in (-1, 0, 1)
            for across in (-1, 0, 1)
        }
        best = min(apart, key=lambda move: apart[move])
        visible = float(np.abs(answer[inner] - right).max()) > VISIBLE
        if best != (0, 0) and visible and apart[best] < HALF * apart[0, 0]:
            return f"tile {index + 1} lies {best[0]:+d} rows and {best[1]:+d} columns from its place"
    return None


def _channels(asked: _Asked) -> str | None:
    planted = asked.probes.planted
    for order in permutations(range(len(CHANNELS))):
        if order != tuple(range(len(CHANNELS))):
            swapped = planted.copy()
            swapped[: len(CHANNELS)] = planted[list(order)]
            if _explains(asked, swapped):
                return f"it answers as if the channels came in the order {', '.join(CHANNELS[place] for place in order)}"
    return None


def _normalised(asked: _Asked) -> str | None:
    dark = asked.probes.planted.astype(np.float32) / np.float32(FULL_SCALE)
    try:
        asked.truth(dark)
    except StripError as exc:
        raise _NotApplicableError(f"the reference takes no fractions of a grey level: {exc.what}") from exc
    return f"it answers as if the strip had been divided by {FULL_SCALE:g} twice" if _explains(asked, dark) else None


def _strides(asked: _Asked) -> str | None:
    """The same values in another order of memory."""
    strip = asked.probes.planted
    padded = np.zeros((strip.shape[0] + 1, strip.shape[1] + 3, strip.shape[2] + 5), strip.dtype)
    view = padded[:-1, 2:-1, 4:-1]
    view[:] = strip
    for other, name in ((np.asfortranarray(strip), "columns first"), (view, "a view into a larger picture")):
        asked.ask(other)
        if wrong := _apart(asked.answer, asked.ask(other), f"a strip and the same strip laid out as {name}"):
            return wrong
    return None


def _alike(asked: _Asked) -> str | None:
    """The answer has to do with the strip: nearer to the reference's than the reference's answers to two strips are to each other."""
    truth = asked.truth(asked.probes.planted)
    apart, scale = _mean_apart(asked.answer, truth), _mean_apart(asked.truth(asked.probes.other), truth)
    if scale < SAME:
        raise _NotApplicableError(f"the reference hardly tells two strips apart: its answers differ by {scale:.2g} on average")
    if apart > scale:
        return f"the heatmap is {apart:.2g} from the reference's on average; those of two different strips are {scale:.2g} apart"
    return None


_CHECKS: dict[str, Callable[[_Asked], str | None]] = {
    "two runs agree": _two_runs,
    "no answer is that of the strip before": _late,
    "rows of a batch agree": _rows,
    "a batch answers what single strips do, at every profile's corners": _batch_and_single,
    "every place is written": _written,
    "every tile lies in its place": _shifted,
    "channels are in their order": _channels,
    "normalised once": _normalised,
    "any layout in memory": _strides,
    "answers to the strip that it was given": _alike,
}


def _explains(asked: _Asked, strip: NDArray[Any]) -> bool:
    """Whether the candidate answers to `planted` what the reference answers to `strip`."""
    answer, truth = asked.answer, asked.truth(asked.probes.planted)
    visible = float(np.abs(answer - truth).max()) > VISIBLE
    return visible and _mean_apart(answer, asked.truth(strip)) < HALF * _mean_apart(answer, truth)


def _apart(one: Heatmap, other: Heatmap, what: str) -> str | None:
    apart = np.abs(one - other)
    if not apart.max() > SAME:
        return None
    row, column = np.unravel_index(apart.argmax(), apart.shape)
    return f"{what} are {apart.max():.3g} apart at row {row}, column {column}"


def _mean_apart(one: Heatmap, other: Heatmap) -> float:
    return float(np.abs(one - other).mean(dtype=np.float64))


def _blocks(values: Heatmap) -> Heatmap:
    """The largest value of every whole block of (H, W)."""
    rows, columns = (side // _BLOCK_PX for side in values.shape)
    whole = values[: rows * _BLOCK_PX, : columns * _BLOCK_PX].reshape(rows, _BLOCK_PX, columns, _BLOCK_PX)
    largest: Heatmap = whole.max(axis=(1, 3))
    return largest


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
