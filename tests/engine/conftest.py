"""The tiny models of models/make.py, and a strip with a known answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lineside_standin import onnx_graph, world
from lineside_standin.install import Standin
from lineside_standin.plans import Plan
from numpy.typing import NDArray

from lineside import StripSpec
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.files.sidecar import EngineManifest
from lineside.engine.run.backend import LoadOptions
from lineside.engine.run.onnxruntime_backend import OnnxRuntimeBackend


@pytest.fixture
def models() -> Path:
    """The folder of the models; all inspect `small` strips but line.onnx, which takes the preset."""
    return Path(__file__).parent / "models"


@pytest.fixture
def small() -> StripSpec:
    return StripSpec(height_px=64, width_px=96, tile_px=32, rows=3, columns=4)


@pytest.fixture
def strip() -> NDArray[np.uint8]:
    """(4, 64, 96) uint8: a defect of 3 x 4 px at row 10, column 20, 100 grey levels above the references; a mask that is not zero."""
    pixels = np.full((4, 64, 96), 120, np.uint8)
    pixels[0, 10:13, 20:24] = 220
    pixels[:2, 40:43, 50:53] = 200  # in Ref1 too, so not a defect
    return pixels


@pytest.fixture
def heat_of() -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """What the models compute, in numpy."""

    def heat(strip: NDArray[Any]) -> NDArray[np.float32]:
        target, ref1, ref2 = strip[:3].astype(np.float32) / np.float32(255)
        return np.maximum(target - np.maximum(ref1, ref2), 0)

    return heat


@pytest.fixture
def engine_of(standin: Standin, models: Path, tmp_path: Path, sidecar_of: Callable[..., EngineManifest]) -> Callable[..., Path]:
    """Writes the stand-in's engine of one of the models, as `lineside build` would have on the stand-in's machine, and gives its path.

    Arguments: the model's name; `batch`, such as "1,4"; `sidecar`: whether one is written; `suffix`; more are fields of the sidecar.
    """

    def write(model: str, *, batch: str = "1:16", sidecar: bool = True, suffix: str = ".engine", **fields: Any) -> Path:
        onnx = (models / f"{model}.onnx").read_bytes()
        graph, here = onnx_graph.read(onnx), world.here()
        taken = graph.inputs[0]
        fixed = taken.shape[0] if taken.shape[0] > 0 else None
        profiles = BatchProfiles.parse(batch if fixed is None else str(fixed))
        sides = list(taken.shape[1:])
        shapes = tuple({taken.name: [[one.min, *sides], [one.opt, *sides], [one.max, *sides]]} for one in profiles.profiles)
        facts = {"version_compatible": False, "hardware_compatible": False}
        facts |= {name: fields[name] for name in facts if name in fields}
        plan = Plan(
            tensorrt=here.tensorrt,
            compute_capability=here.gpus[0].compute_capability,
            gpu=here.gpus[0].name,
            profiles=() if fixed else shapes,
            inputs=graph.inputs,
            outputs=graph.outputs,
            layers=(),
            device_memory_bytes=1 << 20,
            onnx=onnx,
            **facts,
        ).to_bytes()
        path = tmp_path / f"{model}{suffix}"
        path.write_bytes(plan)
        if sidecar:
            manifest = OnnxRuntimeBackend.load(models / f"{model}.onnx", LoadOptions(threads=1)).model.manifest
            assert manifest is not None
            about: dict[str, Any] = {
                "plan_sha256": hashlib.sha256(plan).hexdigest(),
                "onnx": f"{model}.onnx",
                "onnx_sha256": hashlib.sha256(onnx).hexdigest(),
                "model": manifest,
                "input_dtype": taken.dtype,
                "batch": fixed,
                "profiles": profiles,
                "tensorrt": here.tensorrt,
                "gpu": here.gpus[0].name,
                "compute_capability": here.gpus[0].compute_capability,
                "driver_cuda": here.cuda_version,
            }
            sidecar_of(**{**about, **facts, **fields}).write(path)
        return path

    return write
