"""TensorRT is imported in one place, and only where the driver has answered."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lineside import DeviceError, MissingPackageError
from lineside._optional import install_command
from lineside.engine.device import _trt, driver
from lineside.engine.device.driver import Driver

TENSORRT = ("tensorrt", "tensorrt_lean")


def module(name: str, version: str = "10.3.0") -> ModuleType:
    made = ModuleType(name)
    made.__version__ = version  # type: ignore[attr-defined]
    return made


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType | Exception]:
    """A driver that answers, and the modules that can be imported: none of TensorRT's to begin with."""
    there: dict[str, ModuleType | Exception] = {}
    load = importlib.import_module

    def import_module(name: str, package: str | None = None) -> ModuleType:
        if name not in TENSORRT:
            return load(name, package)
        found = there.get(name, ModuleNotFoundError(f"No module named {name!r}", name=name))
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(_trt.importlib, "import_module", import_module)
    monkeypatch.setattr(_trt.metadata, "distributions", list)
    monkeypatch.setattr(driver, "ask_driver", lambda: Driver(cuda_version=(12, 6), gpus=()))
    return there


def distribution(name: str, version: str) -> Any:
    return SimpleNamespace(metadata={"Name": name}, version=version)


def test_without_a_gpu_tensorrt_is_not_touched(machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Driver:
        raise DeviceError("no NVIDIA driver on this machine", why="w", fix="f")

    monkeypatch.setattr(driver, "ask_driver", none)
    machine["tensorrt"] = AssertionError("imported")
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        _trt.tensorrt()


def test_the_full_package_comes_before_the_lean_runtime(machine: dict[str, Any]) -> None:
    machine["tensorrt_lean"] = module("tensorrt_lean")
    assert _trt.tensorrt(lean_allowed=True).__name__ == "tensorrt_lean"
    machine["tensorrt"] = module("tensorrt", "11.4.0.106")
    assert _trt.tensorrt(lean_allowed=True).__name__ == "tensorrt"
    assert _trt.trt_version(_trt.tensorrt()) == (11, 4)


def test_the_lean_runtime_builds_nothing(machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    machine["tensorrt_lean"] = module("tensorrt_lean")
    monkeypatch.setattr(metadata, "distributions", lambda: [distribution("tensorrt_lean_cu12", "10.3.0")])
    with pytest.raises(MissingPackageError, match=r"only tensorrt-lean-cu12 10\.3\.0"):
        _trt.tensorrt()


def test_a_missing_package_says_how_to_install_it() -> None:
    with pytest.raises(MissingPackageError) as error:
        _trt.tensorrt()
    assert install_command("engine") in error.value.fix
    assert "JetPack" in error.value.fix


@pytest.mark.parametrize(
    "reason",
    [
        ImportError("libnvinfer.so.10: cannot open shared object file"),
        OSError("libcudart.so.12: cannot open"),
        ModuleNotFoundError("No module named 'tensorrt_libs'", name="tensorrt_libs"),
    ],
)
def test_a_package_whose_libraries_are_broken_says_so(machine: dict[str, Any], reason: Exception) -> None:
    machine["tensorrt"] = reason
    with pytest.raises(DeviceError, match="cannot be loaded") as error:
        _trt.tensorrt()
    assert str(reason) in error.value.why


def test_a_tensorrt_that_is_too_old_is_refused(machine: dict[str, Any]) -> None:
    machine["tensorrt"] = module("tensorrt", "8.5.2.2")
    with pytest.raises(DeviceError, match=r"8\.5\.2\.2"):
        _trt.tensorrt()


@pytest.mark.parametrize(
    ("name", "lean"),
    [
        ("tensorrt", False),
        ("tensorrt_cu12_bindings", False),
        ("tensorrt-cu13", False),
        ("tensorrt-lean", True),
        ("tensorrt_lean_cu13", True),
    ],
)
def test_what_is_installed_is_read_from_the_packages_alone(name: str, lean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distributions", lambda: [distribution("numpy", "2"), distribution(name, "10.3.0")])
    found = _trt.installed()
    assert found is not None
    assert (found.version, found.lean) == ("10.3.0", lean)
    assert not set(TENSORRT) & set(sys.modules)


def test_nothing_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distributions", lambda: [distribution("tensorrt-llm", "1"), distribution("torch-tensorrt", "2")])
    assert _trt.installed() is None


def test_a_logger_keeps_warnings_and_errors_and_hands_them_on() -> None:
    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)

    trt = module("tensorrt")
    trt.ILogger = ILogger  # type: ignore[attr-defined]
    heard: list[tuple[str, str]] = []
    log = _trt.logger(trt, lambda severity, text: heard.append((severity, text)))
    for severity, text in enumerate(("broken", "bad", "careful", "talk", "chatter")):
        log.log(severity, text)
    assert log.messages == heard == [("error", "broken"), ("error", "bad"), ("warning", "careful")]
    assert log.errors() == "broken\nbad"
