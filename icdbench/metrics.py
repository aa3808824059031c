"""Figures of merit: pure functions of (scores, labels), defined in one place for every model and table.

Shapes: N documents, L codes, P gold pairs (a document and one of its codes among the L). All figures are fractions in
[0, 1]. A code is predicted where its score is above the threshold; at exactly the threshold it is not. An undefined
ratio of counts (precision where nothing is predicted) is 0, as in scikit-learn. A figure that is undefined as a whole
(an AUC where no code has both classes, `map` where no document has a gold code) is left out of the dict, because
records hold no NaN.

`unseen` [N] counts each document's gold codes outside the L columns, which training never shows. Nobody can predict
them, so they count as missed wherever documents or cells are pooled: micro recall and F1, exact match, and the number
of gold codes in r@k, map, map_official and r_precision. Macro figures and AUC are over the L columns.

`evaluate` gives, in this order (the keys and definitions of the suite's records):

- `auc_macro` mean ROC AUC over codes with both classes, `auc_micro` over all cells, `auc_labels` how many such codes;
- `f1_macro` mean F1 over all L codes; `f1_macro_present` over codes with a gold document; `f1_macro_harmonic`, the
  harmonic mean of `precision_macro` and `recall_macro` (JLAN's eq. 21): three figures published under one name;
- `precision_micro`, `recall_micro`, `f1_micro` all cells pooled; `jaccard_macro`, `jaccard_micro` TP / (TP + FP + FN), which
  the programs around CAML print as "accuracy";
- `exact_match` documents predicted without any error, `accuracy` cells predicted right (the many true negatives among them);
- `p@k`, `r@k` hits among the k best codes by min(k, L), and by the gold codes (0 without any), mean over documents;
- `map` mean average precision, `r_precision` hits among the R best by R, R = gold codes: over documents with gold codes;
- `map_official` CodiEsp's: ranks past 1,000 earn nothing, and documents without gold codes count 0 in the mean;
- with `train_counts`, `f1_micro[b]`, `recall_micro[b]` and `f1_macro[b]` for each of BUCKETS that has codes. Unseen
  codes belong to bucket 0, so true positives and misses of the buckets add up to those of all cells.

Equal scores are ranked by code position, lowest first. Sums over documents are exact or correctly rounded: no figure
depends on the order of the documents. `icdbench.bootstrap` has the same figures of resampled documents; what both need
takes arrays with leading axes and gives NaN where a figure is undefined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, issparse

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from icdbench.types import FloatArray, IntArray

K = (5, 8, 15)
# how often a code occurs in training: the highest count of each bucket, and its name
BUCKETS = {0: "0", 10: "1-10", 50: "11-50", 100: "51-100", 500: "101-500", math.inf: ">500"}
IN_BUCKETS = ("f1_micro", "recall_micro", "f1_macro")
OFFICIAL_DEPTH = 1000  # trectools' default, which CodiEsp's script does not change
BLOCK_CELLS = 1 << 22  # cells sorted at a time, so that memory stays small; micro AUC alone sorts all at once


@dataclass(frozen=True, eq=False)
class Scored:
    """Checked scores and their gold pairs, by document, then by code: all that figures follow from."""

    scores_NL: FloatArray
    docs_P: IntArray
    codes_P: IntArray
    values_P: FloatArray
    unseen_N: IntArray
    counts_L: IntArray | None


def scored(
    scores: ArrayLike,
    labels: ArrayLike | csr_matrix,
    unseen: IntArray | None = None,
    train_counts: IntArray | None = None,
) -> Scored:
    """Arguments and errors as `evaluate`."""
    scores_NL = _scores(scores)
    N, L = scores_NL.shape
    docs_P, codes_P = _gold(labels, (N, L))
    unseen_N = np.zeros(N, dtype=np.int64) if unseen is None else _counts(unseen, N, "unseen")
    counts_L = None if train_counts is None else _counts(train_counts, L, "train_counts")
    return Scored(scores_NL, docs_P, codes_P, scores_NL[docs_P, codes_P], unseen_N, counts_L)


def evaluate(
    scores: ArrayLike,
    labels: ArrayLike | csr_matrix,
    threshold: float = 0.5,
    *,
    unseen: IntArray | None = None,
    train_counts: IntArray | None = None,
) -> dict[str, float]:
    """All figures of the module's docstring, in its order.

    `scores` [N, L]: any numbers that rank, on the scale of `threshold`: 0.5 is for probabilities, 0 for logits.
    `labels` [N, L]: zeros and ones, dense or scipy sparse, of any dtype. `unseen` [N]: 0 where not given.
    `train_counts` [L]: training documents of each code; adds the buckets.

    Raises ValueError for shapes that do not fit, no cells, scores that are not finite, labels other than 0 and 1.
    """
    return evaluate_rules(scored(scores, labels, unseen, train_counts), {"": threshold})[""]


def evaluate_rules(given: Scored, thresholds: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """`evaluate` under several thresholds, by their names. What no threshold enters is computed once."""
    areas, ranking = _auc(given), _means(ranked(given))
    figures = {}
    for rule, threshold in thresholds.items():
        predicted_NL = given.scores_NL > _threshold(threshold)
        counts = (*code_counts(given, predicted_NL), given.unseen_N.sum())
        found = areas | agreement(*counts) | _means(decided(given, predicted_NL)) | ranking
        if given.counts_L is not None:
            found |= buckets(given.counts_L, *counts)
        figures[rule] = {key: float(value) for key, value in found.items() if not np.isnan(value)}
    return figures


def ranking(scores: ArrayLike, labels: ArrayLike | csr_matrix, *, unseen: IntArray | None = None) -> dict[str, float]:
    """The figures of the ranked list alone, p@k to `map_official`; arguments and errors as `evaluate`."""
    return {key: float(value) for key, value in _means(ranked(scored(scores, labels, unseen))).items()}


def _means(figures: Mapping[str, FloatArray]) -> dict[str, float]:
    """Means over the documents that count; without one the figure is left out."""
    known = {key: values_N[~np.isnan(values_N)] for key, values_N in figures.items()}
    return {key: math.fsum(values) / len(values) for key, values in known.items() if len(values)}


def tune_threshold(scores: ArrayLike, labels: ArrayLike | csr_matrix, *, unseen: IntArray | None = None) -> float:
    """The global threshold of highest micro-F1 over all cells, searched exactly; arguments and errors as `evaluate`.

    Of equal optima the highest, so the fewest predictions. It lies midway between two adjacent distinct scores, rounded
    to the scores' own type but never up to the upper one: it separates them whether the comparison is made in that type
    or in float64. Where predicting every cell is best it lies below all scores; where there is no gold pair, and
    micro-F1 is 0 at any threshold, at the highest score, so nothing is predicted.
    """
    scores_NL = _scores(scores)
    docs_P, codes_P = _gold(labels, scores_NL.shape)
    missed = 0 if unseen is None else int(_counts(unseen, len(scores_NL), "unseen").sum())
    if not len(docs_P):
        return float(scores_NL.max())
    # a best cut is just below some gold pair's score: lowering it past other cells only adds false positives
    lowest_V, gold_V = np.unique(scores_NL[docs_P, codes_P], return_counts=True)
    sorted_cells = np.sort(scores_NL, axis=None)
    below_V = np.searchsorted(sorted_cells, lowest_V)
    tp_V = np.cumsum(gold_V[::-1])[::-1]
    f1_V = 2 * tp_V / (sorted_cells.size - below_V + len(docs_P) + missed)
    best = len(f1_V) - 1 - int(np.argmax(f1_V[::-1]))
    upper = lowest_V[best]
    if below_V[best] == 0:
        return max(float(upper) - max(1.0, abs(float(upper))), float(np.finfo(upper.dtype).min))
    lower = sorted_cells[below_V[best] - 1]
    middle = lower / 2 + upper / 2  # halves first: the sum of two large scores may overflow
    return float(middle if lower <= middle < upper else lower)


def collapse(scores: ArrayLike, threshold: float = 0.5) -> str | None:
    """What is degenerate about scores [N, L], in words for a record and a table's flag; None if nothing is.

    Raises ValueError if there are no cells.
    """
    scores_NL = _scores(scores, finite=False)
    if not np.isfinite(scores_NL).all():
        return "scores are not finite"
    if len(scores_NL) > 1 and (scores_NL == scores_NL[0]).all():
        return "every document gets the same scores"
    predicted = np.count_nonzero(scores_NL > _threshold(threshold))
    if predicted == 0:
        return "no code is ever predicted"
    if predicted == scores_NL.size:
        return "every code is always predicted"
    return None


def popularity(train_counts: IntArray, N: int) -> FloatArray:
    """Scores [N, L] of a model that knows only how often training shows each code: the counts [L] for every document.

    A read-only view of one row. The scores rank; figures that need a threshold mean something at a tuned one only.
    """
    counts_L = _counts(train_counts, len(train_counts), "train_counts").astype(np.float64)
    return np.broadcast_to(counts_L, (N, len(counts_L)))


def _auc(given: Scored) -> dict[str, float]:
    scores_NL, codes_P, values_P = given.scores_NL, given.codes_P, given.values_P
    N, L = scores_NL.shape
    P = len(codes_P)
    gold_L = np.bincount(codes_P, minlength=L)
    both_L = (gold_L > 0) & (gold_L < N)

    figures = {}
    if both_L.any():
        by_code = np.argsort(codes_P, kind="stable")
        below_P, up_to_P = _counts_below(scores_NL.T, codes_P[by_code], values_P[by_code])
        wins_L = np.zeros(L, dtype=np.int64)
        np.add.at(wins_L, codes_P[by_code], below_P + up_to_P)
        figures["auc_macro"] = float(area(wins_L[both_L], gold_L[both_L], N - gold_L[both_L]).mean())
    if 0 < P < N * L:
        below_P, up_to_P = _counts_below(scores_NL.reshape(1, -1), np.zeros(P, dtype=np.int64), values_P)
        figures["auc_micro"] = area(int((below_P + up_to_P).sum()), P, N * L - P)
    return figures | {"auc_labels": float(np.count_nonzero(both_L))}


def area(wins: Any, gold: Any, rest: Any) -> Any:
    """ROC AUC. `wins`: summed over gold cells, the number of cells below plus that of cells below or equal.

    So a cell without the code counts 2 if below and 1 if equal; gold cells among themselves always add up to gold².
    Integers up to the division: the result does not depend on the order of the documents.
    """
    return (wins - gold * gold) / (2 * gold * rest)


def _counts_below(lines: FloatArray, line_P: IntArray, values_P: FloatArray) -> tuple[IntArray, IntArray]:
    """For each value: how many cells of its line (a row of `lines`) are below it, and how many below or equal.

    `line_P` ascends. Only lines that are asked for are sorted, a block at a time.
    """
    below_P, up_to_P = (np.empty(len(values_P), dtype=np.int64) for _ in range(2))
    wanted, starts = np.unique(line_P, return_index=True)
    ends = np.append(starts[1:], len(line_P))
    step = max(1, BLOCK_CELLS // lines.shape[1])
    for first in range(0, len(wanted), step):
        block = lines[wanted[first : first + step]]
        block.sort(axis=1)
        for i, line in enumerate(block, first):
            values = values_P[starts[i] : ends[i]]
            below_P[starts[i] : ends[i]] = line.searchsorted(values, "left")
            up_to_P[starts[i] : ends[i]] = line.searchsorted(values, "right")
    return below_P, up_to_P


def _ranks(given: Scored) -> IntArray:
    """The place of each gold pair's code in its document's ranking, 0 for the best [P]."""
    scores_NL, docs_P, codes_P, values_P = given.scores_NL, given.docs_P, given.codes_P, given.values_P
    below_P, up_to_P = _counts_below(scores_NL, docs_P, values_P)
    ranks_P: IntArray = scores_NL.shape[1] - up_to_P
    for i in np.flatnonzero(up_to_P - below_P > 1):
        ranks_P[i] += np.count_nonzero(scores_NL[docs_P[i], : codes_P[i]] == values_P[i])
    return ranks_P


def ranked(given: Scored) -> dict[str, FloatArray]:
    """Figures of each document's ranked list [N]; NaN where the document does not count in the mean."""
    N, L = given.scores_NL.shape
    docs_P, ranks_P = given.docs_P, _ranks(given)
    gold_N = np.bincount(docs_P, minlength=N) + given.unseen_N
    some_N = np.maximum(gold_N, 1)  # a document without gold codes has no hits either: 0 / 1
    hits = {k: np.bincount(docs_P[ranks_P < k], minlength=N) for k in K}
    figures = {f"p@{k}": hits[k] / min(k, L) for k in K} | {f"r@{k}": hits[k] / some_N for k in K}

    ranks_P = ranks_P[np.lexsort((ranks_P, docs_P))]
    nth_P = np.arange(len(docs_P)) - np.searchsorted(docs_P, docs_P)  # hits of the document that are ranked before
    precision_P = (nth_P + 1) / (ranks_P + 1)
    average_N = np.bincount(docs_P, precision_P, minlength=N) / some_N
    official_N = np.bincount(docs_P, precision_P * (ranks_P < OFFICIAL_DEPTH), minlength=N) / some_N
    found_N = np.bincount(docs_P[ranks_P < gold_N[docs_P]], minlength=N) / some_N
    figures |= {key: np.where(gold_N, each_N, np.nan) for key, each_N in (("map", average_N), ("r_precision", found_N))}
    return figures | {"map_official": official_N}


