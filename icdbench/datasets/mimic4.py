"""MIMIC-IV: discharge summaries and codes of admissions to the same hospital from 2008 on, ICD-9-CM and ICD-10 apart.

Two projects of PhysioNet: https://physionet.org/content/mimic-iv-note/ (discharge.csv.gz) and
https://physionet.org/content/mimiciv/ (hosp: diagnoses_icd, procedures_icd, d_icd_diagnoses, d_icd_procedures), anywhere
below the data root. Splits of Edin et al. 2023.

An admission's summaries, equal ones once, are joined in file order. Its codes are those of one version of ICD, as text, each
once, and left out where fewer than ten admissions with a summary have them; admissions without any are left out. Tokens as in
`mimic-clean`. ICD-9-CM takes its dots as in MIMIC-III, ICD-10-CM after three characters if more follow (Edin's own
files have `I10.`), ICD-10-PCS none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from icdbench.datasets import Raw, Source, Tree, hierarchy, physionet, register, splits
from icdbench.datasets.icd9 import DIAGNOSIS, icd9cm_titles
from icdbench.datasets.icd9 import dotted as icd9_dotted
from icdbench.datasets.icd10 import icd10cm_headings, icd10cm_titles
from icdbench.datasets.mimic3 import AGREEMENT, CODES, RARE, TITLES, integer, unmatched
from icdbench.spec import DataError, DataSpec
from icdbench.types import Document, Report, quiet

Version = Literal["9", "10"]

HOSP = tuple(map(str.lower, (*CODES.values(), *TITLES.values())))
KNOWN = {
    "9": {"train": 154_542, "validation": 21_980, "test": 32_804},
    "10": {"train": 89_099, "validation": 13_378, "test": 19_802},
}


def dotted(code: str, kind: str, version: Version) -> str:
    """The code with its dot: `I10`, `E11.9`; procedures of ICD-10 have none."""
    if version == "9":
        return icd9_dotted(code, kind)
    return f"{code[:3]}.{code[3:]}" if kind == DIAGNOSIS and len(code) > 3 else code


def _folders(root: Path) -> tuple[Path, Path]:
    """The folders of the notes and of the codes, at or below the data root. Raises DataError without one of each."""
    notes = physionet.folders(root, "discharge")
    codes = [place for place in physionet.folders(root, *HOSP) if not physionet.find(place, "NOTEEVENTS")]
    if not notes and (other := physionet.folders(root, "NOTEEVENTS")):
        raise DataError(
            f"{other[0]} holds MIMIC-III's notes, not MIMIC-IV; use --dataset mimic-full, mimic50 or mimic-clean"
        )
    for found, what, project in (
        (notes, "table discharge", "mimic-iv-note (note)"),
        (codes, f"tables {', '.join(HOSP)}, in one folder,", "mimiciv (hosp)"),
    ):
        if not found:
            raise DataError(
                f"MIMIC-IV's {what} not in '{root}' or below; get it from PhysioNet's project {project} and name the folder "
                "with --data or ICDBENCH_DATA"
            )
        if len(found) > 1:
            raise DataError(f"MIMIC-IV's {what} in {found[0]} and in {found[1]}; keep one of them below '{root}'")
    return notes[0], codes[0]


def files(version: Version, root: Path, _data: DataSpec) -> list[Path]:
    """All that decides about the content."""
    notes, codes = _folders(root)
    tables = [physionet.required(codes, name) for name in HOSP]
    headings = _headings(notes, root) if version == "9" else None
    found = [physionet.required(notes, "discharge"), *tables, _split_file(version, notes, root)]
    return [*found, *([headings] if headings else [])]


def _headings(notes: Path, root: Path) -> Path | None:
    """CAML's file of titles, if the user has it."""
    return splits.find(splits.TITLES, notes, root)


def _split_file(version: Version, notes: Path, root: Path) -> Path:
    return splits.required(f"mimiciv_icd{version}_split.feather", notes, root)


