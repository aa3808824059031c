"""MIMIC-IV with the splits of Nguyen et al. 2023, and codes that its notes may not show."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora import codes, prepared, words
from mimic import Mimic4, rewritten, small4, write_nguyen

from icdbench.data import datasets
from icdbench.data.sources.mimic4_nguyen import FIFTY_9, FIFTY_10
from icdbench.settings import DataError

LISTS = {"train": range(1, 9), "dev": (9, 10), "test": (11, 12)}


def laid(root: Path, tables: Mimic4 | None = None, version: str = "10", **lists: tuple[int, ...]) -> Path:
    """Tables of twelve admissions with both kinds of lists."""
    made = {f"{split}_{size}": tuple(ids) for size in ("full", "50") for split, ids in LISTS.items()}
    return write_nguyen((tables or small4()).write(root), version, **{**made, **lists})


def test_rare_codes_are_kept_and_the_label_set_is_that_of_all_splits(tmp_path: Path) -> None:
    tables = small4()
    tables.diagnoses += [(1, "J189", 10), (1, "J189", 10), (11, "R0600", 10), (11, "486", 9)]
    corpus = prepared("mimic4-icd10-nguyen", laid(tmp_path, tables))
    assert corpus.vocabulary.codes == ("02HV33Z", "E11.9", "I10", "J18.9", "R06.00")
    assert [len(corpus.splits[split]) for split in corpus.splits] == [8, 2, 2]
    assert codes(corpus, corpus.splits["train"], 0) == ["02HV33Z", "E11.9", "I10", "J18.9"]


def test_codes_of_icd9_keep_zeros_and_dots(tmp_path: Path) -> None:
    corpus = prepared("mimic4-icd9-nguyen", laid(tmp_path, version="9"))
    assert corpus.vocabulary.codes == ("00.66", "401.9")


def test_words_are_those_of_caml(tmp_path: Path) -> None:
    corpus = prepared("mimic4-icd10-nguyen", laid(tmp_path), min_documents=1)
    assert words(corpus, corpus.splits["train"], 0) == ["common", "words", "µg", "x"]


def test_unlisted_admissions_count_for_nothing(tmp_path: Path) -> None:
    tables = small4()
    tables.diagnoses += [(12, "J189", 10)]
    corpus = prepared("mimic4-icd10-nguyen", laid(tmp_path, tables, test_full=(11,)))
    assert "J18.9" not in corpus.vocabulary.codes
    assert corpus.splits["test"].ids == ("11",)


def test_the_50_codes_are_the_published_ones_and_documents_without_any_are_left_out(tmp_path: Path) -> None:
    assert len(FIFTY_9) == len(FIFTY_10) == 50
    tables = small4()
    tables.notes.append((20, "with another code alone"))
    tables.diagnoses += [(20, "A000", 10), (1, "A000", 10), (1, "Z87891", 10)]
    root = laid(tmp_path, tables, train_50=(1, 2, 20))
    corpus = prepared("mimic4-icd10-nguyen50", root, min_documents=1)
    assert corpus.vocabulary.codes == ("02HV33Z", "E11.9", "I10", "Z87.891")
    assert corpus.splits["train"].ids == ("1", "2")
    assert corpus.facts["listed_without_label"] == 1


def test_the_number_of_documents_is_compared_with_the_published_one(tmp_path: Path) -> None:
    lines = datasets.open("mimic4-icd10-nguyen50", laid(tmp_path)).unlike_published(lambda *_: None)
    assert "train documents: 8, published 104,077; the list of this split is not the published one" in lines
    assert any(line.startswith("label set: 47 of the published codes are missing") for line in lines)
    lines = datasets.open("mimic4-icd10-nguyen", tmp_path).unlike_published(lambda *_: None)
    assert any(line.startswith("vocabulary: 3, published 69,972") for line in lines)


def test_a_missing_list_is_one_line_that_says_where_it_comes_from(tmp_path: Path) -> None:
    root = laid(tmp_path)
    (root / "mimicdata" / "mimic4_icd10" / "dev_50_hadm_ids.csv").unlink()
    prepared("mimic4-icd10-nguyen", root)
    with pytest.raises(DataError) as caught:
        prepared("mimic4-icd10-nguyen50", root)
    assert str(caught.value) == (
        f"mimic4_icd10/dev_50_hadm_ids.csv is not in '{root}'; put the folder mimicdata/mimic4_icd10 of "
        "https://github.com/thomasnguyen92/MIMIC-IV-ICD-data-processing there"
    )
    assert datasets.open("mimic4-icd10-nguyen50", root).check() == [str(caught.value)]


@pytest.mark.parametrize("below", ["MIMIC-IV-ICD-data-processing/mimicdata", "mimic4_splits", "mimic-iv-note/note"])
def test_lists_are_found_where_they_are_cloned_or_copied(tmp_path: Path, below: str) -> None:
    root = laid(tmp_path)
    (root / below).mkdir(parents=True, exist_ok=True)
    (root / "mimicdata" / "mimic4_icd10").rename(root / below / "mimic4_icd10")
    assert len(datasets.open("mimic4-icd10-nguyen", root).documents().documents) == 12


def test_lists_that_overlap_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="admission 9 is listed also in dev_full_hadm_ids"):
        prepared("mimic4-icd10-nguyen", laid(tmp_path, test_full=(9, 11)))


@pytest.mark.parametrize("name", ["mimic4-icd10-nguyen", "mimic4-icd10-nguyen50"])
def test_codes_of_the_removed_social_history_are_listed(tmp_path: Path, name: str) -> None:
    tables = small4()
    tables.diagnoses += [(1, "Z87891", 10), (11, "Z87891", 10), (2, "F17210", 10), (2, "V1582", 9)]
    fact = "documents_with_codes_of_the_removed_social_history"
    assert prepared(name, laid(tmp_path, tables)).facts[fact] == "F17.210 (1), Z87.891 (2)"
    rewritten(tmp_path, {"icd_code"}, lambda code: "I10" if code in {"Z87891", "F17210"} else code)
    assert fact not in prepared(name, tmp_path).facts
