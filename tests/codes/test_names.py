"""Names of codes in normal forms: what notes and lists write differently is the same."""

from __future__ import annotations

import pytest

from icdbench.codes import names, systems


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("fractures", "fracture"),
        ("biopsies", "biopsy"),
        ("metastases", "metastase"),
        ("thromboses", "thrombosis"),
        ("masses", "mass"),
        ("oedema", "edema"),
        ("haemorrhages", "hemorrhage"),
        ("anaemia", "anemia"),
        ("diarrhoea", "diarrhea"),
        ("tumours", "tumor"),
    ],
)
def test_words_of_one_form(one: str, other: str) -> None:
    assert names.normal_form(one) == names.normal_form(other) == other


@pytest.mark.parametrize("word", ["abscess", "virus", "sepsis", "gas", "no", "without"])
def test_words_that_are_no_plurals_stay(word: str) -> None:
    assert names.normal_form(word) == word


def test_words_that_lists_add_are_ignored() -> None:
    assert {names.normal_form(word) for word in ("unspecified", "nos", "of", "other")} == {""}


def test_what_is_absent_can_be_left_out_and_cancers_have_several_names() -> None:
    assert names.readings("Malaria, uncomplicated, without fever")[1:] == ("Malaria,",)
    found = names.readings("Malignant neoplasm of colon")
    assert set(found) == {f"{name} of colon" for name in ("Malignant neoplasm", "cancer", "carcinoma", "tumor")}
    assert "metastasis of liver" in names.readings("Secondary malignant neoplasm of liver")


def test_brackets_can_be_left_out() -> None:
    assert names.readings("Pneumonia (acute) [double] NOS") == ("Pneumonia (acute) [double] NOS", "Pneumonia NOS")
    assert names.readings("Fever") == ("Fever",)


def test_every_code_of_icd9cm_is_listed_once_and_titled() -> None:
    codes = systems.ICD9CM.codes() if systems.ICD9CM.codes else []
    assert len(codes) == len(set(codes)) > 14_000
    assert systems.ICD9CM.titles(codes).keys() == set(codes)
    assert {"428.0", "00.66"} <= set(codes)


@pytest.mark.slow
def test_codes_of_icd10cm_are_of_every_level_and_have_inclusion_terms() -> None:
    codes = systems.ICD10CM.codes() if systems.ICD10CM.codes else []
    assert len(codes) == len(set(codes)) > 90_000
    assert {"I10", "N18", "N18.9", "W19.XXXA"} <= set(codes)
    assert "A00-A09" not in codes
    assert systems.ICD10CM.terms(["r55", "R99", "nothing"])["r55"] == ["Blackout", "Fainting", "Vasovagal attack"]
