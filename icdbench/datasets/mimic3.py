"""MIMIC-III: discharge summaries and ICD-9-CM codes of intensive-care admissions, https://physionet.org/content/mimiciii/1.4/.

`mimic-full` and `mimic50` are the splits of CAML (Mullenbach et al. 2018), used by nearly all published systems;
`mimic-clean` is that of Edin et al. 2023. `synth-full` and `synth50` are the tables that `icdbench data make` writes, through
the same code. Protocols of the first two (`data.protocol`):

- released: what CAML's preparation computes, so that published figures are comparable. Rows of NOTEEVENTS whose CATEGORY
  is exactly "Discharge summary", reports and addenda alike; one document for each (SUBJECT_ID, HADM_ID), its notes joined by
  a space in file order, repeated ones too. Codes: diagnoses in file order, then procedures; rows without a code are no
  class; duplicates stay. Procedures are read as integers, so leading zeros are lost: 0331 becomes 33.1. Label set: all codes of
  the train, dev and test documents. The 50 codes: most label rows over all documents with a summary, listed or not, ties by
  first appearance in the order of (SUBJECT_ID, HADM_ID). The vocabulary is that of the full training list, for the 50 codes too.
- paper: the same with the JLAN paper's wording: tokens without any letter are dropped, and words in fewer than two
  training documents are unknown.
- corrected: the same with codes as text (00.66, not 66.), each once, the label set from training documents, the 50 codes
  counted over the full training list.

Left out on purpose: reading the procedures in chunks, the original makes floats of some (39.50 becomes 39.5), depending on
the chunks' sizes. What breaks the original does not break this: a summary without a code row is a document without codes
(left out of `mimic50`), a summary without any token a document of one unknown token. Word vectors are trained on training
documents (of the full list for `mimic50`), on all summaries with data.embedding_corpus=all as in the original.

`mimic-clean`: codes as text, each once, those that at least ten documents have; documents without any are left out.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from icdbench.datasets import Evidence, Raw, Source, Tree, hierarchy, physionet, register, splits
from icdbench.datasets.icd9 import DIAGNOSIS, PROCEDURE, dotted, icd9cm_titles
from icdbench.datasets.mimic3_tables import MARKER
from icdbench.spec import DataError, DataSpec, SpecError
from icdbench.types import SPLITS, Document, Report, quiet

log = logging.getLogger("icdbench")

Admission = tuple[int, int]  # SUBJECT_ID, HADM_ID

CODES = {DIAGNOSIS: "DIAGNOSES_ICD", PROCEDURE: "PROCEDURES_ICD"}
TITLES = {DIAGNOSIS: "D_ICD_DIAGNOSES", PROCEDURE: "D_ICD_PROCEDURES"}

SUMMARY = ("CATEGORY", "Discharge summary")
LISTS = dict(zip(SPLITS, ("train", "dev", "test"), strict=True))
CLEAN = "mimiciii_clean_splits.feather"
RARE = 10  # documents; `mimic-clean` leaves out codes that fewer have
AGREEMENT = "MIMIC's data-use agreement"
PROTOCOLS = {"released": {}, "paper": {"words": "some-letter", "min_documents": 2}, "corrected": {}}

# As usually reported for what CAML's code prepares from version 1.4.
KNOWN: Mapping[str, Any] = {
    "documents": {"train": 47_723, "validation": 1_631, "test": 3_372},
    "codes": (8_921, 8_930),
    "codes with leading zeros": 9_017,
    "vocabulary": 51_917,
    "distinct words": 140_795,
}
KNOWN_50: Mapping[str, Any] = {
    "documents": {"train": 8_066, "validation": 1_573, "test": 1_729},
    "vocabulary": 51_917,
    "label set": frozenset(
        "038.9 244.9 250.00 272.0 272.4 276.1 276.2 285.1 285.9 287.5 305.1 311 33.24 36.15 37.22 37.23 38.91 38.93 39.61 39.95"
        " 401.9 403.90 410.71 412 414.01 424.0 427.31 428.0 45.13 486 496 507.0 511.9 518.81 530.81 584.9 585.9 599.0 88.56"
        " 88.72 96.04 96.6 96.71 96.72 99.04 99.15 995.92 V15.82 V45.81 V58.61".split()
    ),
}
KNOWN_CLEAN: Mapping[str, Any] = {"documents": {"train": 38_401, "validation": 5_577, "test": 8_734}}


@dataclass(frozen=True)
class Setting:
    """Which lists of admissions a data set is made of, and whether its tables are MIMIC's or synthetic."""

    lists: Literal["full", "50", "clean"]
    synthetic: bool = False


