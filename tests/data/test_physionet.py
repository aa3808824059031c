"""PhysioNet's tables: every cell as written, and nothing of a damaged file taken for a smaller table."""

from __future__ import annotations

import csv
import gzip
import io
import random
import re
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icdbench.data.sources import csv_tables as physionet
from icdbench.settings import DataError
from icdbench.types import Report, quiet

NOTE = 'Admission Date: [**2150-1-2**]\r\n\r\nPt. said ""none"", NA\n\nDischarge: 50,000 u'
HEADER = "ROW_ID,SUBJECT_ID,HADM_ID,CATEGORY,TEXT"
ROWS = (  # up to the note, and the note
    ('1,22,100,"Discharge summary",', f'"{NOTE}"'),
    ('2,22,,"Nursing",', '"Discharge summary"'),
    ('3,23,0101,"discharge summary",', '"a"'),
    ('4,24,"","Discharge summary",', '""'),
    ('5,24,null,"Discharge summary ",', '"b"'),
    ("6,25,NA,Discharge summary,", '"Größe, 血"'),
)
NOTES = "".join(f"{line}\n" for line in (HEADER, *map("".join, ROWS)))
KEPT = [["22", "100", NOTE.replace('""', '"')], ["24", "", ""], ["25", "NA", "Größe, 血"]]
COLUMNS = ("SUBJECT_ID", "HADM_ID", "TEXT")
SUMMARIES = ("CATEGORY", "Discharge summary")


def lists(batches: Sequence[pa.RecordBatch] | pa.Table) -> list[list[str]]:
    """The rows as lists of cells."""
    batches = batches.to_batches() if isinstance(batches, pa.Table) else batches
    return [list(row.values()) for batch in batches for row in batch.to_pylist()]


def whole_table(path: Path, columns: Sequence[str], report: Report = quiet) -> pa.Table:
    schema = pa.schema([(name, pa.string()) for name in columns])
    return pa.Table.from_batches(physionet.batches(path, columns, report), schema)


