"""Heavy packages come in here, when they are first needed, or with an error that names the extra.

In:   a module name and the extra of setup.cfg that brings it.
Out:  the imported module.
Importing lineside itself loads none of them; a line PC has no PyTorch at all.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import shlex
import sys
from typing import Any

from .errors import MissingPackageError

_OWN_EXTRAS = re.compile(r"lineside\[([a-z,]+)\]")


def require(module: str, *, extra: str) -> Any:
    """Import `module`, or say which extra brings it.

    Raises:
        MissingPackageError: The module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] != module.split(".")[0]:
            raise  # the package is there and one of its own imports is broken: that is not ours to explain
        raise MissingPackageError(
            f"the package {module.split('.')[0]!r} is not installed",
            why=f"this task needs the extra [{extra}]",
            fix=install_command(extra),
        ) from exc


def install_command(*extras: str) -> str:
    """The command that brings what the extras need, as the installed lineside names it: no registry has lineside itself.

    It works in any folder and installs into the environment that runs.
    """
    try:
        importlib.metadata.distribution("lineside")
    except importlib.metadata.PackageNotFoundError:  # a copied folder, which nobody installed
        return f'pip install ".[{",".join(extras)}]" in the folder that holds setup.cfg'
    wanted = list(dict.fromkeys(requirement for extra in extras for requirement in _requirements(extra)))
    return shlex.join([sys.executable or "python", "-m", "pip", "install", *wanted])


def _requirements(extra: str) -> list[str]:
    """What the extra adds to lineside, extras that it names of lineside itself among them."""
    found: list[str] = []
    for entry in importlib.metadata.requires("lineside") or []:
        requirement, _, marker = entry.partition(";")
        if marker.replace("'", '"').split() != ["extra", "==", f'"{extra}"']:
            continue
        inner = _OWN_EXTRAS.fullmatch(requirement.strip())
        found += [one for name in inner[1].split(",") for one in _requirements(name)] if inner else [requirement.strip()]
    return found
