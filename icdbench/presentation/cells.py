"""From runs to the numbers of a table: rows (`systems_in`), means over seeds, the best of a column, differences.

A `SystemRow` holds the runs of one setting, which differ only in the seed; only these are averaged. All tables and figures
start from such rows.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple, TypeGuard, TypeVar

from icdbench.models import FLOORS
from icdbench.presentation.formats import Cell, Value, plain
from icdbench.records import RunRecord, comparable
from icdbench.types import THRESHOLDS

RANKING = ("auc", "p@", "r@", "map", "r_precision")  # how the names of metrics without a threshold begin
COLLAPSED = "†"
LONGEST = 42  # characters of a label; a longer one is a number, explained by a note

T = TypeVar("T")
Column = tuple[str, str, str]  # heading, threshold rule, metric key


class SystemRow(NamedTuple):
    """Runs that differ only in the seed (and perhaps in the versions of programs), with a cell for each column.

    `changed` is what the label would add to the system's name if that were not too long.
    """

    label: str
    runs: Sequence[RunRecord]
    cells: Sequence[Value]
    changed: str = ""

    @property
    def system(self) -> str:
        """The model as a user types it."""
        return self.runs[0].spec.system

    @property
    def full(self) -> str:
        """The label with all settings, however long."""
        return f"{self.system} ({self.changed})" if self.changed else self.label

    @property
    def marked(self) -> str:
        """The label, with marks for floors, for systems scored from a file or trained on marked words, and for collapsed runs."""
        label = f"{self.label} (floor)" if self.system in FLOORS else self.label
        label = f"{label} (scored)" if self.runs[0].scored else label
        label = f"{label} (spans)" if self.runs[0].spec.data.spans else label
        return f"{label} {COLLAPSED}" if any(run.collapse for run in self.runs) else label


def systems_in(records: Iterable[RunRecord], columns: Sequence[Column], *, mix: bool = False) -> list[SystemRow]:
    """A row for each setting among comparable runs, by label. Runs of different minor versions are separate, unless `mix`.

    If labels are equal (a default has changed, a version differs), the difference follows in brackets. Labels that are too long
    are numbers, as `lr (1)`, which `numbered` explains. If some runs are on the codes of training and others on a whole code
    system, the latter lack the figures that cannot be compared.
    """
    records = list(records)
    beyond = {record.id for record in comparable.beyond_training(records)}
    found: dict[tuple[str, str, tuple[str, ...]], list[RunRecord]] = {}
    labels: dict[tuple[str, str], str] = {}  # of equal settings the first run's, as defaults may have changed since
    for record in records:
        changed = ", ".join(f"{name}={value}" for name, value in sorted(record.changed.items()))
        label = record.spec.system + (f" ({changed})" if changed else "")
        label = labels.setdefault((record.spec.system, record.spec.setting), label)
        versions = () if mix else tuple(comparable.apart(record).values())
        found.setdefault((label, record.spec.setting, versions), []).append(record)

    def cell(runs: Sequence[RunRecord], rule: str, metric: str) -> Value:
        lacking = runs[0].id in beyond and not comparable.over_label_sets(metric)
        return "" if lacking else mean_cell(runs, rule, metric)

    keys = sorted(found)
    rows = mark_best([[cell(found[key], rule, metric) for _, rule, metric in columns] for key in keys])
    numbers: Counter[str] = Counter()
    systems = []
    for key, row in zip(keys, rows, strict=True):
        system = SystemRow(_distinct_label(key, keys), found[key], row)
        if len(system.label) > LONGEST and system.label != system.system:
            numbers[system.system] += 1
            changed = re.sub(r"^ (?:\((.*)\))?", r"\1", system.label.removeprefix(system.system))
            system = system._replace(label=f"{system.system} ({numbers[system.system]})", changed=changed)
        systems.append(system)
    return systems


def numbered(systems: Iterable[SystemRow]) -> list[str]:
    """The settings of each system whose label is a number, as a note for below the table."""
    return [f"{system.label}: {system.changed}." for system in systems if system.changed]


def _distinct_label(key: tuple[str, str, tuple[str, ...]], keys: Sequence[tuple[str, str, tuple[str, ...]]]) -> str:
    """The label of a setting; if several settings have it, also what distinguishes this one."""
    label, setting, versions = key
    same_label = [each for each in keys if each[0] == label]
    parts = [setting] if len({each[1] for each in same_label}) > 1 else []
    for position, (name, version) in enumerate(zip(comparable.APART, versions, strict=False)):
        parts += [f"{name} {version or '?'}"] if len({each[2][position] for each in same_label}) > 1 else []
    return f"{label} [{', '.join(parts)}]" if parts else label


def common_settings(records: Sequence[RunRecord]) -> tuple[list[str], list[RunRecord]]:
    """Notes on the settings that the user changed for all runs alike, and the runs without them, for shorter labels.

    Settings of training have no effect on linear models, so those that all other runs share are common, too.
    """
    everywhere = _shared(record.changed for record in records)
    trained = _shared(record.changed for record in records if record.spec.uses_trainer)
    in_training = {
        name: value for name, value in trained.items() if name.startswith("train.") and name not in everywhere
    }
    common = everywhere | in_training
    notes = [
        f"Set for {which}: {', '.join(f'{name}={value}' for name, value in sorted(settings.items()))}."
        for which, settings in (("all runs", everywhere), ("all neural models", in_training))
        if settings
    ]
    differing = [{name: value for name, value in each.changed.items() if name not in common} for each in records]
    return notes, [each.model_copy(update={"changed": own}) for each, own in zip(records, differing, strict=True)]


def _shared(settings: Iterable[Mapping[str, T]]) -> dict[str, T]:
    """The settings that all of them have, with the same values."""
    first, *others = [*settings] or [{}]
    return {
        name: value for name, value in first.items() if all(name in each and each[name] == value for each in others)
    }


def mean_cell(runs: Sequence[RunRecord], rule: str, key: str) -> Value:
    """A test metric in percent, averaged over seeds; marked if a collapsed run affects it."""
    # Ranking metrics do not depend on the threshold: they are affected only if runs collapse under every rule.
    fatal = set(THRESHOLDS if key.startswith(RANKING) else [rule])
    collapsed = any(fatal <= run.collapse.keys() for run in runs)
    return mean_of([run.metrics["test"].get(rule, {}).get(key) for run in runs], mark=COLLAPSED if collapsed else "")


def mean_of(values: Sequence[float | None], *, percent: bool = True, digits: int = 1, mark: str = "") -> Value:
    """Mean ± sample standard deviation; empty if any value is missing, as a mean over fewer seeds would mislead."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ""
    scale = 100 if percent else 1
    sd = scale * stdev(known) if len(known) > 1 else None
    return Cell(scale * fmean(known), sd, mark, digits=digits)


def as_printed(text: str) -> Value:
    """A published figure, `57.6` or `49.5 ± 3.5`, with the digits of its source; other text, such as a dash, is kept."""
    mean, _, sd = text.replace(",", "").partition(" ± ")
    try:
        value, deviation = float(mean), float(sd) if sd else None
    except ValueError:
        return text
    found = Cell(value, deviation, digits=len(mean.partition(".")[2]), grouped="," in text)
    return found if math.isfinite(value) and plain(found) == text else text


def comparable_number(value: Value) -> TypeGuard[Cell]:
    """Whether this is a number without a mark, so that it can be compared with others of its column."""
    return isinstance(value, Cell) and not value.mark


def descending(value: Value) -> float:
    """A sort key that puts the largest number first; marks do not matter, missing numbers count as 0."""
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
    """One number minus another, both as printed, so that readers can check it; empty if one is missing or marked."""
    if not (comparable_number(own) and comparable_number(other)):
        return ""
    return Cell(own.shown - other.shown, digits=own.digits, sign=True, grouped=own.grouped)
