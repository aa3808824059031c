"""Tuning: Optuna searches the ranges declared beside the defaults of a model's fields and of training. Entered by `tune`.

The first trial is the setting to be improved (the start), so the best setting is never worse on validation. TPE proposes the
others. A trial is pruned when its validation metric is below the median of earlier trials at the same epoch. Trials never
see test documents: their corpus lacks them.

    results/tuning/<dataset>/<model>.db             all trials (SQLite), unless --storage names another database
    results/tuning/<dataset>/<model>.json           the best setting: the variant `<model>@tuned` of `icdbench run`
    results/tuning/<dataset>/<model>.trials.csv     every trial's setting, value and state; <model>.html: the same with plots
    results/tuning/<dataset>/<model>.history.png, .svg, <model>.importance.png, .svg, <model>.parallel.png, .svg
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from torch import nn

import icdbench.run as runner
from icdbench import registry, train
from icdbench.data import datasets, word_vectors
from icdbench.evaluation import metrics
from icdbench.experiments import trials as kept
from icdbench.experiments.importance import draw, importance, write_trials
from icdbench.experiments.search_space import Parameter, by_target, drawn, parameters, with_effect
from icdbench.records import provenance, store
from icdbench.registry import Entry
from icdbench.run import Request
from icdbench.settings import SpecError
from icdbench.spec import Planned, RunSpec
from icdbench.training import Progress, TrainingError, accelerator, memory, objectives, score
from icdbench.types import Corpus, Report, quiet

log = logging.getLogger("icdbench")

AT_RANDOM = 6  # random trials before TPE proposes settings; few, because training is slow
WAIT = 2.0  # seconds between two looks at the trials of other processes
START = "first"  # attribute of the trial of the setting to be improved


@dataclass(frozen=True)
class Outcome:
    """What tuning found. `trials` are those that count, `counts` their number by state, `failures` the reasons of failed ones.

    `value`, `first`, `seeds`: the best value on validation, that of the start (None if it has none), those of its stored runs.
    """

    spec: RunSpec
    adapted: Mapping[str, Any]
    parameters: list[Parameter]
    fixed: Mapping[str, Any]
    by_epochs: bool  # whether training has epochs
    monitor: str
    value: float
    first: float | None
    seeds: Sequence[float]
    trial: int
    trials: Sequence[FrozenTrial]
    counts: Mapping[str, int]
    failures: list[str]
    seed: int
    path: Path


class NothingToTuneError(SpecError):
    """The model has no field left to search."""


@dataclass(frozen=True)
class Budget:
    """A model's study: trials done, of how many, and the mean seconds of a trial (None: not known yet)."""

    model: str
    parameters: int
    done: int
    trials: int
    seconds: float | None

    @property
    def left(self) -> int:
        """Trials still to be computed."""
        return max(0, self.trials - self.done)

    @property
    def cost(self) -> float | None:
        """The seconds that these will take one after the other; None if not known."""
        return 0.0 if not self.left else None if self.seconds is None else self.left * self.seconds


@dataclass(frozen=True)
class Standing:
    """What a display shows before a trial: its number, and the best value and trial so far."""

    number: int
    total: int
    monitor: str
    best: float | None
    best_trial: int | None


Show = Callable[[Standing], Callable[[Progress], None]]


@dataclass(frozen=True)
class _Search:
    """What is searched, and what all trials share."""

    entry: Entry
    planned: Planned
    request: Request
    parameters: list[Parameter]
    corpus: Corpus
    monitor: str
    seed: int


def tune(
    request: Request,
    trials: int,
    storage: str | None = None,
    seed: int = 0,
    show: Show = lambda _: lambda _: None,
    prepare: Report = quiet,
) -> Outcome:
    """Search until the study has `trials` trials, continuing an earlier search, and store the best setting.

    `request` names one model; settings that it changes are not searched. Raises SpecError, DataError, KeyboardInterrupt,
    and TrainingError if no trial completed.
    """
    search = _plan_search(request, trials, seed, prepare)
    with _open_study(search, storage) as (study, lock):
        _optimize(study, lock, search, trials, show, prepare)
        return _outcome(kept.counted(study), search)


def budgets(request: Request, trials: int, storage: str | None, seed: int) -> list[tuple[Request, Budget]]:
    """The studies that tune the models of the request, each with its remaining trials. Raises SpecError, DataError.

    Models without a range are left out. Settings of one model are not passed on to the others.
    """
    found = []
    for name in dict.fromkeys(each.spec.model for each in runner.resolved(request)):
        changes = {
            key: each for key, each in request.changes.items() if key.partition(".")[0] in {"data", "train", name}
        }
        request_of_one = replace(request, models=(name,), changes=changes)
        try:
            search = _plan_search(request_of_one, trials, seed, quiet)
        except NothingToTuneError:
            continue
        with _open_study(search, storage) as (study, _):
            done = [trial for trial in kept.live(study) if kept.counts(trial)]
        times = [trial.duration.total_seconds() for trial in done if trial.duration is not None]
        if not times:
            setting = search.planned.spec.setting
            stored = (each for each in store.load_records(request.results) if each.spec.setting == setting)
            times = [record.timing.train for record in stored]
        seconds = fmean(times) if times else None
        found.append((request_of_one, Budget(name, len(search.parameters), len(done), trials, seconds)))
    return found


