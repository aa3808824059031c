"""The tables of the report: every number tied to the runs behind it, sorted by its value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from icdbench.evaluation import metrics
from icdbench.presentation import formats
from icdbench.presentation.cells import COLLAPSED, Column, SystemRow, comparable_number, mark_best, mean_cell, mean_of
from icdbench.presentation.formats import Cell, Grid, Value, plain
from icdbench.presentation.headings import heading
from icdbench.records import RunRecord

BUCKET = re.compile(r"(\w+)\[(.+)\]")  # f1_micro[1-10]
RULES = {"fixed": "threshold 0.5", "tuned": "tuned threshold"}
COUNTS = {"auc_labels"}  # metrics that are no fractions


class ReportedCell(NamedTuple):
    """A cell, what it sorts by, and for a number the key and the systems of the runs behind it."""

    value: Value = ""
    order: float | str | None = None
    key: str = ""
    systems: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """What the cell shows."""
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
        """Whether it is the best of its column."""
        return formats.is_best(self.value)


class ReportedTable(NamedTuple):
    """A table of a section; where there are several, the reader chooses one by its name."""

    id: str
    name: str
    header: Sequence[str]
    rows: Sequence[tuple[ReportedCell, Sequence[ReportedCell]]]

    @property
    def spread(self) -> set[int]:
        """The columns with standard deviations, where a number without one leaves room for it."""
        return {column for _, cells in self.rows for column, cell in enumerate(cells) if cell.deviation}


class ReportedSystem(NamedTuple):
    """Runs that differ in the seed alone, with all that was measured of each, by the keys that cells have."""

    label: str
    runs: Sequence[RunRecord]
    figures: Sequence[Mapping[str, float]]

    @property
    def versions(self) -> list[str]:
        """The programs that made the runs, a text for each set of versions."""
        return list(dict.fromkeys(map(versions, self.runs)))

    @property
    def collapsed(self) -> bool:
        """Whether any run has collapsed."""
        return any(run.collapse for run in self.runs)

    def mean(self, key: str) -> float | None:
        """Over all seeds; none if one of them lacks the value."""
        known = [figures[key] for figures in self.figures if key in figures]
        return fmean(known) if len(known) == len(self.runs) else None


def reported_system(row: SystemRow) -> ReportedSystem:
    """A row of the comparison as the report has it."""
    return ReportedSystem(row.label, row.runs, [_figures(run) for run in row.runs])


def versions(run: RunRecord) -> str:
    """The programs that made a run."""
    return ", ".join(f"{name} {number}" for name, number in run.versions.items())


def _figures(run: RunRecord) -> dict[str, float]:
    """All that was measured of a run, by one key each."""
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
    """The best ranking, F1 and AUC of runs that did not collapse, and the time of all training."""
    for wanted in ("P@", "F1 micro tuned", "AUC macro"):
        name, rule, key = next(column for column in columns if column[0].startswith(wanted))
        cells = [measured(system, index, "test", rule, key) for index, system in enumerate(systems)]
        sound = [
            (cell.order, cell) for cell in cells if isinstance(cell.order, float) and comparable_number(cell.value)
        ]
        if sound:
            _, best = max(sound, key=lambda pair: pair[0])
            yield f"Best {name}", best, systems[best.systems[0]].label
    seconds = sum(run.timing.train for system in systems for run in system.runs)
    devices = sorted({run.device for system in systems for run in system.runs if not run.scored})
    taken = ReportedCell(Cell(seconds, unit="s"), seconds, "timing train", tuple(range(len(systems))))
    yield "Training of all runs", taken, "; ".join(devices)


def measured(system: ReportedSystem, index: int, split: str, rule: str, key: str) -> ReportedCell:
    """A metric as the tables print it. Only collapse on the test split is known of a run."""
    where = f"{split} {rule} {key}"
    order = system.mean(where)
    if order is None:
        return ReportedCell()
    values = [figures[where] for figures in system.figures]
    value = mean_cell(system.runs, rule, key) if split == "test" else mean_of(values)
    return ReportedCell(Cell(order, digits=0) if key in COUNTS else value, order, where, (index,))


def main_table(
    identity: str, grid: Grid, systems: Sequence[ReportedSystem], columns: Sequence[Column]
) -> ReportedTable:
    """The comparison as `icdbench run` prints it: a row for each system in their order, then the popularity baseline."""
    keys = {name: f"test {rule} {key}" for name, rule, key in columns}
    keys |= {"epochs": "best epoch", "train time": "timing train"}
    rows = []
    for index, (label, *values) in enumerate(grid.rows):
        floor = index >= len(systems)  # which every run of the block holds
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
            keys = [key for key in _keys(systems, split, rule) if not BUCKET.fullmatch(key)]
            name = f"All metrics, {split} split, {about}"
            yield _table_of(f"{identity}-{split}-{rule}", name, systems, split, rule, keys)


def by_frequency(identity: str, systems: Sequence[ReportedSystem]) -> Iterator[ReportedTable]:
    """Metrics by how often a code occurs in training, a table for each metric and threshold."""
    for rule, about in RULES.items():
        found = [match for match in map(BUCKET.fullmatch, _keys(systems, "test", rule)) if match]
        for metric in dict.fromkeys(match[1] for match in found):
            known = {match[2]: match[0] for match in found if match[1] == metric}
            keys = {bucket: known[bucket] for bucket in metrics.BUCKETS.values() if bucket in known}
            name = f"{heading(metric)}, {about}"
            table = _table_of(f"{identity}-{metric}-{rule}", name, systems, "test", rule, list(keys.values()))
            yield table._replace(header=["system", *(bucket.replace("-", "–") for bucket in keys)])


def _keys(systems: Sequence[ReportedSystem], split: str, rule: str) -> list[str]:
    runs = (run for system in systems for run in system.runs)
    return list(dict.fromkeys(key for run in runs for key in run.metrics.get(split, {}).get(rule, {})))


def _table_of(
    identity: str, name: str, systems: Sequence[ReportedSystem], split: str, rule: str, keys: Sequence[str]
) -> ReportedTable:
    rows = [[measured(system, index, split, rule, key) for key in keys] for index, system in enumerate(systems)]
    best = mark_best([[cell.value for cell in row] for row in rows])
    cells = [
        [cell._replace(value=value) for cell, value in zip(*pair, strict=True)] for pair in zip(rows, best, strict=True)
    ]
    return ReportedTable(identity, name, ["system", *keys], list(zip(map(system_label, systems), cells, strict=True)))


def system_label(system: ReportedSystem) -> ReportedCell:
    """The first cell of a system's row, marked if a run has collapsed."""
    scored = " (scored)" * bool(system.runs[0].scored)
    return ReportedCell(system.label + scored + f" {COLLAPSED}" * system.collapsed, system.label.casefold())


def times(identity: str, systems: Sequence[ReportedSystem]) -> ReportedTable:
    """What the runs took, means over seeds; nothing is known of predictions that were made elsewhere."""
    shown = {
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
        cells = []
        for key, (_, cell) in shown.items():
            mean = system.mean(key)
            known = None if mean is None else ReportedCell(cell._replace(value=mean), mean, key, (index,))
            cells.append(known or ReportedCell())
        total = sum(run.timing.train for run in system.runs)
        cells.append(ReportedCell(Cell(total, unit="s"), total, "timing train", (index,)))
        cells.append(ReportedCell("; ".join(sorted({run.device for run in system.runs}))))
        rows.append((system_label(system), cells))
    header = ["system", *(name for name, _ in shown.values()), "training, all seeds", "device"]
    return ReportedTable(identity, "Time and size", header, rows)
