"""Which backend runs a file, by its suffix.

In:   the path of a model, and how the caller wants it run.
Out:  an open backend. An option that is for the other kind of model is an error.
"""

from __future__ import annotations

from pathlib import Path

from lineside.errors import ConfigError, ModelError
from lineside.kinds import ENGINES, ONNX, kind_of

from .backend import Backend, LoadOptions
from .onnxruntime_backend import OnnxRuntimeBackend
from .tensorrt_backend import TensorRtBackend


def open_backend(path: Path, options: LoadOptions) -> Backend:
    """Open the model at `path`.

    Raises:
        ModelError: Not a model that can run here.
        DeviceError: There is no usable GPU, or a provider is not available or does not run.
        ConfigError: An option of the other kind of model, or one out of its range.
        MissingPackageError: What runs the model is not installed.
    """
    kind, run = kind_of(path), options.run
    if kind == "onnx":
        cuda_backend = None if run.cuda_backend == "auto" else run.cuda_backend
        _refuse(path, cuda_backend=cuda_backend, device=run.device or None, debug=run.debug or None)
        return OnnxRuntimeBackend.load(path, options)
    if kind == "engine":
        _refuse(path, providers=options.providers, threads=options.threads)
        return TensorRtBackend.load(path, options)
    raise ModelError(
        f"{path}: neither an ONNX file nor an engine",
        why=f"lineside inspects with ONNX files ({ONNX}) and TensorRT engines ({', '.join(ENGINES)})",
        fix=f"export one: lineside export CHECKPOINT --out {path.with_suffix(ONNX).name}",
    )


def _refuse(path: Path, **options: object) -> None:
    """Raises: ConfigError, when the caller says what is meant for the other kind of model."""
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"{path}: {name} {value}", why="that is for the other kind of model: ONNX file or engine", fix="leave it out")
