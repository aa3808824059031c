"""Metrics against scikit-learn, against slow definitions written out here, and against sums done by hand."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import coo_array, coo_matrix, csc_matrix, csr_array, csr_matrix
from scores import DATA, Data, each_data, random_data
from sklearn import metrics as reference

from icdbench.evaluation import metrics
from icdbench.evaluation.metrics import collapse, evaluate, popularity, tune_threshold


def near(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.slow
@each_data
def test_decisions_agree_with_scikit_learn(data: Data) -> None:
    scores, labels = data
    predicted = scores > 0.5
    figures = evaluate(scores, labels)
    columns = list(zip(labels.T, predicted.T, strict=True))
    for name in ("f1", "precision", "recall"):
        one_code = getattr(reference, f"{name}_score")
        per_code = [one_code(gold, guess, zero_division=0) for gold, guess in columns]
        assert figures[f"{name}_macro"] == near(np.mean(per_code))
        pooled = one_code(labels.ravel(), predicted.ravel(), zero_division=0)
        assert figures[f"{name}_micro"] == near(pooled)
        if name == "f1" and labels.any():
            present = [f1 for f1, gold in zip(per_code, labels.T, strict=True) if gold.any()]
            assert figures["f1_macro_present"] == near(np.mean(present))
    jaccards = [reference.jaccard_score(gold, guess, zero_division=0) for gold, guess in columns]
    assert figures["jaccard_macro"] == near(np.mean(jaccards))
    assert figures["jaccard_micro"] == near(reference.jaccard_score(labels.ravel(), predicted.ravel(), zero_division=0))
    assert figures["accuracy"] == near(reference.accuracy_score(labels.ravel(), predicted.ravel()))
    precision, recall = figures["precision_macro"], figures["recall_macro"]
    harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0
    assert figures["f1_macro_harmonic"] == near(harmonic)
    assert figures["exact_match"] == np.mean((labels == predicted).all(axis=1))


@each_data
def test_auc_agrees_with_scikit_learn(data: Data) -> None:
    scores, labels = data
    figures = evaluate(scores, labels)
    both = [code for code, gold in enumerate(labels.T) if 0 < gold.sum() < len(gold)]
    assert figures["auc_labels"] == len(both)
    if both:
        areas = [reference.roc_auc_score(labels[:, code], scores[:, code]) for code in both]
        assert figures["auc_macro"] == near(np.mean(areas))
    else:
        assert "auc_macro" not in figures
    if 0 < labels.sum() < labels.size:
        area = reference.roc_auc_score(labels.ravel(), scores.ravel())
        assert figures["auc_micro"] == near(area)
    else:
        assert "auc_micro" not in figures


def slow_ranking(scores: NDArray[Any], labels: NDArray[Any], unseen: NDArray[Any]) -> dict[str, float]:
    """The ranking figures as a reader would define them."""
    rows: list[dict[str, float]] = []
    for row, gold, missed in zip(scores, labels, unseen, strict=True):
        ranked = sorted(range(len(row)), key=lambda code, row=row: (-row[code], code))  # type: ignore[misc]
        right = [bool(gold[code]) for code in ranked]
        relevant = int(gold.sum()) + int(missed)
        figures = {"relevant": float(relevant)}
        for k in (5, 8, 15):
            figures[f"p@{k}"] = sum(right[:k]) / min(k, len(row))
            figures[f"r@{k}"] = sum(right[:k]) / relevant if relevant else 0
        at_hits = [sum(right[: place + 1]) / (place + 1) for place, hit in enumerate(right) if hit]
        figures["map"] = figures["map_official"] = sum(at_hits) / relevant if relevant else 0
        figures["r_precision"] = sum(right[:relevant]) / relevant if relevant else 0
        rows.append(figures)
    with_gold = [figures for figures in rows if figures["relevant"]]
    means = {key: float(np.mean([figures[key] for figures in rows])) for key in rows[0] if key != "relevant"}
    for key in ("map", "r_precision"):
        del means[key]
        if with_gold:
            means[key] = float(np.mean([figures[key] for figures in with_gold]))
    return means


@each_data
@pytest.mark.parametrize("with_unseen", [False, True])
def test_ranking_agrees_with_the_definitions(data: Data, with_unseen: bool) -> None:  # noqa: FBT001
    scores, labels = data
    unseen = np.random.default_rng(0).integers(0, 3, len(labels)) * with_unseen
    figures = evaluate(scores, labels, unseen=unseen)
    expected = slow_ranking(scores, labels, unseen)
    assert {key for key in figures if "@" in key or key.startswith(("map", "r_"))} == set(expected)
    assert {key: figures[key] for key in expected} == near(expected)


def test_map_agrees_with_scikit_learn_without_ties() -> None:
    scores, labels = random_data(4, 9, 60, gold=0.05)
    labels[3] = 0
    precisions = [reference.average_precision_score(y, s) for y, s in zip(labels, scores, strict=True) if y.any()]
    assert len(precisions) < len(labels), "a document without gold codes must not count"
    assert evaluate(scores, labels)["map"] == near(np.mean(precisions))


def test_three_macro_f1s_by_hand() -> None:
    # code 0: one hit, one miss; code 1: one hit, one false alarm; code 2: nothing at all; code 3: one false alarm
    labels = [[1, 1, 0, 0], [1, 0, 0, 0]]
    predicted = [[1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]
    figures = evaluate(predicted, labels)
    assert figures["f1_macro"] == pytest.approx((2 / 3 + 2 / 3 + 0 + 0) / 4)
    assert figures["f1_macro_present"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert figures["precision_macro"] == pytest.approx((1 + 1 / 2 + 0 + 0) / 4)
    assert figures["recall_macro"] == pytest.approx((1 / 2 + 1 + 0 + 0) / 4)
    assert figures["f1_macro_harmonic"] == pytest.approx(3 / 8)
    assert figures["f1_micro"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))


def test_ties_are_ranked_by_code_position() -> None:
    labels = np.zeros((1, 20), dtype=bool)
    labels[0, [0, 4, 5, 19]] = True
    figures = evaluate(np.full((1, 20), 0.3), labels)
    assert [figures[f"p@{k}"] for k in (5, 8, 15)] == [2 / 5, 3 / 8, 3 / 15]
    assert [figures[f"r@{k}"] for k in (5, 8, 15)] == [2 / 4, 3 / 4, 3 / 4]
    assert figures["map"] == pytest.approx((1 / 1 + 2 / 5 + 3 / 6 + 4 / 20) / 4)
    assert figures["r_precision"] == 1 / 4


def test_the_threshold_itself_is_not_above() -> None:
    assert evaluate([[0.5, 0.6]], [[1, 1]])["recall_micro"] == 0.5
    tenth = np.array([[0.1, 0.2]], dtype=np.float32)  # in float64 this 0.1 is above 0.1
    assert evaluate(tenth, [[1, 1]], 0.1)["recall_micro"] == 0.5
    assert evaluate(tenth, [[1, 1]], np.float64(0.1))["recall_micro"] == 0.5


def test_keys_are_in_the_documented_order() -> None:
    ranked = "p@5 p@8 p@15 r@5 r@8 r@15 map r_precision map_official"
    macro = "f1_macro f1_macro_present f1_macro_harmonic precision_macro recall_macro"
    keys = f"auc_macro auc_micro auc_labels {macro} precision_micro recall_micro f1_micro jaccard_macro jaccard_micro exact_match accuracy {ranked}"
    assert list(evaluate(*DATA["random"])) == keys.split()


@each_data
def test_figures_are_finite_floats_in_range(data: Data) -> None:
    figures = evaluate(*data, train_counts=np.arange(data[0].shape[1]))
    assert {type(value) for value in figures.values()} == {float}
    assert all(0 <= value <= 1 for key, value in figures.items() if key != "auc_labels")


@each_data
def test_several_thresholds_at_once_are_each_alone(data: Data) -> None:
    counts = np.arange(data[0].shape[1]) * 40
    rules = {"fixed": 0.5, "tuned": 0.2}
    alone = {rule: evaluate(*data, at, train_counts=counts) for rule, at in rules.items()}
    assert metrics.evaluate_rules(metrics.scored(*data, train_counts=counts), rules) == alone
    ranking = metrics.ranking(*data)
    assert ranking == {key: alone["fixed"][key] for key in alone["fixed"] if key in ranking}
    assert len(ranking) == 7 + 2 * ("map" in ranking)


def test_undefined_figures_are_left_out() -> None:
    scores, labels = DATA["no gold"]
    figures = evaluate(scores, labels)
    assert not {"auc_macro", "auc_micro", "f1_macro_present", "map", "r_precision"} & set(figures)
    assert [figures[key] for key in ("auc_labels", "recall_micro", "f1_micro", "r@5", "map_official")] == [0] * 5


def test_unseen_codes_count_as_missed() -> None:
    scores, labels = np.array([[0.9, 0.1, 0.2], [0.1, 0.8, 0.3]]), np.array([[1, 0, 0], [0, 1, 0]])
    plain, figures = evaluate(scores, labels), evaluate(scores, labels, unseen=np.array([1, 0]))
    assert figures["recall_micro"] == pytest.approx(2 / 3)
    assert figures["f1_micro"] == pytest.approx(2 * 2 / (2 * 2 + 0 + 1))
    assert figures["exact_match"] == 1 / 2
    for key in ("r@5", "map", "map_official", "r_precision"):
        assert (plain[key], figures[key]) == (1, (1 / 2 + 1) / 2)
    same = [key for key in plain if "macro" in key or key.startswith(("auc", "p@", "precision"))]
    assert len(same) == 13
    assert {key: plain[key] for key in same} == {key: figures[key] for key in same}


def test_a_document_with_unseen_codes_only_counts_in_map() -> None:
    scores, labels = np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([[1, 0], [0, 0]])
    assert evaluate(scores, labels)["map"] == 1
    assert evaluate(scores, labels, unseen=np.array([0, 2]))["map"] == 1 / 2


def test_official_map_stops_at_1000_and_averages_over_all_documents() -> None:
    labels = np.zeros((2, 1200))
    labels[0, [0, 999, 1000]] = 1  # document 1 has no gold code
    scores = -np.tile(np.arange(1200.0), (2, 1))
    figures = evaluate(scores, labels)
    assert figures["map"] == near((1 / 1 + 2 / 1000 + 3 / 1001) / 3)
    assert figures["map_official"] == near((1 / 1 + 2 / 1000) / 3 / 2)


def test_bucket_edges() -> None:
    counts = np.array([0, 1, 10, 11, 50, 51, 100, 101, 500, 501])
    found = np.diag([1, 0, 1, 0, 1, 0, 1, 0, 1, 0])  # every second code, so that a code in the wrong bucket shows
    figures = evaluate(found, np.eye(10), train_counts=counts)
    names = ("0", "1-10", "11-50", "51-100", "101-500", ">500")
    assert [figures[f"recall_micro[{name}]"] for name in names] == [1, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 0]
    assert [figures[f"f1_micro[{name}]"] for name in names] == pytest.approx([1, *[2 / 3] * 4, 0])
    assert [figures[f"f1_macro[{name}]"] for name in names] == [1, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 0]
    assert list(figures)[-6:] == [
        f"{key}[{name}]" for name in names[-2:] for key in ("f1_micro", "recall_micro", "f1_macro")
    ]


def test_buckets_without_codes_are_left_out_and_bucket_0_holds_the_unseen() -> None:
    scores, labels = [[0.9, 0.1]], [[1, 1]]
    counts = np.array([7, 70])
    figures = evaluate(scores, labels, train_counts=counts)
    assert {key.partition("[")[2] for key in figures if "[" in key} == {"1-10]", "51-100]"}
    figures = evaluate(scores, labels, train_counts=counts, unseen=np.array([3]))
    assert {key for key in figures if "[0]" in key} == {"f1_micro[0]", "recall_micro[0]"}
    assert figures["recall_micro[0]"] == figures["f1_micro[0]"] == 0
    assert figures["recall_micro[1-10]"] == 1
    counts = np.array([0, 70])
    figures = evaluate(scores, labels, train_counts=counts, unseen=np.array([3]))
    assert (figures["recall_micro[0]"], figures["f1_micro[0]"], figures["f1_macro[0]"]) == (1 / 4, 2 / 5, 1)


@pytest.mark.parametrize("kind", [csr_matrix, csc_matrix, coo_matrix, csr_array, coo_array, np.array])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_any_kind_of_labels(kind: Any, dtype: type) -> None:
    scores, labels = DATA["tied"]
    assert evaluate(scores, kind(labels.astype(dtype))) == evaluate(scores, labels)


def test_stored_zeros_are_zeros_and_the_callers_matrix_stays() -> None:
    labels = csr_matrix(([1.0, 0.0, 1.0], [2, 1, 0], [0, 3, 3]), shape=(2, 3))  # out of order, with a zero
    scores = [[0.9, 0.8, 0.7], [0.1, 0.2, 0.3]]
    assert evaluate(scores, labels) == evaluate(scores, [[1, 0, 1], [0, 0, 0]])
    assert labels.indices.tolist() == [2, 1, 0]


@pytest.mark.parametrize("name", ["random", "float32", "tied", "many codes", "constant"])
def test_the_order_of_documents_does_not_matter(name: str) -> None:
    scores, labels = DATA[name]
    unseen, counts = np.arange(len(labels)) % 3, np.arange(labels.shape[1]) * 9
    order = np.random.default_rng(0).permutation(len(labels))
    straight = evaluate(scores, labels, unseen=unseen, train_counts=counts)
    shuffled = evaluate(scores[order], labels[order], unseen=unseen[order], train_counts=counts)
    assert straight == shuffled, "to the last bit"
    assert tune_threshold(scores, labels) == tune_threshold(scores[order], labels[order])


@pytest.mark.parametrize("cells", [1, 25, 100])
def test_blocks_do_not_matter(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [evaluate(*DATA[name]) for name in ("random", "tied", "many codes")]
    monkeypatch.setattr(metrics, "BLOCK_CELLS", cells)
    assert [evaluate(*DATA[name]) for name in ("random", "tied", "many codes")] == whole


@pytest.mark.slow
def test_tuned_threshold_is_the_best_of_all() -> None:
    for seed in range(150):
        rng = np.random.default_rng(seed)
        N, L = rng.integers(1, 7, 2)
        scores = rng.integers(-4, 5, (N, L)).astype(rng.choice(["float32", "float64"]))
        labels = rng.random((N, L)) < rng.choice([0.1, 0.5, 0.9])
        unseen = rng.integers(0, 2, N)
        cuts = [*np.unique(scores), scores.min() - 1]
        f1s = [evaluate(scores, labels, cut, unseen=unseen)["f1_micro"] for cut in cuts]
        highest = max(cut for cut, f1 in zip(cuts, f1s, strict=True) if f1 == max(f1s))
        tuned = tune_threshold(scores, labels, unseen=unseen)
        assert evaluate(scores, labels, tuned, unseen=unseen)["f1_micro"] == max(f1s)
        assert ((scores > tuned) == (scores > highest)).all(), "of equal optima the one with the fewest predictions"


def test_tuned_threshold_is_midway() -> None:
    assert tune_threshold([[0.0, 0.25, 0.75, 1.0]], [[0, 0, 1, 1]]) == 0.5
    assert tune_threshold([[0.0, 0.25, 0.75, 1.0]], [[0, 0, 0, 0]]) == 1.0
    assert tune_threshold([[0.25, 0.75]], [[1, 1]]) == -0.75
    assert tune_threshold([[False, True]], [[1, 1]]) == -1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("start", [0.5, -0.5, 0.1, 0.0, 1e-7, "lowest", "highest"])
def test_tuned_threshold_separates_neighbouring_numbers(dtype: type, start: float | str) -> None:
    limits = np.finfo(dtype)
    lower = dtype({"lowest": limits.min, "highest": np.nextafter(limits.max, dtype(0))}.get(str(start), start))
    for _ in range(1 if isinstance(start, str) else 4):  # midway rounds to the even neighbour: now up, now down
        upper = np.nextafter(lower, dtype(np.inf))
        scores: NDArray[Any] = np.array([[lower, upper]], dtype=dtype)
        threshold = tune_threshold(scores, [[0, 1]])
        for in_type in (dtype, np.float64):
            assert (scores > in_type(threshold)).tolist() == [[False, True]]
        assert evaluate(scores, [[0, 1]], threshold)["f1_micro"] == 1
        lower = upper


def test_threshold_of_predicting_everything_is_finite() -> None:
    scores = np.array([[np.finfo(np.float32).min * 0.75, np.finfo(np.float32).max]], dtype=np.float32)
    threshold = tune_threshold(scores, [[1, 1]])
    assert math.isfinite(threshold)
    assert evaluate(scores, [[1, 1]], threshold)["f1_micro"] == 1


def test_collapse_is_named() -> None:
    fine = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert collapse(fine) is None
    assert collapse(np.where(fine > 0.85, np.nan, fine)) == "scores are not finite"
    assert collapse(np.where(fine > 0.85, np.inf, fine)) == "scores are not finite"
    assert collapse(fine[[0, 0, 0]]) == "every document gets the same scores"
    assert collapse(fine[[0, 0, 1]]) is None
    assert collapse(fine[:1]) is None, "one document cannot show it"
    assert collapse(fine, 0.9) == "no code is ever predicted"
    assert collapse(fine, 0.05) == "every code is always predicted"
    assert collapse(fine, 0.1) is None


def test_popularity_ranks_by_training_frequency() -> None:
    scores = popularity(np.array([3, 0, 9, 3]), 2)
    assert scores.shape == (2, 4)
    labels = np.array([[0, 0, 1, 0], [1, 0, 0, 0]])  # ranked 2, 0, 3, 1
    figures = evaluate(scores, labels)
    assert figures["map"] == pytest.approx((1 + 1 / 2) / 2)
    assert figures["auc_macro"] == 0.5
    assert collapse(scores) == "every document gets the same scores"


FINE = np.array([[0.9, 0.1], [0.2, 0.8]])
WRONG: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "1 of 4 scores are not finite": (np.where(FINE > 0.85, np.nan, FINE), FINE > 0.5, {}),
    "2 of 4 scores are not finite": (np.where(FINE > 0.5, -np.inf, FINE), FINE > 0.5, {}),
    "labels of shape (2, 3) do not fit scores of shape (2, 2)": (FINE, np.zeros((2, 3)), {}),
    "labels of shape (2,) do not fit scores of shape (2, 2)": (FINE, np.zeros(2), {}),
    "labels must be 0 or 1; 1 of them are not, such as 2": (FINE, [[2, 0], [1, 0]], {}),
    "labels must be 0 or 1; 2 of them are not, such as -1": (FINE, [[-1, 1], [-1, 1]], {}),
    "labels must be 0 or 1; 1 of them are not, such as nan": (FINE, [[1, np.nan], [0, 0]], {}),
    "labels must be 0 or 1; 1 of them are not, such as 2.0": (
        FINE,
        csr_matrix(([1.0, 1.0], [1, 1], [0, 2, 2])),
        {},
    ),
    "nothing to evaluate: scores of shape (0, 2)": (np.zeros((0, 2)), np.zeros((0, 2)), {}),
    "nothing to evaluate: scores of shape (2, 0)": (np.zeros((2, 0)), np.zeros((2, 0)), {}),
    "scores must be a matrix of documents and codes, not of shape (2,)": (np.zeros(2), np.zeros(2), {}),
    "unseen has shape (3,), not (2,)": (FINE, FINE > 0.5, {"unseen": np.zeros(3, dtype=int)}),
    "unseen must be integers from 0 up": (FINE, FINE > 0.5, {"unseen": np.array([0, -1])}),
    "train_counts has shape (3,), not (2,)": (FINE, FINE > 0.5, {"train_counts": np.ones(3, dtype=int)}),
    "train_counts must be integers from 0 up": (FINE, FINE > 0.5, {"train_counts": np.array([0.5, 1])}),
    "the threshold is not a number": (FINE, FINE > 0.5, {"threshold": math.nan}),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_evaluated_is_said_in_one_line(message: str) -> None:
    scores, labels, options = WRONG[message]
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        evaluate(scores, labels, **options)
    assert str(error.value) == message
