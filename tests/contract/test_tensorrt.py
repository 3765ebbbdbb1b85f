"""Every name of TensorRT's that the engine folder uses is in every TensorRT that it is for, and the stand-in has no other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from lineside_contract.check import holds, override_problems, problems
from lineside_contract.look import Surface
from lineside_contract.packages import LEAN, TENSORRT, Package
from lineside_contract.receivers import RECEIVERS
from lineside_contract.uses import Found, read

SurfaceOf = Callable[[Package], Surface]
ENGINE = Path(__file__).parents[2] / "engine"
RUNS_LEAN = ("device/_trt.py", "run/loaded_engine.py", "run/refusals.py", "run/runner.py", "run/tensorrt_backend.py")
"""What runs with the lean runtime alone."""


@pytest.fixture(scope="module")
def found() -> Found:
    return read(ENGINE)


def _surfaces(surface_of: SurfaceOf) -> list[Surface]:
    return [surface_of(package) for package in TENSORRT]


def _never_checked(found: Found, surfaces: Iterable[Surface]) -> list[str]:
    """Uses, and names that a guard asks for, which no version has: a typing error that its guard hides."""
    surfaces = list(surfaces)
    hidden = [str(use) for use in found.uses if not any(holds(use.guards, surface) for surface in surfaces)]
    return [f"{where}: under a guard that holds in no version" for where in hidden]


def _escaped(found: Found, surface: Surface) -> list[str]:
    """Attributes of TensorRT's objects that are used on something which goes under another name."""
    members = {name for kind in set(RECEIVERS.values()) for name in surface["names"][kind]["members"]}
    return [
        f"{where}: .{name} on something that is not called as receivers.py says"
        for name, where in found.loose
        if name in members - found.defined
    ]


def _findings(folder: Path, surfaces: list[Surface]) -> list[str]:
    """All that can be wrong with a folder."""
    found = read(folder)
    wrong = [problem for surface in surfaces for problem in (*problems(found.uses, surface), *override_problems(found.overrides, surface))]
    return [*wrong, *_never_checked(found, surfaces), *_escaped(found, surfaces[-1])]


@pytest.mark.parametrize("package", TENSORRT, ids=lambda package: package.name)
def test_this_tensorrt_has_what_the_engine_folder_uses(package: Package, found: Found, surface_of: SurfaceOf) -> None:
    surface = surface_of(package)
    assert surface["version"] == package.name.partition("-")[2]
    assert not problems(found.uses, surface)
    assert not override_problems(found.overrides, surface)
    assert not _escaped(found, surface)


def test_every_use_is_checked_in_some_version(found: Found, surface_of: SurfaceOf) -> None:
    assert not _never_checked(found, _surfaces(surface_of))


def test_the_sources_are_read_from_one_end_to_the_other(found: Found) -> None:
    seen = {(use.root, step.name) for use in found.uses for step in use.steps} | {(one.base, one.method) for one in found.overrides}
    assert {
        ("", "Builder"),
        ("", "create_network"),
        ("", "STRONGLY_TYPED"),
        ("OnnxParser", "num_errors"),
        ("Runtime", "deserialize_cuda_engine"),
        ("ICudaEngine", "create_execution_context"),
        ("IExecutionContext", "set_tensor_address"),
        ("IExecutionContext", "execute_async_v3"),
        ("IProgressMonitor", "step_complete"),
        ("IBuilderConfig", "set_timing_cache"),
    } <= seen


def test_the_lean_runtime_has_what_runs_with_it(found: Found, surface_of: SurfaceOf) -> None:
    uses = [use for use in found.uses if use.where.partition(":")[0] in RUNS_LEAN]
    assert {use.where.partition(":")[0] for use in uses} == set(RUNS_LEAN)
    assert not problems(uses, surface_of(LEAN))


MISTAKES = [
    pytest.param("run/runner.py", ".set_tensor_address(", ".set_tensor_adress(", "set_tensor_adress", id="method"),
    pytest.param(
        "builder/build_child.py", "BuilderFlag.VERSION_COMPATIBLE", "BuilderFlag.VERSION_COMPATIBEL", "VERSION_COMPATIBEL", id="enum member"
    ),
    pytest.param("builder/build_child.py", "trt.OnnxParser(", "trt.ONNXParser(", "ONNXParser", id="class"),
    pytest.param("builder/timing_cache.py", "ignore_mismatch=", "ignore_mismatches=", "ignore_mismatches", id="keyword"),
    pytest.param("device/_trt.py", "runtime.engine_host_code_allowed =", "runtime.host_code_allowed =", "host_code_allowed", id="property"),
    pytest.param(
        "run/loaded_engine.py", "engine.num_io_tensors", "engine.num_io_tensors()", "not a function", id="property that is called"
    ),
    pytest.param("run/runner.py", ".execute_async_v3(self._stream.handle)", ".execute_async_v3()", "takes", id="argument left out"),
    pytest.param("builder/build_child.py", "STRONGLY_TYPED", "STRONGLY_TYPD", "holds in no version", id="name in its guard"),
    pytest.param("builder/build_child.py", "BuilderFlag.VERSION_COMPATIBLE", "BuilderFlag.INT8", "11.", id="gone in 11"),
    pytest.param("builder/build_child.py", "device_memory_size_v2", "device_memory_size", "11.", id="property gone in 11"),
    pytest.param(
        "builder/build_child.py", "trt.MemoryPoolType.WORKSPACE", "trt.TilingOptimizationLevel.NONE", "10.3", id="newer than 10.3"
    ),
    pytest.param(
        "builder/build_child.py", "def step_complete(", "def step_done(", "step_complete is not written", id="method to be written"
    ),
    pytest.param("builder/build_child.py", "phase_name: str, step: int", "step: int", "does not take 1", id="parameters of such a method"),
    pytest.param(
        "builder/parser_hints.py", "parser_error.desc()", "parser_error.description()", "description", id="object out of an object"
    ),
    pytest.param(
        "run/engine_layers.py", "inspector.get_engine_information(", "reporter.get_engine_information(", "receivers.py", id="other name"
    ),
]


@pytest.mark.parametrize(("file", "right", "wrong", "says"), MISTAKES)
def test_a_mistake_is_found(file: str, right: str, wrong: str, says: str, tmp_path: Path, surface_of: SurfaceOf) -> None:
    folder = shutil.copytree(ENGINE, tmp_path / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    source = (folder / file).read_text()
    assert right in source, "the mistake has nothing to replace any more: take another"
    (folder / file).write_text(source.replace(right, wrong))
    findings = _findings(folder, _surfaces(surface_of))
    assert any(says in finding and file in finding for finding in findings), findings


def test_an_api_under_its_guard_is_checked_where_the_guard_holds(tmp_path: Path, surface_of: SurfaceOf) -> None:
    (tmp_path / "guarded.py").write_text(
        "def f(trt, config):\n"
        "    if trt_version(trt) < (11, 0):\n"
        "        config.set_flag(trt.BuilderFlag.INT8)\n"
        "    else:\n"
        "        config.build_route\n"
        '    if hasattr(trt, "IStreamWriter"):\n'
        "        trt.IStreamWriter\n"
    )
    surfaces = _surfaces(surface_of)
    assert _findings(tmp_path, surfaces) == []
    (tmp_path / "guarded.py").write_text((tmp_path / "guarded.py").read_text().replace("< (11, 0)", "< (11, 3)"))
    assert any("11.2.1.2 has no INT8" in finding for finding in _findings(tmp_path, surfaces))
