"""What is noticed about the files of strips, and what is not let pass."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from lineside.dataset import Sample, read_mask
from lineside.errors import StripError
from lineside.notices import SAME_REFERENCES, collecting
from lineside.reader import read_strip
from lineside.spec import StripSpec

SPEC = StripSpec.of_size(64, 96, tile_px=64)
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (64, 96, 3)).astype(np.uint8)


def noticed(path: Path, **options: Any) -> str:
    with collecting(**options) as notices:
        read_strip(path, SPEC)
    return "\n".join(notices.lines())


def png(path: Path, pixels: Any = COLOUR, **more: Any) -> Path:
    Image.fromarray(pixels).save(path, "PNG", **more)
    return path


def tiff(path: Path, pixels: Any, **more: Any) -> Path:
    tifffile.imwrite(path, pixels, photometric="minisblack", **more)
    return path


def test_plain_files_are_not_talked_about(tmp_path: Path) -> None:
    strip = RNG.integers(0, 256, (4, 64, 96)).astype(np.uint8)
    for path in (png(tmp_path / "a.png"), tiff(tmp_path / "a.tif", strip), tiff(tmp_path / "b.tif", strip.astype(np.float32))):
        assert noticed(path) == ""
    tifffile.imwrite(tmp_path / "c.tif", strip, photometric="minisblack", planarconfig="separate")
    assert noticed(tmp_path / "c.tif") == ""


def test_a_gray_picture_cannot_show_a_defect_and_is_said_to(tmp_path: Path) -> None:
    assert "always OK" in noticed(png(tmp_path / "gray.png", COLOUR[..., 0]))
    assert "always OK" in noticed(tiff(tmp_path / "gray.tif", COLOUR[..., 0]))


@pytest.mark.parametrize("reference", [1, 2])
def test_a_target_that_is_a_reference_is_noticed(tmp_path: Path, reference: int) -> None:
    strip = COLOUR.transpose(2, 0, 1).copy()
    strip[0] = strip[reference]
    assert "Target is a copy of a reference" in noticed(tiff(tmp_path / "a.tif", strip))
    strip[0, 40, 50] ^= 1
    assert noticed(tiff(tmp_path / "b.tif", strip)) == ""


def test_references_that_are_the_same_in_every_strip_are_noticed_once_and_not_when_one_strip_differs(tmp_path: Path) -> None:
    strip = COLOUR.transpose(2, 0, 1).copy()
    other = strip.copy()
    strip[2] = strip[1]
    paths = [tiff(tmp_path / f"{index}.tif", strip) for index in range(3)]
    with collecting() as notices:
        for path in paths:
            read_strip(path, SPEC)
        assert notices.lines() == (f"{SAME_REFERENCES} (3 strips)",)
        read_strip(tiff(tmp_path / "other.tif", other), SPEC)
        assert notices.lines() == ()


def test_a_thousand_files_of_a_kind_are_one_line(tmp_path: Path) -> None:
    path = png(tmp_path / "000.png", COLOUR[..., 0])
    with collecting() as notices:
        for index in range(1, 30):
            (tmp_path / f"{index:03}.png").write_bytes(path.read_bytes())
            read_strip(tmp_path / f"{index:03}.png", SPEC)
    (line,) = notices.lines()
    assert line.endswith("001.png, and 28 more")


def test_strict_makes_errors_of_them(tmp_path: Path) -> None:
    with pytest.raises(StripError, match="--strict"):
        noticed(png(tmp_path / "gray.png", COLOUR[..., 0]), strict=True)


def test_a_notice_that_nobody_collects_goes_to_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "lineside"):
        read_strip(png(tmp_path / "gray.png", COLOUR[..., 0]), SPEC)
    assert "gray.png" in caplog.text


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2"])
def test_a_jpeg_with_halved_colour_is_refused_unless_it_is_allowed(tmp_path: Path, subsampling: str) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(COLOUR).save(path, quality=95, subsampling=subsampling)
    with pytest.raises(StripError, match="half its resolution") as caught:
        read_strip(path, SPEC)
    assert "PNG or TIFF" in caught.value.fix
    assert "--allow-lossy" in caught.value.fix
    assert "with loss" in noticed(path, allow_lossy=True)


def test_other_jpegs_are_read_and_named(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "full.jpg", subsampling="4:4:4")
    Image.fromarray(COLOUR[..., 0]).save(tmp_path / "gray.jpg")
    assert "with loss" in noticed(tmp_path / "full.jpg")
    assert "with loss" in noticed(tmp_path / "gray.jpg")


def with_exif(path: Path) -> Path:
    exif = Image.Exif()
    exif[274] = 6
    return png(path, exif=exif)


def with_gamma(path: Path) -> Path:
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", (100_000).to_bytes(4, "big"))
    return png(path, pnginfo=chunks)


STRIP = COLOUR.transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("a.png", with_exif, "orientation (6)"),
        ("a.png", with_gamma, "a gamma of 1"),
        ("a.png", lambda path: png(path, icc_profile=b"profile" * 20), "colour profile"),
        ("a.png", lambda path: png(path, dpi=(300, 300)), "300 x 300 dpi"),
        ("a.png", lambda path: png(path, dpi=(300, 150)), "not square"),
        ("a.png", lambda path: png(path, transparency=(1, 2, 3)), "transparent"),
        ("a.tif", lambda path: tiff(path, STRIP, extratags=[(274, 3, 1, 3, True)]), "orientation (3)"),
        ("a.tif", lambda path: tiff(path, STRIP, resolution=(200, 200), resolutionunit=2), "200 x 200 dpi"),
        ("a.tif", lambda path: tiff(path, STRIP, extratags=[(34675, 7, 8, b"profile!", True)]), "colour profile"),
        ("a.tif", lambda path: tifffile.imwrite(path, STRIP, imagej=True, metadata={"axes": "TYX"}) or path, "first axis is time"),
    ],
)
def test_what_a_file_says_beside_its_pixels_is_named(tmp_path: Path, name: str, write: Callable[[Path], Path], said: str) -> None:
    assert said in noticed(write(tmp_path / name))


def test_a_mask_that_marks_more_than_half_is_noticed(tmp_path: Path) -> None:
    mask = np.zeros((64, 96), np.uint8)
    mask[:20] = 255
    for name, pixels, count in (("right", mask, 0), ("inverted", 255 - mask, 1)):
        sample = Sample(path=tmp_path / "0.tif", kind="spot", mask=png(tmp_path / f"{name}.png", pixels))
        with collecting() as notices:
            read_mask(sample, SPEC)
        assert len(notices.lines()) == count
        assert all("inverted.png" in line for line in notices.lines())
