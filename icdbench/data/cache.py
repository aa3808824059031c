"""The cache of prepared data and word vectors. `cached` builds or loads an entry, `clear` removes entries.

Entries are named by all that decides their content, so they are never stale; checksums detect damage.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from platformdirs import user_cache_path

from icdbench.files import digest, read_json, regular, remove_abandoned, replacing, replacing_folder, temporaries
from icdbench.settings import SpecError

log = logging.getLogger("icdbench")

T = TypeVar("T")

CHECKSUMS = "checksums.json"  # of the other files of an entry

KINDS = {  # the cache's folders, and what the names of their entries look like
    "encoded": re.compile(r"(?P<name>.+)-[0-9a-f]{24}\.\d+"),
    "vectors": re.compile(
        r"(?P<name>.+)-[0-9a-f]{24}-([a-z+]+|file-[0-9a-f]{16})-\d+-(unit|raw)(-seed\d+)?-\d+-gensim[\w.+]+"
    ),
    "digests": re.compile(r"[0-9a-f]{24}"),
    "left-out": re.compile(r"(?P<name>.+)-[0-9a-f]{24}\.csv"),
    "encoders": re.compile(r"[0-9a-f]{16}"),
    "tokenizers": re.compile(r"[0-9a-f]{16}"),
    "synonyms": re.compile(r"[0-9a-f]{16}"),
    "places": re.compile(r"[0-9a-f]{16}"),  # paths of the folders of encoders
}
FLAT = {"digests", "left-out", "places"}  # folders whose entries are files
CONTENT = re.compile(r"[a-z_.]+\.(npy|json)")  # files of the entries that are folders
REMEMBERED = 1 << 26  # bytes; the digests of smaller files are computed each time
SETTLED = 2.0  # seconds; only the times of a file unchanged for that long surely reveal its next change


def cache_root() -> Path:
    """The cache's folder: ICDBENCH_CACHE, else the user's cache folder."""
    return Path(os.environ.get("ICDBENCH_CACHE") or user_cache_path("icdbench"))


def cached(folder: Path, build: Callable[[], T], save: Callable[[T, Path], object], load: Callable[[Path], T]) -> T:
    """Load the cache's entry in `folder`, or `build` and save it. The folder's name must tell all that decides its content.

    A damaged entry is rebuilt with a warning. Entries are readable by their owner alone. Of several processes that want the
    same entry, one builds it and the others wait. Raises SpecError if the cache cannot be written.
    """
    if (found := kept(folder, load)) is not None:
        return found
    with _locked(folder) as waited:
        if waited and (found := kept(folder, load)) is not None:
            return found
        built = build()
        with _writing(), replacing_folder(folder) as fresh:
            save(built, fresh)
            (fresh / CHECKSUMS).write_text(json.dumps(_checksums(fresh)), encoding="utf-8")
        found = kept(folder, load)
        return built if found is None else found  # None: the cache is being cleared


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Turn an OSError about the cache into a SpecError."""
    try:
        yield
    except OSError as error:
        raise SpecError(
            f"cache folder '{cache_root()}' cannot be written: {error.strerror or f'{error} (is the disk full?)'}; "
            "name another with ICDBENCH_CACHE"
        ) from None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of an entry, which ends with the process; yield whether another process had to be waited for."""
    locks = cache_root() / "locks"
    with _writing():
        make_private_folder(locks)
        make_private_folder(folder.parent)
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
    """What `clear` removed (entries and their bytes), and the files that it left because they are not the cache's."""

    removed: list[tuple[str, int]]
    left: list[str]


def clear(name: str | None = None) -> Cleared:
    """Remove the entries of one data set, or all. Only files whose names say that the cache made them are removed.

    Names in the result are relative to the cache. With a data set's name, foreign files are listed only if they lie in one
    of its entries. Raises SpecError if something cannot be removed.
    """
    removed, left = [], []
    with _writing():
        for kind, pattern in KINDS.items():
            folder = cache_root() / kind
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                found = pattern.fullmatch(path.name)
                if found is None or path.is_symlink() or path.is_dir() == (kind in FLAT):
                    left += [_relative(path)] if name is None and path not in temporaries(folder) else []
                elif name in {None, found.groupdict().get("name")}:
                    size, foreign = _remove(path)
                    removed += [(_relative(path), size)] if size or not foreign else []
                    left += foreign
            remove_abandoned(folder)
    return Cleared(removed, left)


