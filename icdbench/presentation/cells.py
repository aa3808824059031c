"""From runs to the numbers of a table: the rows of a table, the mean of a metric, the best of a column, differences.

A `SystemRow` is the runs of one setting, which differ in the seed alone; only these are averaged. Tables and figures
start from such rows and from nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import NamedTuple, TypeGuard

from icdbench.models import FLOORS
from icdbench.presentation.formats import Cell, Value, plain
from icdbench.records import RunRecord, comparable

RANKING = ("auc", "p@", "r@", "map", "r_precision")  # how the names of metrics without a threshold begin
COLLAPSED = "†"

Column = tuple[str, str, str]  # heading, threshold rule, metric key


class SystemRow(NamedTuple):
    """Runs that differ in the seed alone (and in the versions of programs), with a cell for each column."""

    label: str
    runs: Sequence[RunRecord]
    cells: Sequence[Value]

    @property
    def system(self) -> str:
        """The model as a user types it."""
        return self.runs[0].spec.system

    @property
    def marked(self) -> str:
        """The label, which tells if the system is a floor, scored from a file or saw marked words, and if any run has collapsed."""
        label = f"{self.label} (floor)" if self.system in FLOORS else self.label
        label = f"{label} (scored)" if self.runs[0].scored else label
        label = f"{label} (spans)" if self.runs[0].spec.data.spans else label
        return f"{label} {COLLAPSED}" if any(run.collapse for run in self.runs) else label


def systems_in(records: Iterable[RunRecord], columns: Sequence[Column], *, mix: bool = False) -> list[SystemRow]:
    """The settings among comparable runs, by label. Runs of different minor versions are separate, unless `mix`.

    Where labels are equal (a default has changed since, a version differs) the difference follows in brackets. Beside runs on the
    codes of training, those on a whole code system have no figures that do not compare.
    """
    records = list(records)
    beyond = {record.id for record in comparable.beyond_training(records)}
    found: dict[tuple[str, str, tuple[str, ...]], list[RunRecord]] = {}
    labels: dict[tuple[str, str], str] = {}  # the first run's for equal settings: defaults may have changed in between
    for record in records:
        changed = ", ".join(f"{name}={value}" for name, value in sorted(record.changed.items()))
        label = record.spec.system + (f" ({changed})" if changed else "")
        label = labels.setdefault((record.spec.system, record.spec.setting), label)
        by = () if mix else tuple(comparable.apart(record).values())
        found.setdefault((label, record.spec.setting, by), []).append(record)
    keys = sorted(found)
    rows = mark_best([
        [
            "" if found[key][0].id in beyond and not comparable.over_label_sets(column[2]) else mean_cell(found[key], *column[1:])
            for column in columns
        ]
        for key in keys
    ])  # fmt: skip
    return [SystemRow(_distinct_label(key, keys), found[key], row) for key, row in zip(keys, rows, strict=True)]


def _distinct_label(key: tuple[str, str, tuple[str, ...]], keys: Sequence[tuple[str, str, tuple[str, ...]]]) -> str:
    """The label of a setting; if others have the same label, also what distinguishes it."""
    label, setting, by = key
    others = [each for each in keys if each[0] == label]
    parts = [setting] if len({each[1] for each in others}) > 1 else []
    for position, (name, version) in enumerate(zip(comparable.APART, by, strict=False)):
        parts += [f"{name} {version or '?'}"] if len({each[2][position] for each in others}) > 1 else []
    return f"{label} [{', '.join(parts)}]" if parts else label


def common_settings(records: Sequence[RunRecord]) -> tuple[list[str], list[RunRecord]]:
    """A note on what the user set for all runs alike, and the runs without it, so that labels say what differs."""
    changed = [record.changed for record in records] or [{}]
    same = {
        key: value for key, value in changed[0].items() if all(key in each and each[key] == value for each in changed)
    }
    listed = ", ".join(f"{name}={value}" for name, value in sorted(same.items()))
    others = [{key: value for key, value in each.items() if key not in same} for each in changed]
    runs = [record.model_copy(update={"changed": own}) for record, own in zip(records, others, strict=False)]
    return ([f"Set for all runs: {listed}."] if same else []), runs


def mean_cell(runs: Sequence[RunRecord], rule: str, key: str) -> Value:
    """A test metric in percent, averaged over seeds; marked where a run has collapsed and the metric is affected."""
    # A bad threshold may still leave a good ranking; degenerate scores collapse under every rule.
    fatal = {"fixed", "tuned"} if key.startswith(RANKING) else {rule}
    collapsed = any(fatal <= run.collapse.keys() for run in runs)
    return mean_of([run.metrics["test"].get(rule, {}).get(key) for run in runs], mark=COLLAPSED if collapsed else "")


def mean_of(values: Sequence[float | None], *, percent: bool = True, digits: int = 1, mark: str = "") -> Value:
    """Mean ± sample standard deviation. Empty if any value is missing: a mean over some seeds would pass as one over all."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ""
    scale = 100 if percent else 1
    sd = scale * stdev(known) if len(known) > 1 else None
    return Cell(scale * fmean(known), sd, mark, digits=digits)


def as_printed(text: str) -> Value:
    """A published figure, `57.6` or `49.5 ± 3.5`, with the digits that its source prints; a dash stays text."""
    mean, _, sd = text.replace(",", "").partition(" ± ")
    try:
        value, deviation = float(mean), float(sd) if sd else None
    except ValueError:
        return text
    found = Cell(value, deviation, digits=len(mean.partition(".")[2]), grouped="," in text)
    return found if math.isfinite(value) and plain(found) == text else text


def comparable_number(value: Value) -> TypeGuard[Cell]:
    """Whether this is a number without a mark, which may be compared with others of its column."""
    return isinstance(value, Cell) and not value.mark


def descending(value: Value) -> float:
    """A key to sort by that puts the largest number first; a mark does not matter, missing numbers count as 0."""
    return -value.shown if isinstance(value, Cell) else 0.0


def mark_best(rows: Sequence[Sequence[Value]]) -> list[list[Value]]:
    """The rows with the best number of each column marked, if at least two compete."""
    columns = [[cell.shown for cell in column if comparable_number(cell)] for column in zip(*rows, strict=True)]
    best = [max(column) if len(column) > 1 else math.inf for column in columns]
    return [
        [
            cell._replace(best=True) if comparable_number(cell) and cell.shown == top else cell
            for cell, top in zip(row, best, strict=True)
        ]
        for row in rows
    ]


def difference(own: Value, other: Value) -> Value:
    """One number minus another, both as shown, so that a reader's subtraction agrees. Empty where one is missing or marked."""
    if not (comparable_number(own) and comparable_number(other)):
        return ""
    return Cell(own.shown - other.shown, digits=own.digits, sign=True, grouped=own.grouped)
