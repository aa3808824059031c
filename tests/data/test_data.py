"""Where documents come from: every registered source, the user's own files, CodiEsp with its known counts."""

from __future__ import annotations

import errno
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from codiesp import small as small_codiesp
from corpora import Row, prepared, rows, same, tree, words, write
from mimic import SUMMARY, Mimic3, small4, write_mdace, write_nguyen, write_splits
from places import SHARED
from pyarrow import parquet

from icdbench.codes.icd10 import icd10cm_titles
from icdbench.data import datasets
from icdbench.data.source import Raw
from icdbench.data.sources import codiesp, codiesp_files, own, own_tables
from icdbench.settings import DataError, SpecError
from icdbench.spec import FORMER_OPTIONS, DataSpec
from icdbench.synthetic import MARKER
from icdbench.types import SPLITS, UNKNOWN, Corpus, Document, quiet

REAL = SHARED / "data" / "codiesp"
SOURCES = sorted(datasets.scan())
FORMATS = (".csv", ".jsonl", ".parquet")

# --- A small CodiEsp -----------------------------------------------------------------------------------------------------

TINY = {"min_documents": 1, "top_codes": 2}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return small_codiesp(tmp_path / "raw")


@pytest.fixture
def every(small: Path) -> Path:
    """The same, with MIMIC-III, MIMIC-IV and synthetic tables of twelve admissions beside it."""
    parts = [*(("train", i) for i in range(1, 9)), ("val", 9), ("val", 10), ("test", 11), ("test", 12)]
    rows = [(admission, part) for part, admission in parts]
    tables = Mimic3()
    for admission, _ in rows:
        tables.notes.append((admission, admission, SUMMARY, f"the patient {'x' * admission} 500 mg"))
        tables.diagnoses += [(admission, admission, code) for code in ("4019", "4019", "486")]
        tables.procedures.append((admission, admission, "0066"))
    for size in ("full", "50"):
        for part, name in (("train", "train"), ("val", "dev"), ("test", "test")):
            tables.lists[f"{name}_{size}"] = [admission for admission, of in rows if of == part]
    for place in ("mimic3", "synth"):
        tables.write(small / place)
    (small / "synth" / MARKER).write_text("{}")
    write_splits(small / "mimic3" / "mimiciii_clean_splits.feather", rows)
    later = small4()
    later.diagnoses += [(admission, "486", 9) for admission, _ in rows]
    later.write(small)
    split = {"train": [*range(1, 9)], "val": [9, 10], "test": [11, 12]}
    for version, codes in (("9", ("401.9", "486")), ("10", ("I10", "E11.9"))):
        marked = [(0, 3, codes[0], f"ICD-{version}-CM"), (4, 11, codes[1], f"ICD-{version}-CM")]
        charts = {admission: [(row, SUMMARY, marked)] for row, (admission, _) in enumerate(rows)}
        write_mdace(small, charts, split, version=version)
        write_nguyen(small, version, **tables.lists)
        write_splits(small / "mimic4_splits" / f"mimiciv_icd{version}_split.feather", rows)
    return small


