"""What tests of data, encoding and word vectors share: small files of a user's own, and how to look into a corpus."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from icdbench.data import datasets, encode
from icdbench.spec import Rule
from icdbench.types import SPLITS, Corpus, Encoded, Hierarchy

Row = dict[str, Any]
RULES: tuple[Rule, ...] = ("not-numeric", "some-letter", "ascii", "sentences")
TRICKY = "aZ_0 9!?;½²٣Ⅷ一百ßİΣςéé\0\x1c\x85\xa0\u2028\ud800😀µ-.\n\r\t"


def write(path: Path, rows: Sequence[Row]) -> Path:
    """The rows as the file's suffix asks; in CSV, lists of codes are joined."""
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        lines = [list(rows[0]), *(row.values() for row in rows)]
        quoted = (['"' + str(cell).replace('"', '""') + '"' for cell in line] for line in lines)
        path.write_text("".join(",".join(line) + "\n" for line in quoted), encoding="utf-8")
    return path


def rows(count: int, **extra: object) -> list[Row]:
    return [{"id": f"{i:03}", "text": f"note {i}", "codes": "A;B", **extra} for i in range(count)]


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """All that is below a folder, with the times of change."""
    found = sorted(root.rglob("*"))
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in found}


def prepared(name: str | Path, root: Path | None = None, **changes: object) -> Corpus:
    return datasets.open(str(name), root, changes).corpus()


def words(corpus: Corpus, part: Encoded, document: int) -> list[str]:
    span = slice(*part.token_offsets[document : document + 2])
    return [corpus.vocabulary.tokens[token] for token in part.tokens[span]]


def codes(corpus: Corpus, part: Encoded, document: int) -> list[str]:
    span = slice(*part.code_offsets[document : document + 2])
    return [corpus.vocabulary.codes[code] for code in part.codes[span]]


def same(one: Corpus, other: Corpus) -> bool:
    pairs = [(one.background, other.background), *((one.splits[s], other.splits[s]) for s in SPLITS)]
    arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for a, b in pairs for name in encode._ARRAYS)
    titles = all(map(np.array_equal, one.descriptions, other.descriptions))
    names = one.vocabulary == other.vocabulary and one.splits["test"].ids == other.splits["test"].ids
    return arrays and titles and names and same_tree(one.hierarchy, other.hierarchy)


def same_tree(one: Hierarchy | None, other: Hierarchy | None) -> bool:
    if one is None or other is None:
        return one is other
    titles = all(map(np.array_equal, one.descriptions, other.descriptions))
    return titles and one.ancestors == other.ancestors and np.array_equal(one.parents, other.parents)
