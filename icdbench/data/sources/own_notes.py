"""From the rows of a user's own file to notes: `read` for a data set, which has codes, `texts` for notes without codes.

Cells are checked one by one, cells of codes are split, and rows of one note are joined.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from icdbench.data.sources import own_codes
from icdbench.data.sources.own_columns import Roles, nearest_shown
from icdbench.data.sources.own_settings import COLUMN_ROLES, OwnSettings, columns_by_role
from icdbench.data.sources.own_tables import Row, opened
from icdbench.settings import DataError, nearest, shown
from icdbench.types import SPLITS, Document, composed

NEEDED = ("text", "codes")
EXAMPLES = 3  # of rows that cannot be read, in a message
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    "test": "test",
}


@dataclass(frozen=True)
class Note:
    """A row: its place, and its cells as text in NFC. Codes are a text until they are split, unless they are a list."""

    where: str
    id: str
    text: str
    codes: str | tuple[str, ...]
    split: str = ""
    group: str = ""


@dataclass
class Notes:
    """The notes of a file in file order. `split_codes`, `join_rows` and `divide`, in this order, prepare them as documents.

    `columns` are the columns' names by role, `about` says what was recognised, and `bad` has the places of the rows that
    cannot be read, with the reasons.
    """

    path: Path
    data: OwnSettings
    columns: Mapping[str, str]
    about: list[str]
    notes: list[Note]
    bad: list[tuple[str, str]]

    def split_codes(self) -> None:
        """Split the cells of codes; rows for which that fails join the bad rows.

        Raises DataError for bad rows that may not be left out, and for cells that may be one code or several.
        """
        self._check_bad_rows()
        self._check_swapped_columns()
        cells = [(note.codes, note.where) for note in self.notes]
        try:
            separator = own_codes.find_separator(cells, self.data.code_separator)
        except DataError as error:
            raise DataError(f"{self.path}, {error}") from None
        if separator not in {";", None}:
            self.about.append(own_codes.describe(separator))
        found = []
        for note in self.notes:
            try:
                codes = tuple(dict.fromkeys(own_codes.split(note.codes, separator)))
                found.append(replace(note, codes=codes))
            except ValueError as error:
                self.bad.append((note.where, str(error)))
        self.notes = found
        self._check_bad_rows()

    def _check_bad_rows(self) -> None:
        """Raises DataError about the rows that cannot be read, unless they may be left out and others remain."""
        bad, good = self.bad, len(self.notes)
        if not bad and not good:
            raise DataError(f"{self.path} has no rows")
        if not bad or (self.data.skip_bad and good):
            return
        places: dict[str, list[str]] = {}
        for where, reason in bad[:EXAMPLES]:
            places.setdefault(reason, []).append(where)
        listed = "; ".join(f"{', '.join(at)}: {reason}" for reason, at in places.items())
        if len(bad) == 1:
            advice = "; mend the row, or leave such rows out with --skip-bad" if good else ""
            raise DataError(f"{self.path}, {listed}{advice}")
        more = f"; and {len(bad) - EXAMPLES:,} more" if len(bad) > EXAMPLES else ""
        what = f"{len(bad):,} of {len(bad) + good:,} rows" if good else f"all {len(bad):,} rows"
        advice = "; mend them, or leave them out with --skip-bad" if good else ""
        raise DataError(f"{self.path}: {what} cannot be read: {listed}{more}{advice}")

    def _check_swapped_columns(self) -> None:
        """Raises DataError if all texts are codes, and have fewer words than the cells of codes."""
        if not all(own_codes.are_codes(note.text) for note in self.notes):
            return
        cells = [note.codes for note in self.notes if isinstance(note.codes, str)]
        if sum(len(cell.split()) for cell in cells) > sum(len(note.text.split()) for note in self.notes):
            raise DataError(
                f"{self.path}: the columns of texts and codes look swapped: every text is a code; name them with "
                "--column text=NAME --column codes=NAME"
            )

    def join_rows(self) -> None:
        """Join the rows of each id to one note; without an id column each row is a note. Raises DataError if in doubt."""
        if "id" in self.columns:
            self.notes = self._join_by_id()
        else:
            self.notes = self._make_ids()
            self.about.append("ids made from the rows")

    def _join_by_id(self) -> list[Note]:
        """A note for each id, with the codes of all its rows. Raises DataError for rows that differ in something else."""
        found: dict[str, Note] = {}
        for note in self.notes:
            if (first := found.setdefault(note.id, note)) is note:
                continue
            for column in ("text", "split", "group"):
                if getattr(first, column) != getattr(note, column):
                    times = sum(other.id == note.id for other in self.notes)
                    raise DataError(
                        f"{self.path}, {note.where}: id {shown(note.id)} occurs {times} times, with another {column} than in "
                        f"{first.where}; ids must be unique (rows of one note may differ only in their codes): name "
                        "another column with --column id=NAME, or have ids made with --column id="
                    )
            found[note.id] = replace(first, codes=tuple(dict.fromkeys((*first.codes, *note.codes))))
        return list(found.values())

    def _make_ids(self) -> list[Note]:
        """The notes with ids made from their content, so that their order does not matter.

        Raises DataError if rows of the same text have one code each: they may be one note or several.
        """
        if all(len(note.codes) <= 1 for note in self.notes):
            first: dict[str, Note] = {}
            for note in self.notes:
                other = first.setdefault(note.text, note)
                if other.codes != note.codes:
                    raise DataError(
                        f"{self.path}, {note.where}: its text is that of {other.where}, with another code, and no column of "
                        "ids tells whether they are one note; add a column id, the same for all rows of a note"
                    )
        times: Counter[str] = Counter()
        found = []
        for note in self.notes:
            content = json.dumps([note.text, note.codes, note.split, note.group])
            name = hashlib.sha256(content.encode()).hexdigest()[:16]
            times[name] += 1
            found.append(replace(note, id=name if times[name] == 1 else f"{name}-{times[name]}"))
        return found

    def divide(self) -> str:
        """Give each note a split, unless the file does, and return how in words. Raises DataError if a split is empty."""
        if "split" in self.columns:
            present = {note.split for note in self.notes}
            if missing := [split for split in SPLITS if split not in present]:
                raise DataError(
                    f"{self.path}: no {' and no '.join(missing)} documents in the column of splits; add some, or have all "
                    "documents divided with --column split="
                )
            return "as given in the file"
        seed = self.data.split_seed
        units = [(note.group, "" if note.group else note.id) for note in self.notes]
        splits = seeded_split(self.path, units, seed)
        self.notes = [replace(note, split=split) for note, split in zip(self.notes, splits, strict=True)]
        groups = " by groups" if any(note.group for note in self.notes) else ""
        return f"80/10/10{groups}, seed {seed}"

    def missing_codes(self) -> str:
        """The codes that may stand for a missing value, with the numbers of their documents, in words."""
        found = Counter(code for note in self.notes for code in note.codes if code.lower() in own_codes.NO_VALUES)
        return ", ".join(f"'{code}' ({count:,} document{'s' * (count > 1)})" for code, count in sorted(found.items()))

    def documents(self) -> list[Document]:
        return [Document(note.id, note.text, tuple(note.codes), note.split, note.group) for note in self.notes]


class BadRowError(ValueError):
    """A row that cannot be read, and why."""


def read(path: Path, data: OwnSettings) -> Notes:
    """The notes of all rows. Raises DataError for a file that cannot be read, or without the needed columns."""
    roles = Roles(columns_by_role(data.columns), NEEDED, COLUMN_ROLES)
    notes: list[Note] = []
    bad: list[tuple[str, str]] = []
    with opened(path, data.encoding, roles) as table:
        for row in table.rows:
            try:
                notes.append(_note(row, table.columns))
            except BadRowError as error:
                bad.append((row.where, str(error)))
    return Notes(path, data, table.columns, [*table.about, *_unread(table.names, table.columns)], notes, bad)


def _unread(names: Iterable[str], columns: Mapping[str, str]) -> list[str]:
    """A line about the columns that are not read, if there are any."""
    names = [name for name in dict.fromkeys(names) if name and name not in columns.values()]
    if not names:
        return []
    listed = ", ".join(map(shown, names[:5])) + (", …" if len(names) > 5 else "")
    hint = "" if "group" in columns else " (--column group=NAME, if one names patients)"
    return [f"columns not read: {listed}{hint}"]


def texts(path: Path, data: OwnSettings, tell: Callable[[str], None]) -> Iterator[tuple[str, str, str | DataError]]:
    """Place, id ("" if there is none) and text of each row, one at a time; the error in place of a text that cannot be read.

    `tell` is called with what was recognised, if anything. Raises DataError for a file that cannot be read.
    """
    roles = Roles(columns_by_role(data.columns), needed=("text",), wanted=("id", "text"))
    with opened(path, data.encoding, roles, look=1) as table:
        if read_as := recognised(table.columns, table.about):
            tell(read_as)
        for row in table.rows:
            try:
                text = cell_of(row, table.columns, "text")
                yield row.where, cell_of(row, table.columns, "id").strip() if "id" in table.columns else "", text
            except BadRowError as error:
                yield row.where, "", DataError(f"{path}, {row.where}: {error}")


def recognised(columns: Mapping[str, str], about: Sequence[str]) -> str:
    """How the file deviates from the default format, in words; "" if it does not."""
    listed = ", ".join(f"{role}={name}" for role, name in columns.items())
    renamed = any(role != name for role, name in columns.items())
    return "; ".join(part for part in (", ".join(about), f"columns {listed}" if renamed else "") if part)


def _note(row: Row, columns: Mapping[str, str]) -> Note:
    cells = {role: cell_of(row, columns, role) for role in ("id", "text", "split", "group") if role in columns}
    codes = codes_of(row, columns)
    for role in ("text", "id"):
        if role in cells and not cells[role].strip():
            raise BadRowError(f"'{columns[role]}' is empty")
    split = _split(cells["split"]) if "split" in cells else ""
    return Note(row.where, cells.get("id", "").strip(), cells["text"], codes, split, cells.get("group", "").strip())


def cell_of(row: Row, columns: Mapping[str, str], role: str) -> str:
    """The text of a cell in NFC. Raises BadRowError."""
    if row.problem:
        raise BadRowError(row.problem)
    name = columns.get(role, role)
    if name not in row.cells and role in NEEDED:
        raise BadRowError(f"no column '{name}'{nearest_shown(name, list(row.cells), columns)}")
    match row.cells.get(name):
        case None:
            return ""
        case str() as text:
            return _composed(text, name)
        case int() as number if role in {"id", "group"} and not isinstance(number, bool):
            return str(number)
        case float() as number if role == "group":  # pandas writes whole numbers in a column with gaps so
            return "" if number != number else f"{number:.17g}"  # noqa: PLR0124
        case other:
            found = f" ({shown(other)})" if role != "text" else ""
            raise BadRowError(f"'{name}' must be text, not {type(other).__name__}{found}")


def codes_of(row: Row, columns: Mapping[str, str]) -> str | tuple[str, ...]:
    """A cell of codes, or the elements of a list, each of which is one code whatever it contains. Raises BadRowError."""
    name = columns.get("codes", "codes")
    value = row.cells.get(name)
    if value is None or isinstance(value, str):
        return cell_of(row, columns, "codes").strip()
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        if not (part is None or (isinstance(part, str) and isinstance(value, list))):
            hint = "; as numbers codes lose their zeros" if isinstance(part, int | float) else ""
            raise BadRowError(f"'{name}' must be text, not {type(part).__name__} ({shown(part)}){hint}")
    codes = (_composed(part, name).strip() for part in parts if isinstance(part, str))
    return tuple(code for code in codes if code)


def _composed(text: str, name: str) -> str:
    """The text in NFC. Raises BadRowError if it has half of a surrogate pair, or bytes that are not UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = text[error.start]
            what = "is not UTF-8" if "\udc80" <= half <= "\udcff" else f"holds half a character (\\u{ord(half):04x})"
            raise BadRowError(f"'{name}' {what}") from None
    return composed(text)


