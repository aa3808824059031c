"""What comes from data commands neither a terminal nor a spreadsheet, whichever command shows it."""

from __future__ import annotations

import ast
import csv
import io
import json
import logging
import sys
import time
import unicodedata
from pathlib import Path

import pytest
from conftest import Call
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT

from icdbench.host import output
from icdbench.inference import predict
from icdbench.inference.predict import Code, Reading
from icdbench.presentation import formats
from icdbench.records import store

# Colours, clears the screen, sets the title, rings; C1's CSI; overrides, isolates; zero width; line separators; lone surrogate.
CANARY = "\x1b[31m\x1b[2J\x1b]0;x\x07\x9b1m\u202e\u2066\u2069\u200b\u200d\u2060\ufeff\u00ad\u2028\u2029\x85\x7f\x08\x00"
FAST = ("--set", "train.max_epochs=1", "--set", "caml.filters=4", "--set", "caml.embedding_size=4", "--device", "cpu")


def harmless(text: str) -> bool:
    return all(char.isprintable() or char in "\n\t" for char in text)


# --- The function --------------------------------------------------------------------------------------------------------


def test_no_control_character_of_unicode_is_shown() -> None:
    for number in range(sys.maxunicode + 1):
        char = chr(number)
        if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and char not in "\n\t":
            assert output.printable(f"a{char}b") in {"a b", "a�b"}
            assert harmless(output.json_line(char))
            assert json.loads(output.json_line(char)) == char


@pytest.mark.slow
@given(st.text())
def test_what_is_printable_stays(text: str) -> None:
    shown = output.printable(text)
    assert len(shown) == len(text)
    assert harmless(shown)
    assert all(one == other for one, other in zip(text, shown, strict=True) if one.isprintable() or one in "\n\t")
    assert harmless(output.one_line(text))
    assert "\n" not in output.one_line(text)


def test_messages_are_a_printable_line_each() -> None:
    record = logging.LogRecord("icdbench", logging.WARNING, "", 0, "%s\nicdbench: forged", (CANARY,), None)
    shown = output.Formatter().format(record)
    assert shown.isprintable()
    assert shown.startswith("icdbench: ")


def test_messages_end(icdbench: Call) -> None:
    status, _, err = icdbench("run", "--models", "x" * 10**6)
    assert status == 2
    assert len(err) < 5000


@pytest.mark.slow
def test_commands_print_in_one_place_alone() -> None:
    """So that there is one place to mend."""
    for path in ROOT.glob("icdbench/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if path.name != "options.py":
                assert called not in {"print", "typer.echo", "typer.secho", "sys.stdout.write", "sys.stderr.write"}, (
                    path
                )
            # terminal.py draws into a string, of cells that it has made printable (tests/presentation/test_terminal.py).
            if called in {"console.print", "self.console.print"} and path.name != "terminal.py":
                assert "printable(" in ast.unparse(node) or "as_text(" in ast.unparse(node), path


# --- Through every command -----------------------------------------------------------------------------------------------


@pytest.fixture
def hostile_notes(tmp_path: Path) -> Path:
    """Own notes whose ids, codes and texts have all of the canary."""
    path = tmp_path / "notes.jsonl"
    lines = []
    for number in range(40):
        word, code = [("fever", "038.9"), ("edema", "428.0"), ("insulin", "0250")][number % 3]
        split = "train" if number < 20 else "validation" if number < 30 else "test"
        row = {"id": f"{number}{CANARY}", "text": f"the {CANARY} {word} was treated", "codes": [f"{code}{CANARY}"]}
        lines.append(json.dumps(row | {"split": split}))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.slow
def test_no_command_shows_what_would_command_a_terminal(
    icdbench: Call, hostile_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("lr", "caml"):
        status, out, err = icdbench(
            "run", "--models", model, "--dataset", hostile_notes, "--seeds", "1,", *(FAST if model == "caml" else ())
        )
        assert status == 0, err
        assert harmless(out + err)
    one, two = (record.id for record in store.load_records(tmp_path / "results"))
    note = tmp_path / f"note{CANARY.replace(chr(0), '')}.txt"
    note.write_text(f"the {CANARY} fever was treated", encoding="utf-8")
    monkeypatch.setattr(predict, "SHOWN", 2)
    commands: list[tuple[object, ...]] = [
        ("runs",),
        ("runs", "--remeasure"),
        ("compare", "lr", "caml", "--dataset", "notes.jsonl"),
        *(("tables", "--format", fmt) for fmt in formats.FORMATS),
        ("report", "--out", "report.html"),
        ("data", "list"),
        ("data", "check", hostile_notes),
        ("data", "describe", hostile_notes),
        ("data", "export", hostile_notes, "--out", "exported"),
        ("bundle", two, "--out", f"m{note.stem}.icdbench"),
        *(("predict", note, hostile_notes, "--run", two, "--format", fmt) for fmt in ("table", "jsonl")),
        *(("explain", note, "--run", run, "--format", fmt, "--html", "n.html") for run in (one, two) for fmt in ("text", "json")),
        ("explain", "--evaluate", "--run", two, "--documents", "2"),
        ("export", "shared", "--with-predictions"),
    ]  # fmt: skip
    for words in commands:
        status, out, err = icdbench(*words)
        assert harmless(out + err), words
        # Notes that are alike are found, and codes with a line break cannot be exported.
        assert status == (2 if words[:2] in {("data", "check"), ("data", "export")} else 0), (words, err)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("{}",),
        ("run", "--models", "{}"),
        ("run", "--dataset", "{}"),
        ("run", "--dataset", "{}.csv"),
        ("run", "--set", "{}"),
        ("run", "--set", "{}=1"),
        ("run", "--seeds", "{}"),
        ("run", "--device", "{}"),
        ("runs", "--results", "{}"),
        ("tables", "{}"),
        ("tables", "--format", "{}"),
        ("compare", "{}", "{}"),
        ("figures", "{}"),
        ("report", "--out", "{}/x"),
        ("predict", "{}", "--bundle", "m.icdbench"),
        ("predict", "-", "--bundle", "{}"),
        ("predict", "-", "--run", "{}"),
        ("explain", "{}"),
        ("data", "check", "{}"),
        ("data", "clear", "{}"),
        ("data", "get", "{}"),
        ("models", "{}"),
        ("tune", "{}"),
        ("ablate", "{}"),
        ("serve", "--host", "{}", "--run", "x"),
    ],
)
def test_no_error_shows_what_would_command_a_terminal(words: tuple[str, ...], icdbench: Call) -> None:
    given = CANARY.replace("\x00", "")  # no argument of a process can hold it
    status, out, err = icdbench(*(word.replace("{}", given) for word in words))
    assert status in {0, 1, 2}
    assert harmless(out + err)
    assert err.count("\n") <= 1


