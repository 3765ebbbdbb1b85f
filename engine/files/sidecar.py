"""The sidecar of an engine, `NAME.engine.json`: what it was made from, by what, for which GPU, and in which precision its layers run.

In:   the path of an engine; the sidecar lies beside it, under the engine's whole name with `.json` behind.
Out:  an `EngineManifest`, schema 1. It tells all that `load` checks before TensorRT sees a byte of the engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lineside.errors import ConfigError, ModelError
from lineside.files import write_json
from lineside.manifest import PREFIX, ModelManifest

from .build_command import build_command
from .profiles import BatchProfiles

SCHEMA = 1
SUFFIX = ".json"
AMPERE = (8, 0)
"""The oldest compute capability that a hardware-compatible engine runs on (HardwareCompatibilityLevel.AMPERE_PLUS)."""


def sidecar_path(engine: Path) -> Path:
    """Where the sidecar of an engine lies."""
    return engine.with_name(engine.name + SUFFIX)


@dataclass(frozen=True, kw_only=True)
class LayerPrecision:
    """A layer of the engine, as the engine inspector reports it.

    Attributes:
        name: TensorRT's name, which joins those of the nodes that it fused.
        kind: TensorRT's type of layer, such as CaskConvolution.
        precision: What it computes in: "int8", "fp16", "fp32", ... or "unknown".
        onnx: The convolutions of the ONNX file that it runs.
    """

    name: str
    kind: str
    precision: str
    onnx: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GoldenFile:
    """The golden strips beside an engine: the file's name, in the engine's folder, and its sha256."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class EngineManifest:
    """What an engine is.

    Attributes:
        plan_sha256: Of the engine.
        onnx, onnx_sha256: Name and sha256 of the ONNX file that it was built from.
        model: What the ONNX file says of itself.
        input_dtype: numpy's name of the type that its input takes.
        batch: The batch that the ONNX file fixes; None when it leaves it open.
        profiles: How many strips it takes at once, one profile per entry. A fixed batch is one profile.
        tensorrt: The version that built it, such as "10.3.0".
        gpu, compute_capability: The GPU that it was built on.
        driver_cuda: The newest CUDA version of the driver that it was built with.
        options: `BuildOptions` as JSON values.
        build_seconds: How long TensorRT built.
        built_at: When, in UTC (ISO 8601).
        version_compatible: Newer versions of TensorRT, and the lean runtime, can run it.
        hardware_compatible: Every GPU from Ampere on can run it.
        device_memory_bytes: Activations of one execution context.
        layers: Precision of every layer that the engine inspector names.
        int8_planned, int8_built: Convolutions that the graph wants in INT8, and those that run in it.
        golden: The golden strips beside it.
        qualification: What `lineside qualify` has found; None before.
    """

    plan_sha256: str
    onnx: str
    onnx_sha256: str
    model: ModelManifest
    input_dtype: str
    batch: int | None
    profiles: BatchProfiles
    tensorrt: str
    gpu: str
    compute_capability: tuple[int, int]
    driver_cuda: tuple[int, int]
    options: Mapping[str, Any]
    build_seconds: float
    built_at: str
    version_compatible: bool
    hardware_compatible: bool
    device_memory_bytes: int
    layers: tuple[LayerPrecision, ...]
    int8_planned: int
    int8_built: int
    golden: GoldenFile | None = None
    qualification: Mapping[str, Any] | None = None

    @property
    def lean(self) -> bool:
        """Whether the lean runtime is enough to run it."""
        return self.version_compatible

    def rebuild(self, engine: Path) -> str:
        """The command that builds the engine at `engine` again, for errors."""
        options = {
            **self.options,
            "version_compatible": self.version_compatible,
            "hardware_compatible": self.hardware_compatible,
            "golden": (),  # its paths were those of the machine that built it
        }
        batch = str(self.profiles) if self.batch is None else None
        return build_command(self.onnx, str(engine), batch=batch, options=options, force=True)

    def fits(self, compute_capability: tuple[int, int]) -> bool:
        """Whether a GPU of this compute capability can run it."""
        if self.hardware_compatible:
            return compute_capability >= AMPERE
        return compute_capability == self.compute_capability

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values that `from_json` takes."""
        return {
            "schema": SCHEMA,
            **self.__dict__,
            "model": self.model.to_json(),
            "profiles": str(self.profiles),
            "compute_capability": list(self.compute_capability),
            "driver_cuda": list(self.driver_cuda),
            "options": dict(self.options),
            "layers": [{**asdict(layer), "onnx": list(layer.onnx)} for layer in self.layers],
            "golden": None if self.golden is None else asdict(self.golden),
            "qualification": None if self.qualification is None else dict(self.qualification),
        }

    @classmethod
    def from_json(cls, value: Any, *, path: Path) -> EngineManifest:
        """The manifest that `to_json` wrote, read from `path`.

        Raises:
            ModelError: Another schema, or damaged.
        """
        again = "build the engine again with this version of lineside"
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            found = value.get("schema") if isinstance(value, dict) else f"none, but a {type(value).__name__}"
            raise ModelError(f"{path}: sidecar of schema {found}", why=f"this version reads schema {SCHEMA}", fix=again)
        try:
            return cls(**{field.name: _read(field, value[field.name], path) for field in fields(cls)})
        except (KeyError, ValueError, TypeError, AttributeError, ConfigError) as exc:
            why = f"{type(exc).__name__}: {exc}".split("\n")[0]
            raise ModelError(f"{path}: damaged sidecar", why=why, fix=again) from exc

    @classmethod
    def read(cls, engine: Path) -> EngineManifest:
        """The manifest of the engine at `engine`.

        Raises:
            ModelError: There is no sidecar, or it is damaged or of another schema.
        """
        path = sidecar_path(engine)
        try:
            value = json.loads(path.read_bytes())
        except FileNotFoundError as exc:
            raise ModelError(
                f"{engine}: no sidecar {path.name}",
                why="it says which strips, which GPU and which TensorRT the engine is for",
                fix=f"copy {path.name} beside it, or build it again: lineside build MODEL.onnx --out {engine} --force",
            ) from exc
        except (ValueError, OSError) as exc:
            raise ModelError(f"{path}: not a sidecar", why=f"{exc}".split("\n")[0], fix="copy it again, or build the engine again") from exc
        return cls.from_json(value, path=path)

    def write(self, engine: Path) -> None:
        """Write the sidecar of the engine at `engine`, whole or not at all. Raises: OutputError."""
        write_json(sidecar_path(engine), self.to_json())


def _read(field: Field[Any], value: Any, path: Path) -> Any:
    """The value of one field. Raises ValueError and the like when it is none."""
    if field.name in _READ:
        return _READ[field.name](value, path)
    kinds = _KINDS.get(str(field.type))
    if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        raise TypeError(f"{field.name} = {value!r}")
    return value


def _model(value: Any, path: Path) -> ModelManifest:
    properties = {PREFIX + key: text if isinstance(text, str) else json.dumps(text) for key, text in value.items()}
    manifest = ModelManifest.from_properties(properties, path=path)
    if manifest is None:
        raise ValueError("it does not say what model it was built from")
    return manifest


def _version(value: Any, path: Path) -> tuple[int, int]:
    major, minor = value
    return int(major), int(minor)


def _layers(value: Any, path: Path) -> tuple[LayerPrecision, ...]:
    return tuple(LayerPrecision(**{**layer, "onnx": tuple(layer["onnx"])}) for layer in value)


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (int, float),
    "bool": (bool,),
    "Mapping[str, Any]": (dict,),
    "Mapping[str, Any] | None": (dict, type(None)),
}
"""What JSON holds for a field of each type."""
_READ: dict[str, Callable[[Any, Path], Any]] = {
    "model": _model,
    "profiles": lambda value, path: BatchProfiles.parse(value),
    "compute_capability": _version,
    "driver_cuda": _version,
    "layers": _layers,
    "golden": lambda value, path: None if value is None else GoldenFile(**value),
}
