"""Compare systems over several data sets by their ranks (`ranking`; Demšar, JMLR 2006, 7:1-30).

On each of N data sets the K systems are ranked by a figure. Friedman's test asks whether their mean ranks differ by more
than chance. If they do, two systems differ where their mean ranks are at least Nemenyi's critical difference apart,
q · sqrt(K (K + 1) / (6 N)), with q the quantile of the studentized range of K groups divided by the root of 2.

Wilcoxon's signed-rank test of each pair with Holm's correction (Benavoli et al., JMLR 2016, 17:5) does not depend on the
other systems, but its smallest p-value is 2 / 2^N: with fewer than six data sets it never finds a difference.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from icdbench.evaluation.bootstrap import LEVEL, SIGNIFICANT
from icdbench.types import FloatArray

FEWEST = 3  # data sets, and systems: Friedman's test needs as many


class Ranking(NamedTuple):
    """Mean ranks [K], 1 for the best; Friedman's p-value; the critical difference.

    `groups` are the largest sets of at least two systems of which no two differ, given by index, best first.
    """

    mean_K: FloatArray
    p: float
    critical: float
    groups: list[list[int]]


def ranking(figures_NK: FloatArray) -> Ranking:
    """Rank systems by figures of which higher is better; equal figures share the mean of their ranks.

    Raises ValueError for fewer than three data sets or systems.
    """
    from scipy import stats  # slow to import

    N, K = figures_NK.shape
    if min(N, K) < FEWEST:
        raise ValueError(f"{N} data sets and {K} systems; ranks are compared from {FEWEST} of each")
    ranks_NK = stats.rankdata(-figures_NK, axis=1)
    all_equal = (ranks_NK == ranks_NK[:, :1]).all()  # the test statistic is undefined
    p = 1.0 if all_equal else float(stats.friedmanchisquare(*ranks_NK.T).pvalue)
    quantile = float(stats.studentized_range.ppf(LEVEL, K, np.inf)) / math.sqrt(2)
    critical = quantile * math.sqrt(K * (K + 1) / (6 * N))
    mean_K = ranks_NK.mean(axis=0)
    return Ranking(mean_K, p, critical, _groups(mean_K, critical if p < SIGNIFICANT else math.inf))


def _groups(mean_K: FloatArray, critical: float) -> list[list[int]]:
    """Return the maximal runs of systems, in the order of ranks, that span less than the critical difference."""
    order = np.argsort(mean_K, kind="stable")
    found: list[list[int]] = []
    end = 0
    for start in range(len(order)):
        last = start
        while last + 1 < len(order) and mean_K[order[last + 1]] - mean_K[order[start]] < critical - 1e-12:
            last += 1
        if last > max(start, end):
            found.append([int(each) for each in order[start : last + 1]])
            end = last
    return found
