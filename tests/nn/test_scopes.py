"""Which words are denied or said of the family, in English and in Spanish."""

from __future__ import annotations

import pytest
from systems import encoded

from icdbench.nn.scopes import ScopeRules, affirmed
from icdbench.types import UNKNOWN


def read(text: str) -> tuple[list[str], ScopeRules]:
    words = text.split()
    return words, ScopeRules.of(["", "?", *sorted(set(words))])


def left(text: str) -> str:
    """The words of a note that are affirmed."""
    words, rules = read(text)
    tokens = ["", "?", *sorted(set(words))]
    note = encoded([[tokens.index(word) for word in words]], [[]])
    kept = affirmed(note, rules).tokens
    return " ".join(word for word, token in zip(words, kept, strict=True) if token != UNKNOWN)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("no abdominal pain", "no"),
        ("denies fever cough or chest pain but has edema", "denies but has edema"),
        ("without diabetes the patient had hypertension", "without the patient had hypertension"),
        ("abdominal pain with no vomiting", "abdominal pain with no"),
        ("hepatitis was negative", "negative"),
        ("negative for hepatitis", "negative for"),
        ("family history diabetes he has asthma", "family history he has asthma"),
        ("mother had diabetes the patient asthma", "mother had the patient asthma"),
        ("no history of diabetes", "no"),
        ("not only fever", "not only fever"),
        ("sin fiebre ni dolor abdominal", "sin"),
        ("niega fiebre pero presenta tos", "niega pero presenta tos"),
        ("antecedentes familiares de diabetes el paciente asma", "antecedentes familiares de el paciente asma"),
        ("diagnóstico descartó neumonía", "diagnóstico descartó"),
        ("fever and pain", "fever and pain"),
        ("no fever . pain", "no . pain"),
        ("no a b c d e f g h i j k l m", "no g h i j k l m"),
        ("no a b c d e f g h i j k l m .", "no m ."),
        ("smoking no . fever none . cough", "no . none . cough"),
        ("denies fever . reports pain", "denies . reports pain"),
        ("the patient does not have diabetes .", "the patient does not have ."),
        ("never had fever", "never had"),
        ("no tiene fiebre ni tos", "no tiene"),
        ("diabetes yes smoking no .", "diabetes yes no ."),
        ("pneumonia ruled out . cough", "ruled out . cough"),
        ("no . fever . hepatitis . negative", "no . fever . hepatitis . negative"),
        ("family history diabetes . asthma", "family history . asthma"),
    ],
)
def test_what_is_denied_or_said_of_the_family_is_not_read(text: str, kept: str) -> None:
    assert left(text) == kept


def test_a_scope_ends_with_its_document() -> None:
    rules = ScopeRules.of(["", "?", "no", "pain"])
    found = affirmed(encoded([[3, 2], [3], [2, 3]], [[], [], []]), rules)
    assert found.tokens.tolist() == [3, 2, 3, 2, UNKNOWN]
