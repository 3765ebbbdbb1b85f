"""The only module that imports TensorRT, and only after the driver has answered.

In:   nothing; the driver is asked and the installed packages are looked at.
Out:  the module `tensorrt` (or `tensorrt_lean`), its version, and loggers that keep what TensorRT says.
Why: without a usable GPU TensorRT 10.6 aborts the process, 10.15 and 11.2 raise a bare TypeError, and the lean runtime ends in a
SIGSEGV (design 6). No other module of lineside may import it; all of them name it `trt`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import Any, Protocol

from lineside._optional import install_command
from lineside.errors import DeviceError, MissingPackageError

from . import driver

FULL, LEAN = "tensorrt", "tensorrt_lean"
"""Names of the two modules."""
OLDEST = (10, 3)
"""JetPack 6 has it; nothing older is tested."""

# `tensorrt`, `tensorrt-cu12`, `tensorrt-cu12-bindings`; and the same with `-lean`
_DISTRIBUTION = re.compile(r"tensorrt(?P<lean>-lean)?(-cu\d+)?(-bindings)?")

Sink = Callable[[str, str], None]
"""Takes a severity ("error", "warning") and a message."""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A TensorRT that is installed, as its package says. `lean`: the runtime alone, which builds nothing."""

    name: str
    version: str
    lean: bool


class Log(Protocol):
    """What `logger` returns: an ILogger of TensorRT's that keeps what it hears.

    Attributes:
        messages: (severity, text) of every warning and error since it was made, in order.
    """

    messages: list[tuple[str, str]]

    def errors(self) -> str:
        """The errors among the messages, one per line; empty when there are none."""
        ...


def installed() -> Installed | None:
    """The TensorRT of this Python, the full one before the lean one; None without any. Imports nothing."""
    found: dict[bool, Installed] = {}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        match = _DISTRIBUTION.fullmatch(name)
        if match:
            lean = match["lean"] is not None
            found.setdefault(lean, Installed(name=name, version=distribution.version, lean=lean))
    return found.get(False) or found.get(True)


def tensorrt(*, lean_allowed: bool = False) -> ModuleType:
    """TensorRT, ready for use.

    Args:
        lean_allowed: Take the lean runtime where the full package is absent.

    Raises:
        DeviceError: There is no driver or no GPU, TensorRT's libraries cannot be loaded, or it is too old.
        MissingPackageError: It is not installed.
    """
    driver.ask_driver()
    for name in (FULL, LEAN) if lean_allowed else (FULL,):
        try:
            trt = importlib.import_module(name)
        except ModuleNotFoundError as exc:
            if exc.name != name:
                raise _broken(name, exc) from exc
        except (ImportError, OSError) as exc:
            raise _broken(name, exc) from exc
        else:
            if trt_version(trt) < OLDEST:
                raise DeviceError(
                    f"TensorRT {trt.__version__}",
                    why=f"lineside needs {'.'.join(map(str, OLDEST))} or newer",
                    fix=f"{install_command('engine')}; on a Jetson: JetPack 6 or newer",
                )
            return trt
    there = installed()
    raise MissingPackageError(
        "TensorRT is not installed" if there is None else f"the full TensorRT is not installed, only {there.name} {there.version}",
        why="engines are built by the full package" if there is not None and there.lean else "engines are built and run by it",
        fix=f"{install_command('engine')}; on a Jetson it comes with JetPack: apt install python3-libnvinfer",
    )


def trt_version(trt: ModuleType) -> tuple[int, int]:
    """Major and minor of a TensorRT module: (10, 3)."""
    major, minor = str(trt.__version__).split(".")[:2]
    return int(major), int(minor)


def logger(trt: ModuleType, sink: Sink | None = None) -> Any:
    """A `Log` for Builder, OnnxParser and Runtime: it has to live as long as they do.

    Args:
        trt: TensorRT.
        sink: Also gets each warning and error. May be called from any thread, and must not raise.
    """
    words = {
        trt.ILogger.Severity.INTERNAL_ERROR: "error",
        trt.ILogger.Severity.ERROR: "error",
        trt.ILogger.Severity.WARNING: "warning",
    }

    class _Log(trt.ILogger):  # type: ignore[misc, name-defined]  # the class exists only where TensorRT does
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the bindings want the base called by name
            self.messages: list[tuple[str, str]] = []

        def log(self, severity: Any, message: str) -> None:
            word = words.get(severity)
            if word is None:  # information: thousands of lines, which the progress monitor says better
                return
            self.messages.append((word, message))
            if sink is not None:
                sink(word, message)

        def errors(self) -> str:
            return "\n".join(message for word, message in self.messages if word == "error")

    return _Log()


def new_runtime(trt: ModuleType, log: Any, *, trusted: bool) -> Any:
    """A Runtime of TensorRT's.

    Args:
        log: Of `logger`; it has to outlive the runtime.
        trusted: Let it run the code that a version-compatible engine brings along: its own lean runtime.
    """
    runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = trusted
    return runtime


def deserialized(runtime: Any, plan: Any) -> Any | None:
    """The engine in the bytes `plan`; None where TensorRT cannot load it, and its log says why."""
    return runtime.deserialize_cuda_engine(plan)


def _broken(name: str, exc: Exception) -> DeviceError:
    reason = str(exc).strip().split("\n")[0] or type(exc).__name__
    return DeviceError(
        f"{name} is installed and cannot be loaded",
        why=reason,
        fix="install TensorRT and its libraries again, of one version: lineside doctor says which are there",
    )
