"""Bootstrap the metrics over test documents and seeds: how much they would vary with others of the same kind.

Shapes: R resamples, N documents, L codes, P gold pairs. The cells of one document are not independent, so a resample
draws whole documents with all their codes, N of them with replacement. It is stored as a row of weights: how often it
contains each document. Its figures equal those of `metrics` on the repeated documents, ties included, but are computed
by weighted sums instead of sorting again:

- the counts of a code are weighted sums over documents; the figures of ranked lists are weighted means;
- AUC counts for each gold cell the cells below it (twice) and equal to it (once), summed over documents n with weights
  w_n, which is a matrix product of weights and comparisons. For a code l: the sum over its gold documents m of
  w_m · sum_n w_n · c_l(m, n). For micro AUC the codes are summed first, into one matrix of documents × documents.

All sums are of integers and exact (float32 below 2^24, float64 below 2^53).

Documents and seeds are crossed: every run of a system has scores for every document. A resample draws documents, the
same for all systems, and for each system S of its S runs, with replacement (Owen 2007, The pigeonhole bootstrap,
https://doi.org/10.1214/07-AOAS122). The figure of the system is the mean over the runs drawn. This underestimates the
variance due to seeds by the factor (S - 1) / S.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from icdbench.evaluation import metrics
from icdbench.evaluation.metrics import Scored
from icdbench.types import FloatArray, IntArray

RESAMPLES, SEED, LEVEL = 1000, 0, 0.95
SIGNIFICANT = 0.05
BLOCK_PAIRS = 1 << 10  # columns of one matrix product of weights and comparisons
BLOCK_DOCUMENTS, BLOCK_RESAMPLES = 1 << 5, 1 << 7
IDLE = 0.9  # if more than this share of codes is neither gold nor predicted anywhere, such codes are left out of sums

Figures = dict[str, FloatArray]  # metric key to values [R], NaN where undefined


def weights(N: int, resamples: int = RESAMPLES, seed: int = SEED) -> NDArray[np.float32]:
    """Draw how often each resample contains each document [R, N]; equal for all runs on the same N documents."""
    generator = np.random.default_rng(seed)
    weights_RN = np.empty((resamples, N), np.float32)
    for row in weights_RN:
        row[:] = np.bincount(generator.integers(0, N, N), minlength=N)
    return weights_RN


def resampled(
    given: Scored, thresholds: Mapping[str, float], weights_RN: NDArray[np.float32], *, areas: bool = True
) -> dict[str, Figures]:
    """Compute `metrics.evaluate_rules` for every resample: the same keys, without `areas` no AUC, each with an array [R]."""
    weights64_RN = weights_RN.astype(np.float64)
    shared = _auc(given, weights_RN) if areas else {}
    ranking = _means(metrics.ranking_by_document(given), weights64_RN)
    found = {}
    for rule, threshold in thresholds.items():
        predicted_NL = given.scores_NL > threshold
        outside_N = given.outside(threshold)
        decisions = _means(metrics.decisions_by_document(given, predicted_NL, outside_N), weights64_RN)
        found[rule] = shared | _count_figures(given, predicted_NL, outside_N, weights64_RN) | decisions | ranking
    return found


def intervals(
    given: Scored, thresholds: Mapping[str, float], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, dict[str, tuple[float, float]]]:
    """Compute the 95 % percentile interval of every figure under every rule; `auc_labels`, a count, has none."""
    found = resampled(given, thresholds, weights(len(given.scores_NL), resamples, seed))
    return {
        rule: {key: interval(values_R) for key, values_R in figures.items() if has_interval(key, values_R)}
        for rule, figures in found.items()
    }


def has_interval(key: str, values_R: FloatArray) -> bool:
    """Whether the key is a metric (not the count `auc_labels`) and some resample defines it."""
    return key != "auc_labels" and not np.isnan(values_R).all()


def interval(values_R: FloatArray) -> tuple[float, float]:
    """Return the bounds of the middle 95 % of the resamples that define the figure."""
    low, high = np.nanquantile(values_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def p_value(differences_R: FloatArray) -> float:
    """Compute the two-sided p-value min(1, 2 · (1 + min(count of differences ≤ 0, count ≥ 0)) / (R + 1)).

    NaN values are ignored. The smallest possible value is 2 / (R + 1). The value falls below 0.05 roughly when the 95 %
    percentile interval excludes 0.
    """
    values = differences_R[~np.isnan(differences_R)]
    tolerance = 1e-12  # a rounding error is not a difference
    fewer = min(np.count_nonzero(values <= tolerance), np.count_nonzero(values >= -tolerance))
    return min(1.0, 2 * (1 + fewer) / (len(values) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of m tests by Holm's step-down method: max over the smaller p of (m - rank) * p, at most 1.

    Rejecting at a level keeps the probability of any false rejection below it, however the tests depend on each other.
    Holm, Scand. J. Statist. 1979, 6:65-70.
    """
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        highest = max(highest, (len(p_values) - rank) * p_values[at])
        adjusted[at] = min(1.0, highest)
    return adjusted


