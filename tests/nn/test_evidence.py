"""Features of documents and their places, against documents that are read by eye."""

from __future__ import annotations

import numpy as np
import pytest
from systems import NUM_TOKENS, encoded, learnable

from icdbench.nn import evidence
from icdbench.nn.evidence import FeatureReader, Reading
from icdbench.nn.words import Readings

WORDS = Readings.of(None, NUM_TOKENS)
LETTERS = Readings.of(("", "?", "tos", "os", "ab"), 5)


def reader(reading: Reading, texts: list[list[int]], least: int = 1) -> FeatureReader:
    return FeatureReader.of(reading, WORDS, encoded(texts, [[]] * len(texts)), least)


def test_words_are_phrases_of_one_to_four_without_unknown_ones() -> None:
    assert len(reader("words", [[5, 6, 7, 8, 9]]).known) == 5 + 4 + 3 + 2
    assert len(reader("words", [[5, 6, 1, 8]]).known) == 3 + 1  # 5, 6, 8, "5 6"
    assert len(reader("words", [[5], [6]]).known) == 2, "no phrase of two documents"


def test_forms_are_phrases_and_pairs_in_order() -> None:
    found = reader("forms", [[5, 6, 7]])
    assert len(found.known) == 3 + 2 + 1 + 3  # pairs: 5…6, 6…7, 5…7
    assert reader("forms", [[5, 6], [6, 5]], least=2).known.shape == (2,), "order counts"
    assert reader("forms", [[5, 9, 8, 6], [5, 7, 4, 6]], least=2).known.shape == (3,), "two words may be between"
    assert reader("forms", [[5, 9, 8, 3, 6], [5, 7, 4, 2, 6]], least=2).known.shape == (2,)


def test_presence_is_of_known_features_alone() -> None:
    found = reader("words", [[5, 6], [5, 7], [5, 5]], least=2)
    assert found.presence(encoded([[5], [6, 7], [7, 5, 5]], [[]] * 3)).toarray().tolist() == [[1], [0], [1]]
    assert found.only(np.zeros(0, np.int64)).presence(encoded([[5]], [[]])).shape == (1, 0)


@pytest.mark.parametrize("buckets", [1, 16, 1 << 20])
def test_of_many_documents_the_same_features_are_known(buckets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = learnable(60, shortest=8)
    known = {least: FeatureReader.of("forms", WORDS, documents, least).known for least in (2, 5, 20)}
    monkeypatch.setattr(evidence, "MANY", 59)
    monkeypatch.setattr(evidence, "BUCKETS", buckets)
    for least, expected in known.items():
        assert len(expected) > 0
        np.testing.assert_array_equal(FeatureReader.of("forms", WORDS, documents, least).known, expected)


def test_letters_are_shared_by_words() -> None:
    documents = encoded([[2], [3], [4]], [[]] * 3)
    found = FeatureReader.of("letters", LETTERS, documents, 2)
    assert found.presence(documents).toarray().tolist() == [[1], [1], [0]]


def test_what_a_feature_adds_is_shared_by_its_words() -> None:
    text = [5, 6, 1, 5, 6, 9]
    phrase = reader("words", [[5, 6], [5, 6]], least=2)
    each_V = np.zeros(3)
    each_V[int((phrase.occurrences(*documents([5, 6])).first == 0).argmax())] = 0
    both = [at for at in range(3) if len(phrase.only(np.array([at])).occurrences(*documents([5])).features) == 0]
    pair = next(at for at in both if len(phrase.only(np.array([at])).occurrences(*documents([6])).features) == 0)
    each_V[pair] = 4.0
    assert phrase.spread(encoded([text], [[]]), each_V).tolist() == [1, 1, 0, 1, 1, 0]


def test_a_pair_is_its_two_words() -> None:
    apart = reader("forms", [[5, 9, 8, 6], [5, 7, 4, 6]], least=2)
    pair = next(at for at in range(3) if not len(apart.only(np.array([at])).occurrences(*documents([5, 6, 6])).first) or
                (apart.only(np.array([at])).occurrences(*documents([5, 9, 8, 6])).whole == 0).any())  # fmt: skip
    each_V = np.zeros(3)
    each_V[pair] = 2.0
    assert apart.spread(encoded([[5, 9, 8, 6]], [[]]), each_V).tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("reading", ["words", "forms", "stems"])
def test_all_of_what_is_added_is_shared(reading: Reading) -> None:
    texts = learnable(20, shortest=8)
    found = FeatureReader.of(reading, WORDS, texts, 2)
    each_V = np.random.default_rng(0).normal(size=len(found.known))
    alone = encoded([[2, 5, 8, 2, 5, 40, 41]], [[]])
    expected = float((found.presence(alone) @ each_V)[0])
    assert found.spread(alone, each_V).sum() == pytest.approx(expected)
    assert expected != 0


def documents(*texts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    sizes = [len(text) for text in texts]
    return np.repeat(np.arange(len(texts)), sizes), np.array([token for text in texts for token in text], np.int64)
