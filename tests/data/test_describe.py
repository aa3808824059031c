"""A data set in numbers."""

from __future__ import annotations

from pathlib import Path

from corpora import prepared, write

from icdbench.data import datasets
from icdbench.data.describe import CorpusSizes, FrequencySpan, check, code_frequencies, sizes


def notes(path: Path) -> Path:
    """Eight documents: three codes of training, in 4, 2 and 1 of its documents, and one that training never shows."""
    made = [("train", "A;B"), ("train", "A;B;C"), ("train", "A"), ("train", "A")]
    made += [("validation", "A"), ("validation", "X"), ("test", "A;X"), ("test", "B")]
    rows = [
        {"id": str(n), "text": "a note" + " of words" * n, "codes": codes, "split": split}
        for n, (split, codes) in enumerate(made)
    ]
    return write(path, rows)


def test_sizes_and_frequencies(tmp_path: Path) -> None:
    corpus = prepared(notes(tmp_path / "x.csv"), min_documents=1)
    assert sizes(corpus) == CorpusSizes(
        vocabulary=4,
        codes=3,
        documents={"train": 4, "validation": 2, "test": 2},
        median_tokens={"train": 5.0, "validation": 11.0, "test": 15.0},
        gold={"train": 7, "validation": 2, "test": 3},
        unseen={"train": 0, "validation": 1, "test": 1},
    )
    assert code_frequencies(corpus) == [FrequencySpan(1, 1, 1, 1), FrequencySpan(2, 4, 2, 6)]


def test_lengths_are_of_whole_documents(tmp_path: Path) -> None:
    path = notes(tmp_path / "x.csv")
    whole, cut = (sizes(prepared(path, min_documents=1, max_tokens=tokens)) for tokens in (1000, 3))
    assert whole == cut


def test_a_check_names_what_is_missing_once(tmp_path: Path) -> None:
    found = check(datasets.open("codiesp-d", tmp_path))
    assert len(found.problems) == 1
    assert "CodiEsp is not in" in found.problems[0]
    assert found.known == []
