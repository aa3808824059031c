"""The pooled classifier is what scikit-learn fitted."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from icdbench.nn import pooled
from icdbench.nn.pooled import Pooled


def drawn() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    features_PF = generator.normal(size=(400, 4)) * [1, 5, 0.1, 0] + [0, 3, 0, 2]
    return features_PF, (features_PF[:, 0] * features_PF[:, 1] + generator.normal(size=400) > 0).astype(np.int64)


@pytest.mark.parametrize("deep", [False, True])
def test_trees_and_regression_are_those_of_scikit_learn(deep: bool) -> None:  # noqa: FBT001
    features_PF, labels_P = drawn()
    alone = Pooled.of(features_PF, labels_P, trees=False)
    scaled_PF = (features_PF - features_PF.mean(0)) / np.where(features_PF.std(0) > 0, features_PF.std(0), 1)
    linear_P = LogisticRegression(max_iter=1000).fit(scaled_PF, labels_P).decision_function(scaled_PF)
    np.testing.assert_allclose(alone.logits(features_PF), linear_P, atol=1e-8)
    depth, rate = pooled.DEEP if deep else pooled.FLAT
    trees = GradientBoostingClassifier(
        n_estimators=pooled.TREES, max_depth=depth, learning_rate=rate, subsample=0.5, max_features=0.5,
        min_samples_leaf=pooled.LEAST, random_state=0,
    ).fit(features_PF, labels_P)  # fmt: skip
    both = Pooled.of(features_PF, labels_P, trees=True, deep=deep)
    wanted_P = (linear_P + trees.decision_function(features_PF)) / 2
    np.testing.assert_allclose(both.logits(features_PF), wanted_P, atol=1e-8)
    restored = Pooled.restored({"other.x": np.zeros(1), **both.weights("p")}, "p")
    assert (restored.logits(features_PF) == both.logits(features_PF)).all()


def test_pairs_of_one_kind_get_their_log_odds() -> None:
    found = Pooled.of(np.ones((9, 2)), np.zeros(9, np.int64), trees=True)
    np.testing.assert_allclose(found.logits(np.ones((1, 2))), np.log(0.5 / 9.5))


def test_a_step_without_bound_is_certainty_and_no_more() -> None:
    """Where hardly any pair is right, a leaf of scikit-learn's trees may be 1e56, and a first pair there hides the start."""
    generator = np.random.default_rng(0)
    features_PF = generator.normal(size=(400, 2))
    fitted = Pooled.of(features_PF, (features_PF[:, 0] > 1).astype(np.int64), trees=True)
    expected_P, most = fitted.boosted(features_PF), np.abs(fitted.values_RJ).max()
    fitted.values_RJ = np.where(fitted.values_RJ == fitted.values_RJ.max(), 1e56, fitted.values_RJ)
    found_P = fitted.boosted(features_PF)
    moved_P = found_P != expected_P
    assert moved_P.any()
    assert not moved_P.all()
    assert np.isfinite(fitted.logits(features_PF).astype(np.float32)).all()
    chances_P = 1 / (1 + np.exp(-found_P[moved_P]))
    np.testing.assert_allclose(chances_P, 1, rtol=1e-15)
    assert most < pooled.CERTAIN


def test_trees_start_from_the_log_odds_of_the_pairs() -> None:
    labels_P = np.repeat([0, 1], [300, 100])
    fitted = Pooled.of(labels_P[:, None] * np.ones((400, 2)), labels_P, trees=True)
    assert fitted.start == pytest.approx(np.log([1 / 3]))
