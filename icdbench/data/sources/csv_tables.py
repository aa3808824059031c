"""Tables as PhysioNet distributes them: CSV files, compressed with gzip or not, some with notes of many lines.

`batches` and `rows` read a file of any size with bounded memory, in blocks that end where a row ends. Quotes decide where
that is, and must follow RFC 4180: lenient readers, pyarrow's among them, take a file that is cut off inside a note for a
shorter table. pyarrow then splits a block into cells, which stay as written: an empty cell is "", NA and null are words.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from icdbench.data.source import readable
from icdbench.files import regular
from icdbench.settings import DataError, nearest, shown
from icdbench.types import Report, quiet

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 1 << 22  # unpacked bytes that are read at a time
LONGEST_ROW = 1 << 26  # bytes; a longer row has a quote that is not closed
DEPTH = 5  # levels below the data root: physionet.org/files/mimic-iv-note/2.2/note, as wget -r leaves it
GZIP = b"\x1f\x8b"
AGAIN = "fetch the file again"

# The bytes that may precede a quote that opens a cell, and follow one that closes it. Of the two quotes in "" the first
# closes and the second opens.
BEFORE = np.isin(np.arange(256), list(b',\n"'))
AFTER = np.isin(np.arange(256), list(b',\r\n"'))

COLUMN = re.compile(r"([A-Za-z_]\w{0,39})?")  # names of columns, rather than cells

T = TypeVar("T")


def find(folder: Path, table: str) -> Path | None:
    """The file of a table such as `NOTEEVENTS`, in upper or lower case; `.csv` is preferred to `.csv.gz`."""
    with readable(folder):
        inside = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
        files = {path.name.lower(): path for path in inside if path.is_file()}
    return next((files[name.lower()] for name in _names(table) if name.lower() in files), None)


def required(folder: Path, table: str) -> Path:
    """As `find`, but raises DataError if there is no such file."""
    found = find(folder, table)
    if found is None:
        raise DataError(f"{folder} has neither {' nor '.join(_names(table))}; put the file there or name its folder")
    return found


def _names(table: str) -> tuple[str, str]:
    return f"{table}.csv", f"{table}.csv.gz"


def folders(root: Path, *tables: str) -> list[Path]:
    """The folders from the data root down to DEPTH levels that have all these tables, in order of depth and name.

    A folder that is reached twice through a link counts once. Raises DataError if the root is not a folder.
    """
    with readable(root):
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "does not exist"
            raise DataError(f"data folder '{root}' {what}; name the folder of raw data with --data or ICDBENCH_DATA")
        found: list[Path] = []
        seen: set[tuple[int, int]] = set()
        level = [root]
        for _ in range(DEPTH + 1):
            below: list[Path] = []
            for folder in level:
                status = folder.stat()
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    inside = sorted(folder.iterdir())
                    names = {path.name.lower() for path in inside}
                    found += [folder] if all(names & set(_names(table.lower())) for table in tables) else []
                    below += filter(_is_searched, inside)
            level = below
    return found


def _is_searched(path: Path) -> bool:
    return not path.name.startswith(".") and path.is_dir() and os.access(path, os.R_OK | os.X_OK)


def integer(cell: str, column: str, path: Path) -> int:
    """A whole number, written as 200 or, as some tools write columns with gaps, 200.0. Raises DataError."""
    try:
        return int(cell.strip().removesuffix(".0"))
    except ValueError:
        raise DataError(f"{path}: {column} {shown(cell)} is not a whole number; {AGAIN}") from None


def rows(
    path: Path, columns: Sequence[str], report: Report = quiet, where: tuple[str, str] | None = None
) -> Iterator[tuple[str, ...]]:
    """As `batches`, but one row at a time."""
    for batch in batches(path, columns, report, where):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def batches(
    path: Path, columns: Sequence[str], report: Report = quiet, where: tuple[str, str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The columns of a table, whatever their case, in batches of bounded size; every cell is text.

    `where=(column, value)` keeps the rows with exactly this value. `report` is told how many bytes of the file are read.
    Raises DataError, which names the file and the place, unless the table is complete and well-formed.
    """
    import pyarrow as pa
    from pyarrow import compute

    with readable(path):
        regular(path).close()  # refuses a pipe, which would be waited for
        total = path.stat().st_size
        chunks = _chunks(path)
        header, first = _header(path, chunks)
        wanted = [_index(path, header, name) for name in (*columns, *(where or ())[:1])]
        seen = 0
        # Unpacking, finding row ends and splitting into cells each have a thread; none holds the interpreter for long.
        for block in _read_ahead(_blocks(path, first, _read_ahead(chunks))):
            cells = _cells(path, block, len(header), wanted, seen)
            seen += cells.num_rows
            report(f"reading {path.name}", block.done, total)
            if where:
                cells = cells.filter(compute.equal(cells[str(wanted[-1])], where[1]))
            if cells.num_rows:
                arrays = [cells[str(index)].combine_chunks() for index in wanted[: len(columns)]]
                yield pa.record_batch(arrays, names=list(columns))


