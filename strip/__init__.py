"""lineside: from good strips to a TensorRT engine that can be trusted on the line.

    from lineside import Inspector, StripSpec, read_strip

`Inspector` lives in lineside.engine and is loaded when it is first used: importing lineside loads numpy, tifffile and Pillow, and
nothing heavier.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .dataset import Dataset, Sample
from .errors import (
    CalibrationError,
    CheckpointError,
    ConfigError,
    DatasetError,
    DeviceError,
    LinesideError,
    MissingPackageError,
    ModelError,
    OutputError,
    StripError,
    TrainingError,
)
from .reader import read_strip
from .spec import PRESETS, StripSpec

if TYPE_CHECKING:
    from lineside.engine.inspector import Inspector
    from lineside.engine.result import Region, Result, Timing, Verdict

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "CalibrationError",
    "CheckpointError",
    "ConfigError",
    "Dataset",
    "DatasetError",
    "DeviceError",
    "Inspector",
    "LinesideError",
    "MissingPackageError",
    "ModelError",
    "OutputError",
    "Region",
    "Result",
    "Sample",
    "StripError",
    "StripSpec",
    "Timing",
    "TrainingError",
    "Verdict",
    "read_strip",
]

_ELSEWHERE = {
    "Inspector": "lineside.engine.inspector",
    "Region": "lineside.engine.result",
    "Result": "lineside.engine.result",
    "Timing": "lineside.engine.result",
    "Verdict": "lineside.engine.result",
}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE[name]), name)
