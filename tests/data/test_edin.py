"""The preparations of Edin et al.: mimic-clean, and MIMIC-IV with ICD-9 and with ICD-10."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora import codes, prepared, same, words
from mimic import SUMMARY, Mimic3, rewritten, small4, write_splits

from icdbench.data import datasets
from icdbench.data.sources import mimic4
from icdbench.settings import DataError

SPLITS_OF = [*((i, "train") for i in range(1, 9)), (9, "val"), (10, "val"), (11, "test"), (12, "test")]


def clean(root: Path, tables: Mimic3 | None = None) -> Path:
    """Twelve admissions that all have 401.9 and 00.66, with their split."""
    tables = tables or Mimic3()
    for i in range(1, 13):
        tables.notes.append((i, i, SUMMARY, f"Common words_here 5 10mg {'é' * i}"))
        tables.diagnoses += [(i, i, "4019"), (i, i, "4019")]
        tables.procedures.append((i, i, "0066"))
    write_splits(root / "mimiciii_clean_splits.feather", SPLITS_OF)
    return tables.write(root)


def edin4(root: Path, version: str) -> Path:
    write_splits(root / f"mimiciv_icd{version}_split.feather", SPLITS_OF)
    return root


def test_clean_keeps_codes_as_text_each_once(tmp_path: Path) -> None:
    corpus = prepared("mimic-clean", clean(tmp_path))
    assert corpus.vocabulary.codes == ("00.66", "401.9")
    assert [len(corpus.splits[split]) for split in corpus.splits] == [8, 2, 2]
    assert codes(corpus, corpus.splits["test"], 0) == ["00.66", "401.9"]


def test_clean_words_are_runs_of_ascii_letters_and_digits(tmp_path: Path) -> None:
    corpus = prepared("mimic-clean", clean(tmp_path))
    assert words(corpus, corpus.splits["train"], 0) == ["common", "words", "here", "10mg"]
    assert datasets.source("mimic-clean").settings().max_tokens == 4000


def test_clean_leaves_out_codes_of_fewer_than_ten_documents_and_documents_without_any(tmp_path: Path) -> None:
    tables = Mimic3(diagnoses=[(i, i, "486") for i in range(1, 10)] + [(i, i, "5849") for i in range(1, 11)])
    tables.notes = [(20, 20, SUMMARY, "rare code alone")]
    tables.diagnoses += [(20, 20, "486"), (21, 21, "486")]  # the tenth row of 486 has no note
    tables.diagnoses[9:9] = [(1, 1, "486")] * 5  # rows of one document count once
    root = clean(tmp_path, tables)
    tables.diagnoses = [row for row in tables.diagnoses if row[:2] != (20, 20)] + [(20, 20, "V3001")]
    tables.write(root)
    write_splits(root / "mimiciii_clean_splits.feather", [*SPLITS_OF, (20, "train")])
    corpus = prepared("mimic-clean", root)
    assert corpus.vocabulary.codes == ("00.66", "401.9", "584.9")
    assert "20" not in corpus.splits["train"].ids
    assert corpus.facts["listed_without_label"] == 1


def test_clean_counts_codes_of_unlisted_documents_too(tmp_path: Path) -> None:
    tables = Mimic3(notes=[(20, 20, SUMMARY, "in no split")])
    tables.diagnoses = [(i, i, "486") for i in (*range(1, 10), 20)]
    assert "486" in prepared("mimic-clean", clean(tmp_path, tables)).vocabulary.codes


def test_protocols_have_no_meaning_for_clean(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.protocol has no meaning"):
        prepared("mimic-clean", clean(tmp_path), protocol="corrected")


@pytest.mark.parametrize(("version", "expected"), [("9", ("00.66", "401.9")), ("10", ("02HV33Z", "E11.9", "I10"))])
def test_versions_of_icd_are_apart(tmp_path: Path, version: str, expected: tuple[str, ...]) -> None:
    corpus = prepared(f"mimic4-icd{version}", edin4(small4().write(tmp_path), version))
    assert corpus.vocabulary.codes == expected
    assert corpus.splits["train"].ids == tuple(str(i) for i in range(1, 9))
    assert words(corpus, corpus.splits["train"], 0) == ["common", "words", "g", "<unknown>"]


def test_an_admissions_notes_are_joined_equal_ones_once(tmp_path: Path) -> None:
    tables = small4()
    tables.notes += [(1, "second"), (1, "second"), (1, ""), ("", "whose?")]
    raw = datasets.open("mimic4-icd9", edin4(tables.write(tmp_path), "9")).documents()
    assert raw.documents[0].text == "Common words, 5 µg x second"


def test_codes_of_fewer_than_ten_admissions_with_a_note_are_left_out(tmp_path: Path) -> None:
    tables = small4()
    tables.diagnoses += [(i, "E8490", 9) for i in [*range(1, 10), 99, 1, 1]] + [(i, "J189", 10) for i in range(1, 11)]
    tables.diagnoses += [(13, "E8490", 10)]
    root = tables.write(tmp_path)
    assert prepared("mimic4-icd9", edin4(root, "9")).vocabulary.codes == ("00.66", "401.9")
    assert "J18.9" in prepared("mimic4-icd10", edin4(root, "10")).vocabulary.codes


def test_mimic4_counts_codes_of_unlisted_admissions_too(tmp_path: Path) -> None:
    tables = small4()
    tables.notes.append((20, "in no split"))
    tables.diagnoses += [(i, "E8490", 9) for i in (*range(1, 10), 20)]
    assert "E849.0" in prepared("mimic4-icd9", edin4(tables.write(tmp_path), "9")).vocabulary.codes


@pytest.mark.parametrize("version", ["9", "10"])
def test_a_change_of_any_file_of_mimic4_makes_new_data(tmp_path: Path, version: str) -> None:
    root = edin4(small4().write(tmp_path), version)
    opened = datasets.open(f"mimic4-icd{version}", root)
    assert opened.data.max_tokens == 4000
    read = opened.files()
    names = [
        "d_icd_diagnoses",
        "d_icd_procedures",
        "diagnoses_icd",
        "discharge",
        f"mimiciv_icd{version}_split",
        "procedures_icd",
    ]
    assert sorted(path.name.split(".")[0] for path in read) == names
    marks = {opened.fingerprint()}
    for path in read:
        path.write_bytes(path.read_bytes() + b" ")
        marks.add(opened.fingerprint())
    assert len(marks) == len(read) + 1


def test_an_admission_without_codes_of_the_version_is_left_out(tmp_path: Path) -> None:
    tables = small4()
    tables.diagnoses = [row for row in tables.diagnoses if (row[0], row[2]) != (3, 9)]
    tables.procedures = [row for row in tables.procedures if (row[0], row[2]) != (3, 9)]
    root = tables.write(tmp_path)
    assert "3" not in prepared("mimic4-icd9", edin4(root, "9")).splits["train"].ids
    assert "3" in prepared("mimic4-icd10", edin4(root, "10")).splits["train"].ids


def test_titles_of_the_tables_come_before_those_of_packages(tmp_path: Path) -> None:
    tables = small4()
    tables.diagnosis_titles = [("I10", 10, "High pressure"), ("I10", 9, "Wrong version")]
    tables.procedure_titles = [("02HV33Z", 10, "Insertion")]
    root = edin4(tables.write(tmp_path), "10")
    found = datasets.open("mimic4-icd10", root).titles(["02HV33Z", "E11.9", "I10"])
    assert found["I10"] == "High pressure"
    assert found["02HV33Z"] == "Insertion"
    assert found["E11.9"].startswith("Type 2 diabetes")


@pytest.mark.parametrize(
    ("code", "kind", "version", "expected"),
    [
        ("I10", "diagnosis", "10", "I10"),
        ("E119", "diagnosis", "10", "E11.9"),
        ("02HV33Z", "procedure", "10", "02HV33Z"),
        ("E8490", "diagnosis", "9", "E849.0"),
        ("0066", "procedure", "9", "00.66"),
    ],
)
def test_where_the_dot_goes(code: str, kind: str, version: mimic4.Version, expected: str) -> None:
    assert mimic4.dotted(code, kind, version) == expected


def test_mimic3_and_synthetic_tables_may_lie_beside_mimic4(tmp_path: Path) -> None:
    root = edin4(small4().write(tmp_path), "9")
    clean(tmp_path / "mimic3")
    (clean(tmp_path / "synth") / "synthetic.json").write_text("{}")
    assert prepared("mimic4-icd9", root).splits["train"].ids
    assert prepared("mimic-clean", tmp_path / "mimic3").splits["train"].ids


def test_prepared_documents_are_sorted_by_their_number_of_tokens(tmp_path: Path) -> None:
    tables = small4()
    tables.notes[0] = (1, "a long note that is longer than all of the others here")
    assert prepared("mimic4-icd10", edin4(tables.write(tmp_path), "10")).splits["train"].ids[-1] == "1"
    older = Mimic3(notes=[(1, 1, SUMMARY, "a long addendum that comes first in the file")])
    assert prepared("mimic-clean", clean(tmp_path / "clean", older)).splits["train"].ids[-1] == "1"


def broken(root: Path, name: str = "mimic4-icd9") -> str:
    with pytest.raises(DataError) as error:
        prepared(name, root)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_tables_and_splits(tmp_path: Path) -> None:
    assert "PhysioNet's project mimic-iv-note" in broken(tmp_path)
    root = small4().write(tmp_path)
    assert "icdbench data get mimic4-splits" in broken(root)
    edin4(root, "9")
    (root / "mimiciv" / "hosp" / "procedures_icd.csv.gz").unlink()
    assert "PhysioNet's project mimiciv (hosp)" in broken(root)


def test_mimic3_is_not_mimic4(tmp_path: Path) -> None:
    assert "holds MIMIC-III's notes, not MIMIC-IV" in broken(clean(tmp_path))


def test_splits_that_cannot_be_read(tmp_path: Path) -> None:
    root = small4().write(tmp_path)
    path = root / "mimiciv_icd9_split.feather"
    path.write_bytes(b"no feather")
    assert "is not a Feather file with columns _id and split" in broken(root)
    write_splits(path, [(1, "train"), (2, "dev")])
    assert "admission 2 is in split 'dev'" in broken(root)
    write_splits(path, [(1, "train"), (1, "test")])
    assert "admission 1 is listed twice" in broken(root)


def test_check_knows_the_published_split(tmp_path: Path) -> None:
    problems = datasets.open("mimic4-icd9", edin4(small4().write(tmp_path), "9")).check()
    assert len(problems) == 1
    assert "differs from the published split" in problems[0]


WHOLE = ("subject_id", "hadm_id", "seq_num", "icd_version")


@pytest.mark.parametrize("version", ["9", "10"])
@pytest.mark.parametrize("column", WHOLE)
def test_whole_numbers_may_be_written_as_floats_in_every_column(tmp_path: Path, version: str, column: str) -> None:
    name = f"mimic4-icd{version}"
    expected = prepared(name, edin4(small4().write(tmp_path / "a"), version))
    root = edin4(small4().write(tmp_path / "b"), version)
    rewritten(root, [column], lambda cell: f"{cell}.0")
    assert same(prepared(name, root), expected)


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("icd_version", "x", r"diagnoses_icd\.csv\.gz: icd_version 'x' is not a whole number"),
        ("icd_version", "9.5", r"diagnoses_icd\.csv\.gz: icd_version '9.5' is not a whole number"),
        ("icd_version", "11", r"diagnoses_icd\.csv\.gz: icd_version '11' is neither 9 nor 10"),
        ("hadm_id", "1x", r"discharge\.csv\.gz: hadm_id '1x' is not a whole number"),
        ("subject_id", "x" * 99, rf"discharge\.csv\.gz: subject_id '{'x' * 40}…' is not a whole number"),
    ],
)
def test_what_is_no_number_is_named_with_its_column(tmp_path: Path, column: str, cell: str, expected: str) -> None:
    root = edin4(small4().write(tmp_path), "9")
    rewritten(root, [column], lambda _: cell)
    with pytest.raises(DataError, match=expected):
        prepared("mimic4-icd9", root)


def test_the_patient_is_the_group_of_each_document_of_both_versions(tmp_path: Path) -> None:
    for version in ("9", "10"):
        raw = datasets.open(f"mimic4-icd{version}", edin4(small4().write(tmp_path), version)).documents()
        assert [document.group for document in raw.documents] == [str(i) for i in range(1, 13)]


def test_tables_are_found_where_wget_leaves_them(tmp_path: Path) -> None:
    expected = prepared("mimic4-icd10", edin4(small4().write(tmp_path / "a"), "10"))
    small4().write(tmp_path / "flat")
    files = tmp_path / "b" / "physionet.org" / "files"
    for project, version in (("mimic-iv-note", "2.2"), ("mimiciv", "3.1")):
        (files / project).mkdir(parents=True)
        (tmp_path / "flat" / project).rename(files / project / version)
    assert same(prepared("mimic4-icd10", edin4(tmp_path / "b", "10")), expected)
