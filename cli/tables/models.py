"""Open a model file by its suffix, for the commands that take any kind of model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lineside._optional import require
from lineside.errors import ConfigError, ModelError
from lineside.kinds import CHECKPOINT, ENGINES, ONNX, kind_of

if TYPE_CHECKING:
    from lineside.judge.model import Model


@contextmanager
def open_model(path: Path, *, providers: Sequence[str] | None = None) -> Iterator[Model]:
    """Give the model in a file, and close it afterwards. `providers` are ONNX Runtime's, for an ONNX file.

    Raises:
        ConfigError: Providers for a file that ONNX Runtime does not run.
        DeviceError: There is no GPU for it, or a provider does not run.
        ModelError: There is no such file, or none of a known kind, or it cannot be used.
        CheckpointError: The checkpoint cannot be used.
        MissingPackageError: What runs it is not installed.
    """
    if not path.is_file():
        best = path / f"best{CHECKPOINT}"
        raise ModelError(
            f"{path} is a folder" if path.is_dir() else f"{path}: no such file",
            why=f"a model is a checkpoint ({CHECKPOINT}), an ONNX file ({ONNX}) or an engine ({', '.join(ENGINES)})",
            fix=f"name the checkpoint in it: {best}" if best.is_file() else "check the path",
        )
    kind = kind_of(path)
    if providers and kind in ("checkpoint", "engine"):
        raise ConfigError(f"{path}: --provider {' '.join(providers)}", why=f"it is for ONNX files ({ONNX})", fix="leave it out")
    if kind == "checkpoint":
        require("torch", extra="train")
        from lineside.train.checkpoint_model import CheckpointModel

        with CheckpointModel.load(path) as checkpoint:
            yield checkpoint
    elif kind in ("onnx", "engine"):
        from lineside.engine.inspector import Inspector

        with Inspector.load(path, providers=providers) as inspector:
            yield inspector
    else:
        raise ModelError(
            f"{path}: unknown kind of model {path.suffix or '(no suffix)'}",
            why=f"known are engines ({', '.join(ENGINES)}), checkpoints ({CHECKPOINT}) and ONNX files ({ONNX})",
            fix="name such a file; rename it when it is one",
        )
