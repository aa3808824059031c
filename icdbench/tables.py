"""Tables: run records in, text out. The only place that formats numbers.

`comparison` sets one's own systems side by side, a table for each set of comparable runs. `table` prints a table of a
paper, the published figures as printed and below each the own mean and the difference. Formats: md, latex, csv, html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from icdbench.catalog import has_figures, systems_of
from icdbench.formats import Grid, write
from icdbench.spec import Benchmark
from icdbench.systems import (
    TASK_FIELDS,
    Column,
    System,
    about_collapse,
    about_data,
    about_seeds,
    about_small,
    as_number,
    blocks,
    bold,
    data_name,
    marked,
    percent,
    seeds,
    systems_in,
)
from icdbench.types import RunRecord

if TYPE_CHECKING:  # Optuna and torch are slow to import
    from icdbench.tune import Outcome


def comparison(records: Sequence[RunRecord], fmt: str = "md") -> str:
    """Own systems side by side, best precision at the smallest k first; a table for each set of comparable runs.

    Rows are settings, their seeds averaged: percent, mean ± sample standard deviation; the best mean of a column is bold
    where two rows or more compete. † marks collapsed runs and those of their figures that are worthless, which are never
    the best. Raises SpecError for an unknown format.
    """
    nothing = Grid("Own runs", ["system", *(heading for heading, _, _ in _columns(50))], [], ["No runs are stored."])
    return write([_compared(block, "Own runs") for block in blocks(records)] or [nothing], fmt)


def table(benchmark: Benchmark, records: Sequence[RunRecord], fmt: str = "md") -> str:
    """A table of a paper: a row per published system, and directly under it the own runs of that model, if any.

    Rows rather than columns are added, so the table keeps the paper's width and a model without own runs takes one line:
    `published`, then per own setting the mean ± sd and the difference of the two as shown. Variants and models that the
    paper lacks follow at the end. The best published and the best own figure are bold. Synthetic data, other data sets
    and changed data settings never stand beside the paper's figures; they follow in tables of their own. A study has no rows
    but those of its own systems. Raises SpecError for an unknown format.
    """
    if benchmark.study:
        records = [record for record in records if record.spec.system in systems_of(benchmark)]
    if benchmark.study and not has_figures(benchmark):
        grid = _curves if benchmark.per_epoch else _study
        return write([grid(benchmark, block, benchmark.title) for block in blocks(records) or [[]]], fmt)
    own = [record for record in records if _same_data(record, benchmark)]
    other = [record for record in records if not _same_data(record, benchmark)]
    title = f"Other data, not comparable with {benchmark.name}: own runs"
    grids = [_published(benchmark, block) for block in blocks(own) or [[]]]
    grids += [
        _study(benchmark, block, title) if benchmark.study else _compared(block, title) for block in blocks(other)
    ]
    return write(grids, fmt)


def tuned(found: Outcome, command: str, fmt: str = "md") -> str:
    """What tuning found: a row per parameter, and the command that runs it. Raises SpecError for an unknown format."""
    rows = []
    for each in found.parameters:
        share = "" if each.importance is None else f"{100 * each.importance:.1f}"
        rows.append([each.name, _setting(each.default), _setting(each.best), str(each.range), share])
    before = "" if found.first is None else f", untuned {100 * found.first:.1f}"
    trials = ", ".join(f"{number} {name}" for name, number in found.counts.items())
    notes = [
        f"Validation {found.monitor} {100 * found.value:.1f} in trial {found.trial}{before}; trials: {trials}; seed {found.seed}."
    ]
    if found.fixed:
        notes.append(f"Held fixed, and part of the tuned setting: {_listed(found.fixed)}.")
    if found.spec.adapted:
        notes.append(f"Untuned runs on this small training set have {_listed(found.spec.adapted)}.")
    if not any(each.importance is not None for each in found.parameters):
        notes.append("Importance: too few trials were completed to tell.")
    else:
        notes.append("Importance: percent of the variance between trials that the parameter explains (fANOVA).")
    notes += [f"Failed: {failure}." for failure in found.failures[:5]]
    notes += [f"Stored in {found.path}. To run it beside the paper's setting:", command]
    header = ["parameter", "paper's value", "best value", "range", "importance"]
    title = f"Tuning of {found.spec.model} on {found.spec.dataset}"
    return write([Grid(title, header, rows, notes)], fmt)


def _setting(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _listed(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={_setting(value)}" for name, value in settings.items())


def _same_data(record: RunRecord, benchmark: Benchmark) -> bool:
    altered = any(f"data.{field}" in record.spec.changed for field in TASK_FIELDS)
    return record.spec.dataset == benchmark.dataset and not altered and not record.corpus["synthetic"]


def _columns(num_codes: int) -> list[Column]:
    at_k = ("P@5", "R@5") if num_codes <= 50 else ("P@8", "P@15")
    return [
        ("AUC macro", "fixed", "auc_macro"),
        ("AUC micro", "fixed", "auc_micro"),
        ("F1 macro (harmonic)", "fixed", "f1_macro_harmonic"),
        ("F1 micro", "fixed", "f1_micro"),
        ("F1 micro tuned", "tuned", "f1_micro"),
        *((name, "fixed", name.lower()) for name in at_k),
        ("MAP", "fixed", "map"),
    ]


def _compared(records: Sequence[RunRecord], title: str) -> Grid:
    columns = _columns(records[0].corpus["num_codes"])
    headings, keys = [heading for heading, _, _ in columns], [key for _, _, key in columns]
    first = "map" if records[0].corpus["num_codes"] <= 5 else next(key for key in keys if key.startswith("p@"))
    order = keys.index(first)  # with five codes or fewer P@5 is the same for every ranking
    systems = sorted(systems_in(records, columns), key=lambda system: -(as_number(system.cells[order]) or 0))
    rows = [[marked(each), *each.cells, str(len(each.runs)), *_effort(each.runs)] for each in systems]
    notes = [*about_data(records), f"Percent on the test split, {about_seeds(systems)}."]
    notes.append("A code is predicted above 0.5, for F1 micro tuned above one threshold that is chosen on validation.")
    notes += about_small(systems)
    notes.append("F1 macro (harmonic): 2PR/(P+R) of macro-averaged P and R, not the mean of per-code F1.")
    devices = "; ".join(sorted({record.device for record in records}))
    notes.append(f"Best {headings[order]} first. Means: epochs up to the best one; training time on {devices}.")
    floor = {key: value for key, value in records[0].popularity.items() if key.startswith(("p@", "r@", "map"))}
    if floor:
        rows.append(["popularity (floor)", *(percent([floor.get(key)]) for key in keys), "", "", ""])
        notes.append("Popularity: every document gets the codes that are most frequent in training.")
    header = ["system", *headings, "seeds", "epochs", "train time"]
    return Grid(f"{title} on {data_name(records[0])}", header, rows, [*notes, *about_collapse(systems)])


def _published(benchmark: Benchmark, records: Sequence[RunRecord]) -> Grid:
    columns = [(heading, "fixed", key) for heading, key in benchmark.metrics]
    systems = systems_in(records, columns)
    models = [model for model, _ in benchmark.published.values()]
    paper = bold([figures for _, figures in benchmark.published.values()])

    def own(system: System) -> list[str]:
        number = len(system.runs)
        return [marked(system), f"{benchmark.dataset}, {number} seed{'s' * (number > 1)}", *system.cells]

    rows: list[list[str]] = []
    for label, model, figures in zip(benchmark.published, models, paper, strict=True):
        rows.append([label, "published", *figures])
        for system in systems:
            if system.runs[0].spec.system == model:
                rows += [own(system), [system.label, "difference", *map(_difference, system.cells, figures)]]
    rows += [own(system) for system in systems if system.runs[0].spec.system not in models]
    notes = [f"Published: {benchmark.source}. {benchmark.caption}".strip()]
    if records:
        notes += [*about_data(records), f"Own runs: test split, {about_seeds(systems)}.", *about_collapse(systems)]
    else:
        notes.append(f"No runs on {benchmark.dataset} are stored.")
    return Grid(benchmark.title, ["system", "figures", *(heading for heading, _, _ in columns)], rows, notes)


def _study(benchmark: Benchmark, records: Sequence[RunRecord], title: str) -> Grid:
    """Own runs of a study, in its order and with its metrics."""
    columns = [(heading, "fixed", key) for heading, key in benchmark.metrics]
    shared, records = _shared(records)
    systems = systems_in(records, columns)
    rows = [
        [label, marked(system), *system.cells, str(len(system.runs)), *_effort(system.runs)]
        for label, system in _labelled(benchmark, systems)
    ]
    header = ["config", "system", *(heading for heading, _, _ in columns), "seeds", "epochs", "train time"]
    return Grid(_titled(title, records), header, rows, [*_about_study(benchmark, systems, records), *shared])


def _curves(benchmark: Benchmark, records: Sequence[RunRecord], title: str) -> Grid:
    """Own runs of a study epoch by epoch: means over seeds, blank where one of them had stopped before."""
    shared, records = _shared(records)
    labelled = _labelled(benchmark, systems_in(records, []))
    rows = []
    for position in range(max((len(record.history) for record in records), default=0)):
        for label, system in labelled:
            epochs = [run.history[position] if position < len(run.history) else {} for run in system.runs]
            if any(epochs):
                cells = [_epoch_cell([epoch.get(key) for epoch in epochs], key) for _, key in benchmark.metrics]
                rows.append([str(position + 1), label, *cells])
    header = ["epoch", "config", *(heading for heading, _ in benchmark.metrics)]
    notes = _about_study(benchmark, [system for _, system in labelled], records)
    which = [f"{label}: {system.label}, {seeds(system.runs)}." for label, system in labelled]
    return Grid(_titled(title, records), header, rows, [*notes, *shared, *which])


def _shared(records: Sequence[RunRecord]) -> tuple[list[str], list[RunRecord]]:
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


def _epoch_cell(values: Sequence[float | None], key: str) -> str:
    """Percent, or a loss as it is."""
    if not key.endswith("loss"):
        return percent(values)
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ""
    return f"{fmean(known):.4f}" + (f" ± {stdev(known):.4f}" if len(known) > 1 else "")


def _labelled(benchmark: Benchmark, systems: Sequence[System]) -> list[tuple[str, System]]:
    """The study's label beside each system, in its order; several settings of one system are told apart."""
    found = []
    for label, name in zip(benchmark.published, systems_of(benchmark), strict=True):
        settings = [system for system in systems if system.runs[0].spec.system == name]
        found += [(label if len(settings) == 1 else f"{label}: {each.label}", each) for each in settings]
    return found


