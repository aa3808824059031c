"""A user's own data: one table with columns id, text, codes and, optionally, split (train, validation, test) and group.

The file is CSV (or separated by semicolons, tabs or bars), JSON, JSON lines or Parquet, gzip-compressed or not, in UTF-8 or in
the encoding that data.encoding names. Other names of the columns and other ways to join codes than `;` are recognised
where the file leaves no doubt (icdbench.data.sources.own_columns, own_codes); what was recognised is said, and stated in every
record. Elsewhere the file is refused, with what to type.

Without split, documents are divided 80/10/10 by a seeded shuffle of their sorted ids, or groups, so the order of the file
does not matter; documents of one group, such as a patient, stay together. Without id, documents are named by a digest of
their row. Rows of equal id and text are one document with the codes of all. The data set's name is the file's with
its suffix, which no other data set has.

Cells are read as text, never as numbers: codes keep their zeros (`038.9`, `250.00`) and `null` or `NA` are words. Parquet
columns have types, so codes must be text there, and ids text or whole numbers. Ids, texts and codes are normalised to NFC.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from icdbench.codes import CodingSystem, systems
from icdbench.data.cache import cache_root, raw_digest
from icdbench.data.source import Evidence, MarkedSpans, Raw, Source, divide, readable, without_marks
from icdbench.data.sources import own_encodings, own_marks, own_notes
from icdbench.data.sources.own_settings import OwnSettings
from icdbench.data.sources.own_tables import SUFFIXES
from icdbench.files import MOST_TEXT, regular, replacing
from icdbench.settings import DataError, SpecError, nearest
from icdbench.types import Report, quiet

log = logging.getLogger("icdbench")

OFFICE = (".xlsx", ".xlsm", ".xls", ".ods")  # which are answered with what to do
LONGEST_NAME = 80  # characters of a data set's name, which names folders
LONGEST_ID = 100  # characters of an id that names a note
STDIN = "-"  # the name of the note on standard input


@dataclass(frozen=True)
class Own(Source):
    """One table."""

    data: OwnSettings = field(default_factory=OwnSettings)
    path: Path = Path()
    version = "2"

    def files(self) -> Sequence[Path]:
        return [_existing(self.path)]

    def read(self, _report: Report) -> Raw:
        """Documents in file order. Raises DataError that names file, line and value.

        What was recognised is logged, and stated in the facts: `read_as`, `rows_merged`, `rows_left_out`, `missing_codes`.
        """
        path = _existing(self.path)
        notes = own_notes.read(path, self.data)
        notes.split_codes()
        rows = len(notes.notes)
        notes.join_rows()
        facts = {"split": notes.divide()}
        if len(notes.notes) < rows:
            facts["rows_merged"] = f"{rows:,} rows are {len(notes.notes):,} documents"
        if read_as := own_notes.recognised(notes.columns, notes.about):
            facts["read_as"] = read_as
        if missing := notes.missing_codes():
            facts["missing_codes"] = missing
        if notes.bad:
            facts["rows_left_out"] = f"{len(notes.bad):,} of {len(notes.bad) + rows:,}"
        _say(path, facts, self._list_left_out(notes.bad) if notes.bad else None)
        return Raw(notes.documents(), facts=facts)

    def mark_files(self) -> Sequence[Path]:
        return list(own_marks.files(marks_folder(self.path)).values())

    def marks(self) -> MarkedSpans | None:
        """What BRAT's files beside the table mark. Raises DataError for those that belong to no document."""
        found = own_marks.files(marks_folder(self.path))
        texts = {each.id: each.text for each in self.documents().documents} if found else {}
        if strange := next((path for name, path in found.items() if name not in texts), None):
            raise DataError(f"{strange} is of no document of {self.path.name}; name it after an id, or remove it")
        return {name: own_marks.read(path, texts[name]) for name, path in found.items()} or None

    def evidence(self) -> Evidence | None:
        return without_marks(self.marks())

    def _list_left_out(self, bad: Sequence[tuple[str, str]]) -> Path:
        """Write down which rows were left out and why, in a file of the cache; its path."""
        options = self.data.model_dump_json(include=set(type(self.data).task_fields()))
        key = hashlib.sha256(f"{raw_digest(self.path)}{options}".encode()).hexdigest()[:24]
        listed = cache_root() / "left-out" / f"{self.name}-{key}.csv"
        with replacing(listed, private=True) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["row", "reason"])
            writer.writerows(bad)
        return listed

    @property
    def coding(self) -> CodingSystem | None:
        return {"icd9cm": systems.ICD9CM, "icd10cm": systems.ICD10}.get(self.data.code_system)

    def outside(self, codes: Sequence[str]) -> set[str]:
        """Codes without a place in the hierarchy, and those that the lists of the coding system lack."""
        listed = self.coding and self.coding.listed
        return super().outside(codes) | {code for code in codes if listed and not listed(code)}

    def check(self) -> Sequence[str]:
        """What is wrong with the file itself; its documents and codes are looked at as those of every source are."""
        try:
            raw = self.read(quiet)
            divide(self.name, raw.documents)
            self.marks()
        except DataError as error:
            return [str(error)]
        left_out = raw.facts.get("rows_left_out")
        return [f"{self.path}: {left_out} rows left out"] if left_out else []


