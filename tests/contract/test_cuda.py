"""Every name of `cuda.bindings.runtime` that the device layer uses is in every version that it is for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lineside_contract.cuda_uses import CudaUses, read
from lineside_contract.look import Surface
from lineside_contract.packages import CUDA, Package

SurfaceOf = Callable[[Package], Surface]
DEVICE = Path(__file__).parents[2] / "engine" / "device"


def _problems(uses: CudaUses, surface: Surface) -> Iterator[str]:
    names = surface["names"]
    for (name, *members), where in uses.attributes:
        if name not in names:
            yield f"{where}: no {name}"
        elif members and members[0] not in names[name].get("members", {}):
            yield f"{where}: {name} has no {members[0]}"
    for name, values, where in uses.calls:
        if names.get(name, {}).get("is") != "function":
            yield f"{where}: no function {name}"
        elif all(len(one["parameters"]) != values for one in names[name]["signatures"]):
            yield f"{where}: {name} does not take {values} values"


def _unknown_words(uses: CudaUses, surfaces: list[Surface]) -> list[str]:
    """Names in strings (errors that are explained, functions that are called) which no version knows."""
    known = {name for surface in surfaces for name in surface["names"]}
    known |= {member for surface in surfaces for member in surface["names"]["cudaError_t"]["members"]}
    unknown = [f"{where}: no {word}" for word, where in uses.words if word not in known]
    return unknown + [f"{where}: no {word}..." for word, where in uses.prefixes if not any(name.startswith(word) for name in known)]


@pytest.fixture(scope="module")
def uses() -> CudaUses:
    return read(DEVICE)


@pytest.mark.parametrize("package", CUDA, ids=lambda package: package.name)
def test_this_cuda_has_what_the_device_layer_uses(package: Package, uses: CudaUses, surface_of: SurfaceOf) -> None:
    assert {"cudaMalloc", "cudaGraphLaunch", "cudaStreamEndCapture"} <= {name for name, *_ in uses.calls}
    assert len(uses.attributes) > 8
    assert not list(_problems(uses, surface_of(package)))


def test_every_error_that_is_explained_is_one_of_cudas(uses: CudaUses, surface_of: SurfaceOf) -> None:
    assert len(uses.words) > 40
    assert not _unknown_words(uses, [surface_of(package) for package in CUDA])


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("cuda_python.py", '"cudaGraphLaunch"', '"cudaGraphLunch"'),
        ("cuda_python.py", "cudaHostAllocMapped", "cudaHostAllocMaped"),
        ("cuda_python.py", ".cudaMemcpyHostToDevice", ".cudaMemcpyHost2Device"),
        ("cuda_python.py", '("cudaGraphInstantiate", graph, 0)', '("cudaGraphInstantiate", graph)'),
        ("status.py", '"cudaErrorIllegalAddress"', '"cudaErrorIllegalAdress"'),
    ],
)
def test_a_mistake_is_found(file: str, right: str, wrong: str, tmp_path: Path, surface_of: SurfaceOf) -> None:
    folder = shutil.copytree(DEVICE, tmp_path / "device", ignore=shutil.ignore_patterns("__pycache__"))
    source = (folder / file).read_text()
    assert right in source, "the mistake has nothing to replace any more: take another"
    (folder / file).write_text(source.replace(right, wrong))
    uses, surfaces = read(folder), [surface_of(package) for package in CUDA]
    found = [*_unknown_words(uses, surfaces), *(problem for surface in surfaces for problem in _problems(uses, surface))]
    assert any(file in problem for problem in found)
