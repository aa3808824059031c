"""The tables of the report, in which every number knows the runs behind it and the value that it sorts by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from icdbench.evaluation import metrics
from icdbench.presentation import formats
from icdbench.presentation.cells import COLLAPSED, Column, SystemRow, comparable_number, mark_best, mean_cell, mean_of
from icdbench.presentation.formats import Cell, Grid, Value, plain
from icdbench.presentation.headings import COUNTS, heading
from icdbench.records import RunRecord

BUCKET = re.compile(r"(\w+)\[(.+)\]")  # f1_micro[1-10]
RULES = {"fixed": "threshold 0.5", "tuned": "tuned threshold"}


class ReportedCell(NamedTuple):
    """A cell, what it sorts by, and for a number its key and the indices of the systems behind it."""

    value: Value = ""
    order: float | str | None = None
    key: str = ""
    systems: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        return plain(self.value)

    @property
    def mean(self) -> str:
        """The text without the standard deviation."""
        return plain(self.value._replace(sd=None, mark="", tied=False)) if self.deviation else self.text  # type: ignore[union-attr]

    @property
    def deviation(self) -> str:
        """The standard deviation, if there is one, with the number's mark."""
        return formats.deviation(self.value)

    @property
    def best(self) -> bool:
        return formats.is_best(self.value)


class ReportedTable(NamedTuple):
    """A table of a section; from several, the reader chooses one by its name."""

    id: str
    name: str
    header: Sequence[str]
    rows: Sequence[tuple[ReportedCell, Sequence[ReportedCell]]]

    @property
    def spread(self) -> set[int]:
        """The columns with standard deviations, in which other numbers leave room for one."""
        return {column for _, cells in self.rows for column, cell in enumerate(cells) if cell.deviation}


class ReportedSystem(NamedTuple):
    """Runs that differ only in the seed, with all figures of each, by the keys of cells."""

    label: str
    runs: Sequence[RunRecord]
    figures: Sequence[Mapping[str, float]]

    @property
    def versions(self) -> list[str]:
        """The versions of the programs that made the runs, a text for each set of them."""
        return list(dict.fromkeys(map(versions, self.runs)))

    @property
    def collapsed(self) -> bool:
        return any(run.collapse for run in self.runs)

    def mean(self, key: str) -> float | None:
        """The mean of a figure over all seeds; None if one of them lacks it."""
        values = [figures[key] for figures in self.figures if key in figures]
        return fmean(values) if len(values) == len(self.runs) else None


def reported_system(row: SystemRow) -> ReportedSystem:
    """Convert a row of the comparison for the report."""
    return ReportedSystem(row.label, row.runs, [_figures_by_key(run) for run in row.runs])


def versions(run: RunRecord) -> str:
    """The versions of the programs that made a run."""
    return ", ".join(f"{name} {number}" for name, number in run.versions.items())


def _figures_by_key(run: RunRecord) -> dict[str, float]:
    figures = {
        f"{split} {rule} {key}": value
        for split, rules in run.metrics.items()
        for rule, measured in rules.items()
        for key, value in measured.items()
    }
    figures |= {f"popularity {key}": value for key, value in run.popularity.items()}
    if run.scored:
        return figures
    figures |= {f"timing {key}": value for key, value in run.timing.model_dump(exclude_unset=True).items()}
    figures["parameters"] = run.parameters
    if run.best_epoch:
        figures["best epoch"] = run.best_epoch.epoch
        figures["epochs"] = len(run.history)
        figures["seconds per epoch"] = run.timing.train / len(run.history)
    return figures


def highlights(systems: Sequence[ReportedSystem], columns: Sequence[Column]) -> Iterator[tuple[str, ReportedCell, str]]:
    """The best P@k, F1 and AUC of systems that did not collapse, and the total training time."""
    for wanted in ("P@", "F1 micro tuned", "AUC macro"):
        name, rule, key = next(column for column in columns if column[0].startswith(wanted))
        cells = [measured(system, index, "test", rule, key) for index, system in enumerate(systems)]
        competing = [
            (cell.order, cell) for cell in cells if isinstance(cell.order, float) and comparable_number(cell.value)
        ]
        if competing:
            _, best = max(competing, key=lambda pair: pair[0])
            yield f"Best {name}", best, systems[best.systems[0]].label
    seconds = sum(run.timing.train for system in systems for run in system.runs)
    devices = sorted({run.device for system in systems for run in system.runs if not run.scored})
    taken = ReportedCell(Cell(seconds, unit="s"), seconds, "timing train", tuple(range(len(systems))))
    yield "Training of all runs", taken, "; ".join(devices)


def measured(system: ReportedSystem, index: int, split: str, rule: str, key: str) -> ReportedCell:
    """The cell of a metric, as tables print it; collapsed runs are marked only on the test split."""
    figure_key = f"{split} {rule} {key}"
    order = system.mean(figure_key)
    if order is None:
        return ReportedCell()
    values = [figures[figure_key] for figures in system.figures]
    value = mean_cell(system.runs, rule, key) if split == "test" else mean_of(values)
    return ReportedCell(Cell(order, digits=0) if key in COUNTS else value, order, figure_key, (index,))


