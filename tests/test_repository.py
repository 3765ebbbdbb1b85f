"""The shape of the repository: design 10."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_PACKAGES = {"tests", "docs", "build", "demo", "dist"}
HEAVY = ("torch", "tensorrt", "cuda", "pycuda", "onnx", "onnxruntime", "matplotlib", "skimage", "openvino", "polygraphy")


def setup() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def mapping() -> dict[str, Path]:
    lines = setup()["options"]["package_dir"].strip().splitlines()
    return {name.strip(): ROOT / folder.strip() for name, folder in (line.split("=") for line in lines)}


def listed_packages() -> list[str]:
    return setup()["options"]["packages"].split()


def test_the_packages_of_setup_cfg_are_the_folders_with_an_init() -> None:
    folders = {
        init.parent
        for init in ROOT.glob("*/**/__init__.py")
        if not any(part.startswith(".") or part in NOT_PACKAGES for part in init.relative_to(ROOT).parts)
    }
    found = set()
    for folder in folders:
        top = next(name for name, path in mapping().items() if path == ROOT / folder.relative_to(ROOT).parts[0])
        found.add(".".join([top, *folder.relative_to(ROOT).parts[1:]]))
    assert set(listed_packages()) == found


def test_no_module_of_the_root_is_named_like_a_mapped_folder() -> None:
    folders = {name.split(".")[1] for name in mapping() if "." in name}
    modules = {path.stem for path in (ROOT / "strip").glob("*.py")}
    assert not folders & modules


def test_importing_every_package_loads_nothing_heavy() -> None:
    code = f"import sys\n{''.join(f'import {name}{chr(10)}' for name in listed_packages())}import lineside.cli.main\nprint(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {name for name in modules if name.split(".")[0] in HEAVY}


def test_every_extra_that_an_error_names_exists() -> None:
    extras = set(setup()["options.extras_require"])
    named = {
        extra
        for folder in mapping().values()
        for path in folder.rglob("*.py")
        for extra in re.findall(r'extra="([a-z0-9]+)"', path.read_text())
    }
    assert named
    assert named <= extras


def test_every_name_of_the_public_api_can_be_had() -> None:
    lineside = pytest.importorskip("lineside")
    assert len(set(lineside.__all__)) == len(lineside.__all__)
    for name in lineside.__all__:
        assert getattr(lineside, name).__doc__