# --- Spreadsheets --------------------------------------------------------------------------------------------------------

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "＋a", "－a", "＠a", "=", "@", "-x", "--", "\n=1", "-2+3", "+1-2", "-1.2.3", "-1,x"]  # fmt: skip
FIGURES = ["-1.5", "+0.3", "-17.6", "1", "-1", "+1e-5", "-.5", "-", "+", "0.25 ± 0.1", "-0.25 ± 0.1", "+17.6 [12.0, 23.1]", "-0.4 (-9.9 to 8.5)", "-0.4 †", "-6,567", "+1,234,567.8", "+0.1 ± 0.2 †", "", "a=b", "a-b", "250.00", "–", "−17.6"]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_compute_is_text(text: str) -> None:
    assert output.csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", FIGURES)
def test_figures_stay_figures(text: str) -> None:
    assert output.csv_cell(text) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_stays_a_number(number: float) -> None:
    assert output.csv_cell(repr(number)) == repr(number)
    assert output.csv_cell(f"{number:+.3f}") == f"{number:+.3f}"


@pytest.mark.parametrize(
    "long", ["-" + "1" * 10**5 + "x", "-1" + " to " * 10**5 + "x", "-1 " + " " * 10**5 + "x", "-" * 10**5]
)
def test_a_long_cell_takes_no_long_time(long: str) -> None:
    began = time.process_time()
    assert output.csv_cell(long) == f"'{long}"
    assert time.process_time() - began < 1


def test_every_csv_quotes_formulas() -> None:
    deviating = formats.Cell(0.3, 0.1, digits=2, sign=True)
    grid = formats.Grid("=title", ["@heading", "figure"], [["=1+1", formats.Cell(-1.5)], ["+a", deviating]], ["-note"])
    rows = list(csv.reader(io.StringIO(formats.write([grid], "csv"))))
    assert rows == [
        ["table", "'@heading", "figure", "figure sd", "notes"],
        ["'=title", "'=1+1", "-1.5", "", "'-note"],
        ["'=title", "'+a", "+0.30", "0.10", ""],
    ]
    reading = Reading((Code("=code", "+title", 0.5, above=True),), 1, 1, 0)
    header, row = csv.reader(io.StringIO("".join(predict.as_csv([("@note", reading)]))))
    assert row[:5] == ["'@note", "1", "'=code", "'+title", "0.5"]
    assert header[0] == "note"


def test_a_message_goes_to_what_stderr_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live display stands in for stderr while it is drawn; a message past it would break its line."""
    handler, live = output.StderrHandler(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", live)
    handler.emit(logging.LogRecord("icdbench", logging.WARNING, "", 0, "settings for small data", None, None))
    assert live.getvalue() == "settings for small data\n"
