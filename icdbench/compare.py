"""Two systems on the same test documents: which differs from which, by how much, and whether the documents bear it out.

Read from stored records and predictions alone. The resamples of the test documents are the same for both. Where a
system has several seeds, its figure in a resample is the mean over them: what is compared is the training of a model,
not one lucky run. The interval is that of drawing other documents; how much seeds alone move a figure stands beside it
as the standard deviation over them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np

from icdbench import bootstrap, datasets, metrics, store, train
from icdbench.datasets import own
from icdbench.formats import Best, Grid, write
from icdbench.spec import DataError, SpecError, nearest
from icdbench.systems import TASK_FIELDS
from icdbench.types import FloatArray, IntArray, LabelSet, Predictions, Report, RunRecord, quiet

RULES = ("fixed", "tuned")
LOWEST, HIGHEST = 100, 10_000  # resamples: fewer say nothing at 95 %, more take memory
SHOWN = 10  # codes with the largest differences
SIGNIFICANT = 0.05
NAMES = {
    "auc_macro": "AUC macro",
    "auc_micro": "AUC micro",
    "f1_macro": "F1 macro (mean)",
    "f1_macro_present": "F1 macro (present codes)",
    "f1_macro_harmonic": "F1 macro (harmonic)",
    "map": "MAP",
    "map_official": "MAP (CodiEsp)",
}


class Difference(NamedTuple):
    """A figure of both systems, one value per seed, and the first's mean minus the other's: 95 % interval, p-value."""

    one: Sequence[float]
    other: Sequence[float]
    low: float
    high: float
    p: float

    @property
    def mean(self) -> float:
        return fmean(self.one) - fmean(self.other)


@dataclass(frozen=True, eq=False)
class System:
    """Runs of one setting that differ in the seed alone, as the user named them."""

    name: str
    runs: Sequence[RunRecord]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Differences by metric key, and the F1 of each code [L], means over seeds. `label_set`: None if it was not stored."""

    one: System
    other: System
    rule: str
    resamples: int
    differences: Mapping[str, Difference]
    f1_one_L: FloatArray
    f1_other_L: FloatArray
    gold_L: IntArray
    label_set: LabelSet | None


def choose(records: Sequence[RunRecord], name: str, dataset: str, seeds: Sequence[int] | None = None) -> System:
    """The runs of `jlan`, `jlan@no-joint` or `jlan:3f9c2d1a`, the last digits being of RunSpec.setting. Raises SpecError."""
    system, _, setting = name.partition(":")
    sets = sorted({record.spec.dataset for record in records})
    if dataset not in sets and own.is_path(dataset):
        dataset = own.source(Path(dataset)).name
    if dataset not in sets:
        raise SpecError(f"no runs on '{dataset}' are stored{nearest(dataset, sets)}")
    here = [record for record in records if record.spec.dataset == dataset]
    of_system = [record for record in here if record.spec.system == system]
    if not of_system:
        raise SpecError(f"no run of '{system}' on {dataset} is stored{nearest(system, {r.spec.system for r in here})}")
    settings: dict[str, list[RunRecord]] = {}
    for record in of_system:
        settings.setdefault(record.spec.setting, []).append(record)
    found = [digits for digits in settings if digits.startswith(setting)]
    if not found:
        raise SpecError(f"no setting '{setting}' of '{system}' on {dataset} is stored{nearest(setting, settings)}")
    if len(found) > 1:
        which = "; ".join(f"{system}:{digits} ({_about_setting(settings[digits])})" for digits in sorted(found))
        raise SpecError(f"several settings of '{system}' on {dataset} are stored, name one of them: {which}")
    runs = sorted(settings[found[0]], key=lambda record: record.spec.seed)
    if seeds is not None:
        stored = [record.spec.seed for record in runs]
        if missing := [seed for seed in seeds if seed not in stored]:
            raise SpecError(f"no run of '{name}' has seed {missing[0]} (stored: {', '.join(map(str, stored))})")
        runs = [record for record in runs if record.spec.seed in seeds]
    return System(name, runs)


