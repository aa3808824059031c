"""What a lexicon of marked words finds is what can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from systems import encoded

from icdbench.nn.marked import FEATURES, MarkedModel, SpanLexicon
from icdbench.nn.words import Readings
from icdbench.types import Encoded, FloatArray, Marks

TOKENS = ("", "?", "no", "pain", "belly", "fever", "x", "w", "z", "pains", "the")
PAIN, BELLY, FEVER, X, Y, Z, PAINS, THE = range(3, 11)
NO = 2


def marked(texts: list[list[int]], codes: list[list[int]], marks: list[tuple[int, int, list[int]]]) -> Encoded:
    """Documents with marks: document, code, positions of words."""
    found = Marks(
        np.array([at for _, _, words in marks for at in words]),
        np.cumsum([0, *(len(words) for _, _, words in marks)]),
        np.array([code for _, code, _ in marks]),
        np.searchsorted([document for document, _, _ in marks], np.arange(len(texts) + 1)),
    )
    return Encoded(**{**vars(encoded(texts, codes)), "marks": found})


READINGS = Readings.of(TOKENS, len(TOKENS))
TRAIN = marked(
    [[PAIN, X, Y, BELLY], [PAIN, Z], [FEVER, PAIN], [X, Y]],
    [[1], [0], [2], []],
    [(0, 1, [0, 3]), (1, 0, [0]), (2, 2, [0])],
)


def feature(name: str, values_F: FloatArray) -> float:
    return float(values_F[FEATURES.index(name)])


def test_words_of_a_mark_are_found_in_any_order_with_gaps_and_in_other_forms() -> None:
    lexicon = SpanLexicon.of(TRAIN, READINGS, READINGS.forms)
    found = lexicon.matches(encoded([[THE, BELLY, X, PAINS, Z, PAIN], [BELLY], [NO, FEVER]], [[], [], []]))
    pairs = lexicon.pairs(found)
    assert list(zip(pairs.documents.tolist(), pairs.codes.tolist(), strict=True)) == [(0, 0), (0, 1), (2, 2)]
    match = pairs.matches[1]
    assert [found.first[match], found.last[match], found.between[match]] == [1, 3, 1]
    assert [feature(name, pairs.features_PF[1]) for name in ("words", "between", "inside")] == [2, np.log(2), 0]
    assert [feature(name, pairs.features_PF[0]) for name in ("words", "times", "negated")] == [1, np.log(3), 0]
    assert feature("negated", pairs.features_PF[2]) == 1


def test_documents_with_the_words_and_without_the_code_count_against_it() -> None:
    lexicon = SpanLexicon.of(TRAIN, READINGS, READINGS.forms)
    pairs = lexicon.pairs(lexicon.matches(encoded([[PAIN], [FEVER]], [[], []])))
    assert [feature("count", each) for each in pairs.features_PF] == pytest.approx(np.log([4, 2]))
    assert [feature("confirmed", each) for each in pairs.features_PF] == pytest.approx(np.log([2, 2]))
    usual = (1 + 0.5) / (3 + 1)
    share = (1 + 2 * usual) / (3 + 2)
    assert feature("odds", pairs.features_PF[0]) == pytest.approx(np.log(share / (1 - share)))


def test_a_short_key_within_a_longer_one_is_told() -> None:
    train = marked([[PAIN, BELLY], [PAIN, X]], [[1], [0]], [(0, 1, [0, 1]), (1, 0, [0])])
    lexicon = SpanLexicon.of(train, READINGS, READINGS.forms)
    texts = [[X, PAIN, BELLY], [PAIN, BELLY, X, PAIN]]
    pairs = lexicon.pairs(lexicon.matches(encoded(texts, [[], []])))
    assert pairs.codes.tolist() == [0, 1, 0, 1]
    assert pairs.features_PF[:, FEATURES.index("inside")].tolist() == [1, 0, 0, 0]


def test_most_of_a_key_speaks_for_its_code_too() -> None:
    train = marked([[X, Y, BELLY], [PAIN, Z], [FEVER], [Z]], [[1], [0], [2], []], [(0, 1, [0, 1, 2])])
    lexicon = SpanLexicon.of(train, READINGS, READINGS.forms)
    documents = encoded([[BELLY, X], [BELLY]], [[], []])
    assert len(lexicon.matches(documents).keys) == 0
    similar = lexicon.similar(documents)
    assert [similar.documents.tolist(), similar.codes.tolist()] == [[0], [1]]
    assert similar.features_PF[0, 0] == pytest.approx(2 / 3)


def test_words_of_the_match_explain_it_and_weights_restore_it() -> None:
    model = MarkedModel(3, READINGS)
    model.fit(TRAIN)
    document = encoded([[THE, BELLY, X, PAIN]], [[]])
    added_T = model.contributions(document, 1, -3.0)
    assert (added_T > 0).tolist() == [False, True, False, True]
    again = MarkedModel(3, READINGS)
    again.restore(model.weights())
    for one, other in zip(model.read(document), again.read(document), strict=True):
        assert (one != other).sum() == 0
