"""The rows of a user's own file (`opened`): delimited text, JSON, JSON lines or Parquet, gzip-compressed or not.

The format is recognised by the content, or if that is not enough by the file's suffix. Cells are text as written, or lists
in JSON and Parquet. A row that cannot be read has a `problem`; a file that cannot be read raises DataError.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from icdbench.data.source import readable
from icdbench.data.sources.own_columns import Roles, known
from icdbench.data.sources.own_encodings import Encoding, encoding_of
from icdbench.files import regular
from icdbench.settings import DataError

DELIMITERS: Mapping[str, str] = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
SUFFIXES = (".csv", ".tsv", ".tab", ".parquet", *JSON_SUFFIXES)
HEAD = 4096  # bytes by which a format is recognised
EXCEL = "is an Excel workbook; save it as 'CSV UTF-8' (in Excel: File, Save As) and name that file"
# Formats that cannot be read: their first bytes, and what to do.
OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\xd0\xcf\x11\xe0", "is an Excel workbook or a Word document; save it as 'CSV UTF-8' or as plain text"),
    (b"%PDF", "is a PDF; a table (CSV, JSON, Parquet) or text files are needed"),
    (b"{\\rtf", "is a rich-text document; save it as plain text"),
    (b"ARROW1", "is an Arrow (Feather) file; write it as Parquet"),
    (b"SQLite format 3", "is an SQLite database; export the table as CSV"),
    (b"BZh", "is compressed with bzip2; unpack it, or compress it with gzip"),
    (b"\xfd7zXZ", "is compressed with xz; unpack it, or compress it with gzip"),
    (b"(\xb5/\xfd", "is compressed with zstd; unpack it, or compress it with gzip"),
    (b"7z\xbc\xaf", "is a 7-Zip archive; unpack it and name the file inside"),
    (b"version https://git-lfs", "is a pointer to a file in Git LFS; fetch the file itself with 'git lfs pull'"),
)
MARKUP = re.compile(rb"\s*<(?:!doctype|html|table|\?xml)", re.IGNORECASE)
BEGIN, COMMA, CLOSED = re.compile(r"\s*\[\s*"), re.compile(r"\s*,\s*"), re.compile(r"\s*\]\s*$")
OBJECTS = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*)?\{\s*(?:\"|\})")  # the beginning of JSON, but of no table


class Row(NamedTuple):
    """A row's place (`line 3`), its cells by the column's name in the file, and why it cannot be read, if it cannot."""

    where: str
    cells: Mapping[str, object]
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """A file's column names, the columns that are read by role, the rows one at a time, and what was recognised."""

    names: Sequence[str]
    columns: Mapping[str, str]
    rows: Iterator[Row]
    about: tuple[str, ...] = ()


@contextmanager
def opened(path: Path, encoding: str, roles: Roles, look: int | None = None) -> Iterator[Table]:
    """The file as a table; the columns of JSON are those of its first `look` objects, or of all if None.

    Raises DataError, which names the file and, where there is one, the line.
    """
    with readable(path), _unpacked(path) as file:
        head = file.read(HEAD)
        file.seek(0)
        refuse_others(path, head, file)
        if MARKUP.match(head):
            raise DataError(f"{path} is an HTML or XML page; save the table as CSV UTF-8 and name that file")
        suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"][-1:]
        if head[:4] == b"PAR1" or (suffixes == [".parquet"] and not OBJECTS.match(head)):
            yield _parquet(path, file, roles)
            return
        found = encoding_of(path, file, encoding)
        text = io.TextIOWrapper(file, encoding=found.name, errors=found.errors, newline="\n")
        if OBJECTS.match(head) or (suffixes and suffixes[0] in JSON_SUFFIXES):
            yield _json(path, text, found, roles, look)
        else:
            text.reconfigure(newline="")
            yield _delimited(path, text, found, roles)


@contextmanager
def _unpacked(path: Path) -> Iterator[BinaryIO]:
    with regular(path) as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            if packed:
                with gzip.open(raw) as unpacked:
                    yield unpacked  # type: ignore[misc]  # it reads bytes as any file does
            else:
                yield raw
        except UnicodeError:  # the whole file could be decoded before
            raise DataError(f"{path} changed while it was read; start again") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is damaged, or was cut off: it cannot be unpacked ({error})") from None