def error(path: Path, columns: Sequence[str] = ("TEXT",)) -> str:
    """The one line that reading the file raises, without its folder."""
    with pytest.raises(DataError) as caught:
        list(physionet.batches(path, columns))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400 + len(str(path))
    assert str(path) in message
    return message.replace(f"{path.parent}/", "")


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table; `.gz` packs it."""

    def write(content: str | bytes, name: str = "NOTEEVENTS.csv") -> Path:
        path = tmp_path / name
        content = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path

    return write


# --- Finding a table ---------------------------------------------------------------------------------------------------


def test_a_table_is_found_in_either_case_and_unpacked_first(put: Callable[..., Path], tmp_path: Path) -> None:
    put("x", "._NOTEEVENTS.csv")
    put("x", "NOTEEVENTS_OLD.csv")
    (tmp_path / "NOTEEVENTS.csv").mkdir()
    assert physionet.find(tmp_path, "NOTEEVENTS") is None
    assert physionet.find(tmp_path / "nowhere", "NOTEEVENTS") is None
    packed = put("x", "noteevents.csv.gz")
    assert physionet.find(tmp_path, "NOTEEVENTS") == packed
    (tmp_path / "NOTEEVENTS.csv").rmdir()
    plain = put("x", "NOTEEVENTS.csv")
    assert physionet.find(tmp_path, "NOTEEVENTS") == physionet.required(tmp_path, "noteevents") == plain


def test_a_missing_table_is_named_with_its_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path} has neither A.csv nor A.csv.gz")):
        physionet.required(tmp_path, "A")


# --- Whole tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["NOTEEVENTS.csv", "NOTEEVENTS.csv.gz"])
@pytest.mark.parametrize("block", [16, 100, 1 << 22])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_cells_are_as_written(
    put: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    block: int,
    begin: str,
    end: str,
    *,
    last: bool,
) -> None:
    """Empty, "", NA and null, zeros, line breaks of either kind in a cell; whatever ends the rows and the file."""
    monkeypatch.setattr(physionet, "BLOCK", block)
    path = put(begin + end.join((HEADER, *map("".join, ROWS))) + (end if last else ""), name)
    assert lists(list(physionet.batches(path, COLUMNS, where=SUMMARIES))) == KEPT
    assert lists(whole_table(path, ["ROW_ID"])) == [[str(number)] for number in range(1, 7)]


def test_columns_come_as_asked_for(put: Callable[..., Path]) -> None:
    table = whole_table(put("hadm_id,Seq,icd_code\n1,2,0031\n"), ["ICD_CODE", "HADM_ID"])
    assert table.schema == pa.schema([("ICD_CODE", pa.string()), ("HADM_ID", pa.string())])
    assert table.to_pylist() == [{"ICD_CODE": "0031", "HADM_ID": "1"}]


def test_a_quote_may_begin_the_last_row_of_a_file_without_a_last_line_break(put: Callable[..., Path]) -> None:
    assert lists(whole_table(put('A,B\n"x",5'), ["A", "B"])) == [["x", "5"]]


@pytest.mark.parametrize("content", ["A,B\n", "A,B", "A,B\n\n\r\n"])
def test_a_table_without_rows_is_one(put: Callable[..., Path], content: str) -> None:
    path = put(content)
    assert list(physionet.batches(path, ["B"])) == []
    assert whole_table(path, ["B"]).schema == pa.schema([("B", pa.string())])


@pytest.mark.parametrize("where", [None, ("A", "1")])
def test_rows_keep_their_order_over_many_blocks(
    put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, where: tuple[str, str] | None
) -> None:
    monkeypatch.setattr(physionet, "BLOCK", 1000)
    path = put("A,B\n" + "".join(f'{number % 2},"{number}\n"\n' for number in range(5000)), "T.csv.gz")
    batches = list(physionet.batches(path, ["B"], where=where))
    assert lists(batches) == [[f"{number}\n"] for number in range(5000) if where is None or number % 2]
    assert len(batches) > 30
    assert max(batch.nbytes for batch in batches) < 5000


def test_a_reader_that_is_given_up_waits_for_no_thread(
    put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector may end a reader at any moment; one that then waited for its threads could wait for ever."""
    monkeypatch.setattr(physionet, "BLOCK", 100)
    split, go_on = physionet._quotes, threading.Event()
    monkeypatch.setattr(
        physionet, "_quotes", lambda content: (b"wait" in content and go_on.wait(60), split(content))[1]
    )
    reader = physionet.batches(put("A,B\n" + "1,x\n" * 60 + "2,wait\n"), ["B"])
    next(reader)
    giving_up = threading.Thread(target=cast("Generator[Any]", reader).close, daemon=True)
    giving_up.start()
    giving_up.join(10)
    waits = giving_up.is_alive()
    go_on.set()
    assert not waits


