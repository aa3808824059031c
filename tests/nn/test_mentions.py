"""Mentions of names against a search window by window, and what a mention is worth."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from systems import NUM_CODES, NUM_TOKENS, encoded, names

from icdbench.nn import mentions
from icdbench.nn.mentions import FEATURES, MentionModel, NameIndex, noisy_or
from icdbench.types import Names

NEGATION = 59
BAGS = [[5], [5, 6], [6, 5, 7], [8, 8], [9, 10, 11, 12], [13]]


def column(name: str) -> int:
    return FEATURES.index(name)


def searched(texts: list[list[int]], given: Names) -> Counter[tuple[int, int, int, int, int]]:
    """Document, first and last word, gap and code of every mention, found by comparing sorted words."""
    bags = [
        tuple(sorted(given.forms[start:end].tolist()))
        for start, end in zip(given.offsets, given.offsets[1:], strict=False)
    ]
    found: Counter[tuple[int, int, int, int, int]] = Counter()
    for document, text in enumerate(texts):
        for code, bag in zip(given.codes.tolist(), bags, strict=True):
            for first in range(len(text)):
                whole = text[first : first + len(bag)]
                if tuple(sorted(whole)) == bag:
                    found[document, first, first + len(bag) - 1, 0, code] += 1
                wider = text[first : first + len(bag) + 1]
                if len(bag) > 1 and len(wider) == len(bag) + 1:
                    left = [wider[:out] + wider[out + 1 :] for out in range(1, len(bag))]
                    found[document, first, first + len(bag), 1, code] += sum(
                        tuple(sorted(each)) == bag for each in left
                    )
    return +found


@pytest.mark.parametrize("seed", range(3))
def test_every_mention_is_found_and_no_other(seed: int) -> None:
    generator = np.random.default_rng(seed)
    texts = [generator.integers(5, 14, generator.integers(1, 40)).tolist() for _ in range(30)]
    given = names(BAGS)
    index = NameIndex.of(given)
    found = index.mentions(encoded(texts, [[]] * len(texts)))
    codes = [index.codes[index.offsets[key]] for key in found.keys]
    rows = zip(found.documents, found.first, found.last, found.gap, codes, strict=True)
    expected = searched(texts, given)
    assert Counter(tuple(map(int, row)) for row in rows) == expected
    assert len(expected) > 50


def test_ignored_words_stand_in_no_way_and_unknown_ones_do() -> None:
    given = names([[5, 6]])
    given.form_of_token[20] = -1
    index = NameIndex.of(given)
    found = index.mentions(encoded([[5, 20, 20, 6], [5, 1, 1, 6], [5], [6]], [[]] * 4))
    assert found.documents.tolist() == [0]
    assert (found.first.tolist(), found.last.tolist()) == ([0], [3])


def test_one_name_of_several_codes_and_several_names_of_one() -> None:
    given = names([[5], [5], [5], [6]], codes=[0, 1, 0, 2])
    pairs = NameIndex.of(given).pairs(NameIndex.of(given).mentions(encoded([[5, 6, 5]], [[]])))
    assert pairs.codes.tolist() == [0, 1, 2]
    assert pairs.features_PF[:, column("codes")] == pytest.approx(np.log([2, 2, 1]))


def test_the_longest_whole_mention_that_is_not_negated_counts() -> None:
    given = names([[5], [5, 6], [8]])
    index = NameIndex.of(given)
    texts = [[5, 6], [NEGATION, 8], [NEGATION, 30, 31, 32, 33, 8], [NEGATION, 8, 30, 30, 30, 30, 8], [8]]
    pairs = index.pairs(index.mentions(encoded(texts, [[]] * 5)))
    rows = {(int(document), int(code)): row for document, code, row in zip(*pairs[:2], pairs.features_PF, strict=True)}
    assert rows[0, 0][column("inside")] == 1
    assert rows[0, 1][column("inside")] == 0
    assert rows[0, 1][column("2 words")] == 1
    assert [rows[document, 2][column("negated")] for document in (1, 2, 3, 4)] == [1, 0, 0, 0]
    assert rows[3, 2][column("mentions")] == pytest.approx(np.log(3))


def test_codes_without_training_documents_have_a_regression_of_their_own() -> None:
    """Codes 0 to 4 have one document each, which mentions them; 5 and 6 are mentioned in vain."""
    texts = [[5 + code, 30] for code in range(5)] + [[20, 21], [21, 20]] * 4
    gold = [[code] for code in range(5)] + [[]] * 8
    model = MentionModel(NUM_CODES)
    model.fit(encoded(texts, gold), names([*[[5 + code] for code in range(5)], [20], [21]]))
    assert model.has_documents_L.tolist() == [1] * 5 + [0] * 2
    pairs = model.pairs(encoded([[5], [20]], [[], []]))
    known, unknown = model.logits(pairs)
    # No pair of training has a code that another document has, so of known codes nothing was learnt.
    assert model.coefficients_2F[1].tolist() == [0] * len(FEATURES)
    assert known == pytest.approx(0, abs=1e-9)
    assert unknown < -1


def test_without_mentions_nothing_is_learnt_and_nothing_breaks() -> None:
    model = MentionModel(NUM_CODES)
    model.fit(encoded([[5]], [[0]]), names([]))
    assert len(model.pairs(encoded([[5], [7]], [[], []])).codes) == 0
    other = MentionModel(NUM_CODES)
    other.restore(model.weights())
    assert len(other.pairs(encoded([[5]], [[]])).codes) == 0


def test_either_of_two_causes() -> None:
    one, other = np.array([-30.0, -2.0, 0.0, 3.0, 40.0]), np.array([1.0, -3.0, 0.0, 3.0, 2.0])
    p, q = 1 / (1 + np.exp(-one[:4])), 1 / (1 + np.exp(-other[:4]))
    either = 1 - (1 - p) * (1 - q)
    found = noisy_or(one, other)
    assert found[:4] == pytest.approx(np.log(either / (1 - either)))
    assert found[4] == pytest.approx(40 + np.log1p(np.exp(2)))
    assert noisy_or(np.array([-800.0]), np.array([1.0])) == pytest.approx([1.0])


def test_names_of_many_words_are_left_out() -> None:
    bag = list(range(5, 5 + mentions.LONGEST + 1))
    assert len(NameIndex.of(names([bag])).keys) == 0
    assert len(NameIndex.of(names([bag[:-1]])).keys) == 1
    assert max(bag) < NUM_TOKENS
