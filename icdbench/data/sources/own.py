"""A user's own data: a table with columns id, text, codes and, optionally, split (train, validation, test) and group.

The file is CSV (or separated by semicolons, tabs or bars), JSON, JSON lines or Parquet, gzip-compressed or not, in UTF-8 or
the encoding that data.encoding names. Other column names and other separators of codes than `;` are recognised where the
file leaves no doubt (icdbench.data.sources.own_columns, own_codes); this is logged and stated in every record. Files that
leave doubt are refused with a message that says what to type.

Without a split column, documents are divided 80/10/10 by a seeded shuffle of their sorted ids or groups, so the order of
the file does not matter; documents of one group, such as a patient, stay together. Without an id column, documents are
named by a digest of their row. Rows with the same id and text are one document, which has the codes of all. The data set
is named after the file, suffix included, so it never has the name of a registered data set.

Cells are read as text, never as numbers: codes keep their zeros (`038.9`, `250.00`), and `null` or `NA` are words. Parquet
columns have types, so codes must be text there, and ids text or whole numbers. Ids, texts and codes are normalised to NFC.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from icdbench.codes import CodingSystem, systems
from icdbench.data.cache import cache_root, make_private_folder, raw_digest
from icdbench.data.source import Evidence, MarkedSpans, Raw, Source, divide, readable, without_marks
from icdbench.data.sources import own_encodings, own_marks, own_notes, own_tables
from icdbench.data.sources.own_settings import OwnSettings
from icdbench.files import MOST_TEXT, regular, replacing
from icdbench.settings import DataError, SpecError, nearest
from icdbench.types import Report, quiet

log = logging.getLogger("icdbench")

OFFICE = (".xlsx", ".xlsm", ".xls", ".ods")  # refused, with what to do instead
LONGEST_NAME = 80  # characters of a data set's name, which names folders
LONGEST_ID = 100  # characters; a longer cell is not shown as the name of a note
STDIN = "-"  # the name of the note on standard input


@dataclass(frozen=True)
class Own(Source):
    """A table of a user's own."""

    data: OwnSettings = field(default_factory=OwnSettings)
    path: Path = Path()
    version = "2"

    def files(self) -> Sequence[Path]:
        return [_existing(self.path)]

    def read(self, _report: Report) -> Raw:
        """Documents in file order. Raises DataError, which names file, line and value.

        What was recognised is logged and stated in the facts `read_as`, `rows_merged`, `rows_left_out`, `missing_codes`.
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
        _log_facts(path, facts, self._list_left_out(notes.bad) if notes.bad else None)
        return Raw(notes.documents(), facts=facts)

    def mark_files(self) -> Sequence[Path]:
        return list(own_marks.files(marks_folder(self.path)).values())

    def marks(self) -> MarkedSpans | None:
        """The marks in BRAT's files beside the table. Raises DataError for a file that belongs to no document."""
        found = own_marks.files(marks_folder(self.path))
        texts = {each.id: each.text for each in self.documents().documents} if found else {}
        if stray := next((path for name, path in found.items() if name not in texts), None):
            raise DataError(f"{stray} belongs to no document of {self.path.name}; name it after an id, or remove it")
        return {name: own_marks.read(path, texts[name]) for name, path in found.items()} or None

    def evidence(self) -> Evidence | None:
        return without_marks(self.marks())

    def _list_left_out(self, bad: Sequence[tuple[str, str]]) -> Path:
        """Write the rows that were left out, with the reasons, to a file of the cache; return its path."""
        options = self.data.model_dump_json(include=set(type(self.data).task_fields()))
        key = hashlib.sha256(f"{raw_digest(self.path)}{options}".encode()).hexdigest()[:24]
        listed = cache_root() / "left-out" / f"{self.name}-{key}.csv"
        make_private_folder(listed.parent)
        with replacing(listed, private=True) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["row", "reason"])
            writer.writerows(bad)
        return listed

    @property
    def coding(self) -> CodingSystem | None:
        return {"icd9cm": systems.ICD9CM, "icd10cm": systems.ICD10}.get(self.data.code_system)

    def outside(self, codes: Sequence[str]) -> set[str]:
        """Codes that the hierarchy or the list of the coding system lacks."""
        listed = self.coding and self.coding.listed
        return super().outside(codes) | {code for code in codes if listed and not listed(code)}

    def check(self) -> Sequence[str]:
        """What is wrong with the file itself; its documents and codes are checked as those of every source."""
        try:
            raw = self.read(quiet)
            divide(self.name, raw.documents)
            self.marks()
        except DataError as error:
            return [str(error)]
        left_out = raw.facts.get("rows_left_out")
        return [f"{self.path}: {left_out} rows left out"] if left_out else []


