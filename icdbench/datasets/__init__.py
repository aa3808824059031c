"""Where documents come from. One file per source; each registers the names under which users ask for its data.

A source reads raw files, which it never writes to, and gives documents; `icdbench.encode` does the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icdbench.files import raw_digest
from icdbench.spec import DataError, DataSpec, SpecError, nearest
from icdbench.types import SPLITS, Document, Report

# Fields of DataSpec that every source heeds, because the stages after it do.
COMMON_FIELDS = frozenset(
    {"top_codes", "min_documents", "max_tokens", "embeddings", "embedding_corpus", "unit_vectors", "words"}
)


@dataclass(frozen=True)
class Raw:
    """What a source read: labelled documents, unlabelled background texts, and facts that a record should state.

    `codes` is the label set in the order of its indices where the protocol fixes it; None: the codes that training shows.
    The words of the first `counted_background` background texts make up the vocabulary too. `by_length`: the prepared order of each
    split is by number of tokens, else as given.
    """

    documents: Sequence[Document]
    background: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    codes: Sequence[str] | None = None
    counted_background: int = 0
    by_length: bool = False


@dataclass(frozen=True)
class Tree:
    """The code hierarchy by names: the parent of each code and ancestor (roots have none), and titles of ancestors.

    `strange` counts the codes that are not of the coding system.
    """

    parents: Mapping[str, str]
    titles: Mapping[str, str] = field(default_factory=dict)
    strange: int = 0


def no_tree(_codes: Sequence[str], _root: Path, _data: DataSpec) -> Tree | None:
    """The hierarchy of codes about whose system nothing is known: none."""
    return None


# What a person would show as the reason for a code: by document id and code, spans of the document's text (first
# character, and one past the last).
Evidence = Mapping[str, Mapping[str, Sequence[tuple[int, int]]]]


def no_evidence(_root: Path, _data: DataSpec) -> Evidence | None:
    """The evidence of data that come without."""
    return None


@dataclass(frozen=True)
class Source:
    """A data set by name.

    `files(root, data)` are the raw files that decide its content (each must exist, else DataError); `read(root, data,
    report)` gives the documents; `titles(codes, root, data)` the codes' titles, absent where unknown; `tree(codes,
    root, data)` their hierarchy, if they have one; `evidence(root, data)` the characters that support codes, if they are
    known; `check(root, data)` what is missing or altered, a line each. `data`
    and `train` are the data set's own defaults, `protocols` further ones under `data.protocol`; `fields` the fields of
    DataSpec it heeds beyond COMMON_FIELDS. `version` changes when the same raw files would give other documents.
    `download` names what `icdbench data get` fetches; `agreement` the terms that cover the texts, if they may not be
    passed on; `known` what was published of the data (see icdbench.check).
    """

    name: str
    about: str
    files: Callable[[Path, DataSpec], Sequence[Path]]
    read: Callable[[Path, DataSpec, Report], Raw]
    titles: Callable[[Sequence[str], Path, DataSpec], Mapping[str, str]]
    check: Callable[[Path, DataSpec], Sequence[str]]
    tree: Callable[[Sequence[str], Path, DataSpec], Tree | None] = no_tree
    evidence: Callable[[Path, DataSpec], Evidence | None] = no_evidence
    download: str = ""
    agreement: str = ""
    known: Mapping[str, Any] = field(default_factory=dict)
    protocols: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    fields: frozenset[str] = frozenset()
    version: str = "1"
    synthetic: bool = False


SOURCES: dict[str, Source] = {}
# What `icdbench data get` can fetch: each puts files below the data root and says in a line what it did.
DOWNLOADS: dict[str, Callable[[Path], str]] = {}


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
    if origin.protocols:
        named = origin.protocols[spec.protocol]
        spec = spec.override({**named, **(changes or {})}, "data")
    for name in changes or {}:
        if name not in COMMON_FIELDS | origin.fields and getattr(spec, name) != getattr(DataSpec(), name):
            raise SpecError(f"data.{name} has no meaning for data set '{origin.name}'; leave it out")
    return spec


def fingerprint(origin: Source, root: Path, data: DataSpec) -> str:
    """16 hex digits of the raw content: bytes and names, below their common folder, of all files of the data set."""
    paths = origin.files(root, data)
    common = os.path.commonpath([path.parent for path in paths])
    content = hashlib.sha256(origin.version.encode())
    for path in paths:
        with readable(path):
            content.update(f"{path.relative_to(common).as_posix()}\0{raw_digest(path)}\n".encode())
    return content.hexdigest()[:16]


def divide(name: str, documents: Sequence[Document]) -> dict[str, list[Document]]:
    """The documents of each split. Raises DataError if nothing can be trained or measured on them."""
    id_, times = Counter(document.id for document in documents).most_common(1)[0] if documents else ("", 0)
    if times > 1:
        raise DataError(f"data set '{name}': id '{id_}' occurs {times} times; ids must be unique")
    found = {split: [document for document in documents if document.split == split] for split in SPLITS}
    for split in SPLITS:
        if not found[split]:
            raise DataError(f"data set '{name}' has no {split} documents; training, validation and test each need some")
        if not any(document.codes for document in found[split]):
            raise DataError(f"no {split} document of data set '{name}' has a code")
    return found


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns the system's error about a raw file, `path` or one below it, into a DataError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{error.filename or path} is missing; see 'icdbench data check'") from None
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None


def read_text(path: Path) -> str:
    """A file's text, which must be UTF-8. Raises DataError that names file and byte."""
    try:
        with readable(path):
            return path.read_bytes().decode("utf-8-sig")  # line ends as they are: characters are counted
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it, or fetch the file again") from None
