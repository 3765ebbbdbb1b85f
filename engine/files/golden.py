"""Golden strips: a few of the user's own, beside the engine, that tell whether it still answers as its ONNX file does.

In:   strips of the line with the answers of the ONNX file that an engine was built from (`builder.golden_strips`).
Out:  `NAME.engine.golden.npz`: the strips, and for each the reference score and a digest of the reference heatmap: its maximum per block
      of 16 x 16 px. A digest is compared with a tolerance, which a hash of floats could not be.
`load` and hot swaps run them; whether an engine may go on the line is decided by `lineside qualify`, on labelled data.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.errors import ModelError

from .sidecar import EngineManifest, GoldenFile

SUFFIX = ".golden.npz"
BLOCK_PX = 16
TOLERANCE = 0.1
"""How far heat may lie from the reference: an engine rounds otherwise than ONNX Runtime (FP16 sums, fused INT8), a wrong or damaged one is
off by the whole heat of a defect. Parity on the line's data is the work of `lineside qualify`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GoldenStrip:
    """A strip with its reference answer.

    Attributes:
        name: Of the file that it was read from.
        strip: (C, H, W) uint8 or float32 in 0..255, C = 3 or 4.
        score: The maximum of the reference heatmap.
        digest: (ceil(H / 16), ceil(W / 16)) float32: the reference heatmap's maximum per block.
    """

    name: str
    strip: NDArray[Any]
    score: float
    digest: NDArray[np.float32]


def golden_path(engine: Path) -> Path:
    """Where the golden strips of an engine lie."""
    return engine.with_name(engine.name + SUFFIX)


def digest(heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """The maximum of (H, W) heat per block of 16 x 16 px; blocks at the lower and right edge may be smaller."""
    rows, columns = (range(0, side, BLOCK_PX) for side in heatmap.shape)
    return np.array([[heatmap[row : row + BLOCK_PX, column : column + BLOCK_PX].max() for column in columns] for row in rows], np.float32)


def golden_bytes(strips: Sequence[GoldenStrip]) -> bytes:
    """The file's bytes."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "names": np.array([strip.name for strip in strips]),
        "scores": np.array([strip.score for strip in strips], np.float64),
        **{f"strip{index}": strip.strip for index, strip in enumerate(strips)},
        **{f"digest{index}": strip.digest for index, strip in enumerate(strips)},
    }
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def golden_file(engine: Path, data: bytes) -> GoldenFile:
    """What the sidecar of `engine` says of its golden strips."""
    return GoldenFile(name=golden_path(engine).name, sha256=hashlib.sha256(data).hexdigest())


def read_golden(engine: Path, manifest: EngineManifest) -> tuple[GoldenStrip, ...]:
    """The golden strips of the engine at `engine`; none when it was built without.

    Raises:
        ModelError: They are missing, or are not those that the sidecar names.
    """
    if manifest.golden is None:
        return ()
    path = engine.with_name(manifest.golden.name)
    fix = f"copy it from where the engine was built, or build again: {manifest.rebuild(engine)} --golden STRIPS"
    if not path.is_file():
        raise ModelError(f"{path}: no such file", why="the engine's sidecar names these golden strips", fix=fix)
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest.golden.sha256:
        raise ModelError(f"{path}: not the golden strips of this engine", why="its sha256 is another than the sidecar's", fix=fix)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return tuple(
                GoldenStrip(
                    name=str(name), strip=arrays[f"strip{index}"], score=float(arrays["scores"][index]), digest=arrays[f"digest{index}"]
                )
                for index, name in enumerate(arrays["names"])
            )
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as exc:
        raise ModelError(f"{path}: damaged", why=str(exc).split("\n")[0], fix=fix) from exc


def refuse_other_answers(
    strips: Sequence[GoldenStrip], inspect: Callable[[NDArray[Any]], tuple[NDArray[np.float32], float]], *, path: Path
) -> float:
    """Run the golden strips through an engine.

    Args:
        strips: Of the engine at `path`.
        inspect: Takes a strip (C, H, W), gives its heatmap (H, W) and its score.
        path: Named in the error.

    Returns:
        The largest difference of heat per block.

    Raises:
        ModelError: It answers otherwise than its ONNX file does.
    """
    worst = 0.0
    for golden in strips:
        heatmap, score = inspect(golden.strip)
        found = digest(heatmap)
        same_size = found.shape == golden.digest.shape
        difference = float(np.abs(found - golden.digest).max()) if same_size else float("inf")
        if not (difference <= TOLERANCE and abs(score - golden.score) <= TOLERANCE):  # NaN fails
            raise ModelError(
                f"{path}: golden strip {golden.name} gets the score {score:.4f}, and heat that differs by {difference:.4f}",
                why=f"its ONNX file gives the score {golden.score:.4f}; {TOLERANCE} is allowed",
                fix="do not use this engine; build it again, and qualify it: lineside qualify",
            )
        worst = max(worst, difference)
    return worst
