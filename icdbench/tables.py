"""Tables: run records in, text out. The only place that formats numbers.

`comparison` sets one's own systems side by side, a table for each set of comparable runs. `table` prints a table of a
paper, the published figures as printed and below each the own mean and the difference. Formats: md, latex, csv, html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from icdbench.catalog import has_figures, stored_name, systems_of
from icdbench.counts import data_sets
from icdbench.formats import Grid, write
from icdbench.spec import Benchmark, Reported
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
    shared,
    systems_in,
)
from icdbench.types import RunRecord

if TYPE_CHECKING:  # Optuna and torch are slow to import
    from icdbench.tune import Outcome

CUT = ("f1", "precision", "recall", "exact")  # beginnings of the metrics that a threshold enters
MACRO_F1 = {
    "f1_macro_harmonic": "harmonic, 2PR/(P+R) of macro-averaged P and R, not the mean of per-code F1",
    "f1_macro": "mean of per-code F1 over all codes, not 2PR/(P+R)",
    "f1_macro_present": "mean of per-code F1 over the codes that a document of the split has, not 2PR/(P+R)",
    "f1_macro_unstated": "of a definition that the source does not state",
}
MACRO = {"f1_macro_harmonic": "h", "f1_macro": "m", "f1_macro_present": "p", "f1_macro_unstated": "u"}
MARKS = {mark: f"F1 macro: {MACRO_F1[key]}" for key, mark in MACRO.items()} | {"t": "threshold tuned on validation"}
HEADINGS = {
    "auc_macro": "AUC macro",
    "auc_micro": "AUC micro",
    "f1_macro_harmonic": "F1 macro (harmonic)",
    "f1_macro": "F1 macro (mean)",
    "f1_macro_present": "F1 macro (mean, codes present)",
    "f1_macro_unstated": "F1 macro (not stated which)",
    "f1_micro": "F1 micro",
    "p@5": "P@5",
    "r@5": "R@5",
    "p@8": "P@8",
    "p@15": "P@15",
    "r_precision": "R-precision",
    "map": "MAP",
}


def comparison(records: Sequence[RunRecord], fmt: str = "md") -> str:
    """Own systems side by side, best precision at the smallest k first; a table for each set of comparable runs.

    Rows are settings, their seeds averaged: percent, mean ± sample standard deviation; the best mean of a column is bold
    where two rows or more compete. † marks collapsed runs and those of their figures that are worthless, which are never
    the best. Raises SpecError for an unknown format.
    """
    nothing = Grid("Own runs", ["system", *(heading for heading, _, _ in columns_for(50))], [], ["No runs are stored."])
    return write([compared(block, "Own runs") for block in blocks(records)] or [nothing], fmt)


def table(
    benchmark: Benchmark, records: Sequence[RunRecord], fmt: str = "md", reported: Sequence[Reported] = ()
) -> str:
    """A table of a paper: a row per published system, and directly under it the own runs of that model, if any.

    Rows rather than columns are added, so the table keeps the paper's width and a model without own runs takes one line:
    `published`, then per own setting the mean ± sd and the difference of the two as shown. Variants and models that the
    paper lacks follow, then what others report. The best published and the best own figure are bold. Synthetic data, other
    data sets and changed data settings never stand beside published figures; they follow in tables of their own. A study has no
    rows but those of its own systems, and so has a benchmark with `models`. Raises SpecError for an unknown format.
    """
    return printed([(benchmark, records)], fmt, reported)


def printed(
    parts: Sequence[tuple[Benchmark, Sequence[RunRecord]]], fmt: str = "md", reported: Sequence[Reported] = ()
) -> str:
    """Several tables with the runs that may enter each; runs on other data follow once for all tables of a kind."""
    kinds: dict[tuple[object, ...], list[tuple[Benchmark, Sequence[RunRecord]]]] = {}
    for benchmark, records in parts:
        alone = benchmark.name if benchmark.models else ""
        kinds.setdefault((benchmark.study, benchmark.statistics, alone), []).append((benchmark, records))
    return write([grid for each in kinds.values() for grid in _of_kind(each, reported)], fmt)


def _of_kind(parts: Sequence[tuple[Benchmark, Sequence[RunRecord]]], reported: Sequence[Reported]) -> list[Grid]:
    first = parts[0][0]
    if first.statistics:
        return data_sets(first, parts[0][1])
    named = systems_of(first) if first.study or first.models else None
    grids, seen, placed = [], [], set()
    for benchmark, records in parts:
        chosen = [record for record in records if named is None or record.spec.system in named]
        if first.study and not has_figures(first):
            grid = _curves if first.per_epoch else _study
            return [grid(benchmark, block, benchmark.title) for block in blocks(chosen) or [[]]]
        own = [record for record in chosen if _same_data(record, benchmark)]
        about = [each for each in reported if each.dataset == benchmark.dataset]
        if has_figures(benchmark) or about:
            grids += [_published(benchmark, block, about) for block in blocks(own) or [[]]]
        else:
            grids += [_study(benchmark, block, benchmark.title) for block in blocks(own) or [[]]]
        seen += chosen
        placed |= {record.id for record in own}
    other = [] if first.models else [record for record in seen if record.id not in placed]
    title = f"Other data, not comparable with {', '.join(part.name for part, _ in parts)}: own runs"
    return grids + [
        _study(first, block, title) if first.study else compared(block, title, reported) for block in blocks(other)
    ]


def literature(reported: Sequence[Reported], fmt: str = "md") -> str:
    """What others report, a table for each data set; every macro-F1 in the column of its definition."""
    grids = []
    for dataset in dict.fromkeys(each.dataset for each in reported):
        rows = [each for each in reported if each.dataset == dataset]
        keys = [key for key in HEADINGS if any(key in each.figures for each in rows)]
        numbers = {source: f"[{number}]" for number, source in enumerate(dict.fromkeys(row.source for row in rows), 1)}
        cells = bold([[each.figures.get(key, "") for key in keys] for each in rows])
        table = [[each.system, numbers[each.source], *row] for each, row in zip(rows, cells, strict=True)]
        notes = ["Percent, as printed.", *(f"{number} {source}." for source, number in numbers.items())]
        tuned = list(dict.fromkeys(numbers[each.source] for each in rows if each.threshold == "tuned"))
        notes += [f"{', '.join(tuned)}: threshold tuned on validation."] if tuned else []
        header = ["system", "figures", *(HEADINGS[key] for key in keys)]
        grids.append(Grid(f"Reported by others on {dataset}", header, table, notes))
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
    """Whether a run answers the benchmark's question: synthetic data never stand beside published figures."""
    altered = any({f"data.{field}"} & record.spec.changed.keys() - benchmark.overrides.keys() for field in TASK_FIELDS)
    real = not record.corpus["synthetic"] or not has_figures(benchmark)
    return record.spec.dataset == stored_name(benchmark) and real and not altered


