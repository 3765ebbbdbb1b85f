"""The sidecar: what was written is read, and anything else is one clear error."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lineside import ModelError, StripSpec
from lineside.engine.files.build_options import BuildOptions
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.files.qualification_mark import doubt, mark_of
from lineside.engine.files.sidecar import EngineManifest, GoldenFile, LayerPrecision, sidecar_path
from lineside.manifest import ModelManifest


@pytest.fixture
def manifest(sidecar_of: Callable[..., EngineManifest], small: StripSpec) -> EngineManifest:
    """No field has its default."""
    model = ModelManifest(
        spec=small,
        tiling="batched",
        io="raw",
        precision="int8",
        threshold=0.25,
        base_channels=16,
        weights_sha256="a" * 64,
        checkpoint_sha256="b" * 64,
        versions={"torch": "2.13.0"},
        kept={"logits": "last layer"},
        target="tensorrt",
        ranges_sha256="c" * 64,
    )
    return sidecar_of(
        onnx="strip.int8.onnx",
        model=model,
        input_dtype="uint8",
        profiles=BatchProfiles.parse("1,2:4:8"),
        options={"optimization_level": 3},
        build_seconds=12.5,
        version_compatible=True,
        layers=(LayerPrecision(name="a + b", kind="CaskConvolution", precision="int8", onnx=("a",)),),
        int8_planned=1,
        int8_built=1,
        golden=GoldenFile(name="strip.engine.golden.npz", sha256="f" * 64),
    )


def test_the_sidecar_lies_beside_the_engine_under_its_whole_name(manifest: EngineManifest, tmp_path: Path) -> None:
    assert sidecar_path(tmp_path / "strip.engine") == tmp_path / "strip.engine.json"
    assert sidecar_path(tmp_path / "strip.plan") == tmp_path / "strip.plan.json"
    manifest.write(tmp_path / "strip.engine")
    assert [file.name for file in tmp_path.iterdir()] == ["strip.engine.json"]


def test_what_was_written_is_read(manifest: EngineManifest, tmp_path: Path) -> None:
    for written in (manifest, replace(manifest, golden=None, batch=4, qualification={"verdict": "yes"})):
        written.write(tmp_path / "strip.engine")
        assert EngineManifest.read(tmp_path / "strip.engine") == written


def test_the_schema_number_is_one(manifest: EngineManifest) -> None:
    assert json.loads(json.dumps(manifest.to_json()))["schema"] == 1


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"schema": 2}, "schema 2"),
        ({"schema": None}, "schema None"),
        ({"tensorrt": None}, "damaged"),
        ({"profiles": 1}, "damaged"),
        ({"int8_built": True}, "damaged"),
        ({"options": []}, "damaged"),
        ({"compute_capability": [8]}, "damaged"),
        ({"compute_capability": None}, "damaged"),
        ({"layers": [{"name": "a"}]}, "damaged"),
        ({"layers": 3}, "damaged"),
        ({"model": {}}, "damaged"),
        ({"model": []}, "damaged"),
        ({"golden": "strip.npz"}, "damaged"),
    ],
)
def test_a_damaged_sidecar_is_one_error_that_names_it(manifest: EngineManifest, tmp_path: Path, change: dict[str, Any], found: str) -> None:
    path = sidecar_path(tmp_path / "strip.engine")
    path.write_text(json.dumps({**manifest.to_json(), **change}))
    with pytest.raises(ModelError, match=found) as error:
        EngineManifest.read(tmp_path / "strip.engine")
    assert str(path) in error.value.what
    assert "build the engine again" in error.value.fix


@pytest.mark.parametrize("missing", ["plan_sha256", "model", "layers", "golden"])
def test_a_sidecar_without_a_key_is_damaged(manifest: EngineManifest, tmp_path: Path, missing: str) -> None:
    value = manifest.to_json()
    del value[missing]
    sidecar_path(tmp_path / "strip.engine").write_text(json.dumps(value))
    with pytest.raises(ModelError, match="damaged") as error:
        EngineManifest.read(tmp_path / "strip.engine")
    assert missing in error.value.why


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3"])
def test_what_is_no_sidecar_is_one_error(tmp_path: Path, content: bytes) -> None:
    sidecar_path(tmp_path / "strip.engine").write_bytes(content)
    with pytest.raises(ModelError):
        EngineManifest.read(tmp_path / "strip.engine")


def test_an_engine_without_a_sidecar_says_what_to_copy_or_build(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no sidecar") as error:
        EngineManifest.read(tmp_path / "strip.engine")
    assert "lineside build" in error.value.fix


def test_an_engine_fits_its_own_gpu_and_a_hardware_compatible_one_every_gpu_from_ampere_on(manifest: EngineManifest) -> None:
    assert [manifest.fits(gpu) for gpu in ((8, 7), (8, 6), (9, 0))] == [True, False, False]
    wide = replace(manifest, hardware_compatible=True)
    assert [wide.fits(gpu) for gpu in ((7, 5), (8, 0), (9, 0))] == [False, True, True]


def test_the_command_that_rebuilds_has_the_options_that_matter(manifest: EngineManifest) -> None:
    command = manifest.rebuild(Path("strip.engine"))
    assert command == "lineside build strip.int8.onnx --out strip.engine --batch 1,2:4:8 --version-compatible --force"
    assert "--batch" not in replace(manifest, batch=4).rebuild(Path("x"))


def test_the_command_that_rebuilds_keeps_every_option_of_the_build_and_quotes_paths(manifest: EngineManifest) -> None:
    options = BuildOptions(optimization_level=5, workspace_mib=512, allow_fallback=True, golden=(Path("elsewhere.tif"),))
    command = replace(manifest, options=options.to_json()).rebuild(Path("line 3/strip.engine"))
    words = shlex.split(command)
    assert words[words.index("--optimization-level") + 1] == "5"
    assert words[words.index("--workspace-mib") + 1] == "512"
    assert "--allow-fallback" in words
    assert "elsewhere.tif" not in words
    assert words[words.index("--out") + 1] == "line 3/strip.engine"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text("{}")
    return path


def marked(manifest: EngineManifest, report: Path, *, answer: str = "qualified", plan_sha256: str = "d" * 64) -> EngineManifest:
    mark = mark_of(report, answer=answer, when="2026-11-21", strips=48, plan_sha256=plan_sha256, reference_sha256="9" * 64)
    return replace(manifest, qualification=mark)


def test_a_qualified_engine_is_not_doubted_with_or_without_its_report(manifest: EngineManifest, report: Path) -> None:
    qualified = marked(manifest, report)
    assert doubt(qualified) is None
    report.unlink()  # the line PC has none
    assert doubt(qualified) is None


def test_an_engine_is_doubted_that_did_not_qualify_or_that_something_was_edited_about(manifest: EngineManifest, report: Path) -> None:
    assert "never qualified" in str(doubt(manifest))
    assert "not enough data" in str(doubt(marked(manifest, report, answer="not enough data")))
    assert "another engine" in str(doubt(marked(manifest, report, plan_sha256="0" * 64)))
    qualified = marked(manifest, report)
    report.write_text('{"answer": "qualified"}')
    assert "was edited" in str(doubt(qualified))