def marks_folder(table: Path) -> Path:
    """The folder of BRAT's files for a table: notes.csv.brat for notes.csv."""
    return table.with_name(f"{table.name}.brat")


def marks_digest(table: Path) -> str | None:
    """A digest of the marks of a table, empty for a table without marks; None if the table does not exist."""
    if not table.exists():
        return None
    lines = [f"{name}\0{raw_digest(path)}\n" for name, path in own_marks.files(marks_folder(table)).items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16] if lines else ""


def is_path(name: str) -> bool:
    """Whether this names a user's own table rather than a registered data set."""
    return is_table(Path(name)) or "/" in name


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name; spreadsheets count too, and are refused later with what to do."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((*own_tables.SUFFIXES, *OFFICE))


def source(path: Path) -> Own:
    """The file as a data set. Raises SpecError for a suffix that cannot be read."""
    if not is_table(path):
        raise SpecError(
            f"own data must be one of {', '.join(own_tables.SUFFIXES)} (or these with .gz); '{path}' is not"
        )
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


def _log_facts(path: Path, facts: Mapping[str, str], left_out: Path | None) -> None:
    """Log what was recognised, once per process and state of the file."""
    state = str(path.absolute()), path.stat().st_mtime_ns
    if read_as := [part for name in ("read_as", "rows_merged") if (part := facts.get(name))]:
        _warn_once(f"{path.name}: {'; '.join(read_as)}", state)
    if missing := facts.get("missing_codes"):
        what = "codes that may stand for a missing value are read as codes"
        _warn_once(f"{path.name}: {what}: {missing}; empty those cells if they mean none", state)
    if left_out is not None:
        _warn_once(f"{path.name}: {facts['rows_left_out']} rows left out; {left_out} lists them", state)


@cache
def _warn_once(line: str, _state: tuple[str, int]) -> None:
    log.warning("%s", line)


# --- Notes without codes -------------------------------------------------------------------------------------------------


def reading(changes: Mapping[str, str] | None = None) -> OwnSettings:
    """The options for reading notes that are not a data set: those of own data, with changes. Raises SpecError."""
    return OwnSettings().override(changes or {}, "data")


def notes(path: Path | None, data: OwnSettings) -> Iterator[tuple[str, str | DataError]]:
    """Name and text of each note of a table, one at a time, or of a text file or standard input (None), which is one note.

    A text that cannot be read is replaced by the error. If a table is damaged from some row on, one error stands for the
    rest. Raises DataError if not even the first row can be read.
    """
    if path is not None and is_table(path):
        yield from _table_notes(path, data)
        return
    name = STDIN if path is None else str(path)
    try:
        if path is None:
            text = _text("standard input", sys.stdin.buffer.read(), data.encoding)
        else:
            with readable(path), regular(path, MOST_TEXT) as file:
                text = _text(name, file.read(), data.encoding)
        yield name, text
    except DataError as error:
        yield name, error


def _text(name: str, content: bytes, encoding: str) -> str:
    """The text of a note. Raises DataError for other documents, such as a PDF, and other encodings."""
    own_tables.refuse_others(name, content[: own_tables.HEAD], io.BytesIO(content))
    if content.startswith(b"\x1f\x8b"):
        raise DataError(f"{name} is compressed with gzip; unpack it")
    return own_encodings.decoded(name, content, encoding)


def _table_notes(path: Path, data: OwnSettings) -> Iterator[tuple[str, str | DataError]]:
    begun = False
    try:
        rows = own_notes.texts(_existing(path), data, lambda read_as: _log_facts(path, {"read_as": read_as}, None))
        for where, id_, text in rows:
            is_name = 0 < len(id_) <= LONGEST_ID and id_.isprintable()  # else it may be a note in the wrong column
            yield (f"{path}: {id_}" if is_name else f"{path}, {where}"), text
            begun = True
    except DataError as error:
        if not begun:
            raise
        yield str(path), DataError(f"{error}; the rest of the table is not read")
    if not begun:
        raise DataError(f"{path} has no rows")
