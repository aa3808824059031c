"""The analyses in the report: a table for each, and the data of its charts."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from icdbench.evaluation import analysis
from icdbench.presentation.analysis_tables import LAYOUTS, Key, Layout, analysis_cell, columns_of, curves, unlabelled
from icdbench.presentation.cells import systems_in
from icdbench.presentation.report_data import figure_key
from icdbench.presentation.report_tables import ReportedCell, ReportedSystem, ReportedTable, system_label
from icdbench.records import RunRecord, store

LARGEST = 2_000_000  # test documents × codes; analyses of more would take too long for a page
CHOICE = analysis.Choice(prepare=False)  # a page does not wait for data to be prepared


def analysed(block: Sequence[RunRecord], results: Sequence[Path]) -> analysis.Analysed:
    """The analyses of comparable runs, if their predictions are below `results` and the test split is not too large."""
    figures: dict[str, Sequence[analysis.Figure]] = {}
    missing: dict[str, None] = {}
    for run in block:
        folder = store.with_predictions(results, run)
        if folder is None:
            continue
        if run.data.documents["test"] * run.data.num_codes > LARGEST:
            missing["The analyses of so large a test split are left to 'icdbench tables --analysis'."] = None
            continue
        found = _analysed_run(folder, run.created)
        figures |= found.figures
        missing |= dict.fromkeys(found.missing)
    return analysis.Analysed(figures, list(missing))


@functools.cache  # a served page is rendered again whenever a run ends
def _analysed_run(folder: Path, _created: str) -> analysis.Analysed:
    record = store.load_record(folder)
    return analysis.Analysed({}, []) if record is None else analysis.analyse([record], [folder.parents[2]], CHOICE)


def with_figures(system: ReportedSystem, found: analysis.Analysed) -> ReportedSystem:
    """The system with the figures of its analyses beside those of its records."""
    figures = []
    for run, own in zip(system.runs, system.figures, strict=True):
        figures.append({**own, **{figure_key(each[:3]): each.value for each in found.figures.get(run.id, ())}})
    return system._replace(figures=figures)


def analysis_tables(
    identity: str, systems: Sequence[ReportedSystem], found: analysis.Analysed
) -> Iterator[ReportedTable]:
    """A table for each analysis that some run has."""
    runs = [run for system in systems for run in system.runs if run.id in found.figures]
    for number, layout in enumerate(layout for layouts in LAYOUTS.values() for layout in layouts):
        columns = columns_of(layout, runs, found)
        rows = [
            [_cell_of_system(system, index, key, found) for _, key in columns] for index, system in enumerate(systems)
        ]
        if any(cell.key for row in rows for cell in row):
            labelled = list(zip(map(system_label, systems), rows, strict=True))
            header = ["system", *(name for name, _ in columns)]
            yield ReportedTable(f"{identity}-analysis-{number}", _table_name(layout), header, labelled)


def _table_name(layout: Layout) -> str:
    return f"{layout.title[0].upper()}{layout.title[1:]}"


def _cell_of_system(system: ReportedSystem, index: int, key: Key, found: analysis.Analysed) -> ReportedCell:
    order = system.mean(figure_key(key))
    if order is None:
        return ReportedCell()
    return ReportedCell(analysis_cell(system.runs, key, found), order, figure_key(key), (index,))


def about(tables: Sequence[ReportedTable], found: analysis.Analysed) -> list[str]:
    """Notes on what the tables show and on what could not be analysed."""
    abouts = {_table_name(layout): layout.about for layouts in LAYOUTS.values() for layout in layouts}
    return [*(f"{table.name}: {abouts[table.name]}" for table in tables), *found.missing]


def fraction_points(
    block: Sequence[RunRecord], systems: Sequence[ReportedSystem], records: Sequence[RunRecord]
) -> dict[str, list[dict[str, Any]]]:
    """Points of the learning curves over fractions of the training documents, by metric, for the block of the largest.

    A point has the index of a system, training documents, and mean, lowest and highest value over seeds. Systems with runs
    on a single fraction are left out.
    """
    in_block = {run.id for run in block}
    curve = next((runs for runs in curves(records) if in_block & {run.id for run in runs}), [])
    if not curve or max(run.spec.data.fraction for run in curve) != block[0].spec.data.fraction:
        return {}
    numbers = {unlabelled(system.runs[0]).spec.system: index for index, system in enumerate(systems)}
    points: dict[str, list[dict[str, Any]]] = {}
    for fraction in sorted({run.spec.data.fraction for run in curve}):
        for row in systems_in([unlabelled(run) for run in curve if run.spec.data.fraction == fraction], []):
            for key in analysis.FRACTION_KEYS:
                values = [run.metrics["test"].get("tuned", {}).get(key) for run in row.runs]
                scores = [value for value in values if value is not None]
                if row.system in numbers and len(scores) == len(row.runs):
                    documents = row.runs[0].data.documents["train"]
                    spread = {"y": 100 * sum(scores) / len(scores), "low": 100 * min(scores), "high": 100 * max(scores)}
                    points.setdefault(key, []).append({"system": numbers[row.system], "x": documents, **spread})
    fractions = {key: Counter(point["system"] for point in each) for key, each in points.items()}
    return {key: [point for point in each if fractions[key][point["system"]] > 1] for key, each in points.items()}
