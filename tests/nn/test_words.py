"""Normal forms of words and cues, against words whose forms are known."""

from __future__ import annotations

import numpy as np

from icdbench.nn.words import CUES, Readings

TOKENS = (
    "",
    "?",
    "edemas",
    "oedema",
    "of",
    "Tos",
    "dolores",
    "dolor",
    "no",
    "adenopatías",
    "adenopatia",
    "padre",
    "is",
)


def test_words_of_one_form_have_one_number() -> None:
    found = Readings.of(TOKENS, len(TOKENS))
    forms = dict(zip(TOKENS, found.forms.tolist(), strict=True))
    assert forms["edemas"] == forms["oedema"] > 0
    assert forms["dolores"] == forms["dolor"] > 0
    assert forms["adenopatías"] == forms["adenopatia"] > 0
    assert len({forms[word] for word in ("edemas", "dolor", "Tos", "no", "padre", "adenopatia")}) == 6
    assert [forms[word] for word in ("", "?", "of", "is")] == [-1, 0, -1, -1]


def test_cues_are_those_of_the_rules() -> None:
    cues = dict(zip(TOKENS, Readings.of(TOKENS, len(TOKENS)).cues.tolist(), strict=True))
    assert cues["no"] == [cue == "negation" for cue in CUES]
    assert cues["padre"] == [cue == "family" for cue in CUES]
    assert not any(cues["edemas"])


def test_the_end_of_a_sentence_has_no_form_and_ends_what_cues_say() -> None:
    found = Readings.of(("", "?", "no", "."), 4)
    assert found.cues[3].tolist() == [-1] * len(CUES)
    assert found.forms[3] == found.stems[3] == -1
    assert found.part_offsets[3] == found.part_offsets[4]


def test_parts_of_words_are_their_neighbouring_letters_with_marked_ends() -> None:
    found = Readings.of(("", "?", "tos", "os"), 4)
    parts = [
        set(found.parts[begin:end].tolist())
        for begin, end in zip(found.part_offsets, found.part_offsets[1:], strict=False)
    ]
    assert list(map(len, parts)) == [0, 0, 6, 3]  # _to tos os_ _tos tos_ _tos_; _os os_ _os_
    assert len(parts[2] & parts[3]) == 1  # os_


def test_a_vocabulary_that_is_not_told_has_words_of_their_own() -> None:
    found = Readings.of(None, 5)
    assert found.forms.tolist() == [-1, 0, 1, 2, 3]
    assert np.array_equal(found.forms, found.stems)
    assert not found.cues.any()
    assert not len(found.parts)
