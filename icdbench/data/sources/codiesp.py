"""CodiEsp (CLEF eHealth 2020): 1,000 Spanish clinical case reports coded by hand, each also machine-translated.

Miranda-Escalada, Gonzalez-Agirre, Krallinger: CodiEsp corpus, gold standard, version 1.4, CC BY 4.0,
https://doi.org/10.5281/zenodo.3837305. `codiesp-d` are its diagnoses (ICD-10-CM), `codiesp-p` its procedures (ICD-10-PCS).

The corpus is looked for in the data folder as `final_dataset_v4_to_publish` or `codiesp/final_dataset_v4_to_publish`.
Every text file of a split is a document, also one without any code of the chosen kind.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
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
    fetch,
    read_text,
    readable,
    register,
    without_marks,
)
from icdbench.files import digest, replacing_folder, workspace
from icdbench.settings import DataError, shown
from icdbench.spec import DataSpec, option
from icdbench.types import Document, Report

URL = "https://zenodo.org/records/3837305/files/codiesp.zip?download=1"
FOLDER = "final_dataset_v4_to_publish"
TEXTS = {"en": ("text_files_en",), "es": ("text_files",), "both": ("text_files", "text_files_en")}
SPLITS = {"train": "train", "validation": "dev", "test": "test"}
PUBLISHED = {
    "url": "https://doi.org/10.5281/zenodo.3837305",
    "license": "https://creativecommons.org/licenses/by/4.0/",
    "version": "1.4",
    "datePublished": "2020",
    "creator": "Antonio Miranda-Escalada, Aitor Gonzalez-Agirre, Martin Krallinger",
}
NAMES = {"D": "DIAGNOSTICO", "P": "PROCEDIMIENTO"}  # of the kinds of codes, in the tables of evidence
CODE_ROW = re.compile(r"[^\t]+\t[^\t]+\n")  # the last line ends with a line break too, or was cut off
EVIDENCE_ROW = re.compile(r"([^\t]*\t){4}\d+ \d+(;\d+ \d+)*\n?")
EVIDENCE_LAYOUT = "'articleID<TAB>type<TAB>code<TAB>words<TAB>begin end;begin end'"

# SHA-256 of version 1.4: of a table's bytes; of a text folder's lines "<sha256 of file>  <name>\n" sorted by name.
CHECKSUMS = {
    "train/trainD.tsv": "613208a405a38042476451e74cf1d4d95d569d7a247a3fda40474d694193b49c",
    "train/trainP.tsv": "30038443d815423623eb20537bd2af72cbab43810e538b214f511ec951fba7ea",
    "train/trainX.tsv": "a84da4744413fef954a09b59b91b4bd4b774af7e4f6fdb6d857c45596f20ecb9",
    "dev/devD.tsv": "15ef44a5e5806c2e5ce657df00fde7b6063fb58f708990db212bc93f7ea5551b",
    "dev/devP.tsv": "9f144f312968313abb350fe35b8dd5a68a7ee3943dd1388c900e2352b13f660e",
    "dev/devX.tsv": "0085171947bfe045fcd6b243d7de6df09001a9fa28d201dd1ebf80b7b1329088",
    "test/testD.tsv": "8e1766defb958a56d774af586432790ba5e644f8839559a7e70dad3987bf0690",
    "test/testP.tsv": "5fdd25802e20a956f71c9552509b4ca158d6c7156a5e8a93fad1dcfdfc2f7376",
    "test/testX.tsv": "e6149fa6c818ae3b6ac70bde28d596de9efe992144e6c98beb3c0955f3f0e73f",
    "train/text_files": "9a46a74b40696aa41ae85a453ee95da68217fbd0e8eeb643534e3af552b490bc",
    "train/text_files_en": "7011328ea3ba58468549330eb7c3720c65cf241dadb72e21f88cbc1adfadccdc",
    "dev/text_files": "290f55078304b2c87a075b85e26190269610e87517fb60057f3b45e51bea147c",
    "dev/text_files_en": "ec7e469e09e06488f7dc3cd621c99b79c033c298762cafe82e35abd5a3976ee0",
    "test/text_files": "f7b9b0dd68e9f118f01eb06ee1ded57ec696b170fd34a052d0d81c9c8a1bdddd",
    "test/text_files_en": "2cc1acd4b18d1d31d9dce69f9d711c74b860f2c9527bda9b87a8a31952287775",
    "background/text_files": "778efb282b40a33b4b262aa0c218dbb39a5ae8a33e7c1e1b099e936e9d1ac7a5",
    "background/text_files_en": "0a8e3d7b3c87459d8a364afb9fefa201876562fac5cadbe9e862563d804b19df",
}

# Known facts of the corpus, which 'icdbench data check' names as such.
EXPECTED = {
    "group": (
        "groups are the articles that cases were taken from, and 24 test cases are of an article that also has a case in "
        "train or validation; --set data.drop_overlap=true leaves these out"
    )
}
WITHOUT_CODES = {"no codes": "every text of a split is a document, also one without a procedure"}


class CodiespSettings(DataSpec):
    """The options of CodiEsp."""

    language: Literal["en", "es", "both"] = option(
        "en", "language of the texts; both: Spanish, then English", task=True
    )
    drop_overlap: bool = option(False, "leave out test cases whose article is also in train or validation", task=True)


class DiagnosisSettings(CodiespSettings):
    """The options of CodiEsp's diagnoses."""

    categories: bool = option(False, "cut codes to their three-character category", task=True)


