"""Hand-made tables in the schema of MIMIC-III and MIMIC-IV."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import feather

SUMMARY = "Discharge summary"


@dataclass
class Mimic3:
    """Rows of the tables: notes (subject, admission, category, text), codes (subject, admission, code), titles (code, title).

    `lists` holds the HADM_IDs of each file of splits, such as `train_full`.
    """

    notes: list[tuple[Any, Any, str, str]] = field(default_factory=list)
    diagnoses: list[tuple[Any, Any, str]] = field(default_factory=list)
    procedures: list[tuple[Any, Any, str]] = field(default_factory=list)
    diagnosis_titles: list[tuple[str, str]] = field(default_factory=lambda: [("4019", "Hypertension NOS")])
    procedure_titles: list[tuple[str, str]] = field(default_factory=lambda: [("3893", "Venous catheterization")])
    lists: dict[str, list[int]] = field(default_factory=dict)

    def write(self, folder: Path, *, packed: bool = True, lower: bool = False, end: str = "\n") -> Path:
        """The tables as PhysioNet writes them: quoted upper-case header, empty cells without quotes."""
        folder.mkdir(parents=True, exist_ok=True)
        tables: Mapping[str, tuple[str, Iterable[Sequence[object]]]] = {
            "NOTEEVENTS": (
                "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT",
                [(i, s, h, "2151-08-04", "", "", c, "Report", "", "", t) for i, (s, h, c, t) in enumerate(self.notes)],
            ),
            "DIAGNOSES_ICD": ("ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE", _codes(self.diagnoses)),
            "PROCEDURES_ICD": ("ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE", _codes(self.procedures)),
            "D_ICD_DIAGNOSES": ("ROW_ID ICD9_CODE SHORT_TITLE LONG_TITLE", _titles(self.diagnosis_titles)),
            "D_ICD_PROCEDURES": ("ROW_ID ICD9_CODE SHORT_TITLE LONG_TITLE", _titles(self.procedure_titles)),
        }
        for name, (header, rows) in tables.items():
            write_table(folder / f"{name.lower() if lower else name}.csv", header.split(), rows, packed=packed, end=end)
        for name, admissions in self.lists.items():
            (folder / f"{name}_hadm_ids.csv").write_text("".join(f"{admission}\n" for admission in admissions))
        return folder


def write_table(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, packed: bool = True, end: str = "\n"
) -> Path:
    """A CSV file, packed as `.csv.gz` if asked for."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end)
    text.write(",".join(f'"{name}"' for name in header) + end)
    writer.writerows(rows)
    content = text.getvalue().encode()
    path = path.with_name(path.name + ".gz") if packed else path
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def small(**lists: list[int]) -> Mimic3:
    """Five admissions of five subjects, 1 to 3 for training, 4 for development, 5 for test; all have 401.9."""
    tables = Mimic3()
    for number in range(1, 6):
        tables.notes.append((number, 100 + number, SUMMARY, f"common words here only{number}x"))
        tables.diagnoses.append((number, 100 + number, "4019"))
    tables.lists = {
        f"{split}_{size}": admissions
        for size in ("full", "50")
        for split, admissions in (("train", [101, 102, 103]), ("dev", [104]), ("test", [105]))
    } | lists
    return tables


def _codes(rows: Iterable[tuple[object, object, str]]) -> list[tuple[object, ...]]:
    return [(i, subject, admission, 99 - i, code) for i, (subject, admission, code) in enumerate(rows)]


def _titles(rows: Iterable[tuple[str, str]]) -> list[tuple[object, ...]]:
    return [(i, code, title[:20], title) for i, (code, title) in enumerate(rows)]


