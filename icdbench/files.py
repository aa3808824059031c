"""Writing files so that nothing is ever half-written, and the cache, which is never stale and never damaged."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from icdbench.spec import SpecError

T = TypeVar("T")

log = logging.getLogger("icdbench")

CHECKSUMS = "checksums.json"  # of a cached folder's other files
KINDS = ("encoded", "vectors", "digests")  # what the cache keeps, a folder each
REMEMBERED = 1 << 26  # bytes; the digests of smaller files are computed each time
ABANDONED = (
    3600.0  # seconds after which a half-written folder of the cache is nobody's; locks do not work on every file system
)
SETTLED = 2.0  # seconds without a change after which a file's times can be trusted to tell of the next one


def cache_root() -> Path:
    """Where encoded data and word vectors are kept: ICDBENCH_CACHE, else the user's cache folder."""
    return Path(os.environ.get("ICDBENCH_CACHE") or user_cache_path("icdbench"))


def cached(folder: Path, build: Callable[[], T], save: Callable[[T, Path], None], load: Callable[[Path], T]) -> T:
    """What `folder` keeps, which must be named by all that decides its content, or else what `build` gives, kept there.

    A folder that differs by a byte from what was saved is built anew, with a warning. It is readable by its owner alone.
    Of several processes that want the same, one builds and the others wait. Raises SpecError if the cache cannot be written.
    """
    if (found := kept(folder, load)) is not None:
        return found
    with _alone(folder) as waited:
        if waited and (found := kept(folder, load)) is not None:
            return found
        built = build()
        remove_temporaries(folder, idle=ABANDONED)
        with _writable(), replacing_folder(folder) as fresh:
            save(built, fresh)
            (fresh / CHECKSUMS).write_text(json.dumps(_checksums(fresh)), encoding="utf-8")
        found = kept(folder, load)
        return built if found is None else found  # none: it is being cleared


@contextlib.contextmanager
def _writable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpecError(
            f"cache folder '{cache_root()}' cannot be written: {error.strerror or f'{error} (is the disk full?)'}; "
            "name another with ICDBENCH_CACHE"
        ) from None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Keeps other processes out of the block; yields whether another one had to be waited for. It ends with the process."""
    locks = cache_root() / "locks"
    with _writable():
        _own_folder(locks)
        _own_folder(folder.parent)
        lock = FileLock(locks / f"{folder.parent.name}-{folder.name}.lock")
        try:
            lock.acquire(timeout=0)
            waited = False
        except Timeout:
            log.warning("another process is preparing %s; waiting for it", folder.name)
            lock.acquire()
            waited = True
    try:
        yield waited
    finally:
        lock.release()


def clear(name: str | None = None) -> tuple[int, int]:
    """Remove what the cache keeps, of one data set or of all; how many entries that were, and their bytes."""
    own = re.compile(rf"\.?{re.escape(name)}-[0-9a-f]{{24}}([-.].*)?" if name else r".*")
    entries = [
        path
        for kind in KINDS
        if (cache_root() / kind).is_dir()
        for path in sorted((cache_root() / kind).iterdir())
        if own.fullmatch(path.name)
    ]
    size = 0
    with _writable():
        for path in entries:
            files = [below for below in path.rglob("*") if below.is_file()] if path.is_dir() else [path]
            size += sum(below.stat().st_size for below in files)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return len([path for path in entries if not path.name.startswith(".")]), size


def kept(folder: Path, load: Callable[[Path], T]) -> T | None:
    """What `cached` put into this folder; None if there is nothing, or if it is damaged, which is warned of."""
    try:
        if not folder.exists():
            return None
        _verify(folder)
        return load(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the cache %s is damaged (%s) and is rebuilt", folder, error)
        return None


def _verify(folder: Path) -> None:
    """Raises ValueError or OSError unless every file is as it was saved."""
    if json.loads((folder / CHECKSUMS).read_text(encoding="utf-8")) != _checksums(folder):
        raise ValueError("its checksums differ")


def _checksums(folder: Path) -> dict[str, str]:
    return {path.name: digest(path) for path in sorted(folder.iterdir()) if path.name != CHECKSUMS}


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def raw_digest(path: Path) -> str:
    """SHA-256 of a raw file's bytes; a large file is read once, and again when the system says that it may have changed.

    What tells of a change are its place, number, size and both its times, the second of which no program can set back on
    a local file system.
    """
    status = path.stat()
    if status.st_size < REMEMBERED or time.time() - status.st_ctime < SETTLED:
        return digest(path)
    marks = [str(path.resolve()), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    name = hashlib.sha256(json.dumps(marks).encode()).hexdigest()[:24]
    note = cache_root() / "digests" / name
    with contextlib.suppress(OSError, ValueError):
        found = note.read_text(encoding="ascii")
        if re.fullmatch("[0-9a-f]{64}", found):
            return found
    computed = digest(path)
    with contextlib.suppress(OSError):
        _own_folder(note.parent)
        with replacing(note) as fresh:
            fresh.write_text(computed, encoding="ascii")
    return computed


def _own_folder(path: Path) -> None:
    """Make a folder of the cache, and the cache, for their owner alone."""
    cache_root().mkdir(parents=True, exist_ok=True, mode=0o700)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """A temporary file beside `path`, to be written in the block; it takes the place of `path` only if that succeeds.

    At no moment can others than its owner read a `private` one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o600 if private else 0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a folder readable by its owner alone. Of several processes the last one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        while not _moved(temporary, path):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                shutil.rmtree(path.replace(f"{temporary}.old"))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_temporaries(path: Path, idle: float = 0.0) -> None:
    """Remove what `replacing` and `replacing_folder` of this path left when they were killed, if untouched for `idle` seconds."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with contextlib.suppress(FileNotFoundError):  # its process was alive after all, and is done
            if time.time() - left.stat().st_mtime >= idle:
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _moved(folder: Path, path: Path) -> bool:
    """Rename, unless a folder with files is in the way: no system call replaces one."""
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