@dataclass(frozen=True)
class Codiesp(Source):
    """The diagnoses or the procedures, by the letter that their tables have in their names."""

    licence: str = "cc-by-4.0"
    credit: str = "CodiEsp 1.4, Miranda-Escalada, Gonzalez-Agirre, Krallinger, https://doi.org/10.5281/zenodo.3837305"
    data: CodiespSettings = field(default_factory=CodiespSettings)
    kind: Literal["D", "P"] = "P"

    @property
    def published(self) -> Mapping[str, str]:
        return PUBLISHED

    @property
    def folder(self) -> Path:
        return corpus_folder(self.root)

    @property
    def text_folders(self) -> tuple[str, ...]:
        """Of the languages that a document has; Spanish is first, so that marks count from the text's beginning."""
        return TEXTS[self.data.language]

    def files(self) -> Sequence[Path]:
        """The background texts count even where they are not used: runs with and without them have the same raw content."""
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
            background = [path for name in self.text_folders for path in _text_files(self.folder / "background" / name)]
            listing = self.titles_file()
        return [*tables, *paths, *background, *([listing] if listing else [])]

    def table(self, part: str) -> Path:
        return self.folder / part / f"{part}{self.kind}.tsv"

    def text_paths(self, part: str, name: str) -> list[Path]:
        """The text files of one part (train, dev, test, background) in a folder, sorted. Raises DataError if there are none."""
        place = self.folder / part / name
        if paths := _text_files(place):
            return paths
        without = ", or do without these texts: --set data.embedding_corpus=train" if part == "background" else ""
        raise DataError(
            f"{place} has no text files; 'icdbench data check codiesp-d --data {self.root}' says what is missing{without}"
        )

    def code(self, written: str) -> str:
        """A code as the data set has it: in lower case, or its category."""
        category = isinstance(self.data, DiagnosisSettings) and self.data.categories
        return written.lower()[:3] if category else written.lower()

    def rows(self, path: Path, layout: str, pattern: re.Pattern[str]) -> Iterator[list[str]]:
        """The cells of a table. Raises DataError for the first line that is not as the pattern says."""
        for number, line in enumerate(read_text(path).splitlines(keepends=True), start=1):
            cells = [cell.strip() for cell in line.split("\t")]
            if not pattern.fullmatch("\t".join(cells) + "\n" * line.endswith("\n")):
                raise DataError(f"{path}, line {number}: expected {layout}, found {_layout(line)}; {self._advice()}")
            yield cells

    def read(self, _report: Report) -> Raw:
        """Documents in the order of their ids. Raises DataError for damaged tables and for codes of unknown documents."""
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
        if altered := [name for name in self._parts() if _differs(self.folder, name)]:
            facts["differs_from_version_1.4"] = ", ".join(altered)
            notices.append(f"CodiEsp differs from version 1.4: {', '.join(altered)}; see 'icdbench data check'")
        unlabelled = self.texts("background") if self.data.embedding_corpus != "train" else {}
        return Raw(documents, list(unlabelled.values()), facts, notices=notices)

    def texts(self, part: str) -> dict[str, str]:
        """The texts of one part by document, languages after each other. Raises DataError for those not in every language."""
        texts = [{path.stem: self._text(path) for path in self.text_paths(part, name)} for name in self.text_folders]
        for name, here in zip(self.text_folders, texts, strict=True):
            if lacking := sorted({document for each in texts for document in each} - set(here)):
                raise DataError(
                    f"{part}/{name} has no text of {shown(lacking[0])}, another language has; {self._advice()}"
                )
        return {document: "\n\n".join(each[document] for each in texts) for document in texts[0]}

    def _text(self, path: Path) -> str:
        text = read_text(path)
        if not text.strip():
            raise DataError(f"{path} is empty; {self._advice()}")
        return text

    def _codes(self, path: Path) -> dict[str, list[str]]:
        """Codes per document id, in file order. The last line ends with a line break too, or was cut off."""
        found = defaultdict(list)
        for document, code in self.rows(path, "'articleID<TAB>code' and a line break", CODE_ROW):
            found[document].append(self.code(code))
        if not found:
            raise DataError(f"{path} is empty; {self._advice()}")
        return dict(found)

    def titles(self, codes: Sequence[str]) -> Mapping[str, str]:
        """Titles from CodiEsp's own list where it lies beside the corpus, else those of ICD-10-CM (English, diagnoses)."""
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
        """Diagnoses as CodiEsp spells them; a code with the placeholder X also without its seventh character (`w19.xxx`)."""
        listed = super().system_codes()
        cut = (code[:-1] for code in listed if re.fullmatch(r".{3}\..*X.", code))
        return list(dict.fromkeys(self.code(code) for code in (*listed, *cut)))

    def titles_file(self) -> Path | None:
        """The list of valid codes and titles (Zenodo record 3706838), if the user has it."""
        name = f"codiesp-{self.kind}_codes.tsv"
        places = (self.root, self.root / "codiesp_codes", self.root / "codiesp" / "codiesp_codes")
        return next((place / name for place in places if (place / name).is_file()), None)

    @property
    def coding(self) -> CodingSystem:
        """Diagnoses have titles in English alone (so not with Spanish texts alone), procedures none."""
        if self.kind == "P":
            return systems.ICD10PCS
        in_spanish = replace(
            systems.ICD10CM, titles=systems.no_titles, headings=systems.no_titles, terms=systems.no_terms
        )
        return in_spanish if self.data.language == "es" else systems.ICD10CM

    def evidence(self) -> Evidence | None:
        """The spans of each code, of the Spanish texts; those of the English ones are not known."""
        return without_marks(self.marks())

    def marks(self) -> MarkedSpans | None:
        """The same by mark: a row of the tables."""
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
                if _differs(self.folder, name):
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
        """What to do about a damaged corpus: files that are there are never written over."""
        return (
            f"unless that is on purpose, move {self.folder} away and run 'icdbench data get codiesp --data {self.root}'"
        )


