"""A prepared data set as plain files, for other programs and for checking.

The files hold the texts word for word: what covers the raw data covers them too.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from icdbench.datasets import Source
from icdbench.encode import corpus
from icdbench.files import replacing_folder
from icdbench.spec import DataError, DataSpec, SpecError, nearest
from icdbench.tokens import tokenize
from icdbench.types import SPLITS, Corpus, Document, Report, quiet

BATCH = 1000  # documents that are written at once


class Row(NamedTuple):
    """A document as it is exported: its tokens joined by spaces, its codes as the source lists them joined by `;`.

    With `data.top_codes` the other codes are another task, and left out.

    `length` counts all tokens; a model reads the first `data.max_tokens` of them, and those that vocabulary.txt lacks as
    unknown.
    """

    id: str
    split: str
    tokens: str
    codes: str
    length: int


def export(
    origin: Source, root: Path, data: DataSpec, folder: Path, fmt: str = "csv", report: Report = quiet
) -> list[Path]:
    """Write documents in their prepared order, vocabulary.txt, codes.txt and descriptions.csv; the files written.

    vocabulary.txt has the word of index i + 2 on line i (0 is padding, 1 unknown), codes.txt the code of index i. Raises
    SpecError for an unknown format and for a folder that is not empty, DataError if it cannot be written.
    """
    if fmt not in FORMATS:
        raise SpecError(f"no export format '{fmt}'{nearest(fmt, FORMATS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"--out '{folder}' is there already and not empty; name a new folder")
    built = corpus(origin, root, data, report)
    read = origin.read(root, data, report)
    titles = origin.titles(built.vocabulary.codes, root, data)
    try:
        with replacing_folder(folder) as fresh:
            FORMATS[fmt](_rows(built, {document.id: document for document in read.documents}, data, report), fresh)
            _lines(fresh / "vocabulary.txt", built.vocabulary.tokens[2:])
            _lines(fresh / "codes.txt", built.vocabulary.codes)
            _descriptions(fresh / "descriptions.csv", built.vocabulary.codes, titles)
            names = sorted(path.name for path in fresh.iterdir())
    except OSError as error:
        raise DataError(f"--out '{folder}' cannot be written: {error.strerror or error}; nothing was kept") from None
    return [folder / name for name in names]


def _rows(built: Corpus, documents: Mapping[str, Document], data: DataSpec, report: Report) -> Iterator[Row]:
    total = sum(map(len, built.splits.values()))
    done = 0
    left_out = set() if data.top_codes is None else {code for each in documents.values() for code in each.codes}
    left_out -= set(built.vocabulary.codes)
    for split in SPLITS:
        for name in built.splits[split].ids:
            document = documents[name]
            words = tokenize(document.text, data.words)
            done += 1
            if done % BATCH == 0 or done == total:
                report("documents", done, total)
            yield Row(
                name,
                split,
                " ".join(words),
                ";".join(code for code in document.codes if code not in left_out),
                len(words),
            )


def _csv(rows: Iterable[Row], folder: Path) -> None:
    with (folder / "documents.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)


def _parquet(rows: Iterable[Row], folder: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, pa.int64() if name == "length" else pa.string()) for name in Row._fields])
    with parquet.ParquetWriter(folder / "documents.parquet", schema) as writer:
        batch: list[Row] = []
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist([each._asdict() for each in batch], schema))
                batch = []
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist([each._asdict() for each in batch], schema))


def _libmultilabel(rows: Iterable[Row], folder: Path) -> None:
    """train.txt, valid.txt and test.txt: id, codes joined by spaces, and tokens, separated by tabs."""
    names = dict(zip(SPLITS, ("train", "valid", "test"), strict=True))
    files = {split: (folder / f"{name}.txt").open("w", encoding="utf-8") for split, name in names.items()}
    try:
        for row in rows:
            codes = dict.fromkeys(code for code in row.codes.split(";") if code)
            files[row.split].write(f"{row.id}\t{' '.join(codes)}\t{row.tokens}\n")
    finally:
        for file in files.values():
            file.close()


FORMATS: Mapping[str, Callable[[Iterable[Row], Path], None]] = {
    "csv": _csv,
    "parquet": _parquet,
    "libmultilabel": _libmultilabel,
}


def _lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _descriptions(path: Path, codes: Sequence[str], titles: Mapping[str, str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["code", "description"])
        writer.writerows([code, titles.get(code, "")] for code in codes)