def folder(root: Path, *, synthetic: bool) -> Path:
    """The folder of the tables, below the data root. Raises DataError if there is none, more than one, or another MIMIC."""
    found = physionet.folders(root, "NOTEEVENTS")
    made = [place for place in found if (place / MARKER).is_file()]
    fitting = made if synthetic else [place for place in found if place not in made]
    if len(fitting) > 1:
        raise DataError(f"NOTEEVENTS is in {fitting[0]} and in {fitting[1]}; name one of them with --data")
    if fitting:
        return fitting[0]
    if made:
        raise DataError(
            f"the tables in {made[0]} are synthetic (icdbench data make); use --dataset synth-full or synth50"
        )
    if found:
        raise DataError(
            f"the tables in {found[0]} were not made by 'icdbench data make'; use --dataset mimic-full or mimic50"
        )
    if other := physionet.folders(root, "discharge"):
        raise DataError(f"{other[0]} holds MIMIC-IV's notes, not MIMIC-III; use --dataset mimic4-icd9 or mimic4-icd10")
    if synthetic:
        raise DataError(f"no synthetic tables in '{root}'; make some with 'icdbench data make {root / 'synth'}'")
    raise DataError(
        f"MIMIC-III is not in '{root}' (no NOTEEVENTS.csv.gz or .csv there or below); get it from "
        "https://physionet.org/content/mimiciii/1.4/ and name its folder with --data or ICDBENCH_DATA"
    )


def files(setting: Setting, root: Path, _data: DataSpec) -> list[Path]:
    """All that decides about the content: tables, lists of admissions, CAML's titles where they are there."""
    place = folder(root, synthetic=setting.synthetic)
    tables = [physionet.required(place, name) for name in ("NOTEEVENTS", *CODES.values(), *TITLES.values())]
    return [*tables, *_lists(setting, place, root).values(), *filter(None, [splits.find(splits.TITLES, place, root)])]


def _lists(setting: Setting, place: Path, root: Path) -> dict[str, Path]:
    """The files that say which admission is in which split; for `50` also the full training list, of the vocabulary."""
    if setting.lists == "clean":
        return {"all": splits.required(CLEAN, place, root)}
    names = {split: f"{name}_{setting.lists}_hadm_ids.csv" for split, name in LISTS.items()}
    if setting.lists == "50":
        names["vocabulary"] = "train_full_hadm_ids.csv"
    return {split: splits.required(name, place, root) for split, name in names.items()}


def read(setting: Setting, root: Path, data: DataSpec, report: Report = quiet) -> Raw:
    """Documents sorted by SUBJECT_ID and HADM_ID. Raises DataError for damaged tables and for lists that do not fit."""
    place = folder(root, synthetic=setting.synthetic)
    lists = _lists(setting, place, root)
    if setting.lists == "clean":
        split_of = splits.feather(lists["all"])
    else:
        split_of = splits.admission_lists({split: lists[split] for split in SPLITS})
    notes, facts = _notes(physionet.required(place, "NOTEEVENTS"), report)
    codes = _codes(place, report, as_text=_as_text(setting, data), facts=facts)
    documents = _documents(notes, codes, split_of)
    facts["without_codes"] = sum(not document.codes for document in documents)
    facts["in_no_list"] = sum(not document.split for document in documents)
    facts |= unmatched(split_of, {hadm for _, hadm in notes}, lists, physionet.required(place, "NOTEEVENTS"))
    if setting.lists == "clean":
        return _clean(documents, data, facts)
    facts = {"protocol": data.protocol, **facts}
    return _fifty(documents, lists, data, facts) if setting.lists == "50" else _full(documents, data, facts)


