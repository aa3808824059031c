"""Tokens: the rules in plain Python, and the compiled way that must agree with them on every character."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from corpora import RULES, TRICKY
from hypothesis import given, settings
from hypothesis import strategies as st

from icdbench.data import tokens
from icdbench.data.tokens import Lexicon, document_counts, tokenize
from icdbench.spec import Rule

EVERY_CHARACTER = "".join(f"a{chr(i)}b " for i in range(0x110000))


def read(texts: list[str], rule: Rule, lexicon: Lexicon | None = None) -> list[list[str]]:
    lexicon = lexicon or Lexicon(rule)
    numbers, offsets = lexicon.read(texts)
    words = lexicon.words
    return [[words[n] for n in numbers[start:end]] for start, end in pairwise(offsets)]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("not-numeric", ["pt", "250mg", "1st", "5µg", "hospital1", "____", "na", "null", "x_1"]),
        ("some-letter", ["pt", "250mg", "1st", "5µg", "hospital1", "na", "null", "x_1"]),
        ("ascii", ["pt", "250mg", "1st", "5", "g", "hospital1", "na", "null", "x", "1"]),
    ],
)
def test_the_rules(rule: Rule, kept: list[str]) -> None:
    text = "Pt 250mg 1st, 5µg [**Hospital1 18**] ____ NA null 500 ½ x_1"
    expected = [word for word in kept if rule != "ascii" or not word.isnumeric()]
    assert tokenize(text, rule) == expected
    assert read([text], rule) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No fever. Abdominal pain and vomiting.", "no fever . abdominal pain and vomiting ."),
        ("no fever; pain! sure? yes", "no fever . pain . sure . yes ."),
        ("(No fever.) 'Pain.' cough", "no fever . pain . cough ."),
        ("0.5 mg x.y;z and", "mg x y z and ."),
        (
            "No hx. of abd. Pain, e.g. colic vs. cramps. n/v/d. Dr. J. Doe",
            "no hx of abd pain e g colic vs cramps . n v d . dr j doe .",
        ),
        ("Fever: no\nCough: yes\n\n\nno pain or\nchills", "fever no . cough yes . no pain or chills ."),
        ("no pain or\r\nchills\r\nCough\rRash\u2028Tos", "no pain or chills . cough . rash . tos ."),
        ("Denies:\n- fever\r\nReports:\r\n- pain", "denies fever . reports pain ."),
        ("tos y\nórganos\nÓrganos", "tos y órganos . órganos ."),
        ("\n.. 1. Fever ...\n- cough\n 12. 13.", "fever . cough ."),
        ("\n\n. ", ""),
        ("12. 38.5;", ""),
    ],
)
def test_where_sentences_end(text: str, expected: str) -> None:
    assert " ".join(tokenize(text, "sentences")) == expected
    assert read([text, "", text], "sentences") == [expected.split(), [], expected.split()]


@pytest.mark.slow
@pytest.mark.counted
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text(st.one_of(st.sampled_from(TRICKY), st.characters()), max_size=40), max_size=12),
    st.sampled_from(RULES),
)
def test_compiled_and_plain_tokens_agree(texts: list[str], rule: Rule) -> None:
    assert read(texts, rule) == [tokenize(text, rule) for text in texts]


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_every_character_of_unicode_is_treated_alike(rule: Rule) -> None:
    assert read([EVERY_CHARACTER], rule) == [tokenize(EVERY_CHARACTER, rule)]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["", "one two", "", "Two THREE 4", "4", "one", "", ""]
    expected = [[], ["one", "two"], [], ["two", "three"], [], ["one"], [], []]
    for size in (1, 8, 1000):
        monkeypatch.setattr(tokens, "CHUNK", size)
        assert read(texts, "not-numeric") == expected


def test_words_are_numbered_over_several_readings() -> None:
    lexicon = Lexicon("not-numeric")
    assert read(["b a"], "not-numeric", lexicon) == [["b", "a"]]
    assert read(["A c B"], "not-numeric", lexicon) == [["a", "c", "b"]]
    assert lexicon.words == ["b", "a", "c"]
    assert read([], "not-numeric", lexicon) == []


def test_progress_ends_at_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CHUNK", 5)
    told: list[tuple[str, int, int]] = []
    Lexicon("not-numeric").read(["one two three"] * 4, lambda *step: told.append(step))
    assert told == [("words", done, 4) for done in (1, 2, 3, 4)]


@given(st.lists(st.lists(st.integers(0, 5), max_size=8), max_size=8))
def test_document_counts(texts: list[list[int]]) -> None:
    numbers = np.array([word for text in texts for word in text], np.int32)
    offsets = np.cumsum([0, *map(len, texts)])
    expected = Counter(word for text in texts for word in set(text))
    assert document_counts(numbers, offsets, 6).tolist() == [expected[word] for word in range(6)]


def test_document_counts_of_texts_longer_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "BLOCK", 3)
    offsets = np.array([0, 5, 5, 6, 10])
    assert document_counts(np.array([0, 0, 1, 1, 0, 1, 2, 2, 2, 0], np.int32), offsets, 4).tolist() == [2, 2, 1, 0]


@pytest.mark.slow
def test_a_word_is_what_pythons_regular_expressions_say() -> None:
    characters = [chr(i) for i in range(0x110000)]
    found = tokens._in_words("not-numeric")
    assert [
        character for character in characters if bool(re.fullmatch(r"\w", character)) != found[ord(character)]
    ] == []
