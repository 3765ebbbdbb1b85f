"""Compare what is used with what is there.

In:   `Use`s, and a surface (what `surface.describe` says of one version).
Out:  sentences, one for everything that this version has not, or takes otherwise.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .receivers import OTHER_NAMES
from .uses import Call, Guard, Override, Step, Use

Surface = Mapping[str, Any]
_OF_ENUM_MEMBERS = ("name", "value")
_OF_MODULES = ("__version__", "__name__")
_COMPARISONS = {"GtE": operator.ge, "Gt": operator.gt, "Lt": operator.lt, "LtE": operator.le, "Eq": operator.eq}


class _Wrong(Exception):  # noqa: N818  # a finding
    """What does not fit."""


def problems(uses: Iterable[Use], surface: Surface) -> list[str]:
    """What of the uses does not fit this version."""
    found = []
    for use in uses:
        if holds(use.guards, surface):
            try:
                _follow(use.root, use.steps, surface)
            except _Wrong as exc:
                found.append(f"{use}: {exc}")
    return found


def holds(guards: Iterable[Guard], surface: Surface) -> bool:
    """Whether this version runs what stands under these guards."""
    return all(_holds(guard, surface) for guard in guards)


def _holds(guard: Guard, surface: Surface) -> bool:
    if guard.operator:
        version = tuple(int(part) for part in re.findall(r"\d+", surface["version"]))[: max(len(guard.version), 2)]
        return bool(_COMPARISONS[guard.operator](version, guard.version)) == guard.wanted
    try:
        thing, _ = _follow(guard.root, guard.steps, surface)
    except _Wrong:
        return not guard.wanted
    return (guard.name in _members(thing, surface)) == guard.wanted


def override_problems(overrides: Iterable[Override], surface: Surface) -> list[str]:
    """What of the derived classes does not fit: a method of the base that is not written, or takes something else."""
    ours: dict[str, dict[str, Override]] = {}
    for override in overrides:
        ours.setdefault(override.base, {})[override.method] = override
    found = []
    for base, methods in ours.items():
        for name, method in _class(base, surface)["members"].items():
            if method["is"] != "function" or name == "__init__":
                continue
            if name not in methods:
                found.append(f"{next(iter(methods.values())).where}: {base}.{name} is not written")
            elif all(len(one["parameters"]) - 1 != methods[name].parameters for one in method["signatures"]):
                found.append(f"{methods[name].where}: {base}.{name} does not take {methods[name].parameters} values")
    return found


def _members(thing: Mapping[str, Any], surface: Surface) -> Mapping[str, Any]:
    if thing["is"] == "module":
        return surface["names"]  # type: ignore[no-any-return]
    return thing.get("members", {})  # type: ignore[no-any-return]


def _follow(root: str, steps: Iterable[Step], surface: Surface) -> tuple[Mapping[str, Any], bool]:
    """What the steps lead to, and whether it is an object and not a class. Raises: _Wrong."""
    thing: Mapping[str, Any] = {"is": "module"}
    is_object = False
    if root:
        thing, is_object = _class(root, surface), True
    for step in steps:
        if thing["is"] == "unknown":
            break
        thing, is_object = _step(thing, is_object, step, surface)
    return thing, is_object


def _class(name: str, surface: Surface) -> Mapping[str, Any]:
    name = OTHER_NAMES.get(name, name)
    found = surface["names"].get(name)
    if found is None:
        raise _Wrong(f"no class {name}")
    return found  # type: ignore[no-any-return]


_UNKNOWN: Mapping[str, Any] = {"is": "unknown"}


def _step(thing: Mapping[str, Any], is_object: bool, step: Step, surface: Surface) -> tuple[Mapping[str, Any], bool]:
    if (thing["is"] == "module" and step.name in _OF_MODULES) or (thing["is"] == "enum" and is_object and step.name in _OF_ENUM_MEMBERS):
        return _UNKNOWN, True
    if thing["is"] == "value" and step.name in _OF_ENUM_MEMBERS:
        return _UNKNOWN, True
    member = _members(thing, surface).get(step.name)
    if member is None:
        raise _Wrong(f"{surface['version']} has no {step.name}")
    if step.stored and not (member["is"] == "property" and member["writable"]):
        raise _Wrong(f"{step.name} cannot be set in {surface['version']}")
    if member["is"] == "class":
        if step.call is None:
            return member, False
        if "__init__" not in member["members"]:
            raise _Wrong(f"a {step.name} cannot be made in {surface['version']}")
        _fits(member["members"]["__init__"], step.call, True, f"{step.name}()", surface)
        return member, True
    if member["is"] == "enum":
        return member, step.call is not None
    if member["is"] == "function":
        if step.call is None:
            return _UNKNOWN, True
        return _returned(_fits(member, step.call, is_object, step.name, surface), surface)
    if step.call is not None:
        raise _Wrong(f"{step.name} is not a function in {surface['version']}")
    return (_returned({member["returns"]}, surface)) if member["is"] == "property" else (member, True)


def _returned(names: set[str], surface: Surface) -> tuple[Mapping[str, Any], bool]:
    known = {OTHER_NAMES.get(name, name) for name in names} & set(surface["names"])
    return (surface["names"][known.pop()], True) if len(known) == 1 else (_UNKNOWN, True)


def _fits(function: Mapping[str, Any], call: Call, bound: bool, name: str, surface: Surface) -> set[str]:
    """What the signatures that take this call return. Raises: _Wrong, when none takes it."""
    fitting = [
        one for one in function["signatures"] if _takes(one["parameters"][1:] if bound and _has_self(one) else one["parameters"], call)
    ]
    if not fitting:
        takes = (
            " or ".join("(" + ", ".join(part["name"] for part in one["parameters"]) + ")" for one in function["signatures"]) or "nothing"
        )
        given = ", ".join([f"{call.positional} values", *(f"{keyword}=" for keyword in call.keywords)])
        raise _Wrong(f"{name} of {surface['version']} takes {takes}, not {given}")
    return {one["returns"] for one in fitting}


def _has_self(signature: Mapping[str, Any]) -> bool:
    return bool(signature["parameters"]) and signature["parameters"][0]["name"] == "self"


def _takes(parameters: list[Mapping[str, Any]], call: Call) -> bool:
    if call.positional is None:
        return True
    kinds = {one["kind"] for one in parameters}
    plain = [one for one in parameters if not one["kind"].startswith("var_")]
    if call.positional > len(plain) and "var_positional" not in kinds:
        return False
    rest = plain[call.positional :]
    names = {one["name"] for one in rest}
    if set(call.keywords) - names and "var_keyword" not in kinds:
        return False
    return all(one["optional"] or one["name"] in call.keywords for one in rest)
