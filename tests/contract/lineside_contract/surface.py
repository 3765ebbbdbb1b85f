"""Say what a module has: `python surface.py MODULE`, in a process of its own.

In:   a module that can be imported here.
Out:  JSON on stdout: `version`, and `names`: every public name -> what it is. Classes with their members; functions and methods with their
      signatures, read from the docstrings that pybind11 writes, or from `inspect`.
Imports nothing of lineside's, so that it runs beside any version of anything.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from typing import Any

_SIGNATURE = re.compile(r"^(?:\d+\. )?(?P<name>\w+)\((?P<rest>.*)$")


def describe(module: Any) -> dict[str, Any]:
    """Every public name of a module."""
    return {
        "version": getattr(module, "__version__", ""),
        "names": {name: _thing(getattr(module, name), name) for name in dir(module) if not name.startswith("_")},
    }


def _thing(value: Any, name: str) -> dict[str, Any]:
    if inspect.isclass(value):
        return _class(value)
    if callable(value):
        return {"is": "function", "signatures": signatures(value, name)}
    return {"is": "value"}


def _class(kind: type) -> dict[str, Any]:
    members = getattr(kind, "__members__", None)
    if members is not None:
        return {"is": "enum", "members": {name: {"is": "value", "number": int(member)} for name, member in members.items()}}
    found: dict[str, Any] = {}
    for name in dir(kind):
        if name.startswith("_") and name != "__init__":
            continue
        attribute = inspect.getattr_static(kind, name)
        if next(base for base in kind.__mro__ if name in vars(base)).__module__ in ("builtins", "pybind11_builtins"):
            continue  # what every object has
        if name == "__init__" and type(attribute).__name__ == "wrapper_descriptor":
            continue  # pybind11's way to say that nobody can make one
        if isinstance(attribute, property) or type(attribute).__name__ in ("getset_descriptor", "pybind11_static_property"):
            doc = getattr(getattr(attribute, "fget", None), "__doc__", "") or ""
            found[name] = {"is": "property", "writable": getattr(attribute, "fset", True) is not None, "returns": _returns(doc.strip())}
        elif inspect.isclass(attribute):
            found[name] = _class(attribute)
        elif callable(getattr(kind, name)):
            found[name] = {
                "is": "function",
                "signatures": _passed_on(kind) if name == "__init__" else signatures(getattr(kind, name), name),
            }
        else:
            found[name] = {"is": "value"}
    return {"is": "class", "members": found}


def _passed_on(kind: type) -> list[dict[str, Any]]:
    """The signatures of `__init__`; what it passes on as **kwargs is what its bases take."""
    found = signatures(kind.__init__, "__init__")  # type: ignore[misc]
    for base in kind.__mro__[1:]:
        if not found or found[0]["parameters"][-1]["kind"] != "var_keyword" or not inspect.isfunction(vars(base).get("__init__")):
            break
        beyond = signatures(vars(base)["__init__"], "__init__")[0]["parameters"][1:]
        found[0]["parameters"] = found[0]["parameters"][:-1] + beyond
    return found


def signatures(function: Any, name: str) -> list[dict[str, Any]]:
    """Each overload: parameters in order with whether they may be left out, and the class that is returned."""
    found = []
    for line in [] if inspect.isfunction(function) else (getattr(function, "__doc__", "") or "").splitlines():
        match = _SIGNATURE.match(line.strip())
        if match and match["name"] == name and not match["rest"].startswith("*args"):
            inside, behind = _inside(match["rest"])
            if inside is not None and (": " in inside or " -> " in behind or not inside):
                found.append({"parameters": [_parameter(text) for text in _split(inside)], "returns": _returns(behind)})
    if not found:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (ValueError, TypeError):
            return []
        found.append(
            {
                "parameters": [
                    {"name": one.name, "optional": one.default is not one.empty, "kind": one.kind.name.lower()} for one in parameters
                ],
                "returns": "",
            }
        )
    return found


def _inside(text: str) -> tuple[str | None, str]:
    """What stands before the bracket that closes, and behind it."""
    depth = 1
    for index, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0:
            return text[:index], text[index + 1 :]
    return None, ""


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter in "([{<") - (letter in ")]}>")
        if letter == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def _parameter(text: str) -> dict[str, Any]:
    """`name: type = default` of pybind11, `type name` of Cython, `*args`."""
    name, _, rest = text.partition(":")
    kind = "var_keyword" if name.startswith("**") else "var_positional" if name.startswith("*") else "plain"
    bare = name.partition("=")[0].split()[-1].lstrip("*")
    return {"name": bare, "optional": "=" in text or kind != "plain", "kind": kind, "type": rest.strip()}


def _returns(text: str) -> str:
    """The class behind an arrow: "Dims" of "List[tensorrt_bindings.tensorrt.Dims]" is none, since it is a list."""
    answer = text.rpartition("->")[2].strip()
    answer = re.sub(r"^(typing\.)?Optional\[(.*)\]$", r"\2", answer).replace(" | None", "")
    return re.split(r"[.:]", answer)[-1] if re.fullmatch(r"[\w.:]+", answer) else ""


if __name__ == "__main__":
    json.dump(describe(importlib.import_module(sys.argv[1])), sys.stdout)
