"""A prepared data set as plain files, for other programs and for checking: `export` writes them.

The files contain the texts word for word, so the terms of the raw data cover them too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from icdbench.data.encode import tell
from icdbench.data.source import Source
from icdbench.data.sources import own_marks
from icdbench.data.tokens import tokenize
from icdbench.files import remove_abandoned, replacing, replacing_folder
from icdbench.host import output
from icdbench.settings import DataError, SpecError, nearest, shown
from icdbench.spec import DataSpec
from icdbench.types import SPLITS, Corpus, Document, Report, composed, quiet

BRAT = "brat"  # the format that has raw texts and marked words
BATCH = 1000  # documents that are written at once
# What separates codes or cells in some formats, and so may not be in a code or an id; a quote would begin a quoted cell.
SEMICOLON, BLANK, TAB = re.compile(";"), re.compile(r'[\s"]'), re.compile(r'[\t\r\n"]')


class ExportedRow(NamedTuple):
    """An exported document: its tokens joined by spaces, and its codes as the source lists them.

    With `data.top_codes` the other codes are left out. `length` counts all tokens; models read the first `data.max_tokens`
    of them, and those that vocabulary.txt lacks as unknown.
    """

    id: str
    split: str
    tokens: str
    codes: tuple[str, ...]
    length: int


def export(opened: Source, folder: Path, fmt: str = "csv", report: Report = quiet) -> list[Path]:
    """Write documents in their prepared order, vocabulary.txt, codes.txt and descriptions.csv; return the files written.

    With format `brat`, write only the texts and the words that people marked in them. Lines count from 0: vocabulary.txt
    has the word of index i + 2 on line i (0 is padding, 1 unknown), codes.txt the code of index i. Raises SpecError for an
    unknown format and for a folder that is not empty, DataError if it cannot be written.
    """
    if fmt not in (known := [*FORMATS, BRAT]):
        raise SpecError(f"no export format '{fmt}'{nearest(fmt, known)}")
    check_new(folder, "--out ")
    if fmt == BRAT:
        return _export_brat(opened, folder, report)
    built = opened.corpus(report)
    tell(built)
    documents = {document.id: document for document in opened.documents(report).documents}
    titles = opened.titles(built.vocabulary.codes)
    with new_folder(folder, "--out ") as fresh:
        FORMATS[fmt](_rows(built, documents, opened.data, report), fresh)
        _lines(fresh / "vocabulary.txt", built.vocabulary.tokens[2:])
        _lines(fresh / "codes.txt", built.vocabulary.codes)
        with (fresh / "descriptions.csv").open("w", encoding="utf-8", newline="") as file:
            file.write(output.csv_row(["code", "description"]))
            file.writelines(output.csv_row([code, titles.get(code, "")]) for code in built.vocabulary.codes)
        names = sorted(path.name for path in fresh.iterdir())
    return [folder / name for name in names]


def check_new(folder: Path, option: str = "") -> None:
    """Raises SpecError unless the folder, given by an option, is new or empty."""
    remove_abandoned(folder.parent)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"{option}'{folder}' is there already and not empty; name a new folder")


@contextmanager
def new_folder(folder: Path, option: str = "") -> Iterator[Path]:
    """Yield a folder that takes its place only once it is complete. Raises SpecError as `check_new`; DataError."""
    check_new(folder, option)
    try:
        with replacing_folder(folder) as fresh:
            yield fresh
    except OSError as error:
        raise DataError(f"{option}'{folder}' cannot be written: {error.strerror or error}; nothing was kept") from None


def _export_brat(opened: Source, folder: Path, report: Report) -> list[Path]:
    """Write the documents that people marked words in, to a folder for each split. Raises DataError if there are none."""
    marks = opened.marks()
    if not marks:
        raise DataError(f"data set '{opened.name}' comes without words that were marked for codes; see docs/data.md")
    marks_by_id = {composed(name): codes for name, codes in marks.items()}
    documents = [document for document in opened.documents(report).documents if document.id in marks_by_id]
    titles = opened.titles(sorted({code for codes in marks_by_id.values() for code in codes}))
    system = opened.coding.name if opened.coding else ""
    with new_folder(folder, "--out ") as fresh:
        for document in documents:
            (fresh / document.split).mkdir(exist_ok=True)
            annotations = own_marks.written(document.text, marks_by_id[document.id], titles, system)
            paths = own_marks.paths(fresh / document.split, document.id)
            for path, content in zip(paths, (document.text, annotations), strict=True):
                path.write_text(content, encoding="utf-8", newline="")
    return sorted(folder / split for split in {document.split for document in documents})


def annotate(
    folder: Path, name: str, text: str, marks: own_marks.Spans, titles: Mapping[str, str], system: str
) -> list[Path]:
    """Write a note and its marked words for BRAT, readable by their owner alone; return the two files.

    Raises SpecError if one of them exists, and OSError.
    """
    paths = own_marks.paths(folder, name)
    if existing := next((path for path in paths if path.exists()), None):
        raise SpecError(f"{existing} exists, perhaps with somebody's marks; name another folder, or remove it")
    for path, content in zip(paths, (text, own_marks.written(text, marks, titles, system)), strict=True):
        with replacing(path, private=True) as fresh:
            fresh.write_text(content, encoding="utf-8", newline="")
    return paths


def _rows(built: Corpus, documents: Mapping[str, Document], data: DataSpec, report: Report) -> Iterator[ExportedRow]:
    ids = [name for split in SPLITS for name in built.splits[split].ids]
    label_set = set(built.vocabulary.codes)
    for done, name in enumerate(ids, start=1):
        document = documents[name]
        words = tokenize(document.text, data.words)
        codes = document.codes
        if data.top_codes is not None:
            codes = tuple(code for code in codes if code in label_set)
        if done % BATCH == 0 or done == len(ids):
            report("documents", done, len(ids))
        yield ExportedRow(name, document.split, " ".join(words), codes, len(words))


def _csv(rows: Iterator[ExportedRow], folder: Path) -> None:
    with (folder / "documents.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(output.csv_row(ExportedRow._fields))
        for row in rows:
            _check(row, "csv", SEMICOLON)
            file.write(output.csv_row([row.id, row.split, row.tokens, ";".join(row.codes), row.length]))


def _parquet(rows: Iterator[ExportedRow], folder: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = {"codes": pa.list_(pa.string()), "length": pa.int64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in ExportedRow._fields])
    with parquet.ParquetWriter(folder / "documents.parquet", schema) as writer:
        while batch := [row._asdict() for row in islice(rows, BATCH)]:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))


def _libmultilabel(rows: Iterator[ExportedRow], folder: Path) -> None:
    """train.txt, valid.txt and test.txt: id, codes joined by spaces, and tokens, separated by tabs."""
    with ExitStack() as stack:
        files = {
            split: stack.enter_context((folder / f"{name}.txt").open("w", encoding="utf-8"))
            for split, name in zip(SPLITS, ("train", "valid", "test"), strict=True)
        }
        for row in rows:
            _check(row, "libmultilabel", BLANK, TAB)
            files[row.split].write(f"{row.id}\t{' '.join(dict.fromkeys(row.codes))}\t{row.tokens}\n")


FORMATS: Mapping[str, Callable[[Iterator[ExportedRow], Path], None]] = {
    "csv": _csv,
    "parquet": _parquet,
    "libmultilabel": _libmultilabel,
}


def _check(row: ExportedRow, fmt: str, code: re.Pattern[str], name: re.Pattern[str] | None = None) -> None:
    """Raises DataError if a code or the id contains a separator of the format: what `code` or `name` matches."""
    pairs = [("code", each, code) for each in row.codes] + ([("id", row.id, name)] if name else [])
    for what, cell, separator in pairs:
        if found := separator.search(cell):
            raise DataError(
                f"{what} {shown(cell)} has {found[0]!r}, which would not read back from --format {fmt}; use --format parquet"
            )


def _lines(path: Path, lines: Sequence[str]) -> None:
    if broken := next((line for line in lines if line.splitlines() != [line]), None):
        raise DataError(
            f"code {shown(broken)} has a line break, but {path.name} holds one code a line; write it otherwise"
        )
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
