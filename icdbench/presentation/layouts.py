"""The layouts of tables of systems: side by side, beside published figures, as a study, epoch by epoch.

Each function takes comparable runs, or none, and returns a `Grid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from icdbench.data import datasets
from icdbench.models import FLOORS
from icdbench.presentation.catalog import has_figures, stored_name
from icdbench.presentation.cells import (
    Column,
    SystemRow,
    as_printed,
    common_settings,
    descending,
    difference,
    mark_best,
    mean_of,
    systems_in,
)
from icdbench.presentation.formats import Cell, Grid, Value
from icdbench.presentation.headings import MACRO_F1, heading
from icdbench.presentation.notes import (
    about_ceilings,
    about_collapse,
    about_data,
    about_origin,
    about_seeds,
    about_small,
    about_tuned,
    data_name,
)
from icdbench.presentation.reported import reported_rows
from icdbench.presentation.standing import marked
from icdbench.records import RunRecord, comparable, store
from icdbench.spec import Benchmark, Reported

FLOORS_NOTE = (
    "Floors are what any other system has to beat; popularity gives every document the most frequent codes of training."
)
THRESHOLDED = ("f1", "precision", "recall", "exact")  # how the keys of metrics with a threshold begin


class Showing(NamedTuple):
    """How runs are shown. Figures that cannot be told from the best are marked if predictions are below the `results` folders.

    Runs of different minor versions are separate rows, unless `mix`.
    """

    results: Sequence[Path] = ()
    mix: bool = False


def precision_metric(num_codes: int) -> str:
    """The precision at the smallest k that is reported for a label set of this size."""
    return "p@5" if num_codes <= 50 else "p@8"


def columns_for(num_codes: int) -> list[Column]:
    """The main metrics for a label set of this size."""
    at_k = ("p@5", "r@5") if num_codes <= 50 else ("p@8", "p@15")
    before = ("auc_macro", "auc_micro", "f1_macro_harmonic", "f1_micro")
    columns = [(heading(key), "fixed", key) for key in (*before, *at_k, "map")]
    return [*columns[:4], ("F1 micro tuned", "tuned", "f1_micro"), *columns[4:]]


def columns_of(benchmark: Benchmark) -> list[Column]:
    """The columns that a benchmark declares."""
    return [(name, benchmark.threshold, key) for name, key in benchmark.metrics]


def side_by_side(
    records: Sequence[RunRecord], how: Showing, title: str = "Own runs", reported: Sequence[Reported] = ()
) -> tuple[Grid, list[SystemRow]]:
    """Own systems, the best first, then the popularity baseline and what others report; and the systems in this order."""
    size = records[0].data.num_codes
    first = "map" if size <= 5 else precision_metric(size)  # with five codes P@5 is the same for every ranking
    columns = columns_for(size)
    order = [key for _, _, key in columns].index(first)
    common, labelled = common_settings(records)
    originals = {record.id: record for record in records}
    systems = systems_in(labelled, columns, mix=how.mix)
    systems = [system._replace(runs=[originals[run.id] for run in system.runs]) for system in systems]
    systems, about_best = marked(systems, columns, how.results)
    systems.sort(key=lambda system: descending(system.cells[order]))
    rows: list[list[Value]] = [
        [each.marked, *each.cells, _settings_origin(each.runs[0]), *_training_cells(each.runs)] for each in systems
    ]
    notes = [
        *about_data(records),
        f"Percent on the test split, {about_seeds(systems)}.",
        *about_ceilings(records, columns),
        *about_best,
        "A code is predicted if its probability is above 0.5; for F1 micro tuned, above one threshold chosen on validation.",
        *about_small(systems),
        *about_tuned(systems),
        *about_origin(systems),
        *common,
        "F1 macro (harmonic): 2PR/(P+R) of macro-averaged P and R, not the mean of per-code F1.",
    ]
    devices = "; ".join(sorted({record.device for record in records if not record.scored}))
    trained = f" Means of runs: epochs up to the best one, and training time on {devices}." if devices else ""
    notes.append(f"Sorted by {heading(first)}.{trained}")
    floor = {key: value for key, value in records[0].popularity.items() if key.startswith(("p@", "r@", "map"))}
    if floor and "popularity" not in {each.system for each in systems}:
        rows.append(["popularity (floor)", *(mean_of([floor.get(key)]) for _, _, key in columns), "", "", "", ""])
    notes.append(FLOORS_NOTE)
    unchanged = not records[0].data.synthetic and not _changes_task(records[0])
    on_data = [each for each in reported if unchanged and each.dataset == records[0].spec.dataset]
    others, sources = reported_rows(on_data, columns)
    rows += [[f"{label} {number}", *cells, "", "", "", ""] for label, number, cells in others]
    header = ["system", *(name for name, _, _ in columns), "settings", "seeds", "epochs", "train time"]
    notes += [*about_collapse(systems), *sources]
    return Grid(f"{title} on {data_name(records[0])}", header, rows, notes), systems


def _changes_task(record: RunRecord, *allowed: str) -> bool:
    """Whether the user changed a setting, other than the allowed ones, that makes the data another task."""
    task = {f"data.{field}" for field in datasets.changes_task(record.spec.dataset, record.spec.data)}
    return bool(task & record.changed.keys() - set(allowed))


def answers(record: RunRecord, benchmark: Benchmark) -> bool:
    """Whether a run is on the benchmark's data; synthetic data never stand beside published figures."""
    if record.spec.dataset != stored_name(benchmark) or (record.data.synthetic and has_figures(benchmark)):
        return False
    return not _changes_task(record, "data.label_set", *benchmark.overrides)


