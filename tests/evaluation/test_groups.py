"""Figures of groups of codes and of documents, against scikit-learn on the cells of each group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from icdbench.evaluation import groups, metrics
from icdbench.settings import SpecError


def data(seed: int, N: int = 30, L: int = 12) -> tuple[metrics.Scored, np.ndarray, np.ndarray]:
    """Scores and labels that somewhat agree, with some unseen gold codes."""
    generator = np.random.default_rng(seed)
    labels_NL = generator.random((N, L)) < 0.2
    scores_NL = np.clip(0.4 * labels_NL + generator.random((N, L)) * 0.6, 0, 1)
    return metrics.scored(scores_NL, labels_NL, generator.integers(0, 2, N)), scores_NL > 0.5, labels_NL


def test_head_medium_and_tail_by_hand() -> None:
    """100 assignments: the code with 60 begins at 0 %, that with 20 at 60 %; codes of equal frequency stay together."""
    found = groups.by_share(np.array([1, 60, 0, 20, 18, 1]))
    assert [found.names[number] for number in found.number] == ["tail", "head", "unseen", "tail", "tail", "tail"]
    found = groups.by_share(np.array([4, 2, 2, 9, 9, 9, *[1] * 65]))  # before the nines 0 %, before 4 27 of 100
    assert [found.names[number] for number in found.number[:6]] == ["tail", "tail", "tail", "head", "head", "head"]
    found = groups.by_share(np.array([6, 4, 10, *[1] * 80]))  # before 6 10 %, before 4 16 %
    assert [found.names[number] for number in found.number[:4]] == ["medium", "medium", "head", "tail"]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40))
def test_groups_by_share_depend_on_frequency_alone_and_descend(counts: list[int]) -> None:
    found = groups.by_share(np.array(counts))
    by_count = dict(zip(counts, found.number, strict=True))
    assert [by_count[count] for count in counts] == found.number.tolist()
    rising = [by_count[count] for count in sorted(by_count, reverse=True)]
    assert rising == sorted(rising)
    assert max(counts) == 0 or by_count[max(counts)] == 0


def test_edges_are_the_highest_numbers_of_their_groups() -> None:
    found = groups.by_edges(np.array([0, 1, 2, 10, 11, 100, 101]), [1, 10, 100])
    assert found.names == ["0", "1", "2-10", "11-100", ">100"]
    assert found.number.tolist() == [0, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("edges", [[], [0, 5], [10, 10], [10, 5]])
def test_edges_that_do_not_ascend_are_refused(edges: list[int]) -> None:
    with pytest.raises(SpecError, match="give ascending numbers from 1 up, such as 10,100"):
        groups.by_edges(np.array([1, 2]), edges)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(1, 6))
def test_parts_are_intervals_that_hold_every_document(values: list[int], parts: int) -> None:
    found = groups.equal_parts(np.array(values), parts)
    assert 1 <= len(found.names) <= parts
    seen = [
        sorted(value for value, part in zip(values, found.number, strict=True) if part == each)
        for each in range(len(found.names))
    ]
    assert all(seen)
    assert [value for part in seen for value in part] == sorted(values)
    assert found.names == [str(part[0]) if part[0] == part[-1] else f"{part[0]}-{part[-1]}" for part in seen]


def test_parts_of_distinct_values_are_of_equal_size() -> None:
    assert np.bincount(groups.equal_parts(np.random.default_rng(0).permutation(40)).number).tolist() == [10] * 4


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_codes_agree_with_scikit_learn(seed: int) -> None:
    scored, predicted_NL, labels_NL = data(seed)
    counts_L = np.random.default_rng(seed).integers(0, 40, size=(labels_NL.shape[1],))
    counts_L[0] = 0
    by = groups.by_edges(counts_L, [5, 20])
    found = groups.of_codes(scored, predicted_NL, by)
    for number, name in enumerate(by.names):
        inside_L = by.number == number
        if not inside_L.any():
            assert name not in found
            continue
        gold, guessed = labels_NL[:, inside_L], predicted_NL[:, inside_L]
        each = [f1_score(gold[:, code], guessed[:, code], zero_division=0) for code in range(inside_L.sum())]
        assert found[name]["f1_macro"] == pytest.approx(np.mean(each))
        assert found[name]["codes"] == inside_L.sum()
        missed = scored.unseen_N.sum() if name == "0" else 0
        assert found[name]["assignments"] == gold.sum() + missed
        hidden = np.ones(missed, bool)  # unseen gold codes as cells of their own
        gold, guessed = np.concatenate([gold.ravel(), hidden]), np.concatenate([guessed.ravel(), ~hidden])
        assert found[name]["f1_micro"] == pytest.approx(f1_score(gold, guessed, zero_division=0))
        assert found[name]["recall_micro"] == pytest.approx(recall_score(gold, guessed, zero_division=0))


def test_unseen_gold_codes_are_the_unseen_group_of_their_own() -> None:
    scored, predicted_NL, labels_NL = data(0)
    found = groups.of_codes(scored, predicted_NL, groups.by_share(np.full(labels_NL.shape[1], 3)))
    assert found["unseen"] == {
        "f1_micro": 0.0, "recall_micro": 0.0, "codes": 0.0, "assignments": float(scored.unseen_N.sum())
    }  # fmt: skip
    none = metrics.scored(scored.scores_NL, labels_NL)
    assert "unseen" not in groups.of_codes(none, predicted_NL, groups.by_share(np.full(labels_NL.shape[1], 3)))


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_documents_are_the_metrics_of_those_documents(seed: int) -> None:
    scored, predicted_NL, labels_NL = data(seed)
    by = groups.equal_parts(np.random.default_rng(seed).integers(50, 500, len(labels_NL)))
    found = groups.of_documents(scored, predicted_NL, by)
    for number, name in enumerate(by.names):
        rows = by.number == number
        alone = metrics.evaluate(scored.scores_NL[rows], labels_NL[rows], unseen=scored.unseen_N[rows])
        assert found[name].pop("documents") == rows.sum()
        assert found[name] == pytest.approx({key: alone[key] for key in ("f1_micro", "p@5", "r@5", "map")})