def _as_text(setting: Setting, data: DataSpec) -> bool:
    return setting.lists == "clean" or data.protocol == "corrected"


def _notes(path: Path, report: Report) -> tuple[dict[Admission, str], dict[str, object]]:
    """The summaries of each admission, joined in file order."""
    found: dict[Admission, list[str]] = defaultdict(list)
    without_admission = 0
    for batch in physionet.rows(path, ["SUBJECT_ID", "HADM_ID", "TEXT"], report, where=SUMMARY):
        for subject, admission, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if admission:
                found[integer(subject, path), integer(admission, path)].append(text)
            else:
                without_admission += 1
    if not found:
        raise DataError(f"{path} has no discharge summary; MIMIC-III's demo, for one, comes without notes")
    summaries = sum(map(len, found.values()))
    facts: dict[str, object] = {"summaries": summaries, "admissions": len(found)}
    if without_admission:
        facts["summaries_without_admission"] = without_admission
    return {admission: " ".join(texts) for admission, texts in found.items()}, facts


def integer(cell: str, path: Path) -> int:
    """A SUBJECT_ID or HADM_ID as a number. Raises DataError."""
    try:
        return int(cell.removesuffix(".0"))  # some tools write whole numbers so
    except ValueError:
        raise DataError(f"{path}: '{cell[:40]}' is no SUBJECT_ID or HADM_ID; whole numbers are expected") from None


def _codes(place: Path, report: Report, *, as_text: bool, facts: dict[str, object]) -> dict[Admission, list[str]]:
    """Dotted codes of each admission, diagnoses in file order, then procedures; `as_text`: each once, and zeros kept."""
    found: dict[Admission, list[str]] = defaultdict(list)
    without_code = 0
    zeros = set()
    for kind, name in CODES.items():
        path = physionet.required(place, name)
        table = physionet.table(path, ["SUBJECT_ID", "HADM_ID", "ICD9_CODE"], report)
        for subject, admission, cell in zip(*(column.to_pylist() for column in table.columns), strict=True):
            code = "".join(cell.split(".")).strip()
            if not code or not admission:
                without_code += 1
                continue
            if kind == PROCEDURE and code.startswith("0"):
                zeros.add(code)
            found[integer(subject, path), integer(admission, path)].append(_dotted(code, kind, as_text=as_text))
    facts["rows_without_code"] = without_code
    if not as_text:
        facts["procedures_that_lost_zeros"] = len(zeros)
        return found
    return {admission: list(dict.fromkeys(listed)) for admission, listed in found.items()}


def _dotted(code: str, kind: str, *, as_text: bool) -> str:
    """The code with its dot; unless it is read `as_text`, a procedure's leading zeros are lost."""
    return dotted(code if as_text or kind != PROCEDURE or not code.isdecimal() else str(int(code)), kind)


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
        )
        for subject, hadm in sorted(notes)
    ]


def unmatched(
    split_of: Mapping[int, str], admissions: set[int], lists: Mapping[str, Path], notes: Path
) -> dict[str, object]:
    """What is to be said of listed admissions without a summary, which are left out with a warning. Raises DataError if a split has no other."""
    missing = [admission for admission in split_of if admission not in admissions]
    if not missing:
        return {}
    for split in SPLITS:
        listed = [admission for admission in split_of if split_of[admission] == split]
        if not admissions.intersection(listed):
            path = lists.get(split, lists.get("all"))
            raise DataError(
                f"none of the {len(listed)} {split} admissions of {path}, the first {listed[:1]}, has a discharge summary in "
                f"{notes}; do the lists belong to these tables?"
            )
    counts = Counter(split_of[admission] for admission in missing)
    listed_without = ", ".join(f"{split} {counts[split]}" for split in SPLITS if counts[split])
    log.warning(
        "%d listed admissions have no discharge summary (%s), the first %d; they are left out",
        len(missing),
        listed_without,
        missing[0],
    )
    return {"listed_without_summary": listed_without}


