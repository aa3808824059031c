"""MDACE: evidence that coders marked in notes of MIMIC-III, Cheng et al. 2023, https://aclanthology.org/2023.acl-long.416.

Clone https://github.com/3mcloud/MDACE (MIT licence; spans and codes, no text) into the data folder, beside NOTEEVENTS of
version 1.4. This was written for commit 20eb8e5, data version 1.0. It has a JSON file for each admission,
`data/<Inpatient or Profee>/<ICD-9 or ICD-10>/1.0/<HADM_ID>-<system>.json`, with the annotations of its notes: `note_id` is
the ROW_ID, and `begin` and `end` count characters of TEXT. The authors coded in ICD-10 and mapped the codes to ICD-9.

`mdace-icd9`, `mdace-icd10`: the 302 admissions (Inpatient, or 52 with data.charts=profee) in the authors' splits of the
"evidence" experiment. A document has the annotated discharge summaries of an admission, or with data.notes=all all its
annotated notes, in the file's order and joined by a blank. Its codes are the annotated ones without CPT; admissions
without any are left out.

`mimic-mdace`: MIMIC-III as in `mimic-full`, in the authors' splits of the "code and evidence" experiment, which keep the
annotated admissions apart. A model trained on MIMIC's codes can then be evaluated by `explain --evaluate` on the marked
evidence of those codes that MIMIC assigns too.

Limits: no counts of documents or codes are known to compare with, and the files have no checksums.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from icdbench.codes import CodingSystem, icd9, systems
from icdbench.data.source import Evidence, Raw, read_text, register
from icdbench.data.sources import csv_tables, mimic, mimic3, mimic4
from icdbench.data.sources import mimic_splits as splits
from icdbench.settings import DataError
from icdbench.spec import DataSpec, option
from icdbench.types import SPLITS, Document, Report, quiet

ADDRESS = "https://github.com/3mcloud/MDACE"
FOLDERS = {"inpatient": "Inpatient", "profee": "Profee"}
PARTS = dict(zip(SPLITS, ("train", "val", "test"), strict=True))
Spans = dict[str, list[tuple[int, int]]]
Place = Annotated[int, Field(ge=0)]


class Annotation(BaseModel):
    """A code, and the characters of the note that support it."""

    begin: Place
    end: Place
    code: str
    code_system: str
    description: str = ""

    @property
    def is_icd(self) -> bool:
        return self.code_system.startswith("ICD")


class AnnotatedNote(BaseModel):
    note_id: int
    category: str
    annotations: list[Annotation]


class Chart(BaseModel):
    """The annotated notes of an admission."""

    hadm_id: int
    notes: list[AnnotatedNote]


class MdaceSettings(DataSpec):
    charts: Literal["inpatient", "profee"] = option(
        "inpatient", "charts coded for the hospital's bill, or for those of its physicians", task=True
    )
    notes: Literal["summaries", "all"] = option(
        "summaries", "annotated notes of a document: discharge summaries, or those of all kinds", task=True
    )


@dataclass(frozen=True)
class Mdace(mimic.Mimic):
    """The annotated admissions, with codes of one version of ICD."""

    data: MdaceSettings = field(default_factory=MdaceSettings)
    icd: mimic4.Version = "9"
    pinned = False

    @property
    def tables(self) -> Path:
        return csv_tables.required(mimic.mimic3_folder(self.root, synthetic=False), "NOTEEVENTS")

    def lists(self) -> dict[str, Path]:
        return split_lists(self.root, FOLDERS[self.data.charts], "ev")

    def files(self) -> Sequence[Path]:
        return [self.tables, *chart_files(self.root, FOLDERS[self.data.charts], self.icd), *self.lists().values()]

    @property
    def coding(self) -> CodingSystem:
        return systems.ICD9CM if self.icd == "9" else mimic4.ICD10

    def listed_titles(self) -> Iterator[tuple[str, str]]:
        for chart in self.charts():
            for note in chart.notes:
                yield from ((each.code, each.description) for each in note.annotations)

    def charts(self) -> list[Chart]:
        return charts(self.root, FOLDERS[self.data.charts], self.icd)

    def read(self, report: Report) -> Raw:
        """Documents in the order of their HADM_IDs. Raises DataError for damaged files, and if notes are not those annotated."""
        split_of, read = splits.admission_lists(self.lists()), 0
        documents: list[Document] = []
        for chart, patient, text, spans in self._join_notes(report):
            read += 1
            if spans and chart.hadm_id in split_of:
                codes, split = tuple(spans), split_of[chart.hadm_id]
                documents.append(Document(str(chart.hadm_id), text, codes, split, patient))
        return Raw(documents, facts={"charts": read, "charts_without_code_or_split": read - len(documents)})

    def evidence(self) -> Evidence:
        return {str(chart.hadm_id): spans for chart, _, _, spans in self._join_notes(quiet)}

    def _join_notes(self, report: Report) -> Iterator[tuple[Chart, str, str, Spans]]:
        """Each chart with its patient, the joined text of its notes, and the spans of each code in that text."""
        kind, take_all = mimic3.SUMMARY[1].lower(), self.data.notes == "all"
        charts = self.charts()
        notes = {
            chart.hadm_id: [note for note in chart.notes if take_all or note.category.lower() == kind]
            for chart in charts
        }
        texts = self._texts({str(note.note_id) for chart_notes in notes.values() for note in chart_notes}, report)
        for chart in charts:
            patient = ""
            parts: list[str] = []
            spans: Spans = defaultdict(list)
            begin = 0
            for note in notes[chart.hadm_id]:
                subject, text = texts[str(note.note_id)]
                for each in filter(lambda annotation: annotation.is_icd, note.annotations):
                    if not each.begin < each.end <= len(text):
                        raise DataError(
                            f"note {note.note_id} of {self.tables} has {len(text):,} characters, but MDACE marks {each.begin:,} "
                            f"to {each.end:,}; it needs version 1.4 of MIMIC-III as PhysioNet has it"
                        )
                    spans[each.code].append((begin + each.begin, begin + each.end))
                patient = patient or subject
                parts.append(text)
                begin += len(text) + 1
            yield chart, patient, " ".join(parts), dict(spans)

    def _texts(self, row_ids: set[str], report: Report) -> dict[str, tuple[str, str]]:
        """The patient and the text of each note by its ROW_ID. Raises DataError if one is missing."""
        columns, where = ["ROW_ID", "SUBJECT_ID", "TEXT"], None if self.data.notes == "all" else mimic3.SUMMARY
        rows = csv_tables.rows(self.tables, columns, report, where)
        found = {row: (patient, text) for row, patient, text in rows if row in row_ids}
        if missing := sorted(row_ids - found.keys()):
            raise DataError(
                f"{len(missing)} annotated notes, the first with ROW_ID {missing[0]}, are not in {self.tables}; MDACE needs "
                "version 1.4 of MIMIC-III as PhysioNet has it"
            )
        return found


@dataclass(frozen=True)
class MimicMdace(mimic3.CamlFull):
    """MIMIC-III with all codes, and MDACE's evidence for some of them."""

    download: str = ""
    pinned = False

    def lists(self) -> dict[str, Path]:
        return split_lists(self.root, FOLDERS["inpatient"], "code-ev")

    def mark_files(self) -> Sequence[Path]:
        return chart_files(self.root, FOLDERS["inpatient"], "9")

    def evidence(self) -> Evidence:
        """The spans marked in discharge summaries, by codes as the protocol writes them."""
        begins = self.begins()
        found: dict[str, Spans] = defaultdict(lambda: defaultdict(list))
        for chart in charts(self.root, FOLDERS["inpatient"], "9"):
            for note in chart.notes:
                if (begin := begins.get(str(note.note_id))) is None:
                    continue
                for each in note.annotations:
                    kind = icd9.PROCEDURE if each.code_system.endswith("PCS") else icd9.DIAGNOSIS
                    code = self._dotted(mimic.undotted(each.code), kind)
                    found[str(chart.hadm_id)][code].append((begin + each.begin, begin + each.end))
        return found


