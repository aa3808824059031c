"""Mark figures that cannot be told from the best of their column, by the bootstrap of documents and seeds (`marked`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from icdbench.evaluation import bootstrap, drawn
from icdbench.presentation.cells import Column, SystemRow, comparable_number
from icdbench.presentation.formats import TIED, Cell, Value
from icdbench.types import FloatArray


def marked(
    systems: Sequence[SystemRow], columns: Sequence[Column], results: Sequence[Path]
) -> tuple[list[SystemRow], list[str]]:
    """The systems with marks on figures that cannot be told from the best, and the notes on them.

    The best of a column is compared with every other system whose predictions are below the `results` folders. Those with a
    p-value of .05 or more, after Holm's correction for the column, are marked. Without folders, nothing is marked.
    """
    if not results or len(systems) < 2:
        return list(systems), []
    found = drawn.systems([system.runs for system in systems], results, len(systems) - 1)
    notes = _notes(systems, found)
    if sum(not each.lacking for each in found) < 2:
        return list(systems), notes
    rows: list[list[Value]] = [list(system.cells) for system in systems]
    for position, (_, rule, key) in enumerate(columns):
        values = [each.figures.get(rule, {}).get(key) for each in found]
        for row in _tied([row[position] for row in rows], values):
            cell = rows[row][position]
            rows[row][position] = cell._replace(tied=True) if isinstance(cell, Cell) else cell
    return [system._replace(cells=row) for system, row in zip(systems, rows, strict=True)], notes


def _tied(column: Sequence[Value], values: Sequence[FloatArray | None]) -> list[int]:
    """The rows of a column that cannot be told from the best; `values` are the figures of each row in every resample."""
    cells = {row: cell for row, cell in enumerate(column) if comparable_number(cell)}
    best = max((row for row in cells if cells[row].best), key=lambda row: cells[row].value, default=None)
    if best is None or (best_R := values[best]) is None:
        return []
    p_values = {
        row: bootstrap.p_value(best_R - own_R) for row in cells if row != best and (own_R := values[row]) is not None
    }
    adjusted = zip(p_values, bootstrap.holm([*p_values.values()]), strict=True)
    return [row for row, p in adjusted if p >= bootstrap.SIGNIFICANT and not cells[row].best]


def _notes(systems: Sequence[SystemRow], found: Sequence[drawn.DrawnSystem]) -> list[str]:
    """What the mark means, which sources of variation it covers, and which systems were not tested, and why."""
    tested = [system for system, each in zip(systems, found, strict=True) if not each.lacking]
    lacking: dict[str, list[str]] = {}
    for system, each in zip(systems, found, strict=True):
        if each.lacking:
            lacking.setdefault(each.lacking, []).append(system.label)
    if len(tested) < 2:
        return [f"What cannot be told from the best is not marked: {'; '.join(lacking)}."]
    single = [system.label for system in tested if len(system.runs) == 1]
    over = "test documents and seeds" if len(single) < len(tested) else "test documents, one seed each"
    but = f"; documents alone for {', '.join(single)}, with one seed" if 0 < len(single) < len(tested) else ""
    how = f"p of at least {bootstrap.SIGNIFICANT} by the paired bootstrap of {over}"
    notes = [
        f"{TIED} cannot be told from the best of its column (bold): {how}, corrected for its comparisons (Holm){but}."
    ]
    return notes + [f"Not tested: {', '.join(names)}: {why}." for why, names in lacking.items()]
