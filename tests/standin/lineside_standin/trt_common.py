"""Enums and small classes of the stand-in TensorRT, that building and running share.

Names are TensorRT's; the contract tests compare them with the real bindings. Numbers differ between TensorRT's versions, so none means
anything here but through its name.
"""

from __future__ import annotations

import enum
from typing import Any

from . import world


class _Enum(enum.Enum):
    """As pybind11's: it has a number, and is none."""

    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__


def _members(text: str) -> list[tuple[str, int]]:
    return [(name, number) for number, name in enumerate(text.split())]


class NetworkDefinitionCreationFlag(_Enum):
    STRONGLY_TYPED = 1


BuilderFlag = _Enum(  # type: ignore[misc]
    "BuilderFlag",
    _members(
        "DEBUG GPU_FALLBACK REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS SAFETY_SCOPE DIRECT_IO VERSION_COMPATIBLE "
        "EXCLUDE_LEAN_RUNTIME ERROR_ON_TIMING_CACHE_MISS DISABLE_COMPILATION_CACHE STRIP_PLAN REFIT_IDENTICAL WEIGHT_STREAMING"
    ),
)
MemoryPoolType = _Enum(  # type: ignore[misc]
    "MemoryPoolType", _members("WORKSPACE DLA_MANAGED_SRAM DLA_LOCAL_DRAM DLA_GLOBAL_DRAM TACTIC_DRAM TACTIC_SHARED_MEMORY")
)
HardwareCompatibilityLevel = _Enum("HardwareCompatibilityLevel", _members("NONE AMPERE_PLUS"))  # type: ignore[misc]
ProfilingVerbosity = _Enum("ProfilingVerbosity", _members("LAYER_NAMES_ONLY NONE DETAILED"))  # type: ignore[misc]
LayerInformationFormat = _Enum("LayerInformationFormat", _members("ONELINE JSON"))  # type: ignore[misc]
TensorIOMode = _Enum("TensorIOMode", _members("NONE INPUT OUTPUT"))  # type: ignore[misc]
TensorLocation = _Enum("TensorLocation", _members("DEVICE HOST"))  # type: ignore[misc]
DataType = _Enum("DataType", _members("FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64"))  # type: ignore[misc]
PreviewFeature = _Enum("PreviewFeature", _members("ALIASED_PLUGIN_IO_10_03"))  # type: ignore[misc]
ErrorCode = _Enum(  # type: ignore[misc]
    "ErrorCode",
    _members(
        "SUCCESS INTERNAL_ERROR MEM_ALLOC_FAILED MODEL_DESERIALIZE_FAILED INVALID_VALUE INVALID_GRAPH INVALID_NODE UNSUPPORTED_GRAPH "
        "UNSUPPORTED_NODE UNSUPPORTED_NODE_ATTR UNSUPPORTED_NODE_INPUT UNSUPPORTED_NODE_DATATYPE UNSUPPORTED_NODE_DYNAMIC "
        "UNSUPPORTED_NODE_SHAPE REFIT_FAILED"
    ),
)
OF_NUMPY = {
    "float32": "FLOAT",
    "float16": "HALF",
    "int8": "INT8",
    "int32": "INT32",
    "bool": "BOOL",
    "uint8": "UINT8",
    "int64": "INT64",
}
"""numpy's name of a type -> DataType's."""


class ILogger:
    """Hears what TensorRT says. A subclass calls this `__init__`."""

    Severity = _Enum("Severity", _members("INTERNAL_ERROR ERROR WARNING INFO VERBOSE"))  # type: ignore[misc]
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self) -> None:
        self._made = True

    def log(self, severity: Any, msg: str) -> None:
        raise TypeError("log: not overridden")


class Logger(ILogger):
    """Prints."""

    def __init__(self, min_severity: Any = ILogger.WARNING) -> None:
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity: Any, msg: str) -> None:
        if int(severity) <= int(self.min_severity):
            print(f"[stand-in TRT] [{severity.name}] {msg}")  # noqa: T201  # as the real one does


class IHostMemory(bytes):
    """Bytes of TensorRT's. The real one is a buffer, without bytes' methods; Python before 3.12 cannot make a class like that."""

    @property
    def nbytes(self) -> int:
        return len(self)

    @property
    def dtype(self) -> Any:
        return DataType.INT8


def heard(logger: Any) -> Any:
    """The logger, once it is sure that it is one. Raises: TypeError, as pybind11 does; AssertionError, where the real one would crash."""
    if not world.here().gpus:
        raise AssertionError("TensorRT was touched on a machine without a GPU: the real one aborts or crashes the process there")
    if not isinstance(logger, ILogger) or not getattr(logger, "_made", False):
        raise TypeError("__init__() must be called when overriding __init__: incompatible constructor arguments")
    return logger


def say(logger: Any, severity: str, message: str) -> None:
    """Tell the logger."""
    logger.log(ILogger.Severity[severity], message)


def failing(place: str, logger: Any) -> Any:
    """Whether the test wants `place` to fail; what it wants is said to the logger when it is a text."""
    value = world.fault(place)
    if value:
        say(logger, "ERROR", value if isinstance(value, str) else f"[{place}] Error Code 1: stand-in (a test wants it to fail)")
    return value
