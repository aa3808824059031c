"""Logistic regressions of many codes, each on few of very many sparse features, chosen by χ² (`fit_chosen`) or L1 (`fit_l1`).

With few features most documents have none of them. They are fitted as one row per label, weighted by their number, by
scikit-learn's LIBLINEAR. Codes are fitted in threads.

Shapes in names: N documents, V features, L codes, C codes of one part, K features of one code, P distinct rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from joblib import Parallel, delayed
from scipy.sparse import csc_matrix, csr_matrix, vstack

from icdbench.types import FloatArray, IntArray

TOGETHER = 64  # codes of one part
FIRST_FEATURES = 100  # size of a code's first working set
ROUNDS, ROUGH_ROUNDS = 20, 7
VISITED_BY_ROW = 5  # if fewer than one in this many documents have a feature, only their rows are multiplied
VIOLATION = 0.01  # share by which the gradient of a left-out feature may exceed the penalty
TOLERANCE, ROUGH_TOLERANCE = 1e-4, 1e-2  # of LIBLINEAR, which multiplies it by the code's share of the documents
MANY = 10_000  # with more documents a code is fitted roughly
RARE = 50  # a feature that only one in this many documents has is rare enough for any code
STEP = 1.1  # codes whose numbers of documents differ by less than this factor are fitted on the same features
SMOOTHING = 0.5  # added to the numbers of documents with and without a code for its log-odds

Fitted = tuple[IntArray, FloatArray, float]  # the features of a code [K], their coefficients [K], its intercept


def cooccurring(features_NV: csr_matrix, labels_NL: csc_matrix) -> Iterator[tuple[int, csr_matrix]]:
    """Yield for each part the index of its first code, and how many of each code's documents have each feature [C, V]."""
    labels_LN = labels_NL.T.tocsr().astype(np.float32)
    for first in range(0, labels_LN.shape[0], TOGETHER):
        yield first, labels_LN[first : first + TOGETHER] @ features_NV


def best_by_chi2(together_1V: csr_matrix, spread_V: IntArray, positives: int, size: int, number: int) -> IntArray:
    """Return the features most strongly associated with a code by the χ² statistic, at most `number`, ascending.

    `together_1V` counts the code's documents with each feature, `spread_V` all documents with it; `positives` of `size`
    documents have the code. Features that are rarer with the code than without it are left out.
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
    """Fit a code's logistic regression on few features: coefficients [K] and intercept, which is penalised, too."""
    from sklearn.linear_model import LogisticRegression

    rows_PK, weights_P, labels_P = _distinct(features_NK, labels_N)
    solver = LogisticRegression(
        C=C, l1_ratio=float(penalty == "l1"), solver="liblinear", random_state=0, max_iter=1000,
        tol=ROUGH_TOLERANCE if penalty == "l1" and len(labels_N) > MANY else TOLERANCE,
    )  # fmt: skip
    solver.fit(rows_PK, labels_P, sample_weight=weights_P)
    return solver.coef_[0], float(solver.intercept_[0])


def log_odds(positives: int, size: int) -> float:
    """Return the smoothed log-odds of a code, its score if no feature tells more."""
    return float(np.log((positives + SMOOTHING) / (size - positives + SMOOTHING)))


