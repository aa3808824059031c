"""MIMIC-IV: discharge summaries and codes of admissions from 2008 on; ICD-9-CM and ICD-10 are separate data sets.

The tables of two PhysioNet projects are looked for anywhere below the data root:
https://physionet.org/content/mimic-iv-note/ (discharge.csv.gz) and https://physionet.org/content/mimiciv/ (hosp:
diagnoses_icd, procedures_icd, d_icd_diagnoses, d_icd_procedures). The splits are those of Edin et al. 2023; for those of
Nguyen et al. 2023 see icdbench.data.sources.mimic4_nguyen.

An admission's distinct summaries are joined in file order. Its codes are those of one version of ICD, as text and each
once, without codes that fewer than ten admissions with a summary have; admissions without any are left out. Tokens are as
in `mimic-clean`. ICD-9-CM has dots as in MIMIC-III, ICD-10-CM after three characters if more follow (Edin's own files have
`I10.`), ICD-10-PCS has none.

Social history was removed from the notes (https://github.com/MIT-LCP/mimic-code/issues/1663), so they often do not show why
codes of smoking were assigned. A fact of the data set gives the number of documents with these codes (`data describe`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from icdbench.codes import CodingSystem, icd9, icd10, systems
from icdbench.data.source import Raw, register
from icdbench.data.sources import csv_tables, mimic
from icdbench.data.sources import mimic_splits as splits
from icdbench.settings import DataError, shown
from icdbench.types import Document, Report, quiet

Version = Literal["9", "10"]
PUBLISHED = {
    "url": "https://physionet.org/content/mimic-iv-note/",
    "license": "https://physionet.org/content/mimic-iv-note/view-license/2.2/",
    "datePublished": "2023",
    "creator": "Alistair Johnson, Tom Pollard, Steven Horng, Leo Anthony Celi, Roger Mark",
}
HOSP = [name.lower() for name in mimic.CODED]
# Codes of present and past smoking: those that the issue above names, and their equivalents in ICD-9-CM.
SMOKING = {"9": ("305.1", "V15.82"), "10": ("F17.210", "Z87.891")}


@dataclass(frozen=True)
class Mimic4(mimic.Mimic):
    """Admissions with codes of one version of ICD."""

    download: str = "mimic4-splits"
    icd: Version = "9"

    @property
    def published(self) -> Mapping[str, str]:
        return PUBLISHED

    @cached_property
    def folders(self) -> tuple[Path, Path]:
        """The folders of the notes and of the codes."""
        return tables_folders(self.root)

    def lists(self) -> dict[str, Path]:
        return {"all": splits.required(f"mimiciv_icd{self.icd}_split.feather", self.folders[0], self.root)}

    def split_of(self) -> dict[int, str]:
        """The split of each listed hadm_id."""
        return splits.feather(self.lists()["all"])

    def kept_codes(self, codes: Mapping[int, Sequence[str]]) -> Collection[str]:
        """The codes that the data set keeps, given the codes of each admission with a summary."""
        counts = Counter(code for listed in codes.values() for code in listed)
        return {code for code, count in counts.items() if count >= mimic.RARE}

    def headings_file(self) -> Path | None:
        """CAML's file of titles, if the user has it."""
        return splits.find(splits.TITLES, self.folders[0], self.root) if self.icd == "9" else None

    def files(self) -> Sequence[Path]:
        notes, codes = self.folders
        tables = [csv_tables.required(codes, name) for name in HOSP]
        found = [csv_tables.required(notes, "discharge"), *tables, *self.lists().values()]
        return [*found, *filter(None, [self.headings_file()])]

    def read(self, report: Report) -> Raw:
        """Documents sorted by their hadm_id. Raises DataError for damaged tables and lists of other admissions."""
        path = csv_tables.required(self.folders[0], "discharge")
        split_of = self.split_of()
        notes, patients = _notes(path, split_of, report)
        codes = self._codes(notes, report)
        kept = self.kept_codes(codes)
        facts: dict[str, object] = {"admissions": len(notes), "admissions_with_codes": len(codes)}
        missing = self.without_summary(split_of, notes, path)
        facts |= {"listed_without_summary": missing} if missing else {}
        documents = []
        for admission in sorted(set(codes) & set(split_of)):
            if labels := tuple(code for code in codes[admission] if code in kept):
                split, patient = split_of[admission], patients[admission]
                documents.append(Document(str(admission), notes[admission], labels, split, patient))
        facts["listed_without_label"] = len(set(notes) & set(split_of)) - len(documents)
        counts = Counter(code for document in documents for code in document.codes)
        if smoking := [f"{code} ({counts[code]:,})" for code in SMOKING[self.icd] if counts[code]]:
            facts["documents_with_codes_of_the_removed_social_history"] = ", ".join(smoking)
        label_set = sorted(counts) if self.data.top_codes is None else None
        return Raw(documents, facts=facts, codes=label_set, notices=mimic.missing_summaries(missing))

    def _codes(self, admissions: Mapping[int, str], report: Report) -> dict[int, list[str]]:
        """The codes of each admission with a summary, diagnoses in file order, then procedures, each once."""
        found: dict[int, dict[str, None]] = defaultdict(dict)
        for kind, path, (cell, code) in self._rows(mimic.CODES, ["hadm_id", "icd_code"], report):
            if code.strip() and cell and (admission := csv_tables.integer(cell, "hadm_id", path)) in admissions:
                found[admission][dotted(mimic.undotted(code), kind, self.icd)] = None
        return {admission: list(listed) for admission, listed in found.items()}

    def _rows(
        self, tables: Mapping[str, str], columns: Sequence[str], report: Report = quiet
    ) -> Iterator[tuple[str, Path, Sequence[str]]]:
        """The rows of the tables that are of this version of ICD."""
        columns = ["icd_version", *columns]
        for kind, path, (version, *cells) in mimic.code_rows(self.folders[1], tables, columns, report):
            if _version(version, path) == self.icd:
                yield kind, path, cells

    @property
    def coding(self) -> CodingSystem:
        """ICD-9-CM with the headings' titles of CAML's file, or ICD-10 with titles of diagnoses only."""
        if self.icd == "9":
            return replace(systems.ICD9CM, headings=lambda _: splits.titles(self.headings_file()))
        return ICD10

    def listed_titles(self) -> Iterator[tuple[str, str]]:
        for kind, _, (code, title) in self._rows(mimic.TITLES, ["icd_code", "long_title"]):
            yield dotted(mimic.undotted(code), kind, self.icd), title


