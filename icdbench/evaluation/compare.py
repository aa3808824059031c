"""Compare two systems on the same test documents by a paired bootstrap, from their stored runs.

Both systems are evaluated on the same resamples of the test documents. The figure of a system with several seeds is, in
each resample, the mean over them, so that training procedures are compared and not single lucky runs. The interval
covers the choice of documents; variation between seeds is reported separately, as a standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

from icdbench.data import datasets
from icdbench.evaluation import bootstrap, metrics
from icdbench.records import RunRecord, comparable, store
from icdbench.settings import DataError, SpecError, nearest
from icdbench.training import score
from icdbench.types import FloatArray, IntArray, LabelSet, Predictions, Report, quiet

RULES = ("fixed", "tuned")
LOWEST, HIGHEST = 100, 10_000  # resamples: too few give no 95 % interval, too many need much memory


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
    """Runs of one system that differ only in their seeds, under the name the user gave."""

    name: str
    runs: Sequence[RunRecord]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Differences by metric key, and the F1 of each code [L] for both systems, averaged over seeds."""

    one: System
    other: System
    rule: str
    resamples: int
    differences: Mapping[str, Difference]
    f1_one_L: FloatArray
    f1_other_L: FloatArray
    gold_L: IntArray
    label_set: LabelSet


def choose(
    records: Sequence[RunRecord], name: str, dataset: str, seeds: Sequence[int] | None = None, *, mix: bool = False
) -> System:
    """Choose the runs of a system by name: `jlan`, `jlan@no-joint`, or `jlan:3f9c2d1a` with digits of RunSpec.setting.

    Raises SpecError for a name that fits no setting or several, for missing seeds, and, unless `mix`, for runs made by
    different minor versions of the suite.
    """
    system, _, setting = name.partition(":")
    here = _runs_on(records, dataset, any_content=bool(setting))
    dataset = here[0].spec.dataset
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
        which = "; ".join(f"{made} ({comparable.seed_list(of)})" for made, of in apart.items())
        raise SpecError(
            f"the runs of '{name}' on {dataset} were made by different versions: {which}; choose with --seeds, "
            "or average them with --mix-versions"
        )
    return System(name, runs)


def _runs_on(records: Sequence[RunRecord], dataset: str, *, any_content: bool) -> list[RunRecord]:
    """Return the runs on a data set, given by name or, for a user's own file, by path.

    For a path only runs on the file's present content count, unless `any_content`. Raises SpecError if there are none.
    """
    sets = sorted({record.spec.dataset for record in records})
    file = Path(dataset) if datasets.is_path(dataset) else None
    name = dataset if dataset in sets or file is None else datasets.source(dataset).name
    here = [record for record in records if record.spec.dataset == name]
    if not here:
        raise SpecError(f"no runs on '{name}' are stored{nearest(name, sets)}")
    if any_content or file is None or not file.is_file():
        return here
    now = datasets.open(dataset, None, here[0].spec.data).fingerprint()
    if found := [record for record in here if record.spec.fingerprint == now]:
        return found
    others = ", ".join(sorted({record.spec.fingerprint for record in here}))
    raise SpecError(
        f"no runs on the present content of '{dataset}' (fingerprint {now}) are stored; those on '{name}' used "
        f"other content ({others}). To compare those, name their setting, such as "
        f"{here[0].spec.system}:{here[0].spec.setting}"
    )


def _describe_setting(runs: Sequence[RunRecord]) -> str:
    spec = runs[0].spec
    changed = [f"{key}={value}" for key, value in sorted(runs[0].changed.items())] or ["nothing set"]
    return ", ".join([*changed, f"version {spec.version}", f"data {spec.fingerprint}", comparable.seed_list(runs)])


def compare(
    results: Path,
    names: tuple[str, str],
    dataset: str,
    *,
    rule: str = "fixed",
    seeds: Sequence[int] | None = None,
    resamples: int = bootstrap.RESAMPLES,
    mix: bool = False,
    report: Report = quiet,
    records: Sequence[RunRecord] | None = None,
) -> Comparison:
    """Compare two systems, given by name, on one data set, from some `records` of the folder or from all.

    Raises SpecError for systems that cannot be compared, DataError for damaged files.
    """
    if rule not in RULES:
        raise SpecError(f"no rule '{rule}'{nearest(rule, RULES)}")
    if not LOWEST <= resamples <= HIGHEST:
        raise SpecError(f"--resamples {resamples}: give a number from {LOWEST} to {HIGHEST:,}")
    records = store.load_records(results) if records is None else records
    if not records:
        raise SpecError(f"no runs in '{results}'; 'icdbench run' makes some, --results names another folder")
    one, other = (choose(records, name, dataset, seeds, mix=mix) for name in names)
    if one.runs[0].spec.setting == other.runs[0].spec.setting:
        raise SpecError(f"'{one.name}' and '{other.name}' are the same runs; name two systems")
    _check_task(one, other)
    runs = [*one.runs, *other.runs]
    label_set = store.load_label_set(store.folder(results, runs[0]), runs[0])
    measured, first = [], None
    for done, run in enumerate(runs):
        report("drawing documents", done, len(runs))
        predicted = _load_test(results, run)
        first = first or predicted
        _check_gold(runs[0], first, run, predicted)
        measured.append(_measure(run, predicted, rule, resamples, label_set))
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
    """A run's figures, those of its resamples, and for each code its F1 and its number of gold test documents."""

    figures: Mapping[str, float]
    resampled: bootstrap.Figures
    f1_L: FloatArray
    gold_L: IntArray


def _measure(run: RunRecord, predicted: Predictions, rule: str, resamples: int, label_set: LabelSet) -> _Measured:
    scores_NL, at = score.probabilities(predicted.scores_NL), run.threshold[rule]
    given = metrics.scored(scores_NL, predicted.labels, predicted.unseen, label_set.train_counts)
    figures = metrics.evaluate_rules(given, {rule: at})[rule]
    drawn = bootstrap.resampled(given, {rule: at}, bootstrap.weights(len(scores_NL), resamples))[rule]
    tp_L, predicted_L, gold_L = metrics.code_counts(given, scores_NL > at)
    return _Measured(figures, drawn, metrics.f1(tp_L, predicted_L, gold_L), gold_L)


def _differences(ours: Sequence[_Measured], theirs: Sequence[_Measured]) -> dict[str, Difference]:
    """Compute differences in the figures that every run has, over the resamples that define them for both systems."""
    one, other = (bootstrap.mean([each.resampled for each in side]) for side in (ours, theirs))
    found = {}
    for key in ours[0].figures:
        if all(key in each.figures for each in (*ours, *theirs)) and bootstrap.has_interval(key, one[key] - other[key]):
            values_R = one[key] - other[key]
            figures, others = ([each.figures[key] for each in side] for side in (ours, theirs))
            found[key] = Difference(figures, others, *bootstrap.interval(values_R), bootstrap.p_value(values_R))
    return found


def _check_task(one: System, other: System) -> None:
    ours, theirs = comparable.task(one.runs[0]), comparable.task(other.runs[0])
    unlike = [f"{name} is {ours[name]} and {theirs.get(name)}" for name in ours if ours[name] != theirs.get(name)]
    if unlike:
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
    same = (expected.labels != found.labels).nnz == 0 and np.array_equal(expected.unseen, found.unseen)
    if not same:
        raise DataError(f"the gold codes stored with {first.id} and {run.id} differ; run one of them again")