def enough(comparisons: int) -> int:
    """Return how many resamples are needed for a p-value to be significant after Holm's correction over the comparisons."""
    return RESAMPLES * max(1, math.ceil(2 * comparisons / SIGNIFICANT / RESAMPLES))


def runs_drawn(ids: Sequence[str], resamples: int) -> IntArray:
    """Draw how often each resample contains each run of a system [R, S], with replacement, S in all.

    The draws are seeded by the ids of the runs, so they are independent between systems, and a system has the same draws
    whatever it is compared with.
    """
    S = len(ids)
    content = int.from_bytes(hashlib.sha256("\n".join(ids).encode()).digest()[:16])
    chosen_RS = np.random.default_rng([SEED, content]).integers(0, S, (resamples, S))
    return np.stack([np.count_nonzero(chosen_RS == run, axis=1) for run in range(S)], axis=1)


def mean(runs: Mapping[str, Figures], *, fix_seeds: bool = False) -> Figures:
    """Average a system's runs, given by id, in each resample: the runs drawn for it, or all of them with `fix_seeds`.

    Only figures that all runs have are returned.
    """
    ids = sorted(runs)
    keys = [key for key in runs[ids[0]] if all(key in run for run in runs.values())]
    resamples = max((len(runs[ids[0]][key]) for key in keys), default=0)
    drawn_RS = np.ones((resamples, len(ids))) if fix_seeds else runs_drawn(ids, resamples)
    return {
        key: np.einsum("rs,sr->r", drawn_RS, np.array([runs[name][key] for name in ids])) / len(ids) for key in keys
    }


def _means(figures: Mapping[str, FloatArray], weights_RN: FloatArray) -> Figures:
    """Return weighted means over the documents whose figure is not NaN."""
    means = {}
    for key, values_N in figures.items():
        counts = ~np.isnan(values_N)
        means[key] = _divide(weights_RN @ np.where(counts, values_N, 0), weights_RN @ counts.astype(np.float64))
    return means


def _divide(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Return part / whole, NaN where whole is 0."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _count_figures(
    given: Scored, predicted_NL: NDArray[np.bool_], outside_N: IntArray, weights_RN: FloatArray
) -> Figures:
    """Compute the figures that follow from each code's counts of true positives, predictions and gold documents."""
    kept = _codes_that_count(given, predicted_NL)
    if kept is not None:
        return _over_all(_count_figures(*_of_codes(given, predicted_NL, kept), outside_N, weights_RN), given, kept)
    shape = predicted_NL.shape
    hit_P = predicted_NL[given.docs_P, given.codes_P]
    pairs = (given.docs_P[hit_P], given.codes_P[hit_P]), np.nonzero(predicted_NL), (given.docs_P, given.codes_P)
    sparse = [csr_matrix((np.ones(len(docs)), (docs, codes)), shape=shape) for docs, codes in pairs]
    parts = []
    for start in range(0, len(weights_RN), BLOCK_RESAMPLES):
        block_RN = weights_RN[start : start + BLOCK_RESAMPLES]
        by_code = (np.ascontiguousarray((each.T @ block_RN.T).T) for each in sparse)
        counts = (*by_code, block_RN @ given.unseen_N, block_RN @ outside_N)
        found = metrics.macro_and_micro(*counts)
        if given.counts_L is not None:
            found |= metrics.bucket_figures(given.counts_L, *counts)
        parts.append(found)
    keys = dict.fromkeys(key for part in parts for key in part)
    absent = [np.full(len(part["f1_micro"]), np.nan) for part in parts]
    return {key: np.concatenate([p.get(key, none) for p, none in zip(parts, absent, strict=True)]) for key in keys}


def _codes_that_count(given: Scored, predicted_NL: NDArray[np.bool_]) -> IntArray | None:
    """Return the codes that are gold or predicted anywhere, and one other of each bucket; None unless these are few."""
    busy_L: NDArray[np.bool_] = np.zeros(predicted_NL.shape[1], np.bool_)
    busy_L[given.codes_P] = True
    busy_L |= predicted_NL.any(axis=0)
    if busy_L.mean() > 1 - IDLE:
        return None
    buckets_L = np.zeros(len(busy_L)) if given.counts_L is None else metrics.bucket_of(given.counts_L)
    idle = np.flatnonzero(~busy_L)
    _, first = np.unique(buckets_L[idle], return_index=True)
    kept = np.union1d(np.flatnonzero(busy_L), idle[first])
    return kept if len(kept) < len(busy_L) * (1 - IDLE) else None


def _of_codes(given: Scored, predicted_NL: NDArray[np.bool_], kept: IntArray) -> tuple[Scored, NDArray[np.bool_]]:
    """Restrict the predictions to some codes, which include all with gold documents; scores are not restricted."""
    codes_P = np.searchsorted(kept, given.codes_P)
    counts = None if given.counts_L is None else given.counts_L[kept]
    return replace(given, codes_P=codes_P, counts_L=counts), predicted_NL[:, kept]


