"""The building half of the stand-in TensorRT.

Faults, by name (see `world.fault`; a text is what the logger hears):
    Builder: "TypeError", "abort"            create_network, create_builder_config: None
    parse: [[code, desc, node name, operator], ...]     add_optimization_profile: -1
    build: "none" or a message, "SIGKILL", "SIGSEGV", "SIGABRT", "hang"     build_step_s: seconds per step of the build
    fall_back: names of convolutions that do not run in INT8, or true for all
    create_timing_cache: None    set_timing_cache, combine: False    get_timing_cache, ITimingCache.serialize: None
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from . import world
from .onnx_graph import OnnxGraph, Value, read
from .plans import Plan, layer_reports
from .trt_common import (
    OF_NUMPY,
    BuilderFlag,
    DataType,
    ErrorCode,
    HardwareCompatibilityLevel,
    IHostMemory,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    failing,
    heard,
    say,
)

DEFAULT_LEVEL, LARGEST_LEVEL = 3, 5


class ITensor:
    """An input or an output of a network."""

    def __init__(self, value: Value) -> None:
        self.name = value.name
        self.shape = value.shape
        self.dtype = DataType[OF_NUMPY[value.dtype]]
        self.is_shape_tensor = False


class ILayer:
    """A node."""

    def __init__(self, name: str) -> None:
        self.name = name


class INetworkDefinition:
    """Filled by the parser."""

    def __init__(self, builder: Builder, flags: int) -> None:
        self.builder, self.flags = builder, flags
        self.name = "Unnamed Network 0"
        self._graph: OnnxGraph | None = None
        self._onnx = b""

    def get_flag(self, flag: Any) -> bool:
        return bool(self.flags >> int(flag) & 1)

    @property
    def num_inputs(self) -> int:
        return len(self._graph.inputs) if self._graph else 0

    @property
    def num_outputs(self) -> int:
        return len(self._graph.outputs) if self._graph else 0

    @property
    def num_layers(self) -> int:
        return len(self._graph.nodes) if self._graph else 0

    def get_input(self, index: int) -> ITensor:
        assert self._graph is not None
        return ITensor(self._graph.inputs[index])

    def get_output(self, index: int) -> ITensor:
        assert self._graph is not None
        return ITensor(self._graph.outputs[index])

    def get_layer(self, index: int) -> ILayer:
        assert self._graph is not None
        return ILayer(self._graph.nodes[index].name)

    def __len__(self) -> int:
        return self.num_layers

    def __getitem__(self, index: int) -> ILayer:
        if index >= self.num_layers:
            raise IndexError(index)
        return self.get_layer(index)


class ParserError:
    """One reason why a file is refused."""

    def __init__(self, code: str, desc: str, node_name: str = "", node_operator: str = "") -> None:
        self._code, self._desc, self._name, self._operator = ErrorCode[code], desc, node_name, node_operator

    def code(self) -> Any:
        return self._code

    def desc(self) -> str:
        return self._desc

    def node(self) -> int:
        return 0 if self._name else -1

    def node_name(self) -> str:
        return self._name

    def node_operator(self) -> str:
        return self._operator


class OnnxParser:
    """Reads a file into a network."""

    def __init__(self, network: INetworkDefinition, logger: Any) -> None:
        self._network, self._logger = network, heard(logger)
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors = []

    def parse(self, model: bytes, path: str | None = None) -> bool:
        wanted = world.fault("parse")
        if wanted:
            self._errors = [ParserError(*one) for one in wanted]
            return False
        try:
            graph = read(bytes(model))
        except (ValueError, KeyError, IndexError, TypeError):
            self._errors = [ParserError("MODEL_DESERIALIZE_FAILED", "Failed to parse ONNX model")]
            return False
        self._network._graph, self._network._onnx = graph, bytes(model)
        return True

    def parse_from_file(self, model: str) -> bool:
        try:
            data = Path(model).read_bytes()
        except OSError:
            self._errors = [ParserError("MODEL_DESERIALIZE_FAILED", f"Failed to open file: {model}")]
            return False
        return self.parse(data, model)


class IOptimizationProfile:
    """From and to which shapes an input may be. It is true when it is usable."""

    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}
        self.extra_memory_target = 1.0

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        shapes = [tuple(int(side) for side in shape) for shape in (min, opt, max)]
        if not all(low <= best <= high for low, best, high in zip(*shapes, strict=True)):
            raise ValueError("Shape provided for min is inconsistent with other shapes.")
        self._shapes[input] = shapes

    def get_shape(self, input: str) -> list[tuple[int, ...]]:
        return self._shapes[input]

    def __bool__(self) -> bool:
        return bool(self._shapes)


class ITimingCache:
    """Measured tactics, of one version and one GPU."""

    def __init__(self, facts: dict[str, Any], logger: Any) -> None:
        self._facts, self._logger = facts, logger

    def serialize(self) -> IHostMemory | None:
        if failing("ITimingCache.serialize", self._logger):
            return None
        return IHostMemory(json.dumps(self._facts).encode())

    def combine(self, input_cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if failing("combine", self._logger) or (not ignore_mismatch and input_cache._facts["of"] != self._facts["of"]):
            return False
        self._facts["tactics"] = sorted({*self._facts["tactics"], *input_cache._facts["tactics"]})
        return True

    def reset(self) -> bool:
        self._facts["tactics"] = []
        return True


class IProgressMonitor:
    """Hears how far a build is. A subclass calls this `__init__`."""

    def __init__(self) -> None:
        self._made = True

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise TypeError("phase_start: not overridden")

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise TypeError("step_complete: not overridden")

    def phase_finish(self, phase_name: str) -> None:
        raise TypeError("phase_finish: not overridden")


class IBuilderConfig:
    """How to build."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._profiles: list[IOptimizationProfile] = []
        self._limits: dict[Any, int] = {}
        self._cache: ITimingCache | None = None
        self._level = DEFAULT_LEVEL
        self._monitor: Any = None
        self.flags = 1 << int(BuilderFlag.TF32)  # TensorRT's default
        self.profiling_verbosity: Any = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.hardware_compatibility_level: Any = HardwareCompatibilityLevel.NONE
        self.max_aux_streams = -1

    def set_flag(self, flag: Any) -> None:
        self.flags |= 1 << int(flag)

    def clear_flag(self, flag: Any) -> None:
        self.flags &= ~(1 << int(flag))

    def get_flag(self, flag: Any) -> bool:
        return bool(self.flags >> int(flag) & 1)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._limits[MemoryPoolType(pool)] = int(pool_size)

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self._limits.get(pool, world.here().gpus[0].memory_bytes)

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        """Nothing: the stand-in has none."""

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        if not profile or failing("add_optimization_profile", self._logger):
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    @property
    def builder_optimization_level(self) -> int:
        return self._level

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        if 0 <= level <= LARGEST_LEVEL:
            self._level = level
        else:
            say(self._logger, "ERROR", f"API Usage Error (Parameter check failed, condition: level <= {LARGEST_LEVEL})")

    @property
    def progress_monitor(self) -> Any:
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor: Any) -> None:
        if monitor is not None and not getattr(monitor, "_made", False):
            raise TypeError("__init__() must be called when overriding __init__")
        self._monitor = monitor

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        if failing("create_timing_cache", self._logger):
            return None
        here = world.here()
        if not serialized_timing_cache:
            return ITimingCache({"of": [here.tensorrt, here.gpus[0].name], "tactics": []}, self._logger)
        try:
            return ITimingCache(json.loads(bytes(serialized_timing_cache)), self._logger)
        except ValueError:
            say(self._logger, "ERROR", "Serialized timing cache is damaged")
            return None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        here = world.here()
        if failing("set_timing_cache", self._logger) or (not ignore_mismatch and cache._facts["of"] != [here.tensorrt, here.gpus[0].name]):
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return None if failing("get_timing_cache", self._logger) else self._cache


