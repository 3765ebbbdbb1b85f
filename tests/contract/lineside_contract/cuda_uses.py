"""Read engine/device, and say what it takes of `cuda.bindings.runtime`.

In:   the folder. `cuda_python.py` keeps the module in `_cudart`, and calls its functions by name through `_call(NAME, ...)` and
      `_release(NAME, handle)`.
Out:  `CudaUses`: attributes, calls with the number of their values, and every word in a string that is a name of CUDA's.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

MODULE = "_cudart"
CALLERS = {"_call": ("detail",), "_release": ()}
"""Method of the device layer -> keywords of its own, which are not for CUDA."""
_NAME = re.compile(r"\bcuda[A-Z]\w+")


@dataclass(frozen=True)
class CudaUses:
    """What is taken, with where.

    Attributes:
        attributes: `("cudaMemcpyKind", "cudaMemcpyHostToDevice")` for `_cudart.cudaMemcpyKind.cudaMemcpyHostToDevice`.
        calls: Name of a function and how many values it gets.
        words: Names of functions and of errors in strings.
        prefixes: Beginnings of names, which `startswith` asks for.
    """

    attributes: frozenset[tuple[tuple[str, ...], str]]
    calls: frozenset[tuple[str, int, str]]
    words: frozenset[tuple[str, str]]
    prefixes: frozenset[tuple[str, str]]


def read(folder: Path) -> CudaUses:
    """What the sources in `folder` take."""
    attributes: set[tuple[tuple[str, ...], str]] = set()
    calls: set[tuple[str, int, str]] = set()
    words: set[tuple[str, str]] = set()
    prefixes: set[tuple[str, str]] = set()
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words |= {(word, where) for word in _NAME.findall(node.value)}
            elif isinstance(node, ast.Attribute) and (chain := _chain(node)):
                attributes.add((chain, where))
            elif isinstance(node, ast.Call) and _called(node.func) == "startswith" and isinstance(node.args[0], ast.Constant):
                prefixes |= {(word, where) for word in _NAME.findall(str(node.args[0].value))}
            elif isinstance(node, ast.Call) and (call := _call(node)):
                calls.add((*call, where))
    return CudaUses(frozenset(attributes), frozenset(calls), frozenset(words - prefixes), frozenset(prefixes))


def _chain(node: ast.expr) -> tuple[str, ...]:
    """The names behind the module; none where it is something else."""
    if not isinstance(node, ast.Attribute):
        return ()
    if isinstance(node.value, (ast.Attribute, ast.Name)) and _called(node.value) == MODULE:
        return (node.attr,)
    before = _chain(node.value)
    return (*before, node.attr) if before else ()


def _call(node: ast.Call) -> tuple[str, int] | None:
    """The function of CUDA's that is called, and with how many values; None for another, or where a star hides them."""
    if any(isinstance(argument, ast.Starred) for argument in node.args):
        return None
    chain = _chain(node.func)
    if len(chain) == 1:
        return chain[0], len(node.args) + len(node.keywords)
    first = node.args[0] if node.args else None
    if _called(node.func) in CALLERS and isinstance(first, ast.Constant):
        own = CALLERS[_called(node.func)]
        return str(first.value), len(node.args) - 1 + sum(one.arg not in own for one in node.keywords)
    return None


def _called(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
