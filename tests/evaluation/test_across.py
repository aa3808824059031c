"""Ranks over data sets: scipy's test, critical differences as published, examples by hand, and how often they err."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from icdbench.evaluation.across import ranking

# Demšar 2006, Table 5: q at .05 by the number of classifiers.
PUBLISHED = {3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}


@pytest.mark.parametrize("K", PUBLISHED)
def test_critical_differences_are_the_published_ones(K: int) -> None:
    figures_NK = np.random.default_rng(K).random((14, K))
    assert ranking(figures_NK).critical == pytest.approx(PUBLISHED[K] * np.sqrt(K * (K + 1) / (6 * 14)), abs=0.002)


def test_the_p_value_is_scipys() -> None:
    figures_NK = np.round(np.random.default_rng(1).random((8, 5)), 1) + np.arange(5) * 0.1
    assert min(len(np.unique(figures_K)) for figures_K in figures_NK) < 5, "ties are corrected for"
    assert ranking(figures_NK).p == pytest.approx(stats.friedmanchisquare(*figures_NK.T).pvalue, abs=1e-12)


def test_ranks_by_hand() -> None:
    """Higher is better; equal figures share the mean of ranks 2 and 3."""
    found = ranking(np.array([[0.9, 0.5, 0.5], [0.8, 0.6, 0.7], [0.9, 0.1, 0.2]]))
    assert found.mean_K == pytest.approx([1, (2.5 + 3 + 3) / 3, (2.5 + 2 + 2) / 3])
    same = ranking(np.ones((4, 3)))
    assert (same.p, same.groups) == (1, [[0, 1, 2]])
    assert same.mean_K.tolist() == [2, 2, 2]


def test_three_data_sets_that_agree() -> None:
    """χ² = 12 N / (K (K + 1)) · sum of (mean rank − 2)² = 6 with 2 degrees of freedom: p = exp(−3) < .05; CD 1.91 < 2."""
    found = ranking(np.array([[0.9, 0.5, 0.1]] * 3))
    assert found.p == pytest.approx(np.exp(-3))
    assert found.critical == pytest.approx(2.343 * np.sqrt(12 / 18), abs=0.002)
    assert found.groups == [[0, 1], [1, 2]], "first and last differ, neighbours do not"


def test_groups_are_the_largest_without_a_difference() -> None:
    generator = np.random.default_rng(2)
    for K in (4, 7, 12):
        found = ranking(generator.random((10, K)) + np.linspace(0, 2, K))
        assert found.p < 0.05
        order = np.argsort(found.mean_K)
        ranks = found.mean_K[order]
        alike = {
            (one, other)
            for one in range(K)
            for other in range(one + 1, K)
            if ranks[other] - ranks[one] < found.critical
        }
        positions = {int(at): position for position, at in enumerate(order)}
        groups = [sorted(positions[at] for at in group) for group in found.groups]
        covered = {(one, other) for group in groups for one in group for other in group if one < other}
        assert covered == alike
        assert not any(set(one) < set(other) for one in groups for other in groups)


def test_without_a_difference_by_friedmans_test_there_is_one_group() -> None:
    figures_NK = np.array([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2], [0.2, 0.3, 0.1]])
    found = ranking(figures_NK)
    assert found.p == pytest.approx(1)
    assert [sorted(group) for group in found.groups] == [[0, 1, 2]]


@pytest.mark.slow
def test_equal_systems_are_told_apart_in_one_of_twenty_cases_at_most() -> None:
    generator = np.random.default_rng(3)
    wrong = sum([len(group) for group in ranking(generator.random((8, 5))).groups] != [5] for _ in range(400))
    assert wrong / 400 < 0.075


@pytest.mark.parametrize("shape", [(2, 5), (5, 2)])
def test_too_few_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="ranks are compared from 3 of each"):
        ranking(np.ones(shape))
