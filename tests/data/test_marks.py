"""The words that people marked for codes reach models by training documents alone, and rows that saw them are marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from codiesp import small as small_codiesp
from conftest import Call
from runs import record

from icdbench.data import datasets
from icdbench.data.sources import codiesp_files
from icdbench.presentation import tables
from icdbench.records import comparable
from icdbench.settings import DataError, UnsuitableError
from icdbench.types import Corpus, Marks

SPANISH = {"language": "es", "min_documents": 1, "spans": True}
WITHOUT = "fingerprint_without_spans"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICDBENCH_CACHE", str(tmp_path / "cache"))
    return small_codiesp(tmp_path / "data")


def corpus(root: Path, name: str = "codiesp-d", **changes: object) -> Corpus:
    return datasets.open(name, root, {**SPANISH, **changes}).corpus()


def words(marks: Marks) -> list[list[int]]:
    return [each.tolist() for each in np.split(marks.words, marks.word_offsets[1:-1])]


def test_a_mark_keeps_its_words_together_across_gaps(small: Path) -> None:
    found = corpus(small).splits["train"].marks
    assert found is not None
    assert words(found) == [[1], [0, 3]]  # "paciente"; "el ... mg" of "el paciente train0 500 mg", where 500 is no word
    assert [found.offsets.tolist(), found.codes.tolist()] == [
        [0, 2, 2, 2],
        [corpus(small).vocabulary.codes.index("r55")] * 2,
    ]
    assert corpus(small, spans=False).splits["train"].marks is None
    procedures = corpus(small, "codiesp-p").splits["train"].marks
    assert procedures is not None
    assert words(procedures) == [[2]]


def test_marks_of_codes_that_a_document_has_not_are_left_out(small: Path) -> None:
    train = small / codiesp_files.FOLDER / "train" / "trainX.tsv"
    train.write_text("S1-1\tDIAGNOSTICO\tk52.1\tel\t0 2\nS1-1\tDIAGNOSTICO\tr55\t500\t19 22\n", encoding="utf-8")
    found = corpus(small).splits["train"].marks
    assert found is not None
    assert len(found.codes) == 0, "another document's code, and a mark without a word"


def test_marks_of_validation_and_test_documents_change_nothing(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = corpus(small)
    for part, row in (("dev", "S3-1\tDIAGNOSTICO\tr55\tmg\t23 25\n"), ("test", "S1-3\tDIAGNOSTICO\tk52.9\tel\t0 2\n")):
        (small / codiesp_files.FOLDER / part / f"{part}X.tsv").write_text(row, encoding="utf-8")
    monkeypatch.setenv("ICDBENCH_CACHE", str(small / "another cache"))  # nothing is remembered
    after = corpus(small)
    assert (after.key, after.fingerprint, after.facts) == (before.key, before.fingerprint, before.facts)
    for split, encoded in after.splits.items():
        known = vars(before.splits[split])
        assert all(np.array_equal(array, known[name]) for name, array in vars(encoded).items() if name != "marks")
        assert (encoded.marks is not None) == (split == "train")
    one, other = before.splits["train"].marks, after.splits["train"].marks
    assert all(np.array_equal(array, getattr(other, name)) for name, array in vars(one).items())


def test_marks_of_training_documents_are_content(small: Path) -> None:
    usual, before = corpus(small, spans=False), corpus(small)
    train = small / codiesp_files.FOLDER / "train" / "trainX.tsv"
    train.write_text("S1-1\tDIAGNOSTICO\tr55\tmg\t23 25\n", encoding="utf-8")
    after = corpus(small)
    assert len({usual.fingerprint, before.fingerprint, after.fingerprint}) == 3
    assert before.facts[WITHOUT] == after.facts[WITHOUT] == usual.fingerprint == corpus(small, spans=False).fingerprint
    train.unlink()
    with pytest.raises(DataError, match=r"trainX\.tsv is missing"):
        corpus(small)


def test_data_without_marks_are_refused_in_one_line(small: Path, icdbench: Call) -> None:
    with pytest.raises(
        UnsuitableError, match=r"'codiesp-d' comes without words that were marked.*set data.language=es"
    ):
        corpus(small, language="en")
    status, _, err = icdbench("run", "--models", "stacked@evidence", "--dataset", "codiesp-d", "--data", small)
    assert (status, len(err.strip().splitlines())) == (2, 1)


def test_rows_that_saw_marks_are_told_from_others() -> None:
    plain, saw = record("caml"), record("caml", value=0.7, fingerprint="f" * 16, changed={"data.spans": True})
    saw = saw.model_copy(update={"data": saw.data.model_copy(update={"facts": {WITHOUT: plain.spec.fingerprint}})})
    assert [each.id for each in comparable.blocks([saw, plain])[0]] == [plain.id, saw.id]
    text = tables.comparison([plain, saw])
    assert text.count("| caml (data.spans=True) (spans) ") == 1
    assert (
        "- (spans): trained with the words that annotators marked for each code (data.spans), which other rows" in text
    )
    assert "(spans)" not in tables.comparison([plain])