def decided(given: Scored, predicted_NL: NDArray[np.bool_]) -> dict[str, FloatArray]:
    """Figures of each document's predicted codes [N]."""
    N, L = given.scores_NL.shape
    hit_P = predicted_NL[given.docs_P, given.codes_P]
    tp_N, gold_N = (np.bincount(docs, minlength=N) for docs in (given.docs_P[hit_P], given.docs_P))
    wrong_N = np.count_nonzero(predicted_NL, axis=1) + gold_N - 2 * tp_N
    exact_N = (wrong_N == 0) & (given.unseen_N == 0)
    return {"exact_match": exact_N.astype(np.float64), "accuracy": (L - wrong_N) / L}


def code_counts(given: Scored, predicted_NL: NDArray[np.bool_]) -> tuple[IntArray, IntArray, IntArray]:
    """True positives, predicted and gold documents of each code, three times [L]."""
    L = predicted_NL.shape[1]
    hit_P = predicted_NL[given.docs_P, given.codes_P]
    tp_L, gold_L = (np.bincount(codes, minlength=L) for codes in (given.codes_P[hit_P], given.codes_P))
    return tp_L, np.count_nonzero(predicted_NL, axis=0), gold_L


def f1(tp: Any, predicted: Any, gold: Any) -> Any:
    """2TP / (predicted + gold), 0 where both are."""
    return _ratio(2 * tp, predicted + gold)


