"""Look at a module in a process of its own, where other versions and empty libraries do no harm.

In:   a module, and the folders in which it is found.
Out:  its surface (`surface.describe`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import surface
from .packages import HOME, STUBS

Surface = Mapping[str, Any]
_LIMIT_S = 60


def look(module: str, *paths: Path) -> Surface:
    """The surface of a module that is found in `paths`, in a process that has nothing else but this Python's own packages."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "LD_LIBRARY_PATH": str(HOME / STUBS),
        "PYTHONNOUSERSITE": "1",
    }
    done = subprocess.run(
        [sys.executable, surface.__file__, module], env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    assert done.returncode == 0, f"{module} of {paths[0].name} cannot be looked at:\n{done.stderr[-2000:]}"
    return json.loads(done.stdout)  # type: ignore[no-any-return]
