"""The metrics: pure functions of scores and labels, the same for every model and table. Entered by `evaluate`.

Shapes: N documents, L codes, P gold pairs (a document and one of its codes among the L). All figures are fractions in
[0, 1]. A code is predicted where its score is above the threshold; at exactly the threshold it is not. An undefined
ratio of counts (precision where nothing is predicted) is 0, as in scikit-learn. A figure that is undefined as a whole
(an AUC where no code has both classes, `map` where no document has a gold code) is left out, because records have no NaN.

`unseen` [N] counts each document's gold codes outside the L columns, which never occur in training. No model can
predict them, so they count as missed wherever documents or cells are pooled: micro recall and F1, exact match, and the
number of gold codes in r@k, map, map_official and r_precision. Macro figures and AUC cover the L columns only.

`evaluate` returns, in this order (these are also the keys of the suite's records):

- `auc_macro` mean ROC AUC over the codes with both classes (`auc_labels` is their number), `auc_micro` over all cells;
- `f1_macro` mean F1 over all L codes; `f1_macro_present` over codes with a gold document; `f1_macro_harmonic`, the
  harmonic mean of `precision_macro` and `recall_macro` (JLAN's eq. 21): all three are published as "macro F1";
- `precision_micro`, `recall_micro`, `f1_micro` all cells pooled; `jaccard_macro`, `jaccard_micro` TP / (TP + FP + FN),
  which CAML's code and its successors print as "accuracy";
- `exact_match` documents without any error, `accuracy` correctly predicted cells (mostly true negatives);
- `p@k`, `r@k` mean of the hits among a document's k best codes divided by min(k, L), or by its gold codes (0 if none);
- `map` mean average precision, `r_precision` hits among the R best divided by R, the number of gold codes; both over
  the documents with gold codes;
- `map_official` CodiEsp's definition: ranks beyond 1,000 are ignored, and documents without gold codes count as 0;
- with `train_counts`, `f1_micro[b]`, `recall_micro[b]` and `f1_macro[b]` for each of BUCKETS with codes. Unseen
  codes belong to bucket 0, so that the true positives and misses of the buckets add up to those of all cells.

Predictions made elsewhere have `outside_NF`, scores of codes outside the columns that are not gold. Above the threshold
these are false positives in micro figures, in bucket 0 and in exact match, and they take places in rankings. A score of 0
then means a code that is not listed: it has no place in the ranking and is never a hit.

Equal scores are ranked by code position, lowest first. Sums over documents are exact or correctly rounded, so no figure
depends on the order of the documents. `bootstrap` computes the same figures for resampled documents; functions shared
with it accept arrays with leading axes and return NaN where a figure is undefined.
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
# Buckets of codes by number of training documents: the highest number in each bucket, and its name.
BUCKETS = {0: "0", 10: "1-10", 50: "11-50", 100: "51-100", 500: "101-500", math.inf: ">500"}
NOWHERE = 1 << 60  # the rank of a gold code that is not listed
IN_BUCKETS = ("f1_micro", "recall_micro", "f1_macro")
OFFICIAL_DEPTH = 1000  # trectools' default, which CodiEsp's script does not change
BLOCK_CELLS = 1 << 22  # cells sorted at a time, to bound memory; only micro AUC sorts all at once


@dataclass(frozen=True, eq=False)
class Scored:
    """Checked scores and gold pairs, which are sorted by document, then by code: the input of every metric."""

    scores_NL: FloatArray
    docs_P: IntArray
    codes_P: IntArray
    values_P: FloatArray
    unseen_N: IntArray
    counts_L: IntArray | None
    outside_NF: FloatArray | None = None

    def outside(self, threshold: float) -> IntArray:
        """Count each document's predicted codes outside the columns [N]."""
        given_NF = np.zeros((len(self.scores_NL), 0)) if self.outside_NF is None else self.outside_NF
        counts_N: IntArray = np.count_nonzero(given_NF > max(threshold, 0.0), axis=1)
        return counts_N


def scored(
    scores: ArrayLike,
    labels: ArrayLike | csr_matrix,
    unseen: IntArray | None = None,
    train_counts: IntArray | None = None,
    outside: FloatArray | None = None,
) -> Scored:
    """Check scores and labels and find the gold pairs. Arguments and errors as `evaluate`; `outside` [N, F] is probabilities."""
    scores_NL = _scores(scores)
    N, L = scores_NL.shape
    docs_P, codes_P = _gold(labels, (N, L))
    unseen_N = np.zeros(N, dtype=np.int64) if unseen is None else _counts(unseen, N, "unseen")
    counts_L = None if train_counts is None else _counts(train_counts, L, "train_counts")
    return Scored(scores_NL, docs_P, codes_P, scores_NL[docs_P, codes_P], unseen_N, counts_L, outside)


