"""What others report on the same data: rows beside own runs (`reported_rows`) and separate tables (`literature`)."""

from __future__ import annotations

from collections.abc import Sequence

from icdbench.presentation.cells import Column, as_printed, mark_best
from icdbench.presentation.formats import Cell, Grid, Value, plain, write
from icdbench.presentation.headings import HEADINGS, MACRO_F1
from icdbench.spec import Reported

MACRO = dict(zip(MACRO_F1, "hmpu", strict=True))
MARKS = {mark: f"F1 macro: {MACRO_F1[key]}" for key, mark in MACRO.items()} | {"t": "threshold tuned on validation"}


def literature(reported: Sequence[Reported], fmt: str = "md") -> str:
    """What others report, a table for each data set; each macro-F1 is in the column of its definition."""
    grids = []
    for dataset in dict.fromkeys(each.dataset for each in reported):
        on_data = [each for each in reported if each.dataset == dataset]
        keys = [key for key in HEADINGS if any(key in each.figures for each in on_data)]
        numbers = source_numbers(on_data)
        cells = mark_best([[as_printed(each.figures.get(key, "")) for key in keys] for each in on_data])
        rows = [[each.system, numbers[each.origin], *row] for each, row in zip(on_data, cells, strict=True)]
        notes = ["Percent, as printed.", *(f"{number} {source}." for source, number in numbers.items())]
        tuned = dict.fromkeys(numbers[each.origin] for each in on_data if each.threshold == "tuned")
        notes += [f"{', '.join(tuned)}: threshold tuned on validation."] if tuned else []
        header = ["system", "figures", *(HEADINGS[key] for key in keys)]
        grids.append(Grid(f"Reported by others on {dataset}", header, rows, notes))
    return write(grids, fmt)


def source_numbers(reported: Sequence[Reported]) -> dict[str, str]:
    """The number in brackets of each source, by first appearance; ‡ marks second-hand sources."""
    origins = {each.origin: "‡" if each.read_in else "" for each in reported}
    return {origin: f"[{number}]{mark}" for number, (origin, mark) in enumerate(origins.items(), 1)}


def reported_rows(
    reported: Sequence[Reported], columns: Sequence[Column]
) -> tuple[list[tuple[str, str, list[Value]]], list[str]]:
    """Rows of what others report in these columns (system, number of the source, cells), and the notes on them."""
    numbers = source_numbers(reported)
    rows: list[tuple[str, str, list[Value]]] = []
    used: set[str] = set()
    for each in reported:
        found = [_figure_for_column(each, column, columns) for column in columns]
        used |= {mark for _, marks in found for mark in marks}
        if any(text for text, _ in found):
            rows.append((each.system, numbers[each.origin], [_with_marks(text, marks) for text, marks in found]))
    notes = [f"({mark}) {meaning}." for mark, meaning in MARKS.items() if mark in used]
    return rows, notes + [f"{number} {source}." for source, number in numbers.items()]


def _figure_for_column(each: Reported, column: Column, columns: Sequence[Column]) -> tuple[str, list[str]]:
    """The printed figure for a column, and marks if its macro-F1 or its threshold differs from the column's."""
    _, rule, key = column
    found = next((other for other in MACRO if other in each.figures), key) if key in MACRO else key
    found = key if key in each.figures else found
    text, tuned = each.figures.get(found, ""), key.startswith("f1") and (each.threshold or "fixed") != rule
    has_column = any(each.threshold == other and key == k for _, other, k in columns)
    if not text or (tuned and (rule == "tuned" or has_column)):
        return "", []
    return text, [*([MACRO[found]] if found != key else []), *(["t"] if tuned else [])]


def _with_marks(text: str, marks: Sequence[str]) -> Value:
    value = as_printed(text)
    if not marks:
        return value
    mark = f"({', '.join(marks)})"
    return value._replace(mark=mark) if isinstance(value, Cell) else f"{plain(value)} {mark}"
