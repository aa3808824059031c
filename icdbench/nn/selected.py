"""Logistic regressions of many codes, each on few of very many sparse features.

Which features a code gets is decided by their association with it (`best_by_chi2`) or by an L1 penalty (`fit_l1`). With few
features most documents have the same ones, none, so a code is fitted on its distinct rows, each with its number of documents,
by scikit-learn's LIBLINEAR. Codes are fitted in threads.

Shapes in names: N documents, V features, L codes, C codes of one part, K features of one code, P distinct rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from joblib import Parallel, delayed
from scipy.sparse import csc_matrix, csr_matrix, vstack

from icdbench.types import FloatArray, IntArray

TOGETHER = 64  # codes of one part
FIRST_FEATURES = 100  # of a code's first working set
ROUNDS = 20
VISITED_BY_ROW = 5  # where fewer documents than one in so many have a feature, their rows are copied for a product
VIOLATION = 0.01  # how far beyond the penalty a left-out feature's gradient may be, as a share of it
SMOOTHING = 0.5  # documents added to those with a code, and to those without, for its log-odds

Fitted = tuple[IntArray, FloatArray, float]  # the features of a code [K], their coefficients [K], its intercept


def cooccurring(features_NV: csr_matrix, labels_NL: csc_matrix) -> Iterator[tuple[int, csr_matrix]]:
    """Yield, part by part, the first code and how many of each code's documents have each feature [C, V]."""
    labels_LN = labels_NL.T.tocsr().astype(np.float32)
    for first in range(0, labels_LN.shape[0], TOGETHER):
        yield first, labels_LN[first : first + TOGETHER] @ features_NV


def best_by_chi2(together_1V: csr_matrix, spread_V: IntArray, positives: int, size: int, number: int) -> IntArray:
    """Return the features most strongly associated with a code by the χ² statistic, at most `number`, ascending.

    `together_1V` counts the code's documents with each feature, `spread_V` all documents with it; the code has `positives`
    of `size` documents. Features that are rarer with the code than without it are left out.
    """
    columns, both = together_1V.indices, together_1V.data.astype(np.float64)
    spread = spread_V[columns].astype(np.float64)
    surplus = both * size - spread * positives
    scale = spread * (size - spread) * positives * (size - positives)
    chi2 = np.where((surplus > 0) & (scale > 0), size * surplus**2 / np.maximum(scale, 1), 0)
    chosen = np.lexsort((columns, -chi2))[:number]
    return np.sort(columns[chosen[chi2[chosen] > 0]])


def fit_few(
    features_NK: csr_matrix, labels_N: FloatArray, C: float, penalty: Literal["l1", "l2"]
) -> tuple[FloatArray, float]:
    """Fit a code's logistic regression on few features: coefficients [K] and intercept, which is penalised as they are."""
    from sklearn.linear_model import LogisticRegression

    rows_PK, weights_P, labels_P = _distinct(features_NK, labels_N)
    solver = LogisticRegression(C=C, l1_ratio=float(penalty == "l1"), solver="liblinear", random_state=0, max_iter=1000)
    solver.fit(rows_PK, labels_P, sample_weight=weights_P)
    return solver.coef_[0], float(solver.intercept_[0])


def log_odds(positives: int, size: int) -> float:
    """Return the score of a code whose documents have nothing in common: its smoothed log-odds."""
    return float(np.log((positives + SMOOTHING) / (size - positives + SMOOTHING)))


def fit_chosen(features_NV: csr_matrix, labels_NL: csc_matrix, C: float, number: int) -> tuple[csr_matrix, FloatArray]:
    """Fit each code on the `number` features most associated with it, L2-penalised: coefficients [L, V], intercepts [L]."""
    spread_V, size = np.bincount(features_NV.indices, minlength=features_NV.shape[1]), features_NV.shape[0]
    by_column = features_NV.tocsc()

    def fitted(together_1V: csr_matrix, documents: IntArray) -> Fitted:
        if len(documents) in {0, size}:
            return np.zeros(0, np.int64), np.zeros(0), log_odds(len(documents), size)
        chosen = best_by_chi2(together_1V, spread_V, len(documents), size, number)
        if not len(chosen):
            return np.zeros(0, np.int64), np.zeros(0), log_odds(len(documents), size)
        return chosen, *fit_few(by_column[:, chosen].tocsr(), _members(documents, size), C, "l2")

    return _of_all(fitted, features_NV, labels_NL)


