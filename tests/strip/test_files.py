"""Files are whole or not there, and what existed is not harmed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lineside import OutputError
from lineside.files import (
    file_being_written,
    folder_being_written,
    make_output_folder,
    refuse_existing,
    write_bytes,
    write_json,
    write_text,
)

INTERRUPTIONS = [ValueError("a bug"), KeyboardInterrupt()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_and_alone_with_the_folders_above_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "grüße\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "grüße\n".encode()
    assert names(tmp_path / "a" / "b") == ["c.txt"]


def test_json_can_be_read_by_people_and_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"threshold": 0.5})
    assert (tmp_path / "a.json").read_text() == '{\n  "threshold": 0.5\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"threshold": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"threshold": 0.5}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_an_interrupted_file_leaves_the_old_one_and_nothing_else(tmp_path: Path, interruption: BaseException) -> None:
    path = tmp_path / "strip.onnx"
    path.write_bytes(b"old")

    def write_half() -> None:
        with file_being_written(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise interruption

    with pytest.raises(type(interruption)):
        write_half()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["strip.onnx"]


def test_the_temporary_file_lies_beside_its_place_and_keeps_its_suffix(tmp_path: Path) -> None:
    with file_being_written(tmp_path / "heat.tif") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".tif"
        temporary.write_bytes(b"")


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_an_interrupted_folder_leaves_the_old_one_and_nothing_else(tmp_path: Path, interruption: BaseException) -> None:
    write_text(tmp_path / "data" / "old.txt", "old")

    def write_half() -> None:
        with folder_being_written(tmp_path / "data") as temporary:
            (temporary / "new.txt").write_text("half")
            raise interruption

    with pytest.raises(type(interruption)):
        write_half()
    assert names(tmp_path) == ["data"]
    assert names(tmp_path / "data") == ["old.txt"]


def test_a_folder_replaces_the_one_before_as_a_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "data" / "old.txt", "old")
    with folder_being_written(tmp_path / "data") as temporary:
        (temporary / "new.txt").write_text("new")
        assert names(tmp_path / "data") == ["old.txt"]
    assert names(tmp_path) == ["data"]
    assert names(tmp_path / "data") == ["new.txt"]


WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from lineside.files import folder_being_written
with folder_being_written(Path(sys.argv[1])) as folder:
    (folder / "half.txt").write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_of_a_folder_goes_with_the_next_one_and_nothing_else_does(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE_AND_WAIT, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with folder_being_written(tmp_path / "data") as mine:
            assert len(names(tmp_path)) == 2, "the other process is still at it"
            (mine / "mine.txt").write_text("whole")
        process.kill()
    (abandoned,) = (name for name in names(tmp_path) if name != "data")
    others = [".data.old.partial", ".data2.0123abcd.partial", "notes.partial"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / ".data.0123abcd.partial").write_text("a file")
    with folder_being_written(tmp_path / "data"):
        assert abandoned not in names(tmp_path)
    assert names(tmp_path) == sorted([*others, ".data.0123abcd.partial", "data"])


def test_a_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "data" / "old.txt", "old")
    rename = Path.rename

    def refuse_the_new_one(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(errno.EBUSY, "busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new_one)
    with pytest.raises(OutputError), folder_being_written(tmp_path / "data"):
        pass
    assert names(tmp_path) == ["data"]
    assert names(tmp_path / "data") == ["old.txt"]


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "that you may write to"),
        (errno.EROFS, "that can be written"),
        (errno.EFBIG, "another place"),
    ],
)
def test_what_the_disk_says_becomes_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, fix: str) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError) as caught:
        write_bytes(tmp_path / "a.bin", b"12")
    assert str(tmp_path / "a.bin") in caught.value.what
    assert caught.value.why == os.strerror(code).lower()
    assert fix in caught.value.fix
    assert names(tmp_path) == []


def test_an_error_that_is_not_about_the_place_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Invalid argument"), file_being_written(tmp_path / "a.bin"):
        raise OSError(errno.EINVAL, "Invalid argument")


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputError, match=r"part of that path is a file|a file is in the way"):
        write_text(tmp_path / "run" / "a.txt", "")


def test_a_full_disk_is_an_output_error_and_leaves_what_was_there(small_disk: Path) -> None:
    write_bytes(small_disk / "a.bin", b"old")
    with pytest.raises(OutputError, match="no space left on device"):
        write_bytes(small_disk / "a.bin", bytes(2 << 20))
    assert (small_disk / "a.bin").read_bytes() == b"old"
    assert names(small_disk) == ["a.bin"]


def test_an_existing_file_is_refused_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    refuse_existing(path, force=False)
    path.write_text("")
    with pytest.raises(OutputError, match="--force"):
        refuse_existing(path, force=False)
    refuse_existing(path, force=True)


@pytest.mark.parametrize("path", [Path("/dev/null"), Path("/tmp")])
def test_a_device_or_a_folder_is_never_replaced_by_a_file(path: Path) -> None:
    with pytest.raises(OutputError, match="name a file"):
        refuse_existing(path, force=True)


def test_an_output_folder_that_holds_files_is_refused_unless_forced(tmp_path: Path) -> None:
    make_output_folder(tmp_path / "new" / "run", force=False)
    assert names(tmp_path / "new" / "run") == []
    write_text(tmp_path / "run" / "best.pt", "weights")
    with pytest.raises(OutputError, match="--force"):
        make_output_folder(tmp_path / "run", force=False)
    make_output_folder(tmp_path / "run", force=True)
    assert names(tmp_path / "run") == ["best.pt"]


def test_an_output_folder_where_nothing_can_be_written_is_an_output_error() -> None:
    with pytest.raises(OutputError, match="cannot write /proc/lineside"):
        make_output_folder(Path("/proc/lineside"), force=False)
