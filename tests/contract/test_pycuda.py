"""The stand-in for PyCUDA has only what PyCUDA's own documentation has, and the device layer uses only that.

PyCUDA itself builds where the CUDA toolkit is, and nowhere else; its source archive holds the documentation (doc/driver.rst).
"""

from __future__ import annotations

import ast
import inspect
import re
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from lineside_contract.packages import PYCUDA, Package
from lineside_standin.install import Standin

LAYER = Path(__file__).parents[2] / "engine" / "device" / "pycuda.py"
_DIRECTIVE = re.compile(
    r"^(?P<indent> *)\.\. (?P<kind>class|function|method|staticmethod|attribute|exception) *:: *(?P<name>\w+)(?P<rest>.*)$"
)
UNDOCUMENTED = {"Stream.handle": '.add_property("handle", &cl::handle_int)'}
"""What PyCUDA has and its documentation leaves out: as src/wrapper/wrap_cudadrv.cpp defines it."""
OTHER_WORD = {"memset_d8_async": {"count": "size"}}
"""The documentation's word for a parameter, and the source's."""


class Documentation:
    """doc/driver.rst: what there is (`Stream.synchronize`), with its parameters where it can be called."""

    def __init__(self, package: Package) -> None:
        with tarfile.open(next(package.folder().glob("*.tar.gz"))) as archive:
            texts = {}
            for name in ("doc/driver.rst", "src/wrapper/wrap_cudadrv.cpp"):
                file = archive.extractfile(f"{package.name}/{name}")
                assert file is not None
                texts[name] = file.read().decode()
        self.source = texts["src/wrapper/wrap_cudadrv.cpp"]
        self.parameters: dict[str, list[str]] = {}
        kind = ""
        for line in texts["doc/driver.rst"].splitlines():
            match = _DIRECTIVE.match(line)
            if match is None:
                continue
            if not match["indent"]:
                kind = f"{match['name']}." if match["kind"] in ("class", "exception") else ""
            name = f"{kind}{match['name']}" if match["indent"] else match["name"]
            self.parameters[name] = [part.partition("=")[0].strip() for part in match["rest"].strip(" ()").split(",") if part.strip()]


@pytest.fixture(params=PYCUDA, ids=lambda package: package.name)
def documentation(request: pytest.FixtureRequest) -> Documentation:
    return Documentation(request.param)


@pytest.fixture
def module(standin: Standin) -> ModuleType:
    import pycuda.driver

    return pycuda.driver  # type: ignore[no-any-return]


def _public(module: ModuleType) -> dict[str, Any]:
    """`Stream`, `Stream.synchronize` and so on: what the stand-in defines."""
    found: dict[str, Any] = {}
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
            continue
        found[name] = thing
        if inspect.isclass(thing):
            found |= {f"{name}.{part}": getattr(thing, part) for part in vars(thing) if not part.startswith("_")}
    return found


def test_the_stand_in_has_nothing_that_is_not_documented(documentation: Documentation, module: ModuleType) -> None:
    names = set(_public(module))
    assert {"mem_alloc", "Stream.synchronize", "Context.pop", "host_alloc_flags.DEVICEMAP"} <= names
    assert names - set(documentation.parameters) == set(UNDOCUMENTED)
    for text in UNDOCUMENTED.values():
        assert text in documentation.source


def test_the_stand_in_takes_what_is_documented(documentation: Documentation, module: ModuleType) -> None:
    functions = {name: thing for name, thing in _public(module).items() if inspect.isfunction(thing)}
    assert len(functions) > 15
    for name, function in functions.items():
        words = OTHER_WORD.get(name, {})
        documented = [words.get(one, one) for one in documentation.parameters[name]]
        assert [one for one in inspect.signature(function).parameters if one != "self"] == documented, name


def test_the_device_layer_uses_nothing_else_of_the_module(module: ModuleType) -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(LAYER.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self._cuda", "cuda")
    }
    assert len(used) > 10
    assert used <= set(_public(module))
