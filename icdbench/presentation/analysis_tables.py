"""The analyses of runs (`icdbench.evaluation.analysis`) as tables, narrow enough for a terminal; entered by `analyses`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from icdbench.evaluation import analysis
from icdbench.presentation.cells import SystemRow, mean_of, numbered, systems_in
from icdbench.presentation.formats import Cell, Grid, Value, count, write
from icdbench.presentation.headings import heading
from icdbench.presentation.layouts import precision_metric
from icdbench.presentation.notes import about_seeds, block_names, data_name
from icdbench.records import RunRecord, comparable
from icdbench.settings import SpecError, nearest

Key = tuple[str, str, str]  # analysis, group, metric

# Metrics that are not fractions, and the digits with which they are printed.
NUMBERS = {"never_predicted": 1, "never_predicted_gold": 1, "predicted_ratio": 2, "size": 1}


@dataclass(frozen=True)
class Layout:
    """A table: its title, a note on what it shows, and its columns by heading.

    With `each`, an analysis and a metric, there is a column for each group instead. No number is bold: these tables show
    differences between groups, and none of these is tested.
    """

    title: str
    about: str
    columns: tuple[tuple[str, Key], ...] = ()
    each: tuple[str, str] = ("", "")


def _key_columns(analysed: str, *columns: tuple[str, str], group: str = "") -> tuple[tuple[str, Key], ...]:
    return tuple((name, (analysed, group, metric)) for name, metric in columns)


LAYOUTS = {
    "frequency": (
        Layout("micro F1 by how often a code occurs in training", "Micro F1 of the codes of a group.", each=("frequency", "f1_micro")),
        Layout("macro F1 by how often a code occurs in training", "Mean of the F1 of the group's codes.", each=("frequency", "f1_macro")),
    ),
    "length": (Layout("micro F1 by length of the note", "Columns: words of a note.", each=("length", "f1_micro")),),
    "codes": (Layout("micro F1 by codes per note", "Columns: gold codes of a note.", each=("codes", "f1_micro")),),
    "hierarchy": (
        Layout(
            "CoPHE, F1 by layer of the code tree",
            "Codes counted at their ancestors in each layer; layer 1: chapters. All: the layers together.",
            tuple((name.replace(" layers", ""), ("hierarchy", name, "f1")) for name in ("all layers", "layer 1", "layer 2", "layer 3")),
        ),
        Layout(
            "cut codes, and errors within the family",
            "Cut: micro F1 of codes without their last levels. FP and FN family: the share of false positives whose note has "
            "a gold code of the same category, and of missed codes of whose category another is predicted.",
            (
                *((name, ("hierarchy", name.replace("cut", "cut by"), "f1")) for name in ("cut 1", "cut 2")),
                *_key_columns("family", ("FP family", "fp_within"), ("FN family", "fn_within")),
            ),
        ),
    ),
    "errors": (
        Layout(
            "errors",
            "Jaccard: mean over notes. FPR: share of the cells without the code that are predicted. Predicted: codes for each "
            "gold code. Never: codes that are predicted for no test note.",
            _key_columns("detail", ("Jaccard", "jaccard"), ("FPR", "fpr_micro"), ("predicted", "predicted_ratio"), ("never", "never_predicted")),
        ),
    ),
    "rare": (
        Layout(
            "rankings that weigh rare codes",
            "AP: average precision (area under the precision-recall curve) of each code with gold documents (macro) and of all cells. psp@k: propensity-scored "
            "precision, in percent of the best ranking's.",
            _key_columns("detail", ("AP macro", "pr_auc_macro"), ("AP micro", "pr_auc_micro"), ("psp@5", "psp@5"), ("psp@15", "psp@15")),
        ),
    ),
    "calibration": (
        Layout(
            "calibration",
            f"ECE: of {analysis.BINS} bins of equal size, of the cells above .01, whose share is in the last column. Brier: of "
            "all cells. Prevalence: mean distance of a code's mean probability from its share of notes. Lower is better.",
            _key_columns("calibration", ("ECE", "ece"), ("Brier", "brier"), ("prevalence", "quantification"), ("cells", "cells")),
        ),
    ),
    "thresholds": (
        Layout(
            "micro F1 by decision threshold",
            "Columns: the threshold; the frame and the report have all.",
            tuple((name, ("thresholds", name, "f1_micro")) for name in ("0.1", "0.3", "0.5", "0.7")),
        ),
    ),
    "groups": (
        Layout(
            "a threshold for each frequency group",
            "F1, macro the mean over codes, with the one threshold of the other tables, and with one for each frequency group, "
            "chosen on validation for its micro F1.",
            tuple(
                (f"{average} {group}", ("group thresholds", group, f"f1_{average}"))
                for average in ("micro", "macro")
                for group in ("one", "each")
            ),
        ),
    ),
    "conformal": (
        Layout(
            "conformal sets",
            f"Sets of codes that promise on validation, for {100 - 100 * analysis.ALPHA:.0f} % of notes, all gold codes (covered: the "
            f"share of test notes that have them), or a mean recall of {100 - 100 * analysis.ALPHA:.0f} %. Codes, size: mean number in such sets.",
            (
                *_key_columns("conformal", ("covered", "covered"), ("codes", "size"), group="all codes"),
                *_key_columns("conformal", ("recall", "recall"), ("size", "size"), group="mean recall"),
            ),
        ),
    ),
}  # fmt: skip
NAMES = (*LAYOUTS, "reliability", "fractions")  # the last two have other rows than systems


def chosen_analyses(name: str | None) -> list[str]:
    """The names of the chosen analyses: one, or by default all but reliability, which is long. Raises SpecError."""
    if name is None or name == "all":
        return [each for each in NAMES if each != "reliability"]
    if name not in NAMES:
        raise SpecError(f"no analysis '{name}'{nearest(name, NAMES)}")
    return [name]


def analyses(
    records: Sequence[RunRecord],
    analysed: analysis.Analysed,
    choice: analysis.Choice,
    name: str | None = None,
    fmt: str = "md",
    *,
    mix: bool = False,
) -> str:
    """The analyses of each set of comparable runs, and learning curves over fractions of the training documents.

    Raises SpecError for an unknown name or format.
    """
    names = chosen_analyses(name)
    with_figures = [record for record in records if record.id in analysed.figures]
    blocks = comparable.blocks(with_figures)
    grids = [
        grid
        for block, title in zip(blocks, block_names(blocks), strict=True)
        for each in names
        for grid in _analysis_grids(each, block, title, analysed, choice, mix=mix)
    ]
    grids += list(fractions(with_figures, analysed, mix=mix)) if "fractions" in names else []
    if not grids:
        grids = [Grid("Analyses", ["system"], [], ["No runs with predictions are stored."])]
    if analysed.missing:
        grids[0] = grids[0]._replace(notes=[*grids[0].notes, *analysed.missing])
    return write(grids, fmt)


def _analysis_grids(
    name: str,
    block: Sequence[RunRecord],
    title: str,
    analysed: analysis.Analysed,
    choice: analysis.Choice,
    *,
    mix: bool,
) -> Iterator[Grid]:
    systems = systems_in(block, [], mix=mix)
    if name == "reliability":
        yield _reliability_grid(systems, title, analysed)
    for layout in LAYOUTS.get(name, ()):
        found = laid_out(layout, systems, analysed)
        if found is not None:
            header, rows = found
            notes = [layout.about, _note_on_figures(systems, choice), *_note_on_groups(layout, systems[0], analysed)]
            notes += numbered(systems)
            yield Grid(f"{title}: {layout.title}", header, rows, notes)


def laid_out(
    layout: Layout, systems: Sequence[SystemRow], analysed: analysis.Analysed
) -> tuple[list[str], list[list[Value]]] | None:
    """Header and rows of a table; None if no run has the analysis."""
    columns = columns_of(layout, [run for system in systems for run in system.runs], analysed)
    cells = [[analysis_cell(system.runs, key, analysed) for _, key in columns] for system in systems]
    if not any(isinstance(cell, Cell) for row in cells for cell in row):
        return None
    rows: list[list[Value]] = [[system.marked, *row] for system, row in zip(systems, cells, strict=True)]
    return ["system", *(name for name, _ in columns)], rows


def columns_of(layout: Layout, runs: Sequence[RunRecord], analysed: analysis.Analysed) -> list[tuple[str, Key]]:
    """The columns of a table: those it declares, or one for each group of the runs."""
    about, metric = layout.each
    if not about:
        return list(layout.columns)
    figures = [figure for run in runs for figure in analysed.figures[run.id]]
    names = dict.fromkeys(figure.group for figure in figures if (figure.analysis, figure.metric) == (about, metric))
    return [(name, (about, name, metric)) for name in names]


def _values(runs: Sequence[RunRecord], key: Key, analysed: analysis.Analysed) -> list[float | None]:
    """A figure of each run; None for a run that lacks it."""
    return [next((figure.value for figure in analysed.figures[run.id] if figure[:3] == key), None) for run in runs]


def analysis_cell(runs: Sequence[RunRecord], key: Key, analysed: analysis.Analysed) -> Value:
    """The mean of a figure over runs: percent, or one of NUMBERS. Empty if a run lacks it."""
    values = _values(runs, key, analysed)
    return mean_of(values, percent=False, digits=NUMBERS[key[2]]) if key[2] in NUMBERS else mean_of(values)


def _note_on_figures(systems: Sequence[SystemRow], choice: analysis.Choice) -> str:
    threshold = "0.5" if choice.rule == "fixed" else "one for each run, chosen on validation"
    return f"Percent on the test split, {about_seeds(systems)}. Decision threshold: {threshold}."


def _note_on_groups(layout: Layout, system: SystemRow, analysed: analysis.Analysed) -> list[str]:
    """A note on how many codes or notes are in each group."""
    about, _ = layout.each
    figures = [figure for figure in analysed.figures[system.runs[0].id] if figure.analysis == about]
    sizes = {(figure.group, figure.metric): figure.value for figure in figures}
    groups = dict.fromkeys(figure.group for figure in figures)
    if about == "frequency":
        listed = (f"{group} {sizes[group, 'codes']:,.0f} ({sizes[group, 'assignments']:,.0f})" for group in groups)
        return [f"Codes, and gold assignments of test notes: {', '.join(listed)}."]
    listed = (f"{group}: {sizes[group, 'documents']:,.0f}" for group in groups)
    return [f"Test notes: {', '.join(listed)}."] if about else []


def _reliability_grid(systems: Sequence[SystemRow], title: str, analysed: analysis.Analysed) -> Grid:
    """A row for each bin of each system, averaged over seeds."""
    rows: list[list[Value]] = []
    for system in systems:
        for number in range(1, analysis.BINS + 1):
            mean, share, cells = (
                _values(system.runs, ("reliability", str(number), key), analysed) for key in ("mean", "share", "cells")
            )
            if any(each is not None for each in mean):
                size = mean_of(cells, percent=False, digits=0)
                rows.append([system.marked, number, mean_of(mean), mean_of(share), size])
    about = "Bins of equal size, of the cells of a document and a code whose probability is above .01; percent, means over seeds."
    header = ["system", "bin", "mean probability", "share with the code", "cells"]
    return Grid(f"{title}: reliability", header, rows, [about, *numbered(systems)])


def curves(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Runs that differ in the fraction of training documents, a list for each task with runs on several fractions."""
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        task = comparable.task(record)
        for name in ("documents", "assignments", "unseen"):
            task[name] = {split: number for split, number in task[name].items() if split != "train"}
        task = {name: value for name, value in task.items() if name not in {"data.fraction", "data.fraction_seed"}}
        found.setdefault(json.dumps(task, sort_keys=True), []).append(record)
    return [each for each in found.values() if len({record.spec.data.fraction for record in each}) > 1]


