"""Users' own files: whatever their layout, encoding and way to write codes, they are read right or refused with what to type."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Call
from corpora import Row, prepared
from pyarrow import parquet

from icdbench.data import datasets
from icdbench.data.source import Raw
from icdbench.data.sources import own, own_columns, own_notes
from icdbench.data.sources.own_settings import OwnSettings
from icdbench.settings import DataError, SpecError
from icdbench.types import Document, quiet

CODES = [("401.9", "250.00"), ("250.00",), ("E11.9", "V30.01", "I10"), (), ("0DTJ4ZZ", "GZHZZZZ", "J18.9")]


def raw_of(path: Path, **changes: object) -> Raw:
    return own.source(path).at(path.parent, own.reading().override(changes, "data")).read(quiet)


def read(path: Path, **changes: object) -> Sequence[Document]:
    return raw_of(path, **changes).documents


def refused(path: Path, **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **changes)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


def table(path: Path, rows: Sequence[Row], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    """A file of quoted cells."""
    lines = [list(rows[0]), *(row.values() for row in rows)]
    quoted = (delimiter.join('"' + str(cell).replace('"', '""') + '"' for cell in line) for line in lines)
    path.write_bytes("".join(f"{line}\n" for line in quoted).encode(encoding))
    return path


def objects(path: Path, rows: Sequence[Row]) -> Path:
    """The rows as the suffix asks, lists as lists."""
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def coded(cells: Sequence[object]) -> list[Row]:
    return [{"id": f"d{number}", "text": f"note {number}", "codes": cell} for number, cell in enumerate(cells)]


def cell_writer(way: str) -> Callable[[Sequence[str]], str]:
    ways: dict[str, Callable[[Sequence[str]], str]] = {
        "json": lambda codes: json.dumps(list(codes)),
        "python": lambda codes: str(list(codes)),
        "tuple": lambda codes: str(tuple(codes)) if codes else "",
        "numpy": lambda codes: "[" + " ".join(f"'{code}'" for code in codes) + "]",
        "postgres": lambda codes: "{" + ",".join(codes) + "}",
    }
    return ways.get(way) or way.join


# --- How cells hold codes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [";", "; ", ",", ", ", "|", " | ", " ", "  ", "\n", "\t", ",\n", "json", "python", "tuple", "numpy", "postgres"])  # fmt: skip
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_codes_are_split_however_they_are_joined(way: str, suffix: str, tmp_path: Path) -> None:
    made = coded(list(map(cell_writer(way), CODES)))
    path = tmp_path / f"notes{suffix}"
    raw = raw_of(table(path, made) if suffix == ".csv" else objects(path, made))
    assert [document.codes for document in raw.documents] == CODES
    assert ("read_as" in raw.facts) == (way.strip() != ";")


@pytest.mark.parametrize(
    ("cells", "shown", "option"),
    [
        (["Diabetes, type 2", "Heart failure"], "'Diabetes, type 2' may be one code or several", ","),
        (["Diabetes|Heart failure", "Sepsis"], "'Diabetes|Heart failure'", "|"),
        (["E11,9", "I10"], "'9' .line 2. does not look like a code", ","),
        (["E11,90", "I10"], "'90' .line 2.", ","),
        (["ICD10|E11.9", "ICD10|I10"], "'ICD10' .line 2.", "|"),
        (["1,2", "3"], "'1' .line 2.", ","),
        (["401.9,250.00", "486;401.9"], "line 2: '401.9,250.00' would be read as one code, but looks like several", ","),
        (["401.9/250.00", "486"], "line 2: '401.9/250.00' would be read as one code", "/"),
        (["401.9 250.00", "see the chart"], "line 2: '401.9 250.00' would be read as one code", "space"),
        (['["401.9"]', "486"], "line 3: codes '486' is not a list", "list"),
        (['["401.9", "250', '["486"]'], "line 2: codes '.\"401.9\", \"250' is not a list", "list"),
    ],
)  # fmt: skip
def test_codes_that_cannot_be_told_apart_are_refused_with_a_preview(
    cells: list[str], shown: str, option: str, tmp_path: Path
) -> None:
    path = table(tmp_path / "notes.csv", coded(cells))
    with pytest.raises(DataError, match=shown) as caught:
        read(path)
    quoted = option if option.isalpha() else f"'{option}'"
    assert f"--set data.code_separator={quoted}" in str(caught.value)


def test_the_separator_that_is_typed_is_the_one_that_is_used(tmp_path: Path) -> None:
    path = table(tmp_path / "notes.csv", coded(["Diabetes, type 2", "Heart failure", "Sepsis"]))
    assert read(path, code_separator=",")[0].codes == ("Diabetes", "type 2")
    assert read(path, code_separator=None)[0].codes == ("Diabetes, type 2",)
    for separator, cell in ((";", "a;b"), ("space", "a b"), ("tab", "a\tb"), ("newline", "a\nb"), ("list", "[a, b]")):
        path = table(tmp_path / "notes.csv", coded([cell, "", ""]))
        assert read(path, code_separator=separator)[0].codes == ("a", "b")
    with pytest.raises(SpecError, match=r"data\.code_separator='comma'.*give the character itself"):
        OwnSettings().override({"code_separator": "comma"}, "data")


def test_titles_with_commas_and_blanks_stay_whole_between_semicolons(tmp_path: Path) -> None:
    path = table(tmp_path / "notes.csv", coded(["Diabetes, type 2;Heart failure", "Sepsis", "Acute pain, left"]))
    assert [document.codes for document in read(path)] == [
        ("Diabetes, type 2", "Heart failure"),
        ("Sepsis",),
        ("Acute pain, left",),
    ]
    path = table(tmp_path / "notes.csv", coded(["Heart failure", "Sepsis", "E11.9 G"]))
    assert [document.codes for document in read(path)] == [("Heart failure",), ("Sepsis",), ("E11.9 G",)]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_an_element_of_a_list_is_one_code_whatever_it_contains(suffix: str, tmp_path: Path) -> None:
    lists = [["Hypertension; essential", "Diabetes"], ["a,b", "401.9 250.00", "[x]"], ["401.9;486", "401.9;486", " "]]
    path = objects(tmp_path / f"notes{suffix}", coded(lists))
    assert [list(document.codes) for document in read(path)] == [lists[0], lists[1], ["401.9;486"]]


def test_a_code_that_may_mean_a_missing_value_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, icdbench: Call
) -> None:
    for number, word in enumerate(["nan", "NULL", "None", "N/A", "-"]):
        path = table(tmp_path / f"notes{number}.csv", coded(["401.9", word, "486;401.9"]))
        raw = raw_of(path)
        assert raw.documents[1].codes == (word,), "it stays a code"
        assert raw.facts["missing_codes"] == f"'{word}' (1 document)"
        assert f"may stand for a missing value are read as codes: '{word}'" in caplog.text
        status, out, _ = icdbench("data", "check", path)
        assert status == 2
        said = f"codes that look like a missing value: 1, such as '{word}'"
        assert out.count("missing value") == out.count(said) == 1


def test_columns_of_texts_and_codes_that_are_swapped_are_refused_without_a_word_of_a_note(tmp_path: Path) -> None:
    for note in ("Secretname has a fever; he was seen", "Secretname has a cough, and was seen in the morning by us"):
        swapped = [{"id": str(number), "text": "401.9;486", "codes": note} for number in range(3)]
        message = refused(table(tmp_path / "notes.csv", swapped))
        assert "look swapped" in message
        assert "Secretname" not in message
    path = table(tmp_path / "notes.csv", coded(["word " * 200, "I10", "I11"]))
    assert "line 2: a code of 999 characters" in refused(path)


# --- Columns -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("ID", "Text", "CODES"), (" id", "text ", " codes "), ("Note ID", "NOTE_TEXT", "ICD-10"), ("NoteID", "TEXT", "icd10"), ("note_id", "text", "labels"), ("hadm_id", "TEXT", "LABELS")])  # fmt: skip
def test_columns_are_recognised_whatever_their_case_and_blanks(names: tuple[str, str, str], tmp_path: Path) -> None:
    made = [dict(zip(names, row.values(), strict=True)) for row in coded(["I10", "I11", "I12"])]
    path = table(tmp_path / "notes.csv", made)
    assert [(document.id, document.codes) for document in read(path)] == [("d0", ("I10",)), ("d1", ("I11",)), ("d2", ("I12",))]  # fmt: skip
    assert f"text={names[1]}" in raw_of(path).facts["read_as"]


def test_no_name_stands_for_two_columns() -> None:
    for one, other in itertools.combinations(own_columns.SYNONYMS, 2):
        assert not own_columns.SYNONYMS[one] & {*own_columns.SYNONYMS[other], other}
    for names in own_columns.SYNONYMS.values():
        assert all(own_columns.folded(name) == name for name in names)


def test_a_header_with_blanks_after_its_commas(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text('id, text, codes\nd0, "cough, fever", I10\nd1,pain,I11\nd2,ache, I12\n', encoding="utf-8")
    assert [(d.id, d.text, d.codes) for d in read(path)] == [
        ("d0", "cough, fever", ("I10",)),
        ("d1", "pain", ("I11",)),
        ("d2", "ache", ("I12",)),
    ]


def test_columns_that_could_be_several_are_refused_and_can_be_named(tmp_path: Path) -> None:
    made = [{"hadm_id": str(n), "note_id": f"n{n}", "text": "a", "icd9": "486", "icd10": "I10"} for n in range(3)]
    path = table(tmp_path / "notes.csv", made)
    assert "columns 'icd9', 'icd10' could each be 'codes'; choose with --column codes='icd9'" in refused(path)
    assert "--column id='hadm_id', or --column id= for none" in refused(path, columns="codes=icd10")
    assert [d.id for d in read(path, columns="codes=icd10,id=note_id")] == ["n0", "n1", "n2"]
    with pytest.raises(SpecError, match=r"a column can hold id, text, codes, split, group"):
        read(path, columns="code=icd10")


def test_unknown_columns_are_asked_for_by_the_option_that_names_them(tmp_path: Path) -> None:
    made = [{"id": str(n), "Befund, Text": "a b", "codes": "I10"} for n in range(3)]
    path = table(tmp_path / "notes.csv", made)
    message = refused(path)
    assert "no column 'text'" in message
    assert "--column text=NAME" in message
    assert read(path, columns="codes=codes,text=Befund, Text")[0].text == "a b"
    assert "no column 'Befunde'; did you mean" in refused(table(tmp_path / "n.csv", [{"Befund": "a", "codes": "b"}]), columns="text=Befunde")  # fmt: skip


@pytest.mark.parametrize(
    "content", ["Secretname;a fever;I10\n1;b;I11\n", "Nr,Secretname\n1,b\n", '{"Secretname": "b"}\n']
)
def test_names_are_not_shown_where_none_of_them_is_known(content: str, tmp_path: Path) -> None:
    path = tmp_path / ("notes.jsonl" if content.startswith("{") else "notes.csv")
    path.write_text(content, encoding="utf-8")
    message = refused(path)
    assert "Secretname" not in message
    assert "--column text=NAME" in message or "no column 'text'" in message


# --- Formats and encodings -----------------------------------------------------------------------------------------------

NOTES = [
    {"id": "1", "text": "fièvre, élevée; «toux»", "codes": "I10"},
    {"id": "2", "text": 'a "word"\nand a line\tmore', "codes": "E11.9"},
    {"id": "3", "text": "plain", "codes": "J18.9"},
]
EXPECTED = [(row["id"], row["text"], (row["codes"],)) for row in NOTES]
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "windows-1252", "latin-1", "mac-roman")


def found(path: Path, **changes: object) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(document.id, document.text, document.codes) for document in read(path, **changes)]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz"])
def test_delimited_files(suffix: str, delimiter: str, encoding: str, tmp_path: Path) -> None:
    path = table(tmp_path / f"notes{suffix}", NOTES, delimiter, encoding)
    if suffix.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    _with_and_without_its_encoding(path, encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".ndjson", ".jsonl.gz"])
def test_json_files(suffix: str, encoding: str, tmp_path: Path) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in NOTES]
    text = "[\n" + ",\n".join(lines) + "\n]\n" if suffix == ".json" else "\n".join(lines)
    content = text.encode(encoding)
    path = tmp_path / f"notes{suffix}"
    path.write_bytes(gzip.compress(content, mtime=0) if suffix.endswith(".gz") else content)
    _with_and_without_its_encoding(path, encoding)


def _with_and_without_its_encoding(path: Path, encoding: str) -> None:
    assert found(path, encoding=encoding) == EXPECTED
    if encoding in {"utf-8", "utf-8-sig", "utf-16"}:
        assert found(path) == EXPECTED
    else:
        message = refused(path)
        assert "is not UTF-8" in message
        assert f"--encoding {encoding if 'utf' in encoding else 'windows-1252'}" in message


def test_what_excel_writes_before_the_header(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_bytes(b"\xef\xbb\xbfsep=;\r\nid;text;codes\r\n1;a;I10\r\n2;b;\r\n3;;I10\r\n")
    assert "line 5: 'text' is empty" in refused(path)


def test_an_encoding_that_cannot_be_right_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "notes.csv", NOTES)
    assert "is UTF-8, not windows-1252; leave --encoding out" in refused(path, encoding="cp1252")
    path = table(tmp_path / "notes.csv", [{**NOTES[0], "text": "“fièvre”"}], encoding="cp1252")
    assert "use --encoding windows-1252" in refused(path, encoding="latin-1")
    path = table(tmp_path / "notes.csv", [{**NOTES[0], "text": "лихорадка"}], encoding="cp1251")
    assert "--encoding windows-1251 (Cyrillic)" in refused(path)
    assert "is not ascii" in refused(path, encoding="ascii")
    for name in ("latin9x", "base64", "rot13"):
        with pytest.raises(SpecError, match=r"data\.encoding=.*no such encoding"):
            read(path, encoding=name)
    assert OwnSettings().override({"encoding": "ISO-8859-1"}, "data") == OwnSettings().override(
        {"encoding": "l1"}, "data"
    )


def archive(name: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr(name, "x")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive("xl/workbook.xml"), "is an Excel workbook; save it as 'CSV UTF-8'"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is an Excel workbook"),
        (archive("content.xml"), "is an OpenDocument file"),
        (archive("word/document.xml"), "is a Word document"),
        (archive("notes.csv"), "is a ZIP archive; unpack it"),
        (b"PK\x03\x04cut off", "is a ZIP archive"),
        (b"%PDF-1.7", "is a PDF"),
        (b"<html><table><tr>", "is an HTML or XML page"),
        (b"ARROW1\0\0", "is an Arrow"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (b"BZh91AY", "bzip2"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (gzip.compress(b"id,text,codes\n1,a,I10\n" * 999, mtime=0)[:-20], "damaged, or was cut off"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["notes.csv", "notes.xlsx", "notes.jsonl", "notes.csv.gz", "notes.parquet"])
def test_what_is_no_table_is_told_apart_by_its_content(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert datasets.open(str(path)).check() == [refused(path)]
    assert message in refused(path)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "notes.csv")
    assert "is a pipe or a device" in refused(tmp_path / "notes.csv")


def test_the_files_content_says_that_it_is_parquet(tmp_path: Path) -> None:
    made = objects(tmp_path / "notes.parquet", coded([["I10"], ["I11"], ["I12"]]))
    other = tmp_path / "notes.csv"
    other.write_bytes(made.read_bytes())
    assert found(other) == found(made)


# --- Unicode -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_ids_codes_and_texts_are_composed(suffix: str, tmp_path: Path) -> None:
    made = [{"id": f"é{n}", "text": "dolor e infección", "codes": f"í{n}"} for n in range(3)]
    plain = {form: [{key: unicodedata.normalize(form, cell) for key, cell in row.items()} for row in made] for form in ("NFC", "NFD")}  # fmt: skip
    write = table if suffix == ".csv" else objects
    one, other = (found(write(tmp_path / f"{form}{suffix}", rows)) for form, rows in plain.items())
    assert one == other == [(row["id"], row["text"], (row["codes"],)) for row in plain["NFC"]]
    vocabularies = [prepared(tmp_path / f"{form}{suffix}", min_documents=1).vocabulary for form in plain]
    assert vocabularies[0] == vocabularies[1]


@pytest.mark.parametrize("column", ["id", "text", "codes"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_half_a_character_is_refused_with_its_place(suffix: str, column: str, tmp_path: Path) -> None:
    made: list[Row] = [{"id": f"d{n}", "text": "fièvre élevée", "codes": "I10"} for n in range(4)]
    made[2][column] += "\ud83d"
    path = tmp_path / f"notes{suffix}"
    if suffix == ".csv":
        lines = [",".join(row.values()) for row in ({key: key for key in made[0]}, *made)]
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    elif suffix == ".parquet":
        arrays = {
            name: pa.array([row[name].encode("utf-8", "surrogatepass") for row in made]).cast(pa.string(), safe=False)
            for name in made[0]
        }
        parquet.write_table(pa.table(arrays), path)
    else:
        objects(path, made)
    message = refused(path)
    place = {".jsonl": "line 3", ".json": "line 12", ".csv": "line 4", ".parquet": "row 3"}[suffix]
    assert f", {place}: '{column}' " in message
    assert [document.id for document in read(path, skip_bad=True)] == ["d0", "d1", "d3"]


# --- Rows ----------------------------------------------------------------------------------------------------------------


def test_the_list_of_rows_left_out_lies_in_a_private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICDBENCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "notes.csv"
    path.write_text("id,text,codes\n1,,I10\n" + "".join(f"{n},a note,I10\n" for n in range(2, 8)))
    read(path, skip_bad=True)
    folders = tmp_path / "cache", tmp_path / "cache" / "left-out"
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700, 0o700]


def test_many_bad_rows_are_counted_and_can_be_left_out(
    tmp_path: Path, icdbench: Call, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["id,text,codes", *(f"{n},a note,I1{n % 3}" for n in range(20))]
    lines[3], lines[5], lines[8], lines[9] = "2,,I10", "4,Secretname, and more,I10", ",c,I10", "8,d"
    path = tmp_path / "notes.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    message = refused(path)
    assert "notes.csv: 4 of 20 rows cannot be read: line 4: 'text' is empty; line 6: 4 fields where" in message
    assert "; line 9: 'id' is empty; and 1 more; mend them, or leave them out with --skip-bad" in message
    status, out, _ = icdbench("data", "describe", path, "--skip-bad", "--set", "data.min_documents=1")
    assert status == 0
    assert "rows left out: 4 of 20" in out
    assert "notes.csv: 4 of 20 rows left out" in caplog.text
    listed = Path(caplog.text.partition("left out; ")[2].partition(" lists them")[0]).read_text(encoding="utf-8")
    assert [line.partition(",")[0] for line in listed.splitlines()] == ["row", "line 4", "line 6", "line 9", "line 10"]
    assert "Secretname" not in listed + message
    status, out, _ = icdbench("data", "check", path, "--skip-bad")
    assert (status, out.startswith(f"{path}: 4 of 20 rows left out\n")) == (2, True)
    assert icdbench("data", "clear", "notes.csv")[1].startswith("2 entries")
    path.write_text("id,text,codes\n1,,A\n2,,B\n", encoding="utf-8")
    assert "all 2 rows cannot be read: line 2, line 3: 'text' is empty" in refused(path, skip_bad=True)


def test_rows_of_one_note_are_one_document(tmp_path: Path) -> None:
    made = [{"id": id_, "text": f"note {id_}", "codes": code} for id_, code in (("1", "I10"), ("2", "I11"), ("1", "I12"), ("1", "I10"), ("3", ""))]  # fmt: skip
    raw = raw_of(table(tmp_path / "notes.csv", made))
    assert [(d.id, d.codes) for d in raw.documents] == [("1", ("I10", "I12")), ("2", ("I11",)), ("3", ())]
    assert raw.facts["rows_merged"] == "5 rows are 3 documents"
    for column, value in (("text", "another"), ("split", "test"), ("group", "p2")):
        given = [{**row, "split": "train", "group": "p1"} for row in made]
        given[2][column] = value
        message = refused(table(tmp_path / "notes.csv", given))
        assert f"line 4: id '1' occurs 3 times, with another {column} than in line 2" in message
        assert "another" not in message.replace("another text", "").replace(f"another {column}", "").replace("another column", "")  # fmt: skip


def test_ids_that_are_made_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    made = [{"text": f"note {n % 7}", "codes": f"I1{n % 7};I20"} for n in range(20)]
    raw = raw_of(table(tmp_path / "notes.csv", made))
    ids = {document.id for document in raw.documents}
    assert len(ids) == 20
    assert "ids made from the rows" in raw.facts["read_as"]
    again = read(table(tmp_path / "notes.csv", made[::-1]))
    assert {d.id: d.split for d in again} == {d.id: d.split for d in raw.documents}
    made = [{"text": "note", "codes": code} for code in ("I10", "I11", "I12")]
    assert "line 3: its text is that of line 2, with another code" in refused(table(tmp_path / "notes.csv", made))


@pytest.mark.parametrize("name", ["group", "patient_id", "Subject ID", "MRN"])
def test_the_seeded_split_keeps_groups_together(name: str, tmp_path: Path) -> None:
    made = [{"id": f"{n:03}", "text": "a note", "codes": "I10", name: f"p{n * n % 37}"} for n in range(300)]
    raw = raw_of(table(tmp_path / "notes.csv", made), split_seed=3)
    groups: dict[str, set[str]] = {}
    for document in raw.documents:
        groups.setdefault(document.group, set()).add(document.split)
    assert all(len(splits) == 1 for splits in groups.values())
    sizes = Counter(document.split for document in raw.documents)
    assert all(30 <= sizes[split] <= 30 + 20 for split in ("validation", "test"))
    assert raw.facts["split"] == "80/10/10 by groups, seed 3"
    again = read(table(tmp_path / "notes.csv", made[::-1]), split_seed=3)
    assert {d.id: d.split for d in again} == {d.id: d.split for d in raw.documents}
    assert all(not d.group for d in read(tmp_path / "notes.csv", columns="group="))


def test_the_seeded_split_of_unequal_groups_leaves_none_empty(tmp_path: Path) -> None:
    for sizes in itertools.permutations((1, 1, 1, 97)):
        units = [(f"p{group}", "") for group, size in enumerate(sizes) for _ in range(size)]
        for seed in range(5):
            assert set(own_notes.seeded_split(tmp_path, units, seed)) == {"train", "validation", "test"}
    made = [{"id": str(n), "text": "a note", "codes": "I10", "group": f"p{n % 2}"} for n in range(30)]
    assert "too few groups (2)" in refused(table(tmp_path / "notes.csv", made))


# --- As a user ------------------------------------------------------------------------------------------------------------


def test_what_is_read_otherwise_is_another_run(tmp_path: Path) -> None:
    changes = ({"columns": "id=id"}, {"encoding": "utf-8"}, {"code_separator": ";"}, {"code_separator": None}, {"skip_bad": True})  # fmt: skip
    specs = [OwnSettings(), *(OwnSettings().override(change, "data") for change in changes)]
    assert len(set(specs)) == len(specs)
    path = table(tmp_path / "notes.csv", coded(["I10,I11", "I12", "I12,I10"] * 10))
    keys = {prepared(path, min_documents=1, **change).key for change in ({}, *changes)}
    assert len(keys) == len(specs)
    assert OwnSettings().override({"columns": "text=a,id=b"}, "data") == OwnSettings().override({"columns": "id=b, text=a"}, "data")  # fmt: skip


def test_options_have_no_meaning_for_other_data(icdbench: Call) -> None:
    for words in (("--encoding", "latin-1"), ("--column", "text=x"), ("--skip-bad",)):
        status, _, err = icdbench("data", "check", "demo", *words)
        assert status == 2
        assert "has no meaning for data set 'demo'" in err


def test_as_a_hospital_would(icdbench: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Exported from Excel: semicolons, Windows-1252, line ends of two characters, codes joined by commas."""
    words = {"I10": "Hypertonie für Jahre", "E11.9": "Diabetes, diätetisch geführt", "J18.9": "Husten – übel"}
    lines = ["NoteID;Text;ICD10"]
    for number in range(90):
        codes = [code for place, code in enumerate(words) if (number + 1) >> place & 1] or ["I10"]
        lines.append(f'{1000 + number};"Patient, {"; ".join(words[code] for code in codes)}";{",".join(codes)}')
    path = tmp_path / "export.csv"
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode("cp1252"))
    status, out, _ = icdbench("data", "check", path)
    assert status == 2
    assert "--encoding windows-1252" in out
    option = ("--encoding", "windows-1252")
    said = (
        "export.csv: semicolon-separated, windows-1252, codes joined by ','; columns id=NoteID, text=Text, codes=ICD10"
    )
    status, out, _ = icdbench("data", "describe", path, *option)
    assert (status, caplog.messages) == (0, [said])
    assert f"read as: {said.removeprefix('export.csv: ')}" in out
    status, out, _ = icdbench("run", "--models", "lr", "--dataset", path, *option)
    assert status == 0
    assert "L = 3 codes" in out
    assert f"Own file; read as: {said.removeprefix('export.csv: ')}." in out
    (record,) = tmp_path.glob("results/export.csv/lr/*/record.json")
    status, out, _ = icdbench("predict", path, "--run", record.parent, *option, "--format", "csv", "--top", "1")
    assert status == 0
    assert "semicolon-separated, windows-1252; columns id=NoteID, text=Text" in caplog.messages[-1]
    assert len(out.splitlines()) == 91
    assert icdbench("predict", path, "--run", record.parent)[0] == 2


