"""Resampled figures against the metrics of the documents that were really repeated, ties included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scores import DATA, each_data, random_data

from icdbench.evaluation import bootstrap, metrics
from icdbench.evaluation.bootstrap import enough, holm, interval, intervals, p_value, resampled, runs_drawn, weights

Data = tuple[NDArray[Any], NDArray[Any]]
RULES = {"fixed": 0.5, "tuned": 0.3}


def whole(data: Data, *, unseen: bool = True) -> metrics.Scored:
    """Everything that figures can be of: codes unseen in training, frequencies from none to many."""
    scores, labels = data
    generator = np.random.default_rng(0)
    missed = generator.integers(0, 3, len(labels)) * unseen
    return metrics.scored(scores, labels, missed, generator.choice([0, 3, 30, 80, 300, 900], labels.shape[1]))


def repeated(data: Data, weights_N: NDArray[Any]) -> dict[str, dict[str, float]]:
    """The figures of the documents themselves, as often as drawn."""
    given = whole(data)
    drawn = np.repeat(np.arange(len(weights_N)), weights_N.astype(int))
    scores, labels = data
    again = metrics.scored(scores[drawn], labels[drawn], given.unseen_N[drawn], given.counts_L)
    return metrics.evaluate_rules(again, RULES)


@pytest.mark.slow
@each_data
def test_resamples_have_the_figures_of_the_repeated_documents(data: Data) -> None:
    weights_RN = weights(len(data[0]), 25)
    found = resampled(whole(data), RULES, weights_RN)
    for row, weights_N in enumerate(weights_RN):
        for rule, expected in repeated(data, weights_N).items():
            defined = {key: values_R[row] for key, values_R in found[rule].items() if not np.isnan(values_R[row])}
            assert defined == pytest.approx(expected, rel=1e-10, abs=1e-10)


def mostly_idle(counts: Any = None) -> metrics.Scored:
    """Twelve codes of 300: the others no document has, and none gets."""
    some, labels = DATA["random"]
    wide = np.zeros((len(some), 300)), np.zeros((len(some), 300), np.int8)
    wide[0][:, 5:17], wide[1][:, 5:17] = some, labels
    return metrics.scored(*wide, np.arange(len(some)) % 3, counts)


@pytest.mark.parametrize("counts", [None, np.arange(300) % 120])
def test_codes_that_no_document_has_or_gets_are_not_counted_and_change_nothing(
    counts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, weights_RN = mostly_idle(counts), weights(40, 50)
    found = resampled(given, RULES, weights_RN)
    assert bootstrap._codes_that_count(given, given.scores_NL > 0.5) is not None
    monkeypatch.setattr(bootstrap, "IDLE", 1.0)
    assert bootstrap._codes_that_count(given, given.scores_NL > 0.5) is None
    for rule, figures in resampled(given, RULES, weights_RN).items():
        assert list(found[rule]) == list(figures)
        for key, values_R in figures.items():
            np.testing.assert_allclose(found[rule][key], values_R, rtol=0, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", ["tied", "many codes", "dense labels"])
def test_blocks_do_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = whole(DATA[name])
    weights_RN = weights(len(given.scores_NL), 30)
    expected = resampled(given, RULES, weights_RN)
    for block in ("PAIRS", "DOCUMENTS", "RESAMPLES"):
        monkeypatch.setattr(bootstrap, f"BLOCK_{block}", 7)
    found = resampled(given, RULES, weights_RN)
    for rule, figures in expected.items():
        assert list(found[rule]) == list(figures)
        for key, values_R in figures.items():
            np.testing.assert_allclose(found[rule][key], values_R, rtol=0, atol=1e-12)


def test_each_document_once_gives_the_figures_themselves() -> None:
    given = whole(DATA["tied"])
    found = resampled(given, RULES, np.ones((1, len(given.scores_NL)), np.float32))
    for rule, figures in metrics.evaluate_rules(given, RULES).items():
        assert {key: values_R[0] for key, values_R in found[rule].items()} == pytest.approx(figures, abs=1e-12)


def test_the_order_of_documents_does_not_matter() -> None:
    scores, labels = DATA["tied"]
    order, weights_RN = np.random.default_rng(1).permutation(len(labels)), weights(len(labels), 20)
    straight = resampled(metrics.scored(scores, labels), RULES, weights_RN)["fixed"]
    shuffled = resampled(metrics.scored(scores[order], labels[order]), RULES, weights_RN[:, order])["fixed"]
    for key, values_R in straight.items():
        np.testing.assert_allclose(shuffled[key], values_R, rtol=0, atol=1e-12)


def test_a_seed_decides_and_whole_documents_are_drawn() -> None:
    weights_RN = weights(30, 200)
    assert (weights_RN.sum(axis=1) == 30).all()
    assert (weights_RN == weights(30, 200)).all()
    assert (weights_RN[:50] == weights(30, 50)).all(), "more resamples go on where fewer end"
    assert (weights_RN != weights(30, 200, seed=1)).any()
    given = whole(DATA["random"])
    assert intervals(given, RULES, 100) == intervals(given, RULES, 100)
    assert intervals(given, RULES, 100) != intervals(given, RULES, 100, seed=1)


def test_intervals_are_percentiles_of_all_figures_of_merit() -> None:
    data = DATA["tied"]
    found = intervals(whole(data), RULES, 40)
    drawn = [repeated(data, weights_N) for weights_N in weights(len(data[0]), 40)]
    for rule, figures in metrics.evaluate_rules(whole(data), RULES).items():
        assert set(found[rule]) == set(figures) - {"auc_labels"}
        for key in found[rule]:
            expected = np.quantile([each[rule][key] for each in drawn if key in each[rule]], [0.025, 0.975])
            assert found[rule][key] == pytest.approx(tuple(expected), abs=1e-10)
            assert {type(end) for end in found[rule][key]} == {float}


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    scores, labels = random_data(1, 4000, 10)
    truth = metrics.evaluate(scores, labels)
    inside = {"f1_micro": 0, "auc_micro": 0, "p@5": 0, "map": 0}
    for _ in range(100):
        chosen = generator.integers(0, 4000, 100)
        found = intervals(metrics.scored(scores[chosen], labels[chosen]), {"fixed": 0.5}, 200)["fixed"]
        for key in inside:
            inside[key] += found[key][0] <= truth[key] <= found[key][1]
    assert all(86 <= times <= 100 for times in inside.values()), inside


def test_p_value_by_hand() -> None:
    assert p_value(np.array([1.0] * 99)) == pytest.approx(2 * 1 / 100)
    assert p_value(-np.array([1.0] * 99)) == pytest.approx(2 * 1 / 100)
    assert p_value(np.array([-1.0] * 4 + [1.0] * 95)) == pytest.approx(2 * 5 / 100)
    assert p_value(np.zeros(99)) == 1
    assert p_value(np.array([1e-17, -1e-17] * 50)) == 1, "rounding is no difference"
    assert p_value(np.array([np.nan] * 50 + [1.0] * 99)) == pytest.approx(2 * 1 / 100)


def test_interval_leaves_out_resamples_without_the_figure() -> None:
    values = np.linspace(0, 1, 41)
    assert interval(np.append(values, [np.nan] * 9)) == pytest.approx((0.025, 0.975))


# --- Seeds, and many comparisons


def figures_of(values: NDArray[Any]) -> dict[str, bootstrap.Figures]:
    """Runs of a system by id, from their figures [S, R]."""
    return {f"demo/jlan/{seed}-0": {"p@5": row} for seed, row in enumerate(values, 1)}


def test_each_system_draws_as_many_runs_as_it_has() -> None:
    ids = ["demo/jlan/1-0", "demo/jlan/2-0", "demo/jlan/3-0"]
    drawn_RS = runs_drawn(ids, 20_000)
    assert drawn_RS.shape == (20_000, 3)
    assert (drawn_RS.sum(axis=1) == 3).all()
    for run in range(3):  # binomial: 3 draws, each with probability 1/3
        shares = np.bincount(drawn_RS[:, run], minlength=4) / 20_000
        assert shares == pytest.approx(stats.binom(3, 1 / 3).pmf([0, 1, 2, 3]), abs=0.012)
    assert (runs_drawn(ids, 50) == drawn_RS[:50]).all(), "more resamples go on where fewer end"
    other_RS = runs_drawn([name.replace("jlan", "caml") for name in ids], 20_000)
    assert abs(np.corrcoef(drawn_RS[:, 0], other_RS[:, 0])[0, 1]) < 0.03, "systems are drawn independently"
    assert (runs_drawn(ids[:1], 50) == 1).all(), "one run is always drawn"


def test_a_resample_has_the_mean_of_the_runs_drawn_in_any_order() -> None:
    values_SR = np.random.default_rng(2).random((4, 30))
    runs = figures_of(values_SR)
    drawn_RS = runs_drawn(sorted(runs), 30)
    expected = [np.mean(np.repeat(values_SR[:, row], drawn_RS[row])) for row in range(30)]
    assert bootstrap.mean(runs)["p@5"] == pytest.approx(np.array(expected), abs=1e-12)
    assert bootstrap.mean(dict(reversed(runs.items())))["p@5"] == pytest.approx(np.array(expected), abs=1e-12)
    assert bootstrap.mean(runs, fix_seeds=True)["p@5"] == pytest.approx(values_SR.mean(axis=0), abs=1e-12)


def test_one_run_and_equal_runs_vary_with_documents_alone() -> None:
    values_R = np.random.default_rng(3).random(30)
    for copies in (1, 3):
        found = bootstrap.mean(figures_of(np.tile(values_R, (copies, 1))))["p@5"]
        assert found == pytest.approx(values_R, abs=1e-12)


def test_the_variance_of_a_mean_over_seeds_is_that_of_the_plain_bootstrap() -> None:
    """With documents that do not matter: the mean of S runs drawn has variance (S - 1) / S · s² / S."""
    values_S = np.array([0.31, 0.35, 0.36, 0.42, 0.40])
    drawn_R = bootstrap.mean(figures_of(np.tile(values_S[:, None], (1, 40_000))))["p@5"]
    assert drawn_R.var() == pytest.approx(values_S.var() / 5, rel=0.03)
    low, high = interval(drawn_R)
    scipys = stats.bootstrap((values_S,), np.mean, method="percentile", n_resamples=40_000, rng=0).confidence_interval
    assert (low, high) == pytest.approx(tuple(scipys), abs=0.002)


def system_of_seeds(generator: np.random.Generator, documents_N: NDArray[Any], S: int) -> NDArray[Any]:
    """Figures [S, N] with effects of documents, shared between systems or not, of seeds, and of both together."""
    own_N, seed_S1 = generator.normal(0, 0.1, len(documents_N)), generator.normal(0, 0.02, (S, 1))
    return documents_N + own_N + seed_S1 + generator.normal(0, 0.1, (S, len(documents_N)))


@pytest.mark.slow
def test_intervals_of_differences_cover_documents_and_seeds() -> None:
    """Two equal systems of five seeds on 100 documents: joint draws cover their difference, 0, and fixed seeds do not."""
    generator, covered, trials = np.random.default_rng(4), {True: 0, False: 0}, 300
    for trial in range(trials):
        documents_N = generator.normal(0.4, 0.15, 100)
        weights_RN = weights(100, 300, seed=trial) / 100
        sides = []
        for name in ("one", "other"):
            figures_SR = system_of_seeds(generator, documents_N, 5) @ weights_RN.T
            sides.append({f"{trial}/{name}/{seed}": {"p@5": row} for seed, row in enumerate(figures_SR)})
        for fixed in covered:
            one, other = (bootstrap.mean(side, fix_seeds=fixed)["p@5"] for side in sides)
            low, high = interval(one - other)
            covered[fixed] += low <= 0 <= high
    assert 0.92 <= covered[False] / trials <= 0.985, covered
    assert covered[True] / trials < 0.92, covered


def test_holm_by_hand() -> None:
    """Sorted .005, .01, .03, .04 become 4 · .005, 3 · .01, 2 · .03 and, as it may not fall, .06 again."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9, 0.6]) == [1, 1, 1]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_holm_rejects_a_true_hypothesis_in_few_tables() -> None:
    generator = np.random.default_rng(5)
    rejected = sum(min(holm(list(generator.random(10)))) < 0.05 for _ in range(2000))
    alone = sum(min(generator.random(10)) < 0.05 for _ in range(2000))
    assert rejected / 2000 == pytest.approx(1 - (1 - 0.05 / 10) ** 10, abs=0.015)
    assert alone / 2000 > 0.35


@pytest.mark.parametrize("comparisons", [1, 2, 24, 25, 26, 50, 190])
def test_enough_resamples_let_holm_fall_below_the_level(comparisons: int) -> None:
    resamples = enough(comparisons)
    assert comparisons * p_value(np.ones(resamples)) < 0.05
    fewer = resamples - 1000
    assert fewer == 0 or comparisons * p_value(np.ones(fewer)) >= 0.05
