"""Put lineside itself into a prepared folder, so that a machine without network and pip can run it.

In:   the folder, and the package as it is imported here, wherever its parts lie.
Out:  site/lineside/ (a plain copy), absent/ (placeholders) and run.py.
A placeholder stands for a package of lineside's core that a measurement imports and does not use: TIFF and PNG files, regions. It lets
the import pass and raises where it is used. run.py puts it on the path only where the real package is missing.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from pathlib import Path

from lineside.files import write_text

PARTS = ("benchmarks", "calibration", "cli", "engine", "export", "graph", "train")
ABSENT = ("scipy", "tifffile", "PIL")
"""What the core needs besides numpy, and a measurement does not."""
ALONG = ("pynvml",)
"""Packages of one file and no dependencies, which come along where they are installed: the GPU's clocks and power."""
TESTS = "tests"

_PLACEHOLDER = '''"""Stands for {name}, which is not on this machine: importing works, using it does not."""


class Missing(Exception):
    """What it raises, in place of the package's own exceptions too."""


class _Absent(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __call__(cls, *arguments, **options):
        raise Missing("{name} is not installed on this machine")


class Absent(metaclass=_Absent):
    """Whatever was asked for."""


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Missing if name.endswith("Error") else Absent
'''

_RUN = '''"""Measure what this folder was prepared for: python run.py --out RESULTS. Needs Python 3.10 and numpy; the rest is here."""

import importlib.util
import os
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
missing = [str(folder) for folder in sorted((here / "absent").iterdir()) if importlib.util.find_spec(folder.name) is None]
paths = [str(here / "site"), *missing, *filter(None, [os.environ.get("PYTHONPATH")])]
command = [sys.executable, "-m", "lineside.benchmarks.gpu", "run", str(here), *sys.argv[1:]]
os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
'''


def write_site(folder: Path) -> None:
    """Write all three into `folder`. Raises: OutputError."""
    package = folder / "site" / "lineside"
    root = Path(importlib.import_module("lineside").__file__ or "").parent
    _copy(root, package)
    for part in PARTS:
        source = Path(importlib.import_module(f"lineside.{part}").__file__ or "").parent
        _copy(source, package / part)
    for name in ALONG:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            write_text(folder / "site" / f"{name}.py", Path(spec.origin).read_text())
    for name in ABSENT:
        write_text(folder / "absent" / name / name / "__init__.py", _PLACEHOLDER.format(name=name))
    write_text(folder / "run.py", _RUN)
    _copy_tests(root, folder)


def _copy(source: Path, target: Path) -> None:
    """The Python files of a folder and of its rooms."""
    for path in sorted(source.rglob("*.py")):
        write_text(target / path.relative_to(source), path.read_text())


def _copy_tests(root: Path, folder: Path) -> None:
    """The tests beside the package, where this is a checkout: those marked `gpu` are one of the steps."""
    tests = root.parent / TESTS
    if not (tests / "engine").is_dir():
        return
    shutil.copytree(tests, folder / TESTS, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    write_text(folder / "pyproject.toml", (root.parent / "pyproject.toml").read_text())
