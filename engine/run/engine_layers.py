"""Ask an engine itself what its layers are: needs the GPU and the TensorRT that it was built for.

In:   an engine with its sidecar; or one that is loaded.
Out:  `LayerPrecision` per layer, as the engine inspector says.
What would make TensorRT fail is refused before (`refusals`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from types import ModuleType
from typing import Any

from lineside.engine.device import driver
from lineside.engine.device._trt import deserialized, installed, new_runtime, tensorrt
from lineside.engine.device._trt import logger as new_logger
from lineside.engine.device.choose import open_device
from lineside.engine.files.engine_precision import layer_precisions
from lineside.engine.files.sidecar import EngineManifest, LayerPrecision
from lineside.errors import ModelError

from .refusals import refuse_old_driver, refuse_other_gpu, refuse_other_tensorrt


def engine_layers(path: Path, plan: bytes, manifest: EngineManifest) -> tuple[LayerPrecision, ...]:
    """The layers of the engine `plan`, which was read from `path`.

    Raises:
        DeviceError: There is no usable GPU.
        MissingPackageError: TensorRT or a CUDA package is not installed.
        ModelError: It was built for another GPU or by another TensorRT, or cannot be loaded.
    """
    refuse_old_driver(driver.ask_driver(), installed())
    trt = tensorrt()
    refuse_other_tensorrt(path, manifest, trt)
    device = open_device()
    try:
        refuse_other_gpu(path, manifest, device.gpu)
        with device.current():
            logger = new_logger(trt)
            runtime = new_runtime(trt, logger, trusted=manifest.version_compatible)  # the sidecar's sha256 covers what it brings along
            engine = deserialized(runtime, plan)
            if engine is None:
                raise ModelError(f"{path}: TensorRT cannot load it", why=logger.errors() or "it says nothing", fix=manifest.rebuild(path))
            convolutions = frozenset(name for layer in manifest.layers for name in layer.onnx)
            layers = layers_of(trt, engine, convolutions, said=logger.errors, again=manifest.rebuild(path))
            del engine, runtime  # in this order, and before the device is closed
    finally:
        device.close()
    return layers


def layers_of(
    trt: ModuleType, engine: Any, convolutions: Collection[str], *, said: Callable[[], str], again: str
) -> tuple[LayerPrecision, ...]:
    """What the inspector of an engine that is loaded says of its layers.

    Args:
        convolutions: Names of the ONNX file's convolutions.
        said: What TensorRT has said so far, for the error.
        again: How to build the engine anew, for the error.

    Raises:
        ModelError: TensorRT gives no inspector, or a report that cannot be read.
    """
    inspector = engine.create_engine_inspector()
    if inspector is None:
        raise ModelError("no engine inspector", why=said() or "TensorRT says nothing", fix=again)
    return layer_precisions(inspector.get_engine_information(trt.LayerInformationFormat.JSON), convolutions)
