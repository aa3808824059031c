"""Write tables of typed cells (`Grid`) as Markdown, LaTeX (booktabs), CSV, HTML or terminal text; entered by `write`.

A number stays a number (`Cell`) until this module prints it; no other code parses printed numbers.
"""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tabulate import tabulate

from icdbench.host import output
from icdbench.settings import SpecError, nearest

# Headings of left-aligned columns.
LEFT = {"data set", "codes, to scale", *"model system method figures config parameter what value from state".split()}
TIED = "≈"  # beside a number that cannot be told from the best of its column


class Cell(NamedTuple):
    """A number of a table, in the unit in which it is shown, such as percent.

    `sd` is the standard deviation over seeds, `interval` the 95 % interval. A number with a `mark` is not comparable with its
    column (a collapsed run, another definition of the metric): it is never the best and enters no difference.
    """

    value: float
    sd: float | None = None
    mark: str = ""
    digits: int = 1
    sign: bool = False  # whether positive numbers have a plus sign; zero then has none
    grouped: bool = False  # whether thousands are separated
    unit: str = ""  # such as %; `s` is a duration, shown in seconds, minutes or hours
    interval: tuple[float, float] | None = None
    best: bool = False
    tied: bool = False  # whether it cannot be told from the best of its column

    @property
    def shown(self) -> float:
        """The value as printed, so that comparisons and differences agree with what a reader sees."""
        return round(self.value, self.digits)


Value = Cell | str | int  # of a table's cell


class Grid(NamedTuple):
    """A table without a format; each note is a line below it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Value]]
    notes: Sequence[str]


def count(number: int) -> Cell:
    """A count with separated thousands."""
    return Cell(number, digits=0, grouped=True)


def joined(numbers: Iterable[float], digits: int = 1) -> str:
    """Several numbers in one cell: `3.4 / 2.9 / 3.2`."""
    return " / ".join(f"{number:.{digits}f}" for number in numbers)


def duration(seconds: float) -> str:
    """A time in hours, minutes or seconds: the largest unit that gives at least 1."""
    size, unit = (3600, "h") if seconds >= 3600 else (60, "min") if seconds >= 60 else (1, "s")
    return f"{seconds / size:.1f} {unit}"


def plain(value: Value) -> str:
    """A cell's text without markup: `60.4 ± 2.9`, `0.0 †`, `41.7 ≈`."""
    if not isinstance(value, Cell):
        return str(value)
    if value.sd is not None:
        return f"{_number(value, value.value)} ± {deviation(value)}"
    low, high = (_number(value, end) for end in value.interval or (0, 0))
    interval = [f"({low} to {high})"] if value.interval else []
    return " ".join([_number(value, value.value), *interval, *_marks(value)])


def _marks(cell: Cell) -> list[str]:
    return [*([cell.mark] if cell.mark else []), *([TIED] if cell.tied else [])]


def _number(cell: Cell, number: float) -> str:
    if cell.unit == "s":
        return duration(number)
    sign = cell.sign and round(number, cell.digits)
    form = f"{'+' if sign else ''}{',' if cell.grouped else ''}.{cell.digits}f"
    return f"{number if sign or not cell.sign else 0:{form}}" + (f" {cell.unit}" if cell.unit else "")


def deviation(value: Value) -> str:
    """A cell's standard deviation, if it has one, with the cell's marks."""
    if not isinstance(value, Cell) or value.sd is None:
        return ""
    return " ".join([_number(value._replace(sign=False), value.sd), *_marks(value)])


def is_best(value: Value) -> bool:
    """Whether the value is printed in bold."""
    return isinstance(value, Cell) and value.best


def _markdown(text: str) -> str:
    # An underscore between letters is no markup, and train.max_epochs reads better without a backslash.
    return re.sub(r"[\\`*\[\]<>|~&$]|_(?![^\W_])|(?<![^\W_])_", r"\\\g<0>", text)


def _markdown_note(text: str) -> str:
    """Escape text at the start of a line, where some characters would begin a heading, a list or a rule."""
    return re.sub(r"^(\d+)(?=[.)])", r"\1\\", re.sub(r"^(?=[#+=-])", r"\\", _markdown(text)))


def _latex(text: str) -> str:
    # Keep pairs apart that LaTeX would join into one character.
    text = re.sub(r"-(?=-)|`(?=`)|'(?=')|[?!](?=`)|,(?=,)", "\\g<0>\0", text)
    words = {"\\": "backslash", "~": "asciitilde", "^": "asciicircum", "|": "bar", "<": "less", ">": "greater"}
    special = {char: f"\\{char}" for char in "&%$#_{}"} | {char: f"\\text{word}{{}}" for char, word in words.items()}
    special |= {"\0": "{}", "±": r"$\pm$", "†": r"\dag{}", "–": "--", TIED: r"$\approx$"}
    escaped = "".join(special.get(char, char) for char in text)
    return re.sub(r"^-(?=\d)", "$-$", escaped)