def _titled(title: str, records: Sequence[RunRecord]) -> str:
    return f"{title} on {data_name(records[0])}" if records else title


def _about_study(benchmark: Benchmark, systems: Sequence[System], records: Sequence[RunRecord]) -> list[str]:
    notes = [f"Study: {benchmark.source}. {'Metrics as there.' if has_figures(benchmark) else benchmark.caption}"]
    if not records:
        return [*notes, f"No runs of it are stored; 'icdbench ablate MODEL --study {benchmark.study}' makes them."]
    split = "Validation split" if benchmark.per_epoch else "Test split"
    notes += [*about_data(records), f"{split}, {about_seeds(systems)}.", *about_small(systems)]
    return notes if benchmark.per_epoch else [*notes, *about_collapse(systems)]


def _difference(own: str, published: str) -> str:
    """Own minus published, of the figures as shown, so that a reader's subtraction agrees."""
    ours, theirs = as_number(own), as_number(published)
    difference = None if ours is None or theirs is None else round(ours - theirs, 1)
    return "" if difference is None else f"{difference:+.1f}" if difference else "0.0"


def _effort(runs: Sequence[RunRecord]) -> list[str]:
    """Mean epoch of the best monitored validation value (the first of equals, as in training), mean training time."""
    epochs = [max(run.history, key=lambda figures: figures["monitor"])["epoch"] for run in runs if run.history]
    seconds = fmean(run.timing["train"] for run in runs)
    size, unit = (3600, "h") if seconds >= 3600 else (60, "min") if seconds >= 60 else (1, "s")
    return [f"{fmean(epochs):.1f}" if epochs else "", f"{seconds / size:.1f} {unit}"]