def marks_folder(table: Path) -> Path:
    """Where BRAT's files of a table are: notes.csv.brat for notes.csv."""
    return table.with_name(f"{table.name}.brat")


def marks_digest(table: Path) -> str | None:
    """What changes with the marks of a table: nothing for one without marks. None if the table is not there."""
    if not table.exists():
        return None
    lines = [f"{name}\0{raw_digest(path)}\n" for name, path in own_marks.files(marks_folder(table)).items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16] if lines else ""


def is_path(name: str) -> bool:
    """Whether this names a user's own table rather than a registered data set."""
    return is_table(Path(name)) or "/" in name


def is_table(path: Path) -> bool:
    """Whether a file's name says that it holds a table; spreadsheets do, too, and are refused with what to do."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((*SUFFIXES, *OFFICE))


def source(path: Path) -> Own:
    """The file as a data set. Raises SpecError for a suffix that cannot be read."""
    if not is_table(path):
        raise SpecError(f"own data must be one of {', '.join(SUFFIXES)} (or these with .gz); '{path}' is not")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name)[-LONGEST_NAME:].strip("-.")
    return Own(name, f"own data, {path.name}", path=path)


def _existing(path: Path) -> Path:
    with readable(path):
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a file")
        if not path.exists():
            beside = [other.name for other in path.parent.glob("*") if is_table(other)]
            raise DataError(f"{path} does not exist{nearest(path.name, beside, most=5) if beside else ''}")
        if not path.is_file():
            raise DataError(f"{path} is a pipe or a device; save its content to a file and name that")
    return path


def _say(path: Path, facts: Mapping[str, str], left_out: Path | None) -> None:
    """Tell what was recognised, once per process and state of the file."""
    state = str(path.absolute()), path.stat().st_mtime_ns
    said = [part for name in ("read_as", "rows_merged") if (part := facts.get(name))]
    if said:
        _warn(f"{path.name}: {'; '.join(said)}", state)
    if missing := facts.get("missing_codes"):
        _warn(
            f"{path.name}: codes that may stand for a missing value are read as codes: {missing}; empty those cells if they "
            "mean none",
            state,
        )
    if left_out is not None:
        _warn(f"{path.name}: {facts['rows_left_out']} rows left out; {left_out} lists them", state)


@cache
def _warn(line: str, _state: tuple[str, int]) -> None:
    log.warning("%s", line)


# --- Notes without codes -------------------------------------------------------------------------------------------------


def reading(changes: Mapping[str, str] | None = None) -> OwnSettings:
    """How notes are read that are not a data set: the options of own data, some of them changed. Raises SpecError."""
    return OwnSettings().override(changes or {}, "data")


def notes(path: Path | None, data: OwnSettings) -> Iterator[tuple[str, str | DataError]]:
    """Name and text of each note of a table or a text file, one at a time; of standard input (None), which is one note.

    In the place of a text that cannot be read stands the error. Of a table that is damaged from some row on, the rest is
    one such note; raises DataError for one of which not even the first row can be read.
    """
    if path is not None and is_table(path):
        yield from _table_notes(path, data)
        return
    try:
        if path is None:
            text = own_encodings.decoded("standard input", sys.stdin.buffer.read(), data.encoding)
        else:
            with readable(path), regular(path, MOST_TEXT) as file:
                text = own_encodings.decoded(str(path), file.read(), data.encoding)
        yield STDIN if path is None else str(path), text
    except DataError as error:
        yield STDIN if path is None else str(path), error


def _table_notes(path: Path, data: OwnSettings) -> Iterator[tuple[str, str | DataError]]:
    begun = False
    try:
        rows = own_notes.texts(_existing(path), data, lambda read_as: _say(path, {"read_as": read_as}, None))
        for where, id_, text in rows:
            named = 0 < len(id_) <= LONGEST_ID and id_.isprintable()  # else it may be a note in the wrong column
            yield (f"{path}: {id_}" if named else f"{path}, {where}"), text
            begun = True
    except DataError as error:
        if not begun:
            raise
        yield str(path), DataError(f"{error}; the rest of the table is not read")
