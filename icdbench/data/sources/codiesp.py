"""CodiEsp (CLEF eHealth 2020): 1,000 Spanish clinical case reports coded by hand, each with a machine translation.

Miranda-Escalada, Gonzalez-Agirre, Krallinger: CodiEsp corpus, gold standard, version 1.4, CC BY 4.0,
https://doi.org/10.5281/zenodo.3837305. `codiesp-d` has its diagnoses (ICD-10-CM), `codiesp-p` its procedures (ICD-10-PCS).

The corpus is looked for in the data folder as `final_dataset_v4_to_publish` or `codiesp/final_dataset_v4_to_publish`.
Every text file of a split is a document, even if it has no code of the chosen kind.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from icdbench.codes import CodingSystem, systems
from icdbench.data.source import (
    DOWNLOADS,
    Evidence,
    MarkedSpans,
    Raw,
    Source,
    read_text,
    readable,
    register,
    without_marks,
)
from icdbench.data.sources.codiesp_files import CHECKSUMS, FOLDER, differs, get, text_files
from icdbench.settings import DataError, shown
from icdbench.spec import DataSpec, option
from icdbench.types import Document, Report

TEXTS = {"en": ("text_files_en",), "es": ("text_files",), "both": ("text_files", "text_files_en")}
SPLITS = {"train": "train", "validation": "dev", "test": "test"}
PUBLISHED = {
    "url": "https://doi.org/10.5281/zenodo.3837305",
    "license": "https://creativecommons.org/licenses/by/4.0/",
    "version": "1.4",
    "datePublished": "2020",
    "creator": "Antonio Miranda-Escalada, Aitor Gonzalez-Agirre, Martin Krallinger",
}
NAMES = {"D": "DIAGNOSTICO", "P": "PROCEDIMIENTO"}  # kinds of codes in the tables of evidence
CODE_ROW = re.compile(r"[^\t]+\t[^\t]+\n")  # a last line without a line break was cut off
EVIDENCE_ROW = re.compile(r"([^\t]*\t){4}\d+ \d+(;\d+ \d+)*\n?")
EVIDENCE_LAYOUT = "'articleID<TAB>type<TAB>code<TAB>words<TAB>begin end;begin end'"

# Findings of 'icdbench data check' that are known facts of the corpus.
EXPECTED = {
    "group": (
        "groups are the articles that cases were taken from; 24 test cases come from an article that also has a case in "
        "train or validation, and --set data.drop_overlap=true leaves them out"
    )
}
WITHOUT_CODES = {"no codes": "every text of a split is a document, also one without a procedure"}


class CodiespSettings(DataSpec):
    language: Literal["en", "es", "both"] = option(
        "en", "language of the texts; both: Spanish, then English", task=True
    )
    drop_overlap: bool = option(False, "leave out test cases whose article is also in train or validation", task=True)


class DiagnosisSettings(CodiespSettings):
    categories: bool = option(False, "cut codes to their three-character category", task=True)


@dataclass(frozen=True)
class Codiesp(Source):
    """CodiEsp's diagnoses (`kind` D) or procedures (P); the letters are those in the names of the tables."""

    licence: str = "cc-by-4.0"
    data: CodiespSettings = field(default_factory=CodiespSettings)
    kind: Literal["D", "P"] = "P"

    @property
    def published(self) -> Mapping[str, str]:
        return PUBLISHED

    @property
    def folder(self) -> Path:
        """The corpus's folder below the data root. Raises DataError if it is not there."""
        for path in (self.root / FOLDER, self.root / "codiesp" / FOLDER):
            with readable(path):
                if path.is_dir():
                    return path
        raise DataError(
            f"CodiEsp is not in '{self.root}' (no folder {FOLDER}); fetch it with 'icdbench data get codiesp --data "
            f"{self.root}', or name the folder that has it with --data or ICDBENCH_DATA"
        )

    @property
    def text_folders(self) -> tuple[str, ...]:
        """The folders of a document's languages; Spanish is first, as marks count characters of the Spanish text."""
        return TEXTS[self.data.language]

    def files(self) -> Sequence[Path]:
        """The background texts are always included, so that runs with and without them have the same raw content."""
        tables = [self.table(part) for part in SPLITS.values()]
        with readable(self.root):
            for table in tables:
                if not table.is_file():
                    raise DataError(
                        f"{table} is missing; 'icdbench data check codiesp-{self.kind.lower()} --data {self.root}' says more"
                    )
            paths = [
                path for part in SPLITS.values() for name in self.text_folders for path in self.text_paths(part, name)
            ]
            background = [path for name in self.text_folders for path in text_files(self.folder / "background" / name)]
            listing = self.titles_file()
        return [*tables, *paths, *background, *([listing] if listing else [])]

    def table(self, part: str) -> Path:
        return self.folder / part / f"{part}{self.kind}.tsv"

    def text_paths(self, part: str, name: str) -> list[Path]:
        """The text files of one part (train, dev, test, background) in a folder, sorted. Raises DataError if there are none."""
        folder = self.folder / part / name
        if paths := text_files(folder):
            return paths
        without = ", or do without these texts: --set data.embedding_corpus=train" if part == "background" else ""
        raise DataError(
            f"{folder} has no text files; 'icdbench data check codiesp-d --data {self.root}' says what is missing{without}"
        )

    def code(self, written: str) -> str:
        """A code in lower case, cut to its category if the settings say so."""
        category = isinstance(self.data, DiagnosisSettings) and self.data.categories
        return written.lower()[:3] if category else written.lower()

    def rows(self, path: Path, layout: str, pattern: re.Pattern[str]) -> Iterator[list[str]]:
        """The cells of a table. Raises DataError for the first line that does not match the pattern."""
        for number, line in enumerate(read_text(path).splitlines(keepends=True), start=1):
            cells = [cell.strip() for cell in line.split("\t")]
            if not pattern.fullmatch("\t".join(cells) + "\n" * line.endswith("\n")):
                raise DataError(f"{path}, line {number}: expected {layout}, found {_fields(line)}; {self._advice()}")
            yield cells

    def read(self, _report: Report) -> Raw:
        """Documents in the order of their ids. Raises DataError for damaged tables, and for codes of missing documents."""
        documents = []
        for split, part in SPLITS.items():
            codes = self._codes(self.table(part))
            texts = self.texts(part)
            if strays := sorted(set(codes) - set(texts)):
                raise DataError(
                    f"{part}{self.kind}.tsv codes {len(strays)} documents that have no text in {part}/{self.text_folders[0]}, the "
                    f"first {shown(strays[0])}; {self._advice()}"
                )
            for name, text in texts.items():
                labels = tuple(dict.fromkeys(codes.get(name, [])))
                article = name.rpartition("-")[0]  # the id up to the last hyphen
                documents.append(Document(name, text, labels, split, article))
        facts: dict[str, object] = {"language": self.data.language}
        notices: list[str] = []
        if self.data.drop_overlap:
            articles = {document.group for document in documents if document.split != "test"}
            kept = [document for document in documents if document.split != "test" or document.group not in articles]
            facts["test_cases_dropped_for_overlap"] = len(documents) - len(kept)
            documents = kept
        if altered := [name for name in self._parts() if differs(self.folder, name)]:
            facts["differs_from_version_1.4"] = ", ".join(altered)
            notices.append(f"CodiEsp differs from version 1.4: {', '.join(altered)}; see 'icdbench data check'")
        unlabelled = self.texts("background") if self.data.embedding_corpus != "train" else {}
        return Raw(documents, list(unlabelled.values()), facts, notices=notices)

    def texts(self, part: str) -> dict[str, str]:
        """The texts of one part by document, its languages joined. Raises DataError if one lacks a language."""
        texts = [{path.stem: self._text(path) for path in self.text_paths(part, name)} for name in self.text_folders]
        for name, by_document in zip(self.text_folders, texts, strict=True):
            if lacking := sorted({document for each in texts for document in each} - set(by_document)):
                raise DataError(
                    f"{part}/{name} has no text of {shown(lacking[0])}, but another language does; {self._advice()}"
                )
        return {document: "\n\n".join(each[document] for each in texts) for document in texts[0]}

    def _text(self, path: Path) -> str:
        text = read_text(path)
        if not text.strip():
            raise DataError(f"{path} is empty; {self._advice()}")
        return text

    def _codes(self, path: Path) -> dict[str, list[str]]:
        """The codes of each document, in file order."""
        found = defaultdict(list)
        for document, code in self.rows(path, "'articleID<TAB>code' and a line break", CODE_ROW):
            found[document].append(self.code(code))
        if not found:
            raise DataError(f"{path} is empty; {self._advice()}")
        return dict(found)

    def titles(self, codes: Sequence[str]) -> Mapping[str, str]:
        """Titles of CodiEsp's own list if the user has it, else of ICD-10-CM (diagnoses, in English)."""
        listing = self.titles_file()
        if listing is None:
            return self.coding.titles(codes)
        column = 1 if self.data.language == "es" else 2  # code, Spanish title, English title
        rows = (line.split("\t") for line in read_text(listing).splitlines())
        listed = {row[0].lower(): row[column] for row in rows if len(row) > column and row[column]}
        found = {code: listed[code] for code in codes if code in listed}
        if not found:
            raise DataError(
                f"{listing} has a title for none of the {len(codes)} codes of codiesp-{self.kind.lower()}; fetch it again, "
                "or move it away to do without"
            )
        return found

    def system_codes(self) -> Sequence[str]:
        """All diagnoses in CodiEsp's spelling; those with a placeholder X also without the seventh character (`w19.xxx`)."""
        listed = super().system_codes()
        cut = (code[:-1] for code in listed if re.fullmatch(r".{3}\..*X.", code))
        return list(dict.fromkeys(self.code(code) for code in (*listed, *cut)))

    def titles_file(self) -> Path | None:
        """The list of valid codes and titles (Zenodo record 3706838), if the user has it."""
        name = f"codiesp-{self.kind}_codes.tsv"
        folders = (self.root, self.root / "codiesp_codes", self.root / "codiesp" / "codiesp_codes")
        return next((folder / name for folder in folders if (folder / name).is_file()), None)

    @property
    def coding(self) -> CodingSystem:
        """The titles are in English, so they are left out where the texts are only Spanish; procedures have none."""
        if self.kind == "P":
            return systems.ICD10PCS
        if self.data.language == "es":
            none = systems.no_names
            return replace(systems.ICD10CM, titles=none, headings=none, terms=none)
        return systems.ICD10CM

    def evidence(self) -> Evidence | None:
        """The spans of each code in the Spanish texts; None if there are only English texts, which have no marks."""
        return without_marks(self.marks())

    def marks(self) -> MarkedSpans | None:
        """The evidence by mark, which is a row of the tables."""
        if self.data.language == "en":
            return None
        found: dict[str, dict[str, list[list[tuple[int, int]]]]] = defaultdict(lambda: defaultdict(list))
        for part in SPLITS.values():
            path = self.folder / part / f"{part}X.tsv"
            for document, kind, code, _, spans in self.rows(path, EVIDENCE_LAYOUT, EVIDENCE_ROW):
                if kind == NAMES[self.kind]:
                    numbers = [int(each) for each in re.split("[ ;]", spans)]
                    found[document][self.code(code)].append(list(zip(numbers[::2], numbers[1::2], strict=True)))
        return found

    def mark_files(self) -> Sequence[Path]:
        """The table of the training split."""
        table = self.folder / "train" / "trainX.tsv"
        if self.data.language != "en" and not table.is_file():
            raise DataError(f"{table} is missing; {self._advice()}")
        return [table] if self.data.language != "en" else []

    def check(self) -> Sequence[str]:
        """What is missing or differs from version 1.4, a line each, with what to do."""
        problems = []
        try:
            for name in self._parts():
                path = self.folder / name
                if differs(self.folder, name):
                    what = "differs from version 1.4 (SHA-256)" if path.exists() else "is missing"
                    problems.append(f"{path} {what}; {self._advice()}")
        except DataError as error:
            problems.append(str(error))
        return problems

    def _parts(self) -> list[str]:
        """The tables and text folders that the data set is read from."""
        used = [*SPLITS.values(), *(["background"] if self.data.embedding_corpus != "train" else [])]
        marked = [f"{part}X.tsv" for part in used if self.data.language != "en"]
        names = {f"{part}/{name}" for part in used for name in (f"{part}{self.kind}.tsv", *marked, *self.text_folders)}
        return [name for name in CHECKSUMS if name in names]

    def _advice(self) -> str:
        """What to do about a damaged corpus. A download never overwrites files."""
        return (
            f"unless that is on purpose, move {self.folder} away and run 'icdbench data get codiesp --data {self.root}'"
        )