def _plan_search(request: Request, trials: int, seed: int, prepare: Report) -> _Search:
    """Determine what is searched for the request's model. Raises SpecError, DataError."""
    (name,) = request.models
    if trials < 1:
        raise SpecError(f"--trials {trials}: give the number of trials, 1 or more")
    if not 0 <= seed < 2**31:
        raise SpecError(f"--seed {seed}: give a number from 0 to 2147483647")
    model, variant = registry.split(name)
    if variant:
        raise SpecError(f"'{name}' is a variant; tune takes a model, such as '{model}'")
    entry = registry.entry(name)
    (planned,) = runner.expand(replace(request, seeds=(seed,)), prepare)
    base = planned.spec
    if base.data.train_on != "train":
        raise SpecError("data.train_on=train+validation leaves no documents to compare trials on; leave it out")
    request = replace(request, changes=with_effect(base, request.changes))
    searched = parameters(entry, base, request.changes)
    if not searched:
        why = f"--set fixes every field of '{name}' that" if entry.config.ranges() else f"no field of '{name}'"
        raise NothingToTuneError(f"nothing is left to tune: {why} has a range")
    full = datasets.open(request.dataset, request.root, base.data).corpus(prepare)
    corpus = replace(full, splits={split: full.splits[split] for split in ("train", "validation")})
    monitor = objectives.monitored(base.train, len(corpus.vocabulary.codes))
    return _Search(entry, planned, request, searched, corpus, monitor, seed)


@contextlib.contextmanager
def _open_study(search: _Search, storage: str | None) -> Iterator[tuple[optuna.Study, AbstractContextManager[object]]]:
    """Yield the study and its lock; its name identifies settings, data, versions and ranges."""
    base, results = search.planned.spec, search.request.results
    if storage is None:
        folder = store.tuning_folder(results, base.dataset)
        folder.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{folder / base.model}.db"
    ranges = "; ".join(f"{each.name} {each.range}" for each in search.parameters)
    with kept.opened(storage, f"{base.id}-{hashlib.sha256(ranges.encode()).hexdigest()[:8]}") as study_and_lock:
        yield study_and_lock


def _optimize(
    study: optuna.Study,
    lock: AbstractContextManager[object],
    search: _Search,
    trials: int,
    show: Show,
    prepare: Report,
) -> None:
    """Compute trials until `trials` of the study count, including those of other processes."""
    start = {each.name: each.start for each in search.parameters if each.range.holds(each.start)}

    def objective(trial: optuna.Trial) -> float:
        counted = kept.counted(study)
        best = kept.best(counted)
        so_far = (None, None) if best is None else (best.values[0], best.number + 1)
        report = show(Standing(len(counted.trials) + 1, trials, search.monitor, *so_far))
        study.sampler = _sampler(study, trial, search.seed)
        try:
            return _validation_value(trial, search, report, prepare)
        except TrainingError as error:
            trial.set_user_attr(kept.ERROR, str(error))
            raise
        except optuna.TrialPruned:
            raise
        except BaseException as error:
            _queue_again(study, trial, start, error)
            raise

    _queue_start(study, lock, start)
    while True:
        live = kept.live(study)
        done = sum(map(kept.counts, live))
        queued = [trial for trial in live if trial.state == TrialState.WAITING]
        # Every study includes the start, even if its process died while others computed enough trials.
        if done >= trials and not any(START in trial.user_attrs and not trial.state.is_finished() for trial in live):
            return
        if len(live) >= trials and not queued:
            prepare("waiting for trials of other processes", done, trials)  # those processes may die
            time.sleep(WAIT)
            kept.retry_stale(study)
            continue
        try:
            study.optimize(objective, n_trials=1, catch=(TrainingError,))
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError) as error:
            # After this machine slept: another process has given the trial up and will try its setting again.
            if isinstance(error, ValueError) and not str(error).startswith("Cannot tell a"):
                raise
            log.warning("a trial was given up for dead while it was computed; it does not count")


def _queue_start(study: optuna.Study, lock: AbstractContextManager[object], start: Mapping[str, Any]) -> None:
    """Queue the trial of the start, unless there is one that counts or still may."""

    def just_ended(trial: FrozenTrial) -> bool:
        if trial.datetime_complete is None:
            return False
        age = dt.datetime.now() - trial.datetime_complete  # noqa: DTZ005  Optuna's times have no zone
        return dt.timedelta(0) <= age < dt.timedelta(seconds=kept.GRACE)

    while True:
        with lock:
            if any(START in trial.user_attrs for trial in kept.live(study)):
                return
            starts = [trial for trial in study.get_trials(deepcopy=False) if START in trial.user_attrs]
            # A process that has just given up the start of one that died is about to queue it again, unless it dies, too.
            if not any(map(just_ended, starts)):
                study.enqueue_trial(dict(start), {START: True})
                return
        time.sleep(WAIT)


