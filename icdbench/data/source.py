"""What a source of data is: the base class that each file below `sources` fills in, and the registry of data sets.

A source reads raw files, which it never writes to, and gives documents; `icdbench.data.encode` does the rest. Another source
is one file, anywhere: a subclass of `Source`, its options as a subclass of `DataSpec` (icdbench.spec.option), and a call of
`register` for each data set (docs/data.md shows one).
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

# What a person would show as the reason for a code: by document id and code, spans of the document's text (first
# character, and one past the last).
Evidence = Mapping[str, Mapping[str, Sequence[tuple[int, int]]]]
# The same, with the spans together that a person marked together, as "pain" and "abdominal" for one code.
MarkedSpans = Mapping[str, Mapping[str, Sequence[Sequence[tuple[int, int]]]]]


@dataclass(frozen=True)
class Raw:
    """What a source read: labelled documents, unlabelled background texts, and facts that a record should state.

    `notices` are what is wrong with the data, a line each: every run says them, its record and its table too.

    `codes` is the label set in the order of its indices where the protocol fixes it; None: the codes that training shows.
    The words of the first `counted_background` background texts make up the vocabulary too.
    """

    documents: Sequence[Document]
    background: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    codes: Sequence[str] | None = None
    counted_background: int = 0
    notices: Sequence[str] = ()


@dataclass(frozen=True)
class Source(ABC):
    """A data set by name. As registered it is bound to no data; `at` binds it to a folder of raw files and to settings.

    `defaults` and `train` are the data set's own settings of data and training, `expected` says of kinds of findings
    (icdbench.data.quality) why they are known facts of the data and no faults. `download` names what `icdbench data get`
    fetches, `agreement` the terms that cover the texts, if they may not be passed on; else `licence` says, as hubs write it,
    under which terms they may.

    A subclass gives `data` the type of its own settings. `version` changes when the same raw files would give other
    documents. `by_length`: the prepared order of each split is by number of tokens, else as given.
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

    # --- What a source fills in ------------------------------------------------------------------------------------------

    @abstractmethod
    def files(self) -> Sequence[Path]:
        """The raw files that decide the content, each of which exists. Raises DataError."""

    @abstractmethod
    def read(self, report: Report) -> Raw:
        """The documents. Raises DataError for damaged files."""

    @property
    def published(self) -> Mapping[str, str]:
        """Where the data come from, by schema.org's names: url, license, version, datePublished, creator (names, with commas)."""
        return {}

    @property
    def coding(self) -> CodingSystem | None:
        """The coding system of the codes; None if it is not known: such codes are all equally far apart."""
        return None

    def titles(self, codes: Sequence[str]) -> Mapping[str, str]:
        """The titles of the codes, without those that have none."""
        return self.coding.titles(codes) if self.coding else {}

    def terms(self, codes: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The names of the codes beside their titles, without codes that have none."""
        return self.coding.terms(codes) if self.coding else {}

    def system_codes(self) -> Sequence[str]:
        """Every code of the coding system that may be assigned, spelled as it lists them. Raises SpecError if they are not known."""
        if self.coding is None or self.coding.codes is None:
            what = f"the coding system of '{self.name}' is"
            if self.coding:
                what = f"'{self.name}' is coded in {self.coding.name}, whose codes are"
            raise SpecError(
                f"data.label_set=system: {what} not known; leave it at train"
                + (", or say data.code_system" if "code_system" in type(self.data).model_fields else "")
            )
        return self.coding.codes()

    def title_versions(self) -> Sequence[str]:
        """What decides the titles beside the raw files and the settings, such as the version of a package."""
        return [self.coding.version()] if self.coding and self.coding.version else []

    def tree(self, codes: Sequence[str]) -> Tree | None:
        """The hierarchy of the codes; None if their coding system is not known."""
        return self.coding.tree(codes) if self.coding else None

    def outside(self, codes: Sequence[str]) -> set[str]:
        """The codes that are outside the data set's coding system."""
        tree = self.tree(codes)
        return set(tree.outside if tree else ())

    def evidence(self) -> Evidence | None:
        """The characters that support codes, where the data come with them."""
        return None

    def marks(self) -> MarkedSpans | None:
        """The same by mark; each span is one of its own unless the source knows better."""
        found = self.evidence()
        if found is None:
            return None
        return {
            name: {code: [[span] for span in spans] for code, spans in codes.items()} for name, codes in found.items()
        }

    def mark_files(self) -> Sequence[Path]:
        """The raw files beside `files` that decide the marks of the training documents. Raises DataError."""
        return []

    def check(self) -> Sequence[str]:
        """What is missing or altered, a line each."""
        try:
            self.files()
        except DataError as error:
            return [str(error)]
        return []

    def unlike_published(self, report: Report) -> Sequence[str]:  # noqa: ARG002
        """A line for each count of the prepared data that is not the published one, with its cause."""
        return []

    def implied(self, data: DataSpec) -> Mapping[str, Any]:  # noqa: ARG002
        """Defaults that follow from other settings, such as those of a protocol."""
        return {}

    # --- What every source has -------------------------------------------------------------------------------------------

    def settings(self, changes: Mapping[str, Any] | None = None) -> DataSpec:
        """The data set's settings with some of them changed. Raises SpecError."""
        from icdbench.data import synonyms

        given = synonyms.by_content(encoders.tokenizer_by_content(changes or {}))
        own = {name: value for name, value in given.items() if not self._is_foreign(name, value)}
        base = type(self.data)().override(self.defaults, "data")
        return base.override({**self.implied(base.override(own, "data")), **own}, "data")

    def _is_foreign(self, name: str, value: object) -> bool:
        """Whether a setting is another source's, at its default. Raises SpecError where it is set to something else."""
        others = [cls for cls in _subclasses(DataSpec) if name in cls.model_fields]
        if name in type(self.data).model_fields or not others:
            return False
        default = others[0]()
        if default.override({name: value}, "data") != default:
            raise SpecError(f"data.{name} has no meaning for data set '{self.name}'; leave it out")
        return True

    def at(self, root: Path, data: DataSpec) -> Self:
        """The data set in a folder of raw data, with these settings; options of other sources are left out. Raises SpecError."""
        own = {name: value for name, value in data.model_dump().items() if name in type(self.data).model_fields}
        return replace(self, root=root, data=type(self.data)().override(own, "data"))

    def fingerprint(self) -> str:
        """16 hex digits of the raw content: bytes and names, below their common folder, of all files of the data set.

        With `data.spans` the files of the marks count too.
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

        Texts stay as they are, so that spans point into them; `icdbench.data.tokens` composes what it reads. Raises DataError
        for characters that no file can hold, and what the source raises.
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
    """The spans of each code, whichever mark they belong to."""
    if found is None:
        return None
    return {name: {code: list(chain(*marks)) for code, marks in codes.items()} for name, codes in found.items()}


def _subclasses(cls: type[DataSpec]) -> list[type[DataSpec]]:
    return [each for found in cls.__subclasses__() for each in (found, *_subclasses(found))]


SOURCES: dict[str, Source] = {}
# What `icdbench data get` can fetch: each puts files below the data root and says in a line what it did.
DOWNLOADS: dict[str, Callable[[Path], str]] = {}


def register(source: Source) -> None:
    """Make a data set known under its name. Raises SpecError if the name is taken."""
    if source.name in SOURCES:
        raise SpecError(f"data set '{source.name}' is registered twice; rename one of the two")
    SOURCES[source.name] = source


def _composed(name: str, number: int, document: Document) -> Document:
    codes = tuple(map(composed, document.codes))
    cells = {"id": [document.id], "text": [document.text], "codes": codes, "group": [document.group]}
    for what, texts in cells.items():
        if any(not text.isascii() and SURROGATE.search(text) for text in texts):
            raise DataError(
                f"data set '{name}', document {number}: '{what}' has half of a surrogate pair, which is no character; "
                "write the file again as UTF-8"
            )
    return replace(document, id=composed(document.id), codes=codes, group=composed(document.group))


def divide(name: str, documents: Sequence[Document]) -> dict[str, list[Document]]:
    """The documents of each split. Raises DataError if nothing can be trained or measured on them."""
    id_, times = Counter(document.id for document in documents).most_common(1)[0] if documents else ("", 0)
    if times > 1:
        raise DataError(f"data set '{name}': id {shown(id_)} occurs {times} times; ids must be unique")
    check_codes(name, {code for document in documents for code in document.codes})
    found = {split: [document for document in documents if document.split == split] for split in SPLITS}
    for split in SPLITS:
        if not found[split]:
            raise DataError(f"data set '{name}' has no {split} documents; training, validation and test each need some")
        if not any(document.codes for document in found[split]):
            raise DataError(f"no {split} document of data set '{name}' has a code")
    return found


def check_codes(name: str, codes: Iterable[str]) -> None:
    """Raises DataError for codes that read like notes: codes are kept below results, where no note may be."""
    for code in codes:
        if len(code) > LONGEST_CODE or "\n" in code:
            what = "with a line break" if "\n" in code else f"of {len(code):,} characters"
            raise DataError(
                f"data set '{name}': a code {what}; are the columns of texts and codes swapped? A code has at most "
                f"{LONGEST_CODE} characters, in one line"
            )


def fetch(url: str, path: Path, sha256: str | None, otherwise: str) -> None:
    """Download a file. Raises DataError, which ends with what the user can do `otherwise`, also for another checksum."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    known = sha256 and f"sha256:{sha256}"
    try:
        pooch.retrieve(url, known_hash=known, fname=path.name, path=path.parent, progressbar=False)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; ValueError: another checksum
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"download of {url} failed: {reason}; try again, or {otherwise}") from None


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
        with readable(path), regular(path, MOST_TEXT) as file:
            return file.read().decode("utf-8-sig")  # line ends as they are: characters are counted
    except UnicodeDecodeError as error:
        if error.object.startswith(b"PK"):
            raise DataError(
                f"{path} is an archive or a spreadsheet, not a text; save it as 'CSV UTF-8' and name that file"
            ) from None
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it, or fetch the file again") from None
