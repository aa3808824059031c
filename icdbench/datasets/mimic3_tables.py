"""Synthetic tables in MIMIC-III's schema, at any size: to try a loader, a model or a cluster without patient data.

`make` writes NOTEEVENTS, DIAGNOSES_ICD, PROCEDURES_ICD, D_ICD_DIAGNOSES and D_ICD_PROCEDURES as PhysioNet distributes them,
the split files of CAML, and what real data cannot have: which labels are wrong (truth/noise.csv) and which words of a text
support a code (truth/evidence.csv). Who is admitted is `mimic3_cases`'s business, what the notes say
`mimic3_notes`'s.

The tables have the traps of the real ones: several notes per admission, addenda before their reports, identical reports
twice, admissions without a summary or without codes, empty and repeated codes, digits that are both a diagnosis and a
procedure, text with quotes and line breaks. The files depend on the arguments alone, to the byte; an admission's codes and
summaries on the seed and its number alone, so a small set is the beginning of a larger one.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from icdbench.datasets import icd9, mimic3_cases, mimic3_notes
from icdbench.datasets.mimic3_cases import Case, is_procedure
from icdbench.datasets.phrases import PEOPLE, Dice
from icdbench.files import replacing_folder
from icdbench.spec import SpecError

T = TypeVar("T")
R = TypeVar("R")
Report = Callable[[str, int, int], None]  # what is being made, how much of it is done, of how much

VERSION = "1"  # changes when any byte of the files would
MARKER = "synthetic.json"
# MIMIC-III v1.4 (https://doi.org/10.13026/C2XW26): admissions, and those of them with a discharge summary.
ALL_ADMISSIONS, WITH_SUMMARY = 58_976, 52_726
# CAML's lists (Mullenbach et al. 2018, https://github.com/jamesmullenbach/caml-mimic): ids per split, of WITH_SUMMARY.
FULL = {"train": 47_723, "dev": 1_631, "test": 3_372}
TOP_50 = {"train": 8_066, "dev": 1_573, "test": 1_729}
FEWEST = 20  # admissions; fewer cannot fill six lists
CHUNK, NOTES_CHUNK = 128, 2_000  # admissions and other notes per task; workers share tasks, so neither may change
LEVEL = 3  # of gzip
# Rows per category of MIMIC-III's NOTEEVENTS, in our order of blocks, with the book that a note is cut from, its mean
# number of paragraphs, and its descriptions.
CATEGORIES = {
    "Echo": (45_794, "images", 10, ("Report",)),
    "ECG": (209_051, "ecg", 1, ("Report",)),
    "Nursing": (223_556, "nursing", 13, ("Nursing Progress Note", "Nursing Transfer Note", "Generic Note")),
    "Physician ": (141_624, "physician", 25, ("Physician Resident Progress Note", "Intensivist Note", "Physician Attending Note")),
    "Rehab Services": (5_431, "nursing", 12, ("Bedside Swallowing Evaluation", "Physical Therapy Evaluation Note")),
    "Case Management ": (967, "nursing", 6, ("Case Management Initial Patient Assessment", "Generic Note")),
    "Respiratory ": (31_739, "nursing", 6, ("Respiratory Care Shift Note", "Generic Note")),
    "Nutrition": (9_418, "nursing", 10, ("Clinical Nutrition Note", "Generic Note")),
    "General": (8_301, "nursing", 6, ("Generic Note", "ICU Event Note")),
    "Social Work": (2_670, "nursing", 9, ("Social Work Progress Note", "Social Work Admission Note")),
    "Pharmacy": (103, "physician", 8, ("Generic Note",)),
    "Consult": (98, "physician", 22, ("Generic Note",)),
    "Radiology": (522_279, "images", 7, ("CHEST (PORTABLE AP)", "CT HEAD W/O CONTRAST", "CHEST (PA & LAT)", "ABDOMEN (SUPINE ONLY)")),
    "Nursing/other": (822_497, "nursing", 7, ("Report",)),
}  # fmt: skip
UNTIMED = {"Echo", "ECG"}  # have a date only, as discharge summaries have
UNSTORED = {"Echo", "ECG", "Radiology"}  # have neither STORETIME nor CGID
ERRONEOUS = 2_000  # every so many stored notes are marked as errors
WITHOUT_ADMISSION = 0.11  # of other notes have no HADM_ID: 231,836 of 2,083,180 rows
BOOK = 6_000  # paragraphs that other notes are cut from; much more than gzip's window of 32 KiB
ADDENDUM, ADDENDUM_FIRST = 0.10, 0.03  # admissions with an addendum, and with one before the report
TWIN = 0.01  # admissions with the same report twice
RETURNS = 0.21  # admissions of a patient who was there before: 46,520 patients have the 58,976 admissions
CODELESS, REPEATED, EMPTY, SPLIT = 0.003, 0.02, 0.005, 0.03  # no code row; a row twice; a row without code; rows apart
SPURIOUS = 0.2  # wrong labels added per label that is omitted or replaced
SEED_LIMIT = 2**31
# Random streams: what is drawn from one never changes what another gives.
PATIENT, CASE, TEXT, ROWS, NOISE, ORDER, PLAN, NOTES, SPLITS = range(9)
NOTE_COLUMNS = "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT"
CODE_COLUMNS = "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE"
TITLE_COLUMNS = "ROW_ID ICD9_CODE SHORT_TITLE LONG_TITLE"


def make(
    folder: Path,
    admissions: int,
    seed: int,
    label_noise: float = 0.0,
    other_notes: int = 38,
    report: Report = lambda *_: None,
    workers: int | None = None,
) -> None:
    """Write the tables, lists and truth to `folder`, which must not exist or be empty; all of it or nothing.

    `admissions` are those with a discharge summary; `other_notes` the mean number of other notes for each; `label_noise`
    the share of labels that are wrong. Needs about 20 kB of disk per admission at 38 other notes. `workers` processes
    (None: one per processor) take nothing but time away. Raises SpecError.
    """
    size = Size(admissions, seed, label_noise, other_notes)
    size.check()
    _check_folder(folder)
    try:
        with replacing_folder(folder) as fresh:
            _write(fresh, size, report, workers)
            _check_folder(folder)
    except OSError as error:
        raise SpecError(
            f"'{folder}' cannot be written: {error.strerror or error}; nothing was kept, name another folder"
        ) from None
    except BrokenProcessPool:
        raise SpecError(
            "a worker process was killed, perhaps for want of memory; nothing was kept, try again"
        ) from None


def _check_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"'{folder}' exists and is not empty; name a new folder, or remove it first")


@dataclass(frozen=True)
class Size:
    """What is asked for; decides every byte."""

    admissions: int
    seed: int
    label_noise: float
    other_notes: int

    def check(self) -> None:
        if self.admissions < FEWEST:
            raise SpecError(f"admissions = {self.admissions}: at least {FEWEST} are needed to fill the lists of ids")
        if not 0 <= self.label_noise < 1:
            raise SpecError(f"label noise = {self.label_noise}: give a share of labels from 0 to below 1, such as 0.1")
        if self.other_notes < 0:
            raise SpecError(f"other notes = {self.other_notes}: give 0 or more per admission; MIMIC-III has 38")
        if not 0 <= self.seed < SEED_LIMIT:
            raise SpecError(f"seed = {self.seed}: give a whole number from 0 to {SEED_LIMIT - 1}")


@dataclass(frozen=True)
class Plan:
    """What is decided before anything is written: arrays by number of admission, those without a summary included."""

    hadm: NDArray[np.int64]
    patient: NDArray[np.int64]  # number of the patient's first admission
    subject: NDArray[np.int64]
    summary: NDArray[np.bool_]
    addendum: NDArray[np.int64]  # 0 none, 1 after the report, 2 before it
    twin: NDArray[np.bool_]  # the report stands there twice
    day: NDArray[np.int64]  # proleptic ordinal of discharge
    rows: NDArray[np.int64]  # summary rows of the admissions before

    def __len__(self) -> int:
        return len(self.hadm)


@lru_cache(maxsize=1)
def make_plan(size: Size) -> Plan:
    """Summaries are left out evenly, so that admission i is the same whatever the size."""

    lacking = ALL_ADMISSIONS - WITH_SUMMARY
    likely = range(size.admissions, size.admissions * 5 // 4 + 2)
    total = max(n for n in likely if n - n * lacking // ALL_ADMISSIONS == size.admissions)
    share = (
        _generator(size.seed, PLAN).random((total, 5)).T
    )  # by rows: a larger total leaves the first ones as they are
    number = np.arange(total)
    summary = (number + 1) * lacking // ALL_ADMISSIONS == number * lacking // ALL_ADMISSIONS
    patient, returns = number.copy(), share[0]
    for i in range(1, total):
        if returns[i] < RETURNS:
            patient[i] = patient[int(returns[i] / RETURNS * i)]
    ids = max(100_000, 2 ** total.bit_length())  # at MIMIC-III's size 100,000 to 199,999, as there
    kind = share[1]
    addendum = np.where(summary, np.where(kind < ADDENDUM_FIRST, 2, np.where(kind < ADDENDUM, 1, 0)), 0)
    twin = summary & (share[2] < TWIN)
    rows = summary.astype(np.int64) + (addendum > 0) + twin
    first = date(2100, 1, 1).toordinal()
    return Plan(
        hadm=100_000 + _disorder(ids, size.seed, PLAN, 3)[:total],
        patient=patient,
        subject=1 + _disorder(ids, size.seed, PLAN, 4)[patient],
        summary=summary,
        addendum=addendum,
        twin=twin,
        day=first + (share[3][patient] * 100 * 365).astype(np.int64) + (share[4] * 1_500).astype(np.int64),
        rows=np.cumsum(rows) - rows,
    )


def _generator(*seed: int) -> np.random.Generator:
    """Only its `random` is used, which is the same in all versions of numpy."""
    return np.random.Generator(np.random.PCG64(seed))


def _disorder(size: int, *seed: int) -> NDArray[np.int64]:
    """The numbers below `size` in random order."""
    return np.argsort(_generator(*seed).random(size), kind="stable")


# --- One chunk, in a worker ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Admissions:
    """What a worker made of a chunk of admissions."""

    notes: bytes  # rows of NOTEEVENTS, a gzip member
    diagnoses: list[str]  # rows of DIAGNOSES_ICD without ROW_ID, in file order
    procedures: list[str]
    labels: list[tuple[str, ...]]  # dotted, as written, in file order: by admission
    noise: str  # rows of truth/noise.csv
    evidence: str  # rows of truth/evidence.csv


def make_admissions(task: tuple[Size, int]) -> Admissions:
    """The admissions from that number on."""
    size, start = task
    plan = make_plan(size)
    numbers = range(start, min(start + CHUNK, len(plan)))
    tables: dict[bool, list[list[str]]] = {False: [], True: []}
    summaries: list[Summary] = []
    labels, noise = [], []
    for i in numbers:
        dice = Dice(size.seed, ROWS, i)
        case = mimic3_cases.draw_case(Dice(size.seed, PATIENT, int(plan.patient[i])), Dice(size.seed, CASE, i))
        codeless = plan.summary[i] and dice.luck(CODELESS)
        if codeless:
            case = replace(case, diagnoses=(), procedures=())
        written, wrong = mislabelled(case, Dice(size.seed, NOISE, i), size.label_noise)
        noise += [f"{plan.hadm[i]},{kind},{code},{instead}\n" for kind, code, instead in wrong]
        rows = {procedure: [] if codeless else code_rows(codes, dice) for procedure, codes in written.items()}
        labels.append(tuple(code for codes in rows.values() for code in codes if code))
        for procedure, codes in rows.items():
            tables[procedure].append([_code_row(plan, i, n, code) for n, code in enumerate(codes, 1)])
        if plan.summary[i]:
            summaries += summaries_of(case, plan, i, size.seed)
    notes, evidence = _summary_rows(
        sorted(summaries, key=lambda summary: summary.place), plan, 1 + int(plan.rows[start])
    )
    dice = Dice(size.seed, ORDER, start)
    diagnoses, procedures = (scattered(tables[procedure], dice) for procedure in (False, True))
    return Admissions(_member(notes), diagnoses, procedures, labels, "".join(noise), evidence)


@dataclass(frozen=True)
class Summary:
    """A discharge summary or addendum of an admission, and its place among the chunk's: those with the lowest first."""

    place: int
    admission: int
    description: str
    note: mimic3_notes.Note