def _latex_line(text: str) -> str:
    """Escape text at the start of a line: the line break before it would read `[` or `*` as its option."""
    return re.sub(r"^(?=[\[*])", "{}", _latex(text))


class Format(NamedTuple):
    """A text format: tabulate's name for it, functions that escape text, templates for bold type and the whole table.

    `first` escapes the first cell of a row, `note` a note below the table.
    """

    style: str
    escape: Callable[[str], str]
    first: Callable[[str], str]
    note: Callable[[str], str]
    bold: str
    separator: str
    frame: str


LATEX_FRAME = (
    "\\begin{{table}}\n\\footnotesize\\tabcolsep=3pt\n\\caption{{{title}}}\n{body}\n\n{notes}\n\\end{{table}}\n"
)
HTML_FRAME = "<table>\n<caption>{title}</caption>\n{body}\n<tfoot><tr><td colspan='{width}'><div>{notes}</div></td></tr></tfoot>\n</table>\n"
MARKUP = {
    "md": Format(
        "pipe", _markdown, _markdown, _markdown_note, "**{}**", "\n- ", "**{title}**\n\n{body}\n\n- {notes}\n"
    ),
    "latex": Format("latex_raw", _latex, _latex_line, _latex, r"\textbf{{{}}}", "\n\n", LATEX_FRAME),
    "html": Format("unsafehtml", html.escape, html.escape, html.escape, "<strong>{}</strong>", "<br>\n", HTML_FRAME),
}
# `terminal` prints as many columns as fit; WIDE (`--wide`) prints all.
FORMATS, WIDE = (*MARKUP, "csv", "terminal"), "wide"


def write(grids: Sequence[Grid], fmt: str) -> str:
    """Write the tables one below the other. Raises SpecError for an unknown format."""
    if fmt not in (*FORMATS, WIDE):
        raise SpecError(f"no table format '{fmt}'{nearest(fmt, FORMATS)}")
    if fmt == "csv":
        return _csv(grids)
    if fmt in {"terminal", WIDE}:
        from icdbench.presentation import terminal

        return terminal.draw(grids, shutil.get_terminal_size().columns if fmt == "terminal" else None)
    return "\n".join(_formatted(grid, MARKUP[fmt]) for grid in grids)


def _formatted(grid: Grid, form: Format) -> str:
    def text(cell: Value, escape: Callable[[str], str] = form.escape) -> str:
        escaped = escape(output.one_line(plain(cell)))
        return form.bold.format(escaped) if is_best(cell) else escaped

    lines = (grid.header, *grid.rows)
    header, *rows = [[text(cell, form.escape if i else form.first) for i, cell in enumerate(row)] for row in lines]
    align = ["left" if heading in LEFT else "right" for heading in grid.header]
    body = tabulate(rows, header, form.style, disable_numparse=True, colalign=align if rows else None)
    booktabs = ("toprule", "midrule", "bottomrule") if form is MARKUP["latex"] else ()
    for rule in booktabs:  # tabulate's own booktabs style would escape a second time
        body = body.replace(r"\hline", f"\\{rule}", 1)
    inner = body.removeprefix("<table>\n").removesuffix("\n</table>")
    notes = form.separator.join(text(note, form.note) for note in grid.notes)
    return form.frame.format(title=text(grid.title), body=inner, notes=notes, width=len(header))


def _csv(grids: Sequence[Grid]) -> str:
    """All tables under one header. Standard deviations and ≈ have columns of their own; notes are in a table's first row."""
    records = []
    for grid in grids:
        rows: Sequence[Sequence[Value]] = grid.rows or [
            ("",) * len(grid.header)
        ]  # without rows the notes say what is missing
        for row, notes in zip(rows, [" ".join(grid.notes), *[""] * len(rows)], strict=False):
            record = {"table": grid.title, "notes": notes}
            for heading, cell in zip(grid.header, row, strict=True):
                shown = cell._replace(tied=False) if isinstance(cell, Cell) else cell
                if isinstance(shown, Cell) and shown.sd is not None and not shown.mark:
                    record |= {heading: _number(shown, shown.value), f"{heading} sd": deviation(shown)}
                else:
                    record[heading] = plain(shown)
                if shown != cell:
                    record[f"{heading} {TIED}"] = TIED
            records.append({key: output.csv_cell(output.one_line(value)) for key, value in record.items()})
    headings = dict.fromkeys(heading for grid in grids for heading in grid.header)
    optional = {f"{heading} {kind}" for heading in headings for kind in ("sd", TIED)}
    fields = [key for heading in headings for key in (heading, f"{heading} sd", f"{heading} {TIED}")]
    used = [key for key in dict.fromkeys(fields) if key not in optional or any(record.get(key) for record in records)]
    columns = ["table", *used, "notes"]
    lines = ([record.get(column, "") for column in columns] for record in records)
    return "".join(map(output.csv_row, [[output.csv_cell(output.one_line(column)) for column in columns], *lines]))
