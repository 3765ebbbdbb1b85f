"""Print what differs between the versions of TensorRT, as Markdown: python tests/contract/differences.py [CLASS ...]

In:   the bindings that `make bindings` has installed.
Out:  a table per change: which names come and go with which version, whose parameters change, which members of an enum change their
      number. Names of classes limit it to these; layers, which all change alike, are left out unless they are named.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lineside_contract.look import look
from lineside_contract.packages import TENSORRT

_LAYER = re.compile(r"I\w+Layer$")


def differences(surfaces: Mapping[str, Mapping[str, Any]], classes: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """(name, what happens to it) for everything that is not alike in all versions."""
    versions, wanted = list(surfaces), set(classes)
    flat = {version: dict(_flat(surfaces[version]["names"])) for version in versions}
    for name in sorted({name for names in flat.values() for name in names}):
        top = name.partition(".")[0]
        if (wanted and top not in wanted) or (not wanted and _LAYER.match(top)):
            continue
        there = [version for version in versions if name in flat[version]]
        with_its_class = there == [version for version in versions if top in flat[version]]
        if len(there) < len(versions) and not ("." in name and with_its_class):
            yield name, _span(there, versions)
        changes = [after for before, after in itertools.pairwise(there) if flat[after][name] != flat[before][name]]
        if changes:
            yield name, "; ".join(f"{version}: {flat[version][name]}" for version in (there[0], *changes))


def _span(there: list[str], versions: list[str]) -> str:
    first, last = there[0], there[-1]
    if first == versions[0]:
        return f"up to {last}"
    return f"from {first} on" if last == versions[-1] else f"{first} to {last}"


def _flat(names: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every name, with what is compared of it: parameters, number."""
    for name, thing in names.items():
        signatures = [", ".join(one["name"] for one in part["parameters"]) for part in thing.get("signatures", [])]
        yield prefix + name, " or ".join(f"({one})" for one in signatures) or str(thing.get("number", ""))
        yield from _flat(thing.get("members", {}), f"{prefix}{name}.")


if __name__ == "__main__":
    found = {package.name.partition("-")[2]: look("tensorrt_bindings", package.folder()) for package in TENSORRT}
    print("| name | versions |\n|---|---|")  # noqa: T201
    for name, text in differences(found, sys.argv[1:]):
        print(f"| `{name}` | {text} |")  # noqa: T201