# --- What a reader of the first version met ------------------------------------------------------------------------------


def test_explain_takes_the_options_that_its_messages_name(icdbench: Call, tmp_path: Path) -> None:
    rows = [("fièvre", "R50.9"), ("œdème", "R60.9"), ("diabète", "E11.9")]
    lines = [
        "Nr.;Text des Befunds;ICD10",
        *(f"{n};le patient {n} a {rows[n % 3][0]};{rows[n % 3][1]}" for n in range(40)),
    ]
    (tmp_path / "notes.csv").write_bytes("\r\n".join(lines).encode("cp1252"))
    words = ("--encoding", "cp1252", "--column", "text=Text des Befunds", "--column", "id=Nr.")
    status, _, err = icdbench(
        "run", "--models", "lr", "--dataset", "notes.csv", *words, "--set", "data.min_documents=1"
    )
    assert status == 0, err
    (folder,) = (tmp_path / "results" / "notes.csv" / "lr").iterdir()
    (tmp_path / "note.txt").write_bytes("le patient a fièvre".encode("cp1252"))
    (tmp_path / "one.csv").write_bytes("\r\n".join(lines[:2]).encode("cp1252"))
    status, _, err = icdbench("explain", "note.txt", "--run", folder)
    assert (status, "--encoding windows-1252" in err) == (2, True)
    status, out, err = icdbench("explain", "note.txt", "--run", folder, "--encoding", "windows-1252")
    assert (status, "fièvre" in out) == (0, True), err
    status, out, err = icdbench("explain", "one.csv", "--run", folder, *words[:4])
    assert (status, "fièvre" in out) == (0, True), err


