"""Names of which a document has a part: shares are what can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from systems import NUM_TOKENS, encoded, names

from icdbench.nn.shares import FEATURES, WINDOW, NameShares
from icdbench.nn.words import Readings

READINGS = Readings.of(None, NUM_TOKENS)
NOTES = encoded([[10, 11, 20], [12, 20], [20]], [[0], [1], [1]])
NAMES = names([[10, 11], [12, 13, 14], [10, 30]], [0, 1, 2])


def shares(texts: list[list[int]]) -> np.ndarray:
    found = NameShares.of(NOTES, READINGS, NAMES, np.array([0, 1]))
    return NameShares.restored(found.weights()).read(encoded(texts, [[]] * len(texts)))


def test_the_share_is_the_weight_of_the_words_that_are_near() -> None:
    rare, unknown = np.log(4 / 1.5), np.log(4 / 0.5)
    found = shares([[10, 5, 11], [10, *[20] * (WINDOW - 1), 11], [13, 12], [5], []])
    share_NK, weight_NK = found[:, :, FEATURES.index("share")], found[:, :, FEATURES.index("weight")]
    part = (rare + unknown) / (rare + 2 * unknown)
    np.testing.assert_allclose(share_NK, np.array([[1, 0], [0.5, 0], [0, part], [0, 0], [0, 0]]))
    np.testing.assert_allclose(weight_NK[[0, 2]], [[2 * rare, 0], [0, rare + unknown]])
    assert found[2, 1, FEATURES.index("confirmed")] == 1  # of its words only 12 is in the code's training documents
    assert found[1, 0, FEATURES.index("confirmed")] == 1  # wherever they stand


@pytest.mark.parametrize(
    ("text", "code", "words"), [([10, 5, 11, 12], 0, [0, 2]), ([10, *[20] * WINDOW, 10, 11], 0, [9, 10]), ([5], 1, [])]
)
def test_its_words_are_those_of_the_best_window(text: list[int], code: int, words: list[int]) -> None:
    found = NameShares.of(NOTES, READINGS, NAMES, np.array([0, 1]))
    assert found.words(encoded([text], [[]]), code).tolist() == words


def test_without_names_of_known_codes_there_is_nothing_to_share() -> None:
    found = NameShares.of(NOTES, READINGS, names([[10]], [5]), np.array([0, 1]))
    assert not found.read(NOTES)[:, :, 0].any()
