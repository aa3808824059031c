"""A user's own data: one CSV, Parquet or JSON-lines file, UTF-8, with columns id, text, codes (joined by `;`, or a list)
and, optionally, split (train, validation, test). Without split, documents are divided 80/10/10 by a seeded shuffle of
their sorted ids, so the order of the file does not matter. The data set's name is the file's with its suffix, which no
other data set has.

Cells are read as text, never guessed at: codes keep their zeros (`038.9`, `250.00`) and `null` or `NA` are words. Parquet
columns have types, so codes must be text there, and ids text or whole numbers.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from icdbench.datasets import Raw, Source, Tree, divide, hierarchy, readable
from icdbench.datasets.icd9 import icd9cm_titles
from icdbench.datasets.icd10 import icd10cm_headings, icd10cm_titles
from icdbench.spec import DataError, DataSpec, SpecError, nearest
from icdbench.types import SPLITS, Document

COLUMNS = ("id", "text", "codes")
OPTIONAL = ("id", "split")  # what else is read where it is there
SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation", "test": "test"}  # fmt: skip
COLUMN = re.compile(r"(?=.{1,40}$)\S+( \S+){0,2}")  # what may be the name of one, and is no note
LONGEST_NAME = 80  # characters of a data set's name, which names folders

Row = tuple[str, Mapping[str, object]]  # where it stands in the file, and its cells by column


def is_path(name: str) -> bool:
    """Whether a data set's name means a file."""
    return Path(name).suffix.lower() in READERS or "/" in name


def source(path: Path) -> Source:
    """The file as a data source. Raises SpecError for a suffix that cannot be read."""
    if path.suffix.lower() not in READERS:
        raise SpecError(f"own data must be one of {', '.join(READERS)}; '{path}' is not")
    return Source(
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", path.name)[-LONGEST_NAME:].strip("-."),
        about=f"own data, {path.name}",
        files=lambda _root, _data: [_existing(path)],
        read=lambda _root, data, _report: read(path, data),
        titles=lambda codes, _root, data: titles(codes, data),
        tree=lambda codes, _root, data: tree(codes, data),
        check=lambda _root, data: check(path, data),
        fields=frozenset({"split_seed", "code_system"}),
    )


def read(path: Path, data: DataSpec) -> Raw:
    """Documents in file order. Raises DataError that names file, line and value."""
    with readable(_existing(path)):
        rows = [(where, _cells(where, row)) for where, row in READERS[path.suffix.lower()](path, COLUMNS)]
    if not rows:
        raise DataError(f"{path} has no rows")
    if any("split" in row for _, row in rows):
        splits = [_split(where, row.get("split", "")) for where, row in rows]
        facts = {"split": "as given in the file"}
    else:
        splits = _seeded_split(path, [row["id"] for _, row in rows], data.split_seed)
        facts = {"split": f"80/10/10, seed {data.split_seed}"}
    pairs = zip(rows, splits, strict=True)
    return Raw(
        [Document(row["id"], row["text"], _codes(row["codes"]), split) for (_, row), split in pairs], facts=facts
    )


def texts(path: Path, column: str = "text") -> Iterator[tuple[str, str]]:
    """Notes without codes, one at a time: where each stands, and its text. A name is its `id`, where there is one.

    Raises DataError that names file, line and value.
    """
    with readable(_existing(path)):
        for where, row in READERS[path.suffix.lower()](path, (column,)):
            name = _text(where, "id", row.get("id")).strip()
            yield (f"{path}: {name}" if name else where), _text(where, column, row[column])


def _existing(path: Path) -> Path:
    with readable(path):
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a file")
        if not path.exists():
            beside = [other.name for other in path.parent.glob("*") if other.suffix.lower() in READERS]
            raise DataError(f"{path} does not exist{nearest(path.name, beside) if beside else ''}")
    return path


def _csv(path: Path, needed: Sequence[str]) -> Iterator[Row]:
    """Rows as RFC 4180 has them; what a lenient reader would guess at is an error. `where` is the row's first line."""
    csv.field_size_limit(2**31 - 1)  # notes may be longer than the module's 131,072 characters
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        line = 1
        try:
            header = next(reader, None)
            if header is None:
                raise DataError(f"{path} is empty")
            _check_columns(str(path), header, needed)
            line = reader.line_num + 1
            for row in reader:
                where = f"{path}, line {line}"
                if row and len(row) != len(header):
                    raise DataError(
                        f"{where}: {len(row)} fields where the header has {len(header)}; is the file cut off, or a text "
                        'with commas or line breaks not in "quotes"?'
                    )
                if row:  # else a blank line
                    yield where, dict(zip(header, row, strict=True))
                line = reader.line_num + 1
        except UnicodeDecodeError:
            raise DataError(f"{path}, line {_undecodable_line(path)} is not UTF-8; convert the file") from None
        except csv.Error as error:
            raise DataError(f"{path}, row from line {line} on: broken quoting ({error})") from None


