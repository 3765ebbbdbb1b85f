"""The folder for a GPU machine: every form of one network, the answers to find again, and lineside for a Python with numpy alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from lineside.benchmarks.gpu.bundle import Bundle
from lineside.benchmarks.gpu.prepare import IOS, PRECISIONS, TILINGS, PrepareOptions, prepare
from lineside.engine.inspector import Inspector
from lineside.errors import ConfigError, ModelError, OutputError
from lineside.spec import StripSpec

SPEC = StripSpec.of_size(100, 70, tile_px=64)
OPTIONS = PrepareOptions(strips=3, patches=8, examples=2, spec=SPEC)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Do not change it."""
    for package in ("torch", "onnx", "onnxruntime"):
        pytest.importorskip(package, reason="the folder is made with it")
    return prepare("2", tmp_path_factory.mktemp("gpu") / "bundle", OPTIONS)


def test_every_precision_tiling_and_io_form_is_there(bundle: Bundle) -> None:
    expected = {f"{tiling}.{precision}.{io}" for tiling, precision, io in product(TILINGS, PRECISIONS, IOS)}
    assert {model.name for model in bundle.models} == expected
    assert len(expected) == 18
    assert len({model.sha256 for model in bundle.models}) == 18
    for model in bundle.models:
        with Inspector.load(bundle.path(model.name)) as inspector:
            manifest = inspector.manifest
            assert manifest is not None
            assert f"{manifest.tiling}.{manifest.precision}.{manifest.io}" == model.name
            assert manifest.target == ("tensorrt" if model.precision == "int8" else "")


def test_the_heatmaps_are_those_of_the_files_and_take_many_values(bundle: Bundle) -> None:
    strips = bundle.strips()
    assert (strips.shape, strips.dtype) == ((3, 4, 100, 70), np.uint8)
    assert len({strip.tobytes() for strip in strips}) == 3
    for model in bundle.models:
        expected = bundle.heatmaps(model.own or model.reference)
        assert expected.std() > 0.05, "a flat heatmap would agree with anything"
        with Inspector.load(bundle.path(model.name)) as inspector:
            difference = np.abs(inspector.heatmap(strips[1]) - expected[1]).max()
        # float32 and INT8 are the very numbers (raw and unrolled sum up otherwise); FP16 as the export allows it
        assert difference < (2e-2 if model.precision == "fp16" else 1e-3 if model.precision == "fp32" else 0.1), model.name


def test_operations_are_two_per_multiply_add_of_every_convolution(bundle: Bundle) -> None:
    """Counted again from the widths of the network: 3 x 3 kernels, halved five times."""
    base, widths, up = 2, (1, 2, 4, 8, 8, 8), (8, 4, 2, 1, 1)

    def of_area(area: int) -> int:
        channels, total = 3, 0
        for level, width in enumerate(widths):
            total += area // 4**level * 9 * (channels * base * width + (base * width) ** 2)
            channels = base * width
        for level, width in zip(range(4, -1, -1), up, strict=True):
            out, skip = base * width, base * widths[level]
            total += area // 4**level * 9 * (channels * out + (skip + out) * out + out * out)
            channels = out
        return 2 * (total + area * 9 * base * 2)

    by_name = {model.name: model.operations for model in bundle.models}
    assert by_name["batched.fp16.production"] == by_name["unrolled.int8.raw"] == 4 * of_area(64 * 64)
    assert by_name["full.fp32.production"] == of_area(128 * 96), "padded to multiples of 32"


def test_the_index_reads_back_and_a_changed_model_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    assert Bundle.read(bundle.folder) == bundle
    with pytest.raises(ModelError, match=r"no model batched\.fp8"):
        bundle.model("batched.fp8.production")
    other = Bundle(folder=tmp_path, base_channels=2, size="100x70", models=bundle.models, made_by={})
    other.path("batched.fp16.raw").write_bytes(b"something else")
    with pytest.raises(ModelError, match="not the file that was prepared"):
        other.model("batched.fp16.raw")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 9}', '{"schema": 1, "models": [{}]}'])
def test_a_folder_that_is_not_prepared_says_how_to_prepare_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.json").write_text(text)
    with pytest.raises(ModelError, match="not a prepared folder") as caught:
        Bundle.read(tmp_path)
    assert "gpu prepare 64" in caught.value.fix


def test_nothing_is_left_of_a_preparation_that_fails(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the folder is made with it")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="taken"):
        prepare("2", tmp_path / "taken", OPTIONS)
    with pytest.raises(ConfigError, match="0 base channels"):
        prepare("0", tmp_path / "out", OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_folder_runs_by_itself_with_numpy_alone_and_refuses_a_machine_without_a_gpu(bundle: Bundle, tmp_path: Path) -> None:
    """As on a machine that has numpy and nothing else of ours: a folder with numpy alone stands for its packages."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for path in Path(np.__file__).parents[1].glob("numpy*"):
        (packages / path.name).symlink_to(path)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages), "HOME": str(tmp_path)}
    command = [sys.executable, "-S", str(bundle.folder / "run.py"), "--out", str(tmp_path / "results")]
    launcher = (
        "import os, runpy, sys\n"
        "real = os.execve\n"
        "os.execve = lambda file, arguments, environment: real(file, [arguments[0], '-S', *arguments[1:]], environment)\n"
        f"sys.argv = {command[2:]!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", launcher], env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert "GPU" in done.stderr or "driver" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["scipy", "tifffile", "PIL"])
def test_a_placeholder_can_be_imported_and_not_used(bundle: Bundle, name: str) -> None:
    code = f"import {name} as x\nfrom {name} import special, Image\nx.A.b\ntry:\n    Image.open(1)\nexcept Exception as e:\n    print(e)"
    environment = {"PYTHONPATH": str(bundle.folder / "absent" / name)}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{name} is not installed on this machine"


def test_the_package_in_the_folder_is_this_one(bundle: Bundle) -> None:
    site = bundle.folder / "site" / "lineside"
    import lineside

    assert (site / "__init__.py").read_text() == Path(lineside.__file__).read_text()
    for part in ("benchmarks/gpu/__main__.py", "engine/device/driver.py", "export/modules.py", "train/unet.py"):
        assert (site / part).is_file()
    assert json.loads((bundle.folder / "models.json").read_text())["schema"] == 1
