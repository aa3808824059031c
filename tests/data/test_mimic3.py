"""MIMIC-III from tables of its schema: every rule of the published preparation, and every trap in it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from corpora import codes, prepared, tree, words
from mimic import SUMMARY, Mimic3, rewritten, small

from icdbench.data import datasets
from icdbench.data.sources import mimic_splits as splits
from icdbench.settings import DataError, SpecError
from icdbench.synthetic import MARKER
from icdbench.types import SPLITS, UNKNOWN, Document


def documents(root: Path, name: str = "mimic-full", **changes: object) -> dict[str, Document]:
    """What the loader makes of the tables, by id, in its order."""
    raw = datasets.open(name, root, changes).documents()
    return {document.id: document for document in raw.documents}


# --- Documents -----------------------------------------------------------------------------------------------------------


def test_only_discharge_summaries_are_read_reports_and_addenda_alike(tmp_path: Path) -> None:
    tables = small()
    for category in ("discharge summary", "Discharge summary ", "Nursing", "Discharge", ""):
        tables.notes.append((1, 101, category, "other"))
    tables.notes.append((1, 101, SUMMARY, "addendum"))
    assert documents(tables.write(tmp_path))["101"].text == "common words here only1x addendum"


def test_notes_are_joined_in_file_order_repeated_ones_too(tmp_path: Path) -> None:
    tables = small()
    tables.notes = [(1, 101, SUMMARY, "late"), *tables.notes, (1, 101, SUMMARY, "late"), (1, 101, SUMMARY, "early")]
    assert documents(tables.write(tmp_path))["101"].text == "late common words here only1x late early"


def test_text_is_kept_as_it_is_written(tmp_path: Path) -> None:
    text = 'He said "no",\r\n\n  and\tleft; NA, null [**2151-8-4**] é'
    tables = small()
    tables.notes[0] = (1, 101, SUMMARY, text)
    assert documents(tables.write(tmp_path))["101"].text == text


def test_documents_are_sorted_by_subject_then_admission_as_numbers(tmp_path: Path) -> None:
    tables = small(train_full=[9, 10, 101, 102, 103])
    tables.notes += [(10, 9, SUMMARY, "b"), (2, 10, SUMMARY, "c"), (10, 101, SUMMARY, "d")]
    found = documents(tables.write(tmp_path))
    assert list(found) == ["1-101", "10", "102", "103", "104", "105", "9", "10-101"]


def test_one_document_for_each_subject_and_admission(tmp_path: Path) -> None:
    tables = small()
    tables.notes.append((7, 101, SUMMARY, "another patient"))
    tables.diagnoses.append((7, 101, "486"))
    found = documents(tables.write(tmp_path))
    assert (found["7-101"].text, found["7-101"].codes) == ("another patient", ("486",))
    assert (found["1-101"].text, found["1-101"].codes) == ("common words here only1x", ("401.9",))


def test_an_admission_without_a_summary_is_left_out_and_counted(tmp_path: Path) -> None:
    tables = small(train_full=[101, 102, 103, 999, 998])
    tables.diagnoses.append((9, 999, "486"))
    tables.notes.append((9, 999, "Nursing", "no summary"))
    raw = datasets.open("mimic-full", tables.write(tmp_path)).documents()
    assert "999" not in {document.id for document in raw.documents}
    assert raw.facts["listed_without_summary"] == "train 2"
    assert "999" not in str(raw.facts)  # facts go into records, ids do not
    assert "486" not in raw.codes  # type: ignore[operator]


def test_a_summary_without_admission_is_left_out_and_counted(tmp_path: Path) -> None:
    tables = small()
    tables.notes.append((1, "", SUMMARY, "whose?"))
    corpus = prepared("mimic-full", tables.write(tmp_path))
    assert corpus.facts["summaries_without_admission"] == 1
    assert corpus.facts["admissions"] == 5


def test_admissions_in_no_list_are_left_out(tmp_path: Path) -> None:
    tables = small()
    tables.notes.append((6, 106, SUMMARY, "unlisted"))
    tables.diagnoses.append((6, 106, "486"))
    corpus = prepared("mimic-full", tables.write(tmp_path))
    assert sum(map(len, corpus.splits.values())) == 5
    assert corpus.vocabulary.codes == ("401.9",)
    assert corpus.facts["in_no_list"] == 1


def test_a_summary_without_codes_or_without_tokens_survives(tmp_path: Path) -> None:
    tables = small(train_full=[101, 102, 103, 106, 107])
    tables.notes += [(6, 106, SUMMARY, "no code row"), (7, 107, SUMMARY, "12 ... 500")]
    tables.diagnoses.append((7, 107, "4019"))
    train = prepared("mimic-full", tables.write(tmp_path)).splits["train"]
    at = {name: i for i, name in enumerate(train.ids)}
    assert train.labels().toarray()[at["106"]].sum() == 0
    assert train.tokens[slice(*train.token_offsets[at["107"] :][:2])].tolist() == [UNKNOWN]


def test_prepared_documents_are_sorted_by_their_number_of_tokens(tmp_path: Path) -> None:
    tables = small()
    for number, text in ((1, "a b c d"), (2, "1 2 3 4 5 6 a"), (3, "a b c d")):
        tables.notes[number - 1] = (number, 100 + number, SUMMARY, text)
    train = prepared("mimic-full", tables.write(tmp_path)).splits["train"]
    assert train.ids == ("102", "101", "103")
    assert np.diff(train.token_offsets).tolist() == [1, 4, 4]


# --- Codes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "cell", "released", "corrected"),
    [
        ("diagnoses", "0389", "038.9", "038.9"),
        ("diagnoses", "486", "486", "486"),
        ("diagnoses", "E916", "E916", "E916"),
        ("diagnoses", "E9160", "E916.0", "E916.0"),
        ("diagnoses", "V3001", "V30.01", "V30.01"),
        ("diagnoses", "4439", "443.9", "443.9"),
        ("procedures", "4439", "44.39", "44.39"),
        ("procedures", "0331", "33.1", "03.31"),
        ("procedures", "0066", "66.", "00.66"),
        ("procedures", "3950", "39.50", "39.50"),
        ("procedures", "9604", "96.04", "96.04"),
    ],
)
def test_where_the_dot_goes_and_what_becomes_of_zeros(
    tmp_path: Path, table: str, cell: str, released: str, corrected: str
) -> None:
    tables = small()
    tables.diagnoses = [row for row in tables.diagnoses if row[1] != 101]
    getattr(tables, table).append((1, 101, cell))
    root = tables.write(tmp_path)
    assert documents(root)["101"].codes == (released,)
    assert documents(root, protocol="corrected")["101"].codes == (corrected,)


def test_labels_are_diagnoses_then_procedures_in_file_order_with_duplicates(tmp_path: Path) -> None:
    tables = small()
    tables.diagnoses = [(1, 101, "486"), (5, 105, "5849"), *tables.diagnoses, (1, 101, "0389"), (1, 101, "486")]
    tables.procedures = [(1, 101, "9904"), (2, 102, "3893"), (1, 101, "3893"), (1, 101, "9904")]
    root = tables.write(tmp_path)
    assert documents(root)["101"].codes == ("486", "401.9", "038.9", "486", "99.04", "38.93", "99.04")
    assert documents(root, protocol="corrected")["101"].codes == ("486", "401.9", "038.9", "99.04", "38.93")
    train = prepared("mimic-full", root).splits["train"]
    assert train.labels().max() == 1


def test_rows_without_a_code_are_no_class_and_their_admission_stays(tmp_path: Path) -> None:
    tables = small()
    tables.diagnoses = [(1, 101, ""), *tables.diagnoses[1:], (2, 102, " ")]
    found = documents(tables.write(tmp_path))
    assert (found["101"].codes, found["102"].codes) == ((), ("401.9",))
    assert prepared("mimic-full", tmp_path).vocabulary.codes == ("401.9",)


def test_label_set_has_codes_that_training_never_shows_unless_corrected(tmp_path: Path) -> None:
    tables = small()
    tables.diagnoses += [(4, 104, "5849"), (5, 105, "0389"), (1, 101, "V3001"), (1, 101, "E9160")]
    tables.procedures = [(1, 101, "9904")]
    root = tables.write(tmp_path)
    released, corrected = prepared("mimic-full", root), prepared("mimic-full", root, protocol="corrected")
    assert released.vocabulary.codes == ("038.9", "401.9", "584.9", "99.04", "E916.0", "V30.01")  # as text
    assert released.splits["test"].unseen.tolist() == [0]
    assert corrected.vocabulary.codes == ("401.9", "99.04", "E916.0", "V30.01")
    assert corrected.splits["test"].unseen.tolist() == [1]


# --- Splits and vocabulary -----------------------------------------------------------------------------------------------


def test_vocabulary_is_words_of_three_training_documents_sorted_by_code_point(tmp_path: Path) -> None:
    tables = small()
    texts = ["b_ Zeta é 5mg na b_ 7 7", "zeta É 5MG NA rare", "ZETA é 5mg Na rare", "rare rare", "rare"]
    tables.notes = [(i, 100 + i, SUMMARY, text) for i, text in enumerate(texts, start=1)]
    root = tables.write(tmp_path)
    assert prepared("mimic-full", root).vocabulary.tokens[2:] == ("5mg", "na", "zeta", "é")
    assert prepared("mimic-full", root, protocol="paper").vocabulary.tokens[2:] == ("5mg", "na", "rare", "zeta", "é")


def test_the_paper_drops_tokens_without_a_letter(tmp_path: Path) -> None:
    tables = small()
    tables.notes = [(i, 100 + i, SUMMARY, "____ 1_2 a1 10²") for i in range(1, 6)]
    root = tables.write(tmp_path)
    assert prepared("mimic-full", root).vocabulary.tokens[2:] == ("1_2", "____", "a1")
    assert prepared("mimic-full", root, protocol="paper").vocabulary.tokens[2:] == ("a1",)


def test_fifty_codes_take_their_vocabulary_from_the_full_training_list(tmp_path: Path) -> None:
    tables = small(train_50=[101])
    corpus = prepared("mimic50", tables.write(tmp_path))
    assert corpus.vocabulary.tokens[2:] == ("common", "here", "words")
    assert corpus.splits["train"].ids == ("101",)
    assert len(corpus.background) == 2  # the other two of the full list, for word vectors


def test_top_codes_count_every_row_of_every_document_ties_by_first_appearance(tmp_path: Path) -> None:
    tables = small()
    tables.diagnoses += [(5, 105, "486"), (5, 105, "486")]  # twice in one admission
    tables.diagnoses += [(5, 105, "5849"), (1, 101, "0389")]  # a tie of one row each: 038.9 is in an earlier document
    tables.notes.append((6, 106, SUMMARY, "in no list"))
    tables.diagnoses += [(6, 106, "V3001"), (6, 106, "V3001"), (6, 106, "V3001")]
    tables.diagnoses += [(9, 999, "25000")] * 9  # no summary: not counted
    root = tables.write(tmp_path)
    assert prepared("mimic50", root, top_codes=2).vocabulary.codes == ("401.9", "V30.01")
    assert prepared("mimic50", root, top_codes=3).vocabulary.codes == ("401.9", "486", "V30.01")
    assert prepared("mimic50", root, top_codes=4).vocabulary.codes == ("038.9", "401.9", "486", "V30.01")
    assert prepared("mimic50", root, top_codes=4, protocol="corrected").vocabulary.codes == ("038.9", "401.9")


def test_documents_without_one_of_the_top_codes_are_left_out(tmp_path: Path) -> None:
    tables = small()
    tables.notes.append((6, 106, SUMMARY, "another"))
    tables.lists["dev_50"].append(106)
    tables.diagnoses += [(6, 106, "486"), (1, 101, "486"), (1, 101, "4019")]
    root = tables.write(tmp_path)
    corpus = prepared("mimic50", root, top_codes=1)
    assert corpus.splits["validation"].ids == ("104",)
    assert corpus.facts["listed_without_label"] == 1
    assert documents(root, "mimic50", top_codes=1)["101"].codes == ("401.9",)


def test_titles_come_from_the_tables_then_camls_file_then_version_32(tmp_path: Path) -> None:
    tables = small()
    tables.diagnoses += [(1, 101, "0389"), (1, 101, "4439"), (1, 101, "9999999")]
    tables.procedures = [(1, 101, "4439"), (1, 101, "0331")]
    tables.diagnosis_titles = [("4019", "Of the diagnoses"), ("4439", "Vessels")]
    tables.procedure_titles = [("4439", "Endoscopy"), ("331", "Lung")]
    root = tables.write(tmp_path)
    (root / splits.TITLES).write_text("401.9\tof the file\n44.39\tof the file\n038.9\tSepsis  of the file\n")
    found = datasets.open("mimic-full", root).titles(["401.9", "443.9", "44.39", "038.9", "33.1", "99.04", "999.9999"])
    assert found == {
        "401.9": "Of the diagnoses",
        "443.9": "Vessels",
        "44.39": "Endoscopy",
        "038.9": "Sepsis  of the file",
        "33.1": "Lung",
        "99.04": "Transfusion of packed cells",
    }


def test_a_plain_reading_of_the_rules_agrees_on_random_tables(tmp_path: Path) -> None:  # noqa: C901
    """The rules of the published preparation again, as its scripts apply them, one line at a time."""
    generator = np.random.default_rng(0)
    tables = Mimic3()
    admissions = {int(hadm): int(generator.integers(1, 40)) for hadm in generator.permutation(np.arange(200, 300))}
    pieces = "He has DM2 , CHF\n 500 10² 5µg [**Name 12**] ____ NA nan pt's é É 1st".split(" ")
    for hadm, subject in admissions.items():
        for _ in range(generator.integers(0, 3)):
            text = " ".join(generator.choice(pieces, generator.integers(1, 12)))
            tables.notes.append((subject, hadm, str(generator.choice([SUMMARY, SUMMARY, "Nursing"])), text))
        for _ in range(generator.integers(0, 5)):
            tables.diagnoses.append(
                (subject, hadm, str(generator.choice(["4019", "486", "E8889", "V3001", "", "0389"])))
            )
            tables.procedures.append((subject, hadm, str(generator.choice(["0331", "331", "9604", "0066"]))))
    ids = list(admissions)
    tables.lists = {"train_full": ids[:60], "dev_full": ids[60:75], "test_full": ids[75:90]}
    tables.lists |= {"train_50": ids[:40], "dev_50": ids[60:75], "test_50": ids[75:90]}
    corpus, fifty = prepared("mimic-full", tables.write(tmp_path)), prepared("mimic50", tmp_path, top_codes=3)

    def dotted(code: str, head: int) -> str:
        return code[:head] + "." + code[head:] if len(code) > head else code

    labels: dict[tuple[int, int], list[str]] = {}
    for subject, hadm, code in tables.diagnoses:
        if code:
            labels.setdefault((subject, hadm), []).append(dotted(code, 4 if code[0] == "E" else 3))
    for subject, hadm, code in tables.procedures:
        number = str(int(code))
        labels.setdefault((subject, hadm), []).append(number[:2] + "." + number[2:])
    texts: dict[tuple[int, int], str] = {}
    for subject, hadm, category, text in tables.notes:
        if category == SUMMARY:
            key = (subject, hadm)
            texts[key] = f"{texts[key]} {text}" if key in texts else text
    tokens = {
        key: [word.lower() for word in re.findall(r"\w+", texts[key]) if not word.isnumeric()] for key in sorted(texts)
    }
    counts = Counter(word for key in tokens if key[1] in ids[:60] for word in set(tokens[key]))
    known = sorted(word for word in counts if counts[word] >= 3)
    assert list(corpus.vocabulary.tokens[2:]) == list(fifty.vocabulary.tokens[2:]) == known
    every = {label for key in tokens if key[1] in ids[:90] for label in labels.get(key, [])}
    assert list(corpus.vocabulary.codes) == sorted(every)
    rows = [label for key in tokens for label in labels.get(key, [])]
    top = sorted(set(rows), key=lambda label: (-rows.count(label), rows.index(label)))[:3]
    assert list(fifty.vocabulary.codes) == sorted(top)
    for split, name in zip(SPLITS, ("train", "dev", "test"), strict=True):
        expected = sorted(
            (key for key in tokens if key[1] in tables.lists[f"{name}_full"]), key=lambda key: len(tokens[key])
        )
        part = corpus.splits[split]
        assert part.ids == tuple(str(hadm) for _, hadm in expected)
        for place, key in enumerate(expected):
            shown = [word if word in known else "<unknown>" for word in tokens[key]] or ["<unknown>"]
            assert words(corpus, part, place) == shown
            assert codes(corpus, part, place) == sorted(set(labels.get(key, [])))
        kept = {
            str(hadm) for key, found in labels.items() if key in tokens and set(found) & set(top) for hadm in key[1:]
        }
        assert set(fifty.splits[split].ids) == kept & {str(hadm) for hadm in tables.lists[f"{name}_50"]}


def test_word_vectors_may_be_trained_on_all_summaries_as_published(tmp_path: Path) -> None:
    tables = small(train_50=[101])
    tables.notes += [(number, 100 + number, SUMMARY, f"common rare{number}") for number in (6, 7, 8)]
    tables.lists["dev_full"].append(106)
    tables.lists["test_full"].append(107)
    root = tables.write(tmp_path)  # 108 is in no list
    for name in ("mimic-full", "mimic50"):
        some, every = prepared(name, root), prepared(name, root, embedding_corpus="all")
        assert sum(map(len, every.splits.values())) + len(every.background) == 8
        assert every.vocabulary == some.vocabulary


def test_fifty_codes_are_prepared_in_order_of_length_too(tmp_path: Path) -> None:
    tables = small()
    for number, text in ((1, "a b c d"), (2, "a"), (3, "a b")):
        tables.notes[number - 1] = (number, 100 + number, SUMMARY, text)
    assert prepared("mimic50", tables.write(tmp_path)).splits["train"].ids == ("102", "103", "101")


def test_corrected_counts_the_full_training_list_alone(tmp_path: Path) -> None:
    tables = small(train_50=[101])
    tables.diagnoses += [(2, 102, "486"), (3, 103, "486"), (4, 104, "5849"), (5, 105, "5849"), (5, 105, "5849")]
    root = tables.write(tmp_path)
    for name in ("mimic-full", "mimic50"):
        assert prepared(name, root, top_codes=2).vocabulary.codes == ("401.9", "584.9")
        assert prepared(name, root, top_codes=2, protocol="corrected").vocabulary.codes == ("401.9", "486")


def test_top_codes_of_all_codes_count_unlisted_documents_too(tmp_path: Path) -> None:
    tables = small()
    tables.notes.append((6, 106, SUMMARY, "in no list"))
    tables.diagnoses += [(6, 106, "486"), (6, 106, "486"), (1, 101, "5849"), (1, 101, "0389")]
    root = tables.write(tmp_path)
    assert prepared("mimic-full", root, top_codes=2).vocabulary.codes == ("401.9", "486")
    assert prepared("mimic-full", root, top_codes=2, protocol="corrected").vocabulary.codes == ("401.9", "584.9")


def test_numbers_and_codes_as_other_tools_leave_them(tmp_path: Path) -> None:
    tables = small()
    tables.notes[0] = ("1.0", "101.0", SUMMARY, "text")
    tables.diagnoses[0] = ("1.0", "101.0", "401.9")
    found = documents(tables.write(tmp_path))["101"]
    assert (found.text, found.codes) == ("text", ("401.9",))


def test_word_vectors_of_fifty_codes_see_the_full_training_list() -> None:
    assert datasets.source("mimic50").settings().embedding_corpus == "train+background"
    assert datasets.source("mimic-full").settings().embedding_corpus == "train"


def test_fifty_codes_cannot_be_all(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"data\.top_codes=None"):
        prepared("mimic50", small().write(tmp_path), top_codes=None)


# --- Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [".", "mimic3", "physionet.org/files/mimiciii/1.4"])
@pytest.mark.parametrize(("packed", "lower"), [(True, False), (False, True)])
def test_tables_are_found_as_physionet_delivers_them(tmp_path: Path, place: str, packed: bool, lower: bool) -> None:  # noqa: FBT001
    small().write(tmp_path / place, packed=packed, lower=lower)
    assert list(documents(tmp_path)) == ["101", "102", "103", "104", "105"]


def test_splits_are_found_where_they_are_fetched_or_cloned(tmp_path: Path) -> None:
    tables = small()
    tables.write(tmp_path / "elsewhere")
    for place in ("mimic3_splits", "mimic3_splits/mimicdata/mimic3", "caml-mimic/mimicdata/mimic3"):
        root = tmp_path / place.replace("/", "-")
        tables.write(root / "mimic3")
        for path in (root / "mimic3").glob("*_ids.csv"):
            (root / place).mkdir(parents=True, exist_ok=True)
            path.rename(root / place / path.name)
        assert len(documents(root)) == 5


def test_a_read_only_folder_is_enough_and_is_not_written_to(tmp_path: Path) -> None:
    root = small().write(tmp_path / "raw")
    before = tree(root)
    root.chmod(0o500)
    try:
        prepared("mimic-full", root)
        prepared("mimic50", root)
    finally:
        root.chmod(0o700)
    assert tree(root) == before


@pytest.mark.parametrize("name", ["mimic-full", "mimic50"])
def test_a_change_of_any_file_that_is_read_makes_new_data(tmp_path: Path, name: str) -> None:
    root = small().write(tmp_path, packed=False)
    opened = datasets.open(name, root)
    (root / splits.TITLES).write_text("401.9\ttitle\n")
    marks = {opened.fingerprint()}
    for path in opened.files():
        path.write_bytes(path.read_bytes() + b"\n")
        marks.add(opened.fingerprint())
    (root / splits.TITLES).unlink()
    marks.add(opened.fingerprint())
    size = "50" if name == "mimic50" else "full"
    read = {path.name for path in opened.files()}
    assert {f"{split}_{size}_hadm_ids.csv" for split in ("train", "dev", "test")} < read
    assert {"DIAGNOSES_ICD.csv", "PROCEDURES_ICD.csv", "D_ICD_DIAGNOSES.csv", "D_ICD_PROCEDURES.csv"} < read
    assert len(marks) == len(read) + 3


def test_folders_that_are_met_twice_count_once(tmp_path: Path) -> None:
    root = small().write(tmp_path / "physionet.org/files/mimiciii/1.4")
    (root / "here").symlink_to(root)
    (tmp_path / "mimic3").symlink_to(root)
    assert len(documents(root)) == len(documents(tmp_path)) == 5


def broken(root: Path, name: str = "mimic-full") -> str:
    """What the loader says, which `icdbench data check` must say too."""
    origin = datasets.source(name)
    with pytest.raises(DataError) as error:
        prepared(name, root)
    assert "\n" not in str(error.value)
    assert origin.name
    return str(error.value)


def test_no_tables(tmp_path: Path) -> None:
    assert "MIMIC-III is not in" in broken(tmp_path)
    assert "make some with 'icdbench data make" in broken(tmp_path, "synth-full")


@pytest.mark.parametrize("name", ["DIAGNOSES_ICD", "PROCEDURES_ICD", "D_ICD_DIAGNOSES", "D_ICD_PROCEDURES"])
def test_a_missing_table(tmp_path: Path, name: str) -> None:
    root = small().write(tmp_path)
    (root / f"{name}.csv.gz").unlink()
    assert f"{name}.csv" in broken(root)


def test_a_missing_list_says_how_to_fetch_it(tmp_path: Path) -> None:
    root = small().write(tmp_path)
    (root / "dev_full_hadm_ids.csv").unlink()
    assert f"fetch it with 'icdbench data get mimic3-splits --data {root}'" in broken(root)
    assert "icdbench data get mimic-clean-splits" in broken(root, "mimic-clean")


def test_an_admission_in_two_splits(tmp_path: Path) -> None:
    root = small(dev_full=[104, 102]).write(tmp_path)
    assert "admission 102 is listed also in train_full_hadm_ids.csv" in broken(root)


def test_an_admission_twice_in_a_list(tmp_path: Path) -> None:
    root = small(test_full=[105, 105]).write(tmp_path)
    assert "admission 105 is listed twice" in broken(root)


def test_a_list_with_a_header(tmp_path: Path) -> None:
    root = small().write(tmp_path)
    (root / "dev_full_hadm_ids.csv").write_text("HADM_ID\n104\n")
    assert "entry 1: 'HADM_ID' is not a HADM_ID" in broken(root)


def test_a_split_none_of_whose_admissions_has_a_note(tmp_path: Path) -> None:
    root = small(dev_full=[7, 8]).write(tmp_path)
    assert re.search(r"none of the 2 validation admissions of .*dev_full_hadm_ids.csv, the first \[7\]", broken(root))


def test_lists_of_fifty_that_do_not_belong_to_the_full_ones(tmp_path: Path) -> None:
    root = small(train_full=[102, 103]).write(tmp_path)
    assert "1 admissions of" in broken(root, "mimic50")
    root = small(train_50=[101], dev_50=[102]).write(tmp_path)
    assert re.search(
        r"1 admissions of .*dev_50_hadm_ids.csv, the first 102, are in train_full", broken(root, "mimic50")
    )


def test_synthetic_tables_are_not_mimic_nor_mimic_synthetic(tmp_path: Path) -> None:
    root = small().write(tmp_path)
    assert "were not made by 'icdbench data make'" in broken(root, "synth-full")
    (root / MARKER).write_text("{}")
    assert "are synthetic" in broken(root)
    assert prepared("synth-full", root).synthetic


def test_two_copies_of_the_tables(tmp_path: Path) -> None:
    small().write(tmp_path / "a")
    small().write(tmp_path / "b")
    assert "name one of them with --data" in broken(tmp_path)


def test_mimic4_is_not_mimic3(tmp_path: Path) -> None:
    (tmp_path / "note").mkdir()
    (tmp_path / "note" / "discharge.csv").write_text("note_id,subject_id,hadm_id,text\n")
    assert "holds MIMIC-IV's notes" in broken(tmp_path)


@pytest.mark.parametrize("column", ["subject_id", "hadm_id"])
def test_numbers_that_are_none_are_named_with_their_column(tmp_path: Path, column: str) -> None:
    root = small().write(tmp_path)
    rewritten(root, [column], lambda cell: f"{cell}x")
    assert re.search(rf"NOTEEVENTS\.csv\.gz: {column.upper()} '\d+x' is not a whole number", broken(root))


def test_whole_numbers_may_be_written_as_floats_in_every_column_and_list(tmp_path: Path) -> None:
    expected = documents(small().write(tmp_path / "a"))
    root = small().write(tmp_path / "b")
    rewritten(root, ["row_id", "subject_id", "hadm_id", "seq_num"], lambda cell: f"{cell}.0")
    for path in root.glob("*_hadm_ids.csv"):
        path.write_text("".join(f"{line}.0\n" for line in path.read_text().split()))
    assert documents(root) == expected


def test_the_patient_is_the_group_of_each_document(tmp_path: Path) -> None:
    for name in ("mimic-full", "mimic50"):
        found = documents(small().write(tmp_path), name)
        assert [document.group for document in found.values()] == ["1", "2", "3", "4", "5"]


def test_check_names_lists_that_differ_from_the_published_ones(tmp_path: Path) -> None:
    problems = datasets.open("mimic-full", small().write(tmp_path)).check()
    assert [Path(problem.split(" ")[0]).name for problem in problems] == [
        "train_full_hadm_ids.csv",
        "dev_full_hadm_ids.csv",
        "test_full_hadm_ids.csv",
    ]
