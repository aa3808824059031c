"""Predicted codes outside the label set, and codes that are not listed, of predictions that were made elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from icdbench.evaluation import bootstrap, measure, metrics
from icdbench.types import Predictions

N, L, F = 30, 20, 3
GENERATOR = np.random.default_rng(0)
SCORES = GENERATOR.uniform(0.01, 1, (N, L)).round(2)
OUTSIDE = GENERATOR.uniform(0.01, 1, (N, F)).round(3) * (GENERATOR.random((N, F)) < 0.6)  # 0: fewer than F
LABELS = (GENERATOR.random((N, L)) < 0.2).astype(int)
UNSEEN = GENERATOR.integers(0, 2, N)
COUNTS = np.arange(L) * 20


def given(scores: np.ndarray = SCORES, outside: np.ndarray | None = OUTSIDE) -> metrics.Scored:
    return metrics.scored(scores, LABELS, UNSEEN, COUNTS, outside)


def test_they_count_as_columns_without_gold_codes() -> None:
    wide, none = np.hstack([SCORES, OUTSIDE]), np.zeros((N, F), int)
    expected = metrics.evaluate(wide, np.hstack([LABELS, none]), 0.4, unseen=UNSEEN)
    found = metrics.evaluate_rules(given(), {"": 0.4})[""]
    plain = metrics.evaluate(SCORES, LABELS, 0.4, unseen=UNSEEN, train_counts=COUNTS)
    same = (
        "precision_micro",
        "recall_micro",
        "f1_micro",
        "jaccard_micro",
        "exact_match",
        "p@5",
        "r@8",
        "map",
        "r_precision",
    )
    for key in same:
        assert found[key] == pytest.approx(expected[key], abs=1e-12), key
    for key in ("precision_micro", "f1_micro", "p@5", "map", "f1_micro[0]"):
        assert found[key] < plain[key]
    for key in ("f1_macro", "f1_macro_harmonic", "auc_macro", "auc_micro", "f1_micro[101-500]"):
        assert found[key] == plain[key]


def test_the_threshold_is_tuned_with_them() -> None:
    wide, none = np.hstack([SCORES, OUTSIDE]), np.zeros((N, F), int)
    tuned = metrics.tune_threshold(SCORES, LABELS, unseen=UNSEEN, outside=OUTSIDE)
    assert tuned == metrics.tune_threshold(wide, np.hstack([LABELS, none]), unseen=UNSEEN)


def test_their_resamples_are_those_of_repeated_documents() -> None:
    weights = bootstrap.weights(N, 5)
    drawn = bootstrap.resampled(given(), {"fixed": 0.4}, weights)["fixed"]
    for row, weight in enumerate(weights.astype(int)):
        at = np.repeat(np.arange(N), weight)
        again = metrics.scored(SCORES[at], LABELS[at], UNSEEN[at], COUNTS, OUTSIDE[at])
        for key, value in metrics.evaluate_rules(again, {"": 0.4})[""].items():
            assert drawn[key][row] == pytest.approx(value, abs=1e-9), key


def test_a_code_that_is_not_listed_is_no_hit() -> None:
    nothing = np.zeros_like(SCORES)
    figures = metrics.evaluate_rules(given(nothing, np.zeros((N, 0))), {"": 0.5})[""]
    assert {figures[key] for key in ("p@5", "p@15", "r@15", "r_precision", "f1_micro")} == {0}
    assert figures["map"] < 1e-15
    assert metrics.tune_threshold(nothing, LABELS, outside=np.zeros((N, 0))) == 0
    with_model = metrics.evaluate_rules(metrics.scored(nothing, LABELS), {"": 0.5})[""]
    assert with_model["p@5"] > 0, "a model's ties are ranked by position, as ever"


def test_figures_of_a_split_leave_out_what_the_file_does_not_tell() -> None:
    predicted = Predictions((), np.where(SCORES > 0.5, np.inf, -np.inf), csr_matrix(LABELS), UNSEEN, np.zeros((N, 0)))
    figures = measure.of_split(predicted, COUNTS, ("auc", "p@"))
    assert not any(key.startswith(("auc", "p@")) for key in figures)
    assert {"r@5", "f1_micro"} <= figures.keys()