def fractions(records: Sequence[RunRecord], analysed: analysis.Analysed, *, mix: bool = False) -> Iterator[Grid]:
    """A learning curve for each task with runs on several fractions: a row for each fraction and system."""
    for curve in curves(records):
        whole = max(curve, key=lambda record: record.spec.data.fraction)
        keys = ("f1_micro", "f1_macro", precision_metric(whole.data.num_codes), "map")
        rows: list[list[Value]] = []
        for fraction in sorted({record.spec.data.fraction for record in curve}):
            runs = [unlabelled(record) for record in curve if record.spec.data.fraction == fraction]
            for system in systems_in(runs, [], mix=mix):
                cells = [analysis_cell(system.runs, ("fraction", f"{fraction:g}", key), analysed) for key in keys]
                documents = count(system.runs[0].data.documents["train"])
                rows.append([f"{100 * fraction:g} %", documents, system._replace(label=system.full).marked, *cells])
        about = (
            "Training documents are nested: each fraction holds the smaller ones. Validation, test and codes are those of the "
            "whole data set. F1 macro: mean over codes. 'icdbench run --set data.fraction=0.1' adds a fraction."
        )
        header = ["fraction", "documents", "system", *map(heading, keys)]
        yield Grid(f"{_name_without_fraction(whole)}: learning curve", header, rows, [about])


def _name_without_fraction(record: RunRecord) -> str:
    data = record.spec.data.model_copy(update={"fraction": 1.0})
    return data_name(record.model_copy(update={"spec": record.spec.model_copy(update={"data": data})}))


def unlabelled(record: RunRecord) -> RunRecord:
    """The run without its fraction among the changed settings, so that labels do not show it."""
    changed = {name: value for name, value in record.changed.items() if not name.startswith("data.fraction")}
    return record.model_copy(update={"changed": changed})
