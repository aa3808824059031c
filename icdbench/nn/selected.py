"""Logistic regressions of many codes, each on the few of very many sparse features that are best by χ² (`fit_chosen`).

With few features most documents have none of them. They are fitted as one row per label, weighted by their number, by
scikit-learn's LIBLINEAR. Codes are fitted in threads.

Shapes in names: N documents, V features, L codes, C codes of one part, K features of one code, P distinct rows.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from joblib import Parallel, delayed
from scipy.sparse import csc_matrix, csr_matrix, vstack

from icdbench.types import FloatArray, IntArray

TOGETHER = 64  # codes of one part
MOST = 100  # features of a code with many documents
SMOOTHING = 0.5  # added to the numbers of documents with and without a code for its log-odds

Penalty = Literal["l1", "l2"]
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


def fit_few(features_NK: csr_matrix, labels_N: FloatArray, C: float, penalty: Penalty) -> tuple[FloatArray, float]:
    """Fit a code's logistic regression on few features: coefficients [K] and intercept, which is penalised, too.

    The objective is LIBLINEAR's: |w|² / 2 or |w|₁, plus C times the sum of the logistic losses.
    """
    from sklearn.linear_model import LogisticRegression

    rows_PK, weights_P, labels_P = _distinct(features_NK, labels_N)
    solver = LogisticRegression(C=C, l1_ratio=float(penalty == "l1"), solver="liblinear", random_state=0, max_iter=1000)
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


def fit_chosen(
    features_NV: csr_matrix,
    labels_NL: csc_matrix,
    C: float,
    number: int,
    penalty: Penalty = "l2",
    *,
    per_document: float = 0.0,
) -> tuple[csr_matrix, FloatArray]:
    """Fit each code on the features most associated with it by χ²: coefficients [L, V], intercepts [L].

    A code has `number` features, or `per_document` for each of its documents if that is more, but then at most `MOST`. Features
    that are rarer with the code than without it are left out, and with an L1 penalty most of the others, too.
    """
    spread_V, size = np.bincount(features_NV.indices, minlength=features_NV.shape[1]), features_NV.shape[0]
    by_column = features_NV.tocsc()
    # With an L1 penalty LIBLINEAR draws its order from one generator per process, so only one thread at a time may use it.
    solving = threading.Lock() if penalty == "l1" else contextlib.nullcontext()

    def fit_code(together_1V: csr_matrix, documents: IntArray) -> Fitted:
        chosen: IntArray = np.zeros(0, np.int64)
        if 0 < len(documents) < size:
            most = max(number, min(MOST, int(per_document * len(documents))))
            chosen = best_by_chi2(together_1V, spread_V, len(documents), size, most)
        if not len(chosen):
            return chosen, np.zeros(0), log_odds(len(documents), size)
        few_NK = by_column[:, chosen].tocsr()
        with solving:
            coefficients_K, intercept = fit_few(few_NK, _indicator(documents, size), C, penalty)
        used_K = coefficients_K != 0
        return chosen[used_K], coefficients_K[used_K], intercept

    with warnings.catch_warnings():  # a few fits turn in circles within 1e-8 of the minimum
        warnings.filterwarnings("ignore", "Liblinear failed to converge")
        return _fit_all(fit_code, features_NV, labels_NL)


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
