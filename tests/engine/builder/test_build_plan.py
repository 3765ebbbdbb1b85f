"""What a build will make, and what is refused before TensorRT sees it: on any machine, without a GPU and without `onnx`."""

from __future__ import annotations

from pathlib import Path

import pytest

from lineside import ConfigError, LinesideError, ModelError
from lineside.engine.builder.memory import Estimate, estimate, refuse_workspace, workspace_bytes
from lineside.engine.builder.plan import plan
from lineside.engine.files.build_options import BuildOptions
from lineside.engine.files.onnx_file import read_onnx
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.machine import MIB, available_ram
from lineside.errors import DeviceError

OUT = Path("strip.engine")


def test_a_file_is_read_without_the_package_onnx(models: Path) -> None:
    raw = read_onnx(models / "raw.onnx")
    assert (raw.input, raw.input_dtype, raw.batch, raw.opset) == ("strip", "uint8", None, 13)
    assert raw.manifest.spec.size == "64x96"
    assert raw.nodes["ReduceMax"] == 1
    assert raw.size_bytes == (models / "raw.onnx").stat().st_size
    assert read_onnx(models / "fixed.onnx").batch == 4


@pytest.mark.parametrize("kept", [0, 1, 10, 100, 500])
def test_a_cut_off_file_is_one_error(models: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "strip.onnx"
    path.write_bytes((models / "raw.onnx").read_bytes()[:kept])
    with pytest.raises(ModelError) as error:
        read_onnx(path)
    assert str(path) in error.value.what
    assert error.value.fix


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"not a model at all\n", b"\xff" * 40, b"\x08\x07"])
def test_what_is_no_onnx_file_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "strip.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not an ONNX file"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("name", "found"), [("bare", "no metadata"), ("renamed", "image"), ("resized", "the graph is"), ("old_schema", "0")]
)
def test_a_file_that_is_not_ours_is_refused(models: Path, name: str, found: str) -> None:
    with pytest.raises(ModelError, match=found):
        plan(models / f"{name}.onnx", OUT)


def test_a_missing_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        plan(tmp_path / "strip.onnx", OUT)


def test_the_batch_is_one_unless_said_and_the_files_own_where_it_fixes_one(models: Path) -> None:
    assert str(plan(models / "raw.onnx", OUT).profiles) == "1"
    assert str(plan(models / "raw.onnx", OUT, BuildOptions(batch=BatchProfiles.parse("1:4"))).profiles) == "1:4"
    assert str(plan(models / "fixed.onnx", OUT).profiles) == "4"
    assert str(plan(models / "fixed.onnx", OUT, BuildOptions(batch=BatchProfiles.parse("4"))).profiles) == "4"


def test_another_batch_than_the_file_fixes_is_refused(models: Path) -> None:
    with pytest.raises(ConfigError, match="takes 4 strips") as error:
        plan(models / "fixed.onnx", OUT, BuildOptions(batch=BatchProfiles.parse("1,4")))
    assert "lineside export" in error.value.fix


def test_a_float32_file_is_built_with_a_warning_that_says_how_to_get_half(models: Path) -> None:
    (warning,) = plan(models / "raw.onnx", OUT).warnings
    assert "float32 engine" in warning
    assert "lineside quantize raw.onnx --precision fp16" in warning


def test_an_engine_has_the_name_of_one(models: Path) -> None:
    with pytest.raises(ConfigError, match="is called"):
        plan(models / "raw.onnx", Path("strip.onnx"))
    assert plan(models / "raw.onnx", Path("strip.plan"))


def test_the_command_builds_what_was_planned(models: Path) -> None:
    options = BuildOptions(
        batch=BatchProfiles.parse("1,4"), workspace_mib=512, timing_cache=Path("a b.cache"), version_compatible=True, time_limit_s=60
    )
    assert plan(models / "raw.onnx", OUT, options).command.endswith(
        "raw.onnx --out strip.engine --batch 1,4 --workspace-mib 512 --timing-cache 'a b.cache' --version-compatible --time-limit 60"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"workspace_mib": 0},
        {"optimization_level": 6},
        {"optimization_level": -1},
        {"device": -1},
        {"time_limit_s": 0},
        {"time_limit_s": float("nan")},
    ],
)
def test_an_option_that_cannot_be_is_one_error(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as error:
        BuildOptions(**wrong)  # type: ignore[arg-type]
    assert error.value.fix


def test_more_strips_need_more_memory(models: Path) -> None:
    onnx = read_onnx(models / "line.onnx")
    one, eight = (estimate(onnx, BatchProfiles.parse(text)) for text in ("1", "1,8"))
    assert eight.activations == 8 * one.activations
    assert eight.device > one.device
    # input and output of eight production strips, float32
    assert eight.io == 8 * 976 * 176 * (3 + 3) * 4


NEEDS = Estimate(activations=100 * MIB, io=MIB, device=1000 * MIB, host=500 * MIB)
RAM = 4000 * MIB


def test_the_workspace_is_three_quarters_of_what_the_build_leaves() -> None:
    assert workspace_bytes(NEEDS, None, free=5000 * MIB, ram=RAM, integrated=False) == 3000 * MIB
    assert workspace_bytes(NEEDS, 512, free=5000 * MIB, ram=RAM, integrated=False) == 512 * MIB


def test_an_integrated_gpu_shares_the_ram_with_the_builder() -> None:
    # CUDA says 100 MiB free because the kernel's caches hold the rest: what counts is what the kernel can give
    assert workspace_bytes(NEEDS, None, free=100 * MIB, ram=3500 * MIB, integrated=True) == 1500 * MIB
    with pytest.raises(DeviceError, match="1400 MiB of RAM, which this GPU shares") as error:
        workspace_bytes(NEEDS, None, free=5000 * MIB, ram=1400 * MIB, integrated=True)
    assert "swap" in error.value.fix


def test_too_little_memory_is_said_before_the_build() -> None:
    with pytest.raises(DeviceError, match="999 MiB of device memory are free") as error:
        workspace_bytes(NEEDS, None, free=999 * MIB, ram=RAM, integrated=False)
    assert "about 1000 MiB" in error.value.why
    with pytest.raises(DeviceError, match="499 MiB of RAM are free"):
        workspace_bytes(NEEDS, None, free=5000 * MIB, ram=499 * MIB, integrated=False)
    with pytest.raises(DeviceError, match="a workspace of 4001 MiB") as error:
        workspace_bytes(NEEDS, 4001, free=5000 * MIB, ram=RAM, integrated=False)
    assert "--workspace-mib 4000" in error.value.fix


def test_a_workspace_larger_than_the_gpu_is_refused() -> None:
    refuse_workspace(None, 8 * MIB, gpu="Orin")
    refuse_workspace(8, 8 * MIB, gpu="Orin")
    with pytest.raises(ConfigError, match="workspace of 9 MiB"):
        refuse_workspace(9, 8 * MIB, gpu="Orin")


def test_linux_says_how_much_ram_is_available() -> None:
    assert 0 < available_ram() < 2**50


def test_every_refusal_has_what_why_and_fix(models: Path) -> None:
    for wrong in (models / "bare.onnx", models / "nothing.onnx", models / "make.py"):
        with pytest.raises(LinesideError) as error:
            plan(wrong, OUT)
        assert error.value.what
        assert error.value.why
        assert error.value.fix
