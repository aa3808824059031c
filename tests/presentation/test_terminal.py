"""Tables on a terminal: never wider than it, the main columns first, and nothing of the data commands it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest
from conftest import Call
from places import ROOT
from rich.cells import cell_len

from icdbench.host import output
from icdbench.presentation import terminal
from icdbench.presentation.formats import FORMATS, Cell, Grid, Value, write
from icdbench.settings import SpecError

STYLE = re.compile(r"\x1b\[\d*m")
HEADER = ["system", "AUC macro", "AUC micro", "F1 micro tuned", "P@5", "MAP", "settings", "seeds", "train time"]
GRID = Grid(
    "Own runs",
    HEADER,
    [
        ["jlan@no-denoise", *(Cell(10.0 * number, 0.4) for number in range(1, 6)), "small data", 3, Cell(90, unit="s")],
        ["caml [torch 2.13]", *(Cell(11.0 * number, best=number == 3) for number in range(1, 6)), "default", 1, "–"],
    ],
    ["Percent on the test split, mean ± sample standard deviation over seeds. " * 3],
)


def lines(text: str) -> list[str]:
    """Without what makes them bold."""
    return STYLE.sub("", text).splitlines()


@pytest.mark.parametrize("width", [20, 30, 40, 60, 79, 80, 81, 100, 120, 200])
def test_a_table_is_no_wider_than_the_terminal(width: int) -> None:
    shown = lines(terminal.draw([GRID, GRID], width))
    assert max(map(cell_len, shown)) <= width
    assert sum(line.startswith("jlan@no-denoise") for line in shown) == 2


def test_the_main_columns_are_kept_and_the_others_named() -> None:
    shown = lines(terminal.draw([GRID], 60))
    assert "Left out at a width of 60: AUC macro, AUC micro, settings, seeds, train time;" in " ".join(
        " ".join(shown).split()
    )
    head = " ".join(shown[:6])
    assert "P@5" in head
    assert "MAP" in head
    assert "AUC" not in head


def test_a_wide_table_has_every_column() -> None:
    shown = lines(terminal.draw([GRID]))
    assert all(name in shown[2] for name in HEADER)
    assert not any("Left out" in line for line in shown)


def test_the_best_figure_is_bold_and_cells_command_nothing() -> None:
    hostile = Grid(
        "\x1b[2Jtitle", ["system", "P@5 \x1b[31m"], [["a\x1b]0;x\x07b[red]", Cell(1.5, best=True)]], ["\x1b[0;31mnote"]
    )
    text = terminal.draw([hostile], 80)
    assert set(STYLE.findall(text)) <= {"\x1b[1m", "\x1b[4m", "\x1b[0m"}
    assert "\x1b" not in STYLE.sub("", text)
    assert "[red]" in text
    assert "\x1b[1m            1.5\x1b[0m" in text or re.search(r"\x1b\[1m +1\.5\x1b\[0m", text)


def test_an_interval_has_both_ends_or_none() -> None:
    header = ["figures", "one", "other", "difference", "95 % from", "to", "p"]
    grid = Grid("", header, [["AUC macro", *(Cell(10.0) for _ in header[3:]), Cell(1.0), Cell(0.05)]], [])
    for width in range(20, 90):
        head = " ".join(lines(terminal.draw([grid], width))[:3]).split()
        assert ("to" in head) == ("from" in head), width
    head = " ".join(lines(terminal.draw([grid], 42))[:3]).split()
    assert ("p" in head, "to" in head) == (True, False)  # there is room for p, not for an interval


def test_names_wrap_before_the_main_column_is_left_out() -> None:
    row: list[Value] = ["F1 macro (present codes)", *(Cell(10.0, 0.5, digits=2) for _ in "ab"), Cell(1.0), Cell(0.05)]
    compared = Grid("", ["figures", "caml", "cnn", "difference", "p"], [row], [])
    one = Grid("", ["figures", "test, fixed"], [[row[0], Cell(10.0, interval=(9.0, 11.0))]], [])
    for grid, kept in (compared, ["caml", "difference"]), (one, ["test, fixed"]):
        head, *body = lines(terminal.draw([grid], 40))[:4]
        assert [name for name in grid.header[1:] if name in head] == kept
        assert " ".join(line.split("  ")[0] for line in body).split() == ["F1", "macro", "(present", "codes)"]


def test_a_name_is_never_cut() -> None:
    name = "codiesp-d/stacked@evidence-titles/1-401f83f5"
    shown = lines(terminal.draw([Grid("", ["run", "P@5"], [[name, Cell(1.0)]], [])], 30))
    assert "".join(shown[1:3]) == name


def test_a_text_is_shown_whole_in_several_lines() -> None:
    grid = Grid("", ["figures", "what"], [["versions", "torch 2.13.0, " * 20]], [])
    assert " ".join(lines(terminal.draw([grid], 60))).count("torch") == 20


def test_equations_stay_and_paragraphs_are_filled() -> None:
    text = "A paragraph of two\nlines.\n\n    x = dropout(embedding)      [T, E], a remark\n    y = x\n\n- an item\n  goes on\n- another"
    filled = output.refilled(text, 30).splitlines()
    assert filled[:3] == ["A paragraph of two lines.", "", "    x = dropout(embedding)"]
    assert filled[3:] == ["        [T, E], a remark", "    y = x", "", "- an item goes on", "- another"]
    assert output.refilled(text, 80).splitlines()[2] == "    x = dropout(embedding)      [T, E], a remark"


def test_every_format_can_be_asked_for() -> None:
    assert "terminal" in FORMATS
    assert "AUC macro" in write([GRID], "wide")
    with pytest.raises(SpecError, match=r"'mdd'; did you mean 'md'\? \(known: csv, html, latex, md, terminal\)$"):
        write([GRID], "mdd")


COMMANDS = (
    ("models",),
    ("models", "lr"),
    ("models", "jlan"),
    ("data", "list"),
    ("data", "describe", "demo"),
    ("show", "RUN", "--results", ROOT / "results"),
    ("runs", "--results", ROOT / "results"),
    ("tables", "table5", "--results", ROOT / "results"),
    ("tables", "literature"),
    ("compare", "caml", "cnn", "--dataset", "codiesp-d50", "--results", ROOT / "results"),
    ("compare", "lr", "cnn", "svm", "--dataset", "codiesp-d50", "--results", ROOT / "results"),
)


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch, icdbench: Call) -> Callable[..., list[str]]:
    """A command on a terminal of 80 columns; its lines."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words: object) -> list[str]:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        status, out, err = icdbench(*words)
        assert status == 0, err
        return lines(out)

    return call


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(map(str, words[:2])))
def test_commands_fit_80_columns(on_terminal: Callable[..., list[str]], words: tuple[object, ...]) -> None:
    run = next((ROOT / "results" / "codiesp-d50" / "jlan").iterdir())
    shown = on_terminal(*(f"codiesp-d50/jlan/{run.name}" if word == "RUN" else word for word in words))
    tables = [line for line in shown if re.search(r"\S {2,}\S", line)]
    assert len(tables) > 3
    assert max(map(cell_len, shown)) <= 80


def test_run_prints_a_table_that_fits(on_terminal: Callable[..., list[str]], few_notes: object) -> None:
    shown = on_terminal("run", "--models", "popularity", "--dataset", few_notes, "--set", "data.min_documents=1")
    assert any(line.startswith("popularity") for line in shown)
    assert max(map(cell_len, shown)) <= 80
