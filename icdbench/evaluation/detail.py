"""More figures of errors and rare codes, from the same checked scores as `metrics`.

Shapes: N documents, L codes, P gold pairs. As in `metrics`, `unseen` gold codes count as missed where documents or cells are
pooled (Jaccard, micro PR-AUC); figures of codes cover the label set.

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

A, B = 0.55, 1.5  # parameters of the propensity model that its authors use when propensities are unknown


def of_decisions(given: Scored, predicted_NL: NDArray[np.bool_]) -> dict[str, float]:
    """Compute the figures that depend on a threshold.

    - `jaccard`: the mean over documents of the number of codes both predicted and gold over that of either, 1 without either;
    - `fpr_micro`: the share of cells without the code that are predicted; `fpr_macro`: its mean over codes that some document
      lacks;
    - `predicted_ratio`: the number of predicted codes over that of gold codes;
    - `never_predicted`: the number of codes that are never predicted, `never_predicted_share` that number over L,
      `never_predicted_gold` the number of those that some document of the split has.
    """
    tp_N, predicted_N, gold_N = metrics.document_counts(given, predicted_NL)
    either_N = predicted_N + gold_N + given.unseen_N - tp_N
    jaccard_N = np.where(either_N, tp_N / np.maximum(either_N, 1), 1.0)
    tp_L, predicted_L, gold_L = metrics.code_counts(given, predicted_NL)
    wrong_L, without_L = predicted_L - tp_L, len(predicted_NL) - gold_L
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
    """Compute average precision and psp@k; empty without gold codes. `documents` is the size of the training split.

    `pr_auc_macro` is the mean over the codes with a gold document; `pr_auc_micro` is of all cells, unseen codes never found.
    """
    if not len(given.docs_P):
        return {}
    order = np.argsort(given.codes_P, kind="stable")
    codes_P, values_P = given.codes_P[order], given.values_P[order]
    of_codes_P = _precisions(given.scores_NL.T, codes_P, values_P) / np.bincount(codes_P)[codes_P]
    of_cells_P = _precisions(given.scores_NL.reshape(1, -1), np.zeros(len(codes_P), np.int64), given.values_P)
    figures = {
        "pr_auc_macro": float(np.sum(of_codes_P) / len(np.unique(codes_P))),
        "pr_auc_micro": math.fsum(of_cells_P) / (len(of_cells_P) + int(given.unseen_N.sum())),
    }
    return figures | psp(given, propensity_weights(train_counts_L, documents))


def _precisions(lines: FloatArray, line_P: IntArray, values_P: FloatArray) -> FloatArray:
    """Return for each gold cell (sorted by line) the precision among the cells of its line with at least its value [P]."""
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
    """Return the weight of a code, w_l = 1 + C (N_l + B)^−A with C = (ln N − 1)(B + 1)^A, which is larger for rarer codes.

    N is the number of training documents, N_l that of those with the code. C is 0 for fewer than three documents.
    """
    C = max(0.0, math.log(max(1, documents)) - 1) * (B + 1) ** A
    weights_L: FloatArray = 1 + C * (train_counts_L + B) ** -A
    return weights_L


def psp(given: Scored, weights_L: FloatArray) -> dict[str, float]:
    """Compute psp@k: the weights of gold codes among the k best of each document, over those of the ideal ranking.

    Both are summed over documents before the division. The ideal ranking has the gold codes of the label set by falling weight.
    """
    own_P, ranks_P = weights_L[given.codes_P], metrics.ranks(given)
    order = np.lexsort((-own_P, given.docs_P))
    docs_P, best_P = given.docs_P[order], own_P[order]
    place_P = np.arange(len(docs_P)) - np.searchsorted(docs_P, docs_P)
    return {f"psp@{k}": float(own_P[ranks_P < k].sum() / best_P[place_P < k].sum()) for k in K}
