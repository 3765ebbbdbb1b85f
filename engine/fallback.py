"""What inspects when an engine cannot: an ONNX file that the caller has named for this, and nothing else.

In:   the engine, the error that kept it from being loaded, the ONNX file.
Out:  a `Fallback`, which results, `describe` and the log show. It has to be the same network as far as the engine's sidecar tells.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from lineside.errors import DeviceError, LinesideError, MissingPackageError, ModelError
from lineside.manifest import ModelManifest

from .device.status import log
from .files.sidecar import EngineManifest

CANNOT_RUN = (DeviceError, ModelError, MissingPackageError)
"""Errors of an engine that its fallback stands in for; others are mistakes of the caller."""


@dataclass(frozen=True, kw_only=True)
class Fallback:
    """The engine that another model stands in for, and why."""

    engine: str
    why: str

    def to_json(self) -> dict[str, str]:
        """A dict of JSON values."""
        return asdict(self)


def fall_back(engine: Path, error: LinesideError, onnx: Path, manifest: ModelManifest | None) -> Fallback:
    """Let the model at `onnx` stand in for an engine that failed to load with `error`.

    Raises:
        ModelError: It is another network.
    """
    failed = Fallback(engine=str(engine), why=f"{error.what} ({error.why})")
    try:
        wanted = EngineManifest.read(engine).model.weights_sha256
    except ModelError:  # an engine that nothing is known of, which may be why it was not loaded
        wanted = None
    if wanted is not None and (manifest is None or manifest.weights_sha256 != wanted):
        raise ModelError(
            f"{onnx}: not the network of {engine}",
            why=f"it was to stand in for it and has other weights; the engine cannot be used: {failed.why}",
            fix="name the ONNX file that the engine was built from, or one of the same checkpoint",
        ) from error
    log.warning("%s inspects in place of %s: %s", onnx, engine, failed.why)
    return failed
