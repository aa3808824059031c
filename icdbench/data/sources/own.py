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
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from icdbench.codes import CodingSystem, systems
from icdbench.data.cache import cache_root, raw_digest
from icdbench.data.source import Raw, Source, divide, readable
from icdbench.data.sources import own_codes, own_encodings, own_rows
from icdbench.data.sources.own_rows import Note
from icdbench.data.sources.own_settings import OwnSettings
from icdbench.data.sources.own_tables import SUFFIXES
from icdbench.files import MOST_TEXT, regular, replacing
from icdbench.settings import DataError, SpecError, nearest
from icdbench.types import SPLITS, Document, Report, quiet

log = logging.getLogger("icdbench")

OFFICE = (".xlsx", ".xlsm", ".xls", ".ods")  # which are answered with what to do
LONGEST_NAME = 80  # characters of a data set's name, which names folders
LONGEST_ID = 100  # characters of an id that names a note
TOLD = 3  # rows that cannot be read, in a message
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
        table = own_rows.rows(path, self.data)
        bad = list(table.bad)
        self._refuse(bad, len(table.notes))
        _refuse_swapped(path, table.notes)
        separator = self._separator(table.notes)
        coded = own_rows.coded(table.notes, separator, bad)
        self._refuse(bad, len(coded))
        notes = own_rows.merged(path, coded) if "id" in table.columns else own_rows.identified(path, coded)
        splits, how = self._splits(notes, given="split" in table.columns)
        facts = {"split": how}
        if len(notes) < len(coded):
            facts["rows_merged"] = f"{len(coded):,} rows are {len(notes):,} documents"
        ways = [] if separator in {";", None} else [own_codes.named(separator)]
        made = [] if "id" in table.columns else ["ids made from the rows"]
        if read_as := own_rows.recognised(table.columns, [*table.about, *ways, *made]):
            facts["read_as"] = read_as
        if missing := _missing(notes):
            facts["missing_codes"] = missing
        if bad:
            facts["rows_left_out"] = f"{len(bad):,} of {len(bad) + len(coded):,}"
        _say(path, facts, self._list_left_out(bad) if bad else None)
        pairs = zip(notes, splits, strict=True)
        return Raw(
            [Document(note.id, note.text, tuple(note.codes), split, note.group) for note, split in pairs], facts=facts
        )

    def _refuse(self, bad: Sequence[tuple[str, str]], good: int) -> None:
        """Raises DataError about the rows that cannot be read, unless they may be left out and some are left."""
        if not bad and not good:
            raise DataError(f"{self.path} has no rows")
        if not bad or (self.data.skip_bad and good):
            return
        places: dict[str, list[str]] = {}
        for where, reason in bad[:TOLD]:
            places.setdefault(reason, []).append(where)
        listed = "; ".join(f"{', '.join(at)}: {reason}" for reason, at in places.items())
        if len(bad) == 1:
            advice = "; mend the row, or leave such rows out with --skip-bad" if good else ""
            raise DataError(f"{self.path}, {listed}{advice}")
        more = f"; and {len(bad) - TOLD:,} more" if len(bad) > TOLD else ""
        what = f"{len(bad):,} of {len(bad) + good:,} rows" if good else f"all {len(bad):,} rows"
        advice = "; mend them, or leave them out with --skip-bad" if good else ""
        raise DataError(f"{self.path}: {what} cannot be read: {listed}{more}{advice}")

    def _separator(self, notes: Sequence[Note]) -> str | None:
        cells: dict[str, str] = {}
        for note in notes:
            if isinstance(note.codes, str) and note.codes:
                cells.setdefault(note.codes, note.where)
        try:
            return own_codes.recognised(cells, self.data.code_separator)
        except DataError as error:
            raise DataError(f"{self.path}, {error}") from None

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

    def _splits(self, notes: Sequence[Note], *, given: bool) -> tuple[list[str], str]:
        """The split of each note, and how it was found."""
        if given:
            splits = [note.split for note in notes]
            if missing := [split for split in SPLITS if split not in splits]:
                raise DataError(
                    f"{self.path}: no {' and no '.join(missing)} documents in the column of splits; add some, or have all "
                    "documents divided with --column split="
                )
            return splits, "as given in the file"
        units = [(note.group, "" if note.group else note.id) for note in notes]
        groups = " by groups" if any(note.group for note in notes) else ""
        return seeded_split(self.path, units, self.data.split_seed), f"80/10/10{groups}, seed {self.data.split_seed}"

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
        except DataError as error:
            return [str(error)]
        left_out = raw.facts.get("rows_left_out")
        return [f"{self.path}: {left_out} rows left out"] if left_out else []


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


def _refuse_swapped(path: Path, notes: Sequence[Note]) -> None:
    """Raises DataError if all texts are codes, and shorter than what stands in the column of codes."""
    if not all(own_codes.are_codes(note.text) for note in notes):
        return
    cells = [note.codes for note in notes if isinstance(note.codes, str)]
    if sum(len(cell.split()) for cell in cells) > sum(len(note.text.split()) for note in notes):
        raise DataError(
            f"{path}: the columns of texts and codes look swapped: every text is a code; name them with "
            "--column text=NAME --column codes=NAME"
        )


def _missing(notes: Sequence[Note]) -> str:
    """The codes that may be what a program wrote for a missing value, with their documents."""
    found = Counter(code for note in notes for code in note.codes if code.lower() in own_codes.NO_VALUES)
    return ", ".join(f"'{code}' ({count:,} document{'s' * (count > 1)})" for code, count in sorted(found.items()))


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


def seeded_split(path: Path, units: Sequence[tuple[str, str]], seed: int) -> list[str]:
    """A split for each document, by a seeded shuffle of the sorted units; documents of one unit stay together.

    Validation and test are filled, unit by unit, up to a tenth of the documents each; at least one unit is left to the rest.
    """
    sizes = Counter(units)
    if len(sizes) < len(SPLITS):
        what = "documents" if len(sizes) == len(units) else "groups"
        raise DataError(f"{path}: too few {what} ({len(sizes)}); training, validation and test need one each")
    order = np.random.default_rng(seed).permutation(len(sizes))
    ranked = [unit for _, unit in sorted(zip(order.tolist(), sorted(sizes), strict=True))]
    held, split_of, taken = max(1, len(units) // 10), dict.fromkeys(sizes, SPLITS[0]), 0
    for split, left in ((SPLITS[1], 2), (SPLITS[2], 1)):
        documents = 0
        while documents < held and len(ranked) - taken > left:
            split_of[ranked[taken]] = split
            documents += sizes[ranked[taken]]
            taken += 1
    return [split_of[unit] for unit in units]


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
        rows = own_rows.texts(_existing(path), data, lambda read_as: _say(path, {"read_as": read_as}, None))
        for where, id_, text in rows:
            named = 0 < len(id_) <= LONGEST_ID and id_.isprintable()  # else it may be a note in the wrong column
            yield (f"{path}: {id_}" if named else f"{path}, {where}"), text
            begun = True
    except DataError as error:
        if not begun:
            raise
        yield str(path), DataError(f"{error}; the rest of the table is not read")