def summaries_of(case: Case, plan: Plan, i: int, seed: int) -> Iterator[Summary]:
    """The report of an admission, perhaps twice, and perhaps an addendum before or after all reports of the chunk."""
    day = date.fromordinal(int(plan.day[i]))
    report = mimic3_notes.write(case, Dice(seed, TEXT, i, 0), day)
    yield Summary(1, i, "Report", report)
    if plan.twin[i]:
        yield Summary(2, i, "Report", report)
    if plan.addendum[i]:
        note = mimic3_notes.addendum(case, Dice(seed, TEXT, i, 1), day)
        yield Summary(3 if plan.addendum[i] == 1 else 0, i, "Addendum", note)


def _summary_rows(summaries: Iterable[Summary], plan: Plan, first: int) -> tuple[str, str]:
    """Rows of NOTEEVENTS, numbered from `first`, and of truth/evidence.csv."""
    rows, evidence = [], []
    for row_id, summary in enumerate(summaries, first):
        i = summary.admission
        day, text = date.fromordinal(int(plan.day[i])), summary.note.text.replace('"', '""')
        rows.append(
            f'{row_id},{plan.subject[i]},{plan.hadm[i]},"{day}",,,"Discharge summary","{summary.description}",,,"{text}"\n'
        )
        evidence += [f"{plan.hadm[i]},{row_id},{code},{begin},{end}\n" for code, begin, end in summary.note.spans]
    return "".join(rows), "".join(evidence)