def _remove(path: Path) -> tuple[int, list[str]]:
    """Remove an entry; return its bytes, and the files in it that the cache did not put there, which are left."""
    size, foreign = 0, []
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink() and (file == path or CONTENT.fullmatch(file.name)):
            size += file.stat().st_size
            file.unlink()
        else:
            foreign.append(_relative(file))
    if path.is_dir() and not foreign:
        path.rmdir()
    return size, foreign


def _relative(path: Path) -> str:
    return str(path.relative_to(cache_root()))


def kept(folder: Path, load: Callable[[Path], T]) -> T | None:
    """The entry in this folder; None if there is none, or if it is damaged, which is logged."""
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


# Kinds of texts that are named by their content, and their folders; bytes of such a text.
NAMED_BY_CONTENT, LONGEST_TEXT = {"encoder": "encoders", "tokenizer": "tokenizers", "synonyms": "synonyms"}, 1 << 27


def keep_text(kind: str, text: str, name: str = "") -> str:
    """Put a text into the cache; return its name, by default that of its content, such as `synonyms-3f9c2d1a0b4e5f67`."""
    name = name or f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    folder, file = _named_by_content(kind, name)
    cached(folder, lambda: text, lambda _, new: (new / file).write_bytes(text.encode()), partial(_read_text, file))
    return name


def kept_text(kind: str, name: str) -> str | None:
    """The text of this name; None if the cache does not have it."""
    folder, file = _named_by_content(kind, name)
    return kept(folder, partial(_read_text, file))


def _named_by_content(kind: str, name: str) -> tuple[Path, str]:
    return cache_root() / NAMED_BY_CONTENT[kind] / name.partition("-")[2], f"{kind}.json"


def _read_text(file: str, folder: Path) -> str:
    with regular(folder / file, LONGEST_TEXT) as opened:
        return opened.read().decode()


def save_arrays(folder: Path, prefix: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays into an entry, a file each."""
    for name, array in arrays.items():
        np.save(folder / f"{prefix}.{name}.npy", array, allow_pickle=False)


def load_arrays(kind: type[T], prefix: str, folder: Path) -> T | None:
    """A dataclass of arrays from an entry; None if the entry has none with this prefix. Raises OSError, ValueError."""
    paths = {name: folder / f"{prefix}.{name}.npy" for name in inspect.signature(kind).parameters}
    if not any(path.exists() for path in paths.values()):
        return None
    return kind(**{name: np.load(path, allow_pickle=False) for name, path in paths.items()})


def raw_digest(path: Path) -> str:
    """SHA-256 of a raw file. The digest of a large file is remembered until the file may have changed.

    A change shows in the file's path, inode, size or one of its two times; no program can set back the time of the last
    status change (ctime) on a local file system.
    """
    status = path.stat()
    if status.st_size < REMEMBERED or time.time() - status.st_ctime < SETTLED:
        return digest(path)
    state = [str(path.resolve()), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    remembered = cache_root() / "digests" / hashlib.sha256(json.dumps(state).encode()).hexdigest()[:24]
    with contextlib.suppress(OSError, ValueError):
        with regular(remembered, 64) as file:
            found = file.read().decode("ascii")
        if re.fullmatch("[0-9a-f]{64}", found):
            return found
    computed = digest(path)
    with contextlib.suppress(OSError):
        make_private_folder(remembered.parent)
        with replacing(remembered) as fresh:
            fresh.write_text(computed, encoding="ascii")
    return computed


def make_private_folder(path: Path) -> None:
    """Make a folder of the cache, and the cache itself, readable by their owner alone."""
    cache_root().mkdir(parents=True, exist_ok=True, mode=0o700)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