def refuse_others(path: Path | str, head: bytes, file: BinaryIO) -> None:
    """Raises DataError for formats that cannot be read, by the file's first bytes."""
    if head.startswith(b"PK\x03\x04"):
        raise DataError(f"{path} {_advice_for_zip(file)}")
    for begin, advice in OTHERS:
        if head.startswith(begin):
            raise DataError(f"{path} {advice}")


def _advice_for_zip(file: BinaryIO) -> str:
    """What a ZIP archive is, and what to do."""
    try:
        names = zipfile.ZipFile(file).namelist()
    except (zipfile.BadZipFile, OSError):
        names = []
    if any(name.startswith("xl/") for name in names):
        return EXCEL
    if "content.xml" in names:
        return "is an OpenDocument file; save its table as CSV (UTF-8) and name that file"
    if any(name.startswith("word/") for name in names):
        return "is a Word document; save its text as plain text (UTF-8)"
    return "is a ZIP archive; unpack it and name the file inside"


# --- Delimited text ------------------------------------------------------------------------------------------------------


def _delimited(path: Path, file: io.TextIOWrapper, found: Encoding, roles: Roles) -> Table:
    """A table of delimited text; Excel's first line `sep=;` may declare the delimiter."""
    csv.field_size_limit(2**31 - 1)  # notes may be longer than the module's limit of 131,072 characters
    declared = re.fullmatch(r"sep=(.)\r?\n?", file.readline())
    skipped = 1 if declared else 0
    delimiter, header = _delimiter(path, file, skipped, [declared[1]] if declared else list(DELIMITERS), roles)
    spaced = len(header) > 1 and all(name.startswith(" ") for name in header[1:])  # as in `id, text, codes`
    reader = _reader(file, delimiter, skipped, spaced=spaced)
    names: list[str] = next(reader, [])
    delimiter_name = DELIMITERS.get(delimiter, repr(delimiter))
    about = (*([f"{delimiter_name}-separated"] if delimiter != "," else []), *found.about)
    rows = _csv_rows(path, reader, names, delimiter_name, skipped)
    return Table(names, roles.columns(names, f"{path}: "), rows, about)


def _reader(file: TextIO, delimiter: str, skipped: int, *, spaced: bool = False) -> Any:
    """A csv.reader that begins with the header, after the skipped lines."""
    file.seek(0)
    for _ in range(skipped):
        file.readline()
    return csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=spaced)


def _delimiter(
    path: Path, file: TextIO, skipped: int, delimiters: Sequence[str], roles: Roles
) -> tuple[str, Sequence[str]]:
    """The delimiter with which the header has the needed columns, and that header. Raises DataError if there is none."""
    headers: dict[str, Sequence[str]] = {}
    problems: dict[str, str] = {}
    for delimiter in delimiters:
        try:
            headers[delimiter] = next(_reader(file, delimiter, skipped), [])
            replace(roles, wanted=roles.needed).columns(headers[delimiter])
        except csv.Error as error:
            problems[delimiter] = f"broken quoting in the header ({error})"
        except DataError as error:
            problems[delimiter] = str(error)
    if not any(headers.values()):
        raise DataError(f"{path}: {next(iter(problems.values()))}" if problems and not headers else f"{path} is empty")
    best = max(headers, key=lambda each: (each not in problems, len(headers[each])))
    if best in problems:
        if known(headers[best], roles.chosen):
            raise DataError(f"{path}: {problems[best]}")
        options = " ".join(f"--column {role}=NAME" for role in roles.needed)
        raise DataError(
            f"{path}: line 1 does not look like a header: expected columns {', '.join(roles.needed)}, separated by comma, "
            f"semicolon, tab or |; add a header line, or say what its columns hold with {options}"
        )
    return best, headers[best]