def main_table(
    identity: str, grid: Grid, systems: Sequence[ReportedSystem], columns: Sequence[Column]
) -> ReportedTable:
    """The comparison as `icdbench run` prints it: a row for each system, then the popularity baseline."""
    keys = {name: f"test {rule} {key}" for name, rule, key in columns}
    keys |= {"epochs": "best epoch", "train time": "timing train"}
    rows = []
    for index, (label, *values) in enumerate(grid.rows):
        floor = index >= len(systems)  # popularity, whose figures every run holds
        source = 0 if floor else index
        cells = []
        for name, value in zip(grid.header[1:], values, strict=True):
            key = keys.get(name, "") if isinstance(value, Cell) else ""
            key = f"popularity {key.rpartition(' ')[2]}" if key and floor else key
            order = systems[source].mean(key) if key else value if isinstance(value, int) else None
            cells.append(ReportedCell(value, order, key, (source,) if key else ()))
        rows.append((ReportedCell(label, plain(label).casefold()), cells))
    return ReportedTable(identity, "Main figures, test split", grid.header, rows)


def every_metric(identity: str, systems: Sequence[ReportedSystem]) -> Iterator[ReportedTable]:
    """Every metric under its own key, a table for each split and threshold."""
    for split in ("test", "validation"):
        for rule, about in RULES.items():
            keys = [key for key in _metric_keys(systems, split, rule) if not BUCKET.fullmatch(key)]
            name = f"All metrics, {split} split, {about}"
            yield _metric_table(f"{identity}-{split}-{rule}", name, systems, split, rule, keys)


def by_frequency(identity: str, systems: Sequence[ReportedSystem]) -> Iterator[ReportedTable]:
    """Metrics by how often a code occurs in training, a table for each metric and threshold."""
    for rule, about in RULES.items():
        found = [match for match in map(BUCKET.fullmatch, _metric_keys(systems, "test", rule)) if match]
        for metric in dict.fromkeys(match[1] for match in found):
            of_metric = {match[2]: match[0] for match in found if match[1] == metric}
            keys = {bucket: of_metric[bucket] for bucket in metrics.BUCKETS.values() if bucket in of_metric}
            name = f"{heading(metric)}, {about}"
            table = _metric_table(f"{identity}-{metric}-{rule}", name, systems, "test", rule, list(keys.values()))
            yield table._replace(header=["system", *(bucket.replace("-", "–") for bucket in keys)])


def _metric_keys(systems: Sequence[ReportedSystem], split: str, rule: str) -> list[str]:
    runs = (run for system in systems for run in system.runs)
    return list(dict.fromkeys(key for run in runs for key in run.metrics.get(split, {}).get(rule, {})))


def _metric_table(
    identity: str, name: str, systems: Sequence[ReportedSystem], split: str, rule: str, keys: Sequence[str]
) -> ReportedTable:
    rows = [[measured(system, index, split, rule, key) for key in keys] for index, system in enumerate(systems)]
    best = mark_best([[cell.value for cell in row] for row in rows])
    marked = []
    for system, row, values in zip(systems, rows, best, strict=True):
        cells = [cell._replace(value=value) for cell, value in zip(row, values, strict=True)]
        marked.append((system_label(system), cells))
    return ReportedTable(identity, name, ["system", *keys], marked)


def system_label(system: ReportedSystem) -> ReportedCell:
    """The first cell of a system's row; it says if the system was scored from a file or a run has collapsed."""
    scored = " (scored)" * bool(system.runs[0].scored)
    return ReportedCell(system.label + scored + f" {COLLAPSED}" * system.collapsed, system.label.casefold())


def times(identity: str, systems: Sequence[ReportedSystem]) -> ReportedTable:
    """Time and size of the runs, means over seeds; predictions made elsewhere are left out."""
    columns = {
        "parameters": ("parameters", Cell(0, digits=0, grouped=True)),
        "timing train": ("training, each run", Cell(0, unit="s")),
        "epochs": ("epochs", Cell(0)),
        "seconds per epoch": ("per epoch", Cell(0, unit="s")),
        "timing documents_per_second": ("documents per second", Cell(0, grouped=True)),
        "timing prepare": ("preparing data", Cell(0, unit="s")),
        "timing predict": ("predicting validation and test", Cell(0, unit="s")),
    }
    rows = []
    for index, system in enumerate(systems):
        if system.runs[0].scored:
            continue
        means = [(key, cell, system.mean(key)) for key, (_, cell) in columns.items()]
        cells = [
            ReportedCell() if mean is None else ReportedCell(cell._replace(value=mean), mean, key, (index,))
            for key, cell, mean in means
        ]
        total = sum(run.timing.train for run in system.runs)
        cells.append(ReportedCell(Cell(total, unit="s"), total, "timing train", (index,)))
        cells.append(ReportedCell("; ".join(sorted({run.device for run in system.runs}))))
        rows.append((system_label(system), cells))
    header = ["system", *(name for name, _ in columns.values()), "training, all seeds", "device"]
    return ReportedTable(identity, "Time and size", header, rows)