def _about_setting(runs: Sequence[RunRecord]) -> str:
    spec = runs[0].spec
    changed = [f"{key}={value}" for key, value in sorted(spec.changed.items())] or ["nothing set"]
    return ", ".join([*changed, f"version {spec.version}", f"data {spec.fingerprint}", _seeds(runs)])


def compare(
    results: Path,
    names: tuple[str, str],
    dataset: str,
    *,
    rule: str = "fixed",
    seeds: Sequence[int] | None = None,
    resamples: int = bootstrap.RESAMPLES,
    report: Report = quiet,
) -> Comparison:
    """Two systems by name on one data set. Raises SpecError for what cannot be compared, DataError for damaged files."""
    if rule not in RULES:
        raise SpecError(f"no rule '{rule}'{nearest(rule, RULES)}")
    if not LOWEST <= resamples <= HIGHEST:
        raise SpecError(f"--resamples {resamples}: give a number from {LOWEST} to {HIGHEST:,}")
    records = store.load_records(results)
    if not records:
        raise SpecError(f"no runs in '{results}'; 'icdbench run' makes some, --results names another folder")
    one, other = (choose(records, name, dataset, seeds) for name in names)
    if one.runs[0].spec.setting == other.runs[0].spec.setting:
        raise SpecError(f"'{one.name}' and '{other.name}' are the same runs; name two systems")
    _check_task(one, other)
    runs = [*one.runs, *other.runs]
    label_set = next(filter(None, (store.load_label_set(store.folder(results, run.spec)) for run in runs)), None)
    measured, first = [], None
    for done, run in enumerate(runs):
        report("drawing documents", done, len(runs))
        predicted = _test(results, run)
        first = first or predicted
        _check_gold(runs[0], first, run, predicted)
        measured.append(_measured(run, predicted, rule, resamples, label_set))
    report("drawing documents", len(runs), len(runs))
    ours, theirs = measured[: len(one.runs)], measured[len(one.runs) :]
    return Comparison(
        one,
        other,
        rule,
        resamples,
        _differences(ours, theirs),
        np.mean([each.f1_L for each in ours], axis=0),
        np.mean([each.f1_L for each in theirs], axis=0),
        measured[0].gold_L,
        label_set,
    )


class _Measured(NamedTuple):
    """A run: its figures, those of the resamples, and of each code F1 and gold test documents."""

    figures: Mapping[str, float]
    resampled: bootstrap.Figures
    f1_L: FloatArray
    gold_L: IntArray


def _measured(
    run: RunRecord, predicted: Predictions, rule: str, resamples: int, label_set: LabelSet | None
) -> _Measured:
    counts_L = None if label_set is None else label_set.train_counts
    scores_NL, at = train.probabilities(predicted.scores_NL), run.threshold[rule]
    given = metrics.scored(scores_NL, predicted.labels, predicted.unseen, counts_L)
    figures = metrics.evaluate_rules(given, {rule: at})[rule]
    drawn = bootstrap.resampled(given, {rule: at}, bootstrap.weights(len(scores_NL), resamples))[rule]
    tp_L, predicted_L, gold_L = metrics.code_counts(given, scores_NL > at)
    return _Measured(figures, drawn, metrics.f1(tp_L, predicted_L, gold_L), gold_L)


def _differences(ours: Sequence[_Measured], theirs: Sequence[_Measured]) -> dict[str, Difference]:
    """Of all figures that both have, in the resamples in which both have them."""
    one, other = (bootstrap.mean([each.resampled for each in side]) for side in (ours, theirs))
    found = {}
    for key in ours[0].figures:
        if all(key in each.figures for each in (*ours, *theirs)) and bootstrap.known(key, one[key] - other[key]):
            values_R = one[key] - other[key]
            figures, others = ([each.figures[key] for each in side] for side in (ours, theirs))
            found[key] = Difference(figures, others, *bootstrap.interval(values_R), bootstrap.p_value(values_R))
    return found


def _task(record: RunRecord) -> dict[str, Any]:
    """All that must be equal for figures to answer the same question."""
    spec, corpus = record.spec, record.corpus
    task = {"fingerprint of the raw data": spec.fingerprint} | {
        f"data.{name}": getattr(spec.data, name) for name in TASK_FIELDS
    }
    return task | {name: corpus[name] for name in ("num_codes", "documents", "assignments", "unseen", "synthetic")}


