"""Words of a note, and the rest of a long id, appear in no message and in no file below results, whatever is wrong with the data.

Notes and ids that can be recognised are planted in data of every format and source, which are then damaged in many ways; every
command that reads data is run on each.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from conftest import Call
from finished import once
from mimic import SUMMARY, Mimic3, Mimic4, write_splits
from pyarrow import feather, parquet

import icdbench.run as runner
from icdbench.data import datasets
from icdbench.data.sources import codiesp_files
from icdbench.inference import bundle
from icdbench.run import Request
from icdbench.settings import DataError
from icdbench.synthetic import MARKER

pytestmark = pytest.mark.slow

MARK = "qxnote"  # in every word of a note
NOTE = "\n".join(" ".join(f"{MARK}{a}{b}" for b in "abcdefgh") for a in "abcdefgh")
PERSON = "Qxperson-Maria-Magdalena-Immaculata-de-la-Cruz-born-1931-05-17"
TAIL = PERSON[:41].lower()  # more of an id than a message may show
TINY = ("--set", "data.min_documents=1", "--set", "train.max_epochs=1", "--set", "train.patience=1")
CAML = ("--set", "caml.filters=2", "--set", "caml.embedding_size=2")

Table = list[list[str]]  # the header, then rows


def leaks(text: str) -> list[str]:
    """What of the canaries is in a text."""
    return [canary for canary in (MARK, TAIL) if canary in text.lower()]


def stored(place: Path) -> Iterator[tuple[str, str]]:
    """Every file below a folder with its content as text; of archives, that of their parts."""
    for path in sorted(file for file in place.rglob("*") if file.is_file()):
        yield str(path), path.name
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    array = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
                    yield f"{path}/{name}", " ".join(map(str, array.ravel()[:1000])) if array.dtype.kind == "U" else ""
        else:
            yield str(path), path.read_bytes().decode("latin-1")


def make_good(place: Path) -> None:
    """A folder with the results of a run of good data, and its bundle."""
    place.mkdir()
    lines = ["id,text,codes,split"]
    for number in range(30):
        split = ("train", "train", "validation", "test")[number % 4]
        lines.append(f"{number},the word{number % 3} was treated,A{number % 3},{split}")
    (place / "good.csv").write_text("\n".join(lines), encoding="utf-8")

    request = Request(["lr"], str(place / "good.csv"), changes={"data.min_documents": 1}, results=place / "results")
    with mock.patch.dict(os.environ, ICDBENCH_CACHE=str(place / "cache")):
        (planned,) = runner.expand(request)
        record = runner.execute(planned, request)
        bundle.write(bundle.of_run(record.id, request.results), place / "model.icdbench")


@pytest.fixture
def trained(session_folder: Path, tmp_path: Path) -> tuple[str, Path]:
    """A run in the folder `results`, whose data are gone with all that was kept of them, and its bundle."""
    place = once(session_folder / "canary", make_good)
    shutil.copytree(place / "results", tmp_path / "results")
    (record,) = (tmp_path / "results").glob("*/*/*/record.json")
    return str(record.parent.relative_to(tmp_path / "results")), place / "model.icdbench"


@pytest.fixture
def tell(icdbench: Call, trained: tuple[str, Path], tmp_path: Path) -> Callable[..., int]:
    """Runs every command that reads a data set, or some of them; how many ended with an error."""
    run, model = trained

    def call(name: str | Path, *root: object, every: bool = True) -> int:
        own = root or ("--dataset", name)
        commands: list[tuple[object, ...]] = [
            ("data", "check", name, *root),
            ("run", "--models", "lr", "--dataset", name, *TINY, *root),
            ("data", "describe", name, "--set", "data.min_documents=1", *root),
            ("data", "export", name, "--out", "out", *root),
            ("models", "lr", "--dataset", name, *root),
            ("run", "--models", "caml,lr", "--dataset", name, *TINY, *CAML, *root),
            ("tune", "lr", "--dataset", name, "--trials", 1, *root),
            ("ablate", "lr", "--dataset", name, *TINY, *root),
            ("bundle", run, "--out", "again.icdbench", *own),
            ("explain", "--evaluate", "--run", run, *own),
            ("predict", "--run", run, model, *own),
        ]
        commands = commands if every else commands[:2]
        if not root:
            for words in (("predict",), ("predict", "--column", "codes"), ("explain",)):
                commands.append((words[0], name, *words[1:], "--bundle", model))
        failed = 0
        for command in commands:
            status, out, err = icdbench(*command)
            told = " ".join(map(str, command))
            assert "Traceback" not in err, told
            assert leaks(err) == [], f"{told}: {err}"
            if status:
                failed += 1
                # What was predicted of the notes before bears their names.
                assert leaks(out) in ([], [TAIL] if command[0] == "predict" else []), f"{told}: {out}"
        found = [(path, leaks(text)) for path, text in stored(tmp_path / "results")]
        assert [each for each in found if each[1]] == []
        return failed

    return call


# --- Tables, and what may be wrong with one --------------------------------------------------------------------------


def as_csv(table: Table) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


def column(number: int, value: str, rows: slice = slice(1, None)) -> Callable[[Table], bytes]:
    """Every row, or some, have the value in a column."""

    def change(table: Table) -> bytes:
        changed = [list(row) for row in table]
        for row in changed[rows]:
            row[number % len(row)] = value
        return as_csv(changed)

    return change


def swapped(one: int, other: int) -> Callable[[Table], bytes]:
    """The header has two columns the other way round."""

    def change(table: Table) -> bytes:
        header = list(table[0])
        one_, other_ = one % len(header), other % len(header)
        header[one_], header[other_] = header[other_], header[one_]
        return as_csv([header, *table[1:]])

    return change


def at_note(change: Callable[[bytes, int], bytes]) -> Callable[[Table], bytes]:
    """A change of the bytes at the middle of the last note, or else of the file."""

    def changed(table: Table) -> bytes:
        content = as_csv(table)
        place = content.rfind(f"{MARK}de".encode())
        return change(content, place if place > 0 else len(content) // 2)

    return changed


FAULTS: dict[str, Callable[[Table], bytes]] = {
    "header missing": lambda table: as_csv(table[1:]),
    "header twice": lambda table: as_csv([table[0], *table]),
    "a column named as the note": lambda table: as_csv([[*table[0][:-1], NOTE], *table[1:]]),
    "a column named as a person": lambda table: as_csv([[PERSON, *table[0][1:]], *table[1:]]),
    "rows of one cell fewer": lambda table: as_csv([table[0], *(row[:-1] for row in table[1:])]),
    "rows of one cell more": lambda table: as_csv([table[0], *([NOTE, *row] for row in table[1:])]),
    "one row of one cell more": lambda table: as_csv([*table[:-1], [*table[-1], NOTE]]),
    "no quotes": lambda table: "".join(",".join(row) + "\n" for row in table).encode(),
    "tabs": lambda table: as_csv(table).replace(b",", b"\t"),
    "semicolons": lambda table: as_csv(table).replace(b",", b";"),
    "a quote in the note": at_note(lambda content, place: content[:place] + b'"' + content[place:]),
    "cut": at_note(lambda content, place: content[:place]),
    "not UTF-8": at_note(lambda content, place: content[:place] + b"\xe9\xff" + content[place:]),
    "UTF-16": lambda table: as_csv(table).decode().encode("utf-16"),
    "a zero byte": at_note(lambda content, place: content[:place] + b"\0" + content[place:]),
    "a carriage return": at_note(lambda content, place: content[:place] + b"\r" + content[place:]),
    "every row twice": lambda table: as_csv([table[0], *table[1:], *table[1:]]),
    "no rows": lambda table: as_csv(table[:1]),
    "only the note": lambda _: NOTE.encode(),
    "empty": lambda _: b"",
    **{f"columns {a} and {b} swapped": swapped(a, b) for a in range(4) for b in range(a)},
    **{f"columns {a} and -1 swapped": swapped(a, -1) for a in range(4)},
    **{f"column {c} is the note": column(c, NOTE.replace("\n", " ")) for c in (0, 1, 2, 3, 4, -2, -1)},
    **{f"column {c} is a person": column(c, PERSON) for c in (0, 1, 3)},
    **{f"column {c} is once the note": column(c, NOTE, slice(-1, None)) for c in (0, 1, 2, 3, 4, -2, -1)},
    **{f"column {c} is once a person": column(c, PERSON, slice(-1, None)) for c in (0, 1, 3)},
    **{f"column {c} is empty": column(c, "", slice(-3, None)) for c in (0, 1, 2, 3)},
}
EVERY = {  # for which every command is run; for the others those that read the data, as all do, and models the notes
    "header missing",
    "a quote in the note",
    "column 1 is once a person",
    "column 3 is the note",
    "the note in a list of codes",
    "an object as text",
}


def own_table(*columns: str) -> Table:
    """Thirty documents of a user's own."""
    names = columns or ("id", "text", "codes", "split")
    splits = ("train", "train", "validation", "test")
    rows = [
        {"id": f"{PERSON}{i}", "text": f"{NOTE}{i}", "codes": f"A{i % 3};B", "split": splits[i % 4]} for i in range(30)
    ]
    return [list(names), *([row[name] for name in names] for row in rows)]