def _fields(line: str) -> str:
    """The number of fields in a line, in words; the line itself may hold words of a note."""
    fields = line.rstrip("\n").split("\t")
    empty = "" if all(map(str.strip, fields)) else ", an empty one among them"
    cut = "" if line.endswith("\n") else " and no line break"
    return f"{len(fields)} field{'s' * (len(fields) != 1)}{empty}{cut}"


DOWNLOADS["codiesp"] = get


def _register(name: str, about: str, kind: Literal["D", "P"], **changes: object) -> None:
    defaults = {"embedding_corpus": "train+background", **changes}
    data, expected = (DiagnosisSettings(), EXPECTED) if kind == "D" else (CodiespSettings(), EXPECTED | WITHOUT_CODES)
    register(Codiesp(name, about, defaults, expected=expected, download="codiesp", data=data, kind=kind))


_register("codiesp-d", "CodiEsp diagnoses (ICD-10-CM), all codes seen in training", "D")
_register("codiesp-d50", "CodiEsp diagnoses, the 50 most frequent training codes", "D", top_codes=50)
_register("codiesp-d3", "CodiEsp diagnoses cut to three-character categories", "D", categories=True)
_register("codiesp-p", "CodiEsp procedures (ICD-10-PCS), all codes seen in training", "P")
_register("codiesp-p50", "CodiEsp procedures, the 50 most frequent training codes", "P", top_codes=50)