def _check_task(one: System, other: System) -> None:
    ours, theirs = _task(one.runs[0]), _task(other.runs[0])
    unlike = [f"{name} is {ours[name]} and {theirs[name]}" for name in ours if ours[name] != theirs[name]]
    if unlike:
        raise SpecError(
            f"{one.name} and {other.name} were not measured on the same documents and codes, so they are not compared: "
            + "; ".join(unlike)
        )


def _test(results: Path, run: RunRecord) -> Predictions:
    folder = store.folder(results, run.spec)
    predictions = store.load_predictions(folder)
    shape = run.corpus["documents"]["test"], run.corpus["num_codes"]
    if "test" not in predictions or predictions["test"].scores_NL.shape != shape:
        raise DataError(f"{folder / store.PREDICTIONS} is not of the run beside it; remove its folder and run it again")
    return predictions["test"]


def _check_gold(first: RunRecord, expected: Predictions, run: RunRecord, found: Predictions) -> None:
    same = (expected.labels != found.labels).nnz == 0 and np.array_equal(expected.unseen, found.unseen)
    if not same:
        raise DataError(f"the gold codes stored with {first.id} and {run.id} differ; run one of them again")


def render(found: Comparison, fmt: str = "md") -> str:
    """Four tables: figures, figures by training frequency, codes won and lost, and those that differ most."""
    plain = {key: each for key, each in found.differences.items() if "[" not in key}
    rare = {key: each for key, each in found.differences.items() if "[" in key}
    on = found.one.runs[0].spec.dataset + " (SYNTHETIC)" * found.one.runs[0].corpus["synthetic"]
    between = f"{found.one.name} and {found.other.name} on {on}"
    grids = [_figures(found, plain, f"{between}: figures", _about(found))]
    if rare:
        note = (
            "After the comma: how many training documents the codes have. 0 holds the gold codes that L lacks as well."
        )
        grids.append(_figures(found, rare, f"{between}: figures by training frequency", [note]))
    grids += [_wins(found, f"{between}: codes won and lost"), _largest(found, f"{between}: codes that differ most")]
    return write(grids, fmt)


def _figures(found: Comparison, differences: Mapping[str, Difference], title: str, notes: Sequence[str]) -> Grid:
    digits = max(3, len(str(found.resamples)) - 1)
    rows = []
    for key, each in differences.items():
        mark = Best if each.p < SIGNIFICANT else str
        change = [mark(_signed(each.mean)), _signed(each.low), _signed(each.high), mark(f"{each.p:.{digits}f}")]
        rows.append([_name(key), _percent(each.one), _percent(each.other), *change])
    header = [
        "figures",
        *(_marked(each, found.rule) for each in (found.one, found.other)),
        "difference",
        "95 % from",
        "to",
        "p",
    ]
    return Grid(title, header, rows, notes)


def _marked(system: System, rule: str) -> str:
    return system.name + " †" * any(rule in run.collapse for run in system.runs)


def _name(key: str) -> str:
    base, bracket, bucket = key.partition("[")
    known = NAMES.get(base) or base.replace("_", " ").replace("f1", "F1").replace("p@", "P@").replace("r@", "R@")
    return f"{known[0].upper()}{known[1:]}{bracket and f', {bucket[:-1]}'}"


def _percent(values: Sequence[float]) -> str:
    return f"{100 * fmean(values):.2f}" + (f" ± {100 * stdev(values):.2f}" if len(values) > 1 else "")


def _signed(value: float) -> str:
    rounded = round(100 * value, 2)
    return f"{rounded:+.2f}" if rounded else "0.00"


def _seeds(runs: Sequence[RunRecord]) -> str:
    return ("seed " if len(runs) == 1 else "seeds ") + ", ".join(str(run.spec.seed) for run in runs)