def fit_l1(features_NV: csr_matrix, labels_NL: csc_matrix, C: float) -> tuple[csr_matrix, FloatArray]:
    """Fit each code with an L1 penalty on all features: coefficients [L, V] and intercepts [L].

    The objective is LIBLINEAR's: |w|₁ + C · Σ logistic loss, the intercept penalised as a weight. A code begins with the
    features of steepest gradient; those whose gradient still exceeds the penalty join, until none does. LIBLINEAR draws its
    order from one generator of the process, so with an L1 penalty one thread is in it at a time.
    """
    solving = threading.Lock()
    size, by_column = features_NV.shape[0], features_NV.tocsc()
    spread_V = np.bincount(features_NV.indices, features_NV.data, minlength=features_NV.shape[1])

    def fitted(together_1V: csr_matrix, documents: IntArray) -> Fitted:
        if len(documents) in {0, size}:
            return np.zeros(0, np.int64), np.zeros(0), log_odds(len(documents), size)
        labels_N = _members(documents, size)
        active: IntArray = np.zeros(0, np.int64)
        coefficients: FloatArray = np.zeros(0)
        intercept = _intercept_alone(len(documents), size, C)
        together_V = together_1V.toarray()[0]
        for _ in range(ROUNDS):
            active_NK = by_column[:, active].tocsr()
            gradient_V = _gradient(features_NV, active_NK, coefficients, intercept, spread_V) - together_V
            excess_V = np.abs(gradient_V) * C - 1
            excess_V[active] = -1
            joining = np.flatnonzero(excess_V > VIOLATION)
            if not len(joining):
                break
            most = max(FIRST_FEATURES, len(active))
            joining = joining[np.argsort(-excess_V[joining], kind="stable")[:most]]
            kept = active[coefficients != 0]
            active = np.union1d(kept, joining)
            few_NK = by_column[:, active].tocsr()
            with solving:
                coefficients, intercept = fit_few(few_NK, labels_N, C, "l1")
        return active[coefficients != 0], coefficients[coefficients != 0], intercept

    return _of_all(fitted, features_NV, labels_NL)


def _intercept_alone(positives: int, size: int, C: float) -> float:
    """Return the L1-penalised intercept of a code without features."""
    surplus = positives - size / 2
    if abs(surplus) * C <= 1:
        return 0.0
    share = (positives - np.sign(surplus) / C) / size
    return float(np.log(share / (1 - share)))


def _gradient(
    features_NV: csr_matrix, active_NK: csr_matrix, coefficients_K: FloatArray, intercept: float, spread_V: IntArray
) -> FloatArray:
    """Return what documents without regard to their labels add to the gradient of the loss [V].

    Documents without an active feature all have the probability of the intercept: they are counted, not visited.
    """
    usual = 1 / (1 + np.exp(-intercept))
    visited = np.flatnonzero(np.diff(active_NK.indptr))
    probabilities = 1 / (1 + np.exp(-(active_NK[visited] @ coefficients_K + intercept)))
    surplus = probabilities - usual
    if len(visited) > features_NV.shape[0] / VISITED_BY_ROW:
        surplus_N = np.zeros(features_NV.shape[0])
        surplus_N[visited] = surplus
        return np.asarray(usual * spread_V + features_NV.T @ surplus_N)
    return np.asarray(usual * spread_V + features_NV[visited].T @ surplus)


def _of_all(
    fitted: Callable[[csr_matrix, IntArray], Fitted], features_NV: csr_matrix, labels_NL: csc_matrix
) -> tuple[csr_matrix, FloatArray]:
    positives_L = np.diff(labels_NL.indptr)
    if (
        len(positives_L) and 0 in positives_L and positives_L.any()
    ):  # most codes of a whole code system have no document
        known = np.flatnonzero(positives_L)
        some, own = _of_all(fitted, features_NV, labels_NL[:, known])
        intercepts_L = np.full(len(positives_L), log_odds(0, labels_NL.shape[0]))
        intercepts_L[known] = own
        rows = np.zeros(len(positives_L) + 1, some.indptr.dtype)
        rows[known + 1] = np.diff(some.indptr)
        shape = (len(positives_L), some.shape[1])
        return csr_matrix((some.data, some.indices, np.cumsum(rows)), shape=shape), intercepts_L
    parts: list[csr_matrix] = []
    intercepts: list[float] = []
    for first, together_CV in cooccurring(features_NV, labels_NL):
        codes = range(together_CV.shape[0])
        documents = [labels_NL.indices[slice(*labels_NL.indptr[first + code : first + code + 2])] for code in codes]
        jobs = (delayed(fitted)(together_CV[code], documents[code]) for code in codes)
        found: list[Fitted] = Parallel(n_jobs=-1, prefer="threads")(jobs)
        features, coefficients, constants = zip(*found, strict=True)
        offsets = np.cumsum([0, *map(len, features)])
        matrix = (np.concatenate(coefficients).astype(np.float32), np.concatenate(features).astype(np.int32), offsets)
        parts.append(csr_matrix(matrix, shape=together_CV.shape))
        intercepts += constants
    return vstack(parts, format="csr"), np.array(intercepts)


def _members(documents: IntArray, size: int) -> FloatArray:
    labels_N = np.zeros(size)
    labels_N[documents] = 1
    return labels_N


def _distinct(features_NK: csr_matrix, labels_N: FloatArray) -> tuple[csr_matrix, FloatArray, FloatArray]:
    """Return documents without any feature as one row per label, with the number of documents of each row and its label."""
    bare_N = np.diff(features_NK.indptr) == 0
    rows = np.flatnonzero(~bare_N)
    weights, labels = [np.ones(len(rows))], [labels_N[rows]]
    for label in (0.0, 1.0):
        if alike := np.count_nonzero(bare_N & (labels_N == label)):
            weights.append(np.array([alike], float))
            labels.append(np.array([label]))
    empty = csr_matrix((len(weights) - 1, features_NK.shape[1]))
    return vstack([features_NK[rows], empty], format="csr"), np.concatenate(weights), np.concatenate(labels)
