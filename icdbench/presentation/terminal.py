"""Tables on a terminal, drawn by rich: as many columns as its width has room for, the main ones first.

Every cell and note is made printable first, so nothing of the data can command the terminal.
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

# What is left out first where there is no room for all: what other columns say as well, then how a figure was made.
FIRST_OUT = (
    "AUC micro", "AUC macro", "F1 macro (harmonic)", "F1 macro (mean)", "epochs", "seeds", "settings", "R@15", "R@8", "R@5",
    "P@15", "R precision", "train time", "F1 macro", "best epoch", "minutes", "variants", "set", "date", "p",
)  # fmt: skip
WRAPPED = {"what", "value"}  # headings of texts that are shown whole, in several lines
GAP = 2  # blanks after a column
SHORTEST = 12  # characters of a text that is worth beginning
TEXTS = LEFT.union(
    "paper variants variant run set sets what files word characters date default".split()
)  # headings of columns at the left


def draw(grids: Sequence[Grid], width: int | None = None) -> str:
    """The tables, at most so wide; without a width as wide as they are. Left-out columns are named below a table."""
    console = Console(
        file=io.StringIO(), width=width or 10_000, force_terminal=True, color_system="standard", highlight=False
    )
    for index, grid in enumerate(grids):
        if index:
            console.print()
        _print(console, grid, width)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _print(console: Console, grid: Grid, width: int | None) -> None:
    header = list(map(output.one_line, grid.header))
    cells = [[output.one_line(plain(cell)) for cell in row] for row in grid.rows]
    heads = [
        [head] if width is None else head.split() for head in header
    ]  # where there is little room in several lines
    widths = [
        max(map(cell_len, [*head, *(row[column] for row in cells)]), default=0) for column, head in enumerate(heads)
    ]
    room = _rooms(header, widths, width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="underline")
    for column, own in room.items():
        left = column == 0 or header[column] in TEXTS
        table.add_column(Text(header[column]), justify="left" if left else "right", width=own)
    for row, values in zip(cells, grid.rows, strict=True):
        styles = ["bold" if is_best(value) else "" for value in values]
        table.add_row(*(_text(row[column], styles[column], wrapped=header[column] in WRAPPED) for column in room))
    if grid.title:
        console.print(Text(output.one_line(grid.title), "bold"))
        console.print()
    console.print(table)
    notes = list(grid.notes)
    if left_out := [header[column] for column in range(len(header)) if column not in room]:
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


def _rooms(header: Sequence[str], widths: Sequence[int], width: int | None) -> dict[int, int]:
    """The columns that there is room for, and how wide each is; a text may be cut where it would be left out whole."""
    needed = dict(enumerate(widths))
    if width is None:
        return needed
    least = [header.index(name) for name in FIRST_OUT if name in header]
    order = [*least, *(column for column in reversed(needed) if column not in least)]
    kept = dict(needed)
    for column in order:
        if _total(kept) > width and column:
            for each in _together(header, column):
                kept.pop(each, None)
    for column in reversed(order):  # what has room beside the others after all
        wanted = {each: needed[each] for each in _together(header, column)}
        if _total({**kept, **wanted}) <= width:
            kept |= wanted
    for column in sorted(needed.keys() - kept.keys()):
        left = width - _total(kept) - GAP
        if header[column] in TEXTS and left >= SHORTEST:
            kept[column] = min(left, needed[column])
    first = min(kept[0], width - GAP)
    return {column: kept[column] if column else first for column in sorted(kept)}


def _together(header: Sequence[str], column: int) -> list[int]:
    """The column, with the other end where it is one of an interval."""
    if header[column] == "to":
        return [column - 1, column]
    return [column, column + 1] if header[column + 1 : column + 2] == ["to"] else [column]


def _total(rooms: Mapping[int, int]) -> int:
    return sum(own + GAP for own in rooms.values())
