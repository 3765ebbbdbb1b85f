"""Who will run an INT8 file: options that `quantize` and `sensitivity` share."""

from __future__ import annotations

from enum import Enum


class TargetChoice(str, Enum):
    """Who will run an INT8 file."""

    tensorrt = "tensorrt"
    onnxruntime = "onnxruntime"


class CpuChoice(str, Enum):
    """Which CPUs will run an INT8 file for ONNX Runtime."""

    any = "any"
    vnni = "vnni"