def _csv_rows(path: Path, reader: Any, names: Sequence[str], delimiter: str, skipped: int) -> Iterator[Row]:
    """The rows, strictly by RFC 4180; `where` is a row's first line. Blank rows, such as spreadsheets leave, are skipped."""
    line = skipped + reader.line_num + 1
    try:
        for row in reader:
            not_blank = any(map(str.strip, row))
            if not_blank and len(row) != len(names):
                yield Row(
                    f"line {line}",
                    {},
                    f"{len(row)} fields where the header has {len(names)}; is the file cut off, or a text with "
                    f'{delimiter}s or line breaks not in "quotes"?',
                )
            elif not_blank:
                yield Row(f"line {line}", dict(zip(names, row, strict=True)))
            line = skipped + reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f'{path}, row from line {line} on: broken quoting ({error}); is a " inside a text not doubled?'
        ) from None


# --- JSON and Parquet ----------------------------------------------------------------------------------------------------


def _json(path: Path, file: TextIO, found: Encoding, roles: Roles, look: int | None) -> Table:
    """A table of JSON objects, each of which may lack some columns; without any object there are no columns."""
    rows = _objects(path, file)
    first = list(islice(rows, look))
    names = list(dict.fromkeys(name for row in first for name in row.cells))
    place = f", {first[0].where}" if len(first) == 1 else ""
    columns = roles.columns(names, f"{path}{place}: ") if names else {}
    return Table(names, columns, chain(first, rows), found.about)


def _objects(path: Path, file: TextIO) -> Iterator[Row]:
    """The rows of an object per line, or of an array of objects. Numbers stay as written, so `250.00` is not `250.0`."""
    first = next((line for line in file if line.strip()), "")
    file.seek(0)
    if first.lstrip().startswith("["):
        yield from _array(path, file.read())
        return
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield _row(f"line {number}", DECODER.decode(line.strip()))
            except (ValueError, RecursionError) as error:
                yield Row(f"line {number}", {}, f"not JSON ({_reason(error)}); one object per line is expected")


def _array(path: Path, text: str) -> Iterator[Row]:
    """The rows of an array of objects; `where` is the line on which an object begins."""
    position, line, counted = BEGIN.match(text).end(), 1, 0  # type: ignore[union-attr]  # the text begins with [
    closed = CLOSED.match(text, position)
    while not closed:
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {line}: not JSON ({_reason(error)}); an array of objects is expected"
            ) from None
        yield _row(f"line {line}", value)
        closed = CLOSED.match(text, position)
        comma = COMMA.match(text, position)
        if not closed and not comma:
            raise DataError(f"{path}, line {line}: the array is cut off or damaged after the object that begins here")
        position = comma.end() if comma else position


def _row(where: str, value: object) -> Row:
    return Row(where, value) if isinstance(value, dict) else Row(where, {}, "not a JSON object with a value per column")


def _reason(error: Exception) -> str:
    return str(error).partition(":")[0]  # without the position, which counts from the object


def _missing(_constant: str) -> None:
    """Read NaN, which some programs write for a missing value although it is not JSON, as None."""


DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_missing)


def _parquet(path: Path, file: BinaryIO, roles: Roles) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file)
        names = opened.schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        raise _not_parquet(path, error) from None
    columns = roles.columns(names, f"{path}: ")
    read = list(dict.fromkeys(columns.values()))

    def rows() -> Iterator[Row]:
        try:
            decoded = chain.from_iterable(map(_decode_batch, opened.iter_batches(columns=read)))
            for number, (cells, problem) in enumerate(decoded, start=1):
                yield Row(f"row {number}", cells, problem)
        except (pa.ArrowException, OSError) as error:
            raise _not_parquet(path, error) from None

    return Table(read, columns, rows())


def _decode_batch(batch: Any) -> Iterator[tuple[Mapping[str, object], str]]:
    """The rows of a batch, each with its problem, if it has one."""
    try:
        yield from ((cells, "") for cells in batch.to_pylist())
    except UnicodeDecodeError:  # raised before the first row is yielded
        for position in range(len(batch)):
            cells, problem = {}, ""
            for name in batch.schema.names:
                try:
                    cells[name] = batch.column(name)[position].as_py()
                except UnicodeDecodeError:
                    problem = f"'{name}' is not UTF-8"
            yield cells, problem


def _not_parquet(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())[:160]}")
