"""Compare systems on the same test documents by a paired bootstrap of documents and seeds, from their stored runs.

All systems are evaluated on the same resamples of the test documents. In each resample the figure of a system with several
seeds is the mean over as many of its runs, drawn with replacement and independently of the other systems, so training
procedures are compared, not single lucky runs. The interval covers other documents and, for a system with several seeds,
other seeds. With one seed it covers only documents, because one run does not show how runs vary. Entered by `against`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

from icdbench.data import datasets
from icdbench.evaluation import bootstrap, measure, metrics
from icdbench.records import RunRecord, comparable, store
from icdbench.settings import DataError, SpecError, nearest
from icdbench.types import THRESHOLDS, FloatArray, IntArray, LabelSet, Predictions, Report, quiet

ALL = "all"  # every stored setting of a data set
LOWEST, HIGHEST = 100, 10_000  # resamples: fewer give no 95 % interval, more need much memory


class Difference(NamedTuple):
    """A metric of both systems, one value per seed, and the 95 % interval and p-value of `mean`."""

    one: Sequence[float]
    other: Sequence[float]
    low: float
    high: float
    p: float

    @property
    def mean(self) -> float:
        """The first system's mean over seeds minus the second's."""
        return fmean(self.one) - fmean(self.other)


@dataclass(frozen=True, eq=False)
class System:
    """Runs of one system that differ only in their seeds, with the name that the user gave."""

    name: str
    runs: Sequence[RunRecord]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Differences by metric key, and the F1 of each code [L] for both systems, averaged over seeds.

    `fix_seeds`: runs were not resampled, so intervals and p-values hold only for these runs.
    """

    one: System
    other: System
    rule: str
    resamples: int
    fix_seeds: bool
    differences: Mapping[str, Difference]
    f1_one_L: FloatArray
    f1_other_L: FloatArray
    gold_L: IntArray
    label_set: LabelSet


def choose(
    records: Sequence[RunRecord], name: str, dataset: str, seeds: Sequence[int] | None = None, *, mix: bool = False
) -> System:
    """Choose the runs of a system by name: `jlan`, `jlan@no-joint`, or `jlan:3f9c2d1a` with digits of a setting or a run.

    Without digits, runs on the data set as it is are meant, not those with further settings of the data. Raises SpecError
    for a name that matches no setting or several, for missing seeds, and, unless `mix`, for runs of different minor versions
    of the suite.
    """
    system, _, setting = name.partition(":")
    here = _runs_on(records, dataset, any_content=bool(setting))
    dataset = here[0].spec.dataset
    of_system = [record for record in here if record.spec.system == system]
    if not of_system:
        raise SpecError(f"no run of '{system}' on {dataset} is stored{nearest(system, {r.spec.system for r in here})}")
    settings: dict[str, list[RunRecord]] = {}
    for record in of_system if setting else _plainest(of_system):
        settings.setdefault(record.spec.setting, []).append(record)
    found = [
        digits
        for digits, runs in settings.items()
        if any(each.startswith(setting) for each in (digits, *(run.id.rpartition("-")[2] for run in runs)))
    ]
    if not found:
        raise SpecError(f"no setting '{setting}' of '{system}' on {dataset} is stored{nearest(setting, settings)}")
    if len(found) > 1:
        which = "; ".join(f"{system}:{digits} ({_describe_setting(settings[digits])})" for digits in sorted(found))
        raise SpecError(f"several settings of '{system}' on {dataset} are stored; name one of them: {which}")
    runs = sorted(settings[found[0]], key=lambda record: record.spec.seed)
    if seeds is not None:
        stored = [record.spec.seed for record in runs]
        if missing := [seed for seed in seeds if seed not in stored]:
            raise SpecError(f"no run of '{name}' has seed {missing[0]} (stored: {', '.join(map(str, stored))})")
        runs = [record for record in runs if record.spec.seed in seeds]
    apart = comparable.by_version(runs, exact=False)
    if len(apart) > 1 and not mix:
        which = "; ".join(f"{version} ({comparable.seed_list(made)})" for version, made in apart.items())
        raise SpecError(
            f"the runs of '{name}' on {dataset} were made by different versions: {which}; choose with --seeds, "
            "or average them with --mix-versions"
        )
    return System(name, runs)