def columns_for(num_codes: int) -> list[Column]:
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


def compared(records: Sequence[RunRecord], title: str, reported: Sequence[Reported] = ()) -> Grid:
    columns = columns_for(records[0].corpus["num_codes"])
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
    usual = not records[0].corpus["synthetic"] and not any(
        f"data.{field}" in records[0].spec.changed for field in TASK_FIELDS
    )
    about = [each for each in reported if usual and each.dataset == records[0].spec.dataset]
    others, sources = _others(about, columns)
    rows += [[f"{label} {number}", *cells, "", "", ""] for label, number, cells in others]
    header = ["system", *headings, "seeds", "epochs", "train time"]
    return Grid(f"{title} on {data_name(records[0])}", header, rows, [*notes, *about_collapse(systems), *sources])


def _published(benchmark: Benchmark, records: Sequence[RunRecord], reported: Sequence[Reported]) -> Grid:
    columns = _columns_of(benchmark)
    systems = systems_in(records, columns)
    models = [model for model, _ in benchmark.published.values()]
    others, sources = _others(reported, columns)
    figures = [cells or [""] * len(columns) for _, cells in benchmark.published.values()]
    best = bold([*figures, *(cells for _, _, cells in others)])

    def own(system: System) -> list[str]:
        number = len(system.runs)
        return [marked(system), f"{system.runs[0].spec.dataset}, {number} seed{'s' * (number > 1)}", *system.cells]

    rows: list[list[str]] = []
    for label, model, cells in zip(benchmark.published, models, best, strict=False):
        rows.append([label, "published", *cells])
        for system in systems:
            if system.runs[0].spec.system == model:
                rows += [own(system), [system.label, "difference", *map(difference, system.cells, cells)]]
    rows += [own(system) for system in systems if system.runs[0].spec.system not in models]
    rows += [[label, number, *cells] for (label, number, _), cells in zip(others, best[len(figures) :], strict=True)]
    notes = _about(benchmark, "Published")
    if records:
        notes += [*about_data(records), f"Own runs: test split, {about_seeds(systems)}.", *about_small(systems)]
        notes += about_collapse(systems)
    else:
        notes.append(f"No runs on {benchmark.dataset} are stored.")
    header = ["system", "figures", *(heading for heading, _, _ in columns)]
    return Grid(benchmark.title, header, rows, [*notes, *sources])


def _columns_of(benchmark: Benchmark) -> list[Column]:
    return [(heading, benchmark.threshold, key) for heading, key in benchmark.metrics]