def write_splits(path: Path, rows: Sequence[tuple[int, str]]) -> Path:
    """A Feather file of admissions and splits, as Edin et al. publish them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pa.table({"_id": [row[0] for row in rows], "split": [row[1] for row in rows]}), path)
    return path


def write_nguyen(root: Path, version: str, **lists: Sequence[int]) -> Path:
    """Lists of admissions such as `train_full`, in the folder that they are published in."""
    folder = root / "mimicdata" / f"mimic4_icd{version}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, admissions in lists.items():
        (folder / f"{name}_hadm_ids.csv").write_text("".join(f"{admission}\n" for admission in admissions))
    return root


def write_mdace(
    root: Path,
    charts: Mapping[int, Sequence[tuple[int, str, Sequence[tuple[int, int, str, str]]]]],
    splits: Mapping[str, Sequence[int]],
    *,
    kind: str = "Inpatient",
    version: str = "9",
) -> Path:
    """MDACE's files: of each admission its notes (ROW_ID, category, annotations of begin, end, code, code system)."""
    place, lists = root / "MDACE" / "data" / kind / f"ICD-{version}" / "1.0", root / "MDACE" / "splits" / kind
    place.mkdir(parents=True, exist_ok=True)
    lists.mkdir(parents=True, exist_ok=True)
    names = ("begin", "end", "code", "code_system")
    for admission, notes in charts.items():
        listed = [
            {
                "note_id": row,
                "category": category,
                "description": "Report",
                "annotations": [
                    {**dict(zip(names, each, strict=True)), "description": f"title of {each[2]}", "type": "Human"}
                    for each in of
                ],
            }
            for row, category, of in notes
        ]
        chart = {"hadm_id": admission, "comment": "", "notes": listed}
        (place / f"{admission}-ICD-{version}.json").write_text(json.dumps(chart))
    for split, admissions in splits.items():
        for experiment in ("ev", "code-ev"):
            (lists / f"MDace-{experiment}-{split}.csv").write_text("".join(f"{each}\n" for each in admissions))
    return root


@dataclass
class Mimic4:
    """Rows of MIMIC-IV's tables: notes (admission, text), codes (admission, code, version), titles (code, version, title)."""

    notes: list[tuple[Any, str]] = field(default_factory=list)
    diagnoses: list[tuple[Any, str, int]] = field(default_factory=list)
    procedures: list[tuple[Any, str, int]] = field(default_factory=list)
    diagnosis_titles: list[tuple[str, int, str]] = field(default_factory=list)
    procedure_titles: list[tuple[str, int, str]] = field(default_factory=list)

    def write(self, root: Path) -> Path:
        """The tables in the folders of PhysioNet's two projects."""
        note, hosp = root / "mimic-iv-note" / "note", root / "mimiciv" / "hosp"
        for folder in (note, hosp):
            folder.mkdir(parents=True, exist_ok=True)
        header = "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text".split(",")
        rows = [(f"{a}-DS-1", a, a, "DS", 1, "2180-01-01 00:00:00", "", text) for a, text in self.notes]
        write_table(note / "discharge.csv", header, rows)
        for name, codes in (("diagnoses_icd", self.diagnoses), ("procedures_icd", self.procedures)):
            coded = [(admission, admission, 1, code, version) for admission, code, version in codes]
            write_table(hosp / f"{name}.csv", ["subject_id", "hadm_id", "seq_num", "icd_code", "icd_version"], coded)
        for name, titles in (("d_icd_diagnoses", self.diagnosis_titles), ("d_icd_procedures", self.procedure_titles)):
            write_table(hosp / f"{name}.csv", ["icd_code", "icd_version", "long_title"], titles)
        return root


def rewritten(folder: Path, columns: Collection[str], change: Callable[[str], str]) -> None:
    """Change every cell of these columns in all tables below a folder that have them, whatever their case."""
    for path in sorted(folder.rglob("*.csv*")):
        packed = path.suffix == ".gz"
        text = gzip.decompress(path.read_bytes()).decode() if packed else path.read_text(encoding="utf-8")
        header, *rows = csv.reader(io.StringIO(text, newline=""))
        places = [place for place, name in enumerate(header) if name.lower() in columns]
        for row in rows:
            for place in places:
                row[place] = change(row[place]) if row[place] else ""
        if places:
            write_table(path.with_suffix("") if packed else path, header, rows, packed=packed)


def small4() -> Mimic4:
    """Twelve admissions 1 to 12 with diagnoses 401.9 and I10 and procedures 0066 and 02HV33Z; 10 have them in test and so on."""
    tables = Mimic4()
    for admission in range(1, 13):
        tables.notes.append((admission, f"Common words, 5 µg {'x' * admission}"))
        tables.diagnoses += [(admission, "4019", 9), (admission, "I10", 10), (admission, "E119", 10)]
        tables.procedures += [(admission, "0066", 9), (admission, "02HV33Z", 10)]
    return tables