def beside_published(
    benchmark: Benchmark, records: Sequence[RunRecord], how: Showing, reported: Sequence[Reported]
) -> Grid:
    """Published rows, each followed by own runs of that system and the difference; then other systems and sources."""
    columns = columns_of(benchmark)
    systems, about_best = marked(systems_in(records, columns, mix=how.mix), columns, how.results)
    others, sources = reported_rows(reported, columns)
    figures = [list(map(as_printed, cells or [""] * len(columns))) for _, cells in benchmark.published.values()]
    best = mark_best([*figures, *(cells for _, _, cells in others)])

    def own_row(system: SystemRow) -> list[Value]:
        number = len(system.runs)
        return [system.marked, f"{system.runs[0].spec.dataset}, {number} seed{'s' * (number > 1)}", *system.cells]

    rows: list[list[Value]] = []
    for (label, (model, _)), cells in zip(benchmark.published.items(), best, strict=False):
        rows.append([label, "published", *cells])
        for system in systems:
            if system.system == model:
                rows += [own_row(system), [system.label, "difference", *map(difference, system.cells, cells)]]
    named = {model for model, _ in benchmark.published.values()}
    rows += [own_row(system) for system in systems if system.system not in named]
    rows += [[label, number, *cells] for (label, number, _), cells in zip(others, best[len(figures) :], strict=True)]
    notes = _notes_on_source(benchmark, "Published")
    if records:
        notes += [*about_data(records), f"Own runs: test split, {about_seeds(systems)}."]
        notes += [*about_ceilings(records, columns), *about_best, *about_small(systems)]
        notes += [*about_origin(systems), *about_collapse(systems)]
    else:
        notes.append(f"No runs on {benchmark.dataset} are stored.")
    header = ["system", "figures", *(name for name, _, _ in columns)]
    return Grid(benchmark.title, header, rows, [*notes, *sources])


def study(benchmark: Benchmark, records: Sequence[RunRecord], how: Showing, title: str = "") -> Grid:
    """Own runs with the benchmark's metrics, in the benchmark's order."""
    columns = columns_of(benchmark)
    common, records = common_settings(records)
    systems, about_best = marked(systems_in(records, columns, mix=how.mix), columns, how.results)
    rows: list[list[Value]] = [
        [label, system.marked, *system.cells, *_training_cells(system.runs)]
        for label, system in _labelled(benchmark, systems)
    ]
    header = ["config", "system", *(name for name, _, _ in columns), "seeds", "epochs", "train time"]
    if all(config == system for config, system, *_ in rows):
        header, rows = header[1:], [row[1:] for row in rows]
    notes = [*_notes_on_runs(benchmark, systems, records, "Test"), *about_best]
    notes += [*(about_collapse(systems) if records else []), *common]
    return Grid(_title_with_data(title or benchmark.title, records), header, rows, notes)


