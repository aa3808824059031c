"""What is stacked: nothing is fitted twice on a label, and what the parts say is what can be counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from systems import NUM_CODES, encoded, learnable, small_task

from icdbench import registry
from icdbench.nn import members, stacking
from icdbench.nn.members import Committee, Plan
from icdbench.nn.words import Readings
from icdbench.types import Encoded

PLAN: Plan = (("forms", "chi2"),)
PARTS = stacking.Parts(
    plan=PLAN, number=5, C=1.0, context=True, document=True, hierarchy=True, pooled=True, trees=False, names=False
)  # fmt: skip


def test_chosen_documents_keep_their_words_and_codes() -> None:
    found = stacking.chosen(encoded([[5, 6], [7], [8, 9, 10]], [[0], [1, 2], []]), np.array([2, 1]))
    assert found.tokens.tolist() == [8, 9, 10, 7]
    assert found.token_offsets.tolist() == [0, 3, 4]
    assert found.codes.tolist() == [1, 2]
    assert found.code_offsets.tolist() == [0, 0, 2]
    assert found.ids == ("2", "1")
    assert found.marks is not None
    assert [found.marks.codes.tolist(), found.marks.offsets.tolist()] == [[1, 2], [0, 0, 2]]
    assert [found.marks.words.tolist(), found.marks.word_offsets.tolist()] == [[0, 0], [0, 1, 2]]


def test_the_pooled_classifier_learns_from_documents_that_the_parts_did_not_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted: list[set[str]] = []
    read: list[set[str]] = []

    class Watched(stacking.Base):
        def fit(self, documents: Encoded) -> None:
            fitted.append(set(documents.ids))
            super().fit(documents)

        def read(self, documents: Encoded) -> stacking.Opinions:
            read.append(set(documents.ids))
            return super().read(documents)

    monkeypatch.setattr(stacking, "Base", Watched)
    task, documents = small_task(), learnable(40, shortest=8)
    stacking.pool(Watched(PARTS, task, Readings.of(None, task.num_tokens)), documents)
    assert len(read) == stacking.FOLDS
    assert fitted.pop() == set(documents.ids)
    assert all(not one & other and one | other == set(documents.ids) for one, other in zip(fitted, read, strict=True))
    assert set.union(*read) == set(documents.ids)
    fitted.clear()
    read.clear()
    monkeypatch.setattr(stacking, "MANY", 39)
    monkeypatch.setattr(stacking, "HELD", 15)
    stacking.pool(Watched(PARTS, task, Readings.of(None, task.num_tokens)), documents)
    assert [len(fitted[0]), len(read[0])] == [25, 15]
    assert len(fitted) == len(read) == 1
    assert fitted[0] | read[0] == set(documents.ids)


def test_an_l1_penalty_chooses_among_fewer_features_with_many_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    def features_used() -> int:
        committee = Committee((("words", "l1"),), Readings.of(None, small_task().num_tokens))
        committee.fit(documents, documents.labels().tocsc()[:, :1], 20, 10.0)
        return int(committee.members[0].coefficients_LV.nnz)

    documents = encoded([*[[5, 8]] * 20, *[[6, 9]] * 20, *[[7, 8]] * 20], [*[[0]] * 40, *[[]] * 20])
    monkeypatch.setattr(members, "SCREENED_OF_MANY", 1)
    assert features_used() > 1
    monkeypatch.setattr(members, "MANY", 59)
    assert features_used() == 1


def test_surroundings_are_counted_in_the_document() -> None:
    tokens = ("", "?", "no", "pain", "fever", "x", "y", "z", "u", "v")
    committee = Committee(PLAN, Readings.of(tokens, len(tokens)))
    texts = [[3, 5], [3, 6], [3, 7], [4, 5], [4, 6], [7, 8]]
    documents = encoded(texts, [[0], [0], [0], [], [], []])
    committee.fit(documents, documents.labels().tocsc()[:, :1], 1, 1.0)
    found = committee.surroundings(encoded([[5, 2, 3, 6, 7, 8, 9, 6, 5, 3], [5, 6]], [[], []]))
    assert found.documents.tolist() == [0]
    assert found.values_PF[0, :3].tolist() == pytest.approx([np.log(3), 0.2, 0.5])
    assert not found.values_PF[0, 3:].any()


@pytest.mark.parametrize(
    ("between", "denied"), [([], 1), ([5], 0), ([5, 2], 1), ([2, 5], 0), ([6, 6, 6, 6], 1), ([6] * 5, 0)]
)
def test_a_cue_says_something_of_what_follows_in_its_sentence(between: list[int], denied: int) -> None:
    tokens = ("", "?", "no", "pain", "fever", ".", "x")
    committee = Committee(PLAN, Readings.of(tokens, len(tokens)))
    documents = encoded([[3, 6], [3, 6], [3], [4, 6], [4, 6], [6]], [[0], [0], [0], [], [], []])
    committee.fit(documents, documents.labels().tocsc()[:, :1], 1, 1.0)
    found = committee.surroundings(encoded([[6, 2, 3], [5, 2, *between, 3]], [[], []]))
    assert found.documents.tolist() == [0, 1]
    assert found.values_PF[:, 2].tolist() == [1, denied]


def test_siblings_are_the_best_other_code_of_the_parent() -> None:
    task = small_task()
    base = stacking.Base(PARTS, task, Readings.of(None, task.num_tokens))
    base.fit(learnable(40, shortest=8))
    assert base.known_K.tolist() == list(range(NUM_CODES))
    chances_NK = np.array([[0.1, 0.2, 0.3, 0.9, 0.4, 0.5, 0.6]])
    codes = np.array([0, 1, 2, 3, 5])
    best = base._siblings(chances_NK, np.zeros(5, np.int64), codes, chances_NK[0, codes])
    assert best.tolist() == [0.2, 0.1, 0.9, 0.4, 0]  # codes 0, 1 under 2; 2, 3, 4 under a heading; 5 alone below a root


@pytest.mark.slow
@pytest.mark.counted
def test_what_is_denied_is_learnt_from_but_not_coded() -> None:
    words = (
        "",
        "?",
        "no",
        "sin",
        "denies",
        "without",
        *(f"finding{number}" for number in range(NUM_CODES)),
        "x",
        "y",
        "z",
    )
    named = [words.index(f"finding{code}") for code in range(NUM_CODES)]
    generator = np.random.default_rng(0)
    gold = [np.flatnonzero(generator.random(NUM_CODES) < 0.3).tolist() for _ in range(60)]
    texts = [
        [*generator.integers(13, 16, 4), *(named[code] for code in row), *generator.integers(2, 6, 2)] for row in gold
    ]
    task = replace(small_task(), num_tokens=len(words), tokens=words, embeddings=None, names=None, descriptions=None)
    built: list[Any] = [
        registry.build("stacked", task, affirmed=affirmed, context=False, trees=False) for affirmed in (False, True)
    ]
    for model in built:
        model.fit(encoded(texts, gold))
    for code, word in enumerate(named):
        notes = encoded(
            [[13, word], *([words.index(cue), word] for cue in ("no", "sin", "denies", "without"))], [[]] * 5
        )
        whole, affirmed = (model.scores(notes)[:, code] for model in built)
        assert (whole > 0).all()
        assert affirmed[0] > 0
        assert (affirmed[1:] < 0).all()
        denied = encoded([[words.index("no"), word]], [[]])
        assert built[1].contributions(denied, code)[1] == 0
