"""What a build takes of Polygraphy is in the oldest and the newest that it is for, and works with each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from lineside_contract.check import problems
from lineside_contract.look import Surface
from lineside_contract.packages import POLYGRAPHY, Package
from lineside_contract.uses import Use, read
from lineside_standin.install import Standin

from lineside.engine.builder.build import BuildOptions, build
from lineside.engine.files.profiles import BatchProfiles

SurfaceOf = Callable[[Package], Surface]
ENGINE = Path(__file__).parents[2] / "engine"
MODELS = Path(__file__).parents[1] / "engine" / "models"
CONFIG = "create_config"


def _uses(folder: Path) -> tuple[Use, ...]:
    return read(folder, module="polygraphy", receivers={}).uses


def _unknown_options(uses: tuple[Use, ...], surface: Surface) -> set[str]:
    """Keywords of `create_config` that its class does not have: the function itself takes any."""
    known: set[str] = {"builder", "network"}
    for signature in surface["names"]["CreateConfig"]["members"]["__init__"]["signatures"]:
        known |= {one["name"] for one in signature["parameters"]}
    calls = [step.call for use in uses for step in use.steps if step.name == CONFIG and step.call]
    assert calls
    return {keyword for call in calls for keyword in call.keywords} - known


@pytest.mark.parametrize("package", POLYGRAPHY, ids=lambda package: package.name)
def test_this_polygraphy_has_what_a_build_uses(package: Package, surface_of: SurfaceOf) -> None:
    uses, surface = _uses(ENGINE), surface_of(package)
    assert {"Profile", CONFIG} <= {use.steps[0].name for use in uses}
    assert not problems(uses, surface)
    assert not _unknown_options(uses, surface)


@pytest.mark.parametrize(("right", "wrong"), [("progress_monitor=", "progress="), ("polygraphy.Profile(", "polygraphy.Profil(")])
def test_a_mistake_is_found(right: str, wrong: str, tmp_path: Path, surface_of: SurfaceOf) -> None:
    folder = shutil.copytree(ENGINE, tmp_path / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    source = (folder / "builder" / "build_child.py").read_text()
    assert right in source
    (folder / "builder" / "build_child.py").write_text(source.replace(right, wrong))
    surface = surface_of(POLYGRAPHY[-1])
    assert [*problems(_uses(folder), surface), *_unknown_options(_uses(folder), surface)]


@pytest.mark.parametrize("tensorrt", ["10.3.0", "11.4.0.106"])
@pytest.mark.parametrize("package", POLYGRAPHY, ids=lambda package: package.name)
def test_a_build_goes_through_this_polygraphy(
    package: Package, tensorrt: str, standin: Standin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # the stand-in has only what all versions of TensorRT have: what Polygraphy takes beyond that would fail here
    standin.world(tensorrt=tensorrt)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.folder()), os.environ["PYTHONPATH"]]))
    manifest = build(
        MODELS / "production.onnx",
        tmp_path / "model.engine",
        BuildOptions(batch=BatchProfiles.parse("1,2:4"), version_compatible=True, hardware_compatible=True, workspace_mib=64),
    )
    assert manifest.tensorrt == tensorrt
    assert str(manifest.profiles) == "1,2:4"
    assert manifest.version_compatible