def by_epoch(benchmark: Benchmark, records: Sequence[RunRecord], how: Showing) -> Grid:
    """Own runs epoch by epoch: means over seeds, empty after the first of them has stopped."""
    common, records = common_settings(records)
    labelled = _labelled(benchmark, systems_in(records, [], mix=how.mix))
    rows: list[list[Value]] = []
    for position in range(max((len(record.history) for record in records), default=0)):
        for label, system in labelled:
            epochs = [run.history[position].figures if position < len(run.history) else {} for run in system.runs]
            if any(epochs):
                cells = [_epoch_cell([epoch.get(key) for epoch in epochs], key) for _, key in benchmark.metrics]
                rows.append([position + 1, label, *cells])
    header = ["epoch", "config", *(name for name, _ in benchmark.metrics)]
    notes = _notes_on_runs(benchmark, [system for _, system in labelled], records, "Validation")
    which = [f"{label}: {system.label}, {comparable.seed_list(system.runs)}." for label, system in labelled]
    return Grid(_title_with_data(benchmark.title, records), header, rows, [*notes, *common, *which])


def _epoch_cell(values: Sequence[float | None], key: str) -> Value:
    """The mean in percent; of a loss, the mean itself."""
    return mean_of(values, percent=False, digits=4) if key.endswith("loss") else mean_of(values)


def _labelled(benchmark: Benchmark, systems: Sequence[SystemRow]) -> list[tuple[str, SystemRow]]:
    """The systems in the benchmark's order with its labels, then floors; labels tell settings of one system apart."""
    labels = {system: label for label, (system, _) in benchmark.published.items()}
    found: list[tuple[str, SystemRow]] = []
    for name in dict.fromkeys([*benchmark.systems, *FLOORS]):
        settings = [system for system in systems if system.system == name]
        label = labels.get(name, "")
        named = f"{label}: " if label else ""
        found += [(label if label and len(settings) == 1 else f"{named}{each.label}", each) for each in settings]
    return found


def _title_with_data(title: str, records: Sequence[RunRecord]) -> str:
    return f"{title} on {data_name(records[0])}" if records else title


def _notes_on_source(benchmark: Benchmark, what: str) -> list[str]:
    """The source of a table, its caption, and how its metrics are defined."""
    source = f"{what}: {benchmark.source}. " if benchmark.source else ""
    notes = [f"{source}{benchmark.caption}".strip()] if source or benchmark.caption else []
    macro = [f"{name}: {MACRO_F1[key]}." for name, key in benchmark.metrics if key in MACRO_F1]
    rule = "fixed at 0.5" if benchmark.threshold == "fixed" else "one for all codes, tuned on validation for micro-F1"
    threshold = [f"Threshold: {rule}."] if any(key.startswith(THRESHOLDED) for _, key in benchmark.metrics) else []
    return notes + ([" ".join(["Percent.", *macro, *threshold])] if macro or threshold else [])


def _notes_on_runs(
    benchmark: Benchmark, systems: Sequence[SystemRow], records: Sequence[RunRecord], split: str
) -> list[str]:
    notes = _notes_on_source(benchmark, "Study" if benchmark.study else "Source")
    if not records:
        command = f"ablate MODEL --study {benchmark.study}" if benchmark.study else "run --benchmark FILE"
        return [*notes, f"No such runs are stored; 'icdbench {command}' makes them."]
    notes += [*about_data(records), f"{split} split, {about_seeds(systems)}."]
    if split == "Test":
        notes += about_ceilings(records, columns_of(benchmark))
    return [*notes, *about_small(systems), *about_origin(systems)]


def _settings_origin(run: RunRecord) -> str:
    """Where settings that the user did not set come from: defaults, those for small data, or a search."""
    if run.scored:
        return ""
    if run.spec.variant == store.TUNED:
        return "tuned"
    if not run.adapted:
        return "default"
    return f"tuned ({run.study.trials})" if run.study else "small data"


def _training_cells(runs: Sequence[RunRecord]) -> list[Value]:
    """Number of seeds, mean best epoch and mean training time; empty for predictions made elsewhere."""
    if runs[0].scored:
        return ["", "", ""]
    epochs = [run.best_epoch.epoch for run in runs if run.best_epoch]
    seconds = Cell(fmean(run.timing.train for run in runs), unit="s")
    return [len(runs), Cell(fmean(epochs)) if epochs else "", seconds]