def test_rows_of_blank_cells_are_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text(
        "id;text;codes\n" + ";;\n".join(f"{n};note {n};I10\n" for n in range(5)) + ";;\n ; \n", encoding="utf-8"
    )
    assert len(raw_of(path).documents) == 5


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text(
        "id,text,codes,PatNr\n" + "".join(f"{n},note {n},I10,{n % 2}\n" for n in range(5)), encoding="utf-8"
    )
    read_as = raw_of(path).facts["read_as"]
    assert "columns not read: 'PatNr' (--column group=NAME, if one names patients)" in str(read_as)


@pytest.mark.parametrize("absent", ["train", "validation", "test"])
def test_a_column_without_some_split_says_what_to_type(tmp_path: Path, absent: str) -> None:
    path = tmp_path / "notes.csv"
    splits = [split for split in ("train", "validation", "test") if split != absent]
    path.write_text(
        "id,text,codes,split\n" + "".join(f"{n},note {n},I10,{splits[n % 2]}\n" for n in range(6)), encoding="utf-8"
    )
    message = refused(path)
    assert f"no {absent} documents in the column of splits" in message
    assert "--column split=" in message


@pytest.mark.parametrize("text", ["fi\ufffdvre", "fi\u00c3\u00a8vre", "l\u00e2\u20ac\u2122ost\u00e9o"])
def test_characters_of_a_wrong_encoding_are_found(icdbench: Call, tmp_path: Path, text: str) -> None:
    lines = [
        "id,text,codes",
        *(f"{n},note {n} {text if n == 3 else 'word'} {'abcdefghij'[n % 10]} more,I10" for n in range(12)),
    ]
    (tmp_path / "notes.csv").write_text("\n".join(lines), encoding="utf-8")
    status, out, _ = icdbench("data", "check", "notes.csv")
    assert status == 2
    assert "characters of a wrong encoding" in out
