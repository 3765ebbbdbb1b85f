"""An engine that TensorRT has deserialised, shared by all execution contexts on it.

In:   the bytes of an engine that `refusals` let pass, an open device.
Out:  `LoadedEngine`: the engine, what it says of its tensors and profiles, and contexts.
TensorRT's objects are not for two threads at once (TensorRT Developer Guide, "Threading"): contexts are made and dropped under a lock.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from lineside.engine.device import _trt
from lineside.engine.device.protocol import Device
from lineside.engine.device.status import cuda_error, log
from lineside.engine.files.io_forms import Tensor
from lineside.engine.files.profiles import BatchProfiles, Profile
from lineside.errors import LinesideError, ModelError

_NUMPY_NAMES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}
"""TensorRT's DataType -> numpy's name; other types are called what TensorRT calls them."""


class LoadedEngine:
    """An engine with its runtime and its device. Owns all three; `share` and `close` count the owners, and the last one closes.

    Attributes:
        device: The GPU that it is on.
        trt: The TensorRT that runs it.
        messages: What TensorRT has said since it was loaded.
        lock: Held while a context is made or dropped.
    """

    def __init__(self, plan: bytes, *, path: Path, trt: ModuleType, device: Device, rebuild: str, trusted: bool) -> None:
        """Deserialise an engine.

        Args:
            plan: The bytes of the file at `path`.
            path: For errors.
            trt: TensorRT, or its lean runtime.
            device: Where the engine runs; this object closes it.
            rebuild: The command that builds it again, for errors.
            trusted: Let TensorRT run the code that a version-compatible engine brings along: its own lean runtime.

        Raises:
            ModelError: TensorRT cannot use the bytes.
            DeviceError: The GPU has not enough memory.
        """
        self.device, self.trt = device, trt
        self.messages: _trt.Log = _trt.logger(trt)
        self.lock = threading.Lock()
        self._owners = 1
        with device.current():
            runtime = _trt.new_runtime(trt, self.messages, trusted=trusted)
            engine = _trt.deserialized(runtime, plan)
        if engine is None:
            why = (self.messages.errors().splitlines() or ["it does not say why"])[0]
            if "out of memory" in why.lower() or "outofmemory" in why.lower():
                raise cuda_error("cudaErrorMemoryAllocation", "deserialize_cuda_engine", detail=why)
            raise ModelError(
                f"{path}: TensorRT {trt.__version__} cannot load it",
                why=why,
                fix=f"build it again on this machine: {rebuild}",
            )
        self._runtime, self._engine = runtime, engine

    def share(self) -> LoadedEngine:
        """The same engine for one more owner. Raises: LinesideError, when the last one has closed it."""
        with self.lock:
            if not self._owners:
                raise LinesideError("this engine is closed", why="its last user has let go of it", fix="load it again")
            self._owners += 1
        return self

    def make_context(self) -> Any:
        """A new execution context, or None where TensorRT cannot; it frees its memory when the last reference goes."""
        with self.lock:
            return self._engine.create_execution_context()

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Its inputs and its outputs, by name."""
        engine, trt = self._engine, self.trt
        inputs: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            shape = tuple(None if side < 0 else int(side) for side in engine.get_tensor_shape(name))
            dtype = engine.get_tensor_dtype(name).name
            tensor = Tensor(shape=shape, dtype=_NUMPY_NAMES.get(dtype, dtype.lower()))
            (inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs)[name] = tensor
        return inputs, outputs

    def profiles(self, name: str) -> BatchProfiles:
        """How many strips go in at once: the first side of the input `name` in each optimisation profile."""
        engine = self._engine
        fixed = int(engine.get_tensor_shape(name)[0])
        if fixed > 0:
            return BatchProfiles((Profile(min=fixed, opt=fixed, max=fixed),))
        shapes = [engine.get_tensor_profile_shape(name, index) for index in range(engine.num_optimization_profiles)]
        return BatchProfiles(tuple(Profile(min=int(low[0]), opt=int(best[0]), max=int(high[0])) for low, best, high in shapes))

    def close(self) -> None:
        """One owner less; the last one lets go of the engine, the runtime and the device, in this order."""
        with self.lock:
            if not self._owners:
                return
            self._owners -= 1
            if self._owners:
                return
        try:
            with self.device.current():
                self._engine = None
                self._runtime = None
        except LinesideError as exc:
            log.warning("while an engine is closed: %s", exc)
        self.device.close()