def _runs_on(records: Sequence[RunRecord], dataset: str, *, any_content: bool) -> list[RunRecord]:
    """Return the runs on a data set, given by name or, for a user's own file, by path.

    For a path only runs on the file's current content count, unless `any_content`. Raises SpecError if there are none.
    """
    sets = sorted({record.spec.dataset for record in records})
    file = Path(dataset) if datasets.is_path(dataset) else None
    name = dataset if dataset in sets or file is None else datasets.source(dataset).name
    here = [record for record in records if record.spec.dataset == name]
    if not here:
        raise SpecError(f"no runs on '{name}' are stored{nearest(name, sets)}")
    if any_content or file is None or not file.is_file():
        return here
    current = datasets.open(dataset, None, here[0].spec.data).fingerprint()
    if found := [record for record in here if record.spec.fingerprint == current]:
        return found
    others = ", ".join(sorted({record.spec.fingerprint for record in here}))
    raise SpecError(
        f"no runs on the present content of '{dataset}' (fingerprint {current}) are stored; those on '{name}' used "
        f"other content ({others}). To compare those, name their setting, such as "
        f"{here[0].spec.system}:{here[0].spec.setting}"
    )


def _plainest(runs: Sequence[RunRecord]) -> Sequence[RunRecord]:
    """Return the runs whose settings of the data all others have, too; all of them if there are none."""
    changed = [{key: value for key, value in run.changed.items() if key.startswith("data.")} for run in runs]
    plainest = [
        run for run, mine in zip(runs, changed, strict=True) if all(mine.items() <= each.items() for each in changed)
    ]
    return plainest or runs


def _describe_setting(runs: Sequence[RunRecord]) -> str:
    spec = runs[0].spec
    changed = [f"{key}={value}" for key, value in sorted(runs[0].changed.items())] or ["nothing set"]
    if (scored := runs[0].scored) is not None:
        changed = [f"{scored.file}, SHA-256 {scored.sha256[:12]}"]
    return ", ".join([*changed, f"version {spec.version}", f"data {spec.fingerprint}", comparable.seed_list(runs)])


def against(
    results: Path,
    names: Sequence[str],
    dataset: str,
    *,
    rule: str = "fixed",
    seeds: Sequence[int] | None = None,
    resamples: int = bootstrap.RESAMPLES,
    fix_seeds: bool = False,
    mix: bool = False,
    report: Report = quiet,
    records: Sequence[RunRecord] | None = None,
) -> list[Comparison]:
    """Compare each system with the first of `names` on one data set; `all` stands for every other stored setting.

    `records` are all of the folder unless given. Raises SpecError for systems that cannot be compared, DataError for damaged
    files.
    """
    if rule not in THRESHOLDS:
        raise SpecError(f"no rule '{rule}'{nearest(rule, THRESHOLDS)}")
    if not LOWEST <= resamples <= HIGHEST:
        raise SpecError(f"--resamples {resamples}: give a number from {LOWEST} to {HIGHEST:,}")
    records = store.load_records(results) if records is None else records
    if not records:
        raise SpecError(f"no runs in '{results}'; 'icdbench run' makes some, --results names another folder")
    reference, *others = _choose_all(records, names, dataset, seeds, mix=mix)
    every = [run for system in (*others, reference) for run in system.runs]
    if untuned := next((run for run in every if rule not in run.threshold), None):
        raise SpecError(
            f"'{untuned.spec.system}' has no tuned threshold: it was scored without --validation FILE; score it with one, "
            "or compare by the fixed rule"
        )
    label_set = store.load_label_set(store.folder(results, every[0]), every[0])
    measured: dict[str, _Measured] = {}
    first = None
    for done, run in enumerate(every):
        report("drawing documents", done, len(every))
        predicted = _load_test(results, run)
        first = first or predicted
        _check_gold(every[0], first, run, predicted)
        measured[run.id] = _measure(run, predicted, rule, resamples, label_set)
    report("drawing documents", len(every), len(every))
    theirs = {run.id: measured[run.id] for run in reference.runs}
    found = []
    for system in others:
        ours = {run.id: measured[run.id] for run in system.runs}
        one_L, other_L = (np.mean([each.f1_L for each in side.values()], axis=0) for side in (ours, theirs))
        differences = _differences(ours, theirs, fix_seeds=fix_seeds)
        request = (system, reference, rule, resamples, fix_seeds)
        found.append(Comparison(*request, differences, one_L, other_L, measured[every[0].id].gold_L, label_set))
    return found


