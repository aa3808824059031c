"""`evaluate`: the metrics for scores and labels in users' forms: arrays, sparse matrices, DataFrames, lists of codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, issparse

from icdbench.evaluation import metrics
from icdbench.settings import SpecError, shown

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

    from icdbench.types import IntArray

CODE_LISTS = "a list of codes for each document, such as [['I10'], ['E11', 'I10']]"


def evaluate(
    scores: ArrayLike | pd.DataFrame | Sequence[Sequence[str]],
    labels: ArrayLike | pd.DataFrame | Sequence[Sequence[str]],
    threshold: float = 0.5,
    *,
    unseen: ArrayLike | None = None,
    train_counts: IntArray | None = None,
) -> dict[str, float]:
    """See `icdbench.evaluate` (icdbench.api). Raises SpecError."""
    only_sets = _has_codes(scores)
    if only_sets and not _has_codes(labels):
        raise SpecError(f"scores are lists of codes, so labels must be {CODE_LISTS}")
    if only_sets:
        codes = sorted({code for row in (*_rows(scores), *_rows(labels)) for code in row})
        scores_NL, labels_NL, counted = _binary(scores, codes)[0].toarray(), _binary(labels, codes)[0], None
    elif _has_codes(labels):
        if not hasattr(scores, "columns"):
            raise SpecError("labels are lists of codes, so scores must be a DataFrame with a column for each code")
        _check_unique(scores.columns, "scores", "column")
        labels_NL, counted = _binary(labels, list(scores.columns))
        scores_NL = _array(scores)
    else:
        (scores_NL, labels_NL), counted = _aligned(scores, labels), None
    try:
        unseen_N = counted if unseen is None else np.asarray(unseen).reshape(-1)
        found = metrics.evaluate(scores_NL, labels_NL, threshold, unseen=unseen_N, train_counts=train_counts)
        if not only_sets:
            return found
        ranked = metrics.ranking(scores_NL, labels_NL).keys()
    except ValueError as error:
        raise SpecError(str(error)) from None
    return {key: value for key, value in found.items() if key not in ranked and not key.startswith("auc")}


def _has_codes(given: Any) -> bool:
    """Whether these are lists of codes, of which some may be empty."""
    if hasattr(given, "columns") or issparse(given) or isinstance(given, np.ndarray):
        return False
    rows = [row for row in given if not isinstance(row, str)]
    cells = [cell for row in rows if hasattr(row, "__iter__") for cell in row]
    return any(isinstance(cell, str) for cell in cells) or (bool(rows) and not cells)


def _rows(given: Any) -> list[list[str]]:
    rows = list(given)
    for number, row in enumerate(rows, start=1):
        if isinstance(row, str) or not hasattr(row, "__iter__") or not all(isinstance(code, str) for code in row):
            raise SpecError(f"document {number}: {shown(str(row))} is no list of codes; give {CODE_LISTS}")
    return [list(dict.fromkeys(row)) for row in rows]


def _binary(given: Any, codes: Sequence[str]) -> tuple[csr_matrix, IntArray]:
    """A matrix [N, L] of the documents' codes among `codes`, and the number of each document's other codes [N]."""
    rows, position = _rows(given), {code: number for number, code in enumerate(codes)}
    found = [[position[code] for code in row if code in position] for row in rows]
    offsets = np.cumsum([0, *map(len, found)])
    columns = np.array([number for row in found for number in row], np.int32)
    matrix = csr_matrix((np.ones(len(columns), np.uint8), columns, offsets), shape=(len(rows), len(codes)))
    others = np.array([len(row) - len(kept) for row, kept in zip(rows, found, strict=True)], np.int64)
    return matrix, others


def _aligned(scores: Any, labels: Any) -> tuple[Any, Any]:
    """Scores and labels as arrays, in the same order of documents and codes if both are DataFrames."""
    if hasattr(scores, "columns") and hasattr(labels, "columns"):
        for axis, what in (("index", "row"), ("columns", "column")):
            ours, theirs = getattr(scores, axis), getattr(labels, axis)
            _check_unique(ours, "scores", what)
            _check_unique(theirs, "labels", what)
            for names, others, name in ((ours, theirs, "labels"), (theirs, ours, "scores")):
                if len(missing := names.difference(others)):
                    raise SpecError(f"{name} lack {what} {shown(str(missing[0]))}, and {len(missing) - 1} more")
        labels = labels.reindex(index=scores.index, columns=scores.columns)
    return _array(scores).toarray() if issparse(_array(scores)) else _array(scores), _array(labels)


def _check_unique(names: Any, which: str, what: str) -> None:
    if not names.is_unique:
        raise SpecError(f"{which} have {what} {shown(str(names[names.duplicated()][0]))} twice")


def _array(given: Any) -> Any:
    return given.to_numpy() if hasattr(given, "columns") else given
