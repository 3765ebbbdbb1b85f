"""Which opsets of ONNX are written, read and raised, in one place.

In:   nothing.
Out:  numbers, each with its reason.
"""

from __future__ import annotations

OLDEST = 11
"""What older callers of the production line have (design 4)."""
NEWEST = 23
"""What has been tested; ONNX Runtime and TensorRT lag behind ONNX itself."""
DEFAULT = 18
PARSED_BY_ALL_TENSORRT = 20
"""TensorRT 10.3's parser knows opsets up to it (onnx-tensorrt, docs/operators.md); its own message tells more."""
SCALES_PER_CHANNEL = 13
"""From here on Q/DQ nodes have an axis."""
HALF_SCALES = 19
"""From here on a scale of a Q/DQ node may be FP16."""