class Builder:
    """Makes networks, and engines of them."""

    def __init__(self, logger: Any) -> None:
        wanted = world.fault("Builder")
        if wanted == "abort":
            os.abort()
        if wanted:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.logger = heard(logger)

    def create_network(self, flags: int = 0) -> INetworkDefinition | None:
        return None if failing("create_network", self.logger) else INetworkDefinition(self, int(flags))

    def create_builder_config(self) -> IBuilderConfig | None:
        return None if failing("create_builder_config", self.logger) else IBuilderConfig(self.logger)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        wanted = world.fault("build")
        if wanted in ("SIGKILL", "SIGSEGV", "SIGABRT"):
            os.kill(os.getpid(), signal.Signals[wanted])
            time.sleep(60)
        if wanted == "hang":
            time.sleep(3600)
        graph = network._graph
        if wanted or graph is None:
            say(self.logger, "ERROR", wanted if wanted not in (None, True, "none") else "[builder] Error Code 4: no network was parsed")
            return None
        complaint = _complaint(graph, network, config)
        if complaint:
            say(self.logger, "ERROR", complaint)
            return None
        if not _progress(graph, config):
            say(self.logger, "ERROR", "Build was cancelled by the progress monitor")
            return None
        return IHostMemory(_plan(graph, network, config).to_bytes())


