"""Read and write files safely: writes are atomic, and reads neither wait nor exhaust memory.

`regular` opens a file for reading; `replacing` and `replacing_folder` write; `workspace` gives a temporary folder that
is removed even if the process is killed, by the next one that writes there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import re
import shutil
import socket
import stat
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from icdbench.host import processes

log = logging.getLogger("icdbench")

TEMPORARY = re.compile(r"\.icdbench-([0-9a-f]{8})-(\d+)-[a-z0-9_]{8}\.tmp")  # host and process id of a `workspace`
LOCK = "lock"  # file in a workspace, locked by its process
ABANDONED = 3600.0  # seconds without a change after which another machine's workspace counts as abandoned
UNLOCKED = 2.0  # the same for an unlocked workspace whose process id is in use on this machine
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
MOST_JSON = 1 << 26  # bytes of a JSON file; a record of 200 epochs has 200 kB
MOST_TEXT = 1 << 28  # bytes of a note, or of a list of codes or ids
MOST_ARRAYS = 1 << 32  # bytes of a file's unpacked arrays; scores of 20,000 documents × 8,000 codes have 640 MB


def regular(path: Path, most: int | None = None) -> io.BufferedReader:
    """Open a regular file for reading.

    Raises OSError, without waiting, for pipes, devices and more than `most` bytes.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115  the caller closes it
    status, reason = os.fstat(file.fileno()), ""
    if not stat.S_ISREG(status.st_mode):
        reason = "it is a pipe or device, not a file"
    elif most is not None and status.st_size > most:
        reason = f"its {status.st_size:,} bytes exceed the limit of {most:,}"
    if reason:
        file.close()
        raise OSError(errno.EINVAL, reason, str(path))
    return file


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises OSError as `regular`, ValueError for invalid or too deeply nested JSON."""
    with regular(path, MOST_JSON) as file:
        return parsed(file.read())


def parsed(text: str | bytes) -> Any:
    """Parse JSON text. Raises ValueError for invalid or too deeply nested JSON."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


@contextlib.contextmanager
def npz(path: Path) -> Iterator[Mapping[str, Any]]:
    """Open an .npz file and yield its arrays by name; each is read on access and never unpickled.

    Raises OSError as `regular`, ValueError for more than MOST_ARRAYS bytes, and ValueError, zipfile's and zlib's errors
    for a damaged file.
    """
    import numpy as np

    with regular(path) as file:  # np.load by itself leaves a truncated file open
        with zipfile.ZipFile(file) as archive:
            size = sum(each.file_size for each in archive.infolist())
        if size > MOST_ARRAYS:
            raise ValueError(f"its arrays have {size:,} bytes, more than the limit of {MOST_ARRAYS:,}")
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            yield stored


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex. Raises OSError as `regular`."""
    with regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary file to be written in the block; it replaces `path` atomically if the block succeeds.

    A `private` file is readable only by its owner, at every moment.
    """
    with workspace(path.parent) as place:
        temporary = place / f"new{path.suffix}"
        temporary.touch(0o600)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            if error.filename is None and error.errno in NO_ROOM:  # a failed write names no file
                error.filename = str(path)
            raise
        temporary.chmod(0o600 if private else 0o666 & ~_umask())
        temporary.replace(path)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Do the same for a folder, readable only by its owner. Of several processes writing it, the last one wins."""
    with workspace(path.parent) as place:
        temporary = place / "new"
        temporary.mkdir(0o700)
        yield temporary
        while not _replace_unless_filled(temporary, path):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                shutil.rmtree(path.replace(place / "old"))


@contextlib.contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """Yield a temporary folder in `parent`, readable only by its owner and removed at the end of the block.

    Folders that killed processes left in `parent` are removed first. Raises an OSError that names `parent` if it is not
    writable.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    held, place = contextlib.ExitStack(), None
    try:
        with processes.signals_wait():
            place = _new_folder(parent)
            with contextlib.suppress(OSError):  # without file locks nobody else can find it abandoned either
                held.enter_context(FileLock(place / LOCK, timeout=0))
        yield place
    finally:
        with processes.signals_wait(), held:
            if place is not None:
                shutil.rmtree(place, ignore_errors=True)


def _new_folder(parent: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(dir=parent, prefix=f".icdbench-{_host()}-{os.getpid()}-", suffix=".tmp"))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(parent)) from None


def remove_abandoned(folder: Path) -> None:
    """Remove this folder's workspaces whose processes were killed; a running process holds the lock in its own.

    Locks do not reach across machines on every file system, so another machine's workspace must also be unchanged for
    ABANDONED seconds. If a process with the workspace's id exists here, it may be about to take the lock: wait
    UNLOCKED.
    """
    for place in temporaries(folder):
        host, process = TEMPORARY.fullmatch(place.name).groups()  # type: ignore[union-attr]
        if _idle_seconds(place) < (ABANDONED if host != _host() else UNLOCKED if _process_exists(int(process)) else 0):
            continue
        with contextlib.suppress(OSError, Timeout), FileLock(place / LOCK, timeout=0):
            shutil.rmtree(place, ignore_errors=True)


def temporaries(folder: Path) -> list[Path]:
    """List the workspaces in this folder, of running and of killed processes."""
    found = folder.glob(".icdbench-*.tmp")
    return sorted(path for path in found if TEMPORARY.fullmatch(path.name) and path.is_dir() and not path.is_symlink())


def _process_exists(process: int) -> bool:
    """Whether a process with this id exists on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True


def _idle_seconds(place: Path) -> float:
    """Return the seconds since anything in a workspace changed; 0 if it is being removed right now."""
    try:
        return time.time() - max(path.stat().st_mtime for path in (place, *place.rglob("*")))
    except FileNotFoundError:
        return 0.0


def _host() -> str:
    """Return what identifies this machine in the names of workspaces."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _replace_unless_filled(folder: Path, path: Path) -> bool:
    """Rename the folder to `path`; false if a folder with files is there, which no system call can replace."""
    try:
        folder.replace(path)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