@pytest.fixture
def sealed(small: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, with checksums that say it is version 1.4."""
    place = small / codiesp_files.FOLDER
    monkeypatch.setattr(
        codiesp_files, "CHECKSUMS", {name: codiesp_files._digest(place / name) for name in codiesp_files.CHECKSUMS}
    )
    return small


def read(path: Path, **changes: object) -> Raw:
    """What is read of a user's own file."""
    return own.source(path).at(path.parent, own.source(path).settings(changes)).read(quiet)


# --- Every source --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_says_what_it_is_and_which_settings_it_heeds(name: str) -> None:
    origin = datasets.source(name)
    assert origin.name == name
    assert origin.about
    defaults = origin.settings()
    assert isinstance(defaults, DataSpec)
    others = {"language": "es", "split_seed": 1, "code_system": "icd9cm", "categories": True, "drop_overlap": True}
    for field, value in others.items():
        if field in type(defaults).model_fields:
            assert getattr(origin.settings({field: value}), field) == value
        else:
            with pytest.raises(SpecError, match=rf"data\.{field} has no meaning for data set '{name}'"):
                origin.settings({field: value})
            assert origin.settings({field: FORMER_OPTIONS[field]}) == defaults


@pytest.mark.parametrize("name", SOURCES)
def test_absent_data_are_one_line_that_says_what_to_do(name: str, tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    root.mkdir()
    opened = datasets.open(name, root)
    problems = opened.check()
    if not problems:  # packaged
        assert all(path.is_file() for path in opened.files())
        return
    with pytest.raises(DataError, match=f"not in '{root}'|no synthetic tables in '{root}'") as caught:
        prepared(name, root)
    assert "\n" not in str(caught.value)
    assert re.search(r"icdbench data (get|make)|physionet\.org|PhysioNet", str(caught.value))
    assert problems == [str(caught.value)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_encoded_alike_and_its_raw_folder_is_not_written_to(
    name: str, every: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = datasets.open(name, every, TINY)
    paths = opened.files()
    assert all(path.is_file() for path in paths)
    before = tree(every)
    for folder in [every, *(path for path in every.rglob("*") if path.is_dir())]:
        folder.chmod(0o555)
    corpus = opened.corpus()
    for folder in [every, *(path for path in every.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    assert tree(every) == before

    vocabulary = corpus.vocabulary
    assert vocabulary.tokens[:2] == ("<padding>", "<unknown>")
    assert list(vocabulary.tokens[2:]) == sorted(set(vocabulary.tokens[2:]))
    assert list(vocabulary.codes) == sorted(set(vocabulary.codes))
    assert len(corpus.descriptions) == len(vocabulary.codes) == TINY["top_codes"]
    assert all(title.max(initial=0) < len(vocabulary.tokens) for title in corpus.descriptions)
    ids = [id_ for split in SPLITS for id_ in corpus.splits[split].ids]
    assert len(ids) == len(set(ids))
    for part in (*corpus.splits.values(), corpus.background):
        assert (np.diff(part.token_offsets) > 0).all(), "a document without tokens cannot be read"
        assert part.tokens.min(initial=UNKNOWN) >= UNKNOWN, "padding is not a word"
        assert part.tokens.max(initial=0) < len(vocabulary.tokens)
    for split in SPLITS:
        part = corpus.splits[split]
        assert len(part) == len(part.ids) == len(part.unseen) == len(part.code_offsets) - 1 > 0
        labels = part.labels()
        assert labels.max() <= 1, "a code counts once"
    assert corpus.splits["train"].labels().sum(0).min() > 0, "every code is seen in training"
    assert corpus.splits["train"].unseen.sum() == 0
    assert corpus.synthetic == opened.synthetic

    monkeypatch.setenv("ICDBENCH_CACHE", str(tmp_path / "other"))
    assert same(corpus, opened.corpus()), "the same input must be encoded the same"


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"no data set 'codiesp-d5'; did you mean 'codiesp-d50'\?.*\.csv"):
        datasets.source("codiesp-d5")
    with pytest.raises(SpecError, match=r"must be one of \.csv, \.tsv, .*; 'a/b\.txt' is not"):
        datasets.source("a/b.txt")
    with pytest.raises(SpecError, match=r"'data' has no field 'langage'; did you mean 'language'"):
        datasets.source("codiesp-d").settings({"langage": "es"})


def test_the_data_folder_is_the_given_one_else_the_environments_else_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert datasets.data_root(None) == Path("data")
    monkeypatch.setenv("ICDBENCH_DATA", "/elsewhere")
    assert datasets.data_root(None) == Path("/elsewhere")
    assert datasets.data_root(Path("given")) == Path("given")


# --- A user's own file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_own_cells_are_read_as_they_stand(suffix: str, tmp_path: Path) -> None:
    listed = (lambda *found: ";".join(found)) if suffix == ".csv" else (lambda *found: list(found))
    made: list[Row] = [
        {"id": "007", "text": 'null, "NA"\nnan', "codes": listed("038.9", "0389", "250.00"), "split": "train"},
        {"id": "7", "text": "None\0x \u2028 é", "codes": listed(" V30.01 ", "", "038.9", "V30.01"), "split": " Train "},
        {"id": "7.0", "text": "NA", "codes": listed("null", "NA", "nan"), "split": "dev"},
        {"id": "null", "text": "x" * 200_000, "codes": listed("", ""), "split": "val"},
        {"id": "NA", "text": "a;b", "codes": listed("1;;2;"), "split": "TEST"},
    ]
    documents = read(write(tmp_path / f"notes{suffix}", made)).documents
    assert [document.text for document in documents] == [row["text"] for row in made]
    assert [document.id for document in documents] == ["007", "7", "7.0", "null", "NA"]
    assert [document.codes for document in documents] == [
        ("038.9", "0389", "250.00"),
        ("V30.01", "038.9"),
        ("null", "NA", "nan"),
        (),
        ("1", "2") if suffix == ".csv" else ("1;;2;",),
    ]
    assert [document.split for document in documents] == ["train", "train", "validation", "validation", "test"]


def test_json_numbers_keep_their_digits_and_missing_values_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text(
        '\ufeff{"id": 10000000000000000001, "text": "a", "codes": 250.00, "more": [1]}\n\n'
        '{"id": 2, "text": "b", "codes": [38.10, "9", null, 486]}\r\n'
        '{"id": "3", "text": "c", "codes": null}\n{"id": 4, "text": "d", "codes": NaN}',
        encoding="utf-8",
    )
    documents = read(path).documents
    assert [document.id for document in documents] == ["10000000000000000001", "2", "3", "4"]
    assert [document.codes for document in documents] == [("250.00",), ("38.10", "9", "486"), (), ()]


def test_parquet_ids_may_be_whole_numbers(tmp_path: Path) -> None:
    made = [{**row, "id": number} for number, row in enumerate(rows(3), start=2**60)]
    documents = read(write(tmp_path / "notes.parquet", made)).documents
    assert [document.id for document in documents] == [str(2**60 + i) for i in range(3)]


@pytest.mark.parametrize("text", ["\ufeffid,text,codes\r\n1,a,A\r\n\r\n2,b,B\r\n3,c,C", 'id,text,codes,x\n1,"a",A,\n2,b,B,\n3,c,C,'])  # fmt: skip
def test_what_spreadsheets_write_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_bytes(text.encode())
    documents = read(path).documents
    assert [(document.id, document.text, document.codes) for document in documents] == [
        ("1", "a", ("A",)),
        ("2", "b", ("B",)),
        ("3", "c", ("C",)),
    ]


HEAD = b"id,text,codes\n"
GOOD = b'{"id": "1", "text": "a", "codes": "A"}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", "x.csv is empty"),
        ("x.csv", HEAD, "x.csv has no rows"),
        ("x.csv", HEAD + b"1,a\xff,A\n", "line 2 is not UTF-8"),
        ("x.csv", HEAD + b"1,a,A\n" * 3000 + b"1,\xe9,A\n", "line 3002 is not UTF-8"),
        ("x.csv", "id,text,codes\n1,a,A\n".encode("utf-16-le"), "line 1 is not UTF-8.*probably UTF-16"),
        ("x.csv", b"\0" * 50, "line 1 does not look like a header"),
        ("x.csv", b"id,txt,codes\n1,a,A\n", "no column 'text'; did you mean 'txt'"),
        ("x.csv", b"id,text,codes,text\n1,a,A,b\n", "column 'text' occurs 2 times"),
        ("x.csv", HEAD + b"1,a,A\n2,b", "line 3: 2 fields where the header has 3; is the file cut off"),
        ("x.csv", HEAD + b"1,a, b,A\n", "line 2: 4 fields where the header has 3.*commas"),
        ("x.csv", HEAD + b'1,a,A\n2,"b,B\n3,c,C\n', "row from line 3 on: broken quoting"),
        ("x.csv", HEAD + b'1,"a,A\n2,"b",B\n', "row from line 2 on: broken quoting"),
        ("x.csv", HEAD + b'1,"a\n\nb",A\n2, ,B\n', "line 5: 'text' is empty"),
        ("x.csv", HEAD + b",a,A\n", "line 2: 'id' is empty"),
        ("x.csv", HEAD + b"1,a,A\n2,b,B\n3,c,C\n2,d,D\n", "id '2' occurs 2 times"),
        ("x.csv", HEAD + b"1,a,A\n2,b,B\n", r"too few documents \(2\)"),
        ("x.csv", HEAD + b"1,a,;;\n2,b,\n3,c, \n", "no train document of data set 'x.csv' has a code"),
        ("x.csv", b"id,text,codes,split\n1,a,A,train\n2,b,B,tset\n", "line 3: split 'tset'; did you mean 'test'"),
        ("x.csv", b"id,text,codes,split\n1,a,A,train\n2,b,B,\n", "line 3: split ''"),
        ("x.csv", b"id,text,codes,split\n1,a,A,train\n2,b,B,test\n", "x.csv: no validation documents in the column of splits"),
        ("x.jsonl", b"", "x.jsonl has no rows"),
        ("x.jsonl", GOOD + b'{"id": "2", "text": "b", "co', "line 2: not JSON .Unterminated string"),
        ("x.jsonl", b'[{"id": "1"}]\n', "line 1: no column 'text'"),
        ("x.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("x.jsonl", b'{"id": 0389, "text": "a", "codes": "A"}\n', "line 1: not JSON"),
        ("x.jsonl", GOOD + b'{"id": "2", "text": "\xff", "codes": "A"}\n', "line 2 is not UTF-8"),
        ("x.jsonl", GOOD + b'{"id": "2", "text": "b", "code": "A"}\n', "line 2: no column 'codes'; did you mean 'code'"),
        ("x.jsonl", b'{"id": "1", "text": ["a"], "codes": "A"}\n', "line 1: 'text' must be text, not list"),
        ("x.jsonl", b'{"id": true, "text": "a", "codes": "A"}\n', "line 1: 'id' must be text, not bool"),
        ("x.jsonl", b'{"id": "1", "text": "a", "codes": {"A": 1}}\n', "'codes' must be text, not dict"),
        ("x.jsonl", b'{"id": "1", "text": null, "codes": "A"}\n', "line 1: 'text' is empty"),
        ("x.jsonl", GOOD + b'{"id": "2", "text": "b", "codes": "A", "split": "test"}\n', "line 1: split ''"),
        ("x.parquet", b"", "x.parquet cannot be read as Parquet"),
        ("x.parquet", b"PAR1 and nothing else PAR1", "x.parquet cannot be read as Parquet"),
    ],
)  # fmt: skip
def test_a_damaged_own_file_is_one_line_that_names_the_place(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        prepared(path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert datasets.open(str(path)).check() == [str(caught.value)]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("codes", 38.9, "'codes' must be text, not float .*lose their zeros"),
        ("codes", [389], "'codes' must be text, not int .*lose their zeros"),
        ("id", 1.0, "'id' must be text, not float"),
        ("text", b"bytes", "'text' must be text, not bytes"),
        ("text", None, "'text' is empty"),
    ],
)
def test_a_parquet_column_of_another_type_is_refused(column: str, value: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [{**row, column: value} for row in rows(3)])
    with pytest.raises(DataError, match=f"x.parquet: all 3 rows .* row 1, row 2, row 3: {message}"):
        read(path)


def test_a_parquet_file_cut_anywhere_or_with_bad_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", rows(30))
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"x\.parquet cannot be read as Parquet"):
            read(path)
    table = pa.table({"id": ["1"], "codes": ["A"], "text": pa.array([b"\xff"]).cast(pa.string(), safe=False)})
    parquet.write_table(table, path)
    with pytest.raises(DataError, match=r"x\.parquet, row 1: 'text' is not UTF-8"):
        read(path)


def test_a_folder_or_a_missing_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv is a folder"):
        prepared(tmp_path / "folder.csv")
    write(tmp_path / "notes.csv", rows(3))
    with pytest.raises(DataError, match=r"note\.csv does not exist; did you mean 'notes\.csv'"):
        prepared(tmp_path / "note.csv")
    with pytest.raises(DataError, match=r"nowhere/note\.csv does not exist$"):
        prepared(tmp_path / "nowhere" / "note.csv")
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        prepared(tmp_path / ("x" * 300 + ".csv"))


def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "notes.csv", rows(3))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(own_tables, "regular", refuse)
    with pytest.raises(DataError, match=r"notes\.csv cannot be read: Permission denied"):
        read(path)
    with pytest.raises(DataError, match=r"notes\.csv cannot be read: Permission denied"):
        prepared(path)


@pytest.mark.parametrize("count", [3, 4, 9, 10, 57])
def test_the_seeded_split_depends_on_ids_and_seed_alone(count: int, tmp_path: Path) -> None:
    made = rows(count)
    path = write(tmp_path / "x.csv", made)
    raw = read(path, split_seed=3)
    sizes = Counter(document.split for document in raw.documents)
    held = max(1, count // 10)
    assert sizes == {"train": count - 2 * held, "validation": held, "test": held}
    assert raw.facts == {"split": "80/10/10, seed 3"}
    again = read(write(tmp_path / "y.jsonl", made[::-1]), split_seed=3)
    assert {d.id: d.split for d in raw.documents} == {d.id: d.split for d in again.documents}
    if count > 10:
        other = read(path, split_seed=4)
        assert {d.id: d.split for d in raw.documents} != {d.id: d.split for d in other.documents}


def test_a_given_split_is_stated(tmp_path: Path) -> None:
    made = [{**row, "split": split} for row, split in zip(rows(3), ("train", "valid", "test"), strict=True)]
    corpus = prepared(write(tmp_path / "x.csv", made), min_documents=1)
    assert corpus.facts["split"] == "as given in the file"
    assert [corpus.splits[split].ids for split in SPLITS] == [("000",), ("001",), ("002",)]


def test_an_own_data_set_is_named_by_its_file(tmp_path: Path) -> None:
    assert datasets.source("some/ my notes!.CSV").name == "my-notes-.CSV"
    assert own.source(Path("codiesp-d50.csv")).name not in SOURCES
    assert len(own.source(Path("n" * 200 + ".csv")).name) == own.LONGEST_NAME
    path = write(tmp_path / "x.csv", rows(20))
    assert prepared(path).name == "x.csv"


def test_titles_of_own_codes_come_from_the_named_system(tmp_path: Path) -> None:
    made = [{**row, "text": "unspecified septicemia", "codes": "038.9;486;R55"} for row in rows(30)]
    path = write(tmp_path / "x.csv", made)
    for system, titled in {"none": [], "icd9cm": ["038.9", "486"], "icd10cm": ["R55"]}.items():
        corpus = prepared(path, code_system=system)
        found = [code for code, title in zip(corpus.vocabulary.codes, corpus.descriptions, strict=True) if len(title)]
        assert found == titled
        assert corpus.facts["codes_without_title"] == 3 - len(titled)


# --- CodiEsp: reading ----------------------------------------------------------------------------------------------------


def documents(root: Path, name: str = "codiesp-d", **changes: object) -> dict[str, Document]:
    return {document.id: document for document in datasets.open(name, root, changes).documents().documents}


def test_codiesp_documents_are_the_text_files_with_the_tables_codes(small: Path) -> None:
    found = documents(small)
    assert list(found) == ["S1-1", "S1-2", "S2-1", "S3-1", "S1-3", "S4-1"]
    assert found["S1-1"] == Document("S1-1", "the patient train0 500 mg", ("k52.9", "r55"), "train", "S1")
    assert found["S1-2"].codes == ("r55", "w19.xxx"), "a code counts once"
    assert [found[id_].split for id_ in ("S3-1", "S4-1")] == ["validation", "test"]
    procedures = documents(small, "codiesp-p")
    assert procedures["S1-2"].codes == (), "a document without procedures stays"
    assert procedures["S1-1"].codes == ("bw03zzz", "0d11")
    assert documents(small, language="es")["S4-1"].text == "el paciente test1 500 mg"


def test_codiesp_settings_change_codes_and_documents(small: Path) -> None:
    cut = documents(small, "codiesp-d3")
    assert [cut[id_].codes for id_ in ("S1-1", "S2-1")] == [("k52", "r55"), ("k52",)]
    assert cut == documents(small, categories=True)
    raw = datasets.open("codiesp-d", small, {"drop_overlap": True}).documents()
    assert [document.id for document in raw.documents if document.split == "test"] == ["S4-1"]
    assert raw.facts["test_cases_dropped_for_overlap"] == 1
    assert {document.group for document in raw.documents} == {"S1", "S2", "S3", "S4"}


def evidence(root: Path, name: str, **changes: object) -> datasets.Evidence | None:
    return datasets.open(name, root, changes).evidence()


def test_codiesp_evidence_stands_in_the_spanish_texts(small: Path) -> None:
    assert evidence(small, "codiesp-d") is None
    found, texts = evidence(small, "codiesp-d", language="es"), documents(small, language="es")
    assert found == {"S1-1": {"r55": [(3, 11), (0, 2), (23, 25)]}, "S3-1": {"r55": [(3, 11)]}}
    assert [texts["S1-1"].text[begin:end] for begin, end in found["S1-1"]["r55"]] == ["paciente", "el", "mg"]
    procedures = evidence(small, "codiesp-p", language="es")
    assert procedures == {"S1-1": {"bw03zzz": [(12, 18)]}, "S4-1": {"0d11": [(0, 2)]}}
    table = small / codiesp_files.FOLDER / "dev" / "devX.tsv"
    table.write_text("S3-1\tDIAGNOSTICO\tr55.1\tel\t0 2\n", encoding="utf-8")
    assert (evidence(small, "codiesp-d3", language="es") or {})["S3-1"] == {"r55": [(0, 2)]}
    table.write_text("S3-1\tDIAGNOSTICO\tr55\tel\t0 2;5\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"devX\.tsv, line 1: expected 'articleID<TAB>type<TAB>code<TAB>words<TAB>begin"
    ):
        evidence(small, "codiesp-d", language="es")
    table.unlink()
    with pytest.raises(DataError, match=r"devX\.tsv is missing"):
        evidence(small, "codiesp-d", language="es")


def test_codiesp_reads_the_languages_of_a_document_after_each_other(small: Path) -> None:
    spanish, english, both = (documents(small, language=language) for language in ("es", "en", "both"))
    assert {name: document.text for name, document in both.items()} == {
        name: f"{spanish[name].text}\n\n{english[name].text}" for name in spanish
    }
    assert both.keys() == english.keys()
    assert evidence(small, "codiesp-d", language="both") == evidence(small, "codiesp-d", language="es")
    assert datasets.open("codiesp-d", small, {"language": "both"}).titles(["r55"]) == {"r55": "Syncope and collapse"}
    fewer = small / codiesp_files.FOLDER / "train" / "text_files_en" / "S2-1.txt"
    fewer.unlink()
    with pytest.raises(
        DataError, match=r"train/text_files_en has no text of 'S2-1', but another language does; unless"
    ):
        documents(small, language="both")


def test_codiesp_is_found_in_or_below_the_data_folder(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = prepared("codiesp-d", small, **TINY)
    (small / "codiesp").mkdir()
    (small / codiesp_files.FOLDER).rename(small / "codiesp" / codiesp_files.FOLDER)
    assert prepared("codiesp-d", small, **TINY).fingerprint == given.fingerprint, "the place is not the content"
    monkeypatch.setenv("ICDBENCH_DATA", str(small))
    assert same(prepared("codiesp-d", None, **TINY), given)
    monkeypatch.delenv("ICDBENCH_DATA")
    monkeypatch.chdir(small.parent)
    (small.parent / "data").symlink_to(small)
    assert same(prepared("codiesp-d", None, **TINY), given)


def test_background_texts_serve_word_vectors_only(small: Path) -> None:
    with_them = prepared("codiesp-d", small, **TINY)
    without = prepared("codiesp-d", small, **TINY, embedding_corpus="train")
    assert len(with_them.background) == with_them.facts["background_documents"] == 2
    assert len(without.background) == without.facts["background_documents"] == 0
    assert with_them.vocabulary == without.vocabulary, "the vocabulary is the training split's"
    assert with_them.fingerprint == without.fingerprint, "both are made from the same raw content"
    assert "<unknown>" in words(with_them, with_them.background, 0)


def test_hidden_and_other_files_are_no_documents(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = datasets.open("codiesp-d", small)
    before, content = documents(small), opened.fingerprint()
    texts = small / codiesp_files.FOLDER / "train" / "text_files_en"
    (texts / ".DS_Store").write_bytes(b"\0\xff")
    (texts / "._S1-1.txt").write_bytes(b"\0\xff")
    (texts.parent / "notes.md").write_text("mine")
    assert documents(small) == before
    assert opened.fingerprint() == content
    monkeypatch.setattr(codiesp.Codiesp, "version", "next")
    assert opened.fingerprint() != content


def test_a_byte_order_mark_is_no_part_of_an_id(small: Path) -> None:
    before, table = documents(small), small / codiesp_files.FOLDER / "train" / "trainD.tsv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    assert documents(small) == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("train/trainD.tsv", Path.unlink, r"trainD\.tsv is missing; 'icdbench data check codiesp-d --data"),
        ("train/trainD.tsv", lambda path: path.write_text(""), r"trainD\.tsv is empty; .*icdbench data get codiesp"),
        ("train/trainD.tsv", cut, r"trainD\.tsv, line 6: expected 'articleID<TAB>code' and a line break, found"),
        ("test/testD.tsv", lambda path: path.write_text("S4-1\tr55\nS4-1\n"), r"testD\.tsv, line 2: expected"),
        ("test/testD.tsv", lambda path: path.write_text("S4-1\tr55\tx\n"), r"testD\.tsv, line 1: expected"),
        ("test/testD.tsv", lambda path: path.write_text("\t\n"), r"testD\.tsv, line 1: expected"),
        ("dev/devD.tsv", lambda path: path.write_bytes(b"S3-1\t\xff\n"), r"devD\.tsv is not UTF-8 \(byte 5\)"),
        ("dev/devD.tsv", lambda path: path.write_text("S5-1\tr55\n"), r"devD\.tsv codes 1 documents .* the first 'S5-1'"),
        ("dev/text_files_en/S3-1.txt", lambda path: path.write_bytes(b"caf\xe9"), r"S3-1\.txt is not UTF-8 \(byte 3\)"),
        ("dev/text_files_en/S3-1.txt", lambda path: path.write_text(" \n"), r"S3-1\.txt is empty; "),
        ("dev/text_files_en/S3-1.txt", Path.unlink, "dev/text_files_en has no text files; 'icdbench data check"),
        ("train/text_files_en/S1-1.txt", Path.unlink, r"trainD\.tsv codes 1 documents that have no text in train/text"),
        ("background/text_files_en", shutil.rmtree, "background/text_files_en has no text files.*embedding_corpus=train"),
        ("background/text_files_en/S8-1.txt", lambda path: path.write_text(""), r"S8-1\.txt is empty"),
        ("test/text_files_en", shutil.rmtree, "test/text_files_en has no text files"),
        ("test/text_files_en/S2-1.txt", lambda path: path.write_text("again"), "id 'S2-1' occurs 2 times"),
    ],
)  # fmt: skip
def test_a_damaged_codiesp_is_one_line_that_names_the_file(
    name: str, damage: Callable[[Path], object], message: str, small: Path
) -> None:
    damage(small / codiesp_files.FOLDER / name)
    with pytest.raises(DataError, match=message) as caught:
        prepared("codiesp-d", small, **TINY)
    assert "\n" not in str(caught.value)


def test_a_missing_background_is_no_hindrance_to_who_does_not_use_it(small: Path) -> None:
    shutil.rmtree(small / codiesp_files.FOLDER / "background")
    assert len(prepared("codiesp-d", small, **TINY, embedding_corpus="train").background) == 0


def test_codiesp_other_than_published_is_used_but_stated(sealed: Path, tmp_path: Path) -> None:
    intact = prepared("codiesp-d", sealed, **TINY)
    assert "differs_from_version_1.4" not in intact.facts
    assert not intact.notices
    shutil.copytree(sealed, tmp_path / "mine")
    table = tmp_path / "mine" / codiesp_files.FOLDER / "train" / "trainD.tsv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))  # cut at the end of a line
    cut_off = prepared("codiesp-d", tmp_path / "mine", **TINY)
    assert cut_off.facts["differs_from_version_1.4"] == "train/trainD.tsv"
    assert "differs from version 1.4: train/trainD.tsv" in cut_off.notices[0]


def test_check_tells_missing_from_altered_and_looks_at_what_is_used_only(sealed: Path) -> None:
    def check(name: str = "codiesp-d", **changes: object) -> Sequence[str]:
        return datasets.open(name, sealed, changes).check()

    assert check() == check(language="es") == check(language="both") == []
    place = sealed / codiesp_files.FOLDER
    (place / "dev" / "devD.tsv").unlink()
    cut(place / "test" / "text_files_en" / "S4-1.txt")
    (place / "train" / "trainP.tsv").unlink()
    (place / "train" / "text_files" / "S1-1.txt").unlink()
    shutil.rmtree(place / "background" / "text_files_en")
    missing, altered, background = check()
    assert "dev/devD.tsv is missing; " in missing
    assert "test/text_files_en differs from version 1.4" in altered
    assert "background/text_files_en is missing" in background
    assert f"move {place} away and run 'icdbench data get codiesp --data {sealed}'" in missing
    assert check(embedding_corpus="train") == [missing, altered]
    assert ["trainP.tsv is missing" in line for line in check("codiesp-p")] == [True, False, False]
    assert ["train/text_files differs" in line for line in check(language="es")] == [False, True]
    assert sum("text_files" in line for line in check(language="both")) == 3


@pytest.mark.parametrize(("language", "title"), [("en", "Fainting"), ("es", "Desmayo"), ("both", "Fainting")])
@pytest.mark.parametrize("place", [".", "codiesp_codes", "codiesp/codiesp_codes"])
def test_titles_come_from_codiesps_own_list_where_it_is(place: str, language: str, title: str, small: Path) -> None:
    before = prepared("codiesp-d", small, **TINY, language=language)
    (small / place).mkdir(parents=True, exist_ok=True)
    (small / place / "codiesp-D_codes.tsv").write_text('R55\tDesmayo\tFainting\nK52.9\t"\t\nonly\n', encoding="utf-8")
    opened = datasets.open("codiesp-d", small, {"language": language})
    assert opened.titles(["r55", "q00.1"]) == {"r55": title}
    assert prepared("codiesp-d", small, **TINY, language=language).key != before.key
    with pytest.raises(DataError, match=r"codiesp-D_codes\.tsv has a title for none of the 1 codes of codiesp-d"):
        opened.titles(["q00.1"])


def test_titles_else_come_from_icd10cm_for_english_diagnoses_only(small: Path) -> None:
    assert datasets.open("codiesp-d", small).titles(["r55"]) == {"r55": "Syncope and collapse"}
    assert datasets.open("codiesp-d", small, {"language": "es"}).titles(["r55"]) == {}
    assert datasets.open("codiesp-p", small).titles(["bw03zzz"]) == {}


def test_icd10cm_titles_of_codes_that_coders_cut() -> None:
    titles = icd10cm_titles(["w19.xxx", "T81.4XX", "k52.9", "xx9", "1", ""])
    assert titles == {
        "w19.xxx": "Unspecified fall, initial encounter",  # with A
        "T81.4XX": "Infection following a procedure",  # its ancestor T81.4
        "k52.9": "Noninfective gastroenteritis and colitis, unspecified",
    }


@pytest.mark.slow
@pytest.mark.counted
def test_a_change_of_settings_or_content_is_another_key(small: Path) -> None:
    place = small / codiesp_files.FOLDER
    seen = {prepared("codiesp-d", small, **TINY).key}

    def fresh(**changes: object) -> None:
        corpus = prepared("codiesp-d", small, **{**TINY, **changes})
        assert corpus.key not in seen
        seen.add(corpus.key)

    for field, value in {"language": "es", "top_codes": 1, "categories": True, "drop_overlap": True}.items():
        fresh(**{field: value})
    fresh(min_documents=2)
    fresh(embedding_corpus="train")
    (place / "train" / "text_files_en" / "S1-1.txt").write_text("another text")
    fresh()
    (place / "test" / "testD.tsv").write_text("S4-1\tr55\nS1-3\tk52.9\n")
    fresh()
    (place / "background" / "text_files_en" / "S9-1.txt").rename(place / "background" / "text_files_en" / "S9-2.txt")
    fresh()
    # The last training document becomes the first validation document: same files, same order, another split.
    lines = [line for line in (place / "train" / "trainD.tsv").read_text().splitlines() if not line.startswith("S2-1")]
    (place / "train" / "trainD.tsv").write_text("\n".join(lines) + "\n")
    fresh()
    (place / "train" / "text_files_en" / "S2-1.txt").rename(place / "dev" / "text_files_en" / "S2-1.txt")
    fresh()


# --- CodiEsp: fetching ---------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small corpus as a zip, which `get` downloads."""
    path = tmp_path / "origin.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for file in sorted(sealed.rglob("*.t*")):
            if file.is_file():
                made.write(file, f"codiesp/{file.relative_to(sealed)}")
                made.writestr(f"__MACOSX/codiesp/{file.relative_to(sealed).parent}/._{file.name}", b"\0")
        made.writestr("README", "not of the corpus")

    def retrieve(url: str, known_hash: str | None, fname: str, path: Path, progressbar: bool) -> str:  # noqa: ARG001, FBT001
        assert url == codiesp_files.URL
        return str(shutil.copy(tmp_path / "origin.zip", path / fname))

    monkeypatch.setattr("pooch.retrieve", retrieve)
    return path


def test_get_puts_a_verified_corpus_in_place_and_nothing_else(archive: Path, sealed: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "data"
    assert "all checksums agree" in codiesp_files.get(target)
    assert documents(target) == documents(sealed)
    assert [path.name for path in (target / "codiesp").iterdir()] == [codiesp_files.FOLDER]
    assert not list(target.rglob("._*"))
    assert not datasets.open("codiesp-p", target, {"embedding_corpus": "all"}).check()
    before = tree(target)
    archive.unlink()
    assert "already in" in codiesp_files.get(target)
    assert "already in" in codiesp_files.get(sealed)
    assert tree(target) == before


def test_get_leaves_a_users_own_archive_alone(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    target.mkdir()
    (target / "codiesp.zip").write_bytes(b"mine")
    codiesp_files.get(target)
    assert (target / "codiesp.zip").read_bytes() == b"mine"
    assert archive.exists()


def add(archive: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as made:
        made.writestr(name, "hostile")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), r"codiesp\.zip is damaged"),
        (lambda path: path.write_bytes(b"<html>not found</html>"), r"codiesp\.zip is damaged"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"\x08\x00", b"\x63\x00")), r"codiesp\.zip is damaged"),
        (lambda path: add(path, f"{codiesp_files.FOLDER}/../../../escaped"), r"holds a path outside its folder: '\.\./\.\./\.\./"),
        (lambda path: add(path, f"{codiesp_files.FOLDER}//tmp/escaped"), "holds a path outside its folder: '/tmp/escaped'"),
        (lambda path: add(path, f"{codiesp_files.FOLDER}/train/text_files/S7-1.txt"), "differs from CodiEsp 1.4 in train/text_"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "differs from CodiEsp 1.4 in train/trainD.tsv"),
    ],
)  # fmt: skip
def test_get_keeps_nothing_of_a_bad_archive(
    damage: Callable[[Path], object], message: str, archive: Path, tmp_path: Path
) -> None:
    damage(archive)
    target = tmp_path / "new"
    with pytest.raises(DataError, match=message) as caught:
        codiesp_files.get(target)
    assert "\n" not in str(caught.value)
    assert not [path for path in target.rglob("*") if path != target / "codiesp"]
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("error", [OSError("no network\nat all"), ValueError("hash"), ConnectionResetError()])
def test_get_says_that_a_download_failed(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(DataError, match=r"download of https://zenodo\S+ failed: \w.*; try again, or unpack it by hand"):
        codiesp_files.get(tmp_path)
    assert not list(tmp_path.rglob("*.zip"))


def test_get_says_that_the_data_folder_cannot_be_written(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data folder '.*file' cannot be written: Not a directory; name another with"):
        codiesp_files.get(tmp_path / "file")
    assert archive.exists()


# --- CodiEsp: the real one -----------------------------------------------------------------------------------------------

Load = Callable[..., Corpus]


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Encodes a data set of the real corpus, without background texts unless asked for."""
    if not (REAL / codiesp_files.FOLDER).is_dir():
        pytest.skip(f"CodiEsp is not in {REAL}")
    cache = tmp_path_factory.mktemp("cache")

    def load(name: str, **changes: object) -> Corpus:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ICDBENCH_CACHE", str(cache))
            return prepared(name, REAL, **{"embedding_corpus": "train", **changes})

    yield load
    shutil.rmtree(cache)


# Documents; codes; assignments of training codes, and of codes that training never shows, per split.
COUNTS = {
    "codiesp-d": (1767, (5639, 2200, 2345), (0, 477, 497)),
    "codiesp-d50": (50, (1709, 721, 809), (0, 0, 0)),
    "codiesp-d3": (809, (4926, 2236, 2347), (0, 138, 129)),
    "codiesp-p": (563, (1550, 632, 683), (0, 185, 196)),
    "codiesp-p50": (50, (763, 373, 420), (0, 0, 0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_the_real_corpus_has_the_known_counts(name: str, real: Load) -> None:
    corpus = real(name)
    number, known, unseen = COUNTS[name]
    assert [len(corpus.splits[split]) for split in SPLITS] == [500, 250, 250]
    assert len(corpus.vocabulary.codes) == number
    assert tuple(len(corpus.splits[split].codes) for split in SPLITS) == known
    assert tuple(int(corpus.splits[split].unseen.sum()) for split in SPLITS) == unseen
    assert len(corpus.vocabulary.tokens) == 2 + 4097
    assert "differs_from_version_1.4" not in corpus.facts


@pytest.mark.slow
def test_the_real_label_counts_of_all_codes(real: Load) -> None:
    diagnoses, procedures = real("codiesp-d"), real("codiesp-p")
    rows_of = {"codiesp-d": (5639, 2677, 2842), "codiesp-p": (1550, 817, 879)}
    for corpus in (diagnoses, procedures):
        total = tuple(len(part.codes) + int(part.unseen.sum()) for part in map(corpus.splits.__getitem__, SPLITS))
        assert total == rows_of[corpus.name], "rows of the tables, none of them twice"
    test = diagnoses.splits["test"]
    assert len(set(test.codes.tolist())) == 704, "of the 1,143 codes of the test documents"
    assert round(100 * len(test.codes) / 2842, 1) == 82.5
    empty = [int(((np.diff(part.code_offsets) + part.unseen) == 0).sum()) for part in procedures.splits.values()]
    assert empty == [65, 28, 26]


@pytest.mark.slow
def test_the_real_top_codes_are_the_most_frequent(real: Load) -> None:
    whole, top = real("codiesp-d"), real("codiesp-d50")
    counts = Counter(whole.splits["train"].codes.tolist())
    frequent = {whole.vocabulary.codes[code]: times for code, times in counts.items()}
    least = min(frequent[code] for code in top.vocabulary.codes)
    assert max(times for code, times in frequent.items() if code not in top.vocabulary.codes) <= least
    assert sum(frequent[code] for code in top.vocabulary.codes) == len(top.splits["train"].codes)


@pytest.mark.slow
def test_the_real_overlap_is_24_test_cases(real: Load) -> None:
    corpus = real("codiesp-d", drop_overlap=True)
    assert corpus.facts["test_cases_dropped_for_overlap"] == 24
    assert [len(corpus.splits[split]) for split in SPLITS] == [500, 250, 226]


@pytest.mark.slow
def test_the_real_spanish_texts_have_the_same_codes(real: Load) -> None:
    english, spanish = real("codiesp-d"), real("codiesp-d", language="es")
    assert spanish.vocabulary.codes == english.vocabulary.codes
    assert spanish.vocabulary.tokens != english.vocabulary.tokens
    assert "paciente" in spanish.vocabulary.tokens
    for split in SPLITS:
        assert spanish.splits[split].ids == english.splits[split].ids
        assert np.array_equal(spanish.splits[split].codes, english.splits[split].codes)
    assert spanish.facts["codes_without_title"] == 1767


@pytest.mark.slow
def test_the_real_background_is_2751_texts(real: Load) -> None:
    assert len(real("codiesp-d50", embedding_corpus="train+background").background) == 2751


@pytest.mark.slow
def test_the_real_corpus_passes_its_check_and_is_not_written_to(real: Load) -> None:
    del real  # present
    before = {str(path): path.stat().st_mtime_ns for path in REAL.rglob("*")}
    for name in ("codiesp-d", "codiesp-p"):
        for language in ("en", "es"):
            assert not datasets.open(name, REAL, {"language": language}).check()
    assert {str(path): path.stat().st_mtime_ns for path in REAL.rglob("*")} == before


def test_every_real_diagnosis_has_a_title(real: Load) -> None:
    del real  # present
    icd10cm_titles([])  # imports the package without its warnings
    import simple_icd_10_cm as icd10

    tables = [REAL / codiesp_files.FOLDER / part / f"{part}D.tsv" for part in codiesp.SPLITS.values()]
    all_codes = {line.split("\t")[1] for table in tables for line in table.read_text(encoding="utf-8").splitlines()}
    listed = {code for code in all_codes if icd10.is_valid_item(code.upper())}
    with_a = {code for code in all_codes - listed if icd10.is_valid_item(f"{code.upper()}A")}
    titles = icd10cm_titles(sorted(all_codes))
    assert (len(all_codes), len(listed), len(with_a), len(all_codes - listed - with_a)) == (2557, 2459, 90, 8)
    assert set(titles) == all_codes
    assert all(titles[code] == icd10.get_description(code.upper()) for code in listed)
    assert all(titles[code] == icd10.get_description(f"{code.upper()}A") for code in with_a)
    assert titles["t81.4xx"] == icd10.get_description("T81.4")
