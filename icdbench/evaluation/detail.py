"""Figures of errors and rare codes beside those of `metrics`, from the same checked scores.

Shapes: N documents, L codes, P gold pairs. `unseen` gold codes count as missed where documents or cells are pooled (Jaccard,
micro PR-AUC), as in `metrics`; figures of codes cover the label set.

Propensity: Jain, Prabhu, Varma, KDD 2016, https://doi.org/10.1145/2939672.2939756. PR-AUC as scikit-learn's average
precision: https://scikit-learn.org/stable/modules/generated/sklearn.metrics.average_precision_score.html.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from icdbench.evaluation import metrics
from icdbench.evaluation.metrics import K, Scored
from icdbench.types import FloatArray, IntArray

A, B = 0.55, 1.5  # of the propensity model, as its authors use them for data of unknown propensities


def of_decisions(given: Scored, predicted_NL: NDArray[np.bool_]) -> dict[str, float]:
    """Compute what depends on a threshold.

    `jaccard` is the mean over documents of the codes that are both predicted and gold over those that are either, 1 where
    there is neither. `fpr_micro` is the share of the cells without the code that are predicted; `fpr_macro` the mean of
    that share over codes that some document lacks. `predicted_ratio` is the number of predicted codes over that of gold codes.
    `never_predicted` counts codes, `never_predicted_gold` those of them that some document of the split has;
    `never_predicted_share` is the first over L.
    """
    N = len(predicted_NL)
    hit_P = predicted_NL[given.docs_P, given.codes_P]
    tp_N, gold_N = (np.bincount(docs, minlength=N) for docs in (given.docs_P[hit_P], given.docs_P))
    either_N = np.count_nonzero(predicted_NL, axis=1) + gold_N + given.unseen_N - tp_N
    jaccard_N = np.where(either_N, tp_N / np.maximum(either_N, 1), 1.0)
    tp_L, predicted_L, gold_L = metrics.code_counts(given, predicted_NL)
    wrong_L, without_L = predicted_L - tp_L, N - gold_L
    never_L = predicted_L == 0
    figures = {
        "jaccard": float(jaccard_N.mean()),
        "fpr_micro": float(wrong_L.sum() / max(1, without_L.sum())),
        "fpr_macro": float((wrong_L / np.maximum(without_L, 1))[without_L > 0].mean()) if without_L.any() else 0.0,
        "never_predicted": float(never_L.sum()),
        "never_predicted_share": float(never_L.mean()),
        "never_predicted_gold": float((never_L & (gold_L > 0)).sum()),
    }
    all_gold = gold_L.sum() + given.unseen_N.sum()
    return figures | ({"predicted_ratio": float(predicted_L.sum() / all_gold)} if all_gold else {})


def of_ranking(given: Scored, train_counts_L: IntArray, documents: int) -> dict[str, float]:
    """Compute PR-AUC and psp@k; what has no gold code is left out. `documents` is the size of the training split."""
    if not len(given.docs_P):
        return {}
    figures = {"pr_auc_macro": pr_auc_macro(given), "pr_auc_micro": pr_auc_micro(given)}
    return figures | psp(given, propensity_weights(train_counts_L, documents))


def pr_auc_macro(given: Scored) -> float:
    """Average the average precision over the codes with a gold document."""
    order = np.argsort(given.codes_P, kind="stable")
    codes_P, values_P = given.codes_P[order], given.values_P[order]
    parts_P = _precisions(given.scores_NL.T, codes_P, values_P)
    sizes_P = np.bincount(codes_P)[codes_P]
    return float(np.sum(parts_P / sizes_P) / len(np.unique(codes_P)))


def pr_auc_micro(given: Scored) -> float:
    """Compute average precision over all cells; unseen gold codes are never found."""
    parts_P = _precisions(given.scores_NL.reshape(1, -1), np.zeros(len(given.codes_P), np.int64), given.values_P)
    return math.fsum(parts_P) / (len(parts_P) + int(given.unseen_N.sum()))


def _precisions(lines: FloatArray, line_P: IntArray, values_P: FloatArray) -> FloatArray:
    """Return for each gold cell, sorted by its line, the precision among the cells of the line that are not below it [P]."""
    below_P, _ = metrics.counts_below(lines, line_P, values_P)
    order = np.lexsort((values_P, line_P))
    line, value = line_P[order], values_P[order]
    new = np.concatenate([[True], (line[1:] != line[:-1]) | (value[1:] != value[:-1])])
    first = np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))  # of the equal values of a line
    gold_P = np.empty(len(values_P), np.int64)
    gold_P[order] = np.searchsorted(line, line, side="right") - first
    precisions: FloatArray = gold_P / (lines.shape[1] - below_P)
    return precisions


def propensity_weights(train_counts_L: IntArray, documents: int) -> FloatArray:
    """Return w_l = 1 + C (N_l + B)^−A with C = (ln N − 1)(B + 1)^A: what finding a code is worth, more for rarer ones.

    N is the number of training documents, N_l that of those with the code. C is 0 for fewer than three documents.
    """
    C = max(0.0, math.log(max(1, documents)) - 1) * (B + 1) ** A
    weights_L: FloatArray = 1 + C * (train_counts_L + B) ** -A
    return weights_L


def psp(given: Scored, weights_L: FloatArray) -> dict[str, float]:
    """Compute psp@k: the weights of the gold codes among the k best of each document, over those of the best ranking.

    Both are summed over documents before the division. Best: gold codes of the label set by falling weight.
    """
    own_P, ranks_P = weights_L[given.codes_P], metrics.ranks(given)
    order = np.lexsort((-own_P, given.docs_P))
    docs_P, best_P = given.docs_P[order], own_P[order]
    place_P = np.arange(len(docs_P)) - np.searchsorted(docs_P, docs_P)
    return {f"psp@{k}": float(own_P[ranks_P < k].sum() / best_P[place_P < k].sum()) for k in K}