def _about(found: Comparison) -> list[str]:
    run, systems = found.one.runs[0], (found.one, found.other)
    documents, several = run.corpus["documents"]["test"], any(len(system.runs) > 1 for system in systems)
    above = "0.5" if found.rule == "fixed" else "one threshold of each run, chosen on validation"
    drawn = f"the {documents:,} test documents are drawn with replacement {found.resamples:,} times, the same for both"
    p = f"2 · (1 + min(draws ≤ 0, draws ≥ 0)) / ({found.resamples:,} + 1)"
    notes = [
        f"Data: {documents:,} test documents; L = {run.corpus['num_codes']:,} codes; fingerprint {run.spec.fingerprint}.",
        f"Percent{', mean ± sample standard deviation over seeds' * several}. A code is predicted above {above}.",
        f"Difference: {found.one.name} minus {found.other.name}{', of the means over seeds' * several}.",
        f"Interval and p: {drawn}; other seeds are not drawn.",
        f"p: two-sided, {p}, for each figure by itself. Bold: p below {SIGNIFICANT}.",
    ]
    for system in systems:
        settings = {**system.runs[0].spec.adapted, **system.runs[0].spec.changed}
        listed = "".join(f"; {key}={value}" for key, value in sorted(settings.items()))
        notes.append(f"{system.name}: {_seeds(system.runs)}{listed}.")
        collapsed = ((run.spec.seed, run.collapse.get(found.rule)) for run in system.runs)
        notes += [f"† {system.name}, seed {seed}: {what} ({found.rule})." for seed, what in collapsed if what]
    return notes


def _wins(found: Comparison, title: str) -> Grid:
    present_L = found.gold_L > 0
    change_L = found.f1_one_L - found.f1_other_L
    better: list[Callable[[FloatArray], Any]] = [
        lambda change: change > 1e-12,
        lambda change: change < -1e-12,
        lambda change: abs(change) <= 1e-12,
    ]

    def row(name: str, inside_L: Any) -> list[str]:
        chosen = change_L[inside_L & present_L]
        return [name, f"{len(chosen):,}", *(f"{np.count_nonzero(wins(chosen)):,}" for wins in better)]

    rows = []
    if found.label_set is not None:
        bucket_L = metrics.bucket_of(found.label_set.train_counts)
        named = enumerate(metrics.BUCKETS.values())
        rows = [
            row(name, bucket_L == position) for position, name in named if (present_L & (bucket_L == position)).any()
        ]
    rows.append(row("all", np.ones_like(present_L)))
    header = ["training documents", "codes", f"{found.one.name} better", f"{found.other.name} better", "equal"]
    notes = ["By the F1 of each code that a test document has, the mean over seeds where there are several."]
    return Grid(title, header, rows, notes)


def _largest(found: Comparison, title: str) -> Grid:
    change_L = np.round(found.f1_one_L - found.f1_other_L, 12)
    label_set = found.label_set
    names = label_set.codes if label_set else tuple(f"column {position}" for position in range(len(change_L)))
    by_size = sorted(np.flatnonzero(change_L), key=lambda at: (-abs(change_L[at]), -found.gold_L[at], names[at]))[
        :SHOWN
    ]
    known = _titles([names[at] for at in by_size], found.one.runs[0]) if label_set else {}
    rows = []
    for at in by_size:
        counts = [f"{label_set.train_counts[at]:,}" if label_set else "", f"{found.gold_L[at]:,}"]
        f1s = [f"{100 * found.f1_one_L[at]:.2f}", f"{100 * found.f1_other_L[at]:.2f}", _signed(change_L[at])]
        rows.append([names[at], known.get(names[at], ""), *counts, *f1s])
    header = ["code", "title", "train", "test", f"F1 {found.one.name}", f"F1 {found.other.name}", "difference"]
    notes = [
        f"The {len(rows)} largest differences, those with more test documents first. train, test: documents with the code."
    ]
    if label_set is None:
        notes.append("These runs were stored without code names and training frequencies; new runs have both.")
    return Grid(title, header, rows, notes)


def _titles(codes: Sequence[str], run: RunRecord) -> Mapping[str, str]:
    """Titles as the data set's source knows them; none where it needs files that are not there."""
    try:
        return datasets.source(run.spec.dataset).titles(codes, datasets.data_root(None), run.spec.data)
    except (SpecError, DataError, OSError):
        return {}
