"""A stand-in for TensorRT's lean runtime, which runs and does not build. It is not TensorRT: see `lineside_standin`."""

from lineside_standin import world as _world
from lineside_standin.trt_common import (
    DataType,
    HardwareCompatibilityLevel,
    IHostMemory,
    ILogger,
    LayerInformationFormat,
    Logger,
    ProfilingVerbosity,
    TensorIOMode,
    TensorLocation,
)
from lineside_standin.trt_run import ICudaEngine, IExecutionContext, Runtime

__version__ = _world.here().tensorrt

__all__ = [
    "DataType",
    "HardwareCompatibilityLevel",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "LayerInformationFormat",
    "Logger",
    "ProfilingVerbosity",
    "Runtime",
    "TensorIOMode",
    "TensorLocation",
]