def _split(value: str) -> str:
    name = SPLIT_NAMES.get(value.strip().lower())
    if name is None:
        raise BadRowError(f"split {shown(value)}{nearest(value, SPLIT_NAMES)}")
    return name


def seeded_split(path: Path, units: Sequence[tuple[str, str]], seed: int) -> list[str]:
    """A split for each document, by a seeded shuffle of the sorted units; documents of one unit stay together.

    Validation and test are filled, unit by unit, with a tenth of the documents each; every other split keeps a unit.
    """
    sizes = Counter(units)
    if len(sizes) < len(SPLITS):
        what = "documents" if len(sizes) == len(units) else "groups"
        raise DataError(f"{path}: too few {what} ({len(sizes)}); training, validation and test need one each")
    order = np.random.default_rng(seed).permutation(len(sizes))
    waiting = [unit for _, unit in sorted(zip(order.tolist(), sorted(sizes), strict=True), reverse=True)]
    wanted, split_of = max(1, len(units) // 10), dict.fromkeys(sizes, SPLITS[0])
    for split, reserved in ((SPLITS[1], 2), (SPLITS[2], 1)):
        documents = 0
        while documents < wanted and len(waiting) > reserved:
            unit = waiting.pop()
            split_of[unit] = split
            documents += sizes[unit]
    return [split_of[unit] for unit in units]