@pytest.mark.parametrize("fault", FAULTS)
def test_own_csv(fault: str, tell: Callable[..., int], tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(FAULTS[fault](own_table()))
    tell(path, every=fault in EVERY)


@pytest.mark.parametrize("columns", [("id", "codes", "text"), ("text", "codes"), ("text", "id", "split", "codes")])
def test_own_csv_of_other_columns(columns: tuple[str, ...], tell: Callable[..., int], tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for fault in ("header missing", "columns 1 and 0 swapped", "every row twice", "no quotes"):
        path.write_bytes(FAULTS[fault](own_table(*columns)))
        tell(path, every=False)


ROWS = [dict(zip(own_table()[0], row, strict=True)) for row in own_table()[1:]]
WRONG: dict[str, Any] = {  # changes of rows, for the formats whose cells have types
    "a list as text": lambda row: row | {"text": [row["text"]]},
    "an object as text": lambda row: row | {"text": {"words": row["text"]}},
    "a list as id": lambda row: row | {"id": [row["id"], row["text"]]},
    "an object as id": lambda row: row | {"id": {row["id"]: row["text"]}},
    "the note as split": lambda row: row | {"split": row["text"]},
    "a person as split": lambda row: row | {"split": row["id"]},
    "the note as codes": lambda row: row | {"codes": row["text"]},
    "the note in a list of codes": lambda row: row | {"codes": ["A", row["text"]]},
    "objects as codes": lambda row: row | {"codes": [{"code": row["text"]}]},
    "the note as id": lambda row: row | {"id": row["text"]},
    "one id": lambda row: row | {"id": PERSON},
    "no text": lambda row: row | {"text": "  "},
    "no text column": lambda row: {name: value for name, value in row.items() if name != "text"},
    "no codes column": lambda row: {name: value for name, value in row.items() if name != "codes"},
    "another column for the text": lambda row: {"id": row["id"], "note": row["text"], "codes": row["codes"]},
    "the note names a column": lambda row: {"id": row["id"], NOTE: "x", "codes": row["codes"]},
    "ids and texts swapped": lambda row: row | {"id": row["text"], "text": row["id"]},
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_own_rows(suffix: str, wrong: str, tell: Callable[..., int], tmp_path: Path) -> None:
    path, rows = tmp_path / f"x{suffix}", list(map(WRONG[wrong], ROWS))
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    tell(path, every=wrong in EVERY)


def test_own_json_lines_that_are_none(tell: Callable[..., int], tmp_path: Path) -> None:
    path, line = tmp_path / "x.jsonl", json.dumps(ROWS[0])
    for content in (
        line[:200],
        f'"{NOTE}"',
        json.dumps([NOTE]),
        NOTE,
        line.replace(":", " "),
        f"{line}{line}",
        "[" * 9000,
    ):
        path.write_text(content)
        assert tell(path, every=False)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv", ".txt", ".json", ".tsv", ".xlsx"])
def test_own_files_of_another_kind(suffix: str, tell: Callable[..., int], tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    for content in (as_csv(own_table()), NOTE.encode(), gzip.compress(NOTE.encode()), json.dumps(ROWS).encode()):
        path.write_bytes(content)
        tell(path, every=False)


# --- MIMIC ------------------------------------------------------------------------------------------------------------

ADMISSIONS = [(i, "train" if i < 14 else "val" if i < 17 else "test") for i in range(1, 21)]
TABLES3 = ("NOTEEVENTS", "DIAGNOSES_ICD", "PROCEDURES_ICD", "D_ICD_DIAGNOSES", "D_ICD_PROCEDURES")
TABLES4 = ("discharge", "diagnoses_icd", "procedures_icd", "d_icd_diagnoses", "d_icd_procedures")


def mimic3(root: Path) -> Path:
    tables = Mimic3()
    for number, _ in ADMISSIONS:
        tables.notes.append((number, number, SUMMARY, f"{NOTE} {number}"))
        tables.diagnoses += [(number, number, code) for code in ("4019", "486")]
        tables.procedures.append((number, number, "3893"))
    for size in ("full", "50"):
        for part, name in (("train", "train"), ("val", "dev"), ("test", "test")):
            tables.lists[f"{name}_{size}"] = [admission for admission, of in ADMISSIONS if of == part]
    tables.write(root, packed=False)
    write_splits(root / "mimiciii_clean_splits.feather", ADMISSIONS)
    return root


def mimic4(root: Path) -> Path:
    tables = Mimic4()
    for number, _ in ADMISSIONS:
        tables.notes.append((number, f"{NOTE} {number}"))
        tables.diagnoses += [(number, "4019", 9), (number, "I10", 10)]
        tables.procedures += [(number, "3893", 9), (number, "02HV33Z", 10)]
    tables.diagnosis_titles, tables.procedure_titles = [("4019", 9, "High")], [("3893", 9, "Line")]
    tables.write(root)
    for packed in root.rglob("*.csv.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    for version in ("9", "10"):
        write_splits(root / f"mimiciv_icd{version}_split.feather", ADMISSIONS)
    return root


def damaged(path: Path, fault: str) -> None:
    """A table of MIMIC with a fault."""
    with path.open(newline="") as file:
        table = list(csv.reader(file))
    path.write_bytes(FAULTS[fault](table))


@pytest.mark.parametrize("fault", FAULTS)
def test_mimic3(fault: str, tell: Callable[..., int], tmp_path: Path) -> None:
    for name, dataset in zip(TABLES3, ("mimic-full", "mimic50", "mimic-clean", "mimic-full", "mimic50"), strict=True):
        if name in TABLES3[:2] or fault in EVERY:
            root = mimic3(tmp_path / name)
            damaged(root / f"{name}.csv", fault)
            tell(dataset, "--data", root, every=fault in EVERY and name == TABLES3[0])


@pytest.mark.parametrize("fault", FAULTS)
def test_mimic4(fault: str, tell: Callable[..., int], tmp_path: Path) -> None:
    for name, dataset in zip(TABLES4, ("mimic4-icd9", "mimic4-icd10", *["mimic4-icd9"] * 3), strict=True):
        if name == TABLES4[0] or fault in EVERY:
            root = mimic4(tmp_path / name)
            (path,) = root.rglob(f"{name}.csv")
            damaged(path, fault)
            tell(dataset, "--data", root, every=False)


def test_lists_of_admissions(tell: Callable[..., int], tmp_path: Path) -> None:
    for number, content in enumerate((NOTE, PERSON, f"1\n{PERSON}\n", "9" * 5000, f"HADM_ID,TEXT\n1,{NOTE}", "1\n1\n")):
        root = mimic3(tmp_path / f"lists{number}")
        (root / "train_full_hadm_ids.csv").write_text(content)
        assert tell("mimic-full", "--data", root, every=False)
    good = {"_id": [admission for admission, _ in ADMISSIONS], "split": [split for _, split in ADMISSIONS]}
    for number, wrong in enumerate(
        ({"_id": [PERSON] * 20}, {"_id": [NOTE] * 20}, {"split": [NOTE] * 20}, {"split": [PERSON] * 20})
    ):
        root = mimic3(tmp_path / f"feather{number}")
        feather.write_feather(pa.table(good | wrong), root / "mimiciii_clean_splits.feather")
        assert tell("mimic-clean", "--data", root, every=False)
        feather.write_feather(pa.table({NOTE: [1], PERSON: [2]}), root / "mimiciii_clean_splits.feather")
        assert tell("mimic-clean", "--data", root, every=False)


@pytest.mark.parametrize("table", ["HADM_ID", "ROW_ID", "CODE", "BEGIN", "END"])
def test_truth_of_synthetic_tables(table: str, icdbench: Call, tmp_path: Path) -> None:
    root = mimic3(tmp_path / "synth")
    (root / MARKER).write_text("{}")
    run = ("run", "--models", "lr", "--dataset", "synth-full", "--data", root, *TINY, "--results", "results")
    assert icdbench(*run)[0] == 0
    (record,) = (tmp_path / "results").glob("*/*/*/record.json")
    (root / "truth").mkdir()
    columns = ["HADM_ID", "ROW_ID", "CODE", "BEGIN", "END"]
    for value in (NOTE, PERSON):
        cells = dict(zip(columns, ("20", "19", "401.9", "0", "4"), strict=True)) | {table: value}
        (root / "truth" / "evidence.csv").write_bytes(as_csv([columns, list(cells.values())]))
        words = ("explain", "--evaluate", "--run", record.parent, "--data", root, "--documents", 3)
        status, out, err = icdbench(*words)
        assert "Traceback" not in err
        assert leaks(err) == []
        assert not status or leaks(out) == []


# --- CodiEsp ------------------------------------------------------------------------------------------------------------


def codiesp_folder(root: Path) -> Path:
    place = root / codiesp_files.FOLDER
    for part, numbers in (
        ("train", range(1, 7)),
        ("dev", range(7, 10)),
        ("test", range(10, 13)),
        ("background", (13,)),
    ):
        for folder in ("text_files", "text_files_en"):
            (place / part / folder).mkdir(parents=True)
            for number in numbers:
                (place / part / folder / f"S{number}-1.txt").write_text(f"{NOTE} {number}", encoding="utf-8")
        lines = "".join(f"S{number}-1\tr55\nS{number}-1\tk52.9\n" for number in numbers)
        for kind in "DP":
            (place / part / f"{part}{kind}.tsv").write_text(lines, encoding="utf-8")
        (place / part / f"{part}X.tsv").write_text(
            "".join(f"S{number}-1\tDIAGNOSTICO\tr55\t{NOTE[:9]}\t0 9\n" for number in numbers), encoding="utf-8"
        )
    return place


LINE = NOTE.replace("\n", " ")
TSV: dict[str, bytes] = {
    "a field more": f"S1-1\tr55\t{LINE}\n".encode(),
    "a note for a line": f"{LINE}\n".encode(),
    "a note for a code": f"S1-1\t{LINE}\n".encode(),
    "a note for an id": f"{LINE}\tr55\n".encode(),
    "a person": f"{PERSON}\tr55\n".encode(),
    "a field empty": f"{LINE}\t\n".encode(),
    "cut": f"S1-1\tr55\n{LINE[:100]}".encode(),
    "not UTF-8": f"S1-1\t{LINE}".encode() + b"\xff\n",
    "of evidence without places": f"S1-1\tDIAGNOSTICO\tr55\t{LINE}\t{LINE}\n".encode(),
}


@pytest.mark.parametrize("fault", TSV)
def test_codiesp(fault: str, tell: Callable[..., int], tmp_path: Path) -> None:
    place = codiesp_folder(tmp_path / "table")
    (place / "train" / "trainD.tsv").write_bytes(TSV[fault])
    assert tell("codiesp-d", "--data", tmp_path / "table", every=False)
    (place / "dev" / "devX.tsv").write_bytes(TSV[fault])
    with pytest.raises(DataError) as caught:
        datasets.open("codiesp-d", tmp_path / "table", {"language": "es"}).evidence()
    assert leaks(str(caught.value)) == []
    text = codiesp_folder(tmp_path / "text") / "train" / "text_files_en" / "S1-1.txt"
    text.write_bytes(TSV[fault] if fault == "not UTF-8" else b" ")
    assert tell("codiesp-d", "--data", tmp_path / "text", every=False)


# --- Notes to predict from -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column_name", ["text", "id", "codes", "nothing", PERSON])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".txt"])
def test_predict(column_name: str, suffix: str, icdbench: Call, trained: tuple[str, Path], tmp_path: Path) -> None:
    rows = [{"id": f"{PERSON}{i}", "text": text} for i, text in enumerate((NOTE, "  ", "?!", NOTE))]
    path = tmp_path / f"notes{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(as_csv([["id", "text"], *(list(row.values()) for row in rows)]))
    for fmt in ("table", "jsonl", "csv"):
        status, out, err = icdbench("predict", path, "--bundle", trained[1], "--column", column_name, "--format", fmt)
        err = err.replace(column_name, "")  # what the user typed
        assert "Traceback" not in err
        assert leaks(err) == [], err
        assert MARK not in out.lower().replace(column_name.lower(), ""), (status, out)
