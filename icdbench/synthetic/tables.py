"""Synthetic tables in MIMIC-III's schema, at any size: to try a loader, a model or a cluster without patient data.

`make` writes NOTEEVENTS, DIAGNOSES_ICD, PROCEDURES_ICD, D_ICD_DIAGNOSES and D_ICD_PROCEDURES as PhysioNet distributes them,
the split files of CAML, and what real data cannot have: the labels that are wrong (truth/noise.csv) and the words that
support each code (truth/evidence.csv). `plan.py` decides the numbers of rows, `cases.py` the admissions, `notes.py` the
texts, and `rows.py` makes the rows.

The tables have the pitfalls of the real ones: several notes per admission, addenda before their reports, identical reports
twice, admissions without a summary or without codes, empty and repeated codes, digits that are both a diagnosis and a
procedure, text with quotes and line breaks. Every byte of the files depends on the arguments alone. An admission's codes
and summaries depend on the seed and its number alone, so a small set is the beginning of a larger one.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import IO, TypeVar

from icdbench.codes import icd9
from icdbench.files import remove_abandoned, replacing_folder
from icdbench.host import cores, processes
from icdbench.settings import SpecError
from icdbench.synthetic import MARKER
from icdbench.synthetic.plan import TablesSpec, draw_lists, make_plan
from icdbench.synthetic.rows import CHUNK, LEVEL, gzip_member, make_admissions, make_notes, notes_tasks
from icdbench.types import Report, quiet

T = TypeVar("T")
R = TypeVar("R")

VERSION = "1"  # changes when any byte of the files would
NOTE_COLUMNS = "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT"
CODE_COLUMNS = "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE"
TITLE_COLUMNS = "ROW_ID ICD9_CODE SHORT_TITLE LONG_TITLE"
TRUTH_COLUMNS = {"noise": "HADM_ID,KIND,TRUE_CODE,WRITTEN_CODE\n", "evidence": "HADM_ID,ROW_ID,CODE,BEGIN,END\n"}


def make(
    folder: Path,
    admissions: int,
    seed: int,
    label_noise: float = 0.0,
    other_notes: int = 38,
    report: Report = quiet,
    workers: int | None = None,
) -> None:
    """Write the tables, lists and truth to `folder`, which must not exist or be empty; all of it or nothing.

    `admissions` are those with a discharge summary; `other_notes` the mean number of other notes for each; `label_noise`
    the share of labels that are wrong. Needs about 20 kB of disk per admission at 38 other notes. The number of `workers`
    (processes; None: one per core that this process may use) changes no byte. Raises SpecError.
    """
    spec = TablesSpec(admissions, seed, label_noise, other_notes)
    spec.check()
    remove_abandoned(folder.parent)
    _check_empty(folder)
    try:
        with replacing_folder(folder) as fresh:
            _write(fresh, spec, report, workers)
            _check_empty(folder)
    except OSError as error:
        raise SpecError(
            f"'{folder}' cannot be written: {error.strerror or error}; nothing was kept, name another folder"
        ) from None
    except BrokenProcessPool:
        raise SpecError(
            "a worker process was killed, perhaps for lack of memory; nothing was kept, try again"
        ) from None


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"'{folder}' exists and is not empty; name a new folder, or remove it first")


def _write(folder: Path, spec: TablesSpec, report: Report, workers: int | None) -> None:
    (folder / "truth").mkdir()
    _write_titles(folder)
    with (folder / "NOTEEVENTS.csv.gz").open("wb") as events:
        events.write(gzip_member(_header(NOTE_COLUMNS)))
        labels = _write_admissions(folder, events, spec, report, workers)
        _write_other_notes(events, spec, report, workers)
    for name, ids in draw_lists(make_plan(spec), labels, spec).items():
        (folder / f"{name}_hadm_ids.csv").write_text("".join(f"{id_}\n" for id_ in ids), encoding="ascii")
    marker = {
        "generator": VERSION,
        "seed": spec.seed,
        "admissions": spec.admissions,
        "label_noise": spec.label_noise,
        "other_notes": spec.other_notes,
        "note": "Synthetic tables in MIMIC-III's schema; no patient data.",
    }
    (folder / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")


def _write_admissions(
    folder: Path, events: IO[bytes], spec: TablesSpec, report: Report, workers: int | None
) -> list[tuple[str, ...]]:
    """Write the summaries, codes and truth; returns the labels of each admission as written."""
    labels: list[tuple[str, ...]] = []
    with contextlib.ExitStack() as stack:
        truth = {}
        for name, header in TRUTH_COLUMNS.items():
            path = folder / "truth" / f"{name}.csv"
            truth[name] = stack.enter_context(path.open("w", encoding="ascii", newline=""))
            truth[name].write(header)
        tables = {
            procedure: (stack.enter_context(_open_code_table(folder / f"{name}_ICD.csv.gz")), count(1))
            for procedure, name in ((False, "DIAGNOSES"), (True, "PROCEDURES"))
        }
        chunks = _map_in_order(partial(make_admissions, spec), range(0, len(make_plan(spec)), CHUNK), workers)
        for chunk in stack.enter_context(contextlib.closing(chunks)):
            events.write(chunk.notes)
            for procedure, (table, row_ids) in tables.items():
                table.write("".join(f"{next(row_ids)},{row}" for row in chunk.codes[procedure]).encode())
            truth["noise"].write(chunk.noise)
            truth["evidence"].write(chunk.evidence)
            labels += chunk.labels
            report("admissions", len(labels), len(make_plan(spec)))
    return labels


@contextlib.contextmanager
def _open_code_table(path: Path) -> Iterator[gzip.GzipFile]:
    with path.open("wb") as raw, gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as table:
        table.write(_header(CODE_COLUMNS).encode())
        yield table


def _write_other_notes(events: IO[bytes], spec: TablesSpec, report: Report, workers: int | None) -> None:
    tasks = list(notes_tasks(spec))
    total, done = sum(task.stop - task.start for task in tasks), 0
    with contextlib.closing(_map_in_order(partial(make_notes, spec), tasks, workers)) as members:
        for task, member in zip(tasks, members, strict=True):
            events.write(member)
            done += task.stop - task.start
            report("other notes", done, total)


def _write_titles(folder: Path) -> None:
    for name, kind in (("D_ICD_DIAGNOSES", icd9.DIAGNOSIS), ("D_ICD_PROCEDURES", icd9.PROCEDURE)):
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(TITLE_COLUMNS.split())
        writer.writerows(
            (n, code.replace(".", ""), short_title(title), title)
            for n, (code, title) in enumerate(icd9.titles()[kind].items(), 1)
        )
        (folder / f"{name}.csv.gz").write_bytes(gzip_member(text.getvalue()))


def short_title(title: str) -> str:
    """At most 24 letters, as billing forms have room for: the words cut to equal lengths."""
    words, longest = title.replace(",", "").split(), 24
    while (fitting := _fitting_length(words, longest)) < 3:
        words, longest = words[:-1], 6
    return " ".join(word[:fitting] for word in words)


def _fitting_length(words: list[str], longest: int) -> int:
    """The greatest length, up to `longest`, to which words may be cut to fit into 24 letters with their blanks."""
    room = 24 - (len(words) - 1)
    for others, length in zip(range(len(words), 0, -1), sorted(map(len, words)), strict=True):
        if length > room // others:
            return min(room // others, longest)
        room -= length
    return longest


def _header(columns: str) -> str:
    return ",".join(f'"{column}"' for column in columns.split()) + "\n"


def _map_in_order(work: Callable[[T], R], tasks: Sequence[T], workers: int | None) -> Generator[R, None, None]:
    """The results of `work` in the order of the tasks; only a few are kept waiting, as they take memory."""
    workers = min(workers or cores(), len(tasks))
    if workers <= 1:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), processes.end_with_parent) as pool:
        try:
            with processes.starting():
                futures = deque(pool.submit(work, task) for task in tasks[: 3 * workers])
            for task in tasks[3 * workers :]:
                yield futures.popleft().result()
                futures.append(pool.submit(work, task))
            while futures:
                yield futures.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
