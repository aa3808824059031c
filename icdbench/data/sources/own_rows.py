"""From the rows of a user's own file to notes: cells checked one by one, codes split, rows of one note put together."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from icdbench.data.sources import own_codes
from icdbench.data.sources.own_columns import Roles, nearest_shown
from icdbench.data.sources.own_settings import COLUMN_ROLES, OwnSettings, columns_by_role
from icdbench.data.sources.own_tables import Row, opened
from icdbench.settings import DataError, nearest, shown

NEEDED = ("text", "codes")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    "test": "test",
}


@dataclass(frozen=True)
class Note:
    """A row: its place, and its cells as text in NFC. Codes are one text until they are split, or a list."""

    where: str
    id: str
    text: str
    codes: str | tuple[str, ...]
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class Rows:
    """What a file holds: its columns' names by role, notes in file order, what was recognised, and places and reasons of the
    rows that cannot be read."""

    columns: Mapping[str, str]
    notes: Sequence[Note]
    about: Sequence[str]
    bad: Sequence[tuple[str, str]]


class _BadRowError(ValueError):
    """A row that cannot be read, and why."""


def rows(path: Path, data: OwnSettings) -> Rows:
    """All rows. Raises DataError for a file that cannot be read, or without the needed columns."""
    roles = Roles(columns_by_role(data.columns), NEEDED, COLUMN_ROLES)
    notes: list[Note] = []
    bad: list[tuple[str, str]] = []
    with opened(path, data.encoding, roles) as table:
        for row in table.rows:
            try:
                notes.append(_note(row, table.columns))
            except _BadRowError as error:
                bad.append((row.where, str(error)))
    return Rows(table.columns, notes, [*table.about, *_unread(table.names, table.columns)], bad)


def _unread(names: Iterable[str], columns: Mapping[str, str]) -> list[str]:
    """What to say of columns that are not read."""
    names = [name for name in dict.fromkeys(names) if name and name not in columns.values()]
    if not names:
        return []
    listed = ", ".join(map(shown, names[:5])) + (", …" if len(names) > 5 else "")
    hint = "" if "group" in columns else " (--column group=NAME, if one names patients)"
    return [f"columns not read: {listed}{hint}"]


def texts(path: Path, data: OwnSettings, tell: Callable[[str], None]) -> Iterator[tuple[str, str, str | DataError]]:
    """Place, id ("" if there is none) and text of each row, one at a time; of a row that cannot be read, why.

    `tell` is told what was recognised, if anything. Raises DataError for a file that cannot be read.
    """
    roles = Roles(columns_by_role(data.columns), needed=("text",), wanted=("id", "text"))
    with opened(path, data.encoding, roles, look=1) as table:
        if read_as := recognised(table.columns, table.about):
            tell(read_as)
        for row in table.rows:
            try:
                text = _cell(row, table.columns, "text")
                yield row.where, _cell(row, table.columns, "id").strip() if "id" in table.columns else "", text
            except _BadRowError as error:
                yield row.where, "", DataError(f"{path}, {row.where}: {error}")


def recognised(columns: Mapping[str, str], about: Sequence[str]) -> str:
    """What was recognised beyond what a file of ours has, and where columns are; "" if it is a file of ours."""
    listed = ", ".join(f"{role}={name}" for role, name in columns.items())
    renamed = any(role != name for role, name in columns.items())
    return "; ".join(part for part in (", ".join(about), f"columns {listed}" if renamed else "") if part)


def coded(notes: Sequence[Note], separator: str | None, bad: list[tuple[str, str]]) -> list[Note]:
    """The notes with their codes split; those whose codes cannot be read join the bad rows."""
    found = []
    for note in notes:
        try:
            codes = note.codes if isinstance(note.codes, tuple) else own_codes.split(note.codes, separator)
            found.append(replace(note, codes=codes))
        except ValueError as error:
            bad.append((note.where, str(error)))
    return found


def merged(path: Path, notes: Sequence[Note]) -> list[Note]:
    """A note for each id, with the codes of all its rows. Raises DataError if rows of one id differ in anything else."""
    found: dict[str, Note] = {}
    for note in notes:
        if (first := found.setdefault(note.id, note)) is note:
            continue
        for column in ("text", "split", "group"):
            if getattr(first, column) != getattr(note, column):
                times = sum(other.id == note.id for other in notes)
                raise DataError(
                    f"{path}, {note.where}: id {shown(note.id)} occurs {times} times, with another {column} than in "
                    f"{first.where}; ids must be unique (only the codes of one note may be in several rows): name another "
                    "column with --column id=NAME, or have ids made with --column id="
                )
        found[note.id] = replace(first, codes=tuple(dict.fromkeys((*first.codes, *note.codes))))
    return list(found.values())


def identified(path: Path, notes: Sequence[Note]) -> list[Note]:
    """The notes with ids made from their content, so that their order does not matter.

    Raises DataError if rows of equal text may be one note each, or one note with a code in each row.
    """
    if all(len(note.codes) <= 1 for note in notes):
        first: dict[str, Note] = {}
        for note in notes:
            other = first.setdefault(note.text, note)
            if other.codes != note.codes:
                raise DataError(
                    f"{path}, {note.where}: its text is that of {other.where}, with another code, and no column of ids says "
                    "whether the two are one note; add a column id, the same for all rows of a note"
                )
    times: Counter[str] = Counter()
    found = []
    for note in notes:
        content = json.dumps([note.text, note.codes, note.split, note.group])
        name = hashlib.sha256(content.encode()).hexdigest()[:16]
        times[name] += 1
        found.append(replace(note, id=name if times[name] == 1 else f"{name}-{times[name]}"))
    return found


def _note(row: Row, columns: Mapping[str, str]) -> Note:
    cells = {role: _cell(row, columns, role) for role in ("id", "text", "split", "group") if role in columns}
    codes = _codes(row, columns)
    for role in ("text", "id"):
        if role in cells and not cells[role].strip():
            raise _BadRowError(f"'{columns[role]}' is empty")
    split = _split(cells["split"]) if "split" in cells else ""
    return Note(row.where, cells.get("id", "").strip(), cells["text"], codes, split, cells.get("group", "").strip())


def _cell(row: Row, columns: Mapping[str, str], role: str) -> str:
    """The text of a cell in NFC. Raises _BadRowError."""
    if row.problem:
        raise _BadRowError(row.problem)
    name = columns.get(role, role)
    if name not in row.cells and role in NEEDED:
        raise _BadRowError(f"no column '{name}'{nearest_shown(name, list(row.cells), columns)}")
    match row.cells.get(name):
        case None:
            return ""
        case str() as text:
            return _whole(text, name)
        case int() as number if role in {"id", "group"} and not isinstance(number, bool):
            return str(number)
        case float() as number if role == "group":  # whole numbers in a column with gaps, as pandas has them
            return "" if number != number else f"{number:.17g}"  # noqa: PLR0124
        case other:
            found = f" ({shown(other)})" if role != "text" else ""
            raise _BadRowError(f"'{name}' must be text, not {type(other).__name__}{found}")


def _codes(row: Row, columns: Mapping[str, str]) -> str | tuple[str, ...]:
    """The codes: a cell, or the elements of a list, of which each is one code whatever it contains."""
    name = columns.get("codes", "codes")
    value = row.cells.get(name)
    if value is None or isinstance(value, str):
        return _cell(row, columns, "codes").strip()
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        if not (part is None or (isinstance(part, str) and isinstance(value, list))):
            hint = "; as numbers codes lose their zeros" if isinstance(part, int | float) else ""
            raise _BadRowError(f"'{name}' must be text, not {type(part).__name__} ({shown(part)}){hint}")
    codes = [_whole(part, name).strip() for part in parts if isinstance(part, str)]
    return tuple(dict.fromkeys(code for code in codes if code))


def _whole(text: str, name: str) -> str:
    """The text in NFC. Raises _BadRowError if it has halves of characters, or bytes that are no text."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = text[error.start]
            what = "is not UTF-8" if "\udc80" <= half <= "\udcff" else f"holds half a character (\\u{ord(half):04x})"
            raise _BadRowError(f"'{name}' {what}") from None
    return unicodedata.normalize("NFC", text)


def _split(value: str) -> str:
    name = SPLIT_NAMES.get(value.strip().lower())
    if name is None:
        raise _BadRowError(f"split {shown(value)}{nearest(value, SPLIT_NAMES)}")
    return name
