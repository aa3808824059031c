"""Which runs may share a table, which may be averaged, and what has to be said of both.

`blocks` are runs on the same data; a `System` in one is the runs of one setting, which differ in the seed alone. Tables and
figures start from these, and from nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from icdbench.formats import NUMBER, Best
from icdbench.spec import DataSpec
from icdbench.types import SPLITS, RunRecord

# Fields of DataSpec that change the test documents or their codes: runs that differ here answer different questions.
TASK_FIELDS = ("language", "top_codes", "categories", "drop_overlap", "protocol", "split_seed")
RANKING = ("auc", "p@", "r@", "map", "r_precision")  # beginnings of the metrics that no threshold enters

Column = tuple[str, str, str]  # heading, threshold rule, metric key


class System(NamedTuple):
    """Runs that differ in the seed alone, which are the only ones ever averaged, and a cell per column."""

    label: str
    runs: Sequence[RunRecord]
    cells: Sequence[str]


def blocks(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Runs that may share a table (same raw data, documents, codes), by id. A run that is given twice counts once."""
    blocks: dict[str, list[RunRecord]] = {}
    for record in {record.id: record for record in sorted(records, key=lambda each: (each.id, each.created))}.values():
        task = [getattr(record.spec.data, field) for field in TASK_FIELDS]
        corpus = [record.corpus[field] for field in ("synthetic", "num_codes", "documents", "unseen", "assignments")]
        key = json.dumps([record.spec.dataset, record.spec.fingerprint, *task, *corpus], sort_keys=True)
        blocks.setdefault(key, []).append(record)
    return list(blocks.values())


def systems_in(records: Iterable[RunRecord], columns: Sequence[Column]) -> list[System]:
    """A block's settings, by label. Where labels collide (a default has changed since) a digest tells them apart."""
    found: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        changed = ", ".join(f"{name}={value}" for name, value in sorted(record.spec.changed.items()))
        label = record.spec.system + (f" ({changed})" if changed else "")
        found.setdefault((label, record.spec.setting), []).append(record)
    keys, labels = sorted(found), [label for label, _ in found]
    names = [label if labels.count(label) == 1 else f"{label} [{setting}]" for label, setting in keys]
    cells = bold([[mean_cell(found[key], *column[1:]) for column in columns] for key in keys])
    return [System(name, found[key], row) for name, key, row in zip(names, keys, cells, strict=True)]


def mean_cell(runs: Sequence[RunRecord], rule: str, key: str) -> str:
    """Mean ± sample standard deviation in percent; † where a run's figure is that of a collapse."""
    values = [run.metrics["test"].get(rule, {}).get(key) for run in runs]
    # Scores that a threshold cuts badly may still rank well; degenerate scores collapse under every rule.
    fatal = {"fixed", "tuned"} if key.startswith(RANKING) else {rule}
    return percent(values) + (" †" if any(fatal <= run.collapse.keys() for run in runs) else "")


def percent(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):  # a mean over some of the seeds would pass as one over all
        return ""
    return f"{100 * fmean(known):.1f}" + (f" ± {100 * stdev(known):.1f}" if len(known) > 1 else "")


def as_number(cell: str) -> float | None:
    match = NUMBER.fullmatch(cell)
    return float(match[1]) if match else None


def bold(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows with each column's best figures marked, if at least two compete."""
    columns = [
        [number for number in map(as_number, column) if number is not None] for column in zip(*rows, strict=True)
    ]
    best = [max(column) if len(column) > 1 else math.inf for column in columns]
    return [
        [Best(cell) if as_number(cell) == top else cell for cell, top in zip(row, best, strict=True)] for row in rows
    ]


def marked(system: System) -> str:
    return system.label + (" †" if any(run.collapse for run in system.runs) else "")


def seeds(runs: Iterable[RunRecord]) -> str:
    each = sorted(run.spec.seed for run in runs)
    return ("seed " if len(each) == 1 else "seeds ") + ", ".join(map(str, each))


def about_seeds(systems: Sequence[System]) -> str:
    shared: dict[str, list[str]] = {}
    for system in systems:
        shared.setdefault(seeds(system.runs), []).append(system.label)
    several = any(len(system.runs) > 1 for system in systems)
    which = next(iter(shared)) if len(shared) == 1 else "; ".join(f"{s}: {', '.join(of)}" for s, of in shared.items())
    return f"mean ± sample standard deviation over seeds ({which})" if several else f"one run each ({which})"


def about_small(systems: Sequence[System]) -> list[str]:
    adapted = {system.label: system.runs[0].spec.adapted for system in systems if system.runs[0].spec.adapted}
    each = (
        f"{label} {', '.join(f'{name}={value}' for name, value in values.items())}" for label, values in adapted.items()
    )
    return [f"Settings for small training sets in place of the published ones: {'; '.join(each)}."] if adapted else []


def about_collapse(systems: Sequence[System]) -> list[str]:
    found: dict[tuple[str, str, str], list[RunRecord]] = {}
    for system in systems:
        for run in system.runs:
            for rule, what in sorted(run.collapse.items()):
                found.setdefault((system.label, rule, what), []).append(run)
    return [f"† {label}, {seeds(runs)}: {what} ({rule})" for (label, rule, what), runs in found.items()]


def data_name(record: RunRecord) -> str:
    """The data set and the settings that make it another task; of MIMIC always the protocol."""
    chosen = {field: getattr(record.spec.data, field) for field in TASK_FIELDS}
    named = {"protocol"} & record.corpus.get("facts", {}).keys()
    settings = [
        f"{field}={value}"
        for field, value in chosen.items()
        if field in named or value != DataSpec.model_fields[field].default
    ]
    return ", ".join([record.spec.dataset + " (SYNTHETIC)" * record.corpus["synthetic"], *settings])


def about_data(records: Sequence[RunRecord]) -> list[str]:
    """What the runs were measured on, and the ceiling where training never shows some of the gold codes."""
    spec, corpus = records[0].spec, records[0].corpus
    documents = ", ".join(f"{corpus['documents'][split]:,} {split}" for split in SPLITS)
    size = f"documents {documents}; L = {corpus['num_codes']:,} codes; fingerprint {spec.fingerprint}"
    notes = [f"Data: {data_name(records[0])}; {size}."]
    if unseen := corpus["unseen"]["test"]:
        gold = corpus["assignments"]["test"]
        recall = (gold - unseen) / gold
        most = math.ceil(round(20000 * recall / (1 + recall), 6)) / 100  # at precision 1; rounded up, as it is a bound
        never = (
            f"{unseen:,} of {gold:,} gold assignments ({100 * unseen / gold:.1f} %) are codes that training never shows"
        )
        notes.append(f"{never}; they count as missed, so micro-F1 cannot exceed {most:.2f}.")
    return notes


def shared(records: Sequence[RunRecord]) -> tuple[list[str], list[RunRecord]]:
    """A note on what the user set for all runs alike, and the runs without that, so that labels say what differs."""
    changed = [record.spec.changed for record in records] or [{}]
    same = {
        key: value for key, value in changed[0].items() if all(key in each and each[key] == value for each in changed)
    }
    specs = [
        record.spec.override({"changed": {k: v for k, v in record.spec.changed.items() if k not in same}}, "changed")
        for record in records
    ]
    notes = (
        [f"Set for all runs: {', '.join(f'{name}={value}' for name, value in sorted(same.items()))}."] if same else []
    )
    return notes, [record.model_copy(update={"spec": spec}) for record, spec in zip(records, specs, strict=True)]
