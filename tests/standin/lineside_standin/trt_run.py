"""The running half of the stand-in TensorRT: what the lean runtime has, too.

Faults, by name (see `world.fault`; a text is what the logger hears):
    deserialize_cuda_engine, create_engine_inspector, create_execution_context: None
    set_optimization_profile_async, set_input_shape, set_tensor_address, execute_async_v3: False
    answer: what the engine answers: "nan", "unwritten" (the outputs stay as they were), or a number that is added
    work: the name of a CUDA error that its work on the GPU ends in, said where it is waited for
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import world
from .gpu import ALIGNMENT, GPUS
from .plans import Plan
from .trt_common import (
    OF_NUMPY,
    DataType,
    HardwareCompatibilityLevel,
    LayerInformationFormat,
    ProfilingVerbosity,
    TensorIOMode,
    TensorLocation,
    failing,
    heard,
    say,
)


class Runtime:
    """Makes engines of plans."""

    def __init__(self, logger: Any) -> None:
        self.logger = heard(logger)
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        if failing("deserialize_cuda_engine", self.logger):
            return None
        try:
            plan = Plan.from_bytes(bytes(serialized_engine))
        except (ValueError, KeyError, TypeError) as exc:
            say(self.logger, "ERROR", f"IRuntime::deserializeCudaEngine: Error Code 1: Serialization ({exc})")
            return None
        complaint = self._complaint(plan)
        if complaint:
            say(self.logger, "ERROR", f"IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error ({complaint})")
            return None
        ticket = GPUS.reserve(len(plan.onnx))
        if not ticket:
            say(self.logger, "ERROR", "[defaultAllocator.cpp::allocate] Error Code 1: Cuda Runtime (out of memory)")
            return None
        return ICudaEngine(plan, self.logger, ticket)

    def _complaint(self, plan: Plan) -> str:
        here, gpu = world.here(), world.here().gpus[GPUS.ordinal]
        if plan.version_compatible:
            if not self.engine_host_code_allowed:
                return "the plan has a lean runtime inside: engine_host_code_allowed is not set"
            if _numbers(here.tensorrt) < _numbers(plan.tensorrt):
                return f"the plan is of {plan.tensorrt}, which is newer than {here.tensorrt}"
        elif plan.tensorrt != here.tensorrt:
            return f"The engine plan file is not compatible with this version of TensorRT, expecting {here.tensorrt}, got {plan.tensorrt}"
        if plan.hardware_compatible:
            return "" if gpu.compute_capability >= (8, 0) else "hardware compatibility needs Ampere or newer"
        if plan.compute_capability != gpu.compute_capability:
            return f"The engine plan file is generated on an incompatible device, expecting {gpu.compute_capability}"
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


class ICudaEngine:
    """A plan that is ready to run."""

    def __init__(self, plan: Plan, logger: Any, ticket: int) -> None:
        import onnxruntime

        self._plan, self._logger, self._ticket = plan, logger, ticket
        self._tensors = {value.name: value for value in (*plan.inputs, *plan.outputs)}
        self._inputs = {value.name for value in plan.inputs}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(plan.onnx, options, providers=["CPUExecutionProvider"])

    def __del__(self) -> None:
        GPUS.reserved.pop(self._ticket, None)

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    @property
    def num_layers(self) -> int:
        return len(self._plan.layers)

    @property
    def num_optimization_profiles(self) -> int:
        return max(len(self._plan.profiles), 1)

    @property
    def device_memory_size_v2(self) -> int:
        return self._plan.device_memory_bytes

    @property
    def hardware_compatibility_level(self) -> Any:
        return HardwareCompatibilityLevel.AMPERE_PLUS if self._plan.hardware_compatible else HardwareCompatibilityLevel.NONE

    @property
    def profiling_verbosity(self) -> Any:
        named = all(isinstance(layer, str) for layer in self._plan.layers)
        return ProfilingVerbosity.LAYER_NAMES_ONLY if named else ProfilingVerbosity.DETAILED

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        if name not in self._tensors:
            return TensorIOMode.NONE
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_location(self, name: str) -> Any:
        return TensorLocation.DEVICE

    def get_tensor_dtype(self, name: str) -> Any:
        return DataType[OF_NUMPY[self._tensors[name].dtype]] if name in self._tensors else DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape if name in self._tensors else ()

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        profiles = self._plan.profiles
        if name not in self._inputs or not 0 <= profile_index < self.num_optimization_profiles:
            say(self._logger, "ERROR", f"get_tensor_profile_shape: no profile {profile_index} of {name}")
            return []
        fixed = [list(self._tensors[name].shape)] * 3
        return [tuple(shape) for shape in (profiles[profile_index].get(name, fixed) if profiles else fixed)]

    def create_engine_inspector(self) -> EngineInspector | None:
        return None if failing("create_engine_inspector", self._logger) else EngineInspector(self)

    def create_execution_context(self) -> IExecutionContext | None:
        if failing("create_execution_context", self._logger):
            return None
        ticket = GPUS.reserve(self.device_memory_size_v2)
        if not ticket:
            say(self._logger, "ERROR", "[defaultAllocator.cpp::allocate] Error Code 1: Cuda Runtime (out of memory)")
            return None
        return IExecutionContext(self, ticket)


class EngineInspector:
    """Says what the layers are."""

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self.execution_context: Any = None

    def get_layer_information(self, layer_index: int, format: Any) -> str:
        layer = self._engine._plan.layers[layer_index]
        return json.dumps(layer) if format is LayerInformationFormat.JSON else str(layer)

    def get_engine_information(self, format: Any) -> str:
        layers = self._engine._plan.layers
        if format is not LayerInformationFormat.JSON:
            return "\n".join(map(str, layers))
        return json.dumps({"Layers": layers, "Bindings": list(self._engine._tensors)})


class IExecutionContext:
    """Runs an engine. Not for two threads at once."""

    def __init__(self, engine: ICudaEngine, ticket: int) -> None:
        self.engine, self._ticket = engine, ticket
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._warm = False  # whether what changed last has been enqueued outside of a capture
        self._fixed_shapes()

    def __del__(self) -> None:
        GPUS.reserved.pop(self._ticket, None)

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if failing("set_optimization_profile_async", self.engine._logger):
            return False
        if not 0 <= profile_index < self.engine.num_optimization_profiles:
            return self._no(f"profile {profile_index} does not exist")
        GPUS.stream(int(stream_handle))
        self._profile, self._warm = profile_index, False
        self._fixed_shapes()
        return True

    def set_input_shape(self, name: str, shape: Any) -> bool:
        if failing("set_input_shape", self.engine._logger):
            return False
        if name not in self.engine._inputs:
            return self._no(f"{name} is not an input")
        sides = tuple(int(side) for side in shape)
        low, _, high = self.engine.get_tensor_profile_shape(name, self._profile)
        if len(sides) != len(low) or not all(a <= side <= b for a, side, b in zip(low, sides, high, strict=True)):
            return self._no(
                f"Supplied binding dimension {sides} for {name} exceed min ~ max range {low} ~ {high} of profile {self._profile}"
            )
        self._warm = self._warm and self._shapes.get(name) == sides
        self._shapes[name] = sides
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        rows = next((shape[0] for shape in self._shapes.values()), -1)
        return tuple(rows if side < 0 else side for side in self.engine.get_tensor_shape(name))

    def infer_shapes(self) -> list[str]:
        return sorted(self.engine._inputs - set(self._shapes))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if failing("set_tensor_address", self.engine._logger):
            return False
        if name not in self.engine._tensors:
            return self._no(f"{name} is no tensor of this engine")
        if int(memory) % ALIGNMENT:  # "The pointer must have at least 256-byte alignment" (NvInferRuntime.h, setTensorAddress)
            return self._no(f"the address of {name} is not aligned to {ALIGNMENT} bytes")
        self._addresses[name] = int(memory)
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def execute_async_v3(self, stream_handle: int) -> bool:
        logger = self.engine._logger
        if failing("execute_async_v3", logger):
            return False
        missing = self.infer_shapes()
        if missing:
            return self._no(f"the shapes of {', '.join(missing)} have not been specified")
        unset = [name for name in self.engine._tensors if not self._addresses.get(name)]
        if unset:
            return self._no(f"Neither address or allocator is set for tensor {', '.join(unset)}")
        stream = GPUS.stream(int(stream_handle))
        if stream.capture is not None and not self._warm:
            # "call enqueueV3() once after an input shape change to flush deferred updates for internal state prior to capturing"
            # (Developer Guide, CUDA Graphs)
            stream.spoilt = True
            return self._no("the first enqueue after a change of shapes cannot be captured")
        self._warm = True
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        GPUS.enqueue(stream.handle, lambda: self._compute(shapes, addresses))
        return True

    def _compute(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        """What the GPU does when its turn has come."""
        broken = world.fault("work")
        if broken:
            GPUS.fail(str(broken))
        plan = self.engine._plan
        feeds = {value.name: _view(addresses[value.name], shapes[value.name], value.dtype).copy() for value in plan.inputs}
        answers = self.engine._session.run([value.name for value in plan.outputs], feeds)
        wanted = world.fault("answer")
        for value, answer in zip(plan.outputs, answers, strict=True):
            target = _view(addresses[value.name], answer.shape, value.dtype)
            if wanted == "nan":
                target[...] = np.nan
            elif wanted != "unwritten":
                target[...] = answer if wanted is None else answer + wanted

    def _fixed_shapes(self) -> None:
        self._shapes = {value.name: value.shape for value in self.engine._plan.inputs if -1 not in value.shape}

    def _no(self, why: str) -> bool:
        say(self.engine._logger, "ERROR", f"IExecutionContext: Error Code 3: API Usage Error ({why})")
        return False


def _view(address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return GPUS.on_device(address, count).view(dtype).reshape(shape)
