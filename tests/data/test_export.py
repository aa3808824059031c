"""A data set as plain files, and beside what was published of it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from corpora import prepared
from mimic import Mimic3, small
from pyarrow import parquet

from icdbench.data import datasets
from icdbench.data.export import export
from icdbench.data.sources.mimic import Mimic, Published
from icdbench.settings import DataError, SpecError
from icdbench.types import quiet


def tables() -> Mimic3:
    made = small()
    made.notes[0] = (1, 101, "Discharge summary", 'Common, "words" 500 HERE\nand\ta rare one')
    made.diagnoses += [(1, 101, "4019"), (1, 101, "0389")]
    made.procedures += [(1, 101, "3893")]
    return made


def exported(root: Path, out: Path, fmt: str = "csv", name: str = "mimic-full", **changes: object) -> list[str]:
    return [path.name for path in export(datasets.open(name, root, changes), out, fmt)]


def test_documents_in_prepared_order_with_tokens_and_label_strings(tmp_path: Path) -> None:
    assert exported(tables().write(tmp_path / "raw"), tmp_path / "out") == [
        "codes.txt",
        "descriptions.csv",
        "documents.csv",
        "vocabulary.txt",
    ]
    with (tmp_path / "out" / "documents.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["id"] for row in found] == ["102", "103", "101", "104", "105"]
    assert found[2] == {
        "id": "101",
        "split": "train",
        "tokens": "common words here and a rare one",
        "codes": "401.9;401.9;038.9;38.93",
        "length": "7",
    }
    assert (tmp_path / "out" / "vocabulary.txt").read_text() == "common\nhere\nwords\n"
    assert (tmp_path / "out" / "codes.txt").read_text() == "038.9\n38.93\n401.9\n"
    described = (tmp_path / "out" / "descriptions.csv").read_text().splitlines()
    assert described[0] == "code,description"
    assert described[2:] == ["38.93,Venous catheterization", "401.9,Hypertension NOS"]
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0  # the notes' terms cover it


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    root = tables().write(tmp_path / "raw")
    exported(root, tmp_path / "a")
    exported(root, tmp_path / "b", "parquet")
    with (tmp_path / "a" / "documents.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [row | {"length": int(row["length"]), "codes": row["codes"].split(";")} for row in rows]
    assert parquet.read_table(tmp_path / "b" / "documents.parquet").to_pylist() == expected


def test_libmultilabel_has_a_file_for_each_split(tmp_path: Path) -> None:
    exported(tables().write(tmp_path / "raw"), tmp_path / "out", "libmultilabel")
    lines = (tmp_path / "out" / "train.txt").read_text().splitlines()
    assert lines[-1] == "101\t401.9 038.9 38.93\tcommon words here and a rare one"
    assert len((tmp_path / "out" / "valid.txt").read_text().splitlines()) == 1
    assert len((tmp_path / "out" / "test.txt").read_text().splitlines()) == 1


@pytest.mark.parametrize("name", ["mimic-full", "mimic50"])
def test_codes_that_are_no_part_of_the_task_are_left_out(tmp_path: Path, name: str) -> None:
    exported(tables().write(tmp_path / "raw"), tmp_path / "out", "libmultilabel", name, top_codes=1)
    lines = (tmp_path / "out" / "train.txt").read_text().splitlines()
    assert {line.split("\t")[1] for line in lines} == {"401.9"}


@pytest.mark.slow
def test_demo_can_be_exported(tmp_path: Path) -> None:
    exported(tmp_path, tmp_path / "out", name="demo")
    corpus = prepared("demo")
    words = (tmp_path / "out" / "vocabulary.txt").read_text().splitlines()
    assert tuple(words) == corpus.vocabulary.tokens[2:]


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    root = tables().write(tmp_path / "raw")
    (tmp_path / "out").mkdir()
    exported(root, tmp_path / "out")  # an empty folder is as good as none
    with pytest.raises(SpecError, match="is there already and not empty"):
        exported(root, tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(SpecError, match="is there already"):
        exported(root, tmp_path / "file")


def test_nothing_half_written_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tables().write(tmp_path / "raw")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("icdbench.data.export._lines", full)
    with pytest.raises(DataError, match="No space left on device; nothing was kept"):
        exported(root, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["raw"]


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no export format 'cvs'; did you mean 'csv'"):
        exported(tables().write(tmp_path / "raw"), tmp_path / "out", "cvs")


# --- Beside what was published -------------------------------------------------------------------------------------------

KNOWN = Published((3, 1, 1), codes=(3, 4), codes_with_zeros=5, vocabulary=3, distinct_words=9)


def compared(root: Path, known: Published, name: str = "mimic-full", **changes: object) -> list[str]:
    opened = datasets.open(name, root, changes)
    assert isinstance(opened, Mimic)
    return list(replace(opened, known=known).unlike_published(quiet))


def test_published_counts_give_no_line(tmp_path: Path) -> None:
    assert compared(tables().write(tmp_path), KNOWN) == []


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("documents", (4, 1, 1), "train documents: 3, published 4 (5 in the JLAN paper"),
        ("codes", (8921, 8930), "codes: 3; reported are 8,921–8,930; 0 procedure codes lost leading zeros"),
        ("vocabulary", 51_917, "vocabulary: 3, published 51,917; another version of the notes than 1.4"),
        ("distinct_words", 140_795, "distinct words: 9, published 140,795"),
        (
            "label_set",
            frozenset({"401.9", "038.9", "486"}),
            "label set: 1 of the published codes are missing (486), 1 are new",
        ),
    ],
)
def test_each_difference_has_a_line_of_its_own(tmp_path: Path, field: str, value: object, expected: str) -> None:
    (line, *others) = compared(tables().write(tmp_path), replace(KNOWN, **{field: value}))  # type: ignore[arg-type]
    assert line.startswith(expected)
    assert all(other.startswith("distinct") or "training documents" in other for other in others)


def test_causes(tmp_path: Path) -> None:
    made = tables()
    made.lists["train_full"].append(999)
    root = made.write(tmp_path)
    known = replace(KNOWN, documents=(4, 1, 1))
    assert "in the table of notes: train 1" in compared(root, known)[0]
    (line,) = compared(root, KNOWN, protocol="paper", min_documents=1)
    assert line == "vocabulary: 9, published 3; min_documents=1, words=some-letter"
    (line,) = compared(root, KNOWN, protocol="corrected")
    assert "label set from training documents alone" in line
    (line,) = compared(root, Published(KNOWN.documents, label_set=frozenset({"486"})), top_codes=2)
    assert line.endswith("top_codes=2")
