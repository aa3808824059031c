"""Logistic regressions fitted together are those that scikit-learn fits one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix, csr_matrix, random_array
from sklearn.linear_model import LogisticRegression

from icdbench.nn import linear

pytestmark = pytest.mark.slow

DOCUMENTS, FEATURES = 120, 40


def drawn(num_codes: int) -> tuple[csr_matrix, csc_matrix]:
    """Counts, and labels that depend on them; the first code has no document, the second has all, the third one alone."""
    generator = np.random.default_rng(0)
    counts = random_array(
        (DOCUMENTS, FEATURES), density=0.3, rng=generator, data_sampler=lambda size: generator.integers(1, 30, size)
    )
    features_NV = csr_matrix(counts, dtype=np.float64)
    scores_NL = features_NV @ generator.normal(size=(FEATURES, num_codes)) / 10 - np.linspace(0, 4, num_codes)
    labels_NL = (scores_NL + generator.logistic(size=scores_NL.shape) > 0).astype(np.float64)
    labels_NL[:, 0], labels_NL[:, 1], labels_NL[:, 2] = 0, 1, np.arange(DOCUMENTS) == 7
    return features_NV, csc_matrix(labels_NL)


@pytest.mark.parametrize(("strength", "balanced"), [(1.0, False), (10.0, True)])
def test_the_minimum_is_scikit_learns(monkeypatch: pytest.MonkeyPatch, strength: float, *, balanced: bool) -> None:
    monkeypatch.setattr(linear, "TOLERANCE", 1e-6)
    monkeypatch.setattr(linear, "TOGETHER", 8)
    features_NV, labels_NL = drawn(17)
    found_WL = torch.zeros(FEATURES + 1, labels_NL.shape[1])
    times_L = np.zeros(labels_NL.shape[1], int)
    for codes, weights_WC in linear.fit(features_NV, labels_NL, strength, balanced=balanced):
        found_WL[:, codes] = weights_WC
        times_L[codes] += 1
    assert (times_L == 1).all()
    assert not found_WL[:-1, :2].any()
    np.testing.assert_allclose(
        found_WL[-1, :2], [np.log(0.5 / (DOCUMENTS + 0.5)), np.log((DOCUMENTS + 0.5) / 0.5)], rtol=1e-6
    )
    solver = LogisticRegression(C=strength, class_weight="balanced" if balanced else None, tol=1e-9, max_iter=100_000)
    scores_NL = features_NV @ found_WL[:-1].numpy() + found_WL[-1].numpy()
    for code in range(2, labels_NL.shape[1]):
        fitted = solver.fit(features_NV, labels_NL[:, [code]].toarray().ravel())
        wanted_N = fitted.decision_function(features_NV)
        np.testing.assert_allclose(scores_NL[:, code], wanted_N, atol=0.02 * np.abs(wanted_N).max())


def test_more_codes_beside_it_change_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "TOLERANCE", 1e-6)
    features_NV, labels_NL = drawn(12)
    together = {
        int(code): weights_WC[:, place]
        for codes, weights_WC in linear.fit(features_NV, labels_NL, 1.0, balanced=False)
        for place, code in enumerate(codes)
    }
    for code in range(12):
        ((_, alone_W1),) = linear.fit(features_NV, labels_NL[:, [code]], 1.0, balanced=False)
        torch.testing.assert_close(together[code], alone_W1[:, 0], rtol=1e-2, atol=1e-2)
