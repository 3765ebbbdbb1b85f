"""What a model file says about itself."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lineside import PRESETS, ConfigError, ModelError
from lineside.manifest import ModelManifest, checked_threshold, sha256_of_file, versions

MANIFEST = ModelManifest(
    spec=PRESETS["strip"],
    tiling="batched",
    io="production",
    threshold=0.25,
    threshold_rule="no false alarm on valid",
    base_channels=16,
    weights_sha256="a" * 64,
    checkpoint_sha256="b" * 64,
    versions={"lineside": "0.1.0"},
)
PATH = Path("strip.onnx")


def test_a_manifest_survives_the_metadata_of_a_file() -> None:
    properties = MANIFEST.to_properties()
    assert all(key.startswith("lineside.") and isinstance(text, str) for key, text in properties.items())
    assert ModelManifest.from_properties({"author": "somebody", **properties}, path=PATH) == MANIFEST


def test_the_metadata_is_text_that_other_tools_can_show() -> None:
    properties = MANIFEST.to_properties()
    assert properties["lineside.tiling"] == "batched"
    assert properties["lineside.threshold"] == "0.25"
    assert '"height_px": 976' in properties["lineside.spec"]


def test_a_file_that_is_not_ours_has_no_manifest() -> None:
    assert ModelManifest.from_properties({"author": "somebody"}, path=PATH) is None


def test_another_schema_is_refused() -> None:
    with pytest.raises(ModelError, match="metadata of schema 2"):
        ModelManifest.from_properties({**MANIFEST.to_properties(), "lineside.schema": "2"}, path=PATH)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("spec", "{}"),
        ("spec", "[]"),
        ("spec", "not json"),
        ("tiling", "diagonal"),
        ("io", ""),
        ("precision", "fp8"),
        ("threshold", "2"),
        ("threshold", "NaN"),
        ("threshold", "half"),
        ("base_channels", "0"),
        ("base_channels", "1.5"),
        ("versions", "3"),
        ("versions", "null"),
    ],
)
def test_damaged_metadata_names_the_file(key: str, text: str) -> None:
    with pytest.raises(ModelError) as caught:
        ModelManifest.from_properties({**MANIFEST.to_properties(), f"lineside.{key}": text}, path=PATH)
    assert "strip.onnx: damaged metadata" in caught.value.what
    assert caught.value.why


@pytest.mark.parametrize("key", sorted(set(MANIFEST.to_properties()) - {"lineside.schema"}))
def test_missing_metadata_is_damaged_metadata(key: str) -> None:
    properties = MANIFEST.to_properties()
    del properties[key]
    with pytest.raises(ModelError, match="damaged metadata"):
        ModelManifest.from_properties(properties, path=PATH)


@pytest.mark.parametrize("change", [{"threshold": -0.1}, {"tiling": "x"}, {"io": "x"}, {"precision": "x"}, {"base_channels": 0}])
def test_a_manifest_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(MANIFEST, **change)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_threshold_is_a_probability(value: float) -> None:
    assert checked_threshold(value) == value


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_threshold_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        checked_threshold(value)


def test_a_file_is_hashed_whole_however_long(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(data)
    assert sha256_of_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_versions_name_what_is_installed_and_nothing_else() -> None:
    assert set(versions(("numpy", "lineside", "no-such-package-of-ours"))) == {"numpy", "lineside"}
