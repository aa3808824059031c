"""Text, ids and codes in Unicode's normal form C: the same words and codes, however the accents are stored."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from conftest import Call
from corpora import RULES, Row, prepared, same, write
from hypothesis import given, settings
from hypothesis import strategies as st

from icdbench.api import load
from icdbench.data import datasets, tokens
from icdbench.data.sources import own
from icdbench.data.tokens import spans, tokenize
from icdbench.inference.explain import explain
from icdbench.settings import DataError
from icdbench.spec import Rule
from icdbench.types import SENTENCE_END, SPLITS, composed, quiet

Form = Literal["NFC", "NFD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD")
# Accents, Korean syllables and their parts, vowel signs that compose, singletons, what never composes, lower case of two.
TRICKY = "aeoE1 9-_.ñÉệÅ\u212b한각\u1100\u1161\u11a8কো\u09c7\u09beक़\u0f73\u0344\u0301\u0323\u0307\u0304İΣß½"
TEXTS = st.text(st.one_of(st.sampled_from(TRICKY), st.characters()), max_size=30)


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from(RULES))
def test_composed_and_decomposed_texts_have_the_same_tokens(text: str, rule: Rule) -> None:
    assert tokenize(decomposed(text), rule) == tokenize(text, rule) == tokenize(composed(text), rule)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from(RULES))
def test_spans_point_into_the_text_as_it_was_given(text: str, rule: Rule) -> None:
    for given_text in (text, decomposed(text)):
        found, words = spans(given_text, rule), tokenize(given_text, rule)
        assert len(found) == len(words)
        for (start, end), word in zip(found, words, strict=True):
            assert 0 <= start <= end <= len(given_text)
            assert word == SENTENCE_END or word in tokenize(given_text[start:end], rule)
        assert found == sorted(found)


@pytest.mark.slow
def test_the_characters_that_composing_joins_are_all_known() -> None:
    unassigned = {"Cn", "Co", "Cs"}  # of these, for private use, and halves of pairs: nothing composes with them
    every = "".join(f"a{chr(i)}" for i in range(0x110000) if unicodedata.category(chr(i)) not in unassigned)
    for text in (every, decomposed(every)):
        read = "".join(composed(text[a:b]) for a, b in dict.fromkeys(tokens._origins(text, "not-numeric")))
        assert read == composed(text)


def alike(form: Form) -> dict[str, Form]:
    return dict.fromkeys(SPLITS, form)


def accented(path: Path, forms: dict[str, Form]) -> Path:
    """Six own documents whose ids, texts and codes have accents, each split in a form of its own."""
    words = ["infección", "fiebre", "dolor", "corazón"]
    rows: list[Row] = []
    for number in range(24):
        split = SPLITS[number % 3]
        first, second = words[number % 4], words[(number + 1) % 4]
        row = {"id": f"niño {number}", "text": f"El {first} y {second}.", "codes": f"{first};{second}"}
        rows.append({name: unicodedata.normalize(forms[split], cell) for name, cell in row.items()} | {"split": split})
    return write(path, rows)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_files_in_other_forms_are_the_same_data(tmp_path: Path, suffix: str) -> None:
    expected = prepared(accented(tmp_path / f"nfc{suffix}", alike("NFC")))
    assert "infección" in expected.vocabulary.tokens
    assert "infección" in expected.vocabulary.codes
    mixed: dict[str, Form] = {"train": "NFC", "validation": "NFD", "test": "NFD"}
    for name, forms in (("nfd", alike("NFD")), ("mixed", mixed)):
        assert same(prepared(accented(tmp_path / f"{name}{suffix}", forms)), expected)


def test_ids_that_are_the_same_when_composed_are_refused(tmp_path: Path) -> None:
    rows = [{"id": unicodedata.normalize(form, "niño"), "text": "a b", "codes": "A"} for form in FORMS]
    rows[1]["text"] = "a c"  # else both rows would be one note
    path = write(tmp_path / "x.csv", [*rows, {"id": "c", "text": "a b", "codes": "A"}])
    with pytest.raises(DataError, match="occurs 2 times"):
        prepared(path)


@pytest.mark.parametrize("what", ["id", "text", "codes", "group"])
def test_half_of_a_surrogate_pair_is_refused_in_every_source(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = accented(tmp_path / "x.csv", alike("NFC"))
    opened = datasets.open(str(path))
    raw = opened.read(quiet)
    changes: dict[str, Any] = {what: ("\ud83d",) if what == "codes" else "x\ud83d"}
    wrong = replace(raw.documents[1], **changes)
    broken = replace(raw, documents=[raw.documents[0], wrong, *raw.documents[2:]])
    monkeypatch.setattr(own.Own, "read", lambda *_: broken)
    with pytest.raises(DataError, match=rf"document 2: '{what}' has half of a surrogate pair") as caught:
        opened.corpus()
    str(caught.value).encode()


@pytest.mark.slow
def test_a_decomposed_note_gets_the_codes_of_the_composed_one(icdbench: Call, tmp_path: Path) -> None:
    accented(tmp_path / "notes.csv", alike("NFC"))
    assert icdbench("run", "--models", "lr@tfidf", "--dataset", "notes.csv", "--set", "data.min_documents=1")[0] == 0
    model = load(next(tmp_path.glob("results/*/*/*/record.json")).parent)
    note = "Dolor; infección y corazón"
    for form in FORMS:
        text = unicodedata.normalize(form, note)
        np.testing.assert_array_equal(model.encode([text]).tokens, model.encode([note]).tokens)
        assert model.predict([text]) == model.predict([note])
        found = explain(model, text, unicodedata.normalize(form, "infección"))
        shown = [composed(text[start:end]).lower() for start, end in found.spans]
        assert shown == ["dolor", "infección", "y", "corazón"]
        assert shown[int(found.weights.argmax())] == "infección"