def mislabelled(case: Case, dice: Dice, rate: float) -> tuple[dict[bool, list[str]], list[tuple[str, str, str]]]:
    """The labels as a careless coder writes them, by is_procedure, and (kind, true code, written code) where they differ."""
    written: dict[bool, list[str]] = {False: [], True: []}
    wrong = []
    for code in case.codes:
        codes = written[is_procedure(code)]
        taken = {*case.codes, *written[False], *written[True]}
        if not dice.luck(rate):
            codes.append(code)
        elif dice.luck(0.5) and (other := mimic3_cases.sibling(code, dice, taken)):
            codes.append(other)
            wrong.append(("sibling", code, other))
        else:
            wrong.append(("omitted", code, ""))
        if dice.luck(rate * SPURIOUS):
            extra = mimic3_cases.world().everything[is_procedure(code)].draw(dice)
            if extra not in taken | set(codes):
                codes.append(extra)
                wrong.append(("spurious", "", extra))
    return written, wrong


def code_rows(codes: Sequence[str], dice: Dice) -> list[str]:
    """The codes as rows; now and then one twice, or a row without a code."""
    rows = list(codes)
    if rows and dice.luck(REPEATED):
        rows.append(dice.pick(rows))
    if dice.luck(EMPTY):
        rows.append("")
    return rows


