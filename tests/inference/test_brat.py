"""Explanations go to BRAT, and what people mark there comes back as the evidence of a user's own data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Call
from finished import run_of

import icdbench as library
from icdbench.data.export import annotate
from icdbench.data.sources import own_marks
from icdbench.inference.explain import Explanation, strongest_spans

pytestmark = pytest.mark.slow


def test_words_side_by_side_are_one_span_and_those_against_none() -> None:
    spans = tuple((3 * place, 3 * place + 2) for place in range(6))
    weights = np.array([0.1, 0.5, 0.4, -9.0, 0.3, 0.2])
    found = Explanation("A", "", 0.9, above=True, method="", spans=spans, weights=weights, shares={})
    assert [strongest_spans(found, count) for count in (1, 3, 4, 99)] == [
        [(3, 5)],
        [(3, 8), (12, 14)],
        [(3, 8), (12, 17)],
        [(0, 8), (12, 17)],
    ]


def test_an_explanation_is_written_for_brat_and_read_back(finished: Path, icdbench: Call) -> None:
    words = ("explain", "note.txt", "--bundle", "caml.icdbench", "--brat", "marked")
    status, _, err = icdbench(*words, "--top", 2)
    assert (status, err) == (0, "marked/note.txt\nmarked/note.ann\n")
    text = (finished / "note.txt").read_text()
    assert (finished / "marked" / "note.txt").read_text() == text
    codes = [each for each in library.load(finished / "caml.icdbench").predict([text])[0] if each.above]
    found = own_marks.read(finished / "marked" / "note.ann", text)
    assert set(found) <= {each.code for each in codes}
    assert all(1 <= len(marks) <= 2 for marks in found.values())
    assert found
    status, _, err = icdbench(*words)
    assert status == 2
    assert "marked/note.txt exists, perhaps with" in err
    status, _, _ = icdbench(*words[:-1], "one", "--code", "428.0", "--method", "random")
    assert (status, set(own_marks.read(finished / "one" / "note.ann", text))) == (0, {"428.0"})


def test_marks_beside_a_table_are_evidence_and_are_measured_anew(finished: Path, icdbench: Call) -> None:
    words = ("explain", "--evaluate", "--run", run_of(finished, "lr"), "--documents", 2, "--dataset", "notes.csv")
    status, before, err = icdbench(*words)
    assert (status, err) == (0, "")
    assert "These data come without marked evidence" in before
    for number in range(20, 40):
        word, code = [("fever", "038.9"), ("edema", "428.0"), ("insulin", "250.00")][number % 3]
        annotate(
            finished / "notes.csv.brat", str(number), f"the {word} was treated", {code: [[(4, 4 + len(word))]]}, {}, ""
        )
    status, after, _ = icdbench(*words)
    assert status == 0
    assert "AUPRC" in after
    (finished / "notes.csv").rename(finished / "elsewhere.csv")
    assert icdbench(*words)[:2] == (0, after)  # what is stored needs no data