def agreement(tp: Any, predicted: Any, gold: Any, unseen: Any) -> dict[str, Any]:
    """Macro and micro figures [...] of counts [..., L] and of the unseen gold codes [...]."""
    f1s, present = f1(tp, predicted, gold), np.count_nonzero(gold, axis=-1)
    precision, recall = (_ratio(tp, whole).mean(-1) for whole in (predicted, gold))
    both = precision + recall
    hits, guesses, golds = tp.sum(-1), predicted.sum(-1), gold.sum(-1) + unseen
    return {
        "f1_macro": f1s.mean(-1),
        "f1_macro_present": np.where(present, f1s.sum(-1) / np.maximum(present, 1), np.nan),
        "f1_macro_harmonic": 2 * precision * recall / np.where(both, both, 1),
        "precision_macro": precision,
        "recall_macro": recall,
        "precision_micro": _ratio(hits, guesses),
        "recall_micro": _ratio(hits, golds),
        "f1_micro": f1(hits, guesses, golds),
        "jaccard_macro": _ratio(tp, predicted + gold - tp).mean(-1),
        "jaccard_micro": _ratio(hits, guesses + golds - hits),
    }


def buckets(counts_L: IntArray, tp: Any, predicted: Any, gold: Any, unseen: Any) -> dict[str, Any]:
    """As `agreement`, for the codes of each bucket of training frequency."""
    bucket_L = bucket_of(counts_L)
    figures: dict[str, Any] = {}
    for position, name in enumerate(BUCKETS.values()):
        inside_L = bucket_L == position
        missed = unseen if position == 0 else 0
        if inside_L.any():
            within = agreement(tp[..., inside_L], predicted[..., inside_L], gold[..., inside_L], missed)
            figures |= {f"{key}[{name}]": within[key] for key in IN_BUCKETS}
        elif np.any(missed):  # no column to average over, but gold codes that all are missed
            figures |= {f"{key}[{name}]": np.where(missed, 0.0, np.nan) for key in IN_BUCKETS if "micro" in key}
    return figures


