"""Tables: run records in, text out. The only place that formats numbers.

`comparison` sets one's own systems side by side, a table for each set of comparable runs. `table` prints a table of a
paper, the published figures as printed and below each the own mean and the difference. Formats: md, latex, csv, html.
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, stdev
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import icdbench.benchmarks
from icdbench.formats import NUMBER, Best, Grid, write
from icdbench.spec import Benchmark, DataSpec, SpecError, nearest
from icdbench.types import SPLITS, Corpus, RunRecord

if TYPE_CHECKING:  # Optuna and torch are slow to import
    from icdbench.tune import Outcome

# Fields of DataSpec that change the test documents or their codes: runs that differ here answer different questions.
TASK_FIELDS = ("language", "top_codes", "categories", "drop_overlap", "protocol", "split_seed")
RANKING = ("auc", "p@", "r@", "map", "r_precision")  # beginnings of the metrics that no threshold enters

Column = tuple[str, str, str]  # heading, threshold rule, metric key


class System(NamedTuple):
    """Runs that differ in the seed alone, which are the only ones ever averaged, and a cell per column."""

    label: str
    runs: Sequence[RunRecord]
    cells: Sequence[str]


def benchmarks() -> dict[str, Benchmark]:
    """Every table and figure of a paper in `icdbench.benchmarks`, by name. One file may hold several, a data set each."""
    names = [module.name for module in pkgutil.iter_modules(icdbench.benchmarks.__path__)]
    papers = [name for name in names if name.startswith(("table", "figure"))]  # beside them stand scripts
    modules = [importlib.import_module(f"icdbench.benchmarks.{name}") for name in papers]
    found = [each for module in modules for each in vars(module).values() if isinstance(each, Benchmark)]
    return {each.name: each for each in found}


def benchmark(name: str) -> Benchmark:
    """The table called `name`. Raises SpecError if there is none."""
    known = benchmarks()
    if name not in known:
        raise SpecError(f"no table '{name}'{nearest(name, known)}")
    return known[name]


def comparison(records: Sequence[RunRecord], fmt: str = "md") -> str:
    """Own systems side by side, best precision at the smallest k first; a table for each set of comparable runs.

    Rows are settings, their seeds averaged: percent, mean ± sample standard deviation; the best mean of a column is bold
    where two rows or more compete. † marks collapsed runs and those of their figures that are worthless, which are never
    the best. Raises SpecError for an unknown format.
    """
    nothing = Grid("Own runs", ["system", *(heading for heading, _, _ in _columns(50))], [], ["No runs are stored."])
    return write([_compared(block, "Own runs") for block in _blocks(records)] or [nothing], fmt)


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
    if benchmark.study and not _has_figures(benchmark):
        grid = _curves if benchmark.per_epoch else _study
        return write([grid(benchmark, block, benchmark.title) for block in _blocks(records) or [[]]], fmt)
    own = [record for record in records if _same_data(record, benchmark)]
    other = [record for record in records if not _same_data(record, benchmark)]
    title = f"Other data, not comparable with {benchmark.name}: own runs"
    grids = [_published(benchmark, block) for block in _blocks(own) or [[]]]
    grids += [
        _study(benchmark, block, title) if benchmark.study else _compared(block, title) for block in _blocks(other)
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


def systems_of(benchmark: Benchmark) -> list[str]:
    """The systems that a benchmark compares, in its order."""
    return [system for system, _ in benchmark.published.values()]


def of_study(benchmark: Benchmark, records: Iterable[RunRecord]) -> list[RunRecord]:
    """The stored runs that were made as the study makes them: those with all its overrides."""
    return [record for record in records if all(_has(record, *each) for each in benchmark.overrides.items())]


def _has(record: RunRecord, key: str, value: object) -> bool:
    target, _, name = key.partition(".")
    settings = {"train": record.spec.train.model_dump(), "data": record.spec.data.model_dump()}
    return bool(settings.get(target, record.spec.config).get(name) == value)


def _has_figures(benchmark: Benchmark) -> bool:
    return any(figures for _, figures in benchmark.published.values())


def statistics(corpus: Corpus, fmt: str = "md") -> str:
    """The paper's Table 2 for one data set, and what else decides whether label counts match. Raises SpecError."""
    splits = [corpus.splits[split] for split in SPLITS]
    lengths = [float(np.median(np.diff(encoded.token_offsets))) for encoded in splits]
    codes = [(len(encoded.codes) + int(encoded.unseen.sum())) / len(encoded) for encoded in splits]
    name = corpus.name + " (SYNTHETIC)" * corpus.synthetic
    header = ["data set", "vocabulary", "codes", *SPLITS, "median tokens", "codes per document"]
    counts = [len(corpus.vocabulary.tokens) - 2, len(corpus.vocabulary.codes), *map(len, splits)]
    sizes = [f"{count:,}" for count in counts]
    shape = [" / ".join(f"{value:.0f}" for value in lengths), " / ".join(f"{value:.1f}" for value in codes)]
    notes = [
        "Vocabulary: tokens known to the models, without padding and unknown. Medians and means per split.",
        f"Fingerprint of the raw content {corpus.fingerprint}. "
        + "; ".join(f"{fact.replace('_', ' ')}: {value}" for fact, value in corpus.facts.items()),
    ]
    for split, encoded in zip(SPLITS, splits, strict=True):
        if missed := int(encoded.unseen.sum()):
            gold = len(encoded.codes) + missed
            notes.append(f"{split}: {missed:,} of {gold:,} gold assignments are codes that training never shows.")
    return write([Grid(f"Statistics of {name}", header, [[name, *sizes, *shape]], notes), _frequencies(corpus)], fmt)