@pytest.mark.slow
def test_a_note_of_20_megabytes_is_read(put: Callable[..., Path]) -> None:
    note = 'said ""no"", and\r\n' * (20_000_000 // 18)
    for name in ("T.csv", "T.csv.gz"):
        found = whole_table(put(f'A,TEXT,B\n1,"{note}",2\n3,"x",4\n', name), ["TEXT", "B"])
        assert found["TEXT"].to_pylist() == [note.replace('""', '"'), "x"]
        assert found["B"].to_pylist() == ["2", "4"]


@pytest.mark.parametrize("name", ["T.csv", "T.csv.gz"])
def test_progress_is_told_in_bytes_of_the_file(
    put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(physionet, "BLOCK", 1 << 14)
    drawn = random.Random(0)  # noqa: S311 - numbers that gzip cannot shrink away
    path = put("A\n" + "".join(f"{drawn.random()}\n" for _ in range(20_000)), name)
    told: list[tuple[str, int, int]] = []
    whole_table(path, ["A"], lambda *step: told.append(step))
    done = [step[1] for step in told]
    assert {(what, total) for what, _, total in told} == {(f"reading {name}", path.stat().st_size)}
    assert done == sorted(done)
    assert done[0] < done[-1] / 2
    assert done[-1] == path.stat().st_size


def test_reading_may_stop_early(put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physionet, "BLOCK", 100)
    batches = physionet.batches(put("A\n" + "12345\n" * 1000), ["A"])
    assert next(batches)["A"][0].as_py() == "12345"
    batches.close()  # type: ignore[attr-defined]


PIECES = ['"', ",", "\n", "\r\n", "\r", " ", "a", "é", "血", "😀", "\0", "\t", "NA"]
CELL = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=8)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=8)),
    st.integers(20, 200),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["T.csv", "T.csv.gz"]),
)
def test_what_the_csv_module_writes_is_read_back(
    put: Callable[..., Path], table: list[list[str]], block: int, quoting: Any, name: str
) -> None:
    width = len(table[0]) if table else 1
    header = [f"column {number}" for number in range(width)]
    written = io.StringIO()
    csv.writer(written, quoting=quoting).writerows([header, *table])
    path = put(written.getvalue(), name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(physionet, "BLOCK", block)
        assert lists(whole_table(path, header)) == table


# --- Damaged tables ----------------------------------------------------------------------------------------------------


def test_what_is_no_table_is_named(put: Callable[..., Path], tmp_path: Path) -> None:
    assert error(tmp_path / "NONE.csv").startswith("NONE.csv is missing;")
    assert "is a directory" in error(tmp_path).lower()
    assert error(put("")).startswith("NOTEEVENTS.csv is empty;")
    assert error(put("\n\n")).startswith("NOTEEVENTS.csv has no header;")
    assert error(put("", "E.csv.gz")).startswith("E.csv.gz has no header;")
    (tmp_path / "N.csv.gz").write_bytes(b"")
    assert error(tmp_path / "N.csv.gz").startswith("N.csv.gz is empty;")
    (tmp_path / "N.csv.gz").write_text(NOTES)
    assert error(tmp_path / "N.csv.gz").startswith(
        "N.csv.gz is not packed with gzip; if it is plain CSV, rename it to N.csv"
    )
    assert error(put(gzip.compress(NOTES.encode()))).endswith("is packed with gzip; rename it to NOTEEVENTS.csv.gz")


def test_a_missing_column_is_named_with_the_nearest(put: Callable[..., Path]) -> None:
    path = put("row_id,hadm,text\n1,2,3\n")
    assert error(path, ["HADM_ID"]).startswith(
        "NOTEEVENTS.csv has no column 'HADM_ID'; did you mean 'hadm'? (known: hadm, row"
    )
    with pytest.raises(DataError, match="no column 'CATEGORY'"):
        list(physionet.batches(path, ["TEXT"], where=SUMMARIES))
    assert "2 columns 'TEXT'" in error(put("TEXT,text\n1,2\n"))


@pytest.mark.slow
@pytest.mark.counted
def test_a_packed_file_that_is_cut_off_is_refused_wherever_the_cut(put: Callable[..., Path], tmp_path: Path) -> None:
    whole = put(NOTES, "N.csv.gz").read_bytes()
    path = tmp_path / "C.csv.gz"
    for length in range(2, len(whole)):
        path.write_bytes(whole[:length])
        assert error(path).startswith("C.csv.gz is cut off or damaged (")


def test_a_packed_file_with_another_checksum_is_refused(put: Callable[..., Path], tmp_path: Path) -> None:
    whole = put(NOTES, "N.csv.gz").read_bytes()
    path = tmp_path / "C.csv.gz"
    path.write_bytes(whole[:-8] + b"four" + whole[-4:])
    assert error(path).startswith("C.csv.gz is cut off or damaged (")
    path.write_bytes(whole + whole)  # of several parts, as bgzip makes them: the second one's header is a row
    assert len(whole_table(path, ["TEXT"])) == 13


@pytest.mark.slow
def test_a_plain_file_that_is_cut_off_is_refused_wherever_that_can_be_seen(
    put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut cannot be seen behind a row, behind the comma before its last cell, and between the two quotes of "" in there."""
    monkeypatch.setattr(physionet, "BLOCK", 200)
    whole = NOTES.encode()
    unseen = {len(HEADER), len(HEADER) + 1}
    for front, note in ROWS:
        begin = max(unseen) + len(front)
        doubled = {begin + 1 + found.start() + 1 for found in re.finditer('""', note[1:-1])}
        unseen |= doubled | {begin, begin + len(note.encode()), begin + len(note.encode()) + 1}
    rows = lists(whole_table(put(whole), ["ROW_ID", "TEXT"]))
    for length in range(len(HEADER), len(whole) + 1):
        path = put(whole[:length])
        if length in unseen:
            found = lists(whole_table(path, ["ROW_ID", "TEXT"]))
            assert found[:-1] == rows[: len(found)][:-1]
            assert all(rows[len(found) - 1][1].startswith(note) for _, note in found[-1:])
        else:
            assert "Admission" not in error(path)


@pytest.mark.slow
def test_a_large_file_that_is_cut_off_is_refused(put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """At random places, against what the csv module makes of the rest."""
    monkeypatch.setattr(physionet, "BLOCK", 10_000)
    drawn = random.Random(1)  # noqa: S311
    written = io.StringIO()
    notes = ["".join(drawn.choices(PIECES[:8], k=drawn.randrange(300))) for _ in range(300)]
    csv.writer(written).writerows([("A", "TEXT", "B"), *((row, note, row * 7919) for row, note in enumerate(notes))])
    outcomes = set()
    for _ in range(120):
        cut = written.getvalue()[: drawn.randrange(20, len(written.getvalue()))]
        try:
            expected = list(csv.reader(io.StringIO(cut, newline=""), strict=True))[1:]
            whole = all(len(row) == 3 for row in expected)
        except csv.Error:
            whole = False
        outcomes.add(whole)
        if whole:
            assert lists(whole_table(put(cut), ["A", "TEXT", "B"])) == expected
        else:
            error(put(cut))
    assert outcomes == {True, False}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('A,TEXT\n1,"x"\n2,"cut off\nhere', "ends inside the quoted text of the row at byte 13: it is cut off"),
        ('A,TEXT\n1,"x"\n2,"', "ends inside the quoted text of the row at byte 13: it is cut off"),
        ('A,TEXT\n1,"x"\n2,"y"\n\n34', "row 3 after the header: 1 cells where the header has 2; is the file cut off?"),
        ("A,TEXT\n1,x,\n", "row 1 after the header: 3 cells where the header has 2"),
        ('A,TEXT\n1,5" long\n2,6" long\n', "the quote at byte 10 neither opens nor closes a cell nor is doubled"),
        ('A,TEXT\n1,"a"b"\n2,"c"\n', "the quote at byte 11 neither opens nor closes a cell nor is doubled"),
        ('A,TEXT\n1,"a\n2,"b"\n3,"c"\n', "the quote at byte 14 neither opens nor closes a cell nor is doubled"),
        ('A,"TEXT\n1,2\n', "header: broken quoting"),
        ("A,TEXT\n1,größe\n".encode("latin-1"), "is not UTF-8 (byte 11)"),
        ("A,TEXT\n1,größe,3\n".encode("latin-1"), "is not UTF-8 (byte 11)"),
        ("größe,TEXT\n1,2\n".encode("latin-1"), "is not UTF-8 (byte 2)"),
        (NOTES.encode("utf-16"), "is not UTF-8 (byte 0)"),
    ],
)
@pytest.mark.parametrize("name", ["T.csv", "T.csv.gz"])
@pytest.mark.parametrize("block", [8, 1 << 22])
def test_broken_rows_are_named_by_their_place(
    put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, content: str | bytes, message: str, name: str, block: int
) -> None:
    monkeypatch.setattr(physionet, "BLOCK", block)
    assert message in error(put(content, name))


def test_errors_show_no_note(put: Callable[..., Path]) -> None:
    assert "secret" not in error(put("A,TEXT\n1,secret,secret\n"))


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(
    put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(physionet, "BLOCK", 1000)
    monkeypatch.setattr(physionet, "LONGEST_ROW", 5000)
    path = put('A,TEXT\n1,"x"\n2,"' + "and so on\n" * 2000)
    assert "the row at byte 13 does not end within 5000 bytes; is a quote not closed?" in error(path)
    assert "the header does not end within 5000 bytes" in error(put("no line break " * 2000))
