"""Tables on a terminal, drawn by rich with as many columns as fit, the main ones first; entered by `draw`.

Cells and notes are made printable first, so that nothing in the data can control the terminal.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from icdbench.host import output
from icdbench.presentation.formats import LEFT, Grid, is_best, plain

# Left out in this order if not all columns fit: what other columns say as well, then how figures were made.
FIRST_OUT = (
    "AUC micro", "AUC macro", "F1 macro (harmonic)", "F1 macro (mean)", "epochs", "seeds", "settings", "R@15", "R@8", "R@5",
    "P@15", "R precision", "train time", "F1 macro", "best epoch", "minutes", "variants", "set", "date", "p",
)  # fmt: skip
LAST_OUT = ("difference",)
WRAPPED = {"what", "value"}  # headings of texts that wrap and are never cut
GAP = 2  # blanks after a column
SHORTEST = 12  # characters of a text that is cut rather than left out
TEXTS = LEFT.union("paper variants variant run set sets files word characters date default".split())  # left-aligned


def draw(grids: Sequence[Grid], width: int | None = None) -> str:
    """Draw tables at most `width` wide, or with all columns; a note below a table names the columns left out."""
    console = Console(
        file=io.StringIO(), width=width or 10_000, force_terminal=True, color_system="standard", highlight=False
    )
    for index, grid in enumerate(grids):
        if index:
            console.print()
        _print_table(console, grid, width)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _print_table(console: Console, grid: Grid, width: int | None) -> None:
    header = list(map(output.one_line, grid.header))
    cells = [[output.one_line(plain(cell)) for cell in row] for row in grid.rows]
    heads = [[head] if width is None else head.split() for head in header]  # in a narrow table headings wrap
    needed = [
        max(map(cell_len, [*head, *(row[column] for row in cells)]), default=0) for column, head in enumerate(heads)
    ]
    shortest = max(map(cell_len, " ".join([header[0], *(row[0] for row in cells)]).split()), default=0)
    widths = dict(enumerate(needed)) if width is None else _column_widths(header, needed, shortest, width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="underline")
    for column, column_width in widths.items():
        left = column == 0 or header[column] in TEXTS
        table.add_column(Text(header[column]), justify="left" if left else "right", width=column_width)
    for row, values in zip(cells, grid.rows, strict=True):
        styles = ["bold" if is_best(value) else "" for value in values]
        wrapped = [column == 0 or head in WRAPPED for column, head in enumerate(header)]
        table.add_row(*(_text(row[column], styles[column], wrapped=wrapped[column]) for column in widths))
    if grid.title:
        console.print(Text(output.one_line(grid.title), "bold"))
        console.print()
    console.print(table)
    notes = list(grid.notes)
    if left_out := [header[column] for column in range(len(header)) if column not in widths]:
        notes = [f"Left out at a width of {width}: {', '.join(left_out)}; --wide shows all.", *notes]
    if not notes:
        return
    console.print()
    lines = Table.grid(padding=(0, 1, 0, 0))
    for note in notes:
        lines.add_row("-", Text(output.one_line(note)))
    console.print(lines)


def _text(cell: str, style: str, *, wrapped: bool) -> Text:
    return Text(cell, style, no_wrap=not wrapped, overflow="fold" if wrapped else "ellipsis")


def _column_widths(header: Sequence[str], needed: Sequence[int], shortest: int, width: int) -> dict[int, int]:
    """The columns that fit and their widths; a text may be cut where the whole column would be left out.

    Names in the first column wrap at blanks, down to `shortest` characters, if they would take half of the table.
    """
    first_out, last_out = ([header.index(name) for name in names if name in header] for names in (FIRST_OUT, LAST_OUT))
    others = [column for column in reversed(range(len(needed))) if column not in {*first_out, *last_out}]
    order = [*first_out, *others, *last_out]
    kept = dict(enumerate(needed))
    if needed[0] + GAP > width / 2:
        kept[0] = shortest
    for column in order:
        if _total_width(kept) > width and column:
            for each in _interval_columns(header, column):
                kept.pop(each, None)
    for column in reversed(order):  # one that was left out may fit after all
        wanted = {each: needed[each] for each in _interval_columns(header, column)}
        if _total_width({**kept, **wanted}) <= width:
            kept |= wanted
    for column in sorted(set(order) - kept.keys()):
        left = width - _total_width(kept) - GAP
        if header[column] in TEXTS and left >= SHORTEST:
            kept[column] = min(left, needed[column])
    kept[0] = min(needed[0], kept[0] + width - _total_width(kept))
    return dict(sorted(kept.items()))


def _interval_columns(header: Sequence[str], column: int) -> list[int]:
    """The column, and the other end if it is one end of an interval."""
    if header[column] == "to":
        return [column - 1, column]
    return [column, column + 1] if header[column + 1 : column + 2] == ["to"] else [column]


def _total_width(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + GAP * len(widths)
