"""What `icdbench data check` finds in documents, whatever their source: planted faults, and none where there is none."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Call
from corpora import Row, prepared, write
from mimic import small4, write_splits
from places import SHARED

from icdbench.codes import icd9, icd10
from icdbench.data import datasets, quality
from icdbench.data.quality import about_codes, alike, findings, inspected
from icdbench.settings import SHOWN, DataError
from icdbench.types import SPLITS, Document

CANARY = "Xanthippe"  # a word of every text, which no line may show

WORDS = np.array([f"{a}{b}" for a in ("cardio", "hepato", "nephro", "pulmo", "neuro") for b in map(str, range(60))])


def text(number: int, length: int = 60) -> str:
    return " ".join([CANARY, *np.random.default_rng(number).choice(WORDS, length)])


def sound(count: int = 60, length: int = 60) -> list[Document]:
    """Documents with which nothing is wrong: every split has both codes, every text is another."""
    return [
        Document(
            f"d{i}", text(i, length), ("A", "B")[: 1 + i % 2], SPLITS[(0, 0, 0, 1, 2)[i % 5]], f"p{i // 5 * 5 + i % 5}"
        )
        for i in range(count)
    ]


def changed(words: str, share: float, seed: int = 0) -> str:
    """The text with a share of its words replaced."""
    every = words.split()
    for place in np.random.default_rng(seed).choice(len(every), round(share * len(every)), replace=False):
        every[place] = f"other{place}"
    return " ".join(every)


def kinds(documents: Sequence[Document]) -> dict[str, str]:
    found = findings(documents, "not-numeric")
    assert len({kind for kind, _ in found}) == len(found)
    assert not any(CANARY.lower() in line.lower() or "\n" in line for _, line in found)
    return dict(found)


def planted(number: int, **changes: object) -> list[Document]:
    made = sound()
    made[number] = replace(made[number], **changes)  # type: ignore[arg-type]
    return made


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert kinds(sound()) == {}
    assert kinds(sound(300, 5)) == {}


@pytest.mark.parametrize(
    "same", [str, str.upper, lambda words: f"  {words}!\n 12", lambda words: words.replace(" ", ", ")]
)
def test_equal_texts_in_two_splits(same: Callable[[str], str]) -> None:
    found = kinds(planted(3, text=same(text(0))))
    assert found == {
        "equal": "texts that also occur in another split: 2 (train 1, validation 1), such as 'd0' (train) = 'd3' (validation)"
    }


def test_equal_texts_in_one_split_are_no_leak() -> None:
    assert kinds(planted(1, text=text(0))) == {}


@pytest.mark.parametrize("length", [30, 60, 300, 2000])
@pytest.mark.parametrize("number", [3, 4])
def test_near_equal_texts_in_two_splits(length: int, number: int) -> None:
    made = sound(length=length)
    made[number] = replace(made[number], text=changed(made[0].text, 1 / 31))
    found = kinds(made)
    assert list(found) == ["near-equal"]
    assert "in another split, 70 % or more of the 3-word sequences are the same: 2 (train 1, " in found["near-equal"]
    assert f"such as 'd0' (train) = 'd{number}' ({made[number].split})" in found["near-equal"]


@pytest.mark.parametrize("length", [30, 300, 2000])
def test_texts_that_share_half_of_their_words_are_not_near_equal(length: int) -> None:
    made = sound(length=length)
    made[3] = replace(made[3], text=changed(made[0].text, 0.3))
    assert kinds(made) == {}


def test_all_near_equal_texts_are_found_among_many_with_the_same_headings() -> None:
    """Ninety of a thousand are copies with a word in fifty changed; all have half of their words in common."""
    headings = " ".join(np.random.default_rng(9).choice(WORDS, 40))
    made = [replace(each, text=f"{headings} {each.text} {headings}") for each in sound(1000, 80)]
    copies = {i: i - 4 for i in range(104, 1000, 10)}  # a test document, and the training document that it copies
    for copy, original in copies.items():
        made[copy] = replace(made[copy], text=changed(made[original].text, 0.02, copy))
    (found,) = findings(made, "not-numeric")
    assert f": {2 * len(copies)} (train {len(copies)}, test {len(copies)}), such as" in found.line


def test_a_family_of_near_equal_texts_is_found_whole() -> None:
    """More copies than a document is compared with: each is compared with the first of another split."""
    made = [replace(each, text=changed(text(0, 200), 0.02, i)) for i, each in enumerate(sound(300))]
    (found,) = findings(made, "not-numeric")
    assert ": 300 (train 180, validation 60, test 60)" in found.line


def test_the_order_of_documents_changes_no_count() -> None:
    made = planted(3, text=changed(text(0), 0.02))
    backward = kinds(made[::-1])["near-equal"]
    assert backward.partition(", such")[0] == kinds(made)["near-equal"].partition(", such")[0]


@pytest.mark.slow
def test_time_and_memory_grow_with_the_words_alone() -> None:
    """Every text with the same 60 headings: no pair of documents is looked at for sharing these."""
    made = [replace(each, text=f"{text(10**6, 60)} {each.text}") for each in sound(4000, 40)]
    tracemalloc.start()
    pairs = quality._candidates(np.zeros((50_000, quality.SKETCH), np.uint64), np.arange(50_000) % 3)
    assert len(pairs) <= 50_000 * (quality.NEIGHBOURS + len(SPLITS))
    findings(made, "not-numeric")
    assert tracemalloc.get_traced_memory()[1] < 500e6
    tracemalloc.stop()


def test_a_patient_in_two_splits() -> None:
    found = kinds(planted(4, group="p0"))
    assert found == {"group": "groups of documents in more than one split: 1 of 59, such as 'p0' (train, test)"}
    assert kinds([replace(each, group="") for each in sound()]) == {}, "nothing is known of patients"


@pytest.mark.parametrize("empty", ["12 34", "...", "²"])
def test_documents_without_words(empty: str) -> None:
    expected = "documents without a word that a model reads: 1 of 60 (test 1), such as 'd4' (test)"
    assert kinds(planted(4, text=empty)) == {"no words": expected}


def test_documents_without_codes() -> None:
    assert kinds(planted(4, codes=())) == {
        "no codes": "documents without a code: 1 of 60 (test 1), such as 'd4' (test)"
    }


@pytest.mark.parametrize(
    "unspaced",
    [
        "患者因反复胸闷气促三天入院，既往有高血压病史十年。",
        "患者は三日前から発熱と咳嗽があり入院した。",
        "cardiohepatonephro" * 3,
    ],
)
def test_texts_without_spaces_between_words(unspaced: str) -> None:
    found = kinds(planted(4, text=unspaced))
    assert list(found) == ["clauses"]
    assert "1 of 60 (test 1), such as 'd4' (test)" in found["clauses"]


@pytest.mark.parametrize(
    "spaced", ["患者 因 反复 胸闷 气促 三天 入院", "больной поступил с жалобами на боль", "_____ a b"]
)
def test_texts_with_spaces_between_words(spaced: str) -> None:
    assert kinds(planted(4, text=spaced)) == {}


def test_codes_that_never_occur_twice() -> None:
    made = [replace(each, codes=(f"{each.id}, {each.id}",)) for each in sound()]
    assert list(kinds(made)) == ["no repeats"]
    assert "all 60, such as 'd0, d0', 'd1, d1', 'd2, d2'; is each of these one code?" in kinds(made)["no repeats"]


@pytest.mark.parametrize("split", SPLITS[1:])
def test_codes_of_a_split_that_training_never_shows(split: str) -> None:
    made = [replace(each, codes=("a", "b")) if each.split == split else each for each in sound()]
    assert kinds(made) == {"unseen": f"codes of {split} that no training document has: all 2, such as 'a', 'b'"}


def test_ids_and_codes_that_would_steer_a_terminal_are_escaped() -> None:
    made = [replace(each, id=f"{each.id}\x1b[31m", codes=(f"{each.id}\u202e\n",), group="\x07") for each in sound()]
    made[4] = replace(made[4], text=made[0].text)
    assert len(kinds(made)) == 3
    assert all(line.isprintable() for line in kinds(made).values())


def test_long_ids_and_codes_are_cut() -> None:
    made = [replace(each, id=each.id * 99, codes=(f"{each.id} " * 99,), group="x" * 99) for each in sound()]
    made[4] = replace(made[4], text=made[0].text)
    for line in kinds(made).values():
        assert not any(len(cell) > SHOWN + 1 for cell in line.split("'")[1::2])


# --- Codes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["I10", "i10"], [("I10", "i10")]),
        (["E11.9", "e11.9", "E119", "I10"], [("E11.9", "e11.9", "E119")]),
        (["38.9", "038.9"], [("38.9", "038.9")]),
        (["1", "001"], [("1", "001")]),
        (["I10.", "I10"], [("I10.", "I10")]),
        (["4019", "401.9"], [("4019", "401.9")]),
        (["396.1", "39.61"], []),
        (["412", "41.2"], []),
        (["250.0", "250.00"], []),
        (["E11.9", "E11", "E11.90"], []),
        (["a b", "ab"], []),
        ([], []),
    ],
)
def test_codes_that_are_spelled_alike(codes: list[str], expected: list[tuple[str, ...]]) -> None:
    assert alike(codes) == expected
    line = [line for kind, line in about_codes(dict.fromkeys(codes, 1), alike(codes), {}) if kind == "spellings"]
    assert bool(line) == bool(expected)


@pytest.mark.slow
def test_codes_with_titles_of_their_own_are_no_spellings() -> None:
    every = [code for of in icd9.titles().values() for code in of]
    titles = icd9.icd9cm_titles(every)
    assert len(alike(every)) > 10
    assert about_codes(dict.fromkeys(every, 1), alike(every), titles) == []
    titles = {code: title for code, title in titles.items() if code != "38.11"}
    assert len(about_codes(dict.fromkeys(every, 1), alike(every), titles)) == 1


def test_codes_that_look_like_a_missing_value() -> None:
    assert about_codes({"nan": 3, "A": 1, "N/A": 1}, [], {}) == [
        ("missing", "codes that look like a missing value: 2, such as 'nan', 'N/A'")
    ]


@pytest.mark.slow
def test_what_the_lists_of_a_coding_system_have() -> None:
    every = [code for of in icd9.titles().values() for code in of]
    assert all(map(icd9.listed, [*every, "250", "250.0", "v30", "39.9"]))
    assert not any(map(icd9.listed, ["", "999.99", "E11.9", "I10", "4019", "x", "~"]))
    assert all(map(icd10.is_listed, ["I10", "i10", "E11.9", "E119", "E11", "w19.xxx", "02HV33Z"]))
    assert not any(map(icd10.is_listed, ["", "E11.99999", "401.9", "Diabetes", "x"]))


# --- The command ---------------------------------------------------------------------------------------------------------


def own(path: Path, documents: Sequence[Document]) -> Path:
    rows: list[Row] = [
        {"id": each.id, "text": each.text, "codes": ";".join(each.codes), "split": each.split} for each in documents
    ]
    return write(path, rows)


def test_complete_and_as_expected_only_when_it_is(icdbench: Call, tmp_path: Path) -> None:
    own(tmp_path / "right.csv", sound())
    assert icdbench("data", "check", "right.csv")[:2] == (0, "right.csv: complete and as expected\n")
    own(tmp_path / "wrong.csv", planted(3, text=text(0), codes=("a",)))
    status, out, _ = icdbench("data", "check", "wrong.csv")
    assert status == 2
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        "texts that also occur in another split",
        "codes in several spellings, each counted as a code of its own (case, dots or leading zeros differ)",
    ]
    status, out, _ = icdbench("data", "check", "right.csv", "--set", "data.code_system=icd10cm")
    assert (status, out) == (2, "codes outside the data set's coding system: 2 of 2, such as 'A', 'B'\n")


@pytest.mark.parametrize("kind", ["id", "text", "codes"])
def test_no_line_shows_a_text(icdbench: Call, tmp_path: Path, kind: str) -> None:
    """Also where the columns are swapped, as far as a text is not taken for an id or a code."""
    made = [replace(each, codes=("A", "a") if kind == "codes" else each.codes) for each in planted(4, text=text(0))]
    own(tmp_path / "x.csv", made)
    status, out, err = icdbench("data", "check", "x.csv")
    assert status == 2
    assert CANARY not in out + err


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(datasets.scan()))
def test_every_source_that_can_be_opened_is_as_expected(name: str, synthetic_tables: Path) -> None:
    """Known facts of published corpora are declared as such; anything else would be a fault of ours, or of the data."""
    opened = datasets.open(name, synthetic_tables if datasets.source(name).synthetic else SHARED / "data")
    try:
        opened.files()
    except DataError:
        pytest.skip(f"the files of {name} are not here")
    found = inspected(opened)
    assert [finding for finding in found if finding.kind not in opened.expected] == []
    assert not set(opened.expected) & {"equal", "near-equal", "missing", "system"}


def test_mimic_is_checked_too(tmp_path: Path) -> None:
    tables = small4()
    tables.notes[11] = (12, tables.notes[0][1])
    write_splits(
        tmp_path / "mimiciv_icd9_split.feather",
        [*((i, "train") for i in range(1, 9)), (9, "val"), (10, "val"), (11, "test"), (12, "test")],
    )
    found = inspected(datasets.open("mimic4-icd9", tables.write(tmp_path)))
    assert (
        "equal",
        "texts that also occur in another split: 2 (train 1, test 1), such as '1' (train) = '12' (test)",
    ) in found


# --- Notices of runs -----------------------------------------------------------------------------------------------------

NOTICED: dict[str, tuple[list[str], list[str], str]] = {
    "system": (
        ["I10", "E11.9"],
        ["--set", "data.code_system=icd9cm"],
        "codes outside the data set's coding system: 2 of 2, such as 'E11.9', 'I10'",
    ),
    "spellings": (
        ["I10", "i10"],
        ["--set", "data.code_system=icd10cm"],
        "leading zeros differ): 1, such as 'I10' = 'i10'",
    ),
    "missing": (["A", "nan"], [], "codes that look like a missing value: 1, such as 'nan'"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", NOTICED)
def test_every_run_says_what_is_wrong_with_the_data_and_so_does_its_table(
    icdbench: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    codes, settings, expected = NOTICED[kind]
    own(tmp_path / "x.csv", [replace(each, codes=tuple(codes[: 1 + i % 2])) for i, each in enumerate(sound())])
    command = ("run", "--models", "lr@tfidf", "--dataset", "x.csv", *settings)
    for seeds in ("1", "2", "1,2"):  # computed, of cached data, and stored
        caplog.clear()
        status, out, _ = icdbench(*command, "--seeds", seeds)
        assert status == 0
        assert caplog.text.count(expected) == 1
        assert out.count(expected) == 1
    assert icdbench("tables")[1].count(expected) == 1
    record = json.loads(next(tmp_path.glob("results/*/*/*/record.json")).read_text())
    assert len(record["corpus"]["notices"]) == 1
    for other in (("describe", "x.csv"), ("export", "x.csv", "--out", "out")):
        for _ in range(1 if other[0] == "export" else 2):
            caplog.clear()
            assert icdbench("data", *other, *settings)[0] == 0
            assert caplog.text.count(expected) == 1


def test_spellings_outside_the_label_set_are_no_matter_of_a_run(tmp_path: Path) -> None:
    made = [replace(each, codes=("A", "x1", "X1") if i == 0 else ("A",)) for i, each in enumerate(sound())]
    path = own(tmp_path / "x.csv", made)
    assert prepared(path, top_codes=1).notices == ()
    assert len(prepared(path).notices) == 1
