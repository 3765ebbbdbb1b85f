"""A labelled data set of what a line sees, from a photograph or a made-up texture (`lineside synth`).

In:   `SynthOptions`: the strips' spec, the texture, how many strips per folder, the seed.
Out:  the tree of `dataset.py`, with `dataset.json` that says how it was made.

    train/good                           clean strips
    valid/good, test/good                in equal turns: clean, defects in the references only, defects in all three channels
    valid/spot, test/{spot,faint,blob,scratch}   target-only defects, with distractors in the references
    ground_truth/KIND                    their masks, PNG 0/255

Target, Ref1 and Ref2 are three acquisitions of one pattern; a fourth channel holds the region that is inspected.
A strip depends on the seed and its own name alone: the same whatever the counts, byte for byte.
The folder is there when it is whole; nothing of the user's is ever deleted.
"""

from __future__ import annotations

import io
import itertools
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from lineside.dataset import DATASET_FILE, DATASET_SCHEMA, GOOD
from lineside.errors import ConfigError, OutputError
from lineside.files import folder_being_written, write_json, writing
from lineside.manifest import sha256_of_file, versions
from lineside.progress import Progress, silent
from lineside.spec import CHANNELS, FULL_SCALE, PRESETS, StripSpec

from .acquisition import MARGIN_PX, MAX_SHIFT_PX, acquire
from .defects import MASK_LEVEL, REF1, REF2, TARGET, add_kernel, box, distractor_channels, find_free_place
from .shapes import KINDS, MIN_ROOM_PX, Defect, spot
from .texture import crop, generated_texture, texture_of_file

SHIFT_PX = 0.25

KINDS_OF_PART: dict[str, tuple[str, ...]] = {"train": (GOOD,), "valid": (GOOD, "spot"), "test": (GOOD, *KINDS)}
CLEAN, REFS, ALL = "clean", "refs", "all"
GOOD_TURNS = (CLEAN, REFS, ALL)
"""What the good strips of valid/ and test/ hold in turn; the word ends their names."""
BORDER_PX = 8
"""No defect is nearer to the edge; the inspected region ends inside this border."""
MIN_SIDE_PX = 2 * (MIN_ROOM_PX + BORDER_PX)
PICTURE_PRESETS = ("square", "mvtec")
"""Sizes whose strips are PNG files, 8 bits, with Target, Ref1 and Ref2 as red, green and blue."""
MAKER = "lineside synth"

_PNG_LEVEL = 1  # noise hardly compresses: Pillow's usual 6 takes five times as long for 13 % less
_SPOTS = (3, 6)  # in a good strip that is not clean
_DISTRACTORS = (2, 5)  # in a defective strip
_OWN_DIRT = ((REF1,), (REF2,))
_TARGET_ONLY = {"spot": (1, 2), "faint": (1, 2), "blob": (1, 1), "scratch": (1, 1)}


@dataclass(frozen=True, kw_only=True)
class SynthOptions:
    """What to make. `train`, `valid` and `test` count the strips of each folder in them; `texture` None makes one up."""

    spec: StripSpec = PRESETS["strip"]
    texture: Path | None = None
    train: int = 24
    valid: int = 8
    test: int = 8
    seed: int = 0
    shift_px: float = SHIFT_PX

    def __post_init__(self) -> None:
        if self.train < 1 or min(self.valid, self.test) < 0:
            raise ConfigError(
                f"{self.train} strips for train, {self.valid} for valid, {self.test} for test",
                why="training needs one at least, and there is no negative number of strips",
                fix="use --train 24 --valid 8 --test 8",
            )
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}", why="a seed is not negative", fix="use --seed 0")
        if not 0.0 <= self.shift_px <= MAX_SHIFT_PX:
            raise ConfigError(f"shift of {self.shift_px} px", why=f"0 to {MAX_SHIFT_PX:g} px are possible", fix=f"use --shift {SHIFT_PX}")
        if min(self.spec.height_px, self.spec.width_px) < MIN_SIDE_PX:
            raise ConfigError(
                f"strips of {self.spec.height_px} x {self.spec.width_px} px",
                why=f"a scratch needs {MIN_SIDE_PX} px in both directions",
                fix=f"use --size {max(self.spec.height_px, MIN_SIDE_PX)}x{max(self.spec.width_px, MIN_SIDE_PX)}",
            )

    @property
    def counts(self) -> dict[str, int]:
        """Strips of every folder, such as {"train/good": 24, ...}."""
        per_part = {"train": self.train, "valid": self.valid, "test": self.test}
        return {f"{part}/{kind}": per_part[part] for part, kinds in KINDS_OF_PART.items() for kind in kinds if per_part[part]}


