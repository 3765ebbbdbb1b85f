"""The command that builds an engine: what a plan shows, and what a sidecar gives as the fix.

In:   the ONNX file, the engine's path, the batch, and the build options as the sidecar keeps them.
Out:  one line for a shell, every word quoted where it has to be. Options at their default are left out.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from .build_options import BuildOptions

_OPTIONS = {
    "workspace_mib": "--workspace-mib",
    "timing_cache": "--timing-cache",
    "optimization_level": "--optimization-level",
    "version_compatible": "--version-compatible",
    "hardware_compatible": "--hardware-compatibility",
    "device": "--device",
    "time_limit_s": "--time-limit",
    "allow_fallback": "--allow-fallback",
}


def build_command(onnx: str, out: str, *, batch: str | None, options: Mapping[str, Any], force: bool = False) -> str:
    """The command of `lineside build`.

    Args:
        onnx: Name or path of the ONNX file.
        out: Where the engine goes.
        batch: Batch profiles; None: what the ONNX file fixes.
        options: `BuildOptions.to_json`; what is missing there has its default.
        force: Build over an engine that is there.
    """
    defaults = BuildOptions().to_json()
    words = ["lineside", "build", onnx, "--out", out]
    words += ["--batch", batch] if batch is not None else []
    for name, option in _OPTIONS.items():
        value = options.get(name, defaults[name])
        if value == defaults[name]:
            continue
        words.append(option)
        if value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    words += [word for path in options.get("golden", ()) for word in ("--golden", str(path))]
    return shlex.join([*words, "--force"] if force else words)
