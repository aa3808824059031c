"""Data for the report's script: histories, differences of systems, tables, and the runs behind every number."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from icdbench.evaluation import bootstrap
from icdbench.evaluation import drawn as drawing
from icdbench.models import FLOORS
from icdbench.presentation.analysis_tables import NUMBERS
from icdbench.presentation.cells import Column, difference
from icdbench.presentation.formats import plain
from icdbench.presentation.headings import COUNTS, heading
from icdbench.presentation.report_tables import RULES, ReportedCell, ReportedSystem, ReportedTable, measured, versions
from icdbench.records import RunRecord
from icdbench.types import FloatArray

ANALYSIS, SIZES = "analysis", ("codes", "assignments", "documents", "cells")
TRAINING = {"loss", "drop_rate", "dropped", "split"}  # figures of a history that are not of validation


def section_data(
    systems: Sequence[ReportedSystem],
    columns: Sequence[Column],
    results: Sequence[Path],
    commands: Callable[[Iterable[RunRecord]], list[str]],
) -> dict[str, Any]:
    """The data of a section, for JSON: each run's figures in the order of `keys`, its history by metric, its origin."""
    keys = list(dict.fromkeys(key for system in systems for figures in system.figures for key in figures))
    return {
        "keys": [[key, *_kind_and_words(key)] for key in keys],
        "columns": [[name, f"test {rule} {key}"] for name, rule, key in columns],
        "pairs": list(differences(systems, columns, results)) if len(systems) > 1 else [],
        "systems": [
            {
                "label": system.label,
                "floor": system.runs[0].spec.system in {*FLOORS, "popularity"},
                "commands": commands(system.runs),
                "settings": list(_settings_by_origin(system)),
            }
            for system in systems
        ],
        "runs": [
            {
                "system": index,
                "id": run.id,
                "seed": run.spec.seed,
                "date": run.created,
                "commit": run.commit,
                "device": run.device,
                "versions": versions(run),
                "threshold": run.threshold.get("tuned"),
                "figures": [None if figures.get(key) is None else _rounded(figures[key], 6) for key in keys],
                "history": {
                    key: [None if key not in epoch else _rounded(epoch[key], 4) for epoch in epochs]
                    for epochs in [[epoch.figures for epoch in run.history]]
                    for key in dict.fromkeys(key for epoch in epochs for key in epoch)
                },
            }
            for index, system in enumerate(systems)
            for run, figures in zip(system.runs, system.figures, strict=True)
        ],
    }


def _rounded(value: float, digits: int) -> float:
    """Round to significant digits; whole numbers stay as they are."""
    return int(value) if value == int(value) else float(f"{value:.{digits}g}")


def _settings_by_origin(system: ReportedSystem) -> Iterator[tuple[str, list[str]]]:
    """The settings of a system, by what they belong to or where they come from."""
    run, spec = system.runs[0], system.runs[0].spec
    groups: dict[str, Mapping[str, object]] = {"data": spec.data.model_dump(), "train": spec.train.model_dump()}
    groups |= {spec.model: spec.config, "set by the user": run.changed, "for small training sets": run.adapted}
    for name, values in groups.items():
        if values:
            yield name, [f"{key}={value}" for key, value in values.items()]


def table_data(table: ReportedTable, systems: Sequence[ReportedSystem]) -> dict[str, Any]:
    """A table for the script: its header, the key of each column, and rows of a label, a system and cells.

    A cell is its text, or a list: text, standard deviation, whether it is the best of its column, its key if that is not
    the column's, and what it sorts by if that is not the mean of its key over the system's runs.
    """
    cells = [row for _, row in table.rows]
    keys = [next((cell.key for cell in column if cell.key), "") for column in zip(*cells, strict=True)]
    rows = []
    for label, row in table.rows:
        system = next((cell.systems[0] for cell in row if cell.systems), None)
        rows.append([label.text, system, [_cell_data(*pair, systems) for pair in zip(row, keys, strict=True)]])
    return {"name": table.name, "header": table.header, "keys": keys, "rows": rows}


