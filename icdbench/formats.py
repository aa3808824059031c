"""Text formats: a table of plain cells in; Markdown, LaTeX (booktabs), CSV or HTML out."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tabulate import tabulate

from icdbench.spec import SpecError, nearest

NUMBER = re.compile(r"([+-]?\d+\.\d+)(?: ± (\d+\.\d+))?")  # a cell that is a figure: mean, standard deviation


class Best(str):
    """A cell that is the best of its column."""

    __slots__ = ()


class Grid(NamedTuple):
    """A table before it takes a format: cells and notes are plain text. The notes stand underneath, a line each."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]


def _plain(text: str) -> str:
    """One line without control characters: names come from file names."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _markdown(text: str) -> str:
    # An underscore between letters is no markup, and train.max_epochs reads better without a backslash.
    return re.sub(r"[\\`*\[\]<>|~&$]|_(?![^\W_])|(?<![^\W_])_", r"\\\g<0>", text)


def _latex(text: str) -> str:
    words = {"\\": "backslash", "~": "asciitilde", "^": "asciicircum", "|": "bar", "<": "less", ">": "greater"}
    special = {char: f"\\{char}" for char in "&%$#_{}"} | {char: f"\\text{word}{{}}" for char, word in words.items()}
    special |= {"±": r"$\pm$", "†": r"\dag{}", "–": "--"}
    escaped = "".join(special.get(char, char) for char in text)
    return re.sub(r"^-(?=\d)", "$-$", escaped)


class Format(NamedTuple):
    """A text format: tabulate's name for it, how to escape, embolden and separate notes, and what stands around."""

    style: str
    escape: Callable[[str], str]
    bold: str
    separator: str
    frame: str


LATEX_FRAME = (
    "\\begin{{table}}\n\\footnotesize\\tabcolsep=3pt\n\\caption{{{title}}}\n{body}\n\n{notes}\n\\end{{table}}\n"
)
HTML_FRAME = "<table>\n<caption>{title}</caption>\n{body}\n<tfoot><tr><td colspan='{width}'>{notes}</td></tr></tfoot>\n</table>\n"
MARKUP = {
    "md": Format("pipe", _markdown, "**{}**", "\n- ", "**{title}**\n\n{body}\n\n- {notes}\n"),
    "latex": Format("latex_raw", _latex, r"\textbf{{{}}}", "\n\n", LATEX_FRAME),
    "html": Format("unsafehtml", html.escape, "<strong>{}</strong>", "<br>\n", HTML_FRAME),
}
FORMATS = (*MARKUP, "csv")


def write(grids: Sequence[Grid], fmt: str) -> str:
    """The tables under one another. Raises SpecError for an unknown format."""
    if fmt not in FORMATS:
        raise SpecError(f"no table format '{fmt}'{nearest(fmt, FORMATS)}")
    if fmt == "csv":
        return _csv(grids)
    return "\n".join(_formatted(grid, MARKUP[fmt]) for grid in grids)


def _formatted(grid: Grid, form: Format) -> str:
    def text(cell: str) -> str:
        escaped = form.escape(_plain(cell))
        return form.bold.format(escaped) if isinstance(cell, Best) else escaped

    header, *rows = [[text(cell) for cell in row] for row in (grid.header, *grid.rows)]
    align = [
        "left"
        if heading in {"system", "method", "figures", "data set", "codes, to scale", "config", "parameter"}
        else "right"
        for heading in grid.header
    ]
    body = tabulate(rows, header, form.style, disable_numparse=True, colalign=align if rows else None)
    for rule in ("toprule", "midrule", "bottomrule"):  # tabulate's own booktabs style would escape a second time
        body = body.replace(r"\hline", f"\\{rule}", 1)
    inner = body.removeprefix("<table>\n").removesuffix("\n</table>")
    notes = form.separator.join(map(text, grid.notes))
    return form.frame.format(title=text(grid.title), body=inner, notes=notes, width=len(header))


def _csv(grids: Sequence[Grid]) -> str:
    """One header for all tables. Means and deviations have columns of their own; the notes stand in a table's first row."""
    records = []
    for grid in grids:
        for row, notes in zip(grid.rows, [" ".join(grid.notes), *[""] * len(grid.rows)], strict=False):
            record = {"table": grid.title, "notes": notes}
            for heading, cell in zip(grid.header, row, strict=True):
                match = NUMBER.fullmatch(cell)
                record |= {heading: match[1], f"{heading} sd": match[2] or ""} if match else {heading: cell}
            records.append({key: _plain(value) for key, value in record.items()})
    fields = list(dict.fromkeys(key for grid in grids for heading in grid.header for key in (heading, f"{heading} sd")))
    used = [field for field in fields if not field.endswith(" sd") or any(record.get(field) for record in records)]
    out = io.StringIO()
    writer = csv.DictWriter(out, ["table", *used, "notes"], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()
