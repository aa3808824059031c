"""Compare readers for MIMIC's NOTEEVENTS: time, memory, and whether they notice damage and keep cells unchanged.

    python benchmarks/speed/readers.py NOTEEVENTS.csv.gz [READER ...]

Prints a Markdown table, with the machine. Every reader runs in its own process and returns the discharge summaries as
Python strings, in batches if it can. polars, duckdb and isal are not dependencies of icdbench; a reader whose package
is missing is listed as not installed.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import importlib.metadata
import io
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

COLUMNS = ("SUBJECT_ID", "HADM_ID", "CATEGORY", "TEXT")
CATEGORY = "Discharge summary"
HEADER = "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,STORETIME,CATEGORY,DESCRIPTION,CGID,ISERROR,TEXT"

DAMAGE = (".gz cut off", "cut off in a note", "cut off in a number")

Batches = Iterator[tuple[list[Any], list[Any]]]  # HADM_ID and TEXT


def icdbench(path: Path) -> Batches:
    from icdbench.data.sources import csv_tables as physionet

    for batch in physionet.batches(path, COLUMNS, where=("CATEGORY", CATEGORY)):
        yield batch["HADM_ID"].to_pylist(), batch["TEXT"].to_pylist()


def pyarrow(path: Path, source: Any = None) -> Batches:
    import pyarrow as pa
    from pyarrow import compute
    from pyarrow import csv as arrow

    reader = arrow.open_csv(
        source or path,
        arrow.ReadOptions(block_size=1 << 23),
        arrow.ParseOptions(newlines_in_values=True),
        arrow.ConvertOptions(include_columns=COLUMNS, column_types=dict.fromkeys(COLUMNS, pa.string())),
    )
    for batch in reader:
        kept = batch.filter(compute.equal(batch["CATEGORY"], CATEGORY))
        yield kept["HADM_ID"].to_pylist(), kept["TEXT"].to_pylist()


def pyarrow_isal(path: Path) -> Batches:
    import pyarrow as pa

    igzip = importlib.import_module("isal.igzip")
    if path.suffix != ".gz":
        yield from pyarrow(path)
        return
    with igzip.open(path) as file:
        yield from pyarrow(path, pa.PythonFile(file, mode="r"))


def polars(path: Path) -> Batches:
    pl = importlib.import_module("polars")
    frame = pl.scan_csv(path, infer_schema=False, empty_string_is_null=False)
    for batch in frame.filter(pl.col("CATEGORY") == CATEGORY).select(COLUMNS).collect_batches():
        yield batch["HADM_ID"].to_list(), batch["TEXT"].to_list()


def duckdb(path: Path) -> Batches:
    db = importlib.import_module("duckdb")
    # Its buffers are many times max_line_size; 1.5 GB allow 4 MiB.
    with db.connect(config={"memory_limit": "1500MB"}) as connection:
        connection.execute(
            "select HADM_ID, TEXT from read_csv(?, all_varchar = true, header = true, delim = ',', quote = '\"', "
            "escape = '\"', nullstr = '\x01', max_line_size = 4194304) where CATEGORY = ?",
            [str(path), CATEGORY],
        )
        while rows := connection.fetchmany(1000):
            yield [row[0] for row in rows], [row[1] for row in rows]


def csv_module(path: Path) -> Batches:
    csv.field_size_limit(1 << 26)
    with text(path) as file:
        for row in csv.DictReader(file, strict=True):
            if row["CATEGORY"] == CATEGORY:
                yield [row["HADM_ID"]], [row["TEXT"]]


def text(path: Path) -> TextIO:
    """Open the file as text, without translating line breaks."""
    return io.TextIOWrapper((gzip.open if path.suffix == ".gz" else open)(path, "rb"), encoding="utf-8", newline="")


# Each reader with the package that it needs.
READERS: dict[str, tuple[Callable[[Path], Batches], str]] = {
    "icdbench": (icdbench, "icdbench"),
    "pyarrow open_csv": (pyarrow, "pyarrow"),
    "pyarrow open_csv over isal": (pyarrow_isal, "isal"),
    "polars scan_csv": (polars, "polars"),
    "duckdb read_csv": (duckdb, "duckdb"),
    "csv module": (csv_module, ""),
}


def outcome(read: Callable[[Path], Batches], path: Path, rows: int) -> str:
    """Describe what a reader does with a damaged table of `rows` rows."""
    try:
        found = sum(len(ids) for ids, _ in read(path))
    except Exception:  # noqa: BLE001  readers raise all kinds of errors
        return "error"
    return "no error" if found >= rows else f"no error, {found} of {rows} rows"


def cells(
    read: Callable[[Path], Batches], folder: Path, ids: list[str], notes: list[str]
) -> tuple[list[Any], list[Any]]:
    """Write rows with these ids, unquoted, and notes; return their HADM_ID and TEXT as a reader reads them."""
    path = folder / "cells.csv"
    lines = [
        f'{number},1,{id_},,,,"{CATEGORY}",,,,"' + note.replace('"', '""') + '"\n'
        for number, (id_, note) in enumerate(zip(ids, notes, strict=True))
    ]
    path.write_bytes("".join([f"{HEADER}\n", *lines]).encode())
    found: tuple[list[Any], list[Any]] = ([], [])
    try:
        for batch in read(path):
            found[0].extend(batch[0])
            found[1].extend(batch[1])
    except Exception as error:  # noqa: BLE001
        return [type(error).__name__], []
    return found


def behaviour(read: Callable[[Path], Batches]) -> list[str]:
    """Describe how a reader handles truncated files, quotes and line breaks in notes, empty cells and NA."""
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), 2000
        lines = [f'{row},1,2,,,,"{CATEGORY}",,,,"Note {row * row}, ""b""\nof two lines"\n' for row in range(count)]
        whole = "".join([f"{HEADER}\n", *lines]).encode()
        (folder / "cut.csv.gz").write_bytes(gzip.compress(whole)[:-2000])
        (folder / "cut.csv").write_bytes(whole[:-7])  # inside the last note, so that its row has all cells
        (folder / "short.csv").write_bytes(whole + b"2000,1")
        notes = ['"', 'a ""b"", "', "a\r\nb\n\nc\r\n", "a\rb", " a ", "ä, 血 😀", "\n"]
        kept = cells(read, folder, ["1"] * len(notes), notes)[1]
        altered = [note for note, found in zip(notes, kept, strict=True) if found != note] if kept else notes
        ids = ["", '""', "NA", "null", "nan", "007", "1.0"]
        found = cells(read, folder, ids, ["a"] * len(ids))[0]
        return [
            outcome(read, folder / "cut.csv.gz", count),
            outcome(read, folder / "cut.csv", count),
            outcome(read, folder / "short.csv", count),
            "exact" if not altered else "altered: " + ", ".join(map(repr, altered)),
            "text as written" if found == ["", "", *ids[2:]] else ", ".join(map(repr, found)),
        ]


def measure(name: str, path: Path) -> dict[str, Any]:
    """Measure a reader in this process: seconds, peak memory and rows; then its behaviour."""
    read = READERS[name][0]
    begun = time.monotonic()
    rows = sum(len(ids) for ids, _ in read(path))
    seconds = time.monotonic() - begun
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss / 1024  # KiB on Linux
    figures = [f"{seconds:.1f}", f"{used.ru_utime + used.ru_stime:.1f}", f"{peak:.0f}", f"{rows:,}"]
    return {"figures": figures, "behaviour": behaviour(read)}


def line(name: str, path: Path) -> list[str]:
    """Measure a reader in another process; returns its row of the table."""
    package = READERS[name][1]
    try:
        version = importlib.metadata.version(package) if package else platform.python_version()
    except importlib.metadata.PackageNotFoundError:
        return [name, "not installed"]
    command = [sys.executable, __file__, "--measure", name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if re.match(r"[\w.]+(Error|Exception)\b", line)]
        return [name, version, f"failed: {(errors or [f'exit status {done.returncode}'])[-1][:120]}"]
    found = json.loads(done.stdout)
    return [name, version, *found["figures"], *found["behaviour"]]


def main(path: str, *names: str) -> None:
    size = Path(path).stat().st_size / 1e9
    cores = len(os.sched_getaffinity(0))
    machine = f"{platform.platform()}, {cores} cores, Python {platform.python_version()}"
    print(f"{Path(path).name}, {size:.2f} GB; {machine}\n")
    columns = ("reader", "version", "seconds", "CPU s", "peak MB", "rows", *DAMAGE, "notes", "empty, NA, null, 007")
    print(f"| {' | '.join(columns)} |\n|:--|:--|--:|--:|--:|--:|{':--|' * (len(DAMAGE) + 2)}")
    for name in names or READERS:
        print("|", " | ".join(line(name, Path(path))), "|", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
    else:
        main(*sys.argv[1:])
