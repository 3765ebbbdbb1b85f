"""What a strip is: its size, tile, channels and values. Every stage carries this one object along.

A spec travels inside data sets, checkpoints, ONNX metadata and engines (`to_json`, `from_json`), so no later command
asks again. Presets are in `PRESETS`; any other size is a spec of the user's own (`StripSpec.of_size`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from .errors import ConfigError
from .tiles import TileGrid, tiles_needed

Layout = Literal["auto", "chw", "hwc"]
"""Order of the axes in a file; "auto" takes the one that fits and refuses a shape that fits both."""

CHANNELS = ("Target", "Ref1", "Ref2")
"""What the network sees, in this order. A fourth channel of a file (mask) is ignored."""

POOLINGS = 5
"""2x2 poolings of the UNet (design 3): a tile has to be divisible by 2 ** POOLINGS."""

FULL_SCALE = 255.0
"""White in a float or uint8 file (design 2)."""


@dataclass(frozen=True, kw_only=True)
class StripSpec:
    """Size, tiles and values of the strips of one line.

    Attributes:
        name: "strip", "square", "mvtec" or "custom".
        height_px, width_px: Size of a strip.
        tile_px: Side of the square tile that the network sees; a multiple of 32.
        rows, columns: Tiles down and across.
        full_scale: The value of white in the files. 255 for uint8 and float32; uint16 files need theirs said.
        full_scale_given: True when the user said `full_scale`; uint16 files are refused without it.
        layout: Order of the axes in the files.
    """

    name: str = "custom"
    height_px: int
    width_px: int
    tile_px: int
    rows: int
    columns: int
    full_scale: float = FULL_SCALE
    full_scale_given: bool = False
    layout: Layout = "auto"

    def __post_init__(self) -> None:
        multiple = 2**POOLINGS
        if self.tile_px < multiple or self.tile_px % multiple:
            low = max(multiple, self.tile_px // multiple * multiple)
            fitting = [side for side in (low, low + multiple) if side <= min(self.height_px, self.width_px)]
            raise ConfigError(
                f"tile of {self.tile_px} px",
                why=f"the network halves a tile {POOLINGS} times, so its side is a multiple of {multiple}",
                fix=f"use {' or '.join(f'--tile {side}' for side in fitting or [low])}",
            )
        if self.tile_px > min(self.height_px, self.width_px):
            side = min(self.height_px, self.width_px) // multiple * multiple
            raise ConfigError(
                f"tile of {self.tile_px} px in a strip of {self.height_px} x {self.width_px} px",
                why="a tile has to fit into the strip",
                fix=f"use --tile {side}" if side else f"strips smaller than {multiple} px cannot be inspected",
            )
        if self.layout not in get_args(Layout):
            raise ConfigError(f"layout {self.layout!r}", why="the axes are in the order chw or hwc", fix="use --layout chw, hwc or auto")
        if not 0 < self.full_scale < float("inf"):
            raise ConfigError(f"full scale {self.full_scale}", why="white is a positive number", fix="use 255, 4095 or 65535")
        if self.rows < 1 or self.columns < 1:
            raise ConfigError(f"{self.rows} x {self.columns} tiles", why="one tile at least", fix="leave rows and columns out")
        grid = self.grid
        if (len(grid.rows), len(grid.columns)) != (self.rows, self.columns):
            raise ConfigError(
                f"{self.rows} x {self.columns} tiles of {self.tile_px} px over {self.height_px} x {self.width_px} px",
                why="they would leave gaps",
                fix=f"use at least {len(grid.rows)} x {len(grid.columns)} tiles",
            )

    @property
    def grid(self) -> TileGrid:
        """The tiles of a strip of this spec."""
        return TileGrid.over(self.height_px, self.width_px, self.tile_px, rows=self.rows, columns=self.columns)

    @property
    def size(self) -> str:
        """The size as the command line writes it: 976x176."""
        return f"{self.height_px}x{self.width_px}"

    @classmethod
    def of_size(cls, height_px: int, width_px: int, *, tile_px: int | None = None) -> StripSpec:
        """The preset of this size, or a spec of its own with tiles of 128 px where they fit.

        Raises:
            ConfigError: The tile does not fit or is not a multiple of 32.
        """
        for preset in PRESETS.values():
            if (preset.height_px, preset.width_px) == (height_px, width_px) and tile_px in (None, preset.tile_px):
                return preset
        multiple = 2**POOLINGS
        if tile_px is None:
            tile_px = max(multiple, min(128, min(height_px, width_px) // multiple * multiple))
        if not 0 < tile_px <= min(height_px, width_px):  # `tiles_needed` has no answer: let the spec say what is wrong
            return cls(height_px=height_px, width_px=width_px, tile_px=tile_px, rows=1, columns=1)
        rows, columns = tiles_needed(height_px, tile_px), tiles_needed(width_px, tile_px)
        return cls(height_px=height_px, width_px=width_px, tile_px=tile_px, rows=rows, columns=columns)

    @classmethod
    def parse(cls, text: str, *, tile_px: int | None = None) -> StripSpec:
        """The spec of a preset's name or of HEIGHTxWIDTH.

        Raises:
            ConfigError: The text is neither.
        """
        if text in PRESETS:
            preset = PRESETS[text]
            return preset if tile_px is None else cls.of_size(preset.height_px, preset.width_px, tile_px=tile_px)
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
        if not match:
            raise ConfigError(
                f"size {text!r}", why="a size is a preset or HEIGHTxWIDTH", fix=f"use {', '.join(PRESETS)}, or such as 512x256"
            )
        return cls.of_size(int(match[1]), int(match[2]), tile_px=tile_px)

    def with_files(self, *, full_scale: float | None = None, layout: Layout | None = None) -> StripSpec:
        """The same geometry for files with other values or another order of axes; None keeps what is.

        Raises:
            ConfigError: A value that cannot be.
        """
        spec = self if layout is None else replace(self, layout=layout)
        return spec if full_scale is None else replace(spec, full_scale=full_scale, full_scale_given=True)

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values that `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StripSpec:
        """The spec that `to_json` wrote.

        Raises:
            ConfigError: A key is missing, unknown or of another type.
        """
        known = {field.name: type(getattr(PRESETS["strip"], field.name)) for field in fields(cls)}
        if not isinstance(value, Mapping) or set(value) != set(known):
            raise ConfigError(
                "a strip spec with other keys", why=f"its keys are {', '.join(known)}", fix="write the file again with this version"
            )
        for key, kind in known.items():
            if not isinstance(value[key], (int, float) if kind is float else kind) or (kind is int and isinstance(value[key], bool)):
                raise ConfigError(
                    f"strip spec: {key} = {value[key]!r}", why=f"it has to be of type {kind.__name__}", fix="write the file again"
                )
        return cls(**value)


PRESETS: dict[str, StripSpec] = {
    "strip": StripSpec(name="strip", height_px=976, width_px=176, tile_px=128, rows=9, columns=2),
    "square": StripSpec(name="square", height_px=256, width_px=256, tile_px=256, rows=1, columns=1),
    "mvtec": StripSpec(name="mvtec", height_px=1024, width_px=1024, tile_px=256, rows=5, columns=5),
}
"""The sizes of design 2. mvtec has 5 x 5 tiles: 4 x 4 would meet without overlap."""
