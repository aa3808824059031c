"""Lists of codes to score: what is read, where titles come from, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from icdbench.data import datasets
from icdbench.settings import DataError

TRAINED = ("i10", "r60.9")


@pytest.mark.parametrize(
    "text",
    [
        "code,title\nI10,Hypertension\nE11.9,Sugar\n",
        "title;code\nHypertension;I10\nSugar;E11.9\n",
        "Code\tTitle\textra\nI10\tHypertension\t1\n\nE11.9\tSugar\t2\n",
        '\ufeffcode,title\r\n"I10","Hypertension"\r\nE11.9,Sugar',
    ],
)
def test_codes_with_titles(tmp_path: Path, text: str) -> None:
    path = tmp_path / "codes.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert datasets.code_list(path, TRAINED) == {"I10": "Hypertension", "E11.9": "Sugar"}


def test_only_line_breaks_end_a_row(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_text("code,title\nI10,High\u2028pressure\n", encoding="utf-8")
    assert datasets.code_list(path, TRAINED) == {"I10": "High\u2028pressure"}


@pytest.mark.parametrize("text", ["code\nI10\nE11.9\n", "I10\nE11.9\n", "code,title\nI10,\nE11.9,\n"])
def test_titles_come_from_the_code_system_of_the_model(tmp_path: Path, text: str) -> None:
    path = tmp_path / "codes.csv"
    path.write_text(text)
    assert datasets.code_list(path, TRAINED) == {
        "I10": "Essential (primary) hypertension",
        "E11.9": "Type 2 diabetes mellitus without complications",
    }
    path.write_text("401.9\n")
    assert datasets.code_list(path, ("250.00", "428.0")) == {"401.9": "Unspecified essential hypertension"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "{} has no codes; give a CSV file with columns code and title, or one code a line"),
        ("code,title\n", "{} has no codes; give a CSV file with columns code and title, or one code a line"),
        ("I10,Hypertension\n", "{}, line 1: no column 'code'"),
        ("code,title\nI10,a\nE11,b\nI10,c\n", "{}, line 4: code 'I10' is already in line 2; list it once"),
        ("code,title\n,a\n", "{}, line 2: '' is not a code; a code has 1 to 100 characters"),
        ("code\nI10\nQQQ\n", "{}, line 3: code 'QQQ' has no title, and ICD-10-CM lists none for it; give titles"),
        ('code,title\nI10,"a"b\n', "{}, line 2: ',' expected after"),
    ],
)
def test_what_is_no_list_of_codes_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "codes.csv"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        datasets.code_list(path, TRAINED)
    assert str(error.value).startswith(said.format(path))
    assert "\n" not in str(error.value)


def test_a_note_in_place_of_a_list_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("Fever, no asthma.\nDischarged.\n")
    with pytest.raises(DataError, match="line 1: no column 'code'; expected a header") as error:
        datasets.code_list(path, TRAINED)
    assert "asthma" not in str(error.value)
    path.write_text("codes,title\nI10,a\n")
    with pytest.raises(DataError, match="no column 'code'; did you mean 'codes'"):
        datasets.code_list(path, TRAINED)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.csv is not a file of codes; give a CSV file"):
        datasets.code_list(tmp_path / "missing.csv", TRAINED)
