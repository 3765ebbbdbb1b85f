"""Make the golden strips of an engine: some of the user's own, with what the ONNX file answers to them.

In:   strips of the line, and the ONNX file that the engine is built from.
Out:  `GoldenStrip`s, which `files.golden` writes beside the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lineside.engine.files.golden import GoldenStrip, digest
from lineside.engine.inspector import Inspector
from lineside.reader import read_strip

COUNT = 3


def choose(strips: Sequence[Path], count: int = COUNT) -> tuple[Path, ...]:
    """`count` of the strips, spread evenly from the first to the last; all of them when there are fewer."""
    if len(strips) <= count:
        return tuple(strips)
    return tuple(strips[round(index * (len(strips) - 1) / (count - 1))] for index in range(count))


def golden_strips(onnx: Path, paths: Sequence[Path]) -> tuple[GoldenStrip, ...]:
    """The strips of `paths` with what ONNX Runtime answers on the CPU.

    Raises:
        StripError: Not a strip of this model.
        ModelError: The model does not run.
        MissingPackageError: ONNX Runtime is not installed.
    """
    found = []
    with Inspector.load(onnx) as inspector:
        for path in paths:
            strip = np.array(read_strip(path, inspector.spec))
            result = inspector.inspect(strip)
            found.append(GoldenStrip(name=path.name, strip=strip, score=result.score, digest=digest(result.heatmap)))
    return tuple(found)