def _frequencies(corpus: Corpus) -> Grid:
    """The paper's figure 2: how many codes are how frequent in training, and how much of all labels they make up."""
    counts_L = corpus.splits["train"].labels(len(corpus.vocabulary.codes)).sum(0).A1
    edges = [0, 1, 2, 6, 11, 51, 101, 501, 1001, 5001, len(corpus.splits["train"]) + 1]
    rows = []
    for low, high in pairwise(sorted({min(edge, edges[-1]) for edge in edges})):
        chosen_L = (counts_L >= low) & (counts_L < high)
        if chosen_L.any():
            share = chosen_L.mean()
            span = f"{low:,}" if high == low + 1 else f"{low:,}–{high - 1:,}"
            cells = [
                f"{chosen_L.sum():,}",
                f"{100 * share:.1f} %",
                f"{100 * counts_L[chosen_L].sum() / counts_L.sum():.1f} %",
            ]
            rows.append([span, *cells, "#" * round(40 * share)])
    header = ["training documents", "codes", "of all codes", "of all labels", "codes, to scale"]
    notes = [f"{len(corpus.splits['train']):,} training documents with {counts_L.sum():,} labels."]
    return Grid("Codes by their frequency in training", header, rows, notes)


def _same_data(record: RunRecord, benchmark: Benchmark) -> bool:
    altered = any(f"data.{field}" in record.spec.changed for field in TASK_FIELDS)
    return record.spec.dataset == benchmark.dataset and not altered and not record.corpus["synthetic"]