def _others(
    reported: Sequence[Reported], columns: Sequence[Column]
) -> tuple[list[tuple[str, str, list[str]]], list[str]]:
    """Rows of what others report (system, number of the source, cells), and the notes that they need."""
    numbers = {
        source: f"[{number}]" for number, source in enumerate(dict.fromkeys(each.source for each in reported), 1)
    }
    marks: set[str] = set()
    rows = []
    for each in reported:
        found = [_reported(each, column, columns) for column in columns]
        marks |= {mark for _, own in found for mark in own}
        cells = [f"{text} ({', '.join(own)})" if own else text for text, own in found]
        if any(cells):
            rows.append((each.system, numbers[each.source], cells))
    notes = [f"({mark}) {MARKS[mark]}." for mark in MARKS if mark in marks]
    return rows, notes + [f"{number} {source}." for source, number in numbers.items()]


def _reported(each: Reported, column: Column, columns: Sequence[Column]) -> tuple[str, list[str]]:
    """The figure of a column, and marks for what differs from the column: the macro-F1's definition, the threshold."""
    _, rule, key = column
    key, mark = (
        (key, "")
        if key in each.figures or key not in MACRO
        else next(((other, mark) for other, mark in MACRO.items() if other in each.figures), (key, ""))
    )
    text, differs = each.figures.get(key, ""), key.startswith("f1") and (each.threshold or "fixed") != rule
    if not text or (differs and (rule == "tuned" or any(each.threshold == r and key == k for _, r, k in columns))):
        return "", []
    return text, [*([mark] if mark else []), *(["t"] if differs else [])]


def _study(benchmark: Benchmark, records: Sequence[RunRecord], title: str) -> Grid:
    """Own runs of a study, in its order and with its metrics."""
    columns = _columns_of(benchmark)
    common, records = shared(records)
    systems = systems_in(records, columns)
    rows = [
        [label, marked(system), *system.cells, str(len(system.runs)), *_effort(system.runs)]
        for label, system in _labelled(benchmark, systems)
    ]
    header = ["config", "system", *(heading for heading, _, _ in columns), "seeds", "epochs", "train time"]
    if all(config == system for config, system, *_ in rows):
        header, rows = header[1:], [row[1:] for row in rows]
    return Grid(_titled(title, records), header, rows, [*_about_study(benchmark, systems, records), *common])


def _curves(benchmark: Benchmark, records: Sequence[RunRecord], title: str) -> Grid:
    """Own runs of a study epoch by epoch: means over seeds, blank where one of them had stopped before."""
    common, records = shared(records)
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
    return Grid(_titled(title, records), header, rows, [*notes, *common, *which])


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
    labels = {system: label for label, (system, _) in benchmark.published.items()}
    found: list[tuple[str, System]] = []
    for name in systems_of(benchmark):
        settings = [system for system in systems if system.runs[0].spec.system == name]
        label = labels.get(name, "")
        named = f"{label}: " if label else ""
        found += [(label if label and len(settings) == 1 else f"{named}{each.label}", each) for each in settings]
    return found


def _titled(title: str, records: Sequence[RunRecord]) -> str:
    return f"{title} on {data_name(records[0])}" if records else title


def _about(benchmark: Benchmark, what: str) -> list[str]:
    """Where a table is from, what else is to be known, and how its figures are defined."""
    source = f"{what}: {benchmark.source}. " if benchmark.source else ""
    notes = [f"{source}{benchmark.caption}".strip()] if source or benchmark.caption else []
    keys = dict(benchmark.metrics)
    macro = [f"{heading}: {MACRO_F1[key]}." for heading, key in keys.items() if key in MACRO_F1]
    rule = "fixed at 0.5" if benchmark.threshold == "fixed" else "one for all codes, tuned on validation for micro-F1"
    cut = [f"Threshold: {rule}."] if any(key.startswith(CUT) for key in keys.values()) else []
    return notes + ([" ".join(["Percent.", *macro, *cut])] if macro or cut else [])


def _about_study(benchmark: Benchmark, systems: Sequence[System], records: Sequence[RunRecord]) -> list[str]:
    notes = _about(benchmark, "Study" if benchmark.study else "Source")
    if not records:
        command = f"ablate MODEL --study {benchmark.study}" if benchmark.study else "run --benchmark FILE"
        return [*notes, f"No runs of it are stored; 'icdbench {command}' makes them."]
    split = "Validation split" if benchmark.per_epoch else "Test split"
    notes += [*about_data(records), f"{split}, {about_seeds(systems)}.", *about_small(systems)]
    return notes if benchmark.per_epoch else [*notes, *about_collapse(systems)]


def difference(own: str, published: str) -> str:
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