def dotted(code: str, kind: str, version: Version) -> str:
    """The code with its dot, if it has one: `I10`, `E11.9`; procedures of ICD-10 have none."""
    if version == "9":
        return icd9.dotted(code, kind)
    return f"{code[:3]}.{code[3:]}" if kind == icd9.DIAGNOSIS and len(code) > 3 else code


def _diagnosis_titles(codes: Sequence[str]) -> Mapping[str, str]:
    """The titles of diagnoses; procedures, which have no dot, are not looked up as diagnoses."""
    return icd10.icd10cm_titles([code for code in codes if "." in code or len(code) == 3])


ICD10 = replace(systems.ICD10, titles=_diagnosis_titles)


def tables_folders(root: Path) -> tuple[Path, Path]:
    """The folders of the notes and of the codes, at or below the data root. Raises DataError unless there is one of each."""
    notes = csv_tables.folders(root, "discharge")
    codes = [folder for folder in csv_tables.folders(root, *HOSP) if not csv_tables.find(folder, "NOTEEVENTS")]
    if not notes and (other := csv_tables.folders(root, "NOTEEVENTS")):
        raise DataError(
            f"{other[0]} holds MIMIC-III's notes, not MIMIC-IV; use --dataset mimic-full, mimic50 or mimic-clean"
        )
    for found, what, project in (
        (notes, "table discharge", "mimic-iv-note (note)"),
        (codes, f"tables {', '.join(HOSP)}, in one folder,", "mimiciv (hosp)"),
    ):
        if not found:
            raise DataError(
                f"MIMIC-IV's {what} not in '{root}' or {csv_tables.DEPTH} levels below; get it from PhysioNet's project "
                f"{project} and name the folder with --data or ICDBENCH_DATA"
            )
        if len(found) > 1:
            raise DataError(f"MIMIC-IV's {what} in {found[0]} and in {found[1]}; keep one of them below '{root}'")
    return notes[0], codes[0]


def _notes(path: Path, listed: Mapping[int, str], report: Report) -> tuple[dict[int, str], dict[int, str]]:
    """The joined summaries of each admission (an empty text for those in no list, which only count), and its patient."""
    found: dict[int, list[str]] = defaultdict(list)
    patients: dict[int, str] = {}
    for subject, admission, text in csv_tables.rows(path, ["subject_id", "hadm_id", "text"], report):
        if admission and text:
            number = csv_tables.integer(admission, "hadm_id", path)
            found[number].append(text if number in listed else "")
            patients[number] = str(csv_tables.integer(subject, "subject_id", path))
    if not found:
        raise DataError(f"{path} has no discharge summary")
    return {admission: " ".join(dict.fromkeys(texts)) for admission, texts in found.items()}, patients


@cache
def _version(cell: str, path: Path) -> str:
    """The version in a cell of icd_version: "9" or "10", empty in a row without a code. Raises DataError."""
    if not cell.strip():
        return ""
    if (number := csv_tables.integer(cell, "icd_version", path)) not in {9, 10}:
        raise DataError(f"{path}: icd_version {shown(cell)} is neither 9 nor 10; {csv_tables.AGAIN}")
    return str(number)


ABOUT = "MIMIC-IV, {} codes of ten documents or more, Edin's split"
WITH_9, WITH_10 = mimic.Published((154_542, 21_980, 32_804)), mimic.Published((89_099, 13_378, 19_802))
register(Mimic4("mimic4-icd9", ABOUT.format("ICD-9-CM"), mimic.EDIN, known=WITH_9, icd="9"))
register(Mimic4("mimic4-icd10", ABOUT.format("ICD-10-CM and PCS"), mimic.EDIN, known=WITH_10, icd="10"))
