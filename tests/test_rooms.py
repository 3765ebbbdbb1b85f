"""The rooms of the house: how many modules one holds, what it may import, and that CONTRIBUTING.md says so."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST = 15
"""Modules of a room; cli/ has one per command."""
HEAVY = ("torch", "tensorrt", "tensorrt_lean", "cuda", "pycuda", "onnx", "onnxruntime", "matplotlib", "skimage", "openvino", "polygraphy")
NETWORKS = ("lineside.train.", "lineside.export.", "lineside.benchmarks.zoo.sam2")
"""Modules that are networks, or made of them, may import PyTorch at once: only whoever trains or exports imports them."""
RUNS_COMMANDS = "demo"
"""Calls the other commands one after another: its loop is its one call."""


def packages() -> dict[str, Path]:
    """Package -> its folder, as setup.cfg maps them."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["package_dir"].strip().splitlines()
    tops = {name.strip(): folder.strip() for name, folder in (line.split("=") for line in lines)}
    found = {}
    for package in config["options"]["packages"].split():
        top = max((one for one in tops if package == one or package.startswith(f"{one}.")), key=len)
        found[package] = ROOT / tops[top] / Path(*package[len(top) :].strip(".").split("."))
    return found


PACKAGES = packages()
MODULES = {
    package if path.stem == "__init__" else f"{package}.{path.stem}": path
    for package, folder in PACKAGES.items()
    for path in sorted(folder.glob("*.py"))
}


def package_of(module: str) -> str:
    return module if module in PACKAGES else module.rpartition(".")[0]


def imports(module: str) -> Iterator[str]:
    """The packages of ours that a module imports when it runs; what stands under TYPE_CHECKING is left out."""
    path = MODULES[module]
    package = package_of(module)
    tree = ast.parse(path.read_text())
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in typing:
            continue
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        for name in node.names if source.split(".")[0] == "lineside" else ():
            full = f"{source}.{name.name}"
            yield package_of(full if full in MODULES else source)


def table() -> dict[str, tuple[str, str]]:
    """Folder -> (package, what it may import), as CONTRIBUTING.md says."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `([a-z_/]+)/` \| `([a-z_.]+)` \| [^|]+ \| ([^|]+) \|$", text, re.M)
    return {folder: (package, allowed) for folder, package, allowed in rows}


@pytest.mark.parametrize("package", sorted(set(PACKAGES) - {"lineside.cli"}))
def test_a_room_holds_a_dozen_modules_and_three_at_most(package: str) -> None:
    assert len([path for path in PACKAGES[package].glob("*.py") if path.stem != "__init__"]) <= MOST


def test_contributing_names_every_room() -> None:
    assert {package: ROOT / folder for folder, (package, _) in table().items()} == PACKAGES


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_contributing_says_what_a_room_may_import_and_it_imports_that(package: str) -> None:
    folders = {one: folder.relative_to(ROOT).as_posix() for one, folder in PACKAGES.items()}
    found = {folders[one] for module in MODULES if package_of(module) == package for one in imports(module)} - {folders[package]}
    allowed = dict(table().values())[package]
    assert allowed.strip() == (", ".join(f"`{folder}/`" for folder in sorted(found)) or "nothing of ours")


def test_import_linter_knows_every_room_and_every_module_of_the_root() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    root = re.findall(r'"(lineside\.[a-z_]+)"', text[text.rindex("source_modules") : text.rindex("forbidden_modules")])
    assert set(root) == {module for module in MODULES if package_of(module) == "lineside"} - {"lineside"}
    layers = dict(re.findall(r'containers = \["([a-z.]+)"\]\nlayers = \[(.+)\]', text))
    for package in set(PACKAGES) - {"lineside"}:
        container, _, name = package.rpartition(".")
        assert re.search(rf"\b{name}\b", layers[container]), f"{package} is in no layer"


def test_tests_mirror_the_rooms() -> None:
    tests = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    rooms = {folder.relative_to(ROOT).as_posix() for folder in PACKAGES.values()}
    assert tests - rooms <= {".", "contract", "standin"}


def test_no_module_needs_a_heavy_package_to_be_imported() -> None:
    """Each in one process in which none of them can be had: a line PC, and a doctor that says what is missing."""
    light = [module for module in MODULES if not module.startswith(NETWORKS)]
    code = (
        f"import importlib, sys\nsys.modules.update(dict.fromkeys({HEAVY!r}))\n"
        f"for module in {light!r}:\n    importlib.import_module(module)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("path", sorted((ROOT / "cli").rglob("[a-z]*.py")), ids=lambda path: path.stem)
def test_files_of_the_command_line_hold_arguments_a_call_and_a_table(path: Path) -> None:
    tree = ast.parse(path.read_text())
    loaded = {name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    loaded |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    assert not loaded & {"numpy", "scipy", *HEAVY}
    logic = (ast.For, ast.While, ast.Try, ast.Lambda, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp, ast.AugAssign)
    commands = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == path.stem and path.parent.name == "cli"]
    for command in commands if path.stem not in ("main", RUNS_COMMANDS) else ():
        found = [f"{path.name}:{node.lineno}" for node in ast.walk(command) if isinstance(node, logic)]
        assert not found, f"loops, errors and sums belong where they can be imported: {found}"
        assert command.end_lineno - command.lineno < 85
