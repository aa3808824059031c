"""MDACE: evidence of codes in MIMIC-III's notes, from hand-made files of its schema."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpora import codes, prepared
from mimic import SUMMARY, Mimic3, write_mdace

from icdbench.data import datasets
from icdbench.settings import DataError

SPLITS = {"train": [1, 2], "val": [3], "test": [4]}
RADIOLOGY = "Radiology"


def laid(root: Path, *, version: str = "9", kind: str = "Inpatient") -> Path:
    """Four admissions with an addendum (rows 0, 1, then 2, 3 …) and, in row 8, another kind of note of admission 1."""
    tables = Mimic3(diagnoses=[(i, i, "4019") for i in range(1, 5)], procedures=[(1, 1, "0331")])
    for i in range(1, 5):
        tables.notes += [(i, i, SUMMARY, f"known hypertension {i}"), (i, i, SUMMARY, "later a tap")]
    tables.notes.append((1, 1, RADIOLOGY, "chest clear, no pneumonia"))
    pressure, tap = ("401.9", "03.31") if version == "9" else ("I10", "009U3ZX")
    first, second = f"ICD-{version}-CM", f"ICD-{version}-PCS"
    charts = {
        i: [(2 * i - 2, SUMMARY, [(6, 18, pressure, first)]), (2 * i - 1, SUMMARY, [(8, 11, tap, second)])]
        for i in range(1, 5)
    }
    charts[1].append((8, RADIOLOGY, [(16, 25, "486" if version == "9" else "J18.9", first), (0, 5, "71010", "CPT")]))
    return write_mdace(tables.write(root), charts, SPLITS, version=version, kind=kind)


@pytest.mark.parametrize(("version", "expected"), [("9", ["03.31", "401.9"]), ("10", ["009U3ZX", "I10"])])
def test_summaries_are_joined_and_their_spans_moved(tmp_path: Path, version: str, expected: list[str]) -> None:
    opened = datasets.open(f"mdace-icd{version}", laid(tmp_path, version=version))
    first = opened.documents().documents[0]
    assert first.text == "known hypertension 1 later a tap"
    assert (first.id, first.split, first.group, sorted(first.codes)) == ("1", "train", "1", expected)
    evidence = opened.evidence()
    assert evidence is not None
    marked = {code: [first.text[slice(*span)] for span in spans] for code, spans in evidence["1"].items()}
    assert marked == dict(zip(expected, [["tap"], ["hypertension"]], strict=True))


def test_all_notes_are_read_in_the_order_of_the_file_without_codes_of_procedures_billed(tmp_path: Path) -> None:
    opened = datasets.open("mdace-icd9", laid(tmp_path), {"notes": "all"})
    first = opened.documents().documents[0]
    assert first.text.endswith("later a tap chest clear, no pneumonia")
    assert first.codes == ("401.9", "03.31", "486")
    assert (opened.evidence() or {})["1"]["486"] == [(len(first.text) - 9, len(first.text))]


def test_titles_are_those_of_the_annotations(tmp_path: Path) -> None:
    found = datasets.open("mdace-icd10", laid(tmp_path, version="10")).titles(["009U3ZX", "J18.9", "E11.9"])
    assert found["009U3ZX"] == "title of 009U3ZX"
    assert found["E11.9"].startswith("Type 2 diabetes")


def test_charts_of_physicians_are_those_of_their_folder(tmp_path: Path) -> None:
    root = laid(tmp_path)
    write_mdace(root, {4: [(6, SUMMARY, [(0, 5, "V70.0", "ICD-9-CM")])]}, SPLITS, kind="Profee")
    (only,) = datasets.open("mdace-icd9", root, {"charts": "profee"}).documents().documents
    assert (only.id, only.codes, only.split) == ("4", ("V70.0",), "test")


def test_charts_in_no_list_or_without_a_code_are_counted(tmp_path: Path) -> None:
    root = laid(tmp_path)
    write_mdace(root, {4: [(6, SUMMARY, [(0, 5, "99232", "CPT")])], 5: [(0, SUMMARY, [])]}, {})
    raw = datasets.open("mdace-icd9", root).documents()
    assert [document.id for document in raw.documents] == ["1", "2", "3"]
    assert raw.facts == {"charts": 5, "charts_without_code_or_split": 2}


def test_mimic_mdace_has_codes_of_mimic_and_evidence_of_mdace(tmp_path: Path) -> None:
    opened = datasets.open("mimic-mdace", laid(tmp_path))
    corpus = prepared("mimic-mdace", tmp_path, min_documents=1)
    assert codes(corpus, corpus.splits["train"], 0) == ["33.1", "401.9"]
    assert [len(corpus.splits[split]) for split in corpus.splits] == [2, 1, 1]
    assert (opened.evidence() or {})["1"] == {"401.9": [(6, 18)], "33.1": [(29, 32)]}
    as_text = datasets.open("mimic-mdace", tmp_path, {"protocol": "corrected"}).evidence()
    assert set((as_text or {})["1"]) == {"401.9", "03.31"}
    assert opened.check() == []


@pytest.mark.parametrize("name", ["mimic-mdace", "mdace-icd9"])
def test_models_can_learn_from_the_marked_words_of_training_documents(name: str, tmp_path: Path) -> None:
    root = laid(tmp_path)
    corpus = prepared(name, root, min_documents=1, spans=True)
    train = corpus.splits["train"]
    assert train.marks is not None
    words, known = train.tokens[: train.token_offsets[1]], corpus.vocabulary
    marked = {
        known.codes[code]: [known.tokens[words[place]] for place in places]
        for code, places in zip(
            train.marks.codes[:2], np.split(train.marks.words, train.marks.word_offsets[1:-1])[:2], strict=True
        )
    }
    tap = "33.1" if name == "mimic-mdace" else "03.31"
    assert marked == {"401.9": ["hypertension"], tap: ["tap"]}
    assert all(corpus.splits[split].marks is None for split in ("validation", "test"))
    chart = root / "MDACE" / "data" / "Inpatient" / "ICD-9" / "1.0" / "1-ICD-9.json"
    chart.write_text(chart.read_text().replace('"begin": 6', '"begin": 7'))
    assert datasets.open(name, root, {"spans": True}).fingerprint() != corpus.fingerprint


def test_what_is_missing_or_damaged_is_one_line(tmp_path: Path) -> None:
    root = laid(tmp_path)
    folder = root / "MDACE" / "data" / "Inpatient" / "ICD-9" / "1.0"
    path = folder / "4-ICD-9.json"
    whole = path.read_text()
    for text, expected in (
        (whole[:-20], "4-ICD-9.json is not a chart of MDACE"),
        (whole.replace('"end": 18', '"end": 180'), r"note 6 of .* has 20 characters, but MDACE marks 6 to 180"),
        (whole.replace('"note_id": 6', '"note_id": 66'), "1 annotated notes, the first with ROW_ID 66, are not in"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=expected):
            prepared("mdace-icd9", root)
    (root / "MDACE" / "splits" / "Inpatient" / "MDace-ev-val.csv").unlink()
    (problem,) = datasets.open("mdace-icd9", root).check()
    assert problem.endswith("MDace-ev-val.csv is missing; fetch https://github.com/3mcloud/MDACE again")
    (root / "MDACE").rename(root / "elsewhere")
    with pytest.raises(DataError, match=f"MDACE is not in '{root}'; clone https://github.com/3mcloud/MDACE there"):
        prepared("mimic-mdace", root)