def clone_folder(root: Path) -> Path:
    """The clone of MDACE at or below the data root. Raises DataError."""
    for folder in (root / "MDACE", root / "mdace", root):
        if (folder / "data" / FOLDERS["inpatient"]).is_dir():
            return folder
    raise DataError(f"MDACE is not in '{root}'; clone {ADDRESS} there, beside MIMIC-III from physionet.org")


def split_lists(root: Path, charts: str, experiment: str) -> dict[str, Path]:
    """The lists of HADM_IDs of an experiment's splits. Raises DataError."""
    folder = clone_folder(root) / "splits" / charts
    found = {split: folder / f"MDace-{experiment}-{part}.csv" for split, part in PARTS.items()}
    for path in found.values():
        if not path.is_file():
            raise DataError(f"{path} is missing; fetch {ADDRESS} again")
    return found


def chart_files(root: Path, charts: str, version: mimic4.Version) -> list[Path]:
    """The files of the admissions. Raises DataError if there are none."""
    folder = clone_folder(root) / "data" / charts / f"ICD-{version}" / "1.0"
    if found := sorted(folder.glob("*.json")):
        return found
    raise DataError(f"{folder} has no charts; fetch {ADDRESS} again")


def charts(root: Path, charts: str, version: mimic4.Version) -> list[Chart]:
    """The annotated admissions in the order of their HADM_IDs. Raises DataError."""

    def chart(path: Path) -> Chart:
        try:
            return Chart.model_validate_json(read_text(path))
        except ValidationError:  # its message may show a cell
            raise DataError(f"{path} is not a chart of MDACE; fetch {ADDRESS} again") from None

    return sorted(map(chart, chart_files(root, charts, version)), key=lambda each: each.hadm_id)


_SETS: Mapping[mimic4.Version, str] = {"9": "ICD-9-CM", "10": "ICD-10-CM and PCS"}
for _icd, _codes in _SETS.items():
    _about = f"MDACE: evidence in discharge summaries of MIMIC-III, {_codes} codes"
    register(Mdace(f"mdace-icd{_icd}", _about, {"min_documents": 1}, icd=_icd))
register(MimicMdace("mimic-mdace", "MIMIC-III, all codes, MDACE's splits and evidence"))