def _code_row(plan: Plan, i: int, number: int, code: str) -> str:
    written = f'{number},"{code.replace(".", "")}"' if code else ","
    return f"{plan.subject[i]},{plan.hadm[i]},{written}\n"


def scattered(admissions: Sequence[list[str]], dice: Dice) -> list[str]:
    """The rows of each admission in order, the admissions in disorder, and a few with their last rows elsewhere."""
    together, apart = [], []
    for rows in dice.shuffled(admissions):
        cut = len(rows) // 2 if dice.luck(SPLIT) else len(rows)
        together += rows[:cut]
        apart += rows[cut:]
    return together + apart


# What the paragraphs of other notes are about, by book.
BOOKS = {
    "nursing": ("course", "exam", "hpi", "labs", "instructions"),
    "physician": ("course", "labs", "exam", "imaging", "meds", "micro"),
    "images": ("imaging", "hpi", "followup"),
    "ecg": ("imaging",),
}


@lru_cache(maxsize=len(BOOKS))
def book(name: str) -> list[str]:
    """Paragraphs of that kind, ready to be quoted; the same for every seed."""
    person = PEOPLE[0] | {"He": "Pt", "he": "pt", "him": "pt", "His": "Pt's", "his": "pt's"}
    dice = Dice(BOOK, list(BOOKS).index(name))
    blanks = mimic3_notes.Blanks(dice, person, date(2150, 6, 15))
    pages = []
    for _ in range(BOOK):
        section = dice.pick(BOOKS[name])
        lines = [mimic3_notes.filler(section, dice, blanks) for _ in range(dice.number(2, 4))]
        pages.append(mimic3_notes.broken(" ".join(lines)).replace('"', '""'))
    return pages


