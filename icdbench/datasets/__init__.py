"""Where documents come from. One file per source; each registers the names under which users ask for its data.

A source reads raw files, which it never writes to, and gives documents; `icdbench.encode` does the rest.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icdbench.spec import DataError, DataSpec, SpecError, nearest
from icdbench.types import Document

# Fields of DataSpec that every source heeds, because the stages after it do.
COMMON_FIELDS = frozenset({"top_codes", "min_documents", "max_tokens", "embeddings", "embedding_corpus"})


@dataclass(frozen=True)
class Raw:
    """What a source read: labelled documents, unlabelled background texts, and facts that a record should state."""

    documents: Sequence[Document]
    background: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A data set by name.

    `files(root, data)` are the raw files that decide its content (each must exist, else DataError); `read(root, data)`
    gives the documents; `titles(codes, root, data)` the codes' titles, absent where unknown; `check(root, data)` what is
    missing or altered, a line each. `data` and `train` are the data set's own defaults; `fields` the fields of DataSpec it
    heeds beyond COMMON_FIELDS. `version` changes when the same raw files would give other documents.
    """

    name: str
    about: str
    files: Callable[[Path, DataSpec], Sequence[Path]]
    read: Callable[[Path, DataSpec], Raw]
    titles: Callable[[Sequence[str], Path, DataSpec], Mapping[str, str]]
    check: Callable[[Path, DataSpec], Sequence[str]]
    get: Callable[[Path], str] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    fields: frozenset[str] = frozenset()
    version: str = "1"
    synthetic: bool = False


SOURCES: dict[str, Source] = {}


def register(source: Source) -> None:
    """Make a source known under its name."""
    assert source.name not in SOURCES, source.name
    SOURCES[source.name] = source


def data_root(given: Path | None) -> Path:
    """The folder that holds raw data: `--data`, else ICDBENCH_DATA, else ./data."""
    return given or Path(os.environ.get("ICDBENCH_DATA") or "data")


def source(name: str) -> Source:
    """The source registered as `name`, or the user's own file if `name` is a path. Raises SpecError, DataError."""
    from icdbench.datasets import own

    scan()
    if name in SOURCES:
        return SOURCES[name]
    if own.is_path(name):
        return own.source(Path(name))
    raise SpecError(f"no data set '{name}'{nearest(name, SOURCES)}; own data: a .csv, .parquet or .jsonl file")


def scan() -> dict[str, Source]:
    """Import every source file of this folder; all registered sources by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return SOURCES


def data_spec(origin: Source, changes: Mapping[str, Any] | None = None) -> DataSpec:
    """The data set's defaults with some fields changed. Raises SpecError, also for fields that it does not heed."""
    spec = DataSpec().override(origin.data, "data").override(changes or {}, "data")
    for name in changes or {}:
        if name not in COMMON_FIELDS | origin.fields and getattr(spec, name) != getattr(DataSpec(), name):
            raise SpecError(f"data.{name} has no meaning for data set '{origin.name}'; leave it out")
    return spec


def fingerprint(origin: Source, root: Path, data: DataSpec) -> str:
    """16 hex digits of the raw content: names and bytes of every file the data set consists of."""
    digest = hashlib.sha256(f"{origin.version}".encode())
    for path in origin.files(root, data):
        digest.update(f"{path.parent.name}/{path.name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def read_text(path: Path) -> str:
    """A file's text, which must be UTF-8. Raises DataError that names file and byte."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path} is missing; see 'icdbench data check'") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it, or fetch the file again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def first_missing(paths: Iterable[Path]) -> Path | None:
    """The first path that does not exist."""
    return next((path for path in paths if not path.exists()), None)
