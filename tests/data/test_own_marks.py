"""Marks of codes as BRAT's files: what is written is read back, whatever the text."""

from __future__ import annotations

from pathlib import Path

import pytest
from codiesp import small
from conftest import Call
from corpora import prepared, write
from hypothesis import given, settings
from hypothesis import strategies as st

from icdbench.data import datasets
from icdbench.data.export import annotate, export
from icdbench.data.sources import own_marks
from icdbench.settings import DataError, SpecError, UnsuitableError

TEXT = "Dolor torácico 😀 y\r\nfiebre  alta,\n\n\tsin tos\n"
MARKS = {
    "R07.9": [[(0, 14)], [(0, 5), (20, 26)]],  # overlapping; in two parts
    "r50 ‚9/x:y": [[(17, 32)], [(28, 39)]],  # over line breaks; a code with anything in it
}


def read_back(folder: Path, text: str, marks: own_marks.Spans) -> dict[str, list[list[tuple[int, int]]]]:
    note, annotations = annotate(folder, "a", text, marks, {}, "ICD-10-CM")
    assert note.read_bytes() == text.encode()
    return own_marks.read(annotations, text)


def test_marks_read_back_as_they_were(tmp_path: Path) -> None:
    assert read_back(tmp_path, TEXT, MARKS) == MARKS
    assert (tmp_path / "a.ann").stat().st_mode & 0o077 == 0
    first = (tmp_path / "a.ann").read_text(encoding="utf-8").splitlines()[:4]
    assert first == [
        "T1\tEvidence 0 14\tDolor torácico",
        "N1\tReference T1 ICD-10-CM:R07.9\t",
        "T2\tEvidence 0 5;20 26\tDolor fiebre",
        "N2\tReference T2 ICD-10-CM:R07.9\t",
    ]


def words_of(text: str) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Spans of the text that begin and end with a character that is no blank, in their order."""
    solid = [place for place, char in enumerate(text) if not char.isspace()]
    edges = st.lists(st.sampled_from(solid), min_size=2, max_size=6, unique=True).map(sorted)
    return edges.map(lambda places: [(start, end + 1) for start, end in zip(places[::2], places[1::2], strict=False)])


TEXTS = st.text(alphabet="ab é😀\n\r\t\u2028\x85", min_size=4, max_size=40).filter(lambda text: len(text.split()) > 1)


@pytest.mark.slow
@settings(max_examples=50)
@given(text=TEXTS, data=st.data())
def test_any_marks_read_back_by_their_words(
    text: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    marks = {"A": data.draw(st.lists(words_of(text), min_size=1, max_size=3))}
    found = read_back(tmp_path_factory.mktemp("brat"), text, marks)

    def touched(marked: own_marks.Spans) -> list[set[int]]:
        places = [{place for start, end in mark for place in range(start, end)} for mark in marked["A"]]
        return [{place for place in each if not text[place].isspace()} for each in places]

    assert touched(found) == touched(marks)


@pytest.mark.parametrize(
    "line", ["#1\tAnnotatorNotes T1\tr55 perhaps", "N1\tReference T1 icd:r55\tSyncope", "*\tEquiv T1 T2"]
)
def test_a_code_may_be_a_note_or_the_type(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.ann"
    path.write_text(f"T1\tr55 0 5\tDolor\r\n{line}\nR1\tHas Arg1:T1 Arg2:T2\n", encoding="utf-8")
    assert own_marks.read(path, TEXT) == {"r55": [[(0, 5)]]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("T1\tEvidence 0 5\tDolor\n", "line 1: T1 has no code"),
        ("\nT1\tr55 0 5\tfiebre\n", "line 2: the words of T1 are not those at 0 5"),
        ("T1\tr55 0 500\tDolor\n", "the words of T1 are not those"),
        ("T1\tr55 5 0\t\n", "the words of T1 are not those"),
        ("T1\tr55 zero\tDolor\n", "is not written as"),
    ],
)
def test_what_does_not_fit_is_named_without_words(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "a.ann"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as raised:
        own_marks.read(path, TEXT)
    assert said in str(raised.value)
    assert "a.ann" in str(raised.value)
    assert "Dolor" not in str(raised.value)


@pytest.mark.slow
def test_marks_of_a_corpus_become_those_of_a_file_and_are_written_again(tmp_path: Path) -> None:
    corpus = datasets.open("codiesp-d", small(tmp_path), {"language": "es"})
    assert export(corpus, tmp_path / "out", "brat") == [tmp_path / "out" / "train", tmp_path / "out" / "validation"]
    documents = corpus.documents().documents
    rows = [{"id": d.id, "text": d.text, "codes": ";".join(d.codes), "split": d.split} for d in documents]
    table = write(tmp_path / "own.csv", rows)
    with pytest.raises(UnsuitableError, match="comes without words"):
        prepared(table, min_documents=1, spans=True)
    (tmp_path / "out").rename(tmp_path / "own.csv.brat")
    own = datasets.open(str(table))
    assert own.marks() == corpus.marks()
    assert own.evidence() == corpus.evidence()
    assert own.check() == []
    assert prepared(table, min_documents=1, spans=True).splits["train"].marks is not None
    export(own, tmp_path / "again", "brat")
    (tmp_path / "own.csv.brat").rename(tmp_path / "first")
    (tmp_path / "again").rename(tmp_path / "own.csv.brat")
    assert own.marks() == corpus.marks()


def test_files_of_no_document_and_two_of_one_are_refused(tmp_path: Path, icdbench: Call) -> None:
    table = write(
        tmp_path / "own.csv",
        [
            {"id": f"n/{n}", "text": "a note", "codes": "A", "split": s}
            for n, s in enumerate(["train", "validation", "test"])
        ],
    )
    digest = datasets.marks_digest(table)
    annotate(tmp_path / "own.csv.brat", "n/0", "a note", {"A": [[(2, 6)]]}, {}, "")
    assert digest == "" != datasets.marks_digest(table)
    assert datasets.open(str(table)).marks() == {"n/0": {"A": [[(2, 6)]]}}
    with pytest.raises(SpecError, match="exists, perhaps with somebody"):
        annotate(tmp_path / "own.csv.brat", "n/0", "a note", {}, {}, "")
    (tmp_path / "own.csv.brat" / "other.ann").write_text("")
    status, out, _ = icdbench("data", "check", table)
    assert status == 2
    assert "other.ann belongs to no document of own.csv" in out
    (tmp_path / "own.csv.brat" / "other.ann").unlink()
    annotate(tmp_path / "own.csv.brat" / "more", "n/0", "a note", {}, {}, "")
    with pytest.raises(DataError, match="belong to the same document"):
        datasets.open(str(table)).marks()
    assert datasets.marks_digest(tmp_path / "absent.csv") is None
