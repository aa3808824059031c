"""What is written reads back as it was, whatever is in it, or is refused with a line: exports, predictions, tables."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from corpora import Row, write
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pyarrow import parquet

from icdbench.data import datasets
from icdbench.data.export import FORMATS as EXPORTS
from icdbench.data.export import ExportedRow as Exported
from icdbench.data.export import export
from icdbench.data.tokens import tokenize
from icdbench.host import output
from icdbench.inference.predict import Code, Reading, as_csv
from icdbench.presentation.formats import MARKUP, Cell, Grid, plain
from icdbench.presentation.formats import write as write_tables
from icdbench.settings import DataError
from icdbench.types import SPLITS

pytestmark = pytest.mark.slow

# What has a meaning in one format or another.
TRICKY = "aB1é漢 \t\r\n\v\f\x1c\x85\u2028\0;,|\\\"'`*_#+-=~^$%&{}[]()<>!?:@/.–±†"
CELLS = st.text(st.one_of(st.sampled_from(TRICKY), st.characters(exclude_categories=["Cs"])), max_size=12)
CODES = CELLS.filter(lambda code: code == code.strip() and code)


# --- Exports -------------------------------------------------------------------------------------------------------------

Found = list[tuple[str, str, str, list[str]]]  # split, id, tokens and codes of each row


def read_csv(folder: Path) -> Found:
    with (folder / "documents.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    return [(row["split"], row["id"], row["tokens"], row["codes"].split(";") if row["codes"] else []) for row in rows]


def read_parquet(folder: Path) -> Found:
    rows = parquet.read_table(folder / "documents.parquet").to_pylist()
    return [(row["split"], row["id"], row["tokens"], row["codes"]) for row in rows]


def read_libmultilabel(folder: Path) -> Found:
    """As pandas does, with quotes on as well as off."""
    import pandas as pd

    found: Found = []
    for split, name in zip(SPLITS, ("train", "valid", "test"), strict=True):
        text = (folder / f"{name}.txt").read_text(encoding="utf-8")
        lines = [line.split("\t") for line in text.removesuffix("\n").split("\n")] if text else []
        for quoting in (csv.QUOTE_NONE, csv.QUOTE_MINIMAL) if lines else ():
            path = io.StringIO(text, newline="")
            read = pd.read_csv(path, sep="\t", header=None, quoting=quoting, dtype=str, keep_default_na=False)
            assert read.values.tolist() == lines
        found += [(split, name, tokens, codes.split()) for name, codes, tokens in lines]
    return found


READERS: dict[str, Callable[[Path], Found]] = {
    "csv": read_csv,
    "parquet": read_parquet,
    "libmultilabel": read_libmultilabel,
}


@pytest.mark.parametrize("fmt", EXPORTS)
@settings(max_examples=150, deadline=None)
@given(documents=st.lists(st.tuples(CELLS, CELLS, st.lists(CODES, max_size=3, unique=True)), min_size=1, max_size=4))
def test_an_export_reads_back_or_is_refused(fmt: str, documents: Sequence[tuple[str, str, list[str]]]) -> None:
    rows = [
        Exported(name, SPLITS[number % 3], " ".join(tokenize(text)), tuple(codes), 1)
        for number, (name, text, codes) in enumerate(documents)
    ]
    with tempfile.TemporaryDirectory() as folder:
        refused = ""
        try:
            EXPORTS[fmt](iter(rows), Path(folder))
        except DataError as error:
            refused = str(error)
        found = [] if refused else READERS[fmt](Path(folder))
    if refused:
        assert "\n" not in refused
        assert f"would not read back from --format {fmt}; use --format parquet" in refused
        assert any(re.search(r'[;\s"]', cell) for row in rows for cell in (row.id, *row.codes))
        return
    assert sorted(found) == sorted((row.split, row.id, row.tokens, list(row.codes)) for row in rows)


def notes(path: Path, code: str, name: str = "d") -> Path:
    rows: list[Row] = [
        {"id": f"{name}{i}", "text": f"fever {i} and cough", "codes": [code, "A"], "split": SPLITS[i % 3]}
        for i in range(6)
    ]
    return write(path, rows)


@pytest.mark.parametrize(
    ("fmt", "code", "name", "expected"),
    [
        (
            "libmultilabel",
            "Heart failure",
            "d",
            "code 'Heart failure' has ' ', which would not read back from --format libm",
        ),
        ("libmultilabel", 'a"b', "d", "code 'a\"b' has '\"'"),
        ("libmultilabel", "B", "d\t", r"id 'd\t0' has '\t'"),
        ("libmultilabel", "B", "d\n", r"id 'd\n0' has '\n'"),
        ("csv", "a\nb", "d", "a code with a line break"),
        ("parquet", "a\u2028b", "d", r"code 'a\u2028b' has a line break"),
    ],
)
def test_what_would_not_read_back_is_refused_and_nothing_is_kept(
    tmp_path: Path, fmt: str, code: str, name: str, expected: str
) -> None:
    opened = datasets.open(str(notes(tmp_path / "x.jsonl", code, name)), None, {"min_documents": 1})
    with pytest.raises(DataError, match=re.escape(expected)):
        export(opened, tmp_path / "out", fmt)
    assert not (tmp_path / "out").exists()


# --- CSV -----------------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=4))
def test_csv_rows_read_back(rows: list[list[str]]) -> None:
    text = "".join(map(output.csv_row, rows))
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == rows
    assert output.csv_row(["a", 1, 0.5, "b c"]) == "a,1,0.5,b c\n"


@settings(max_examples=100, deadline=None)
@given(CELLS, CELLS, CELLS)
def test_predictions_read_back(name: str, code: str, title: str) -> None:
    text = "".join(as_csv([(name, Reading((Code(code, title, 0.5, True),), 3, 3, 1))]))
    (row,) = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    written = [
        output.csv_cell(cell) for cell in (name, code, title)
    ]  # what a spreadsheet would compute has an apostrophe
    assert [row["note"], row["code"], row["title"], row["probability"], row["words"]] == [*written, "0.5", "3"]


# --- Tables --------------------------------------------------------------------------------------------------------------


class Texts(HTMLParser):
    """The texts of cells, and of the notes below them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        if tag in {"caption", "td", "th", "br"}:
            self.found.append("")

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1] += data