def _blocks(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Runs that may share a table (same raw data, documents, codes), by id. A run that is given twice counts once."""
    blocks: dict[str, list[RunRecord]] = {}
    for record in {record.id: record for record in sorted(records, key=lambda each: (each.id, each.created))}.values():
        task = [getattr(record.spec.data, field) for field in TASK_FIELDS]
        corpus = [record.corpus[field] for field in ("synthetic", "num_codes", "documents", "unseen", "assignments")]
        key = json.dumps([record.spec.dataset, record.spec.fingerprint, *task, *corpus], sort_keys=True)
        blocks.setdefault(key, []).append(record)
    return list(blocks.values())


def _systems(records: Iterable[RunRecord], columns: Sequence[Column]) -> list[System]:
    """A block's settings, by label. Where labels collide (a default has changed since) a digest tells them apart."""
    found: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        changed = ", ".join(f"{name}={value}" for name, value in sorted(record.spec.changed.items()))
        label = record.spec.system + (f" ({changed})" if changed else "")
        found.setdefault((label, record.spec.setting), []).append(record)
    keys, labels = sorted(found), [label for label, _ in found]
    names = [label if labels.count(label) == 1 else f"{label} [{setting}]" for label, setting in keys]
    cells = _bold([[_cell(found[key], *column[1:]) for column in columns] for key in keys])
    return [System(name, found[key], row) for name, key, row in zip(names, keys, cells, strict=True)]


def _cell(runs: Sequence[RunRecord], rule: str, key: str) -> str:
    """Mean ± sample standard deviation in percent; † where a run's figure is that of a collapse."""
    values = [run.metrics["test"].get(rule, {}).get(key) for run in runs]
    # Scores that a threshold cuts badly may still rank well; degenerate scores collapse under every rule.
    fatal = {"fixed", "tuned"} if key.startswith(RANKING) else {rule}
    return _percent(values) + (" †" if any(fatal <= run.collapse.keys() for run in runs) else "")


def _percent(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):  # a mean over some of the seeds would pass as one over all
        return ""
    return f"{100 * fmean(known):.1f}" + (f" ± {100 * stdev(known):.1f}" if len(known) > 1 else "")


def _number(cell: str) -> float | None:
    match = NUMBER.fullmatch(cell)
    return float(match[1]) if match else None


def _bold(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows with each column's best figures marked, if at least two compete."""
    columns = [[number for number in map(_number, column) if number is not None] for column in zip(*rows, strict=True)]
    best = [max(column) if len(column) > 1 else math.inf for column in columns]
    return [[Best(cell) if _number(cell) == top else cell for cell, top in zip(row, best, strict=True)] for row in rows]


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
    systems = sorted(_systems(records, columns), key=lambda system: -(_number(system.cells[order]) or 0))
    rows = [[_marked(each), *each.cells, str(len(each.runs)), *_effort(each.runs)] for each in systems]
    notes = [*_about_data(records), f"Percent on the test split, {_about_seeds(systems)}."]
    notes.append("A code is predicted above 0.5, for F1 micro tuned above one threshold that is chosen on validation.")
    notes += _about_small(systems)
    notes.append("F1 macro (harmonic): 2PR/(P+R) of macro-averaged P and R, not the mean of per-code F1.")
    devices = "; ".join(sorted({record.device for record in records}))
    notes.append(f"Best {headings[order]} first. Means: epochs up to the best one; training time on {devices}.")
    floor = {key: value for key, value in records[0].popularity.items() if key.startswith(("p@", "r@", "map"))}
    if floor:
        rows.append(["popularity (floor)", *(_percent([floor.get(key)]) for key in keys), "", "", ""])
        notes.append("Popularity: every document gets the codes that are most frequent in training.")
    header = ["system", *headings, "seeds", "epochs", "train time"]
    return Grid(f"{title} on {_data_name(records[0])}", header, rows, [*notes, *_about_collapse(systems)])


def _published(benchmark: Benchmark, records: Sequence[RunRecord]) -> Grid:
    columns = [(heading, "fixed", key) for heading, key in benchmark.metrics]
    systems = _systems(records, columns)
    models = [model for model, _ in benchmark.published.values()]
    paper = _bold([figures for _, figures in benchmark.published.values()])

    def own(system: System) -> list[str]:
        number = len(system.runs)
        return [_marked(system), f"{benchmark.dataset}, {number} seed{'s' * (number > 1)}", *system.cells]

    rows: list[list[str]] = []
    for label, model, figures in zip(benchmark.published, models, paper, strict=True):
        rows.append([label, "published", *figures])
        for system in systems:
            if system.runs[0].spec.system == model:
                rows += [own(system), [system.label, "difference", *map(_difference, system.cells, figures)]]
    rows += [own(system) for system in systems if system.runs[0].spec.system not in models]
    notes = [f"Published: {benchmark.source}. {benchmark.caption}".strip()]
    if records:
        notes += [*_about_data(records), f"Own runs: test split, {_about_seeds(systems)}.", *_about_collapse(systems)]
    else:
        notes.append(f"No runs on {benchmark.dataset} are stored.")
    return Grid(benchmark.title, ["system", "figures", *(heading for heading, _, _ in columns)], rows, notes)


def _study(benchmark: Benchmark, records: Sequence[RunRecord], title: str) -> Grid:
    """Own runs of a study, in its order and with its metrics."""
    columns = [(heading, "fixed", key) for heading, key in benchmark.metrics]
    shared, records = _shared(records)
    systems = _systems(records, columns)
    rows = [
        [label, _marked(system), *system.cells, str(len(system.runs)), *_effort(system.runs)]
        for label, system in _labelled(benchmark, systems)
    ]
    header = ["config", "system", *(heading for heading, _, _ in columns), "seeds", "epochs", "train time"]
    return Grid(_titled(title, records), header, rows, [*_about_study(benchmark, systems, records), *shared])


def _curves(benchmark: Benchmark, records: Sequence[RunRecord], title: str) -> Grid:
    """Own runs of a study epoch by epoch: means over seeds, blank where one of them had stopped before."""
    shared, records = _shared(records)
    labelled = _labelled(benchmark, _systems(records, []))
    rows = []
    for position in range(max((len(record.history) for record in records), default=0)):
        for label, system in labelled:
            epochs = [run.history[position] if position < len(run.history) else {} for run in system.runs]
            if any(epochs):
                cells = [_epoch_cell([epoch.get(key) for epoch in epochs], key) for _, key in benchmark.metrics]
                rows.append([str(position + 1), label, *cells])
    header = ["epoch", "config", *(heading for heading, _ in benchmark.metrics)]
    notes = _about_study(benchmark, [system for _, system in labelled], records)
    which = [f"{label}: {system.label}, {_seeds(system.runs)}." for label, system in labelled]
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
        return _percent(values)
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
    return f"{title} on {_data_name(records[0])}" if records else title


def _about_study(benchmark: Benchmark, systems: Sequence[System], records: Sequence[RunRecord]) -> list[str]:
    notes = [f"Study: {benchmark.source}. {'Metrics as there.' if _has_figures(benchmark) else benchmark.caption}"]
    if not records:
        return [*notes, f"No runs of it are stored; 'icdbench ablate MODEL --study {benchmark.study}' makes them."]
    split = "Validation split" if benchmark.per_epoch else "Test split"
    notes += [*_about_data(records), f"{split}, {_about_seeds(systems)}.", *_about_small(systems)]
    return notes if benchmark.per_epoch else [*notes, *_about_collapse(systems)]


def _difference(own: str, published: str) -> str:
    """Own minus published, of the figures as shown, so that a reader's subtraction agrees."""
    ours, theirs = _number(own), _number(published)
    difference = None if ours is None or theirs is None else round(ours - theirs, 1)
    return "" if difference is None else f"{difference:+.1f}" if difference else "0.0"


def _effort(runs: Sequence[RunRecord]) -> list[str]:
    """Mean epoch of the best monitored validation value (the first of equals, as in training), mean training time."""
    epochs = [max(run.history, key=lambda figures: figures["monitor"])["epoch"] for run in runs if run.history]
    seconds = fmean(run.timing["train"] for run in runs)
    size, unit = (3600, "h") if seconds >= 3600 else (60, "min") if seconds >= 60 else (1, "s")
    return [f"{fmean(epochs):.1f}" if epochs else "", f"{seconds / size:.1f} {unit}"]


def _marked(system: System) -> str:
    return system.label + (" †" if any(run.collapse for run in system.runs) else "")


def _seeds(runs: Iterable[RunRecord]) -> str:
    each = sorted(run.spec.seed for run in runs)
    return ("seed " if len(each) == 1 else "seeds ") + ", ".join(map(str, each))


def _about_seeds(systems: Sequence[System]) -> str:
    shared: dict[str, list[str]] = {}
    for system in systems:
        shared.setdefault(_seeds(system.runs), []).append(system.label)
    several = any(len(system.runs) > 1 for system in systems)
    which = next(iter(shared)) if len(shared) == 1 else "; ".join(f"{s}: {', '.join(of)}" for s, of in shared.items())
    return f"mean ± sample standard deviation over seeds ({which})" if several else f"one run each ({which})"


def _about_small(systems: Sequence[System]) -> list[str]:
    adapted = {system.label: system.runs[0].spec.adapted for system in systems if system.runs[0].spec.adapted}
    each = (
        f"{label} {', '.join(f'{name}={value}' for name, value in values.items())}" for label, values in adapted.items()
    )
    return [f"Settings for small training sets in place of the published ones: {'; '.join(each)}."] if adapted else []


def _about_collapse(systems: Sequence[System]) -> list[str]:
    found: dict[tuple[str, str, str], list[RunRecord]] = {}
    for system in systems:
        for run in system.runs:
            for rule, what in sorted(run.collapse.items()):
                found.setdefault((system.label, rule, what), []).append(run)
    return [f"† {label}, {_seeds(runs)}: {what} ({rule})" for (label, rule, what), runs in found.items()]


def _data_name(record: RunRecord) -> str:
    chosen = {field: getattr(record.spec.data, field) for field in TASK_FIELDS}
    settings = [f"{field}={chosen[field]}" for field in chosen if chosen[field] != DataSpec.model_fields[field].default]
    return ", ".join([record.spec.dataset + " (SYNTHETIC)" * record.corpus["synthetic"], *settings])


def _about_data(records: Sequence[RunRecord]) -> list[str]:
    """What the runs were measured on, and the ceiling where training never shows some of the gold codes."""
    spec, corpus = records[0].spec, records[0].corpus
    documents = ", ".join(f"{corpus['documents'][split]:,} {split}" for split in SPLITS)
    size = f"documents {documents}; L = {corpus['num_codes']:,} codes; fingerprint {spec.fingerprint}"
    notes = [f"Data: {_data_name(records[0])}; {size}."]
    if unseen := corpus["unseen"]["test"]:
        gold = corpus["assignments"]["test"]
        recall = (gold - unseen) / gold
        most = math.ceil(round(20000 * recall / (1 + recall), 6)) / 100  # at precision 1; rounded up, as it is a bound
        never = (
            f"{unseen:,} of {gold:,} gold assignments ({100 * unseen / gold:.1f} %) are codes that training never shows"
        )
        notes.append(f"{never}; they count as missed, so micro-F1 cannot exceed {most:.2f}.")
    return notes
