"""The words that a person marked for the codes of training documents (`icdbench.types.Marks`), and their arrays in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from icdbench.data.source import Source
from icdbench.data.subwords import Subwords
from icdbench.data.tokens import Lexicon, Ragged, spans
from icdbench.settings import UnsuitableError
from icdbench.types import Document, IntArray, Marks, composed

ARRAYS = tuple(Marks.__dataclass_fields__)

Marked = Sequence[tuple[str, Sequence[int]]]  # of a document: codes, and positions of words


def read(opened: Source, train: Sequence[Document], lexicon: Lexicon | Subwords) -> list[Marked]:
    """The marks of each training document, by those of the lexicon's words, or subwords, that they touch.

    Marks of other documents are not looked at. Raises UnsuitableError for data without marks.
    """
    found = opened.marks()
    if not found:
        raise UnsuitableError(
            f"data.spans=true: data set '{opened.name}' comes without words that were marked for codes"
            + (" in this language; set data.language=es" if "language" in type(opened.data).model_fields else "")
            + "; leave data.spans and systems that need it out"
        )
    places: Callable[[str], list[tuple[int, int]]] = partial(spans, rule=opened.data.words)
    if isinstance(lexicon, Subwords):
        places = lexicon.spans
    by_id = {composed(name): codes for name, codes in found.items()}
    return [_of_document(document, by_id.get(document.id, {}), places) for document in train]


def _of_document(
    document: Document,
    marked: Mapping[str, Sequence[Sequence[tuple[int, int]]]],
    places: Callable[[str], Sequence[tuple[int, int]]],
) -> Marked:
    if not marked:
        return []
    starts, ends = np.array(places(document.text), np.int64).reshape(-1, 2).T
    rows = []
    for code, marks in ((composed(code), marks) for code, marks in marked.items()):
        for mark in marks if code in document.codes else ():
            touched = np.zeros(len(starts), np.bool_)
            for begin, end in mark:
                touched |= (starts < end) & (ends > begin)
            rows.append((code, np.flatnonzero(touched).tolist()))
    return [(code, words) for code, words in rows if words]


def encode(documents: Sequence[Marked], code_index: Mapping[str, int]) -> Marks:
    """The marks of documents; those of codes outside the label set are left out."""
    known = [[(code_index[code], words) for code, words in marked if code in code_index] for marked in documents]
    words, word_offsets = Ragged.of([words for marked in known for _, words in marked])
    codes, offsets = Ragged.of([[code for code, _ in marked] for marked in known])
    return Marks(words, word_offsets, codes, offsets)


def save(found: Marks, folder: Path) -> None:
    """Write the arrays of a cached data set."""
    for name in ARRAYS:
        array: IntArray = getattr(found, name)
        np.save(folder / f"marks.{name}.npy", array, allow_pickle=False)


def load(folder: Path) -> Marks | None:
    """What was saved; None for a data set without marks. Raises OSError, ValueError."""
    if not (folder / f"marks.{ARRAYS[0]}.npy").exists():
        return None
    return Marks(**{name: np.load(folder / f"marks.{name}.npy", allow_pickle=False) for name in ARRAYS})
