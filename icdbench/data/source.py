"""The base class of sources of data, `Source`, which each file below `sources` subclasses, and the registry of data sets.

A source reads raw files, which it never writes to, and returns documents; `icdbench.data.encode` does the rest. A new
source is one file, anywhere: a subclass of `Source`, its options as a subclass of `DataSpec` (icdbench.spec.option), and a
call of `register` for each data set (docs/data.md shows one).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

from icdbench.codes import CodingSystem, Tree
from icdbench.data import encoders
from icdbench.data.cache import raw_digest
from icdbench.files import MOST_TEXT, regular
from icdbench.settings import DataError, SpecError, shown
from icdbench.spec import DataSpec
from icdbench.types import SPLITS, Corpus, Document, Report, composed, quiet

SURROGATE = re.compile("[\ud800-\udfff]")  # halves of pairs, which JSON can spell and UTF-8 cannot
LONGEST_CODE = 100  # characters

# The characters that support a code: by document id and code, spans of the text (first character, one past the last).
Evidence = Mapping[str, Mapping[str, Sequence[tuple[int, int]]]]
# The same by mark: spans that a person marked together, such as "pain" and "abdominal", are in one list.
MarkedSpans = Mapping[str, Mapping[str, Sequence[Sequence[tuple[int, int]]]]]


@dataclass(frozen=True)
class Raw:
    """What a source read: labelled documents, unlabelled background texts, and facts for the record.

    `notices` say what is wrong with the data, a line each; every run, record and table shows them. `codes` is the label set
    in the order of its indices if the protocol fixes it, else None: the codes of the training documents. The vocabulary
    also counts the words of the first `counted_background` background texts.
    """

    documents: Sequence[Document]
    background: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    codes: Sequence[str] | None = None
    counted_background: int = 0
    notices: Sequence[str] = ()


@dataclass(frozen=True)
class Source(ABC):
    """A data set by name. A registered one is not bound to data; `at` binds it to a folder of raw files and to settings.

    `defaults` and `train` are the data set's own settings of data and training. `expected` gives, for kinds of findings
    (icdbench.data.quality) that are known facts of the data, the explanation. `download` is what `icdbench data get`
    fetches. `agreement` names the terms of texts that may not be passed on, `licence` (as hubs write it) those of others.

    A subclass gives `data` the type of its own settings. `version` changes when the same raw files would give other
    documents. With `by_length` each split is sorted by number of tokens, else it stays as read.
    """

    name: str
    about: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)
    download: str = ""
    agreement: str = ""
    licence: str = ""
    synthetic: bool = False
    root: Path = Path()
    data: DataSpec = field(default_factory=DataSpec)
    version: ClassVar[str] = "1"
    by_length: ClassVar[bool] = False

    # --- What a subclass defines or overrides ----------------------------------------------------------------------------

    @abstractmethod
    def files(self) -> Sequence[Path]:
        """The raw files that decide the content. Raises DataError if one is missing."""

    @abstractmethod
    def read(self, report: Report) -> Raw:
        """The documents. Raises DataError for damaged files."""

    @property
    def published(self) -> Mapping[str, str]:
        """The origin of the data by schema.org's names: url, license, version, datePublished, creator (comma-separated)."""
        return {}

    @property
    def coding(self) -> CodingSystem | None:
        """The coding system of the codes; None if it is not known."""
        return None

    def titles(self, codes: Sequence[str]) -> Mapping[str, str]:
        """The titles of those codes that have one."""
        return self.coding.titles(codes) if self.coding else {}

    def terms(self, codes: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The names beside the titles, of those codes that have any."""
        return self.coding.terms(codes) if self.coding else {}

    def system_codes(self) -> Sequence[str]:
        """Every code of the coding system that may be assigned, in the system's spelling. Raises SpecError if not known."""
        if self.coding is None or self.coding.codes is None:
            what = f"the coding system of '{self.name}' is"
            if self.coding:
                what = f"'{self.name}' is coded in {self.coding.name}, whose codes are"
            raise SpecError(
                f"data.label_set=system: {what} not known; leave it at train"
                + (", or set data.code_system" if "code_system" in type(self.data).model_fields else "")
            )
        return self.coding.codes()

    def title_versions(self) -> Sequence[str]:
        """What else decides the titles, beside the raw files and the settings: such as the version of a package."""
        return [self.coding.version()] if self.coding and self.coding.version else []

    def tree(self, codes: Sequence[str]) -> Tree | None:
        """The hierarchy of the codes; None if their coding system is not known."""
        return self.coding.tree(codes) if self.coding else None

    def outside(self, codes: Sequence[str]) -> set[str]:
        """The codes that are outside the data set's coding system."""
        tree = self.tree(codes)
        return set(tree.outside if tree else ())

    def evidence(self) -> Evidence | None:
        """The characters that support codes; None if the data do not have them."""
        return None

    def marks(self) -> MarkedSpans | None:
        """The evidence by mark; each span is a mark unless the source overrides this."""
        found = self.evidence()
        if found is None:
            return None
        return {
            name: {code: [[span] for span in spans] for code, spans in codes.items()} for name, codes in found.items()
        }

    def mark_files(self) -> Sequence[Path]:
        """Further raw files that decide the marks of the training documents. Raises DataError."""
        return []

    def check(self) -> Sequence[str]:
        """What is missing or altered in the raw files, a line each."""
        try:
            self.files()
        except DataError as error:
            return [str(error)]
        return []

    def unlike_published(self, report: Report) -> Sequence[str]:  # noqa: ARG002
        """A line for each count of the prepared data that differs from the published one, with the cause."""
        return []

    def implied(self, data: DataSpec) -> Mapping[str, Any]:  # noqa: ARG002
        """Defaults that follow from other settings, such as those of a protocol."""
        return {}

    # --- What every source inherits --------------------------------------------------------------------------------------

    def settings(self, changes: Mapping[str, Any] | None = None) -> DataSpec:
        """The data set's settings with some of them changed. Raises SpecError."""
        from icdbench.data.code_files import synonyms_by_content

        changes = synonyms_by_content(encoders.tokenizer_by_content(changes or {}))
        changes = {name: value for name, value in changes.items() if not self._is_foreign_default(name, value)}
        base = type(self.data)().override(self.defaults, "data")
        return base.override({**self.implied(base.override(changes, "data")), **changes}, "data")

    def _is_foreign_default(self, name: str, value: object) -> bool:
        """Whether this is an option of another source, at its default. Raises SpecError if it has another value."""
        others = [cls for cls in _subclasses(DataSpec) if name in cls.model_fields]
        if name in type(self.data).model_fields or not others:
            return False
        default = others[0]()
        if default.override({name: value}, "data") != default:
            raise SpecError(f"data.{name} has no meaning for data set '{self.name}'; leave it out")
        return True

    def at(self, root: Path, data: DataSpec) -> Self:
        """The data set bound to a folder and to these settings, without options of other sources. Raises SpecError."""
        options = {name: value for name, value in data.model_dump().items() if name in type(self.data).model_fields}
        return replace(self, root=root, data=type(self.data)().override(options, "data"))

    def fingerprint(self) -> str:
        """16 hex digits of the raw content: the bytes of all files, and their names below their common folder.

        With `data.spans` the files of the marks are included.
        """
        paths = [*self.files(), *(self.mark_files() if self.data.spans else ())]
        common = os.path.commonpath([path.parent for path in paths])
        content = hashlib.sha256(self.version.encode())
        for path in paths:
            with readable(path):
                content.update(f"{path.relative_to(common).as_posix()}\0{raw_digest(path)}\n".encode())
        return content.hexdigest()[:16]

    def without_spans(self) -> Self:
        """The data set without the marks of training documents."""
        return replace(self, data=self.data.override({"spans": False}, "data"))

    def documents(self, report: Report = quiet) -> Raw:
        """What the source reads, with ids, codes and groups composed (Unicode's normal form C), as tokens are.

        Texts are not composed, so that spans point into them; `icdbench.data.tokens` composes what it reads. Raises
        DataError for text that cannot be written as UTF-8, and the source's errors.
        """
        raw = self.read(report)
        return replace(
            raw,
            documents=[_composed(self.name, number, each) for number, each in enumerate(raw.documents, start=1)],
            codes=None if raw.codes is None else [composed(code) for code in raw.codes],
        )

    def corpus(self, report: Report = quiet) -> Corpus:
        """The encoded data set, from the cache if it holds it. Raises DataError, SpecError."""
        from icdbench.data import encode

        return encode.corpus(self, report)


def without_marks(found: MarkedSpans | None) -> Evidence | None:
    """The spans of each code, regardless of the marks that they belong to."""
    if found is None:
        return None
    return {name: {code: list(chain(*marks)) for code, marks in codes.items()} for name, codes in found.items()}


def _subclasses(cls: type[DataSpec]) -> list[type[DataSpec]]:
    return [each for found in cls.__subclasses__() for each in (found, *_subclasses(found))]


SOURCES: dict[str, Source] = {}
# What `icdbench data get` can fetch: functions that put files below the data root and return a line that says what they did.
DOWNLOADS: dict[str, Callable[[Path], str]] = {}


def register(source: Source) -> None:
    """Register a data set under its name. Raises SpecError if the name is taken."""
    if source.name in SOURCES:
        raise SpecError(f"data set '{source.name}' is registered twice; rename one of the two")
    SOURCES[source.name] = source


def _composed(name: str, number: int, document: Document) -> Document:
    codes = tuple(map(composed, document.codes))
    cells = {"id": [document.id], "text": [document.text], "codes": codes, "group": [document.group]}
    for what, texts in cells.items():
        if any(not text.isascii() and SURROGATE.search(text) for text in texts):
            raise DataError(
                f"data set '{name}', document {number}: '{what}' has half of a surrogate pair, which is not a character; "
                "write the file again as UTF-8"
            )
    return replace(document, id=composed(document.id), codes=codes, group=composed(document.group))


def divide(name: str, documents: Sequence[Document]) -> dict[str, list[Document]]:
    """The documents of each split. Raises DataError for repeated ids, and for a split without documents or codes."""
    id_, times = Counter(document.id for document in documents).most_common(1)[0] if documents else ("", 0)
    if times > 1:
        raise DataError(f"data set '{name}': id {shown(id_)} occurs {times} times; ids must be unique")
    check_codes(name, {code for document in documents for code in document.codes})
    by_split = {split: [document for document in documents if document.split == split] for split in SPLITS}
    for split in SPLITS:
        if not by_split[split]:
            raise DataError(f"data set '{name}' has no {split} documents; training, validation and test each need some")
        if not any(document.codes for document in by_split[split]):
            raise DataError(f"no {split} document of data set '{name}' has a code")
    return by_split


def check_codes(name: str, codes: Iterable[str]) -> None:
    """Raises DataError for codes that may be notes: codes are stored with results, where no note may be."""
    for code in codes:
        if len(code) > LONGEST_CODE or "\n" in code:
            what = "with a line break" if "\n" in code else f"of {len(code):,} characters"
            raise DataError(
                f"data set '{name}': a code {what}; are the columns of texts and codes swapped? A code has at most "
                f"{LONGEST_CODE} characters, in one line"
            )


def fetch(url: str, path: Path, sha256: str | None, otherwise: str) -> None:
    """Download a file. Raises DataError if that fails or its checksum differs; the message ends with `otherwise`."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    known_hash = sha256 and f"sha256:{sha256}"
    try:
        pooch.retrieve(url, known_hash=known_hash, fname=path.name, path=path.parent, progressbar=False)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; ValueError: another checksum
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"download of {url} failed: {reason}; try again, or {otherwise}") from None


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an OSError about a raw file, `path` or one below it, into a DataError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{error.filename or path} is missing; see 'icdbench data check'") from None
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises DataError, which names the file and the byte."""
    try:
        with readable(path), regular(path, MOST_TEXT) as file:
            return file.read().decode("utf-8-sig")  # line ends are not changed, as spans count characters
    except UnicodeDecodeError as error:
        if error.object.startswith(b"PK"):
            raise DataError(
                f"{path} is an archive or a spreadsheet, not a text file; save it as 'CSV UTF-8' and name that file"
            ) from None
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it, or fetch the file again") from None