def _full(documents: Sequence[Document], data: DataSpec, facts: dict[str, object]) -> Raw:
    listed = [document for document in documents if document.split]
    if data.top_codes is not None:
        codes = _most_frequent(_in(listed, "train") if data.protocol == "corrected" else documents, data.top_codes)
    elif data.protocol == "corrected":
        codes = sorted({code for document in _in(listed, "train") for code in document.codes})
    else:
        codes = sorted({code for document in listed for code in document.codes})
    rest = [document.text for document in documents if not document.split] if data.embedding_corpus == "all" else []
    return Raw(listed, rest, facts, codes, by_length=True)


def _fifty(documents: Sequence[Document], lists: Mapping[str, Path], data: DataSpec, facts: dict[str, object]) -> Raw:
    if data.top_codes is None:
        raise SpecError(
            "data.top_codes=None: mimic50's lists are made for the 50 codes; use mimic-full for all of them"
        )
    full = splits.admission_lists({"train": lists["vocabulary"]})
    training = [document for document in documents if _hadm(document) in full]
    for split in SPLITS:
        fitting = split == "train"
        if strays := [document.id for document in _in(documents, split) if (_hadm(document) in full) != fitting]:
            raise DataError(
                f"{len(strays)} admissions of {lists[split]}, the first {strays[0]}, are {'not ' * fitting}in "
                f"{lists['vocabulary'].name}; the lists do not belong together"
            )
    codes = _most_frequent(training if data.protocol == "corrected" else documents, data.top_codes)
    known = set(codes)
    kept = []
    for document in documents:
        labels = tuple(dict.fromkeys(code for code in document.codes if code in known))
        if document.split and labels:
            kept.append(Document(document.id, document.text, labels, document.split))
    facts["listed_without_label"] = sum(bool(document.split) for document in documents) - len(kept)
    chosen = {document.id for document in _in(kept, "train")}
    rest = [document.text for document in training if document.id not in chosen]
    counted = len(rest)
    if data.embedding_corpus == "all":
        taken = {document.id for document in (*training, *kept)}
        rest += [document.text for document in documents if document.id not in taken]
    return Raw(kept, rest, facts, codes, counted_background=counted, by_length=True)


def _clean(documents: Sequence[Document], data: DataSpec, facts: dict[str, object]) -> Raw:
    counts = Counter(code for document in documents for code in document.codes)
    known = {code for code, count in counts.items() if count >= RARE}
    kept = []
    for document in documents:
        common = tuple(code for code in document.codes if code in known)
        if document.split and common:
            kept.append(Document(document.id, document.text, common, document.split))
    facts["listed_without_label"] = sum(bool(document.split) for document in documents) - len(kept)
    labels = sorted({code for document in kept for code in document.codes})
    return Raw(kept, facts=facts, codes=labels if data.top_codes is None else None, by_length=True)


def _in(documents: Iterable[Document], split: str) -> list[Document]:
    return [document for document in documents if document.split == split]


def _hadm(document: Document) -> int:
    return int(document.id.rpartition("-")[2])


def _most_frequent(documents: Iterable[Document], count: int) -> list[str]:
    """The codes with most label rows, ties by first appearance, sorted as text; fewer, with a warning, if there are no more."""
    counts = Counter(code for document in documents for code in document.codes)
    if count > len(counts):
        log.warning("data.top_codes=%d, but there are only %d codes; all of them are taken", count, len(counts))
    return sorted(code for code, _ in counts.most_common(count))


def titles(setting: Setting, codes: Sequence[str], root: Path, _data: DataSpec) -> Mapping[str, str]:
    """Long titles: of the user's tables, diagnoses before procedures, then of CAML's file, then of ICD-9-CM version 32.

    A code whose leading zero was lost is looked up as it stands, as the original does.
    """
    place = folder(root, synthetic=setting.synthetic)
    found: dict[str, str] = {}
    for kind, name in TITLES.items():
        table = physionet.table(physionet.required(place, name), ["ICD9_CODE", "LONG_TITLE"], quiet)
        for cell, title in zip(*(column.to_pylist() for column in table.columns), strict=True):
            found.setdefault(dotted("".join(cell.split(".")).strip(), kind), title)
    found = {**splits.titles(splits.find(splits.TITLES, place, root)), **found}
    chosen = {code: found[code] for code in codes if found.get(code)}
    return {**icd9cm_titles([code for code in codes if code not in chosen]), **chosen}