def _typed(network: INetworkDefinition) -> bool:
    """Version 11 has strongly typed networks only."""
    return network.get_flag(NetworkDefinitionCreationFlag.STRONGLY_TYPED) or int(world.here().tensorrt.split(".")[0]) >= 11


def _complaint(graph: OnnxGraph, network: INetworkDefinition, config: IBuilderConfig) -> str:
    """Why TensorRT would not build this; empty when it would."""
    if not _typed(network) and any(node.kind == "QuantizeLinear" for node in graph.nodes):
        return "Error Code 4: Q/DQ layers need BuilderFlag.INT8 in a network that is not strongly typed"
    dynamic = [value for value in graph.inputs if -1 in value.shape]
    if dynamic and not config._profiles:
        return "Error Code 4: API Usage Error (Network has dynamic or shape inputs, but no optimization profile has been defined.)"
    for profile in config._profiles:
        for value in graph.inputs:
            shapes = profile._shapes.get(value.name)
            if shapes is None and value in dynamic:
                return f"Error Code 4: API Usage Error ({value.name}: optimization profile is missing values)"
            for shape in shapes or []:
                if len(shape) != len(value.shape) or any(fixed not in (-1, side) for fixed, side in zip(value.shape, shape, strict=True)):
                    return f"Error Code 4: API Usage Error ({value.name}: profile {shape} does not match static dimensions {value.shape})"
    return ""


def _progress(graph: OnnxGraph, config: IBuilderConfig) -> bool:
    """Tell the monitor what TensorRT tells; False when it wants to stop. Known tactics are not timed again."""
    monitor, wait_s = config._monitor, world.fault("build_step_s") or 0
    known = config._cache._facts["tactics"] if config._cache else []
    tactics = sorted({f"{node.kind} {node.name}" for node in graph.nodes})
    steps = [tactic for tactic in tactics if tactic not in known]
    if config._cache:
        config._cache._facts["tactics"] = sorted({*known, *tactics})
    if monitor is None:
        return True
    monitor.phase_start("Building Engine", None, 2)
    monitor.phase_start("Timing tactics", "Building Engine", len(steps))
    for step in range(len(steps)):
        time.sleep(wait_s)
        if not monitor.step_complete("Timing tactics", step):
            return False
    monitor.phase_finish("Timing tactics")
    going_on = all(monitor.step_complete("Building Engine", step) for step in range(2))
    monitor.phase_finish("Building Engine")
    return going_on


def _plan(graph: OnnxGraph, network: INetworkDefinition, config: IBuilderConfig) -> Plan:
    here, detailed = world.here(), config.profiling_verbosity is ProfilingVerbosity.DETAILED
    return Plan(
        tensorrt=here.tensorrt,
        compute_capability=here.gpus[0].compute_capability,
        gpu=here.gpus[0].name,
        version_compatible=config.get_flag(BuilderFlag.VERSION_COMPATIBLE),
        hardware_compatible=config.hardware_compatibility_level is not HardwareCompatibilityLevel.NONE,
        profiles=tuple({name: [list(shape) for shape in shapes] for name, shapes in one._shapes.items()} for one in config._profiles),
        inputs=graph.inputs,
        outputs=graph.outputs,
        layers=layer_reports(graph, detailed=detailed, typed=_typed(network), fall_back=world.fault("fall_back")),
        device_memory_bytes=world.MIB,
        onnx=network._onnx,
    )