def html(text: str) -> list[str]:
    return [each.strip() for each in Texts(text).found]


def markdown(text: str) -> list[str]:
    """Title, cells and notes as a reader of Markdown sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    kinds = {token.type for token in tokens}
    assert kinds <= {f"{kind}_{end}" for kind in KINDS for end in ("open", "close")} | {"inline"}, kinds
    return ["".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"]


KINDS = ("paragraph", "table", "thead", "tbody", "tr", "th", "td", "bullet_list", "list_item")
CHARACTERS = {"backslash": "\\", "asciitilde": "~", "asciicircum": "^", "bar": "|", "less": "<", "greater": ">"}


def plain_of_latex(text: str) -> str:
    for mark, given_by in (("$\\pm$", "±"), ("$-$", "-"), ("\\dag{}", "†")):
        text = text.replace(mark, given_by)
    text = re.sub(r"\\textbf\{(.*)\}$", r"\1", text)
    text = re.sub(r"\\text(\w+)\{\}", lambda match: CHARACTERS[match[1]], text.replace("--", "–"))
    assert not re.search(r"''|``|,,|[?!]`", text), "TeX would make one character of two"
    return re.sub(r"\\([&%$#_{}])", r"\1", re.sub(r"(?<!\\)\{\}", "", text))


def latex(text: str) -> list[str]:
    caption = re.search(r"\\caption\{(.*)\}\n", text)
    body, _, below = text.partition("\\end{tabular}\n")
    lines = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert caption
    assert not any(re.match(r"\s*[\[*]", line) for line in lines), "an option of the line break before"
    cells = [cell.strip() for line in lines for cell in re.split(r"(?<!\\)&", line.removesuffix("\\\\"))]
    notes = below.removesuffix("\n\\end{table}\n").strip("\n").split("\n\n")
    return [plain_of_latex(each) for each in (caption[1], *cells, *notes)]


TABLES = {"md": markdown, "latex": latex, "html": html}


@pytest.mark.parametrize("fmt", MARKUP)
@settings(max_examples=150, deadline=None)
@example(cells=[*"012345", r"\hline", *"78"], best=set())
@given(
    st.lists(CELLS.filter(lambda cell: output.one_line(cell) != ""), min_size=9, max_size=9),
    st.sets(st.integers(3, 6)),
)
def test_tables_read_back_as_one_line_of_text_a_cell(fmt: str, cells: list[str], best: set[int]) -> None:
    shown = [Cell(1.5, mark=cell, best=True) if place in best else cell for place, cell in enumerate(cells)]
    grid = Grid(cells[0], cells[1:3], [shown[3:5], shown[5:7]], cells[7:9])
    expected = [output.one_line(plain(cell)) for cell in shown]
    assert TABLES[fmt](write_tables([grid], fmt)) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(CELLS, min_size=2, max_size=2, unique=True), st.lists(CELLS, min_size=2, max_size=2))
def test_tables_as_csv_read_back(header: list[str], cells: list[str]) -> None:
    if len({output.one_line(cell) for cell in (*header, "table", "notes")}) < 4:
        return
    text = write_tables([Grid("t", header, [cells], ["n"])], "csv")
    _, row = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert row[0] == "t"
    assert row[-1] == "n"


def test_exported_numbers_of_rows_are_those_of_documents(tmp_path: Path) -> None:
    """In no format does a character of a text begin another row."""
    generator = np.random.default_rng(0)
    rows: list[Row] = [
        {
            "id": f"d{i}",
            "text": "fever " + "".join(generator.choice(list(TRICKY), 20)),
            "codes": ["A"],
            "split": SPLITS[i % 3],
        }
        for i in range(30)
    ]
    path = write(tmp_path / "x.jsonl", rows)
    opened = datasets.open(str(path), None, {"min_documents": 1})
    for fmt, read in READERS.items():
        export(opened, tmp_path / fmt, fmt)
        assert len(read(tmp_path / fmt)) == 30
        with (tmp_path / fmt / "vocabulary.txt").open(encoding="utf-8", newline="\n") as file:
            assert all(word.strip() for word in file)