def fit_standardised(features_PF: FloatArray, labels_P: IntArray) -> tuple[FloatArray, float]:
    """Fit an L2-penalised logistic regression on standardised features: coefficients [F] and intercept.

    Without examples of both labels the intercept is their smoothed log-odds and all coefficients are 0.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels_P)) < 2:
        return np.zeros(features_PF.shape[1]), log_odds(int(labels_P.sum()), len(labels_P))
    center_F, scale_F = features_PF.mean(0), features_PF.std(0)
    scale_F[scale_F == 0] = 1
    solver = LogisticRegression(max_iter=1000).fit((features_PF - center_F) / scale_F, labels_P)
    coefficients_F = solver.coef_[0] / scale_F
    return coefficients_F, float(solver.intercept_[0] - coefficients_F @ center_F)


def fit_chosen(features_NV: csr_matrix, labels_NL: csc_matrix, C: float, number: int) -> tuple[csr_matrix, FloatArray]:
    """Fit each code on the `number` features most associated with it, L2-penalised: coefficients [L, V], intercepts [L]."""
    spread_V, size = np.bincount(features_NV.indices, minlength=features_NV.shape[1]), features_NV.shape[0]
    by_column = features_NV.tocsc()

    def fit_code(together_1V: csr_matrix, documents: IntArray) -> Fitted:
        chosen: IntArray = np.zeros(0, np.int64)
        if 0 < len(documents) < size:
            chosen = best_by_chi2(together_1V, spread_V, len(documents), size, number)
        if not len(chosen):
            return chosen, np.zeros(0), log_odds(len(documents), size)
        return chosen, *fit_few(by_column[:, chosen].tocsr(), _indicator(documents, size), C, "l2")

    return _fit_all(fit_code, features_NV, labels_NL)


def fit_l1(features_NV: csr_matrix, labels_NL: csc_matrix, C: float, times: int = 0) -> tuple[csr_matrix, FloatArray]:
    """Fit each code with an L1 penalty: coefficients [L, V] and intercepts [L].

    The objective is LIBLINEAR's: |w|₁ + C · Σ logistic loss, with a penalised intercept. A code only has features of at most
    `times` as many documents as itself, or of at most one in RARE documents; with `times` 0 it has all. With more than MANY
    documents the minimum is found less exactly.
    """
    most_L = _most_documents(np.diff(labels_NL.indptr), features_NV.shape[0], times)
    documents_V = np.bincount(features_NV.indices, minlength=features_NV.shape[1])
    groups, parts, intercepts_L = [], [], np.zeros(labels_NL.shape[1])
    for most in np.unique(most_L):
        codes, columns = np.flatnonzero(most_L == most), np.flatnonzero(documents_V <= most)
        few_NV = features_NV if len(columns) == len(documents_V) else features_NV[:, columns]
        found, intercepts_L[codes] = _fit_l1(few_NV, labels_NL[:, codes], C)
        cells = found.data, columns[found.indices].astype(np.int32), found.indptr
        parts.append(csr_matrix(cells, shape=(len(codes), len(documents_V))))
        groups.append(codes)
    return in_order(groups, parts), intercepts_L


def _most_documents(positives_L: IntArray, size: int, times: int) -> IntArray:
    """Return how many of `size` documents may have a feature of a code, for codes with so many documents [L]."""
    if not times:
        return np.full(len(positives_L), size)
    steps_L = np.ceil(np.log(np.maximum(positives_L, 1)) / np.log(STEP))
    most_L: IntArray = np.clip(times * STEP**steps_L, size // RARE, size).astype(np.int64)
    return most_L


def in_order(groups: Sequence[IntArray], parts: Sequence[csr_matrix]) -> csr_matrix:
    """Join the rows of groups of codes, by code."""
    return vstack(parts, format="csr")[np.argsort(np.concatenate(groups), kind="stable")]


def _fit_l1(features_NV: csr_matrix, labels_NL: csc_matrix, C: float) -> tuple[csr_matrix, FloatArray]:
    """Fit each code with an L1 penalty on all features: coefficients [L, V] and intercepts [L].

    The working set of a code begins with the features of steepest gradient; features whose gradient still exceeds the penalty
    are added until none does. LIBLINEAR draws its order from one generator per process, so only one thread at a time may use it.
    """
    solving = threading.Lock()
    size, by_column = features_NV.shape[0], features_NV.tocsc()
    spread_V = np.bincount(features_NV.indices, features_NV.data, minlength=features_NV.shape[1])

    def fit_code(together_1V: csr_matrix, documents: IntArray) -> Fitted:
        if len(documents) in {0, size}:
            return np.zeros(0, np.int64), np.zeros(0), log_odds(len(documents), size)
        labels_N = _indicator(documents, size)
        active: IntArray = np.zeros(0, np.int64)
        coefficients: FloatArray = np.zeros(0)
        intercept = _intercept_alone(len(documents), size, C)
        together_V = together_1V.toarray()[0]
        for _ in range(ROUGH_ROUNDS if size > MANY else ROUNDS):
            active_NK = by_column[:, active].tocsr()
            gradient_V = _gradient(features_NV, active_NK, coefficients, intercept, spread_V) - together_V
            excess_V = np.abs(gradient_V) * C - 1
            excess_V[active] = -1
            added = np.flatnonzero(excess_V > VIOLATION)
            if not len(added):
                break
            most = max(FIRST_FEATURES, len(active))
            added = added[np.argsort(-excess_V[added], kind="stable")[:most]]
            active = np.union1d(active[coefficients != 0], added)
            few_NK = by_column[:, active].tocsr()
            with solving:
                coefficients, intercept = fit_few(few_NK, labels_N, C, "l1")
        return active[coefficients != 0], coefficients[coefficients != 0], intercept

    return _fit_all(fit_code, features_NV, labels_NL)


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
    """Return the part of the loss's gradient that does not depend on labels [V].

    Documents without an active feature all have the probability of the intercept, so they are counted, not visited.
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