def tree(setting: Setting, codes: Sequence[str], root: Path, data: DataSpec) -> Tree:
    return hierarchy.grow(codes, hierarchy.icd9cm_line, lambda headings: titles(setting, headings, root, data))


def evidence(setting: Setting, root: Path, data: DataSpec) -> Evidence | None:
    """Of synthetic tables, the phrases that mention a code (`truth/evidence.csv`), where the joined summaries have them."""
    if not setting.synthetic:
        return None
    place = folder(root, synthetic=True)
    begins: dict[str, int] = {}  # of each summary in its document
    lengths: Counter[str] = Counter()
    for batch in physionet.rows(physionet.required(place, "NOTEEVENTS"), ["ROW_ID", "HADM_ID", "TEXT"], where=SUMMARY):
        for row, admission, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            begins[row] = lengths[admission]
            lengths[admission] += len(text) + 1
    found: dict[str, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    path = place / "truth" / "evidence.csv"
    table = physionet.table(path, ["HADM_ID", "ROW_ID", "CODE", "BEGIN", "END"], quiet)
    for admission, row, code, begin, end in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if row not in begins:
            raise DataError(f"{path} speaks of row {row}, which is no summary of NOTEEVENTS; make the tables again")
        kind = PROCEDURE if re.match(r"\d\d\.", code) else DIAGNOSIS
        label = _dotted(code.replace(".", ""), kind, as_text=_as_text(setting, data))
        found[admission][label].append((begins[row] + int(begin), begins[row] + int(end)))
    return found


def check(setting: Setting, root: Path, data: DataSpec) -> list[str]:
    """What is missing, and lists that differ from the published ones, a line each."""
    try:
        place = folder(root, synthetic=setting.synthetic)
        files(setting, root, data)
        lists = _lists(setting, place, root)
    except DataError as error:
        return [str(error)]
    if setting.synthetic:
        return []
    published = [path for path in lists.values() if splits.altered(path)]
    return [f"{path} differs from the published list (SHA-256); document counts will too" for path in published]


def _register(name: str, setting: Setting, about: str, data: Mapping[str, Any]) -> None:
    clean = setting.lists == "clean"
    register(
        Source(
            name,
            about,
            files=partial(files, setting),
            read=partial(read, setting),
            titles=partial(titles, setting),
            tree=partial(tree, setting),
            evidence=partial(evidence, setting),
            check=partial(check, setting),
            download="" if setting.synthetic else "mimic-clean-splits" if clean else "mimic3-splits",
            agreement="" if setting.synthetic else AGREEMENT,
            known={} if setting.synthetic else {"full": KNOWN, "50": KNOWN_50, "clean": KNOWN_CLEAN}[setting.lists],
            protocols={} if clean else PROTOCOLS,
            data=data,
            fields=frozenset() if clean else frozenset({"protocol"}),
            synthetic=setting.synthetic,
        )
    )


_FIFTY = {"top_codes": 50, "embedding_corpus": "train+background"}
_CLEAN = {"words": "ascii", "max_tokens": 4000}
_register("mimic-full", Setting("full"), "MIMIC-III, all codes, CAML's splits", {})
_register("mimic50", Setting("50"), "MIMIC-III, the 50 most frequent codes, CAML's splits", _FIFTY)
_register("mimic-clean", Setting("clean"), "MIMIC-III, Edin's split, codes of ten documents or more", _CLEAN)
_register("synth-full", Setting("full", synthetic=True), "synthetic tables of 'icdbench data make', all codes", {})
_register(
    "synth50",
    Setting("50", synthetic=True),
    "synthetic tables of 'icdbench data make', the 50 most frequent codes",
    _FIFTY,
)