@dataclass(frozen=True, kw_only=True)
class SynthSummary:
    """What was made, and where."""

    out: Path
    spec: StripSpec
    counts: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"dataset": str(self.out), "spec": self.spec.to_json(), "counts": dict(self.counts)}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A strip: `pixels` (4, H, W) float32 in 0..255, `mask` (H, W) bool of its target-only defects."""

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]


def synthesize(out: Path, options: SynthOptions = SynthOptions(), *, force: bool = False, progress: Progress = silent) -> SynthSummary:
    """Make the data set `out`.

    Args:
        out: The folder to make. One that exists has to be empty; with `force` it may be a data set that this function made.
        options: What to make.
        force: Replace a data set that this function made.
        progress: Hears about every strip.

    Raises:
        ConfigError: The texture cannot be used.
        OutputError: `out` may not be replaced or cannot be written.
    """
    _refuse_other_folder(out, force=force)
    texture = generated_texture(options.seed) if options.texture is None else texture_of_file(options.texture)
    counts = options.counts
    with folder_being_written(out) as folder:
        for part, kind, index in progress(_strips(counts), total=sum(counts.values()), what="strips"):
            drawn = draw_strip(texture, options, part, kind, index)
            files = {_strip_name(part, kind, index, options.spec): _strip_bytes(drawn.pixels, options.spec)}
            if kind != GOOD:
                files[_mask_name(part, kind, index)] = _png_bytes(drawn.mask * np.uint8(FULL_SCALE))
            for name, data in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
        write_json(folder / DATASET_FILE, _manifest(options))
    return SynthSummary(out=out, spec=options.spec, counts=counts)


def draw_strip(texture: NDArray[np.float32], options: SynthOptions, part: str, kind: str, index: int) -> Drawn:
    """Strip number `index` of the folder `part`/`kind`. The same for the same texture, seed, size and shift, whatever else is made."""
    rng = np.random.default_rng([options.seed, zlib.crc32(part.encode()), zlib.crc32(kind.encode()), index])
    height, width = options.spec.height_px, options.spec.width_px
    pattern = crop(texture, height + 2 * MARGIN_PX, width + 2 * MARGIN_PX, rng)
    turn = _turn(part, index) if kind == GOOD else None
    if turn == ALL:  # then it belongs to the pattern, and every picture has it where its shift puts it
        _Canvas(pattern[np.newaxis], MARGIN_PX + BORDER_PX, rng).add_spots([(TARGET,)] * _between(_SPOTS, rng))
    pixels = np.empty((len(CHANNELS) + 1, height, width), np.float32)
    pixels[: len(CHANNELS)] = acquire(pattern, options.shift_px, rng)
    pixels[-1] = _region(height, width, rng)
    canvas = _Canvas(pixels, BORDER_PX, rng)
    if turn is None:
        room = min(canvas.mask.shape) // 2
        for _ in range(_between(_TARGET_ONLY[kind], rng)):
            canvas.add(KINDS[kind](rng, room), (TARGET,))
        canvas.add_spots(distractor_channels(_between(_DISTRACTORS, rng), rng))
    elif turn == REFS:
        # Each reference has dirt of its own. The same spot in both and not in Target looks like its negative in Target: which of
        # the pictures is wrong cannot be told from one strip, so no test may call it good.
        canvas.add_spots([_OWN_DIRT[index % len(_OWN_DIRT)] for index in range(_between(_SPOTS, rng))])
    return Drawn(pixels=pixels, mask=np.pad(canvas.mask, BORDER_PX))


class _Canvas:
    """Where defects may lie in (C, H, W): all but a border. `add` changes the pixels, and marks in `mask` what is in Target."""

    def __init__(self, pixels: NDArray[np.float32], border_px: int, rng: np.random.Generator) -> None:
        inner = slice(border_px, -border_px)
        self.pixels = pixels[:, inner, inner]
        self.mask = np.zeros(self.pixels.shape[1:], np.bool_)
        self._taken = self.mask.copy()
        self._rng = rng

    def add(self, defect: Defect, channels: tuple[int, ...]) -> None:
        """Put it where there is room; without room it is left out."""
        place = find_free_place(self._taken, defect.kernel.shape, self._rng)
        if place is None:
            return
        add_kernel(self.pixels, defect.kernel, place, defect.amplitude, channels)
        if channels == (TARGET,):
            self.mask[box(place, defect.kernel.shape)] |= defect.kernel > MASK_LEVEL

    def add_spots(self, channels_of_each: list[tuple[int, ...]]) -> None:
        """One spot for each entry."""
        for channels in channels_of_each:
            self.add(spot(self._rng, 0), channels)


def _region(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """White where the strip is inspected: all but a few pixels at each side."""
    top, bottom, left, right = rng.integers(2, BORDER_PX - 1, 4)
    region = np.zeros((height, width), np.float32)
    region[top : height - bottom, left : width - right] = FULL_SCALE
    return region


def _turn(part: str, index: int) -> str:
    return CLEAN if part == "train" else GOOD_TURNS[index % len(GOOD_TURNS)]


def _between(range_: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(range_[0], range_[1] + 1))


def _strips(counts: Mapping[str, int]) -> Iterator[tuple[str, str, int]]:
    for folder, count in counts.items():
        part, kind = folder.split("/")
        yield from ((part, kind, index) for index in range(count))


def _strip_name(part: str, kind: str, index: int, spec: StripSpec) -> str:
    # The part is in every name: valid and test share ground_truth.
    turn = f"-{_turn(part, index)}" if kind == GOOD and part != "train" else ""
    return f"{part}/{kind}/{part}-{kind}-{index:04d}{turn}{'.png' if _as_picture(spec) else '.tif'}"


def _mask_name(part: str, kind: str, index: int) -> str:
    return f"ground_truth/{kind}/{part}-{kind}-{index:04d}.png"


def _as_picture(spec: StripSpec) -> bool:
    return (spec.height_px, spec.width_px) in ((PRESETS[name].height_px, PRESETS[name].width_px) for name in PICTURE_PRESETS)


def _strip_bytes(pixels: NDArray[np.float32], spec: StripSpec) -> bytes:
    if _as_picture(spec):
        return _png_bytes(np.rint(pixels[: len(CHANNELS)]).astype(np.uint8).transpose(1, 2, 0))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="minisblack")  # uncompressed, so that it can be memory-mapped
    return buffer.getvalue()


def _png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def _manifest(options: SynthOptions) -> dict[str, Any]:
    """What `dataset.json` says. No time and no path of this machine: the same options give the same bytes."""
    texture = options.texture
    return {
        "schema": DATASET_SCHEMA,
        "maker": MAKER,
        "spec": options.spec.to_json(),
        "seed": options.seed,
        "shift_px": options.shift_px,
        "texture": None if texture is None else {"file": texture.name, "sha256": sha256_of_file(texture)},
        "counts": options.counts,
        "versions": versions(("lineside", "numpy", "scipy", "tifffile", "Pillow")),
    }


def _refuse_other_folder(out: Path, *, force: bool) -> None:
    """Refuse to replace anything but a data set of ours, and that only with `force`."""
    with writing(out):
        if out.resolve() == Path.cwd():
            raise OutputError(f"{out} is the folder you are in", why="it is made anew under that name", fix="name a folder in it")
        if out.exists() and not out.is_dir():
            raise OutputError(f"{out} is a file", why="a folder is made there", fix="name another place")
        ours = _files_of_ours(out)
        others = list(itertools.islice((name for name in _contents(out) if name not in ours), 4))
    if others:
        raise OutputError(
            f"{out} holds what `{MAKER}` did not write: {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}",
            why="a data set replaces the whole folder, and that would be lost",
            fix="name another folder, or move it out",
        )
    if ours and not force:
        raise OutputError(
            f"{out} already holds a data set", why="nothing is overwritten by accident", fix="add --force, or name another folder"
        )


def _contents(out: Path) -> Iterator[str]:
    """Every file, link and empty folder in `out`."""
    for path in out.rglob("*"):
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir()):
            yield path.relative_to(out).as_posix()


def _files_of_ours(out: Path) -> set[str]:
    """Every file that `synthesize` wrote into `out`, by what its `dataset.json` says; none when it is not ours."""
    try:
        value = json.loads((out / DATASET_FILE).read_bytes())
        if value["maker"] != MAKER:
            return set()
        spec, strips = StripSpec.from_json(value["spec"]), list(_strips(value["counts"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError):
        return set()
    names = {_strip_name(*strip, spec) for strip in strips} | {_mask_name(*strip) for strip in strips}
    return names | {DATASET_FILE}