def evaluate(
    scores: ArrayLike,
    labels: ArrayLike | csr_matrix,
    threshold: float = 0.5,
    *,
    unseen: IntArray | None = None,
    train_counts: IntArray | None = None,
) -> dict[str, float]:
    """Compute all metrics listed in the module's docstring, in that order.

    `scores` [N, L]: finite numbers on the scale of `threshold`, which is 0.5 for probabilities and 0 for logits.
    `labels` [N, L]: zeros and ones, dense or scipy sparse, of any dtype. `unseen` [N]: 0 by default.
    `train_counts` [L]: training documents with each code; if given, the buckets are added.

    Raises ValueError for shapes that do not match, empty scores, scores that are not finite, and labels other than 0
    and 1.
    """
    return evaluate_rules(scored(scores, labels, unseen, train_counts), {"": threshold})[""]


def evaluate_rules(given: Scored, thresholds: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Compute `evaluate` for several named thresholds; metrics that need no threshold are computed once."""
    areas, ranking = _auc(given), _means(ranking_by_document(given))
    figures = {}
    for rule, threshold in thresholds.items():
        predicted_NL = given.scores_NL > _threshold(threshold)
        outside_N = given.outside(threshold)
        counts = (*code_counts(given, predicted_NL), given.unseen_N.sum(), outside_N.sum())
        decisions = _means(decisions_by_document(given, predicted_NL, outside_N))
        found = areas | macro_and_micro(*counts) | decisions | ranking
        if given.counts_L is not None:
            found |= bucket_figures(given.counts_L, *counts)
        figures[rule] = {key: float(value) for key, value in found.items() if not np.isnan(value)}
    return figures


def ranking(scores: ArrayLike, labels: ArrayLike | csr_matrix, *, unseen: IntArray | None = None) -> dict[str, float]:
    """Compute only the ranking metrics, from p@k to `map_official`. Arguments and errors as `evaluate`."""
    return _means(ranking_by_document(scored(scores, labels, unseen)))


def _means(figures: Mapping[str, FloatArray]) -> dict[str, float]:
    """Return means over the documents whose figure is not NaN; a figure without any is left out."""
    known = {key: values_N[~np.isnan(values_N)] for key, values_N in figures.items()}
    return {key: math.fsum(values) / len(values) for key, values in known.items() if len(values)}


def tune_threshold(
    scores: ArrayLike, labels: ArrayLike | csr_matrix, *, unseen: IntArray | None = None, outside: FloatArray | None = None
) -> float:  # fmt: skip
    """Find the global threshold with the highest micro F1 over all cells, exactly. Arguments and errors as `evaluate`.

    Among equal optima the highest threshold wins, so the fewest codes are predicted. It lies midway between two
    adjacent distinct scores, rounded to the scores' own type but never up to the upper score, so that it separates them
    in that type and in float64. If predicting every cell is best, it lies below all scores. Without any gold pair micro
    F1 is 0 at every threshold; the highest score is returned, so nothing is predicted.
    """
    scores_NL = _scores(scores)
    docs_P, codes_P = _gold(labels, scores_NL.shape)
    missed = 0 if unseen is None else int(_counts(unseen, len(scores_NL), "unseen").sum())
    found_P = scores_NL[docs_P, codes_P]
    found_P = found_P if outside is None else found_P[found_P > 0]
    if not len(found_P):
        return float(scores_NL.max())
    # A best threshold is just below some gold pair's score: lowering it past other cells only adds false positives.
    lowest_V, gold_V = np.unique(found_P, return_counts=True)
    sorted_cells = np.concatenate([scores_NL.ravel(), *([] if outside is None else [outside.ravel()])])
    sorted_cells.sort()
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
    """Describe what is degenerate about scores [N, L], for records and tables; None if nothing is.

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
    """Score every document by how often training contains each code: a baseline [N, L] that ignores the notes.

    Returns a read-only view of one row. The scores are counts, so metrics with a threshold need a tuned one.
    """
    counts_L = _counts(train_counts, len(train_counts), "train_counts").astype(np.float64)
    return np.broadcast_to(counts_L, (N, len(counts_L)))


def _auc(given: Scored) -> dict[str, float]:
    scores_NL, codes_P, values_P = given.scores_NL, given.codes_P, given.values_P
    (N, L), P = scores_NL.shape, len(codes_P)
    gold_L = np.bincount(codes_P, minlength=L)
    both_L = (gold_L > 0) & (gold_L < N)
    figures = {}
    if both_L.any():
        by_code = np.argsort(codes_P, kind="stable")
        below_P, up_to_P = counts_below(scores_NL.T, codes_P[by_code], values_P[by_code])
        wins_L = np.zeros(L, dtype=np.int64)
        np.add.at(wins_L, codes_P[by_code], below_P + up_to_P)
        figures["auc_macro"] = float(area(wins_L[both_L], gold_L[both_L], N - gold_L[both_L]).mean())
    if 0 < P < N * L:
        below_P, up_to_P = counts_below(scores_NL.reshape(1, -1), np.zeros(P, dtype=np.int64), values_P)
        figures["auc_micro"] = area(int((below_P + up_to_P).sum()), P, N * L - P)
    return figures | {"auc_labels": float(np.count_nonzero(both_L))}


def area(wins: Any, gold: Any, rest: Any) -> Any:
    """Compute ROC AUC. `wins` sums over gold cells the number of cells below plus the number below or equal.

    A cell without the code counts 2 if it is below and 1 if it is equal; pairs of gold cells always add up to gold². All
    values are integers until the division, so the result does not depend on the order of the documents.
    """
    return (wins - gold * gold) / (2 * gold * rest)


def counts_below(lines: FloatArray, line_P: IntArray, values_P: FloatArray) -> tuple[IntArray, IntArray]:
    """Count for each value the cells of its line (a row of `lines`) below it, and those below or equal to it.

    `line_P` must ascend. Only the lines in it are sorted, a block at a time.
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


def ranks(given: Scored) -> IntArray:
    """Return the rank of each gold pair's code in its document [P], 0 for the best."""
    scores_NL, docs_P, codes_P, values_P = given.scores_NL, given.docs_P, given.codes_P, given.values_P
    below_P, up_to_P = counts_below(scores_NL, docs_P, values_P)
    ranks_P: IntArray = scores_NL.shape[1] - up_to_P
    for i in np.flatnonzero(up_to_P - below_P > 1):
        ranks_P[i] += np.count_nonzero(scores_NL[docs_P[i], : codes_P[i]] == values_P[i])
    if given.outside_NF is not None:
        ranks_P += np.count_nonzero(given.outside_NF[docs_P] > values_P[:, None], axis=1)
        ranks_P[values_P == 0] = NOWHERE
    return ranks_P


def ranking_by_document(given: Scored) -> dict[str, FloatArray]:
    """Compute the ranking metrics of each document [N]; NaN where the document does not count in the mean."""
    N, L = given.scores_NL.shape
    docs_P, ranks_P = given.docs_P, ranks(given)
    gold_N = np.bincount(docs_P, minlength=N) + given.unseen_N
    some_N = np.maximum(gold_N, 1)  # without gold codes there are no hits either: 0 / 1
    hits = {k: np.bincount(docs_P[ranks_P < k], minlength=N) for k in K}
    figures = {f"p@{k}": hits[k] / min(k, L) for k in K} | {f"r@{k}": hits[k] / some_N for k in K}
    ranks_P = ranks_P[np.lexsort((ranks_P, docs_P))]
    nth_P = np.arange(len(docs_P)) - np.searchsorted(docs_P, docs_P)  # hits of the same document with a better rank
    precision_P = (nth_P + 1) / (ranks_P + 1)
    average_N = np.bincount(docs_P, precision_P, minlength=N) / some_N
    official_N = np.bincount(docs_P, precision_P * (ranks_P < OFFICIAL_DEPTH), minlength=N) / some_N
    found_N = np.bincount(docs_P[ranks_P < gold_N[docs_P]], minlength=N) / some_N
    figures |= {key: np.where(gold_N, each_N, np.nan) for key, each_N in (("map", average_N), ("r_precision", found_N))}
    return figures | {"map_official": official_N}


def decisions_by_document(given: Scored, predicted_NL: NDArray[np.bool_], outside_N: IntArray) -> dict[str, FloatArray]:
    """Compute `exact_match` and `accuracy` of each document [N]."""
    tp_N, predicted_N, gold_N = document_counts(given, predicted_NL)
    wrong_N, L = predicted_N + gold_N - 2 * tp_N, predicted_NL.shape[1]
    exact_N = (wrong_N == 0) & (given.unseen_N == 0) & (outside_N == 0)
    return {"exact_match": exact_N.astype(np.float64), "accuracy": (L - wrong_N) / L}


def document_counts(given: Scored, predicted_NL: NDArray[np.bool_]) -> tuple[IntArray, IntArray, IntArray]:
    """Count the true positives, predicted codes and gold codes (among the L) of each document: three arrays [N]."""
    N = len(predicted_NL)
    hit_P = predicted_NL[given.docs_P, given.codes_P]
    tp_N, gold_N = (np.bincount(docs, minlength=N) for docs in (given.docs_P[hit_P], given.docs_P))
    return tp_N, np.count_nonzero(predicted_NL, axis=1), gold_N


def code_counts(given: Scored, predicted_NL: NDArray[np.bool_]) -> tuple[IntArray, IntArray, IntArray]:
    """Count the true positives, predicted documents and gold documents of each code: three arrays [L]."""
    L = predicted_NL.shape[1]
    hit_P = predicted_NL[given.docs_P, given.codes_P]
    tp_L, gold_L = (np.bincount(codes, minlength=L) for codes in (given.codes_P[hit_P], given.codes_P))
    return tp_L, np.count_nonzero(predicted_NL, axis=0), gold_L


def f1(tp: Any, predicted: Any, gold: Any) -> Any:
    """Return 2TP / (predicted + gold), 0 where both are 0."""
    return _ratio(2 * tp, predicted + gold)


def macro_and_micro(tp: Any, predicted: Any, gold: Any, unseen: Any, outside: Any = 0) -> dict[str, Any]:
    """Compute macro and micro metrics [...] from counts [..., L] and numbers of unseen gold and of outside codes [...]."""
    f1s, present = f1(tp, predicted, gold), np.count_nonzero(gold, axis=-1)
    precision, recall = (_ratio(tp, whole).mean(-1) for whole in (predicted, gold))
    both = precision + recall
    hits, guesses, golds = tp.sum(-1), predicted.sum(-1) + outside, gold.sum(-1) + unseen
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


def bucket_figures(
    counts_L: IntArray, tp: Any, predicted: Any, gold: Any, unseen: Any, outside: Any = 0
) -> dict[str, Any]:
    """Compute the metrics of IN_BUCKETS for each bucket of training frequency. Arguments as `macro_and_micro`."""
    figures: dict[str, Any] = {}
    bucket_L = bucket_of(counts_L)
    for position, name in enumerate(BUCKETS.values()):
        inside_L = bucket_L == position
        missed, wrong = (unseen, outside) if position == 0 else (0, 0)
        if inside_L.any():
            within = macro_and_micro(tp[..., inside_L], predicted[..., inside_L], gold[..., inside_L], missed, wrong)
            figures |= {f"{key}[{name}]": within[key] for key in IN_BUCKETS}
        elif np.any(missed):  # no columns to average over, but gold codes, all of them missed
            figures |= {f"{key}[{name}]": np.where(missed, 0.0, np.nan) for key in IN_BUCKETS if "micro" in key}
    return figures


def bucket_of(counts_L: IntArray) -> IntArray:
    """Return for each code [L], with its number of training documents, the position of its bucket in BUCKETS."""
    return np.searchsorted(list(BUCKETS), counts_L)


def _ratio(part: Any, whole: Any) -> Any:
    """Return part / whole; part must be 0 wherever whole is."""
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
    """Return documents and codes of the gold pairs [P], sorted by document, then by code."""
    labels_NL: Any = labels if issparse(labels) else np.asarray(labels)
    if labels_NL.shape != shape:
        raise ValueError(f"labels of shape {labels_NL.shape} do not fit scores of shape {shape}")
    if isinstance(labels_NL, np.ndarray):
        docs_P, codes_P = np.nonzero(labels_NL)
        values_P = labels_NL[docs_P, codes_P]
    else:
        matrix = csr_matrix(labels_NL, copy=True)  # do not change the caller's matrix
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
    """Return the threshold as a float. Raises ValueError if it is NaN."""
    if math.isnan(threshold):
        raise ValueError("the threshold is not a number")
    return float(threshold)  # a numpy scalar would impose its type on the comparison
