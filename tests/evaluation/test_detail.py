"""Figures of errors and of rare codes, against scikit-learn and a plain reading of their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, jaccard_score

from icdbench.evaluation import detail, metrics


def data(seed: int, *, ties: bool, unseen: bool = False) -> tuple[metrics.Scored, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels_NL = generator.random((25, 18)) < 0.15
    labels_NL[:, 3] = False  # a code without gold documents
    scores_NL = np.clip(0.3 * labels_NL + generator.random(labels_NL.shape) * 0.7, 0, 1)
    scores_NL = np.round(scores_NL, 1) if ties else scores_NL
    return metrics.scored(scores_NL, labels_NL, generator.integers(0, 3, 25) * unseen), scores_NL > 0.45, labels_NL


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_pr_auc_agrees_with_scikit_learn(seed: int, ties: bool) -> None:  # noqa: FBT001
    given, _, labels_NL = data(seed, ties=ties)
    present_L = labels_NL.any(axis=0)
    macro = average_precision_score(labels_NL[:, present_L], given.scores_NL[:, present_L], average="macro")
    found = detail.of_ranking(given, np.ones(18, int), 5)
    assert found["pr_auc_macro"] == pytest.approx(macro)
    micro = average_precision_score(labels_NL, given.scores_NL, average="micro")
    assert found["pr_auc_micro"] == pytest.approx(micro)


def test_unseen_gold_codes_lower_the_recall_behind_micro_pr_auc() -> None:
    given, _, labels_NL = data(0, ties=False, unseen=True)
    share = labels_NL.sum() / (labels_NL.sum() + given.unseen_N.sum())
    assert detail.of_ranking(given, np.ones(18, int), 5)["pr_auc_micro"] == pytest.approx(
        share * average_precision_score(labels_NL, given.scores_NL, average="micro")
    )


@pytest.mark.parametrize("seed", range(3))
def test_decisions_agree_with_scikit_learn_and_counts(seed: int) -> None:
    given, predicted_NL, labels_NL = data(seed, ties=False)
    labels_NL[0] = predicted_NL[0] = False  # nothing to find and nothing found
    given = metrics.scored(given.scores_NL, labels_NL)
    found = detail.of_decisions(given, predicted_NL)
    assert found["jaccard"] == pytest.approx(jaccard_score(labels_NL, predicted_NL, average="samples", zero_division=1))
    assert found["fpr_micro"] == pytest.approx((predicted_NL & ~labels_NL).sum() / (~labels_NL).sum())
    assert found["fpr_macro"] == pytest.approx(np.mean((predicted_NL & ~labels_NL).sum(0) / (~labels_NL).sum(0)))
    assert found["predicted_ratio"] == pytest.approx(predicted_NL.sum() / labels_NL.sum())


def test_codes_never_predicted_by_hand() -> None:
    labels_NL = np.array([[1, 0, 1, 0], [1, 0, 0, 0]])
    predicted_NL = np.array([[1, 0, 0, 0], [0, 0, 0, 1]], bool)
    found = detail.of_decisions(metrics.scored(predicted_NL.astype(float), labels_NL, np.array([0, 1])), predicted_NL)
    assert (found["never_predicted"], found["never_predicted_gold"], found["never_predicted_share"]) == (2, 1, 0.5)
    assert found["jaccard"] == pytest.approx((1 / 2 + 0 / 3) / 2)  # the second misses one of L and an unseen one
    assert found["predicted_ratio"] == pytest.approx(2 / 4)


def test_propensity_weights_by_their_formula() -> None:
    """N = 100 training documents: C = (ln 100 − 1) · 2.5^.55; a code of 8.5 documents more than B weighs 1 + C · 10^−.55."""
    C = (math.log(100) - 1) * 2.5**0.55
    assert detail.propensity_weights(np.array([0, 1, 99]), 100) == pytest.approx(
        [1 + C * 1.5**-0.55, 1 + C * 2.5**-0.55, 1 + C * 100.5**-0.55]
    )
    assert detail.propensity_weights(np.array([0, 1]), 1).tolist() == [1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_psp_is_the_ratio_of_what_was_found_to_the_best(seed: int) -> None:
    given, _, labels_NL = data(seed, ties=seed == 1)
    weights_L = detail.propensity_weights(np.random.default_rng(seed).integers(0, 50, size=(labels_NL.shape[1],)), 100)
    found = detail.psp(given, weights_L)
    for k in metrics.K:
        got = best = 0.0
        for scores, gold in zip(given.scores_NL, labels_NL, strict=True):
            top = sorted(range(len(scores)), key=lambda code: (-scores[code], code))[:k]
            got += sum(weights_L[code] * gold[code] for code in top) / k
            best += sum(sorted(weights_L[gold], reverse=True)[:k]) / k
        assert found[f"psp@{k}"] == pytest.approx(got / best)


def test_equal_weights_make_psp_a_precision_relative_to_its_ceiling() -> None:
    given, _, labels_NL = data(2, ties=False)
    found, perfect = metrics.ranking(given.scores_NL, labels_NL), metrics.ranking(labels_NL.astype(float), labels_NL)
    assert detail.psp(given, np.ones(labels_NL.shape[1]))["psp@5"] == pytest.approx(found["p@5"] / perfect["p@5"])


def test_without_gold_codes_ranking_has_no_figures() -> None:
    assert detail.of_ranking(metrics.scored(np.ones((2, 3)), np.zeros((2, 3))), np.ones(3, int), 5) == {}
