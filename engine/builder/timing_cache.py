"""Measured tactics on disk: the second build of a network takes a fraction of the first one's time.

In:   a file, and who is asking: the TensorRT version and the GPU.
Out:  TensorRT's cache, attached to a build before it and written back, merged, after it.
File: one line of JSON that says whose measurements these are, then TensorRT's own bytes. Another GPU's or another version's cache is
refused: its times are of other kernels. Builds that end at the same time lose nothing: each merges with what it finds when it writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lineside.errors import ConfigError, DeviceError
from lineside.files import write_bytes, writing

SCHEMA = 1
KIND = "lineside timing cache"


def identity(*, tensorrt: str, gpu: str, compute_capability: tuple[int, int]) -> dict[str, Any]:
    """Whose measurements they are."""
    return {"kind": KIND, "schema": SCHEMA, "tensorrt": tensorrt, "gpu": gpu, "compute_capability": list(compute_capability)}


def attach(trt: ModuleType, config: Any, path: Path, who: Mapping[str, Any]) -> None:
    """Give the build `config` the measurements in `path`, or none where there is no such file.

    Raises:
        ConfigError: The file is of another GPU or another TensorRT, or no timing cache.
        DeviceError: TensorRT does not take it.
    """
    timing_cache = config.create_timing_cache(_read(path, who))
    if timing_cache is None or not config.set_timing_cache(timing_cache, ignore_mismatch=False):
        raise DeviceError(
            f"{path}: TensorRT {trt.__version__} does not take this timing cache",
            why="it was measured with another driver or clock setting, or it is damaged",
            fix="name another file with --timing-cache, or remove this one",
        )


def save(config: Any, path: Path, who: Mapping[str, Any]) -> bool:
    """Write the measurements of the build `config` to `path`, with those that another build has written there meanwhile.

    Returns:
        Whether they could be merged; if not, this build's alone are in the file.

    Raises:
        OutputError: The place cannot be written.
        DeviceError: TensorRT gives no cache.
    """
    timing_cache = config.get_timing_cache()
    if timing_cache is None:
        raise DeviceError("TensorRT has no timing cache", why="get_timing_cache answers None", fix="build without --timing-cache")
    with _locked(path):
        merged = True
        try:
            meanwhile = _read(path, who)
        except ConfigError:  # somebody replaced the file by another GPU's; what was asked for is a cache of this one
            meanwhile, merged = b"", False
        if meanwhile:
            input_cache = config.create_timing_cache(meanwhile)
            merged = input_cache is not None and bool(timing_cache.combine(input_cache, ignore_mismatch=False))
        memory = timing_cache.serialize()
        if memory is None:
            raise DeviceError("TensorRT's timing cache cannot be written", why="serialize answers None", fix="build without --timing-cache")
        write_bytes(path, json.dumps(who).encode() + b"\n" + bytes(memory))
    return merged


def _read(path: Path, who: Mapping[str, Any]) -> bytes:
    """TensorRT's bytes in the file; none where there is no file. Raises: ConfigError."""
    if not path.exists():
        return b""
    if not path.is_file():
        raise ConfigError(f"{path}: not a file", why="a timing cache is one", fix="name a file with --timing-cache")
    line, _, blob = path.read_bytes().partition(b"\n")
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise ConfigError(
            f"{path}: not a timing cache of lineside",
            why="it does not say which GPU and which TensorRT it was measured with",
            fix="name another file with --timing-cache",
        )
    other = {key: found.get(key) for key, value in who.items() if found.get(key) != value}
    if other:
        raise ConfigError(
            f"{path}: a timing cache of {', '.join(f'{key} {value}' for key, value in other.items())}",
            why=f"this build is of {', '.join(f'{key} {who[key]}' for key in other)}",
            fix="name another file with --timing-cache: one per GPU and TensorRT",
        )
    return blob


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other builds from writing into the folder of `path`: its own lock, so that no lock file is left behind."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
