"""Which names in lineside's sources stand for objects of TensorRT's, by the custom that engine/device/_trt.py's users keep.

The module is always called `trt`. Objects go under the names below, as variables, parameters or attributes (`engine`, `self._engine`), and
nothing else goes under them in the files that are read. What is made in the same function is followed through its assignments as well.
A version guard stands directly around what it guards: `if hasattr(trt.X, "NAME"):` or `if trt_version(trt) >= (11, 0):`.
"""

from __future__ import annotations

MODULE = "trt"
RECEIVERS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "timing_cache": "ITimingCache",
    "input_cache": "ITimingCache",
    "monitor": "IProgressMonitor",
    "memory": "IHostMemory",
}
"""Name -> class."""
ALSO_READ = ("_trt.py", "parser_hints.py", "runner.py")
"""Files that work objects of TensorRT's: some do not name the module, one lies in a folder of CUDA's."""
NOT_READ = ("device",)
"""Folders whose objects are CUDA's."""
OTHER_NAMES = {"IParserError": "ParserError"}
"""Classes that a docstring names as C++ does, because Python did not know them yet when it was written."""