def _over_all(figures: Figures, given: Scored, kept: IntArray) -> Figures:
    """Turn means over the codes kept into means over all codes; the others add nothing to the sums."""
    L = given.scores_NL.shape[1]
    shares = dict.fromkeys(
        ("f1_macro", "f1_macro_harmonic", "precision_macro", "recall_macro", "jaccard_macro"), len(kept) / L
    )
    if given.counts_L is not None:
        every, some = (
            np.bincount(metrics.bucket_of(counts), minlength=len(metrics.BUCKETS))
            for counts in (given.counts_L, given.counts_L[kept])
        )
        shares |= {
            f"f1_macro[{name}]": some[at] / max(1, every[at]) for at, name in enumerate(metrics.BUCKETS.values())
        }
    return {key: values_R * shares.get(key, 1) for key, values_R in figures.items()}


def _auc(given: Scored, weights_RN: NDArray[np.float32]) -> Figures:
    N, L = given.scores_NL.shape
    figures = {}
    gold_L = np.bincount(given.codes_P, minlength=L)
    if ((gold_L > 0) & (gold_L < N)).any():
        figures["auc_macro"], figures["auc_labels"] = _macro_auc(given, weights_RN)
    else:
        figures["auc_labels"] = np.zeros(len(weights_RN))
    if 0 < len(given.docs_P) < N * L:
        figures["auc_micro"] = _micro_auc(given, weights_RN)
    return figures


def _area(wins: FloatArray, gold: FloatArray, rest: FloatArray) -> FloatArray:
    """Compute `metrics.area`, NaN where a class is missing."""
    both = (gold > 0) & (rest > 0)
    areas: FloatArray = metrics.area(wins, np.where(both, gold, 1), np.where(both, rest, 1))
    return np.where(both, areas, np.nan)


def _macro_auc(given: Scored, weights_RN: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Return the mean AUC over the codes with both classes in a resample [R], and the number of such codes [R]."""
    total_R, codes_R = np.zeros((2, len(weights_RN)))
    by_code = np.argsort(given.codes_P, kind="stable")
    docs_P, codes_P, values_P = (each[by_code] for each in (given.docs_P, given.codes_P, given.values_P))
    starts = np.flatnonzero(np.diff(codes_P, prepend=-1))  # first pair of each code
    ends = np.append(starts[1:], len(codes_P))
    first = 0
    while first < len(starts):  # a block holds whole codes with at most BLOCK_PAIRS pairs together, or one code
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + BLOCK_PAIRS, "right")))
        pairs = slice(starts[first], ends[last - 1])
        cells_Np = given.scores_NL[:, codes_P[pairs]]
        counts_Np = (cells_Np < values_P[pairs]).astype(np.float32) + (cells_Np <= values_P[pairs])
        own_Rp = weights_RN[:, docs_P[pairs]]
        inner = starts[first:last] - starts[first]
        wins = np.add.reduceat(own_Rp * (weights_RN @ counts_Np), inner, axis=1, dtype=np.float64)
        gold = np.add.reduceat(own_Rp, inner, axis=1, dtype=np.float64)
        areas = _area(wins, gold, weights_RN.shape[1] - gold)
        total_R += np.nansum(areas, axis=1)
        codes_R += np.count_nonzero(~np.isnan(areas), axis=1)
        first = last
    return _divide(total_R, codes_R), codes_R


def _micro_auc(given: Scored, weights_RN: NDArray[np.float32]) -> FloatArray:
    N, L = given.scores_NL.shape
    weights64_RN = weights_RN.astype(np.float64)
    values_V, index_P = np.unique(given.values_P, return_inverse=True)
    gold_NV = csr_matrix((np.ones(len(index_P)), (given.docs_P, index_P)), shape=(N, len(values_V)))
    wins_R = np.zeros(len(weights_RN))
    for start in range(0, N, BLOCK_DOCUMENTS):
        block_nL = np.sort(given.scores_NL[start : start + BLOCK_DOCUMENTS], axis=1)
        counts_nN = (gold_NV @ _counts_at(values_V, block_nL).T).T
        wins_R += np.einsum("rn,rn->r", weights64_RN @ counts_nN.T, weights64_RN[:, start : start + len(block_nL)])
    gold_R = weights64_RN @ np.bincount(given.docs_P, minlength=N)
    return _area(wins_R, gold_R, N * L - gold_R)


def _counts_at(values_V: FloatArray, lines_nL: FloatArray) -> IntArray:
    """Count for each line and ascending value the cells below the value, twice, plus those equal to it [n, V]."""
    n, V = len(lines_nL), len(values_V)
    index_nL = np.searchsorted(values_V, lines_nL)  # index of the lowest value not below the cell
    equal_nL = values_V[np.minimum(index_nL, V - 1)] == lines_nL
    flat_nL = index_nL + (V + 1) * np.arange(n)[:, None]
    up_to_nV = np.bincount(flat_nL.ravel(), minlength=n * (V + 1)).reshape(n, V + 1)[:, :V].cumsum(axis=1)
    equal_nV = np.bincount(flat_nL[equal_nL], minlength=n * (V + 1)).reshape(n, V + 1)[:, :V]
    return 2 * up_to_nV - equal_nV
