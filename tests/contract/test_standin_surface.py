"""The stand-in has nothing that the real packages have not: a test that passes with it uses what is really there."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from lineside_contract.look import Surface, look
from lineside_contract.packages import CUDA, LEAN, TENSORRT, Package
from lineside_standin.install import HERE, PATH

SurfaceOf = Callable[[Package], Surface]


@pytest.fixture(scope="module")
def standin_surface() -> Callable[[str], Surface]:
    return lambda module: look(module, PATH, HERE)


def _unreal(ours: Mapping[str, Any], real: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Everything of ours that the real one has not, or that takes other parameters."""
    for name, thing in ours.items():
        there = real.get(name)
        if name == "__init__" and there is None:
            continue  # one that TensorRT makes, and nobody else
        if there is None:
            yield f"{at}{name}"
        elif thing["is"] in ("class", "enum"):
            if there["is"] == thing["is"]:
                yield from _unreal(thing["members"], there["members"], f"{at}{name}.")
            else:
                yield f"{at}{name} is a {there['is']}"
        elif thing["is"] == "function":
            yield from _other_parameters(thing, there, at + name)
        elif thing["is"] == "property" and there["is"] not in ("property", "value"):
            yield f"{at}{name} is a {there['is']}"
        elif thing["is"] == "property" and thing["writable"] and not there.get("writable", True):
            yield f"{at}{name} cannot be set"


def _other_parameters(ours: Mapping[str, Any], real: Mapping[str, Any], name: str) -> Iterator[str]:
    if real["is"] != "function":
        yield f"{name} is a {real['is']}"
    elif real["signatures"] and not any(_alike(ours["signatures"][0], one) for one in real["signatures"]):
        yield f"{name}: {[[part['name'] for part in one['parameters']] for one in (*ours['signatures'], *real['signatures'])]}"


def _alike(ours: Mapping[str, Any], real: Mapping[str, Any]) -> bool:
    """Our parameters are the first of the real ones, by name; what the real one takes beyond may be left out."""
    mine, theirs = ours["parameters"], real["parameters"]
    named = [one["name"] for one in mine] == [one["name"] for one in theirs[: len(mine)]]
    return named and all(one["optional"] for one in theirs[len(mine) :])


def _instance_attributes(module: str) -> dict[str, set[str]]:
    """Public attributes that a stand-in class sets on itself, which no look at the class shows."""
    found: dict[str, set[str]] = {}
    tree = ast.parse((HERE / "lineside_standin" / module).read_text())
    for kind in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        found[kind.name] = {
            node.attr
            for node in ast.walk(kind)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
            and not node.attr.startswith("_")
        }
    return found


@pytest.mark.parametrize("package", TENSORRT, ids=lambda package: package.name)
def test_the_stand_in_has_no_tensorrt_that_is_not_real(
    package: Package, surface_of: SurfaceOf, standin_surface: Callable[[str], Surface]
) -> None:
    real = surface_of(package)["names"]
    ours = standin_surface("tensorrt")["names"]
    assert {"Builder", "Runtime", "IExecutionContext"} <= set(ours)
    unreal = list(_unreal(ours, real))
    assert not unreal
    for module in ("trt_build.py", "trt_run.py", "trt_common.py"):
        for name, attributes in _instance_attributes(module).items():
            if name in ours:
                assert attributes <= set(real[name]["members"]), f"{name} sets {attributes - set(real[name]['members'])}"


def test_the_stand_in_has_no_lean_runtime_that_is_not_real(surface_of: SurfaceOf, standin_surface: Callable[[str], Surface]) -> None:
    unreal = list(_unreal(standin_surface("tensorrt_lean")["names"], surface_of(LEAN)["names"]))
    assert not unreal


@pytest.mark.parametrize("package", CUDA, ids=lambda package: package.name)
def test_the_stand_in_has_no_cuda_that_is_not_real(
    package: Package, surface_of: SurfaceOf, standin_surface: Callable[[str], Surface]
) -> None:
    real = surface_of(package)["names"]
    ours = {name: thing for name, thing in standin_surface("cuda.bindings.runtime")["names"].items() if name.startswith("cuda")}
    handles = {name for name in ours if name.endswith("_t") and ours[name]["is"] == "class"}
    assert {"cudaStream_t", "cudaEvent_t"} <= handles <= set(real)
    unreal = list(_unreal({name: thing for name, thing in ours.items() if name not in handles}, real))
    assert not unreal
    for name, thing in ours.items():
        if thing["is"] == "enum":
            for member, value in thing["members"].items():
                assert value["number"] == real[name]["members"][member]["number"], f"{name}.{member}"
