"""Calibration, threshold curves and sets with a promise: against scikit-learn, and by what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, f1_score

from icdbench.evaluation import calibration, groups, metrics, thresholds


def drawn(seed: int, N: int = 200, L: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are those with which the labels were drawn."""
    generator = np.random.default_rng(seed)
    probabilities_NL = generator.beta(0.3, 2.0, (N, L))
    return probabilities_NL, generator.random((N, L)) < probabilities_NL


@pytest.mark.parametrize("seed", range(3))
def test_reliability_agrees_with_scikit_learn(seed: int) -> None:
    probabilities_NL, gold_NL = drawn(seed)
    inside = probabilities_NL > 0.01
    found = calibration.reliability(probabilities_NL, gold_NL, bins=8)
    size = inside.sum() // 8 * 8  # scikit-learn's quantiles cut as ours do where bins come out even
    values, gold = probabilities_NL[inside][:size], gold_NL[inside][:size]
    share, mean = calibration_curve(gold, values, n_bins=8, strategy="quantile")
    even = calibration.reliability(values[:, None], gold[:, None], bins=8)
    assert even.mean == pytest.approx(mean)
    assert even.share == pytest.approx(share)
    assert found.cells.sum() == inside.sum()
    assert np.ptp(found.cells) <= 1


def test_ece_by_hand() -> None:
    """Four cells above .01 in two bins: .1 and .3 with no code, .6 and .8 with one of two."""
    probabilities_NL, gold_NL = np.array([[0.1, 0.8, 0.005], [0.6, 0.3, 0.01]]), np.array([[0, 1, 1], [0, 0, 1]], bool)
    found = calibration.reliability(probabilities_NL, gold_NL, bins=2)
    assert (found.mean.tolist(), found.share.tolist()) == (pytest.approx([0.2, 0.7]), [0, 0.5])
    assert found.cells.tolist() == [2, 2]
    ten_bins = calibration.figures(probabilities_NL, gold_NL)["ece"]  # a cell each
    assert ten_bins == pytest.approx((0.1 + 0.3 + 0.6 + 0.2) / 4)
    assert "ece" not in calibration.figures(np.zeros((2, 2)), np.zeros((2, 2), bool))


def test_true_probabilities_are_calibrated_and_squeezed_ones_are_not() -> None:
    probabilities_NL, gold_NL = drawn(0, N=4000)
    good, bad = (calibration.figures(each, gold_NL) for each in (probabilities_NL, probabilities_NL**2))
    assert good["ece"] < 0.01
    assert bad["ece"] > 0.05
    assert good["quantification"] < 0.01 < bad["quantification"]


def test_brier_and_quantification() -> None:
    probabilities_NL, gold_NL = drawn(1)
    found = calibration.figures(probabilities_NL, gold_NL)
    assert found["brier"] == pytest.approx(brier_score_loss(gold_NL.ravel(), probabilities_NL.ravel()))
    assert found["cells"] == (probabilities_NL > 0.01).mean()
    found = calibration.figures(np.array([[0.5, 0.2], [0.1, 0.0]]), np.array([[1, 0], [0, 0]], bool))
    assert found["quantification"] == pytest.approx((0.2 + 0.1) / 2)


@pytest.mark.parametrize("threshold", thresholds.GRID)
def test_the_curve_agrees_with_scikit_learn(threshold: float) -> None:
    probabilities_NL, gold_NL = drawn(2)
    found = thresholds.curve(metrics.scored(probabilities_NL, gold_NL))[threshold]
    for average in ("micro", "macro"):
        expected = f1_score(gold_NL, probabilities_NL > threshold, average=average, zero_division=0)
        assert found[f"f1_{average}"] == pytest.approx(expected)


def test_each_group_gets_the_best_threshold_of_its_own_cells() -> None:
    probabilities_NL, gold_NL = drawn(3, L=6)
    probabilities_NL[:, 3:] /= 10  # a group whose probabilities are far too low
    gold_NL[:, 5] = False
    by = groups.Groups(["one", "two", "three"], np.array([0, 0, 0, 1, 1, 2]))
    found = thresholds.of_groups(metrics.scored(probabilities_NL, gold_NL), by, 0.5)
    assert found[5] == 0.5  # no gold document to choose by
    assert found[3] == found[4] < found[0] == found[1] == found[2]
    for columns in (slice(0, 3), slice(3, 5)):
        values, gold = probabilities_NL[:, columns], gold_NL[:, columns]
        best = max(f1_score(gold, values >= cut, average="micro", zero_division=0) for cut in np.unique(values[gold]))
        assert f1_score(gold, values > found[columns][0], average="micro") == pytest.approx(best)


def test_thresholds_of_sets_by_hand() -> None:
    """Nine notes with one code each, of probability .1 to .9: at alpha .2 the rank is ⌈10 · .8⌉ = 8, from the highest."""
    probabilities_NL = np.arange(1, 10)[:, None] / 10
    validation = metrics.scored(probabilities_NL, np.ones((9, 1), int))
    assert thresholds.whole_set_threshold(validation, 0.2) == pytest.approx(0.2)
    assert thresholds.recall_threshold(validation, 0.2) == pytest.approx(0.2)  # misses 1 of 9: (1 + 1) / 10
    assert thresholds.whole_set_threshold(validation, 0.05) == 0  # too few notes for the promise
    assert thresholds.recall_threshold(validation, 0.05) == 0
    hidden = metrics.scored(probabilities_NL, np.ones((9, 1), int), np.array([1, 1, 1, 0, 0, 0, 0, 0, 0]))
    assert thresholds.whole_set_threshold(hidden, 0.2) == 0
    # The first three notes lose half of their codes in any case, 1.5 of 9; from .2 on the first loses all: (2 + 1) / 10.
    assert thresholds.recall_threshold(hidden, 0.3) == pytest.approx(0.2)


def test_sets_by_hand() -> None:
    given = metrics.scored(
        np.array([[0.9, 0.5, 0.1], [0.2, 0.5, 0.6], [0.4, 0.4, 0.4]]), np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0]])
    )
    assert thresholds.sets(given, 0.5) == pytest.approx({"covered": 2 / 3, "recall": (1 + 0.5 + 1) / 3, "size": 4 / 3})


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_sets_keep_their_promise_on_average(alpha: float) -> None:
    """Over many draws of validation and test from one source, coverage and recall are at least 1 − alpha, but not much more."""
    covered, recall = [], []
    for seed in range(150):
        probabilities_NL, gold_NL = drawn(seed, N=240)
        validation, test = (
            metrics.scored(probabilities_NL[part], gold_NL[part]) for part in (slice(0, 120), slice(120, 240))
        )
        covered.append(thresholds.sets(test, thresholds.whole_set_threshold(validation, alpha))["covered"])
        recall.append(thresholds.sets(test, thresholds.recall_threshold(validation, alpha))["recall"])
    error = 3 * np.std(covered) / np.sqrt(len(covered))
    assert 1 - alpha - error < np.mean(covered) < 1 - alpha + 0.02 + error
    assert 1 - alpha - error < np.mean(recall) < 1 - alpha + 0.02 + error