def _choose_all(
    records: Sequence[RunRecord], names: Sequence[str], dataset: str, seeds: Sequence[int] | None, *, mix: bool
) -> list[System]:
    """Choose all systems by name; `all` adds the other systems on the same task as the first.

    Raises SpecError for fewer than two, for the same runs under two names, and for systems on different tasks.
    """
    systems = [choose(records, name, dataset, seeds, mix=mix) for name in names if name != ALL]
    if ALL in names and systems:
        task, known = comparable.task(systems[0].runs[0]), {system.runs[0].spec.setting for system in systems}
        here = [run for run in records if comparable.task(run) == task]
        settings = sorted({(run.spec.system, run.spec.setting) for run in here})
        several = Counter(system for system, _ in settings)
        others = [(system, digits) for system, digits in settings if digits not in known]
        wanted = [f"{system}:{digits}" if several[system] > 1 else system for system, digits in others]
        systems += [choose(here, name, dataset, seeds, mix=mix) for name in wanted]
    if len(systems) < 2:
        raise SpecError(f"'{' '.join(names)}' on {dataset}: name two systems, or one with which '{ALL}' are compared")
    for number, system in enumerate(systems):
        setting = system.runs[0].spec.setting
        if twin := next((each for each in systems[:number] if each.runs[0].spec.setting == setting), None):
            raise SpecError(f"'{system.name}' and '{twin.name}' are the same runs; name two systems")
        if number:
            _check_task(system, systems[0])
    return systems


class _Measured(NamedTuple):
    """A run's figures, also of its resamples, and for each code F1 and the number of gold test documents."""

    figures: Mapping[str, float]
    resampled: bootstrap.Figures
    f1_L: FloatArray
    gold_L: IntArray


def _measure(run: RunRecord, predicted: Predictions, rule: str, resamples: int, label_set: LabelSet) -> _Measured:
    given, at = measure.scored(predicted, label_set.train_counts), run.threshold[rule]
    figures = metrics.evaluate_rules(given, {rule: at})[rule]
    figures = measure.without(run.scored.lacking if run.scored else (), figures)
    drawn = bootstrap.resampled(given, {rule: at}, bootstrap.weights(len(given.scores_NL), resamples))[rule]
    tp_L, predicted_L, gold_L = metrics.code_counts(given, given.scores_NL > at)
    return _Measured(figures, drawn, metrics.f1(tp_L, predicted_L, gold_L), gold_L)


def _differences(
    ours: Mapping[str, _Measured], theirs: Mapping[str, _Measured], *, fix_seeds: bool
) -> dict[str, Difference]:
    """Compute differences in the figures that every run has, over the resamples that define them for both systems."""
    one, other = (
        bootstrap.mean({name: each.resampled for name, each in side.items()}, fix_seeds=fix_seeds)
        for side in (ours, theirs)
    )
    found = {}
    for key in next(iter(ours.values())).figures:
        if not all(key in each.figures for side in (ours, theirs) for each in side.values()):
            continue
        values_R = one[key] - other[key]
        if bootstrap.has_interval(key, values_R):
            figures, others = ([each.figures[key] for each in side.values()] for side in (ours, theirs))
            found[key] = Difference(figures, others, *bootstrap.interval(values_R), bootstrap.p_value(values_R))
    return found


def _check_task(one: System, other: System) -> None:
    ours, theirs = comparable.task(one.runs[0]), comparable.task(other.runs[0])
    if unlike := [f"{name} is {ours[name]} and {theirs.get(name)}" for name in ours if ours[name] != theirs.get(name)]:
        raise SpecError(
            f"{one.name} and {other.name} were not measured on the same documents and codes and cannot be compared: "
            + "; ".join(unlike)
        )


def _load_test(results: Path, run: RunRecord) -> Predictions:
    folder = store.folder(results, run)
    predictions = store.load_predictions(folder, run)
    shape = run.data.documents["test"], run.data.num_codes
    if "test" not in predictions or predictions["test"].scores_NL.shape != shape:
        raise DataError(
            f"{folder / store.PREDICTIONS} does not belong to the record beside it; remove the folder and run it again"
        )
    return predictions["test"]


def _check_gold(first: RunRecord, expected: Predictions, run: RunRecord, found: Predictions) -> None:
    if (expected.labels != found.labels).nnz or not np.array_equal(expected.unseen, found.unseen):
        raise DataError(f"the gold codes stored with {first.id} and {run.id} differ; run one of them again")
