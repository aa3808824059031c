"""A data set in numbers."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import codiesp
import pytest
from conftest import Call
from corpora import prepared, write

from icdbench.data import croissant, datasets
from icdbench.data.describe import CorpusSizes, FrequencySpan, as_croissant, check, code_frequencies, sizes


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
    problems, known = check(datasets.open("codiesp-d", tmp_path))
    assert len(problems) == 1
    assert "CodiEsp is not in" in problems[0]
    assert known == []


# --- Croissant -----------------------------------------------------------------------------------------------------------


def read_back(described: dict[str, Any]) -> Any:
    """What MLCommons' own reader, which takes a second to import, makes of the JSON-LD; it raises for errors."""
    import mlcroissant

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of rdflib, in the reader
        return mlcroissant.Dataset(jsonld=json.loads(json.dumps(described)))


def test_croissant_of_a_file_is_read_by_its_own_tool_and_has_no_texts(tmp_path: Path, icdbench: Call) -> None:
    path = notes(tmp_path / "x.csv")
    status, out, _ = icdbench("data", "describe", path, "--set", "data.min_documents=1", "--format", "croissant")
    assert status == 0
    described = json.loads(out)
    assert str(tmp_path) not in out
    assert "of words" not in out
    (file,) = described["distribution"]
    assert (file["contentUrl"], file["sha256"]) == ("x.csv", hashlib.sha256(path.read_bytes()).hexdigest())
    opened = read_back(described)
    splits = list(opened.records("splits"))
    assert [
        (row["splits/split"], row["splits/documents"], row["splits/gold_codes_not_in_training"]) for row in splits
    ] == [
        ("train", 4, 0),
        ("validation", 2, 1),
        ("test", 2, 1),
    ]
    assert [row["codes/code"] for row in opened.records("codes")] == ["A", "B", "C"]


def test_croissant_of_a_corpus_names_its_source_and_its_many_files_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = datasets.open("codiesp-p", codiesp.small(tmp_path), {"min_documents": 1})
    corpus = opened.corpus()
    whole = as_croissant(opened, corpus)
    assert {entry["@type"] for entry in whole["distribution"]} == {"cr:FileObject"}
    monkeypatch.setattr(croissant, "MOST_FILES", 1)
    described = as_croissant(opened, corpus)
    patterns = [entry["includes"] for entry in described["distribution"] if entry["@type"] == "cr:FileSet"]
    assert "train/text_files_en/*.txt" in patterns
    metadata = read_back(described).metadata
    assert metadata.license == ["https://creativecommons.org/licenses/by/4.0/"]
    assert not metadata.issues.errors
    assert not metadata.issues.warnings


@pytest.mark.parametrize("name", datasets.scan())
def test_what_a_data_set_says_of_its_origin_is_complete(name: str) -> None:
    published = datasets.source(name).published
    assert published.keys() <= {"url", "license", "version", "datePublished", "creator"}
    assert (
        not published
        or datasets.source(name).synthetic
        or {"url", "license", "datePublished", "creator"} <= published.keys()
    )


def test_a_format_of_describe_is_suggested(few_notes: Path, icdbench: Call) -> None:
    status, _, err = icdbench("data", "describe", few_notes, "--format", "crossant")
    assert status == 2
    assert "did you mean 'croissant'?" in err
