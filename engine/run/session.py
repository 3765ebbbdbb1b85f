"""ONNX Runtime's sessions: opened, asked and refused in one place.

In:   an ONNX file, or the bytes of a model that was made of one; providers and threads; the arrays of its inputs.
Out:  `open_session`, an InferenceSession, and `ask`, what it answers. Whatever ONNX Runtime raises becomes our error, with its words as
      the why: which file is at fault is said by `path`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lineside._optional import require
from lineside.engine.files.io_forms import Tensor
from lineside.errors import DeviceError, ModelError

from .onnxruntime_providers import CPU

_NUMPY_NAMES = {"float": "float32", "double": "float64"}  # where ONNX Runtime calls a type otherwise
_ERRORS_ONLY = 3  # log level: what matters reaches the caller as an exception
_RECORD_NODES = "session.record_ep_graph_assignment_info"  # from ONNX Runtime 1.24 on; older ones take no notice


def onnxruntime() -> Any:
    """The package. Raises: MissingPackageError."""
    return require("onnxruntime", extra="onnxruntime")


def open_session(
    path: Path,
    providers: Sequence[tuple[str, Mapping[str, Any]]] = ((CPU, {}),),
    threads: int = 0,
    *,
    content: bytes | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Any:
    """An InferenceSession.

    Args:
        path: The file, or the one that `content` was made of.
        providers: Names as ONNX Runtime has them, each with its options, in order of precedence.
        threads: Of one run; 0: what ONNX Runtime thinks best.
        content: The model itself, where it is not the file's.
        settings: More attributes of SessionOptions, by name.

    Raises:
        ModelError: Not a model that ONNX Runtime can run.
        DeviceError: A provider other than the CPU's does not take it.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry(_RECORD_NODES, "1")
    for name, value in (settings or {}).items():
        setattr(options, name, value)
    failures: tuple[type[Exception], ...] = (*runtime_errors(), RuntimeError, ValueError)  # the last two: from its Python part
    try:
        return runtime.InferenceSession(str(path) if content is None else content, options, providers=list(providers), enable_fallback=0)
    except failures as exc:
        state = runtime.capi.onnxruntime_pybind11_state
        names = [name for name, _ in providers]
        if names != [CPU] and not isinstance(exc, (state.InvalidProtobuf, state.InvalidGraph)):
            raise DeviceError(
                f"{path}: no session with {', '.join(names)}",
                why=reason_of(exc),
                fix="check driver and libraries of that provider: lineside doctor; or use --provider cpu",
            ) from exc
        raise ModelError(
            f"{path}: not a model that ONNX Runtime {runtime.__version__} can run",
            why=reason_of(exc),
            fix="check that the file is whole, or export it again",
        ) from exc


def ask(session: Any, outputs: Sequence[str] | None, feeds: Mapping[str, Any], *, path: Path) -> list[Any]:
    """The named outputs (None: all) of a session of the file `path`. Raises: ModelError, when the run fails."""
    try:
        answers: list[Any] = session.run(outputs, feeds)
    except runtime_errors() as exc:
        given = ", ".join(f"{name} {'x'.join(map(str, array.shape))}" for name, array in feeds.items())
        raise ModelError(f"{path}: the run failed on {given}", why=reason_of(exc), fix="export the model again") from exc
    return answers


def runtime_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's own exceptions: they share no base class, so they are what its module holds."""
    state = onnxruntime().capi.onnxruntime_pybind11_state
    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))


def tensors_of(arguments: Sequence[Any]) -> dict[str, Tensor]:
    """What ONNX Runtime says of inputs or outputs: "tensor(float)" and, for an axis of any size, its name or None."""
    tensors = {}
    for argument in arguments:
        kind = argument.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(side if isinstance(side, int) else None for side in argument.shape)
        tensors[argument.name] = Tensor(shape=shape, dtype=_NUMPY_NAMES.get(kind, kind))
    return tensors


def reason_of(exc: Exception) -> str:
    """The first line of what ONNX Runtime says, without its "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : "."""
    line = str(exc).strip().split("\n")[0]
    return (line.split(" : ", 3)[-1] if line.startswith("[ONNXRuntimeError]") else line) or type(exc).__name__