def _queue_again(study: optuna.Study, trial: optuna.Trial, start: Mapping[str, Any], error: BaseException) -> None:
    """Queue the setting of a trial that ended before it was computed, if it was stopped by the user or is the start."""
    if START in trial.user_attrs:
        study.enqueue_trial(dict(start), {START: True})
    elif isinstance(error, KeyboardInterrupt):
        study.enqueue_trial(trial.params)


def _sampler(study: optuna.Study, trial: optuna.Trial, seed: int) -> optuna.samplers.BaseSampler:
    """A sampler for this trial only, seeded by its place among the trials that count or still may.

    One sampler for a whole study would repeat its first draws when the study is continued, and in every process.
    """
    earlier = [each for each in study.get_trials(deepcopy=False) if each.number < trial.number]
    place = sum(kept.counts(each) or not each.state.is_finished() for each in earlier)
    own_seed = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
    return optuna.samplers.TPESampler(n_startup_trials=AT_RANDOM, seed=own_seed)


def _validation_value(
    trial: optuna.Trial, search: _Search, report: Callable[[Progress], None], prepare: Report
) -> float:
    """The best monitored validation value of a run with the trial's setting. Raises TrainingError, optuna.TrialPruned."""

    def report_and_prune(step: Progress) -> None:
        report(step)
        if step.ended and step.value is not None:
            trial.report(step.value, step.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    spec, corpus = drawn(trial, search.planned.spec, search.entry, search.parameters), search.corpus
    train_split, validation = corpus.splits["train"], corpus.splits["validation"]
    on, changes = accelerator.fabric(search.request.device, spec.train.precision), search.request.changes
    model, _ = runner.build(Planned(spec, changes), corpus, on, prepare, word_vectors.own_file(changes))
    if isinstance(model, nn.Module):
        with memory.enough_memory():
            return train.fit(
                model,
                train_split,
                validation,
                spec.train,
                seed=spec.seed,
                on=on,
                checkpoint=None,  # a stopped trial is tried again from the beginning
                report=report_and_prune,
            ).best
    model.fit(train_split)
    scores_NL = score.probabilities(model.scores(validation).astype(np.float32))
    return metrics.evaluate(scores_NL, validation.labels(), unseen=validation.unseen)[search.monitor]


def _outcome(counted: optuna.Study, search: _Search) -> Outcome:
    """Store the best setting, the trials and the plots. Raises TrainingError if no trial completed."""
    done, best, base, entry = counted.trials, kept.best(counted), search.planned.spec, search.entry
    failures = [
        f"trial {trial.number + 1}: {trial.user_attrs[kept.ERROR]}" for trial in done if kept.ERROR in trial.user_attrs
    ]
    if best is None:
        raise TrainingError(f"none of {len(done)} trials was finished: {'; '.join(failures[:3])}")
    weights = importance(counted, len(search.parameters))
    found = [
        replace(each, best=best.params[each.name], importance=weights.get(each.name)) for each in search.parameters
    ]
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    counts = {name: sum(trial.state == state for trial in done) for name, state in states.items()}
    given = {"train": base.train.model_dump(mode="json"), entry.name: base.config}
    places = [key.partition(".") for key in search.request.changes]
    fixed = {f"{target}.{field}": given[target][field] for target, _, field in places if target in given}
    stored = {
        "model": entry.name,
        "dataset": base.dataset,
        "fingerprint": base.fingerprint,
        "settings": by_target({**fixed, **best.params}),
        "data": {key: value for key, value in search.planned.changed.items() if key.startswith("data.")},
        "monitor": search.monitor,
        "value": best.values[0],
        "trial": best.number + 1,
        "trials": counts,
        "seed": search.seed,
        "versions": {**provenance.versions(), "optuna": optuna.__version__},
        "created": provenance.now(),
    }
    path = store.save_tuned(search.request.results, stored)
    write_trials(counted, path)
    draw(counted, search.monitor, path, importance=bool(weights))
    start = {each.name: each.start for each in found}
    return Outcome(
        spec=base,
        adapted=search.planned.adapted,
        parameters=found,
        fixed=fixed,
        by_epochs=entry.uses_trainer,
        monitor=search.monitor,
        value=best.values[0],
        first=next((t.value for t in done if t.state == TrialState.COMPLETE and t.params == start), None),
        seeds=_values_over_seeds(search.request.results, base, search.monitor),
        trial=best.number + 1,
        trials=done,
        counts=counts,
        failures=failures,
        seed=search.seed,
        path=path,
    )


def _values_over_seeds(results: Path, base: RunSpec, monitor: str) -> list[float]:
    """The monitored validation value of each stored run of the start, which shows how much the seed alone changes it."""
    runs = [record for record in store.load_records(results) if record.spec.setting == base.setting]
    return [record.metrics["validation"]["fixed"][monitor] for record in runs]
