"""Heavy packages come in here, when they are first needed, or with an error that names the extra.

In:   a module name and the extra of setup.cfg that brings it.
Out:  the imported module.
Importing lineside itself loads none of them; a line PC has no PyTorch at all.
"""

from __future__ import annotations

import importlib
from typing import Any

from .errors import MissingPackageError


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
            fix=f'pip install "lineside[{extra}]"',
        ) from exc
