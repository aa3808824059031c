"""The cache of encoded data and word vectors, which is never stale and never damaged."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from icdbench.files import digest, read_json, regular, remove_abandoned, replacing, replacing_folder, temporaries
from icdbench.settings import SpecError

log = logging.getLogger("icdbench")

T = TypeVar("T")

CHECKSUMS = "checksums.json"  # of a cached folder's other files

KINDS = {  # what the cache keeps, a folder each, and the names of its entries there
    "encoded": re.compile(r"(?P<name>.+)-[0-9a-f]{24}\.\d+"),
    "vectors": re.compile(r"(?P<name>.+)-[0-9a-f]{24}-([a-z+]+|file-[0-9a-f]{16})-\d+-(unit|raw)-\d+-gensim[\w.+]+"),
    "digests": re.compile(r"[0-9a-f]{24}"),
    "left-out": re.compile(r"(?P<name>.+)-[0-9a-f]{24}\.csv"),
    "encoders": re.compile(r"[0-9a-f]{16}"),
    "tokenizers": re.compile(r"[0-9a-f]{16}"),
    "synonyms": re.compile(r"[0-9a-f]{16}"),
    "places": re.compile(r"[0-9a-f]{16}"),  # of the folders of encoders
}

FLAT = {"digests", "left-out", "places"}  # whose entries are files

CONTENT = re.compile(r"[a-z_.]+\.(npy|json)")  # names of the files in an entry

REMEMBERED = 1 << 26  # bytes; the digests of smaller files are computed each time

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


class Cleared(NamedTuple):
    """What `clear` removed, entries of the cache with their bytes, and what it left where only entries should be."""

    removed: list[tuple[str, int]]
    left: list[str]


def clear(name: str | None = None) -> Cleared:
    """Remove what the cache keeps, of one data set or of all: files that it made itself, by their names, and no others.

    Names are relative to the cache. Without a data set's name also says what else lies there. Raises SpecError if something cannot be removed.
    """
    removed, left = [], []
    with _writable():
        for kind, pattern in KINDS.items():
            place = cache_root() / kind
            for path in sorted(place.iterdir()) if place.is_dir() else []:
                found = pattern.fullmatch(path.name)
                if found is None or path.is_symlink() or path.is_dir() == (kind in FLAT):
                    left += [_relative(path)] if name is None and path not in temporaries(place) else []
                elif name in {None, found.groupdict().get("name")}:
                    size, strange = _remove(path)
                    removed += [(_relative(path), size)] if size or not strange else []
                    left += strange
            remove_abandoned(place)
    return Cleared(removed, left)


def _remove(path: Path) -> tuple[int, list[str]]:
    """Remove an entry of the cache; its bytes, and what is in its folder that the cache did not put there, which stays."""
    size, strange = 0, []
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink() and (file == path or CONTENT.fullmatch(file.name)):
            size += file.stat().st_size
            file.unlink()
        else:
            strange.append(_relative(file))
    if path.is_dir() and not strange:
        path.rmdir()
    return size, strange


def _relative(path: Path) -> str:
    return str(path.relative_to(cache_root()))


def kept(folder: Path, load: Callable[[Path], T]) -> T | None:
    """What `cached` put into this folder; None if there is nothing, or if it is damaged, which is warned of."""
    remove_abandoned(folder.parent)
    try:
        if not folder.exists():
            return None
        if read_json(folder / CHECKSUMS) != _checksums(folder):
            raise ValueError("its checksums differ")  # noqa: TRY301
        return load(folder)
    except (OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        log.warning("the cache %s is damaged (%s) and is rebuilt", folder, str(error).partition("\n")[0])
        return None


def _checksums(folder: Path) -> dict[str, str]:
    return {path.name: digest(path) for path in sorted(folder.iterdir()) if path.name != CHECKSUMS}


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
        with regular(note, 64) as file:
            found = file.read().decode("ascii")
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
