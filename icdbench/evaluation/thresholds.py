"""Decision thresholds: F1 along a grid, one threshold per group of codes, and conformal sets with a guarantee.

Shapes: N documents, L codes. Thresholds are chosen on validation and measured on test.

Split-conformal sets: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005; with a bound on the mean recall
(conformal risk control): Angelopoulos et al., ICLR 2024, https://arxiv.org/abs/2208.02814.
"""

from __future__ import annotations

import math

import numpy as np

from icdbench.evaluation import metrics
from icdbench.evaluation.groups import Groups
from icdbench.evaluation.metrics import Scored
from icdbench.types import FloatArray

GRID = tuple(step / 20 for step in range(1, 20))  # .05 to .95
ALPHA = 0.1  # error rate of conformal sets


def curve(given: Scored) -> dict[float, dict[str, float]]:
    """Compute micro and macro (mean over codes) F1 at each threshold of GRID."""
    found = {}
    for threshold in GRID:
        counts = (*metrics.code_counts(given, given.scores_NL > threshold), given.unseen_N.sum())
        figures = metrics.macro_and_micro(*counts)
        found[threshold] = {key: float(figures[key]) for key in ("f1_micro", "f1_macro")}
    return found


def of_groups(validation: Scored, groups: Groups, common: float) -> FloatArray:
    """Choose for each group of codes the threshold with the highest micro F1 in the group; return each code's threshold [L].

    A group without a gold document on validation keeps the `common` threshold.
    """
    thresholds_L = np.full(len(groups.number), common)
    for number in range(len(groups.names)):
        inside_L = groups.number == number
        pair_P = inside_L[validation.codes_P]
        if pair_P.any():
            column_L = np.cumsum(inside_L) - 1
            gold = np.zeros((len(validation.scores_NL), int(inside_L.sum())), np.uint8)
            gold[validation.docs_P[pair_P], column_L[validation.codes_P[pair_P]]] = 1
            thresholds_L[inside_L] = metrics.tune_threshold(validation.scores_NL[:, inside_L], gold)
    return thresholds_L


def whole_set_threshold(validation: Scored, alpha: float = ALPHA) -> float:
    """Return the lowest probability of codes in a set that has all gold codes of a note with probability 1 − alpha.

    The nonconformity of a note is 1 − p of its least probable gold code, infinite if one is outside the label set, and 0
    without gold codes. The threshold is 1 minus the ⌈(N + 1)(1 − alpha)⌉-th smallest nonconformity. It is 0, which admits
    every code, if there are too few notes for the guarantee, or too many with codes that cannot be predicted.
    """
    N = len(validation.scores_NL)
    lowest_N = np.ones(N)
    np.minimum.at(lowest_N, validation.docs_P, validation.values_P)
    lowest_N[validation.unseen_N > 0] = -np.inf
    rank = math.ceil(round((N + 1) * (1 - alpha), 9))
    return max(0.0, float(np.sort(lowest_N)[::-1][rank - 1])) if rank <= N else 0.0


def recall_threshold(validation: Scored, alpha: float = ALPHA) -> float:
    """Return the highest threshold for which the set of codes at or above it has an expected recall of at least 1 − alpha.

    With R(t) the mean over validation notes of the share of gold codes below t, it is the highest t, a gold code's
    probability, with (N · R(t) + 1) / (N + 1) ≤ alpha; 0 if there is none. A note without gold codes misses nothing.
    """
    N = len(validation.scores_NL)
    gold_N = np.bincount(validation.docs_P, minlength=N) + validation.unseen_N
    order = np.argsort(validation.values_P, kind="stable")
    values_P, loss_P = validation.values_P[order], 1 / gold_N[validation.docs_P[order]]
    lost = (validation.unseen_N / np.maximum(gold_N, 1)).sum()
    before_P = np.concatenate([[0.0], np.cumsum(loss_P)])[np.searchsorted(values_P, values_P)]  # by codes below each
    kept = np.flatnonzero((lost + before_P + 1) / (N + 1) <= alpha + 1e-12)
    return float(values_P[kept[-1]]) if len(kept) else 0.0


def sets(given: Scored, threshold: float) -> dict[str, float]:
    """Measure the sets of codes at or above a threshold.

    `covered` is the share of notes whose gold codes are all in the set, `recall` the mean share that is (1 for a note
    without gold codes), `size` the mean number of codes.
    """
    hits_N, sizes_N, gold_N = metrics.document_counts(given, given.scores_NL >= threshold)
    gold_N = gold_N + given.unseen_N
    recall_N = np.where(gold_N, hits_N / np.maximum(gold_N, 1), 1.0)
    return {
        "covered": float((recall_N == 1).mean()),
        "recall": float(recall_N.mean()),
        "size": float(sizes_N.mean()),
    }
