"""The real packages of the contract tests, each version in a folder of its own.

In:   a folder; the network, once.
Out:  `FOLDER/NAME/` per package, without its dependencies; `FOLDER/stubs/` with libraries that are empty but for the symbols which
      TensorRT's bindings look for when they are imported; `NAME.failed` with pip's words where a package cannot be had.
Nothing of it is a driver or computes anything: the bindings are imported, and looked at.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).parents[3] / ".bindings"
STUBS = "stubs"
STAMP = ".installed"
_PARALLEL = 6
_TRIES = 2


@dataclass(frozen=True)
class Package:
    """One version of something: `requirements` are installed together, without their dependencies; `source`: its archive alone."""

    name: str
    requirements: tuple[str, ...]
    source: bool = False

    def folder(self, home: Path = HOME) -> Path:
        """Where it is; the message of an assertion error says why it is not there."""
        folder, failed = home / self.name, home / f"{self.name}.failed"
        assert not failed.exists(), f"{self.name} cannot be had: {failed.read_text()}"
        assert folder.is_dir(), f"{self.name} was not installed: run `make bindings`"
        return folder


def _tensorrt(cuda: int, version: str) -> Package:
    return Package(f"tensorrt-{version}", (f"tensorrt-cu{cuda}-bindings=={version}",))


TENSORRT = (
    *(_tensorrt(12, version) for version in ("10.3.0", "10.6.0", "10.7.0", "10.13.3.9", "10.16.1.11")),
    *(_tensorrt(13, version) for version in ("11.2.1.2", "11.4.0.106")),
)
"""JetPack 6 has 10.3; 11 has strongly typed networks only."""
CUDA = tuple(
    Package(f"cuda-{version}", (f"cuda-bindings=={version}", "cuda-pathfinder==1.9.0"))
    for version in ("12.8.0", "12.9.10", "13.0.0", "13.5.0")
)
"""The first and the last of each major that the registry has."""
POLYGRAPHY = tuple(Package(f"polygraphy-{version}", (f"polygraphy=={version}",)) for version in ("0.50.3", "0.53.6"))
"""Older ones fail on TensorRT 11: they ask its layers for `precision_is_set`, which is gone."""
LEAN = Package("tensorrt-lean-11.4.0.106", ("tensorrt-lean-cu13-libs==11.4.0.106", "tensorrt-lean-cu13-bindings==11.4.0.106"))
"""The real library, not only its bindings."""
LEAN_MODULE = "from tensorrt_lean_bindings import *\nfrom tensorrt_lean_bindings import __version__\n"
"""All that the metapackage `tensorrt-lean-cu13` holds; it is not a wheel."""
PYCUDA = tuple(Package(f"pycuda-{version}", (f"pycuda=={version}",), source=True) for version in ("2024.1", "2026.1"))
"""Builds only where the CUDA toolkit is: its documentation and its source are read instead."""
ALL = (*PYCUDA, LEAN, *CUDA, *TENSORRT, *POLYGRAPHY)

_SYMBOLS = {
    "nvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "nvinfer_plugin": ("initLibNvInferPlugins",),
    "nvonnxparser": ("createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getNvOnnxParserVersion"),
}
"""Undefined symbols of the bindings' library, by the library that has them (`nm -D --undefined-only tensorrt.so`)."""
_MAJORS = (10, 11)


def install(home: Path, packages: Iterable[Package] = ALL) -> list[str]:
    """Install what is not there yet; the names of those that cannot be had."""
    home.mkdir(parents=True, exist_ok=True)
    _stubs(home / STUBS)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return [name for name in pool.map(lambda package: _install(package, home), packages) if name]


def _install(package: Package, home: Path) -> str:
    """Its name when it failed."""
    folder, failed, of = home / package.name, home / f"{package.name}.failed", home / f"{package.name}.of"
    wanted = f"{' '.join(package.requirements)} {sys.implementation.cache_tag}"
    if folder.is_dir() and of.is_file() and of.read_text() == wanted:
        return ""
    failed.unlink(missing_ok=True)
    action = (
        ["download", "--no-binary", ":all:", "--no-build-isolation", "--dest"]
        if package.source
        else ["install", "--only-binary", ":all:", "--no-compile", "--target"]
    )
    command = [sys.executable, "-m", "pip", *action, str(folder), "--quiet", "--disable-pip-version-check", "--no-deps"]
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        done = subprocess.run([*command, *package.requirements], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            if package is LEAN:
                (folder / "tensorrt_lean").mkdir()
                (folder / "tensorrt_lean" / "__init__.py").write_text(LEAN_MODULE)
            of.write_text(wanted)
            return ""
    shutil.rmtree(folder, ignore_errors=True)
    failed.write_text(f"{' '.join(package.requirements)} for {sys.implementation.cache_tag}: {done.stderr.strip()[-800:]}")
    return package.name


def _stubs(folder: Path) -> None:
    """Compile the empty libraries."""
    folder.mkdir(exist_ok=True)
    for library, symbols in _SYMBOLS.items():
        source = folder / f"{library}.c"
        source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in symbols))
        for major in _MAJORS:
            soname = f"lib{library}.so.{major}"
            subprocess.run(
                ["cc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", str(folder / soname), str(source)],
                check=True,
                capture_output=True,
            )
