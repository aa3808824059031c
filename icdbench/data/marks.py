"""The words that a person marked for the codes of training documents: `read` finds them, `encode` makes arrays of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from icdbench.data.cache import load_arrays
from icdbench.data.source import Source
from icdbench.data.subwords import Subwords
from icdbench.data.tokens import Lexicon, Ragged, spans
from icdbench.settings import UnsuitableError
from icdbench.types import Document, Marks, composed

load = partial(load_arrays, Marks, "marks")
DocumentMarks = Sequence[tuple[str, Sequence[int]]]  # of a document: codes, and positions of words


def read(opened: Source, train: Sequence[Document], lexicon: Lexicon | Subwords) -> list[DocumentMarks]:
    """The marks of each training document, as positions of the words or subwords that they touch.

    Raises UnsuitableError for data without marks.
    """
    found = opened.marks()
    if not found:
        raise UnsuitableError(
            f"data.spans=true: data set '{opened.name}' comes without words that were marked for codes"
            + (" in this language; set data.language=es" if "language" in type(opened.data).model_fields else "")
            + "; leave data.spans and systems that need it out"
        )
    token_spans = lexicon.spans if isinstance(lexicon, Subwords) else partial(spans, rule=opened.data.words)
    marks_by_id = {composed(name): marks for name, marks in found.items()}
    return [_touched_words(document, marks_by_id.get(document.id, {}), token_spans) for document in train]


def _touched_words(
    document: Document,
    marks_by_code: Mapping[str, Sequence[Sequence[tuple[int, int]]]],
    token_spans: Callable[[str], Sequence[tuple[int, int]]],
) -> DocumentMarks:
    if not marks_by_code:
        return []
    starts, ends = np.array(token_spans(document.text), np.int64).reshape(-1, 2).T
    rows = []
    for code, marks in ((composed(code), marks) for code, marks in marks_by_code.items()):
        for mark in marks if code in document.codes else ():
            touched = np.zeros(len(starts), np.bool_)
            for begin, end in mark:
                touched |= (starts < end) & (ends > begin)
            rows.append((code, np.flatnonzero(touched).tolist()))
    return [(code, words) for code, words in rows if words]


def encode(documents: Sequence[DocumentMarks], code_index: Mapping[str, int]) -> Marks:
    """The marks of the documents as arrays, without those of codes outside the label set."""
    known = [[(code_index[code], words) for code, words in marks if code in code_index] for marks in documents]
    words, word_offsets = Ragged.of([words for marks in known for _, words in marks])
    codes, offsets = Ragged.of([[code for code, _ in marks] for marks in known])
    return Marks(words, word_offsets, codes, offsets)
