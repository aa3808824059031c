"""Codes on few features are fitted as scikit-learn fits them on all of them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from joblib import effective_n_jobs
from scipy.sparse import csc_matrix, csr_matrix, random
from sklearn.feature_selection import chi2
from sklearn.linear_model import LogisticRegression

from icdbench.nn import selected

N, V, L = 120, 400, 9


@pytest.fixture(scope="module")
def problem() -> tuple[csr_matrix, csc_matrix]:
    """Binary features and labels that some of them bring about; one code that no document has, one that all have."""
    drawn = np.random.default_rng(0)
    features_NV = csr_matrix(random(N, V, 0.05, random_state=0) > 0, dtype=np.float32)
    labels_NL = (features_NV[:, : 3 * L].toarray().reshape(N, L, 3).sum(2) > 0) ^ (drawn.random((N, L)) < 0.05)
    labels_NL[:, 0], labels_NL[:, 1] = False, True
    return features_NV, csc_matrix(labels_NL.astype(np.uint8))


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_l1_weights_are_scikit_learns_on_the_chosen_features(problem: tuple[csr_matrix, csc_matrix], C: float) -> None:
    features_NV, labels_NL = problem
    spread_V = np.bincount(features_NV.indices, minlength=V)
    [(_, together_LV)] = selected.cooccurring(features_NV, labels_NL)
    coefficients_LV, intercepts_L = selected.fit_chosen(features_NV, labels_NL, C, 30, "l1")
    for code in range(2, L):
        labels_N = labels_NL[:, [code]].toarray().ravel()
        chosen = selected.best_by_chi2(together_LV[code], spread_V, int(labels_N.sum()), N, 30)
        assert len(chosen) == 30
        theirs = LogisticRegression(C=C, l1_ratio=1.0, solver="liblinear", tol=1e-8, max_iter=10_000, random_state=0)
        theirs.fit(features_NV[:, chosen], labels_N)
        ours_K = coefficients_LV[[code]].toarray()[0][chosen]
        np.testing.assert_allclose(ours_K, theirs.coef_[0], atol=2e-2)
        np.testing.assert_allclose(intercepts_L[code], theirs.intercept_[0], atol=2e-2)
        assert set(coefficients_LV[[code]].indices) <= set(chosen)
        if C < 10:
            assert coefficients_LV[[code]].nnz < 30


def test_chosen_features_are_those_of_largest_chi2_among_the_positive(problem: tuple[csr_matrix, csc_matrix]) -> None:
    features_NV, labels_NL = problem
    spread_V = np.bincount(features_NV.indices, minlength=V)
    parts = list(selected.cooccurring(features_NV, labels_NL))
    assert [first for first, _ in parts] == [0]
    for code in range(2, L):
        labels_N = labels_NL[:, [code]].toarray().ravel()
        positives = int(labels_N.sum())
        with_V, without_V = features_NV[labels_N == 1].mean(0).A1, features_NV[labels_N == 0].mean(0).A1
        # scikit-learn's statistic leaves out documents without the feature; the full table's is this one divided by their share
        statistic_V = chi2(features_NV, labels_N)[0] / (1 - spread_V / N)
        statistic_V[with_V <= without_V] = -1
        chosen = selected.best_by_chi2(parts[0][1][code], spread_V, positives, N, 5)
        assert len(chosen) == 5
        assert statistic_V[chosen].min() >= np.sort(statistic_V)[-5] - 1e-9


def test_codes_of_many_documents_have_more_features() -> None:
    """Each code's documents have its own 120 features, each of them some; nearly all of them are in favour of it."""
    drawn = np.random.default_rng(0)
    owner_N = np.repeat([0, 1, 2], [6, 60, 600])
    found_NV = (np.repeat(np.arange(3), 120) == owner_N[:, None]) & (drawn.random((len(owner_N), 360)) < 0.5)
    features_NV = csr_matrix(found_NV.astype(np.float32))
    labels_NL = csc_matrix((owner_N[:, None] == np.arange(3)).astype(np.uint8))
    alike, _ = selected.fit_chosen(features_NV, labels_NL, 1.0, 5)
    grown, _ = selected.fit_chosen(features_NV, labels_NL, 1.0, 5, per_document=0.5)
    assert np.diff(alike.indptr).tolist() == [5, 5, 5]
    assert np.diff(grown.indptr).tolist() == [5, 30, selected.MOST]


def test_documents_without_features_are_fitted_as_one(problem: tuple[csr_matrix, csc_matrix]) -> None:
    features_NV, labels_NL = problem
    labels_N = labels_NL[:, [3]].toarray().ravel().astype(float)
    few = features_NV[:, 9:12]
    ours, intercept = selected.fit_few(few, labels_N, 1.0, "l2")
    theirs = LogisticRegression(C=1.0, solver="liblinear", random_state=0, tol=1e-8).fit(few, labels_N)
    np.testing.assert_allclose(ours, theirs.coef_[0], atol=1e-3)
    np.testing.assert_allclose(intercept, theirs.intercept_[0], atol=1e-3)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_codes_of_no_and_of_all_documents_have_constant_scores(
    penalty: selected.Penalty, problem: tuple[csr_matrix, csc_matrix]
) -> None:
    coefficients_LV, intercepts_L = selected.fit_chosen(*problem, 1.0, 5, penalty)
    assert coefficients_LV.shape == (L, V)
    assert coefficients_LV[:2].nnz == 0
    assert coefficients_LV[2:].nnz > 0
    np.testing.assert_allclose(intercepts_L[:2], [np.log(0.5 / 120.5), np.log(120.5 / 0.5)])


def test_codes_without_documents_or_without_features_have_their_log_odds() -> None:
    """Codes 0 and 3 have no document; the features of code 1's are no more frequent with it than without."""
    features = csr_matrix(np.array([[1.0, 0], [1, 1], [1, 1], [1, 0]]))
    labels = csc_matrix(np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0]]))
    coefficients_LV, intercepts_L = selected.fit_chosen(features, labels, 1.0, 5)
    assert np.diff(coefficients_LV.indptr).tolist() == [0, 0, 1, 0]
    assert intercepts_L[[0, 1, 3]].tolist() == [
        selected.log_odds(0, 4),
        selected.log_odds(2, 4),
        selected.log_odds(0, 4),
    ]
    alone, own = selected.fit_chosen(features, labels[:, [2]], 1.0, 5)
    assert (coefficients_LV[2] != alone[0]).nnz == 0
    assert intercepts_L[2] == own[0]


@pytest.mark.slow
def test_codes_are_fitted_alike_by_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(0)
    features_NV = csr_matrix((drawn.random((300, 1500)) < 0.03).astype(float))
    labels_NL = csc_matrix((drawn.random((300, 24)) < 0.1).astype(float))
    found = []
    for threads in ("1", "4"):
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", threads)
        assert effective_n_jobs(-1) == min(int(threads), os.cpu_count() or 1)
        found += [selected.fit_chosen(features_NV, labels_NL, 1.0, 40, penalty) for penalty in ("l1", "l2")]
    for one, other in zip(found[:2], found[2:], strict=True):
        assert (one[0] != other[0]).nnz == 0
        np.testing.assert_array_equal(one[1], other[1])