def corpus_folder(root: Path) -> Path:
    """The corpus's folder below the data root. Raises DataError if it is not there."""
    for path in (root / FOLDER, root / "codiesp" / FOLDER):
        with readable(path):
            if path.is_dir():
                return path
    raise DataError(
        f"CodiEsp is not in '{root}' (no folder {FOLDER}); fetch it with 'icdbench data get codiesp --data {root}', "
        "or name the folder that has it with --data or ICDBENCH_DATA"
    )


def _text_files(place: Path) -> list[Path]:
    """A folder's text files; names that begin with a dot are file managers' notes."""
    return sorted(path for path in place.glob("*.txt") if not path.name.startswith("."))


def _layout(line: str) -> str:
    """What a line looks like, without the words of a note that may be in it."""
    fields = line.rstrip("\n").split("\t")
    lacking = "" if all(map(str.strip, fields)) else ", an empty one among them"
    cut = "" if line.endswith("\n") else " and no line break"
    return f"{len(fields)} field{'s' * (len(fields) != 1)}{lacking}{cut}"


def _differs(folder: Path, name: str) -> bool:
    """Whether a table or text folder of the corpus is not that of version 1.4."""
    return _digest(folder / name) != CHECKSUMS[name]


def _digest(path: Path) -> str:
    """As in CHECKSUMS; of what is missing, the digest of nothing."""
    with readable(path):
        if path.is_file():
            return digest(path)
        lines = "".join(f"{digest(file)}  {file.name}\n" for file in _text_files(path))
        return hashlib.sha256(lines.encode()).hexdigest()


# --- Fetching ------------------------------------------------------------------------------------------------------------


def get(root: Path) -> str:
    """Download the corpus into the data folder and check it; says what was done. Raises DataError.

    Zenodo publishes an MD5 that could not be read when this was written, so the archive is not pinned; what it unpacks
    to is, by CHECKSUMS, and nothing is put in place before all of it agrees.
    """
    target = root / "codiesp" / FOLDER
    try:
        for present in (target, root / FOLDER):
            if present.exists():
                return f"CodiEsp is already in {present}; 'icdbench data check codiesp-d' compares it with version 1.4"
        with replacing_folder(target) as fresh, workspace(target.parent) as temporary:
            archive = temporary / "codiesp.zip"
            fetch(URL, archive, None, f"unpack it by hand so that {FOLDER} lies in the data folder")
            unpack(archive, fresh)
            check_tree(fresh)
            fresh.chmod(target.parent.stat().st_mode)
    except OSError as error:
        raise DataError(
            f"data folder '{root}' cannot be written: {error.strerror or error}; name another with --data"
        ) from None
    return f"CodiEsp 1.4 is in {target}; all checksums agree"


def unpack(archive: Path, target: Path) -> None:
    """The members of the archive below FOLDER, into target. Raises DataError for a damaged archive or a hostile path."""
    for name, content in _members(archive):
        path = (target / name).resolve()
        if not path.is_relative_to(target.resolve()):
            raise DataError(f"{archive.name} holds a path outside its folder: '{name}'; not unpacked")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names below FOLDER and contents; what a Mac's archiver adds beside FOLDER is left out."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                before, _, name = member.filename.partition(f"{FOLDER}/")
                if name and not member.is_dir() and not before.startswith("__MACOSX"):
                    yield name, opened.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        raise DataError(f"{archive.name} is damaged ({error}); fetch it again") from None


def check_tree(place: Path) -> None:
    """Raises DataError for the first part of an unpacked corpus that differs from version 1.4."""
    for name in CHECKSUMS:
        if _differs(place, name):
            raise DataError(f"the downloaded archive differs from CodiEsp 1.4 in {name}; nothing was kept")


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