def _jsonl(path: Path, needed: Sequence[str]) -> Iterator[Row]:
    """An object per line. Numbers stay as they are written, so that `250.00` is not `250.0`."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                row = json.loads(text, parse_int=str, parse_float=str, parse_constant=_missing) if text else {}
            except UnicodeDecodeError:
                raise DataError(f"{where} is not UTF-8; convert the file") from None
            except (ValueError, RecursionError) as error:
                reason = str(error).partition(":")[0]  # without its line, which is always 1
                raise DataError(f"{where} is not JSON ({reason}); one object per line is expected") from None
            if not isinstance(row, dict):
                raise DataError(f"{where} is not an object with {', '.join(needed)}")
            if text:
                _check_columns(where, list(row), needed)
                yield where, row


def _parquet(path: Path, needed: Sequence[str]) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_columns(str(path), names, needed)
            wanted = [name for name in dict.fromkeys((*needed, *OPTIONAL)) if name in names]
            rows = (row for batch in file.iter_batches(columns=wanted) for row in batch.to_pylist())
            yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))
    except UnicodeDecodeError:
        raise DataError(f"{path} holds text that is not UTF-8") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())[:160]}") from None


READERS: Mapping[str, Callable[[Path, Sequence[str]], Iterator[Row]]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".jsonl": _jsonl,
}


def _missing(_constant: str) -> None:
    """NaN, which is not JSON, is what some writers put where a value is missing."""


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0


def _check_columns(where: str, present: Sequence[str], needed: Sequence[str]) -> None:
    for column in needed:
        if column not in present:
            if not all(map(COLUMN.fullmatch, present)):  # they may be a note, which no message shows
                raise DataError(f"{where}: no column '{column}'; the first line is no line of column names")
            raise DataError(f"{where}: no column '{column}'{nearest(column, present)}")
    for column in (*needed, *OPTIONAL):
        if present.count(column) > 1:
            raise DataError(f"{where}: column '{column}' occurs {present.count(column)} times")


def _cells(where: str, row: Mapping[str, object]) -> dict[str, str]:
    """The row's cells as text; id and text must have some."""
    cells = {column: _text(where, column, row[column]) for column in (*COLUMNS, "split") if column in row}
    for column in ("id", "text"):
        if not cells[column].strip():
            raise DataError(f"{where}: '{column}' is empty")
    return cells


def _text(where: str, column: str, value: object) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case int() if column == "id" and not isinstance(value, bool):
            return str(value)
        case [*parts] if column == "codes":
            return ";".join(_text(where, column, part) for part in parts)
    hint = "; as numbers codes lose their zeros" if column == "codes" else ""
    shown = f" ({str(value)[:40]})" if column in {"id", "codes", "split"} else ""  # a note is shown by no message
    raise DataError(f"{where}: '{column}' must be text, not {type(value).__name__}{shown}{hint}")


def _codes(cell: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(code.strip() for code in cell.split(";") if code.strip()))


def _split(where: str, value: str) -> str:
    name = SPLIT_NAMES.get(value.strip().lower())
    if name is None:
        raise DataError(f"{where}: split '{value}'{nearest(value, SPLIT_NAMES)}")
    return name


def _seeded_split(path: Path, ids: Sequence[str], seed: int) -> list[str]:
    if len(ids) < len(SPLITS):
        raise DataError(f"{path}: too few documents ({len(ids)}); training, validation and test need one each")
    order = np.random.default_rng(seed).permutation(len(ids))
    ranked = {name: int(position) for name, position in zip(sorted(ids), order, strict=True)}
    held = max(1, len(ids) // 10)
    return [SPLITS[1] if ranked[i] < held else SPLITS[2] if ranked[i] < 2 * held else SPLITS[0] for i in ids]


def titles(codes: Sequence[str], data: DataSpec) -> Mapping[str, str]:
    if data.code_system == "icd9cm":
        return icd9cm_titles(codes)
    return icd10cm_titles(codes) if data.code_system == "icd10cm" else {}


def tree(codes: Sequence[str], data: DataSpec) -> Tree | None:
    """None if the coding system is not said: codes of no system are all equally far apart."""
    if data.code_system == "icd9cm":
        return hierarchy.grow(codes, hierarchy.icd9cm_line)
    return hierarchy.grow(codes, hierarchy.icd10_line, icd10cm_headings) if data.code_system == "icd10cm" else None


def check(path: Path, data: DataSpec) -> list[str]:
    """What is wrong with the file, if anything."""
    try:
        divide(path.name, read(path, data).documents)
    except DataError as error:
        return [str(error)]
    return []
