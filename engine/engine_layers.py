"""Ask an engine itself what its layers are: needs the GPU and the TensorRT that it was built for.

In:   an engine with its sidecar.
Out:  `LayerPrecision` per layer, as the engine inspector says now.
What would make TensorRT fail is refused before: another file, another version, another GPU.
"""

from __future__ import annotations

from pathlib import Path

from lineside.errors import DeviceError, ModelError
from lineside.manifest import sha256_of_file

from ._trt import logger as new_logger
from ._trt import tensorrt
from .device.choose import open_device
from .precision_report import layer_precisions
from .sidecar import EngineManifest, LayerPrecision


def engine_layers(path: Path, manifest: EngineManifest) -> tuple[LayerPrecision, ...]:
    """The layers of the engine at `path`.

    Raises:
        DeviceError: There is no GPU, or another one or another TensorRT than it was built for.
        MissingPackageError: TensorRT or a CUDA package is not installed.
        ModelError: It is not the engine of this sidecar, or cannot be loaded.
    """
    trt = tensorrt()
    if trt.__version__ != manifest.tensorrt:
        raise DeviceError(f"TensorRT here is {trt.__version__}", why=f"it was built by {manifest.tensorrt}", fix=manifest.rebuild(path))
    if sha256_of_file(path) != manifest.plan_sha256:
        raise ModelError(f"{path}: not the engine of its sidecar", why="its sha256 is another", fix=manifest.rebuild(path))
    device = open_device()
    with device.current():
        if not manifest.fits(device.gpu.compute_capability):
            raise DeviceError(f"the GPU here is {device.gpu.name}", why=f"it was built for {manifest.gpu}", fix=manifest.rebuild(path))
        logger = new_logger(trt)
        runtime = trt.Runtime(logger)
        if manifest.version_compatible:
            runtime.engine_host_code_allowed = True  # it carries its lean runtime; the sha256 says that it is the one we built
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        inspector = None if engine is None else engine.create_engine_inspector()
        if inspector is None:
            raise ModelError(f"{path}: TensorRT cannot load it", why=logger.errors() or "it says nothing", fix=manifest.rebuild(path))
        report = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        del inspector, engine, runtime  # in this order, before the device is closed
    device.close()
    known = frozenset(name for layer in manifest.layers for name in layer.onnx)
    return layer_precisions(report, known)
