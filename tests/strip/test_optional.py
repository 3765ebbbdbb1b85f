"""What is said of a package that is not installed."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import PackageNotFoundError

import pytest
from packaging.requirements import Requirement

from lineside import MissingPackageError
from lineside._optional import install_command, require


@pytest.mark.parametrize("extra", ["onnxruntime", "train", "export", "engine", "pycuda", "openvino", "bench", "demo", "zoo", "dev"])
def test_the_command_names_packages_that_a_registry_has_and_this_python(extra: str) -> None:
    python, *words = shlex.split(install_command(extra))
    assert (python, words[:3]) == (sys.executable, ["-m", "pip", "install"])
    names = {Requirement(word).name for word in words[3:]}
    assert names
    assert "lineside" not in names


def test_an_extra_that_names_others_brings_all_of_them_once() -> None:
    names = [Requirement(word).name for word in shlex.split(install_command("demo"))[4:]]
    assert {"torch", "matplotlib", "nvidia-ml-py", "onnx", "onnxruntime", "scikit-image"} == set(names)
    assert len(names) == len(set(names))


def test_a_copy_that_nobody_installed_names_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", absent)
    assert install_command("train") == 'pip install ".[train]" in the folder that holds setup.cfg'


def test_a_missing_package_is_an_error_with_that_command() -> None:
    with pytest.raises(MissingPackageError) as error:
        require("no_such_package", extra="export")
    assert error.value.fix == install_command("export")
