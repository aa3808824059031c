"""Comparisons of systems (`icdbench.evaluation.compare`) as tables: `render` for two systems, `render_against` for more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icdbench.evaluation import bootstrap, compare, metrics
from icdbench.presentation.cells import COLLAPSED, mean_of
from icdbench.presentation.formats import Cell, Grid, Value, count, write
from icdbench.presentation.headings import heading
from icdbench.presentation.layouts import columns_for
from icdbench.presentation.notes import about_ceilings, about_scored, about_spans, code_titles, marked_name
from icdbench.records import comparable

SHOWN = 10  # codes, those with the largest differences


def render(found: compare.Comparison, fmt: str = "md") -> str:
    """Four tables: metrics, metrics by training frequency, codes won and lost, and the codes that differ most."""
    overall = {key: each for key, each in found.differences.items() if "[" not in key}
    by_frequency = {key: each for key, each in found.differences.items() if "[" in key}
    between = f"{found.one.name} and {found.other.name} on {marked_name(found.one.runs[0])}"
    grids = [_figures_grid(found, overall, f"{between}: figures", _notes_on_pair(found))]
    if by_frequency:
        note = "After the comma: how many training documents have a code; 0 includes gold codes outside L."
        grids.append(_figures_grid(found, by_frequency, f"{between}: figures by training frequency", [note]))
    grids += [
        _wins_grid(found, f"{between}: codes won and lost"),
        _largest_grid(found, f"{between}: codes that differ most"),
    ]
    return write(grids, fmt)


def render_against(found: Sequence[compare.Comparison], fmt: str = "md") -> str:
    """A table for each main metric: every system against the reference, with p-values corrected for their number.

    Notes that apply to all tables are below the first.
    """
    keys = [key for _, rule, key in columns_for(found[0].other.runs[0].data.num_codes) if rule == "fixed"]
    shown = [key for key in keys if all(key in each.differences for each in found)]
    grids = [_against_grid(found, key, [_note_on_differences(found)]) for key in shown]
    if grids:
        about = _notes_on_systems([found[0].other, *(each.one for each in found)], found[0])
        grids[0] = grids[0]._replace(notes=[*grids[0].notes, *about])
    return write(grids, fmt)


def _against_grid(found: Sequence[compare.Comparison], key: str, notes: Sequence[str]) -> Grid:
    """The table of one metric: the reference, then the other systems, the best first."""
    first = found[0]
    digits = p_digits(first.resamples)
    adjusted_p = bootstrap.holm([each.differences[key].p for each in found])
    reference = [_marked_label(first.other, first.rule), mean_of(first.differences[key].other, digits=2), *[""] * 5]
    rows: list[list[Value]] = [reference]
    for each, adjusted in sorted(zip(found, adjusted_p, strict=True), key=lambda pair: -pair[0].differences[key].mean):
        change, best = each.differences[key], adjusted < bootstrap.SIGNIFICANT
        p_values = [Cell(change.p, digits=digits), Cell(adjusted, digits=digits, best=best)]
        figures = [mean_of(change.one, digits=2), *_difference_cells(change, best=best), *p_values]
        rows.append([_marked_label(each.one, each.rule), *figures])
    header = ["system", heading(key), "difference", "95 % from", "to", "p", "p (Holm)"]
    title = f"Systems against {first.other.name} on {marked_name(first.other.runs[0])}: {heading(key)}"
    return Grid(title, header, rows, notes)


def _note_on_differences(found: Sequence[compare.Comparison]) -> str:
    """What is subtracted, how p-values are corrected, and whether there are enough resamples for any to be significant."""
    compared = f"{len(found)} comparison{'s' * (len(found) > 1)} of this table"
    about = f"Difference: each system minus {found[0].other.name}. p (Holm): corrected for the {compared}. "
    if 2 * len(found) / (found[0].resamples + 1) < bootstrap.SIGNIFICANT:
        return f"{about}Bold: below {bootstrap.SIGNIFICANT}."
    return f"{about}Too few resamples for any to be below {bootstrap.SIGNIFICANT}: --resamples {bootstrap.enough(len(found))}."


def p_digits(resamples: int) -> int:
    """The digits that distinguish the p-values of so many resamples."""
    return max(3, len(str(resamples)) - 1)


def _figures_grid(
    found: compare.Comparison, differences: Mapping[str, compare.Difference], title: str, notes: Sequence[str]
) -> Grid:
    digits = p_digits(found.resamples)
    rows: list[list[Value]] = []
    for key, each in differences.items():
        best = each.p < bootstrap.SIGNIFICANT
        figures = [mean_of(values, digits=2) for values in (each.one, each.other)]
        rows.append(
            [heading(key), *figures, *_difference_cells(each, best=best), Cell(each.p, digits=digits, best=best)]
        )
    systems = [_marked_label(each, found.rule) for each in (found.one, found.other)]
    return Grid(title, ["figures", *systems, "difference", "95 % from", "to", "p"], rows, notes)


def _marked_label(system: compare.System, rule: str) -> str:
    return system.name + f" {COLLAPSED}" * any(rule in run.collapse for run in system.runs)


def _difference_cells(difference: compare.Difference, *, best: bool) -> list[Cell]:
    mean, low, high = map(_points, (difference.mean, difference.low, difference.high))
    return [mean._replace(best=best), low, high]


def _points(difference: float) -> Cell:
    """A difference of fractions in percentage points."""
    return Cell(100 * difference, digits=2, sign=True)


def _notes_on_pair(found: compare.Comparison) -> list[str]:
    several = any(len(system.runs) > 1 for system in (found.one, found.other))
    data, percent, drawn, p, *systems = _notes_on_systems([found.one, found.other], found)
    difference = f"Difference: {found.one.name} minus {found.other.name}{', of the means over seeds' * several}."
    corrected = f"{p[:-1]}, for each figure by itself. Bold: p below {bootstrap.SIGNIFICANT}."
    return [data, percent, difference, drawn, corrected, *systems]


def _notes_on_systems(systems: Sequence[compare.System], found: compare.Comparison) -> list[str]:
    """What was compared, and what the intervals cover; `found` is one of the comparisons."""
    run = found.one.runs[0]
    documents, several = run.data.documents["test"], any(len(system.runs) > 1 for system in systems)
    threshold = "0.5" if found.rule == "fixed" else "one for each run, chosen on validation"
    drawn = f"the {documents:,} test documents are drawn with replacement {found.resamples:,} times, the same for all systems"
    notes = [
        f"Data: {documents:,} test documents; L = {run.data.num_codes:,} codes; fingerprint {run.spec.fingerprint}.",
        f"Percent{', mean ± sample standard deviation over seeds' * several}. Decision threshold: {threshold}.",
        f"Interval and p: {drawn}. {_covered_variation(systems, fix_seeds=found.fix_seeds)}",
        f"p: two-sided, 2 · (1 + min(draws ≤ 0, draws ≥ 0)) / ({found.resamples:,} + 1).",
        *about_ceilings(found.one.runs, [(heading(key), found.rule, key) for key in found.differences]),
    ]
    made = comparable.by_version([run for system in systems for run in system.runs])
    if len(made) > 1:
        which = "; ".join(
            f"{by}: {', '.join(f'{run.spec.system} {comparable.seed_list([run])}' for run in of)}"
            for by, of in made.items()
            if by
        )
        notes.append(f"The runs are of different versions: {which}.")
    notes += about_spans([run for system in systems for run in system.runs])
    notes += about_scored(run for system in systems for run in system.runs)
    notes += comparable.about_unsigned([run for system in systems for run in system.runs])
    for system in systems:
        settings = {**system.runs[0].adapted, **system.runs[0].changed}
        listed = "".join(f"; {key}={value}" for key, value in sorted(settings.items()))
        notes.append(f"{system.name}: {comparable.seed_list(system.runs)}{listed}.")
        collapsed = ((run.spec.seed, run.collapse.get(found.rule)) for run in system.runs)
        notes += [f"{COLLAPSED} {system.name}, seed {seed}: {what} ({found.rule})." for seed, what in collapsed if what]
    return notes


def _covered_variation(systems: Sequence[compare.System], *, fix_seeds: bool) -> str:
    single = [system.name for system in systems if len(system.runs) == 1]
    if len(single) == len(systems):
        return "They cover other documents alone: with one seed each, trained models are compared, not their methods."
    if fix_seeds:
        return "They cover other documents alone: seeds are fixed, as asked for."
    drawn = "The seeds of each system are drawn, too, independently: documents and seeds are covered"
    return f"{drawn}, but only documents for {', '.join(single)}, with one seed." if single else f"{drawn}."


def _wins_grid(found: compare.Comparison, title: str) -> Grid:
    present_L = found.gold_L > 0
    change_L = found.f1_one_L - found.f1_other_L

    def row(name: str, inside_L: Any) -> list[Value]:
        change = change_L[inside_L & present_L]
        outcomes = (change > 1e-12, change < -1e-12, abs(change) <= 1e-12)
        return [name, count(len(change)), *(count(int(np.count_nonzero(each))) for each in outcomes)]

    bucket_L = metrics.bucket_of(found.label_set.train_counts)
    named = enumerate(metrics.BUCKETS.values())
    rows = [row(name, bucket_L == position) for position, name in named if (present_L & (bucket_L == position)).any()]
    rows.append(row("all", np.ones_like(present_L)))
    header = ["training documents", "codes", f"{found.one.name} better", f"{found.other.name} better", "equal"]
    notes = ["By the F1 of each code that a test document has, the mean over seeds where there are several."]
    return Grid(title, header, rows, notes)


def _largest_grid(found: compare.Comparison, title: str) -> Grid:
    change_L = np.round(found.f1_one_L - found.f1_other_L, 12)
    label_set = found.label_set
    names = label_set.codes
    ranked = sorted(np.flatnonzero(change_L), key=lambda at: (-abs(change_L[at]), -found.gold_L[at], names[at]))
    largest = ranked[:SHOWN]
    titles = code_titles(found.one.runs[0], [names[at] for at in largest])
    rows: list[list[Value]] = []
    for at in largest:
        counts = [count(label_set.train_counts[at]), count(found.gold_L[at])]
        f1s = [*(Cell(100 * f1_L[at], digits=2) for f1_L in (found.f1_one_L, found.f1_other_L)), _points(change_L[at])]
        rows.append([names[at], titles.get(names[at], ""), *counts, *f1s])
    header = ["code", "title", "train", "test", f"F1 {found.one.name}", f"F1 {found.other.name}", "difference"]
    notes = [
        f"The {len(rows)} largest differences, those with more test documents first. train, test: documents with the code."
    ]
    return Grid(title, header, rows, notes)
