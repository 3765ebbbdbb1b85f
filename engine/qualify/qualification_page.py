"""A qualification as one HTML page that a quality engineer signs: the answer first, then the numbers, then the worst strips side by side.

In:   a `Qualification`; the worst strips are read, and both models asked, once more.
Out:  the text of a page that needs nothing else.
Heat is made smaller by its maximum, never by its mean: a peak of one pixel stays visible.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lineside.dataset import read_sample
from lineside.judge.compare import HeatDifference
from lineside.judge.gate import Criterion, ScorePair
from lineside.judge.pixel_metrics import label_regions
from lineside.pictures.colormap import rgb_from_heat
from lineside.pictures.page import FAILED, facts_of, page, picture_of, table_of

from .qualification import Qualification, Subject
from .strip_results import Compared

OVERVIEW_PX = 976
"""Long edge of a whole strip in the page: that of the preset, so that it is shown as it is."""
PART_PX, ENLARGED = 56, 4
"""The part that is shown larger, around the largest difference."""
LISTED = 50
"""Strips of one list that the page shows; report.json has all."""
_GAP_PX, _CAPTION_PX = 8, 18
_FONT = ImageFont.load_default(13)
_WORDS = {"qualified": "yes", "not qualified": "no", "not enough data": "unsure"}

RGB = NDArray[np.uint8]


def page_of(found: Qualification) -> str:
    """The page. Raises: StripError, DatasetError, ModelError."""
    return page(f"{found.candidate.path.name}: {found.answer}", _parts(found))


def _parts(found: Qualification) -> Iterator[str]:
    name, kind = escape(found.candidate.path.name), _WORDS[found.answer]
    yield f'<h1>{name} <span class="verdict {kind}">{escape(found.answer)}</span></h1>'
    yield _in_words(found)
    yield from (f'<p class="fault">{escape(text)}</p>' for text in found.failures)
    yield from (f'<p class="unknown">{escape(text)}</p>' for text in found.missing)
    yield from (f'<p class="unknown">{escape(text)}</p>' for text in found.warnings)
    yield "<h2>Verdicts and numbers</h2>"
    yield _criteria(found)
    yield _numbers(found)
    yield "<h2>Wrong answers without an error</h2>"
    words = {True: "ok", False: FAILED, None: "not checked"}
    yield table_of(("check", "", "seen"), [(check.name, words[check.passed], check.detail) for check in found.checks], kind="text")
    yield from _pairs("Verdicts that flip", found.decision.flips)
    yield from _pairs(f"Scores within {found.decision.margin:g} of the threshold", found.decision.near)
    yield f"<h2>The {len(found.worst)} worst strips</h2><p>Flipped verdicts first, then the largest differences of the heatmaps.</p>"
    yield from (_figure(found, one) for one in found.worst)
    yield "<h2>Where both come from</h2>"
    yield from (_lineage(role, subject) for role, subject in (("reference", found.reference), ("candidate", found.candidate)))
    yield f"<h2>How to reproduce</h2><pre>{escape(_command(found))}</pre>"


def _in_words(found: Qualification) -> str:
    texts = {
        "qualified": "It gives the verdicts of the reference on these strips, and nothing was found that speaks against it.",
        "not qualified": "It may not take the place of the reference.",
        "not enough data": "Nothing speaks against it, but these strips do not show enough to be sure.",
    }
    return f"<p>{escape(texts[found.answer])}</p>" + facts_of(
        [
            ("reference", found.reference.path),
            ("data set", f"{found.strips.root}, {len(found.compared)} strips{'' if found.strips.labelled else ' without labels'}"),
            ("threshold", f"{found.decision.threshold:.6g}"),
            (
                "verdicts that flip",
                f"{len(found.decision.flips)}; on all strips of the line up to {found.decision.flip_rate.high:.2%} (95 %)",
            ),
            ("when", found.when),
        ]
    )


def _criteria(found: Qualification) -> str:
    head = ("criterion", "reference", "candidate", "fall", "95 %", "limit", "strips", "")
    rows = [
        (
            one.name,
            f"{one.reference:.4f}",
            f"{one.candidate:.4f}",
            f"{one.down.value:+.4f}",
            f"{one.down.low:+.4f} .. {one.down.high:+.4f}",
            f"{one.limit:g}",
            str(one.strips),
            _word(one, found),
        )
        for one in found.decision.criteria
    ]
    return table_of(head, rows)


def _word(one: Criterion, found: Qualification) -> str:
    if not one.passed:
        return FAILED
    return "unsure" if one in found.decision.unsure else "ok"


def _numbers(found: Qualification) -> str:
    where = max(found.compared, key=lambda one: one.difference.max)
    rows = [
        (
            "largest difference",
            f"{where.difference.max:.4g} at row {where.difference.row_px}, column {where.difference.column_px} of {where.sample.path}",
        ),
        ("mean difference", f"{found.mean_difference:.3g}"),
    ]
    rows += [
        (f"median time of the {role}", f"{value:.1f} ms per strip, as it told while both ran in turn")
        for role, value in zip(("reference", "candidate"), found.median_ms, strict=True)
        if value is not None
    ]
    return facts_of(rows)


def _pairs(title: str, pairs: tuple[ScorePair, ...]) -> Iterator[str]:
    if pairs:
        rows = [(pair.name, pair.kind, f"{pair.reference:.4f}", f"{pair.candidate:.4f}") for pair in pairs[:LISTED]]
        rows += [(f"and {len(pairs) - LISTED} more, in report.json", "", "", "")] if len(pairs) > LISTED else []
        yield f"<h2>{escape(title)}</h2>"
        yield table_of(("strip", "kind", "reference", "candidate"), rows)


def _figure(found: Qualification, one: Compared) -> str:
    old, new = one.reference.row, one.candidate.row
    flips = f": {old.verdict} becomes {new.verdict}" if one.flips else f", both {old.verdict}"
    text = f"{one.sample.path} ({one.sample.kind}{flips}); scores {old.score:.4f} and {new.score:.4f}"
    text += f", largest difference {one.difference.max:.4f}"
    return f"<figure><figcaption>{escape(text)}</figcaption>{picture_of(_picture(found, one), text)}</figure>"


def _picture(found: Qualification, one: Compared) -> Image.Image:
    """Target, both heatmaps and their difference: the whole strip, lying, and the part around the largest difference."""
    strip, mask = read_sample(one.sample, found.reference.model.spec)
    old = found.reference.model.heatmap(strip).copy()
    new = found.candidate.model.heatmap(strip).copy()
    apart = np.abs(old - new)
    most = max(float(apart.max()), np.finfo(np.float32).tiny)
    target = np.repeat(np.clip(strip[0], 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    panels = {
        "Target, ground truth framed": _framed(target, mask),
        "reference": rgb_from_heat(old),
        "candidate": rgb_from_heat(new),
        f"difference, {most:.3g} is brightest": rgb_from_heat(apart / most),
    }
    whole = _stack([_captioned(_lying(panel), name) for name, panel in panels.items()], down=True)
    place = _part(HeatDifference.of(old, new), apart.shape)
    parts = _stack([_captioned(panel[place].repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1), name) for name, panel in panels.items()])
    return _stack([np.asarray(whole), np.asarray(parts)], down=True)


def _framed(picture: RGB, mask: NDArray[np.bool_]) -> RGB:
    labels, count = label_regions(mask)
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for number in range(1, count + 1):
        rows, columns = np.nonzero(labels == number)
        draw.rectangle((columns.min() - 3, rows.min() - 3, columns.max() + 3, rows.max() + 3), outline=(60, 220, 110))
    return np.asarray(image)


def _lying(picture: RGB) -> RGB:
    """The long edge from left to right, no longer than `OVERVIEW_PX`; made smaller by the maximum of each block."""
    lying = picture.transpose(1, 0, 2) if picture.shape[0] > picture.shape[1] else picture
    factor = -(-lying.shape[1] // OVERVIEW_PX)
    rows, columns = (side // factor * factor for side in lying.shape[:2])
    blocks = lying[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor, 3)
    smaller: RGB = blocks.max(axis=(1, 3))
    return smaller


def _part(difference: HeatDifference, shape: tuple[int, ...]) -> tuple[slice, slice]:
    sides = [min(PART_PX, length) for length in shape]
    starts = [
        min(max(0, middle - side // 2), length - side)
        for middle, side, length in zip((difference.row_px, difference.column_px), sides, shape, strict=True)
    ]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return rows, columns


def _captioned(picture: RGB, text: str) -> RGB:
    height, width = picture.shape[:2]
    image = Image.new("RGB", (width, height + _CAPTION_PX), "white")
    image.paste(Image.fromarray(picture), (0, _CAPTION_PX))
    ImageDraw.Draw(image).text((0, 1), text, (60, 60, 60), _FONT)
    return np.asarray(image)


def _stack(pictures: list[Any], *, down: bool = False) -> Image.Image:
    heights, widths = [picture.shape[0] for picture in pictures], [picture.shape[1] for picture in pictures]
    gaps = _GAP_PX * (len(pictures) - 1)
    size = (max(widths), sum(heights) + gaps) if down else (sum(widths) + gaps, max(heights))
    image = Image.new("RGB", size, "white")
    for index, picture in enumerate(pictures):
        before = sum((heights if down else widths)[:index]) + _GAP_PX * index
        image.paste(Image.fromarray(picture), (0, before) if down else (before, 0))
    return image


def _lineage(role: str, subject: Subject) -> str:
    about = {
        name: value for name, value in subject.about.items() if name not in ("path", "sha256", "manifest", "spec") and value is not None
    }
    manifest = subject.about.get("manifest") or {}
    made = {name: manifest[name] for name in ("tiling", "io", "precision", "threshold_rule", "checkpoint_sha256") if manifest.get(name)}
    rows: dict[str, object] = {
        "file": subject.path,
        "sha256": subject.sha256,
        "weights sha256": subject.weights_sha256 or "not known",
        **made,
        **about,
    }
    return f"<h3>{escape(role.capitalize())}</h3>" + facts_of(rows.items())


def _command(found: Qualification) -> str:
    return shlex.join(
        [
            *("lineside", "qualify", str(found.candidate.path), "--reference", str(found.reference.path)),
            *("--dataset", str(found.strips.root), "--threshold", f"{found.decision.threshold!r}"),
            *("--margin", f"{found.decision.margin:g}", "--report", "REPORT"),
        ]
    )