def _read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; a thread makes the next one while the caller works on this one.

    Closing does not wait for the thread: garbage collection may close this while the caller holds a lock of `threading`
    that the thread needs to end.
    """
    pool = ThreadPoolExecutor(1)
    try:
        future = pool.submit(next, items, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, items, None)
            yield item
    finally:
        pool.shutdown(wait=False)


def _chunks(path: Path) -> Iterator[tuple[bytes, int]]:
    """The unpacked bytes, and how many bytes of the file were read for them so far."""
    import pyarrow as pa

    with path.open("rb", buffering=0) as file:
        packed = path.suffix.lower() == ".gz"
        begin = file.read(len(GZIP))
        file.seek(0)
        if not begin:
            raise DataError(f"{path} is empty; {AGAIN}")
        if packed and begin != GZIP:
            raise DataError(
                f"{path} is not packed with gzip; if it is plain CSV, rename it to {path.stem}, else {AGAIN}"
            )
        if not packed and begin == GZIP:
            raise DataError(f"{path} is packed with gzip; rename it to {path.name}.gz")
        source = pa.CompressedInputStream(file, "gzip") if packed else file
        try:
            while chunk := source.read(BLOCK):
                yield chunk, file.tell()
        except OSError as error:
            if error.errno or not packed:
                raise
            reason = " ".join(str(error).split())[:100]
            raise DataError(f"{path} is cut off or damaged ({reason}); {AGAIN}") from None


def _header(path: Path, chunks: Iterator[tuple[bytes, int]]) -> tuple[list[str], _Block]:
    """The names of the columns, and the bytes that were read after the header."""
    content, done = next(chunks, (b"", 0))
    while b"\n" not in content and len(content) <= LONGEST_ROW and (more := next(chunks, None)):
        content, done = content + more[0], more[1]
    line, end, rest = content.partition(b"\n")
    if len(line) > LONGEST_ROW:
        raise DataError(f"{path}: the header does not end within {LONGEST_ROW} bytes; {AGAIN}")
    try:
        header = next(csv.reader([line.decode("utf-8-sig")], strict=True), [])
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it, or {AGAIN}") from None
    except csv.Error as error:
        raise DataError(f"{path}, header: broken quoting ({error}); {AGAIN}") from None
    if not header:
        raise DataError(f"{path} has no header; {AGAIN}")
    return header, _Block(rest, len(line) + len(end), done)


def _index(path: Path, header: Sequence[str], name: str) -> int:
    found = [index for index, present in enumerate(header) if present.lower() == name.lower()]
    if not found:
        if not all(map(COLUMN.fullmatch, header)):
            raise DataError(f"{path} has no column '{name}': line 1 does not look like names of columns; {AGAIN}")
        alike = name.lower() if header[0].islower() else name.upper()
        raise DataError(f"{path} has no column '{name}'{nearest(alike, header)}")
    if len(found) > 1:
        raise DataError(f"{path} has {len(found)} columns '{name}'; {AGAIN}")
    return found[0]


class _Block(NamedTuple):
    """Bytes of the unpacked file from `start` on, for which `done` bytes of the packed file were read."""

    content: bytes
    start: int
    done: int


def _blocks(path: Path, first: _Block, chunks: Iterator[tuple[bytes, int]]) -> Iterator[_Block]:
    """The file from `first` on, cut where rows end; its quotes are checked."""
    rest, start, done = first
    for chunk, done in chunks:
        rest += chunk
        quotes = _quotes(rest)
        end = _last_row_end(rest, quotes)
        if end:
            block = _Block(rest[:end], start, done)
            _check_quotes(path, block, quotes[: np.searchsorted(quotes, end)])
            yield block
            rest, start = rest[end:], start + end
        if len(rest) > LONGEST_ROW:
            raise DataError(
                f"{path}: the row at byte {start} does not end within {LONGEST_ROW} bytes; is a quote not closed? {AGAIN}"
            )
    block, quotes = _Block(rest, start, done), _quotes(rest)
    _check_quotes(path, block, quotes)
    if len(quotes) % 2:
        row = start + _last_row_end(rest, quotes)
        raise DataError(f"{path} ends inside the quoted text of the row at byte {row}: it is cut off; {AGAIN}")
    if rest:
        yield block


def _quotes(content: bytes) -> NDArray[np.intp]:
    return np.flatnonzero(np.frombuffer(content, np.uint8) == ord('"'))


def _last_row_end(content: bytes, quotes: NDArray[np.intp]) -> int:
    """The position after the last line break outside quotes, 0 if there is none; the content begins with a row."""
    closed = len(quotes) // 2 * 2
    stop = int(quotes[closed]) if len(quotes) % 2 else len(content)
    while closed:
        found = content.rfind(b"\n", int(quotes[closed - 1]), stop)
        if found >= 0:
            return found + 1
        closed -= 2
        stop = int(quotes[closed])
    return content.rfind(b"\n", 0, stop) + 1


def _check_quotes(path: Path, block: _Block, quotes: NDArray[np.intp]) -> None:
    """Raises DataError if a quote neither opens nor closes a cell nor is doubled; the block begins with a row."""
    if not len(quotes):
        return
    content = np.frombuffer(block.content, np.uint8)
    right = np.empty(len(quotes), bool)
    right[0::2] = BEFORE[content[quotes[0::2] - 1]]
    right[0] |= quotes[0] == 0
    right[1::2] = AFTER[content[np.minimum(quotes[1::2] + 1, len(content) - 1)]]
    if not right.all():
        position = block.start + int(quotes[np.argmin(right)])
        raise DataError(f"{path}: the quote at byte {position} neither opens nor closes a cell nor is doubled; {AGAIN}")


def _cells(path: Path, block: _Block, width: int, wanted: Sequence[int], seen: int) -> pa.Table:
    """The wanted columns of a block, named by their numbers; `seen` rows came before the block."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    names = [str(index) for index in range(width)]
    kept = sorted(set(wanted))
    try:
        return arrow.read_csv(
            pa.BufferReader(block.content),
            arrow.ReadOptions(column_names=names, block_size=len(block.content) + 1, use_threads=False),
            arrow.ParseOptions(newlines_in_values=True),
            arrow.ConvertOptions(
                include_columns=[names[index] for index in kept],
                column_types={names[index]: pa.string() for index in kept},
            ),
        )
    except pa.ArrowInvalid:  # its message shows a row
        _check_cells(path, block, width, seen)
        raise DataError(f"{path}: the rows after row {seen} cannot be split into cells; {AGAIN}") from None


def _check_cells(path: Path, block: _Block, width: int, seen: int) -> None:
    """Raises DataError for what pyarrow refused, without the row that pyarrow's message shows."""
    csv.field_size_limit(LONGEST_ROW)
    try:
        text = block.content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {block.start + error.start}); convert it, or {AGAIN}") from None
    not_blank = filter(None, csv.reader(io.StringIO(text, newline="")))
    for number, row in enumerate(not_blank, start=seen + 1):
        if len(row) != width:
            raise DataError(
                f"{path}, row {number} after the header: {len(row)} cells where the header has {width}; is the file cut "
                f"off? {AGAIN}"
            )