def bucket_of(counts_L: IntArray) -> IntArray:
    """The position in BUCKETS of each code [L] that `counts_L` training documents have."""
    return np.searchsorted(list(BUCKETS), counts_L)


def _ratio(part: Any, whole: Any) -> Any:
    """part / whole; here part is 0 wherever whole is."""
    return part / np.maximum(whole, 1)


def _scores(scores: ArrayLike, *, finite: bool = True) -> FloatArray:
    scores_NL = np.asarray(scores)
    if scores_NL.ndim != 2:
        raise ValueError(f"scores must be a matrix of documents and codes, not of shape {scores_NL.shape}")
    if not scores_NL.size:
        raise ValueError(f"nothing to evaluate: scores of shape {scores_NL.shape}")
    if not np.issubdtype(scores_NL.dtype, np.floating):
        scores_NL = scores_NL.astype(np.float64)
    if finite and (bad := scores_NL.size - np.count_nonzero(np.isfinite(scores_NL))):
        raise ValueError(f"{bad} of {scores_NL.size} scores are not finite")
    return scores_NL


def _gold(labels: ArrayLike | csr_matrix, shape: tuple[int, ...]) -> tuple[IntArray, IntArray]:
    """Documents and codes of the gold pairs [P], by document, then by code."""
    labels_NL: Any = labels if issparse(labels) else np.asarray(labels)
    if labels_NL.shape != shape:
        raise ValueError(f"labels of shape {labels_NL.shape} do not fit scores of shape {shape}")
    if isinstance(labels_NL, np.ndarray):
        docs_P, codes_P = np.nonzero(labels_NL)
        values_P = labels_NL[docs_P, codes_P]
    else:
        matrix = csr_matrix(labels_NL, copy=True)  # the caller's own must not be tidied
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        docs_P = np.repeat(np.arange(shape[0]), np.diff(matrix.indptr))
        codes_P, values_P = matrix.indices.astype(np.int64), matrix.data
    if len(bad := values_P[values_P != 1]):
        raise ValueError(f"labels must be 0 or 1; {len(bad)} of them are not, such as {bad[0]}")
    return docs_P, codes_P


def _counts(values: ArrayLike, size: int, name: str) -> NDArray[np.int64]:
    counts = np.asarray(values)
    if counts.shape != (size,):
        raise ValueError(f"{name} has shape {counts.shape}, not ({size},)")
    if not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ValueError(f"{name} must be integers from 0 up")
    return counts.astype(np.int64)


def _threshold(threshold: float) -> float:
    """The threshold, to compare scores with. Raises ValueError if it is not a number."""
    if math.isnan(threshold):
        raise ValueError("the threshold is not a number")
    return float(threshold)  # a numpy scalar would have the scores compared in its type, not in theirs