def _cell_data(cell: ReportedCell, key: str, systems: Sequence[ReportedSystem]) -> Any:
    if not cell.text:
        return ""
    usual = systems[cell.systems[0]].mean(cell.key) if cell.key else None
    found = [
        cell.mean,
        cell.deviation or None,
        1 if cell.best else None,
        cell.key if cell.key != key else None,
        None if cell.order == usual else cell.order,
    ]
    while found[-1] is None:
        found.pop()
    return found if len(found) > 1 else cell.mean


def figure_key(figure: tuple[str, str, str]) -> str:
    """The key of an analysis's figure among those of a run."""
    return f"{ANALYSIS} {'/'.join(figure)}"


def _kind_and_words(key: str) -> tuple[str, str]:
    """The kind of a number (how the script formats it), and its description."""
    split, _, rest = key.partition(" ")
    if split == ANALYSIS:
        analysis, group, metric = rest.split("/")
        where = f"{analysis}, {group}" if group else analysis
        kind = "number" if metric in {*NUMBERS, *SIZES} else "percent"
        return kind, f"{metric} of the analysis by {where}, test split"
    rule, _, metric = rest.partition(" ")
    if metric:
        return "number" if metric in COUNTS else "percent", f"{metric}, {split} split, {RULES.get(rule, rule)}"
    if split == "popularity":
        return "percent", f"{rest} of ranking codes by their training frequency, test split"
    if split == "timing" and rest in {"train", "prepare", "predict"}:
        return "seconds", {"train": "training", "prepare": "preparing data", "predict": "predicting"}[rest]
    return ("seconds" if key == "seconds per epoch" else "number"), rest.replace("_", " ") if split == "timing" else key


def history_keys(block: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """The keys that can be drawn by epoch, with their names; those of validation first."""
    present = dict.fromkeys(
        key for run in block for epoch in run.history for key, value in epoch.figures.items() if value
    )
    keys = [key for key in present if key not in {"epoch", "monitor", "seconds"}]
    keys.sort(key=lambda key: key in TRAINING)
    return [(key, heading(key) if key in TRAINING or "loss" in key else f"{heading(key)}, validation") for key in keys]


def differences(
    systems: Sequence[ReportedSystem], columns: Sequence[Column], results: Sequence[Path]
) -> Iterator[dict[str, Any]]:
    """The differences of every two systems for each main metric, P@k first.

    Each has the results of the paired bootstrap of `icdbench compare`, its p-value corrected for the number of pairs.
    """
    pairs = list(itertools.combinations(range(len(systems)), 2))
    drawn = drawing.systems([system.runs for system in systems], results, len(pairs))
    for name, rule, key in sorted(columns, key=lambda column: not column[0].startswith("P@")):
        cells = [measured(system, index, "test", rule, key).value for index, system in enumerate(systems)]
        found = [[difference(one, other) if one is not other else "" for other in cells] for one in cells]
        tests = _tests([each.figures.get(rule, {}).get(key) for each in drawn], pairs)
        yield {
            "name": name,
            "key": f"test {rule} {key}",
            "rows": [[plain(cell).replace("-", "−") for cell in row] for row in found],
            "tests": {f"{one} {other}": numbers for (one, other), numbers in tests.items()},
        }


def _tests(
    values: Sequence[FloatArray | None], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[float, float, float, float]]:
    """For each pair of systems the ends of the difference's interval in percentage points, p-value and corrected p-value."""
    resampled = {
        (one, other): one_R - other_R
        for one, other in pairs
        if (one_R := values[one]) is not None and (other_R := values[other]) is not None
    }
    p_values = [bootstrap.p_value(difference_R) for difference_R in resampled.values()]
    found = {}
    for (pair, difference_R), p, adjusted in zip(resampled.items(), p_values, bootstrap.holm(p_values), strict=True):
        low, high = (round(100 * value, 1) for value in bootstrap.interval(difference_R))
        found[pair] = low, high, round(p, 3), round(adjusted, 6)
    return found
