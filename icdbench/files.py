"""Writing files so that nothing is ever half-written, and the cache, which is never stale and never damaged."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from platformdirs import user_cache_path

from icdbench.spec import SpecError

T = TypeVar("T")

log = logging.getLogger("icdbench")

CHECKSUMS = "checksums.json"  # of a cached folder's other files


def cache_root() -> Path:
    """Where encoded data and word vectors are kept: ICDBENCH_CACHE, else the user's cache folder."""
    return Path(os.environ.get("ICDBENCH_CACHE") or user_cache_path("icdbench"))


def cached(folder: Path, build: Callable[[], T], save: Callable[[T, Path], None], load: Callable[[Path], T]) -> T:
    """What `folder` keeps, which must be named by all that decides its content, or else what `build` gives, kept there.

    A folder that differs by a byte from what was saved is built anew, with a warning. It is readable by its owner alone.
    Raises SpecError if the cache cannot be written.
    """
    if (kept := _intact(folder, load)) is not None:
        return kept
    built = build()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing_folder(folder) as fresh:
            save(built, fresh)
            (fresh / CHECKSUMS).write_text(json.dumps(_checksums(fresh)), encoding="utf-8")
    except OSError as error:
        raise SpecError(
            f"cache folder '{cache_root()}' cannot be written: {error.strerror or error}; name another with ICDBENCH_CACHE"
        ) from None
    kept = _intact(folder, load)
    return built if kept is None else kept  # none: another process is just putting its copy in place


def _intact(folder: Path, load: Callable[[Path], T]) -> T | None:
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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, to be written in the block; it takes the place of `path` only if that succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
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
