"""MIMIC-III: discharge summaries and ICD-9-CM codes of intensive-care admissions, https://physionet.org/content/mimiciii/1.4/.

`mimic-full` and `mimic50` are the splits of CAML (Mullenbach et al. 2018), which nearly all published systems use;
`mimic-clean` is that of Edin et al. 2023. `synth-full` and `synth50` read the tables that `icdbench data make` writes with
the same code. The first two have protocols (`data.protocol`):

- released: as CAML's preparation, so that published figures are comparable.
  Documents: the rows of NOTEEVENTS whose CATEGORY is exactly "Discharge summary", reports and addenda alike. There is one
  document for each (SUBJECT_ID, HADM_ID); its notes are joined by a space in file order, repeated ones too.
  Codes: diagnoses in file order, then procedures; rows without a code are ignored, duplicates stay. Procedures are read as
  integers, so leading zeros are lost: 0331 becomes 33.1. The label set has all codes of the train, dev and test documents.
  The 50 codes are those with most label rows over all documents with a summary, listed or not; ties go to the code that
  comes first in the order of (SUBJECT_ID, HADM_ID). The vocabulary is always that of the full training list.
- paper: the same in the JLAN paper's words: tokens without any letter are dropped, and words in fewer than two training
  documents are unknown.
- corrected: the same with codes as text (00.66, not 66.), each once; the label set is that of the training documents, and
  the 50 codes are counted over the full training list.

Two differences from the original are deliberate. Because it reads procedures in chunks, it turns some into floats (39.50
becomes 39.5), depending on the chunks' sizes; here none are. And where it fails, a summary without a code row is a
document without codes here (left out of `mimic50`), and a summary without any token a document of one unknown token.
Word vectors are trained on training documents (of the full list for `mimic50`), or as in the original on all summaries
with data.embedding_corpus=all.

`mimic-clean`: codes are text, each once, without those of fewer than ten documents; documents without any are left out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from icdbench.codes import CodingSystem, Tree, icd9, systems
from icdbench.data.source import Evidence, Raw, register
from icdbench.data.sources import csv_tables, mimic
from icdbench.data.sources import mimic_splits as splits
from icdbench.settings import DataError, SpecError, shown
from icdbench.spec import DataSpec, option
from icdbench.types import SPLITS, Document, Report

Admission = tuple[int, int]  # SUBJECT_ID, HADM_ID

SUMMARY = ("CATEGORY", "Discharge summary")
LISTS = dict(zip(SPLITS, ("train", "dev", "test"), strict=True))
PROTOCOLS: Mapping[str, Mapping[str, Any]] = {"paper": {"words": "some-letter", "min_documents": 2}}

# Findings of 'icdbench data check' that are known facts of the protocols.
EXPECTED = {
    "spellings": (
        "a procedure that lost its leading zeros may look like a diagnosis (02.04 becomes 20.4, beside 020.4), as published; "
        "data.protocol=corrected keeps them apart"
    ),
    "no codes": "a summary without a row of codes is still a document, as in CAML's lists",
}


class CamlSettings(DataSpec):
    protocol: Literal["released", "paper", "corrected"] = option(
        "released", "which published preparation of MIMIC-III is followed (docs/data.md)", task=True
    )


@dataclass(frozen=True)
class Mimic3(mimic.Mimic):
    """Tables in MIMIC-III's schema; a subclass says which admissions are in which split, and which codes are kept."""

    @cached_property
    def folder(self) -> Path:
        return mimic.mimic3_folder(self.root, synthetic=self.synthetic)

    @property
    def as_text(self) -> bool:
        """Whether codes are read as text, each once; else procedures are read as numbers and lose their leading zeros."""
        return True

    @abstractmethod
    def split_of(self) -> dict[int, str]:
        """The split of each listed HADM_ID."""

    @abstractmethod
    def select(self, documents: Sequence[Document], facts: dict[str, object]) -> Raw:
        """The data set, given the documents of all admissions; those in no list have an empty split."""

    def files(self) -> Sequence[Path]:
        """The tables, the lists of admissions, and CAML's titles if the user has them."""
        tables = [csv_tables.required(self.folder, name) for name in ("NOTEEVENTS", *mimic.CODED)]
        return [*tables, *self.lists().values(), *filter(None, [splits.find(splits.TITLES, self.folder, self.root)])]

    def read(self, report: Report) -> Raw:
        """Documents sorted by SUBJECT_ID and HADM_ID. Raises DataError for damaged tables and lists of other admissions."""
        path = csv_tables.required(self.folder, "NOTEEVENTS")
        split_of = self.split_of()
        notes, facts = _notes(path, report)
        documents = _documents(notes, self._codes(report, facts), split_of)
        facts["without_codes"] = sum(not document.codes for document in documents)
        facts["in_no_list"] = sum(not document.split for document in documents)
        missing = self.without_summary(split_of, {hadm for _, hadm in notes}, path)
        facts |= {"listed_without_summary": missing} if missing else {}
        raw = self.select(documents, facts)
        notices = mimic.missing_summaries(missing)
        top = self.data.top_codes
        if raw.codes is not None and top is not None and len(raw.codes) < top:
            notices.append(f"data.top_codes={top}, but there are only {len(raw.codes)} codes; all of them are taken")
        return replace(raw, notices=notices)

    def _codes(self, report: Report, facts: dict[str, object]) -> dict[Admission, list[str]]:
        """Dotted codes of each admission, diagnoses in file order, then procedures."""
        found: dict[Admission, list[str]] = defaultdict(list)
        without_code, zeros = 0, set()
        columns = ["SUBJECT_ID", "HADM_ID", "ICD9_CODE"]
        for kind, path, (subject, admission, cell) in mimic.code_rows(self.folder, mimic.CODES, columns, report):
            code = mimic.undotted(cell)
            if not code or not admission:
                without_code += 1
                continue
            if kind == icd9.PROCEDURE and code.startswith("0"):
                zeros.add(code)
            found[_admission(subject, admission, path)].append(self._dotted(code, kind))
        facts["rows_without_code"] = without_code
        if not self.as_text:
            facts["procedures_that_lost_zeros"] = len(zeros)
            return found
        return {admission: list(dict.fromkeys(listed)) for admission, listed in found.items()}

    def _dotted(self, code: str, kind: str) -> str:
        as_number = not self.as_text and kind == icd9.PROCEDURE and code.isdecimal()
        return icd9.dotted(str(int(code)) if as_number else code, kind)

    @property
    def coding(self) -> CodingSystem:
        return systems.ICD9CM

    def system_codes(self) -> Sequence[str]:
        """The codes as this preparation writes them, procedures without their leading zeros unless `as_text`."""
        kinds = {True: icd9.PROCEDURE, False: icd9.DIAGNOSIS}
        listed = ((code.replace(".", ""), kinds[icd9.is_procedure(code)]) for code in super().system_codes())
        return list(dict.fromkeys(self._dotted(code, kind) for code, kind in listed))

    def listed_titles(self) -> Iterator[tuple[str, str]]:
        """Titles of the tables, diagnoses before procedures, then of CAML's file.

        As in the original, a code that lost a leading zero is looked up as it is.
        """
        for kind, _, (cell, title) in mimic.code_rows(self.folder, mimic.TITLES, ["ICD9_CODE", "LONG_TITLE"]):
            yield icd9.dotted(mimic.undotted(cell), kind), title
        yield from splits.titles(splits.find(splits.TITLES, self.folder, self.root)).items()

    def tree(self, codes: Sequence[str]) -> Tree:
        return replace(self.coding, headings=self.titles).tree(codes)

    def mark_files(self) -> Sequence[Path]:
        return [self.folder / "truth" / "evidence.csv"] if self.synthetic else []

    def begins(self) -> dict[str, int]:
        """The position in its document at which each summary begins, by its ROW_ID."""
        begins: dict[str, int] = {}
        lengths: Counter[str] = Counter()
        notes = csv_tables.required(self.folder, "NOTEEVENTS")
        for row, admission, text in csv_tables.rows(notes, ["ROW_ID", "HADM_ID", "TEXT"], where=SUMMARY):
            begins[row] = lengths[admission]
            lengths[admission] += len(text) + 1
        return begins

    def evidence(self) -> Evidence | None:
        """For synthetic tables, the spans of the phrases that mention a code (`truth/evidence.csv`), in joined summaries."""
        if not self.synthetic:
            return None
        begins = self.begins()
        found: dict[str, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        path = self.folder / "truth" / "evidence.csv"
        for admission, row, code, begin, end in csv_tables.rows(path, ["HADM_ID", "ROW_ID", "CODE", "BEGIN", "END"]):
            if row not in begins:
                raise DataError(
                    f"{path} has row {shown(row)}, which is not a summary of NOTEEVENTS; make the tables again"
                )
            if not (begin.isdecimal() and end.isdecimal()):
                raise DataError(f"{path}, row {shown(row)}: BEGIN and END must be whole numbers; make the tables again")
            kind = icd9.PROCEDURE if icd9.is_procedure(code) else icd9.DIAGNOSIS
            span = begins[row] + int(begin), begins[row] + int(end)
            found[admission][self._dotted(code.replace(".", ""), kind)].append(span)
        return found


@dataclass(frozen=True)
class CamlFull(Mimic3):
    """CAML's splits with all codes."""

    expected: Mapping[str, str] = field(default_factory=lambda: EXPECTED)
    download: str = "mimic3-splits"
    data: CamlSettings = field(default_factory=CamlSettings)
    kind: ClassVar[str] = "full"  # in the names of the lists

    @property
    def as_text(self) -> bool:
        return self.data.protocol == "corrected"

    def implied(self, data: DataSpec) -> Mapping[str, Any]:
        """The settings of words that follow from the protocol."""
        return PROTOCOLS.get(getattr(data, "protocol", ""), {})

    def lists(self) -> dict[str, Path]:
        return {split: self._list(f"{name}_{self.kind}_hadm_ids.csv") for split, name in LISTS.items()}

    def _list(self, name: str) -> Path:
        return splits.required(name, self.folder, self.root)

    def split_of(self) -> dict[int, str]:
        lists = self.lists()
        return splits.admission_lists({split: lists[split] for split in SPLITS})

    def select(self, documents: Sequence[Document], facts: dict[str, object]) -> Raw:
        listed = [document for document in documents if document.split]
        train = _in_split(listed, "train")
        if self.data.top_codes is not None:
            codes = _most_frequent(train if self.as_text else documents, self.data.top_codes)
        else:
            codes = sorted({code for document in (train if self.as_text else listed) for code in document.codes})
        rest = [document.text for document in documents if not document.split]
        background = rest if self.data.embedding_corpus == "all" else []
        return Raw(listed, background, {"protocol": self.data.protocol, **facts}, codes)


@dataclass(frozen=True)
class CamlFifty(CamlFull):
    """CAML's splits of the documents that have one of the 50 most frequent codes."""

    kind: ClassVar[str] = "50"

    def lists(self) -> dict[str, Path]:
        """The lists of the splits, and the full training list, for the vocabulary."""
        return {**super().lists(), "vocabulary": self._list("train_full_hadm_ids.csv")}

    def select(self, documents: Sequence[Document], facts: dict[str, object]) -> Raw:
        if self.data.top_codes is None:
            raise SpecError(
                "data.top_codes=None: mimic50's lists are made for the 50 codes; use mimic-full for all codes"
            )
        lists = self.lists()
        full = splits.admission_lists({"train": lists["vocabulary"]})
        training = [document for document in documents if _hadm(document) in full]
        for split in SPLITS:
            is_train = split == "train"
            strays = [each.id for each in _in_split(documents, split) if (_hadm(each) in full) != is_train]
            if strays:
                raise DataError(
                    f"{len(strays)} admissions of {lists[split]}, the first {strays[0]}, are {'not ' * is_train}in "
                    f"{lists['vocabulary'].name}; the lists do not belong together"
                )
        codes = _most_frequent(training if self.as_text else documents, self.data.top_codes)
        kept = _with_codes(documents, codes, facts)
        kept_train = {document.id for document in _in_split(kept, "train")}
        counted = [document.text for document in training if document.id not in kept_train]
        used = {document.id for document in (*training, *kept)}
        others = [document.text for document in documents if document.id not in used]
        background = [*counted, *(others if self.data.embedding_corpus == "all" else [])]
        facts = {"protocol": self.data.protocol, **facts}
        return Raw(kept, background, facts, codes, counted_background=len(counted))


@dataclass(frozen=True)
class Clean(Mimic3):
    """Edin's split."""

    download: str = "mimic-clean-splits"

    def lists(self) -> dict[str, Path]:
        return {"all": splits.required("mimiciii_clean_splits.feather", self.folder, self.root)}

    def split_of(self) -> dict[int, str]:
        return splits.feather(self.lists()["all"])

    def select(self, documents: Sequence[Document], facts: dict[str, object]) -> Raw:
        counts = Counter(code for document in documents for code in document.codes)
        kept = _with_codes(documents, {code for code, count in counts.items() if count >= mimic.RARE}, facts)
        labels = sorted({code for document in kept for code in document.codes})
        return Raw(kept, facts=facts, codes=labels if self.data.top_codes is None else None)


def _notes(path: Path, report: Report) -> tuple[dict[Admission, str], dict[str, object]]:
    """The summaries of each admission, joined in file order."""
    found: dict[Admission, list[str]] = defaultdict(list)
    without_admission = 0
    for subject, admission, text in csv_tables.rows(path, ["SUBJECT_ID", "HADM_ID", "TEXT"], report, where=SUMMARY):
        if admission:
            found[_admission(subject, admission, path)].append(text)
        else:
            without_admission += 1
    if not found:
        raise DataError(f"{path} has no discharge summary; MIMIC-III's demo, for one, comes without notes")
    summaries = sum(map(len, found.values()))
    facts: dict[str, object] = {"summaries": summaries, "admissions": len(found)}
    if without_admission:
        facts["summaries_without_admission"] = without_admission
    return {admission: " ".join(texts) for admission, texts in found.items()}, facts


def _admission(subject: str, admission: str, path: Path) -> Admission:
    return csv_tables.integer(subject, "SUBJECT_ID", path), csv_tables.integer(admission, "HADM_ID", path)


def _documents(
    notes: Mapping[Admission, str], codes: Mapping[Admission, Sequence[str]], split_of: Mapping[int, str]
) -> list[Document]:
    """A document for each admission with a summary, named by its HADM_ID; its split is empty if no list has it."""
    times = Counter(hadm for _, hadm in notes)
    return [
        Document(
            id=str(hadm) if times[hadm] == 1 else f"{subject}-{hadm}",
            text=notes[subject, hadm],
            codes=tuple(codes.get((subject, hadm), ())),
            split=split_of.get(hadm, ""),
            group=str(subject),
        )
        for subject, hadm in sorted(notes)
    ]


def _in_split(documents: Iterable[Document], split: str) -> list[Document]:
    return [document for document in documents if document.split == split]


def _with_codes(documents: Iterable[Document], codes: Iterable[str], facts: dict[str, object]) -> list[Document]:
    """The listed documents with only these codes, each once; those that have none are left out and counted in `facts`."""
    known = set(codes)
    listed = [
        replace(document, codes=tuple(dict.fromkeys(code for code in document.codes if code in known)))
        for document in documents
        if document.split
    ]
    kept = [document for document in listed if document.codes]
    facts["listed_without_label"] = len(listed) - len(kept)
    return kept


def _hadm(document: Document) -> int:
    return int(document.id.rpartition("-")[2])


def _most_frequent(documents: Iterable[Document], count: int) -> list[str]:
    """The `count` codes with most label rows, ties by first appearance, or all if there are fewer; sorted as text."""
    counts = Counter(code for document in documents for code in document.codes)
    return sorted(code for code, _ in counts.most_common(count))


FIFTY = {"top_codes": 50, "embedding_corpus": "train+background"}
CLEAN = mimic.Published((38_401, 5_577, 8_734))
for _data_set in (
    CamlFull("mimic-full", "MIMIC-III, all codes, CAML's splits", known=mimic.FULL),
    CamlFifty("mimic50", "MIMIC-III, the 50 most frequent codes, CAML's splits", FIFTY, known=mimic.FIFTY),
    Clean("mimic-clean", "MIMIC-III, Edin's split, codes of ten documents or more", mimic.EDIN, known=CLEAN),
):
    register(_data_set)
for _data_set in (
    CamlFull("synth-full", "synthetic tables of 'icdbench data make', all codes"),
    CamlFifty("synth50", "synthetic tables of 'icdbench data make', the 50 most frequent codes", FIFTY),
):
    register(replace(_data_set, synthetic=True, download="", agreement="", licence="mit"))