def _fit_all(
    fit_code: Callable[[csr_matrix, IntArray], Fitted], features_NV: csr_matrix, labels_NL: csc_matrix
) -> tuple[csr_matrix, FloatArray]:
    """Fit all codes in threads: coefficients [L, V] and intercepts [L]."""
    positives_L = np.diff(labels_NL.indptr)
    if positives_L.any() and not positives_L.all():  # most codes of a whole code system have no document
        known = np.flatnonzero(positives_L)
        fitted, known_intercepts = _fit_all(fit_code, features_NV, labels_NL[:, known])
        intercepts_L = np.full(len(positives_L), log_odds(0, labels_NL.shape[0]))
        intercepts_L[known] = known_intercepts
        sizes = np.zeros(len(positives_L) + 1, fitted.indptr.dtype)
        sizes[known + 1] = np.diff(fitted.indptr)
        shape = (len(positives_L), fitted.shape[1])
        return csr_matrix((fitted.data, fitted.indices, np.cumsum(sizes)), shape=shape), intercepts_L
    parts: list[csr_matrix] = []
    intercepts: list[float] = []
    for first, together_CV in cooccurring(features_NV, labels_NL):
        codes = range(together_CV.shape[0])
        documents = [labels_NL.indices[slice(*labels_NL.indptr[first + code : first + code + 2])] for code in codes]
        jobs = (delayed(fit_code)(together_CV[code], documents[code]) for code in codes)
        found: list[Fitted] = Parallel(n_jobs=-1, prefer="threads")(jobs)
        features, coefficients, constants = zip(*found, strict=True)
        offsets = np.cumsum([0, *map(len, features)])
        matrix = (np.concatenate(coefficients).astype(np.float32), np.concatenate(features).astype(np.int32), offsets)
        parts.append(csr_matrix(matrix, shape=together_CV.shape))
        intercepts += constants
    return vstack(parts, format="csr"), np.array(intercepts)


def _indicator(documents: IntArray, size: int) -> FloatArray:
    """Return 1 for these documents and 0 for the others [N]."""
    labels_N = np.zeros(size)
    labels_N[documents] = 1
    return labels_N


def _distinct(features_NK: csr_matrix, labels_N: FloatArray) -> tuple[csr_matrix, FloatArray, FloatArray]:
    """Merge the documents without any feature into one row per label; return the rows, their weights and their labels."""
    bare_N = np.diff(features_NK.indptr) == 0
    rows = np.flatnonzero(~bare_N)
    weights, labels = [np.ones(len(rows))], [labels_N[rows]]
    for label in (0.0, 1.0):
        if count := np.count_nonzero(bare_N & (labels_N == label)):
            weights.append(np.array([count], float))
            labels.append(np.array([label]))
    empty = csr_matrix((len(weights) - 1, features_NK.shape[1]))
    return vstack([features_NK[rows], empty], format="csr"), np.concatenate(weights), np.concatenate(labels)
