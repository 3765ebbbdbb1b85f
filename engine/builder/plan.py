"""What a build will make, before it is made, on any machine.

In:   an ONNX file and `BuildOptions`.
Out:  a `BuildPlan`: profiles, planned precisions, memory, warnings, the command; or an error when no TensorRT could build it.
Touches neither TensorRT nor a GPU.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lineside.engine.files.build_command import build_command
from lineside.engine.files.build_options import BuildOptions
from lineside.engine.files.onnx_file import OnnxFile, read_onnx
from lineside.engine.files.profiles import BatchProfiles, Profile
from lineside.errors import ConfigError, ModelError
from lineside.graph import opsets
from lineside.kinds import ENGINES, kind_of

from .memory import Estimate, estimate

TARGET = "tensorrt"


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """What will be built.

    Attributes:
        onnx: From what.
        profiles: How many strips go in at once.
        memory: What the build needs, roughly.
        warnings: What will be built, but may not be what was meant.
        command: The command that builds it.
    """

    onnx: OnnxFile
    profiles: BatchProfiles
    memory: Estimate
    warnings: tuple[str, ...]
    command: str

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        onnx = self.onnx
        return {
            "onnx": {**onnx.__dict__, "path": str(onnx.path), "manifest": onnx.manifest.to_json(), "nodes": dict(onnx.nodes)},
            "profiles": str(self.profiles),
            "memory": asdict(self.memory),
            "warnings": list(self.warnings),
            "command": self.command,
        }


def plan(path: Path, out: Path, options: BuildOptions = BuildOptions()) -> BuildPlan:
    """The plan of building the ONNX file at `path` into the engine `out`.

    Raises:
        ModelError: Not an ONNX file of ours, or one that TensorRT cannot build.
        ConfigError: The batch is not the one that the file fixes, or `out` is not called like an engine.
    """
    if kind_of(out) != "engine":
        raise ConfigError(
            f"{out}: an engine is called {' or '.join(ENGINES)}",
            why="that is how every command knows one",
            fix=f"use --out {out.with_suffix(ENGINES[0])}",
        )
    onnx = read_onnx(path)
    _refuse_opset(onnx)
    _refuse_target(onnx)
    profiles = _profiles(onnx, options.batch)
    return BuildPlan(
        onnx=onnx,
        profiles=profiles,
        memory=estimate(onnx, profiles),
        warnings=tuple(_warnings(onnx, options)),
        command=build_command(str(onnx.path), str(out), batch=str(profiles) if onnx.batch is None else None, options=options.to_json()),
    )


def _refuse_opset(onnx: OnnxFile) -> None:
    if not opsets.OLDEST <= onnx.opset <= opsets.NEWEST:
        manifest = onnx.manifest
        raise ModelError(
            f"{onnx.path}: opset {onnx.opset}",
            why=f"TensorRT is given opsets {opsets.OLDEST} to {opsets.NEWEST}",
            fix=f"lineside export CHECKPOINT --tiling {manifest.tiling} --io {manifest.io} --opset 18 --out {onnx.path.name} --force",
        )


def _refuse_target(onnx: OnnxFile) -> None:
    manifest = onnx.manifest
    if manifest.precision == "int8" and manifest.target != TARGET:
        raise ModelError(
            f"{onnx.path}: an INT8 file for {manifest.target or 'nobody'}",
            why="its Q/DQ nodes stand where TensorRT does not take them: outputs and biases quantised, zero points",
            fix=f"lineside quantize FLOAT.onnx RANGES.json --target {TARGET} --out {onnx.path.name} --force",
        )
    if manifest.precision == "int8" and not onnx.int8:
        raise ModelError(
            f"{onnx.path}: says int8, and no convolution reads INT8",
            why="TensorRT runs a convolution in INT8 when it reads dequantised values alone",
            fix=f"lineside quantize FLOAT.onnx RANGES.json --target {TARGET} --out {onnx.path.name} --force",
        )


def _profiles(onnx: OnnxFile, wanted: BatchProfiles | None) -> BatchProfiles:
    if onnx.batch is None:
        return wanted or BatchProfiles.parse("1")
    fixed = BatchProfiles((Profile(min=onnx.batch, opt=onnx.batch, max=onnx.batch),))
    if wanted not in (None, fixed):
        manifest = onnx.manifest
        raise ConfigError(
            f"--batch {wanted} for a file that takes {onnx.batch} strips at a time",
            why=f"{onnx.path} was exported with --batch {onnx.batch}",
            fix="leave --batch out, or export it with any batch: lineside export CHECKPOINT "
            f"--tiling {manifest.tiling} --io {manifest.io} --out {onnx.path.name} --force",
        )
    return fixed


def _warnings(onnx: OnnxFile, options: BuildOptions) -> list[str]:
    found = []
    manifest = onnx.manifest
    if manifest.precision == "fp32":
        found.append(
            f"{onnx.path.name} is float32, and an engine has the precision of its file: this will be a float32 engine (TF32 where the GPU "
            f"has it). For half: lineside quantize {onnx.path.name} --precision fp16 --out {onnx.path.stem}.fp16.onnx; "
            "for INT8: lineside calibrate, then lineside quantize --target tensorrt"
        )
    if onnx.opset > opsets.PARSED_BY_ALL_TENSORRT:
        found.append(f"opset {onnx.opset}: TensorRT 10.3 (JetPack 6) reads opsets up to {opsets.PARSED_BY_ALL_TENSORRT}")
    if manifest.tiling == "unrolled":
        found.append(
            f"unrolled: {len(onnx.convolutions)} convolutions to time instead of {len(onnx.convolutions) // len(manifest.spec.grid)}"
        )
    if options.hardware_compatible:
        found.append("hardware-compatible: fewer tactics may be chosen, so it runs more slowly (NVIDIA's manual)")
    return found
