"""Timing caches: bound to GPU and version, merged, written whole. TensorRT's objects are a few lines that keep its rules."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lineside import ConfigError, DeviceError, OutputError
from lineside.engine.builder import timing_cache
from lineside.engine.builder.timing_cache import attach, identity, save

ORIN = identity(tensorrt="10.3.0", gpu="Orin", compute_capability=(8, 7))
TRT = ModuleType("tensorrt")
TRT.__version__ = "10.3.0"  # type: ignore[attr-defined]


class Cache:
    """An ITimingCache: a set of tactics, as JSON."""

    def __init__(self, data: bytes) -> None:
        self.tactics: set[str] = set(json.loads(data)) if data else set()

    def combine(self, input_cache: Cache, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        if "foreign" in input_cache.tactics:
            return False
        self.tactics |= input_cache.tactics
        return True

    def serialize(self) -> bytes:
        return json.dumps(sorted(self.tactics)).encode()


class Config:
    """An IBuilderConfig, as far as timing caches go."""

    def __init__(self, *, takes: bool = True) -> None:
        self._cache: Cache | None = None
        self._takes = takes

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Cache:
        return Cache(serialized_timing_cache)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        self._cache = cache if self._takes else None
        return self._takes

    def get_timing_cache(self) -> Cache | None:
        return self._cache

    def measure(self, *tactics: str) -> set[str]:
        """What a build does: use what is known and add what it measures."""
        assert self._cache is not None
        known = set(self._cache.tactics)
        self._cache.tactics |= set(tactics)
        return known


def build(path: Path, *tactics: str, who: dict[str, Any] = ORIN) -> set[str]:
    """A build that measures `tactics`; what it knew beforehand."""
    config = Config()
    attach(TRT, config, path, who)
    known = config.measure(*tactics)
    assert save(config, path, who)
    return known


def test_the_second_build_knows_what_the_first_one_measured(tmp_path: Path) -> None:
    path = tmp_path / "caches" / "orin.cache"
    assert build(path, "a", "b") == set()
    assert build(path, "c") == {"a", "b"}
    assert build(path) == {"a", "b", "c"}
    assert [file.name for file in path.parent.iterdir()] == ["orin.cache"]  # and no lock beside it


def test_a_build_that_ended_meanwhile_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    slow = Config()
    attach(TRT, slow, path, ORIN)
    build(path, "quick")
    slow.measure("slow")
    assert save(slow, path, ORIN)
    assert build(path) == {"quick", "slow"}


@pytest.mark.parametrize(
    "who",
    [
        identity(tensorrt="10.16.1", gpu="Orin", compute_capability=(8, 7)),
        identity(tensorrt="10.3.0", gpu="NVIDIA H200", compute_capability=(9, 0)),
    ],
)
def test_another_gpus_or_versions_cache_is_refused_and_kept(tmp_path: Path, who: dict[str, Any]) -> None:
    path = tmp_path / "cache"
    build(path, "a")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="a timing cache of") as error:
        attach(TRT, Config(), path, who)
    assert "another file" in error.value.fix
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{}\n", b"raw bytes of trtexec\n", b"[1]\nx", b"\xff\xfe\n"])
def test_what_is_no_cache_of_ours_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cache"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a timing cache of lineside"):
        attach(TRT, Config(), path, ORIN)


def test_a_folder_is_no_cache(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a file"):
        attach(TRT, Config(), tmp_path, ORIN)


def test_a_cache_that_tensorrt_does_not_take_is_an_error_because_it_only_answers_false(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="does not take"):
        attach(TRT, Config(takes=False), tmp_path / "cache", ORIN)


def test_what_cannot_be_merged_is_replaced_and_said(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    config = Config()
    attach(TRT, config, path, ORIN)
    config.measure("mine")
    path.write_bytes(json.dumps(ORIN).encode() + b"\n" + b'["foreign"]')
    assert not save(config, path, ORIN)
    assert build(path) == {"mine"}


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    config = Config()
    config.set_timing_cache(Cache(b""), ignore_mismatch=False)
    with pytest.raises(OutputError):
        save(config, tmp_path / "file" / "cache", ORIN)


def test_a_cut_off_write_leaves_the_old_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache"
    build(path, "a")

    def interrupted(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(timing_cache, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(path, "b")
    monkeypatch.undo()
    assert build(path) == {"a"}
