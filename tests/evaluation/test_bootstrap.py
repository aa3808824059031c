"""Resampled figures against the metrics of the documents that were really repeated, ties included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scores import DATA, each_data, random_data

from icdbench.evaluation import bootstrap, metrics
from icdbench.evaluation.bootstrap import interval, intervals, p_value, resampled, weights

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