def read(version: Version, root: Path, data: DataSpec, report: Report = quiet) -> Raw:
    """Documents sorted by their hadm_id. Raises DataError for damaged tables and for splits that do not fit."""
    note, hosp = _folders(root)
    listing, path = _split_file(version, note, root), physionet.required(note, "discharge")
    split_of = splits.feather(listing)
    notes = _notes(path, split_of, report)
    codes = _codes(version, hosp, set(notes), report)
    counts = Counter(code for listed in codes.values() for code in listed)
    facts: dict[str, object] = {"admissions": len(notes), "admissions_with_codes": len(codes)}
    facts |= unmatched(split_of, set(notes), {"all": listing}, path)
    documents = []
    for admission in sorted(set(codes) & set(split_of)):
        known = tuple(code for code in codes[admission] if counts[code] >= RARE)
        if known:
            documents.append(Document(str(admission), notes[admission], known, split_of[admission]))
    facts["listed_without_label"] = len(set(notes) & set(split_of)) - len(documents)
    labels = sorted({code for document in documents for code in document.codes})
    return Raw(documents, facts=facts, codes=labels if data.top_codes is None else None, by_length=True)


def _notes(path: Path, listed: Mapping[int, str], report: Report) -> dict[int, str]:
    """The summaries of each admission; of those in no split, which only count, an empty text."""
    found: dict[int, list[str]] = defaultdict(list)
    for batch in physionet.rows(path, ["hadm_id", "text"], report):
        for admission, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if admission and text:
                number = integer(admission, path)
                found[number].append(text if number in listed else "")
    if not found:
        raise DataError(f"{path} has no discharge summary")
    return {admission: " ".join(dict.fromkeys(texts)) for admission, texts in found.items()}


def _codes(version: Version, hosp: Path, admissions: set[int], report: Report) -> dict[int, list[str]]:
    """Codes of one version of ICD of each admission with a summary, diagnoses in file order, then procedures, each once."""
    found: dict[int, dict[str, None]] = defaultdict(dict)
    for kind, name in CODES.items():
        path = physionet.required(hosp, name.lower())
        table = physionet.table(path, ["hadm_id", "icd_code", "icd_version"], report)
        for cell, code, of in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if of.strip() == version and code.strip() and cell and (admission := integer(cell, path)) in admissions:
                found[admission][dotted("".join(code.split(".")).strip(), kind, version)] = None
    return {admission: list(listed) for admission, listed in found.items()}


def titles(version: Version, codes: Sequence[str], root: Path, _data: DataSpec) -> Mapping[str, str]:
    """Long titles of the user's tables, then of ICD-9-CM version 32 or of ICD-10-CM."""
    found: dict[str, str] = {}
    for kind, name in TITLES.items():
        table = physionet.table(
            physionet.required(_folders(root)[1], name.lower()), ["icd_code", "icd_version", "long_title"], quiet
        )
        for code, of, title in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if of.strip() == version:
                found.setdefault(dotted("".join(code.split(".")).strip(), kind, version), title)
    chosen = {code: found[code] for code in codes if found.get(code)}
    rest = [code for code in codes if code not in chosen]
    if version == "9":
        return {**icd9cm_titles(rest), **chosen}
    return {**(icd10cm_titles([code for code in rest if "." in code or len(code) == 3]) if rest else {}), **chosen}


def tree(version: Version, codes: Sequence[str], root: Path, _data: DataSpec) -> Tree:
    """Headings of ICD-9-CM have the titles of CAML's file, of ICD-10 those of diagnoses."""
    if version == "10":
        return hierarchy.grow(codes, hierarchy.icd10_line, icd10cm_headings)
    return hierarchy.grow(codes, hierarchy.icd9cm_line, lambda _: splits.titles(_headings(_folders(root)[0], root)))


def check(version: Version, root: Path, data: DataSpec) -> list[str]:
    """What is missing, and a split that differs from the published one."""
    try:
        files(version, root, data)
        path = _split_file(version, _folders(root)[0], root)
    except DataError as error:
        return [str(error)]
    return (
        [f"{path} differs from the published split (SHA-256); document counts will too"] if splits.altered(path) else []
    )


def _register(name: str, version: Version, about: str) -> None:
    register(
        Source(
            name,
            about,
            files=partial(files, version),
            read=partial(read, version),
            titles=partial(titles, version),
            tree=partial(tree, version),
            check=partial(check, version),
            download="mimic4-splits",
            agreement=AGREEMENT,
            known={"documents": KNOWN[version]},
            data={"words": "ascii", "max_tokens": 4000},
        )
    )


_register("mimic4-icd9", "9", "MIMIC-IV, ICD-9-CM codes of ten documents or more, Edin's split")
_register("mimic4-icd10", "10", "MIMIC-IV, ICD-10-CM and PCS codes of ten documents or more, Edin's split")