def make_notes(task: tuple[Size, str, int, int, int]) -> bytes:
    """Rows of NOTEEVENTS of one category, a gzip member: the notes from `start` to `stop`, the first with `row_id`."""
    size, category, start, stop, row_id = task
    plan, count = make_plan(size), stop - start
    _, name, paragraphs, descriptions = CATEGORIES[category]
    pages = book(name)
    share = _generator(size.seed, NOTES, list(CATEGORIES).index(category), start).random((9, count))
    admission = (share[0] * len(plan)).astype(np.int64)
    length = np.rint(-np.log((1 - share[1]) * (1 - share[2])) * paragraphs / 2).astype(np.int64).clip(1, BOOK // 2)
    columns = (
        plan.subject[admission],
        plan.hadm[admission],
        share[3] < WITHOUT_ADMISSION,
        plan.day[admission] - (share[4] * 14).astype(np.int64),
        (share[5] * 24 * 60).astype(np.int64),
        (share[6] * (BOOK - length)).astype(np.int64),
        length,
        (share[7] * len(descriptions)).astype(np.int64),
        14_000 + (share[8] * 7_600).astype(np.int64),
    )
    rows = []
    for n, values in enumerate(zip(*(column.tolist() for column in columns), strict=True), row_id):
        subject, hadm, alone, ordinal, minute, begin, many, description, caregiver = values
        at = datetime.fromordinal(ordinal) + timedelta(minutes=minute)
        charted = "" if category in UNTIMED else f'"{at}"'
        stored, by, error = "", "", ""
        if category not in UNSTORED:
            stored, by = f'"{at + timedelta(minutes=47)}"', caregiver
            error = '"1"' if n % ERRONEOUS == 0 else ""
        text = "\n".join(pages[begin : begin + many])
        rows.append(
            f'{n},{subject},{"" if alone else hadm},"{at:%Y-%m-%d}",{charted},{stored},"{category}",'
            f'"{descriptions[description]}",{by},{error},"{text}\n"\n'
        )
    return _member("".join(rows))


def _member(text: str) -> bytes:
    """A gzip file of its own; several in a row are one too."""
    return gzip.compress(text.encode(), LEVEL, mtime=0)


# --- The files, in the parent -------------------------------------------------------------------------------------------


def _write(folder: Path, size: Size, report: Report, workers: int | None) -> None:
    plan = make_plan(size)
    (folder / "truth").mkdir()
    _write_titles(folder)
    with (folder / "NOTEEVENTS.csv.gz").open("wb") as notes:
        notes.write(_member(_header(NOTE_COLUMNS)))
        labels = _write_admissions(folder, notes, size, report, workers)
        tasks = list(note_tasks(size))
        total = sum(stop - start for _, _, start, stop, _ in tasks)
        done = 0
        with contextlib.closing(_in_order(make_notes, tasks, workers)) as made:
            for (_, _, start, stop, _), member in zip(tasks, made, strict=True):
                notes.write(member)
                done += stop - start
                report("other notes", done, total)
    for name, ids in lists(plan, labels, size).items():
        (folder / f"{name}_hadm_ids.csv").write_text("".join(f"{id_}\n" for id_ in ids), encoding="ascii")
    marker = {
        "generator": VERSION,
        "seed": size.seed,
        "admissions": size.admissions,
        "label_noise": size.label_noise,
        "other_notes": size.other_notes,
        "note": "Synthetic tables in MIMIC-III's schema; no patient data.",
    }
    (folder / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")


def _write_admissions(
    folder: Path, notes: IO[bytes], size: Size, report: Report, workers: int | None
) -> list[tuple[str, ...]]:
    """The summaries, codes and truth; returns the labels of each admission as written."""
    tasks = [(size, start) for start in range(0, len(make_plan(size)), CHUNK)]
    labels: list[tuple[str, ...]] = []
    with contextlib.ExitStack() as open_:
        truth = {}
        for name, header in (
            ("noise", "HADM_ID,KIND,TRUE_CODE,WRITTEN_CODE\n"),
            ("evidence", "HADM_ID,ROW_ID,CODE,BEGIN,END\n"),
        ):
            truth[name] = open_.enter_context(
                (folder / "truth" / f"{name}.csv").open("w", encoding="ascii", newline="")
            )
            truth[name].write(header)
        add = [open_.enter_context(_code_table(folder / f"{name}_ICD.csv.gz")) for name in ("DIAGNOSES", "PROCEDURES")]
        for chunk in open_.enter_context(contextlib.closing(_in_order(make_admissions, tasks, workers))):
            notes.write(chunk.notes)
            for adding, rows in zip(add, (chunk.diagnoses, chunk.procedures), strict=True):
                adding(rows)
            truth["noise"].write(chunk.noise)
            truth["evidence"].write(chunk.evidence)
            labels += chunk.labels
            report("admissions", len(labels), len(make_plan(size)))
    return labels


def note_tasks(size: Size) -> Iterator[tuple[Size, str, int, int, int]]:
    """Tasks for `make_notes`; the categories in blocks, after the summaries."""
    plan = make_plan(size)
    row_id = 1 + int(plan.rows[-1]) + int(plan.summary[-1]) + int(plan.addendum[-1] > 0) + int(plan.twin[-1])
    wanted, rows = size.other_notes * size.admissions, sum(count for count, *_ in CATEGORIES.values())
    before = 0
    for category, (count, *_) in CATEGORIES.items():
        share = (before + count) * wanted // rows - before * wanted // rows
        before += count
        for start in range(0, share, NOTES_CHUNK):
            stop = min(start + NOTES_CHUNK, share)
            yield size, category, start, stop, row_id
            row_id += stop - start


def lists(plan: Plan, labels: Sequence[Sequence[str]], size: Size) -> dict[str, list[int]]:
    """HADM_IDs by list: a patient's admissions are in one split, in CAML's proportions, and none of the six is empty."""
    having = np.flatnonzero(plan.summary).tolist()
    by_id = sorted(having, key=lambda i: (plan.subject[i], plan.hadm[i]))
    rows = Counter(code for i in by_id for code in sorted(labels[i], key=is_procedure))
    top = {code for code, _ in rows.most_common(50)}  # of equally frequent ones those that come first, as CAML counts
    frequent = {i for i in having if top & set(labels[i])}
    groups: dict[int, list[int]] = {}
    for i in having:
        groups.setdefault(int(plan.patient[i]), []).append(i)
    dice = Dice(size.seed, SPLITS)
    waiting = dice.shuffled(groups.values())
    split: dict[str, list[int]] = {}
    for name in ("test", "dev"):
        quota = max(1, round(FULL[name] * size.admissions / WITH_SUMMARY))
        # Else a short list could be without any of the 50 labels.
        first = next((group for group in waiting if frequent & set(group)), waiting[0])
        waiting.remove(first)
        split[name], rest = list(first), []
        for group in waiting:
            if len(split[name]) + len(group) <= quota:
                split[name] += group
            else:
                rest.append(group)
        waiting = rest
    split["train"] = [i for group in waiting for i in group]
    found = {f"{name}_full": split[name] for name in FULL}
    for name, wanted in TOP_50.items():
        fitting = [i for i in split[name] if i in frequent]
        found[f"{name}_50"] = dice.shuffled(fitting)[: max(1, round(wanted * size.admissions / WITH_SUMMARY))]
    return {name: [int(plan.hadm[i]) for i in numbers] for name, numbers in found.items()}


def _write_titles(folder: Path) -> None:
    for name, kind in (("D_ICD_DIAGNOSES", icd9.DIAGNOSIS), ("D_ICD_PROCEDURES", icd9.PROCEDURE)):
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(TITLE_COLUMNS.split())
        writer.writerows(
            (n, code.replace(".", ""), short_title(title), title)
            for n, (code, title) in enumerate(icd9.titles()[kind].items(), 1)
        )
        (folder / f"{name}.csv.gz").write_bytes(_member(text.getvalue()))


def short_title(title: str) -> str:
    """At most 24 letters, as billing forms have room for: the words cut to equal lengths."""
    words = title.replace(",", "").split()
    longest = max(map(len, words))
    while len(short := " ".join(word[:longest] for word in words)) > 24:
        longest -= 1
        if longest < 3:
            words, longest = words[:-1], 6
    return short


@contextlib.contextmanager
def _code_table(path: Path) -> Iterator[Callable[[Iterable[str]], None]]:
    """A function that adds rows to the table and numbers them."""
    row_id = 0
    with path.open("wb") as raw, gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed:
        packed.write(_header(CODE_COLUMNS).encode())

        def add(rows: Iterable[str]) -> None:
            nonlocal row_id
            numbered = [f"{n},{row}" for n, row in enumerate(rows, row_id + 1)]
            row_id += len(numbered)
            packed.write("".join(numbered).encode())

        yield add


def _header(columns: str) -> str:
    return ",".join(f'"{column}"' for column in columns.split()) + "\n"


def _in_order(work: Callable[[T], R], tasks: Sequence[T], workers: int | None) -> Generator[R, None, None]:
    """What `work` makes of each task, in order; never many more than needed, as each fills memory until it is written."""
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        try:
            with _interrupts_ignored():
                futures = deque(pool.submit(work, task) for task in tasks[: 3 * workers])
            for task in tasks[3 * workers :]:
                yield futures.popleft().result()
                futures.append(pool.submit(work, task))
            while futures:
                yield futures.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """For what is started in the block. Ctrl-C reaches every process of a terminal; the parent alone is to deal with it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
