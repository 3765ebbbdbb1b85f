"""Write files that are whole or not there.

A file, or a folder, is written beside its place under a temporary name, flushed to the disk and renamed. Whatever happens
before the rename leaves what existed untouched and nothing new behind. Only a process that is killed leaves a folder,
`.NAME.xxxxxxxx.partial`: it is locked while it is written, and the next one for that place removes those that nobody holds.

`file_being_written` and `folder_being_written` give the temporary path; `write_bytes`, `write_text` and `write_json` are the
short forms.
`refuse_existing` and `make_output_folder` are the one place that decides about overwriting.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import OutputError

_FIXES: dict[int | None, str] = {
    errno.ENOSPC: "free some space there, or choose another place",
    errno.EDQUOT: "free some of your quota, or choose another place",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder on a file system that can be written",
    errno.ENOTDIR: "part of that path is a file: choose another place",
    errno.EEXIST: "a file is in the way: choose another place",
    errno.EISDIR: "a folder is in the way: choose another name",
    errno.ENOENT: "choose a folder that exists or can be made",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EFBIG: "that is more than one file may hold there: choose another place",
    errno.EBUSY: "that is a mounted volume: name a new folder inside it",
    errno.EXDEV: "that is a mounted volume: name a new folder inside it",
    errno.ESTALE: "the file server forgot that folder: mount it again, or choose another place",
    errno.ETIMEDOUT: "the file server does not answer: mount it again, or choose another place",
    errno.EIO: "the disk reports an error: check it, or choose another place",
    None: "free some space there, or choose another place",
}

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says about writing `path` into an OutputError.

    Raises:
        OutputError: The disk is full, the place is not writable, or something is in the way.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno not in _FIXES:
            raise
        # numpy and Pillow raise errors without a number when a disk is full ("960 requested and 512 written")
        why = str(exc).split("\n")[0] if exc.errno is None else os.strerror(exc.errno).lower()
        raise OutputError(f"cannot write {path}", why=why, fix=_FIXES[exc.errno]) from exc


@contextlib.contextmanager
def file_being_written(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it becomes `path` in one step.

    Raises:
        OutputError: The disk is full or the place is not writable.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_being_written(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; when the block ends well, it becomes `path`, and what was there is gone.

    Whether a folder that exists may go is the caller's to decide, before.

    Raises:
        OutputError: The disk is full or the place is not writable.
    """
    path = path.resolve()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        temporary, before = (path.with_name(f".{path.name}.{secrets.token_hex(4)}.{what}") for what in ("partial", "before"))
        try:
            temporary.mkdir()
            with _locked(temporary):
                yield temporary
                if path.exists():
                    path.rename(before)
                temporary.rename(path)
        finally:
            if before.exists() and not path.exists():  # interrupted between the two
                before.rename(path)
            for folder in (temporary, before):
                if folder.exists():
                    shutil.rmtree(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder until the block ends or the process does; gives whether it could be had."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system has no locks
        return False
    return True


def _remove_abandoned(path: Path) -> None:
    """Remove what killed processes were writing in place of `path`."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.partial")
    for folder in path.parent.glob(".*.partial"):
        if ours.fullmatch(folder.name) and folder.is_dir() and os.access(folder, os.R_OK | os.W_OK):
            with _locked(folder) as nobody_writes:
                if nobody_writes:
                    shutil.rmtree(folder)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write `path` whole or not at all. Raises: OutputError."""
    with file_being_written(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `path` as UTF-8, whole or not at all. Raises: OutputError."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON that people can read and diff. NaN is refused: JSON has none. Raises: OutputError."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """The JSON text of `value` as every file and `--json -` of lineside shows it."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def refuse_existing(path: Path, *, force: bool) -> None:
    """Refuse an output file that exists, unless the user said --force.

    Raises:
        OutputError: `path` exists and `force` is off, or `path` is a folder or a device, which no file may replace.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder", why="a file is written there", fix=f"name a file, such as {path / 'out'}")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is not a file", why="a file is written there in one step", fix="name a file")
    if path.exists() and not force:
        raise OutputError(f"{path} already exists", why="nothing is overwritten by accident", fix="add --force, or name another file")


def make_output_folder(path: Path, *, force: bool) -> None:
    """Make an output folder; one that already holds something is refused, unless the user said --force.

    With `force` files of the same names are replaced, and nothing else in the folder is touched.

    Raises:
        OutputError: The folder is not empty and `force` is off, or it cannot be made or written to.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if not force and any(path.iterdir()):
            raise OutputError(
                f"{path} already holds files", why="nothing is overwritten by accident", fix="add --force, or name another folder"
            )
        probe = path / f".{secrets.token_hex(4)}.partial"
        try:
            probe.touch()
        finally:
            probe.unlink(missing_ok=True)
