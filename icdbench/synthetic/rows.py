"""The rows of the synthetic MIMIC-III tables, made in chunks by worker processes: `make_admissions` and `make_notes`."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import NamedTuple

import numpy as np

from icdbench.codes import icd9
from icdbench.synthetic import notes
from icdbench.synthetic.blanks import Blanks
from icdbench.synthetic.cases import Case, codes_in_use, draw_case, draw_sibling
from icdbench.synthetic.dice import Dice, random_stream
from icdbench.synthetic.language import MAN, table
from icdbench.synthetic.plan import CASE, NOISE, NOTES, ORDER, PATIENT, ROWS, TEXT, Plan, TablesSpec, make_plan

CHUNK, NOTES_CHUNK = 128, 2_000  # admissions and other notes per task; the tables' bytes depend on both
LEVEL = 3  # of gzip
# Shares of admissions without code rows, with a row twice, with a row without a code, with their rows apart.
CODELESS, REPEATED, EMPTY, SPLIT = 0.003, 0.02, 0.005, 0.03
SPURIOUS = 0.2  # wrong labels added per label that is omitted or replaced
ERRONEOUS = 2_000  # one of this many stored notes is marked as an error
WITHOUT_ADMISSION = 0.11  # share of other notes without a HADM_ID: 231,836 of MIMIC-III's 2,083,180
BOOK = 6_000  # paragraphs that other notes are cut from; much more than gzip's window of 32 KiB
UNTIMED = frozenset({"Echo", "ECG"})  # categories with a date but no time, as discharge summaries
UNSTORED = frozenset({"Echo", "ECG", "Radiology"})  # categories without STORETIME and CGID


class NoteCategory(NamedTuple):
    """A category of NOTEEVENTS."""

    rows: int  # in MIMIC-III
    book: str  # that the text is cut from
    paragraphs: int  # on average
    descriptions: tuple[str, ...]


class NotesTask(NamedTuple):
    """Notes of one category: those from `start` to `stop`, the first with `row_id`."""

    category: str
    start: int
    stop: int
    row_id: int


@dataclass(frozen=True)
class Admissions:
    """What a worker made of a chunk of admissions."""

    notes: bytes  # rows of NOTEEVENTS, a gzip member
    codes: dict[bool, list[str]]  # by is_procedure: rows of DIAGNOSES_ICD and PROCEDURES_ICD, without ROW_ID
    labels: list[tuple[str, ...]]  # by admission: dotted, as written, in file order
    noise: str  # rows of truth/noise.csv
    evidence: str  # rows of truth/evidence.csv


@dataclass(frozen=True)
class Summary:
    """A discharge summary or addendum; those with the lowest `place` come first in a chunk."""

    place: int
    admission: int
    description: str
    note: notes.WrittenNote


def gzip_member(text: str) -> bytes:
    """The text as a gzip file; several one after the other are a gzip file too."""
    return gzip.compress(text.encode(), LEVEL, mtime=0)


def make_admissions(spec: TablesSpec, start: int) -> Admissions:
    """The rows of a chunk of admissions, from that number on."""
    plan = make_plan(spec)
    tables: dict[bool, list[list[str]]] = {False: [], True: []}
    summaries: list[Summary] = []
    labels, noise = [], []
    for i in range(start, min(start + CHUNK, len(plan))):
        dice = Dice(spec.seed, ROWS, i)
        case = draw_case(Dice(spec.seed, PATIENT, int(plan.patient[i])), Dice(spec.seed, CASE, i))
        codeless = plan.summary[i] and dice.luck(CODELESS)
        if codeless:
            case = replace(case, diagnoses=(), procedures=())
        written, wrong = miscode(case, Dice(spec.seed, NOISE, i), spec.label_noise)
        noise += [f"{plan.hadm[i]},{kind},{code},{instead}\n" for kind, code, instead in wrong]
        rows = {procedure: [] if codeless else code_rows(codes, dice) for procedure, codes in written.items()}
        labels.append(tuple(code for codes in rows.values() for code in codes if code))
        for procedure, codes in rows.items():
            tables[procedure].append([_code_row(plan, i, n, code) for n, code in enumerate(codes, 1)])
        if plan.summary[i]:
            summaries += summaries_of(case, plan, i, spec.seed)
    events, evidence = _summary_rows(summaries, plan, int(plan.first_row[start]))
    dice = Dice(spec.seed, ORDER, start)
    scattered = {procedure: scatter(admissions, dice) for procedure, admissions in tables.items()}
    return Admissions(gzip_member(events), scattered, labels, "".join(noise), evidence)


def summaries_of(case: Case, plan: Plan, i: int, seed: int) -> Iterator[Summary]:
    """The report of an admission, perhaps twice, and perhaps an addendum before or after all reports of the chunk."""
    day = date.fromordinal(int(plan.day[i]))
    report = notes.discharge_summary(case, Dice(seed, TEXT, i, 0), day)
    yield Summary(1, i, "Report", report)
    if plan.twin[i]:
        yield Summary(2, i, "Report", report)
    if plan.addendum[i]:
        note = notes.addendum(case, Dice(seed, TEXT, i, 1), day)
        yield Summary(3 if plan.addendum[i] == 1 else 0, i, "Addendum", note)


def _summary_rows(summaries: Iterable[Summary], plan: Plan, first: int) -> tuple[str, str]:
    """Rows of NOTEEVENTS, by place and numbered from `first`, and of truth/evidence.csv."""
    rows, evidence = [], []
    for row_id, summary in enumerate(sorted(summaries, key=lambda summary: summary.place), first):
        subject, hadm = plan.subject[summary.admission], plan.hadm[summary.admission]
        day, text = date.fromordinal(int(plan.day[summary.admission])), summary.note.text.replace('"', '""')
        rows.append(f'{row_id},{subject},{hadm},"{day}",,,"Discharge summary","{summary.description}",,,"{text}"\n')
        evidence += [f"{hadm},{row_id},{code},{begin},{end}\n" for code, begin, end in summary.note.spans]
    return "".join(rows), "".join(evidence)


def miscode(case: Case, dice: Dice, rate: float) -> tuple[dict[bool, list[str]], list[tuple[str, str, str]]]:
    """The labels as a careless coder writes them, by is_procedure, and (kind, true code, written code) where they differ."""
    written: dict[bool, list[str]] = {False: [], True: []}
    wrong = []
    for code in case.codes:
        codes = written[icd9.is_procedure(code)]
        taken = {*case.codes, *written[False], *written[True]}
        if not dice.luck(rate):
            codes.append(code)
        elif dice.luck(0.5) and (other := draw_sibling(code, dice, taken)):
            codes.append(other)
            wrong.append(("sibling", code, other))
        else:
            wrong.append(("omitted", code, ""))
        if dice.luck(rate * SPURIOUS):
            extra = codes_in_use().all_codes[icd9.is_procedure(code)].draw(dice)
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


def scatter(admissions: Sequence[list[str]], dice: Dice) -> list[str]:
    """The rows of each admission in order, the admissions in disorder, and a few with their last rows elsewhere."""
    together, apart = [], []
    for rows in dice.shuffled(admissions):
        cut = len(rows) // 2 if dice.luck(SPLIT) else len(rows)
        together += rows[:cut]
        apart += rows[cut:]
    return together + apart


@cache
def note_categories() -> Mapping[str, NoteCategory]:
    return {
        name: NoteCategory(int(rows), book, int(paragraphs), tuple(descriptions))
        for name, (rows, book, paragraphs, *descriptions) in table("note_categories").items()
    }


def notes_tasks(spec: TablesSpec) -> Iterator[NotesTask]:
    """The other notes: the categories in blocks, after the summaries."""
    plan = make_plan(spec)
    row_id = int(plan.first_row[-1] + plan.summary[-1] + (plan.addendum[-1] > 0) + plan.twin[-1])
    wanted, rows = spec.other_notes * spec.admissions, sum(category.rows for category in note_categories().values())
    before = 0
    for name, category in note_categories().items():
        share = (before + category.rows) * wanted // rows - before * wanted // rows
        before += category.rows
        for start in range(0, share, NOTES_CHUNK):
            stop = min(start + NOTES_CHUNK, share)
            yield NotesTask(name, start, stop, row_id)
            row_id += stop - start


@cache
def paragraphs(book: str) -> list[str]:
    """The paragraphs of a book, ready to be quoted; the same for every seed."""
    person = MAN | {"He": "Pt", "he": "pt", "him": "pt", "His": "Pt's", "his": "pt's"}
    sections = table("books")
    dice = Dice(BOOK, list(sections).index(book))
    blanks = Blanks(dice, person, date(2150, 6, 15))
    found = []
    for _ in range(BOOK):
        section = dice.pick(sections[book])
        lines = [notes.filler(section, dice, blanks) for _ in range(dice.number(2, 4))]
        found.append(notes.break_lines(" ".join(lines)).replace('"', '""'))
    return found


def make_notes(spec: TablesSpec, task: NotesTask) -> bytes:
    """Rows of NOTEEVENTS, a gzip member."""
    plan, count = make_plan(spec), task.stop - task.start
    category = note_categories()[task.category]
    pages = paragraphs(category.book)
    block = list(note_categories()).index(task.category)
    share = random_stream(spec.seed, NOTES, block, task.start).random((9, count))
    admission = (share[0] * len(plan)).astype(np.int64)
    length = np.rint(-np.log((1 - share[1]) * (1 - share[2])) * category.paragraphs / 2).astype(np.int64)
    length = length.clip(1, BOOK // 2)
    columns = (
        plan.subject[admission],
        plan.hadm[admission],
        share[3] < WITHOUT_ADMISSION,
        plan.day[admission] - (share[4] * 14).astype(np.int64),
        (share[5] * 24 * 60).astype(np.int64),
        (share[6] * (BOOK - length)).astype(np.int64),
        length,
        (share[7] * len(category.descriptions)).astype(np.int64),
        14_000 + (share[8] * 7_600).astype(np.int64),
    )
    rows = []
    for n, values in enumerate(zip(*(column.tolist() for column in columns), strict=True), task.row_id):
        subject, hadm, alone, ordinal, minute, begin, many, description, caregiver = values
        at = datetime.fromordinal(ordinal) + timedelta(minutes=minute)
        charted = "" if task.category in UNTIMED else f'"{at}"'
        stored, by, error = "", "", ""
        if task.category not in UNSTORED:
            stored, by = f'"{at + timedelta(minutes=47)}"', caregiver
            error = '"1"' if n % ERRONEOUS == 0 else ""
        text = "\n".join(pages[begin : begin + many])
        rows.append(
            f'{n},{subject},{"" if alone else hadm},"{at:%Y-%m-%d}",{charted},{stored},"{task.category}",'
            f'"{category.descriptions[description]}",{by},{error},"{text}\n"\n'
        )
    return gzip_member("".join(rows))
