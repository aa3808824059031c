"""Tuning: Optuna searches the ranges that stand beside the defaults of a model's fields and of training.

The first trial is the setting that was to be improved, so that the best one is never worse on validation. After it TPE
proposes; a trial whose validation metric lies below the median of the earlier ones at the same epoch is ended. Test
documents are out of reach: trials are given a corpus without them.

Any number of processes may work on one study, each of them started and killed at any time. A trial shows that it lives by
Optuna's heartbeat; one whose process has died is not counted, and its setting is tried again. Whoever begins a trial first
makes sure that fewer than the wanted number were begun before it, by the numbers that the database gives out: as many
trials count as were asked for, whoever computed them.

    results/tuning/<dataset>/<model>.db             all trials (SQLite), unless --storage names another place
    results/tuning/<dataset>/<model>.json           the best setting: the variant `<model>@tuned` of `icdbench run`
    results/tuning/<dataset>/<model>.history.png, .svg, <model>.importance.png, .svg
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import logging
import os
import random
import re
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat, get_heartbeat_thread
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from torch import nn

from icdbench import datasets, encode, metrics, registry, run, store, train
from icdbench.files import replacing
from icdbench.registry import Entry
from icdbench.run import Request
from icdbench.spec import Range, RunSpec, SpecError, TrainSpec
from icdbench.train import Progress, TrainingError
from icdbench.types import Corpus, Report, quiet

log = logging.getLogger("icdbench")

WARMUP = 5  # epochs before a trial may be pruned: slow beginners are not bad learners
HEARTBEAT, GRACE = 20, 60  # seconds between two signs of life, and without any until a trial is given up for dead
TRIES = 6  # to open a storage that other processes are opening, too
WAIT = 2.0  # seconds until a process that has nothing to do looks again
FIRST, AGAIN = (
    "first",
    "again",
)  # marks of a trial: of the setting to be improved; of that of a trial whose process died
OVERTAKEN = "trial %d was given up for dead while it was computed; it does not count"
DRAW = "draw"  # which draws a trial's sampler makes, by number
ERROR, WORKER = "error", "worker"  # marks of a trial: why training failed; who computes it, once there is a heartbeat

FAILURES = (SQLAlchemyError, StorageInternalError)  # of a database: as they are, and as Optuna wraps most of them


@dataclass(frozen=True)
class Parameter:
    """A field that is searched: its place (`train.learning_rate`), range, the paper's value and, once known, the best."""

    name: str
    range: Range
    default: Any
    best: Any = None
    importance: float | None = None

    def draw(self, trial: optuna.Trial) -> Any:
        """A value that the sampler proposes."""
        low, high = self.range.low, self.range.high
        if self.range.choices:
            return trial.suggest_categorical(self.name, self.range.choices)
        assert low is not None
        assert high is not None
        if isinstance(self.default, int):
            return trial.suggest_int(self.name, int(low), int(high), log=self.range.log)
        return trial.suggest_float(self.name, low, high, log=self.range.log)

    def holds(self, value: Any) -> bool:
        """Whether the value can be drawn at all."""
        low, high = self.range.low, self.range.high
        return value in self.range.choices if low is None or high is None else bool(low <= value <= high)


@dataclass(frozen=True)
class Outcome:
    """What tuning found. `counts` has the trials by what became of them; `failures` their reasons."""

    spec: RunSpec
    parameters: list[Parameter]
    fixed: Mapping[str, Any]
    monitor: str
    value: float
    first: float | None
    trial: int
    counts: Mapping[str, int]
    failures: list[str]
    seed: int
    path: Path


@dataclass(frozen=True)
class Standing:
    """What a display may show before a trial: its number, and the best value and trial so far."""

    number: int
    total: int
    monitor: str
    best: float | None
    best_trial: int | None


Show = Callable[[Standing], Callable[[Progress], None]]


def tune(
    request: Request,
    trials: int,
    storage: str | None = None,
    seed: int = 0,
    show: Show = lambda _: lambda _: None,
    prepare: Report = quiet,
) -> Outcome:
    """Search until the study has `trials` trials, go on where it stood before, and store the best setting.

    `request` names one model; what it changes is held fixed. Raises SpecError, DataError, KeyboardInterrupt, and
    TrainingError if no trial at all was finished.
    """
    (name,) = request.models
    if trials < 1:
        raise SpecError(f"--trials {trials}: give the number of trials, 1 or more")
    if not 0 <= seed < 2**31:
        raise SpecError(f"--seed {seed}: give a number from 0 to 2147483647")
    if "@" in name:
        raise SpecError(f"'{name}' is a variant; tune takes a model, such as '{name.partition('@')[0]}'")
    entry = registry.entry(name)
    (base,) = run.expand(replace(request, seeds=(seed,)), prepare)
    searched = parameters(entry, base, request.changes)
    if not searched:
        raise SpecError(f"nothing is left to tune: --set fixes every field of '{name}' that has a range")
    full = encode.corpus(datasets.source(request.dataset), datasets.data_root(request.root), base.data, prepare)
    corpus = replace(full, splits={split: full.splits[split] for split in ("train", "validation")})
    monitor = train.monitored(base.train, len(corpus.vocabulary.codes))

    with _opened(storage, request.results, base, searched) as (study, claiming):
        now = {each.name: value for each, value in _current(base, searched) if each.holds(value)}
        while (number := len(_done(study))) < trials:
            with claiming:
                trial = _claimed(study, trials, now, seed)
            if trial is None:  # the last ones are others', who may yet die
                prepare("waiting for trials of other processes", number, trials)
                time.sleep(WAIT)
                continue
            best = _best(study)
            so_far = (None, None) if best is None else (best.values[0], _position(study, best))
            report = show(Standing(number + 1, trials, monitor, *so_far))
            with _alive(study, trial):
                _try(study, trial, base, entry, searched, corpus, request, report, prepare)
        return _outcome(study, base, entry, searched, monitor, request, seed)


def parameters(entry: Entry, base: RunSpec, fixed: Mapping[str, Any]) -> list[Parameter]:
    """The fields with a range that are not fixed, with the paper's values; training has none for a model fitted whole."""
    config, trained = entry.config(), TrainSpec().override(entry.train, "train")
    found = [
        Parameter(f"{entry.name}.{field}", each, getattr(config, field)) for field, each in config.ranges().items()
    ]
    if isinstance(entry.cls, type) and issubclass(entry.cls, nn.Module):
        ranges = trained.ranges()
        if base.train.objective == "bce":
            ranges.pop("t_loss")  # it has no effect there
        found += [Parameter(f"train.{field}", each, getattr(trained, field)) for field, each in ranges.items()]
    return [each for each in found if each.name not in fixed]


def _current(base: RunSpec, searched: list[Parameter]) -> Iterator[tuple[Parameter, Any]]:
    """Each parameter with the value that a run without tuning would have."""
    for each in searched:
        target, _, field = each.name.partition(".")
        yield each, getattr(base.train, field) if target == "train" else base.config[field]


def _claimed(study: optuna.Study, trials: int, now: Mapping[str, Any], seed: int) -> optuna.Trial | None:
    """A trial for this process to compute; none while others compute all that are left.

    `now` are the values of the setting that is to be improved, which is tried first.
    """
    _give_up_the_dead(study)
    live = _live(study)
    if not any(_is_first(trial) for trial in live):
        study.enqueue_trial(dict(now), user_attrs={FIRST: True})
    elif len(live) >= trials and not any(trial.state == TrialState.WAITING for trial in live):
        return None
    with _calm():
        trial = study.ask()
    live = _live(study)
    before = [each for each in live if each.number < trial.number]
    (own,) = (each for each in live if each.number == trial.number)
    if len(before) >= trials or (_is_first(own) and any(_is_first(each) for each in before)):
        study.tell(trial, state=TrialState.FAIL)  # another process was faster: not counted
        return None
    # A sampler of its own for each trial: a study that is continued must not repeat the draws of its beginning, nor a
    # process those of another.
    taken = {each.user_attrs.get(DRAW) for each in live}
    draw = next(number for number in itertools.count(len(before)) if number not in taken)
    trial.set_user_attr(DRAW, draw)
    study.sampler = optuna.samplers.TPESampler(seed=int(np.random.SeedSequence([seed, draw]).generate_state(1)[0]))
    return trial


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial is complete, pruned, or failed by itself; not if its process was stopped or died."""
    return trial.state.is_finished() and (trial.state != TrialState.FAIL or ERROR in trial.user_attrs)


def _live(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count or may still come to."""
    return [trial for trial in study.get_trials(deepcopy=False) if _counts(trial) or not trial.state.is_finished()]


def _is_first(trial: FrozenTrial) -> bool:
    """Whether it tries the setting that is to be improved."""
    return FIRST in trial.user_attrs or ("fixed_params" in trial.system_attrs and AGAIN not in trial.user_attrs)


@contextmanager
def _calm() -> Iterator[None]:
    """Without Optuna's warnings that heartbeats may change and that they belong to a loop of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Heartbeat of storage")
        yield


def _give_up_the_dead(study: optuna.Study) -> None:
    """Trials without a sign of life end as not counted, and their settings wait to be tried again."""
    with _calm():
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # Its process died before the first sign of life, which no heartbeat tells.
        began = trial.datetime_start
        if WORKER not in trial.user_attrs and began and dt.datetime.now() - began > dt.timedelta(seconds=GRACE):  # noqa: DTZ005  as Optuna stores it
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            _again(study, trial)


def _again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Have the setting of a trial whose process died tried again; the first one is wanted anyway."""
    setting = trial.params or trial.system_attrs.get("fixed_params")
    if setting and not _is_first(trial):
        study.enqueue_trial(setting, user_attrs={AGAIN: trial.number})


@contextmanager
def _alive(study: optuna.Study, trial: optuna.Trial) -> Iterator[None]:
    """Within the block the trial shows signs of life."""
    # Optuna's own loop does the same, but cannot stop at a number of trials that several processes share.
    storage, number = study._storage, trial._trial_id  # noqa: SLF001
    assert isinstance(storage, BaseHeartbeat)
    storage.record_heartbeat(number)
    with get_heartbeat_thread(number, storage):
        trial.set_user_attr(WORKER, f"{socket.gethostname()} {os.getpid()}")
        yield


def _done(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count."""
    return [trial for trial in study.get_trials(deepcopy=False) if _counts(trial)]


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in _done(study) if trial.state == TrialState.COMPLETE]


def _best(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial of the highest value, the first of equals."""
    return max(_complete(study), key=lambda trial: trial.values[0], default=None)


def _position(study: optuna.Study, trial: FrozenTrial) -> int:
    """The trial's number as a user counts: from 1, without those that were stopped."""
    return 1 + [each.number for each in _done(study)].index(trial.number)


def _try(
    study: optuna.Study,
    trial: optuna.Trial,
    base: RunSpec,
    entry: Entry,
    searched: list[Parameter],
    corpus: Corpus,
    request: Request,
    report: Callable[[Progress], None],
    prepare: Report,
) -> None:
    """Compute a trial and record it as complete, pruned or failed; what a user stops does not count.

    Nor does one that was given up for dead meanwhile, as of a machine that slept: its setting is tried again elsewhere.
    """
    try:
        spec = _drawn(trial, base, entry, searched)
        value = _validation(trial, spec, corpus, request, report, prepare)
        if study.tell(trial, value, skip_if_finished=True).state == TrialState.FAIL:
            log.warning(OVERTAKEN, trial.number)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    except TrainingError as error:
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            trial.set_user_attr(ERROR, str(error))
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
    except optuna.exceptions.UpdateFinishedTrialError:
        log.warning(OVERTAKEN, trial.number)
    except BaseException:
        with contextlib.suppress(*FAILURES):  # of a database that fails, the first error tells
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise


def _drawn(trial: optuna.Trial, base: RunSpec, entry: Entry, searched: list[Parameter]) -> RunSpec:
    """The base run with a value for each parameter. Raises TrainingError for values that exclude each other."""
    values = {each.name: each.draw(trial) for each in searched}
    changes = _by_target(values)
    try:
        config = entry.config().override({**base.config, **changes["model"]}, entry.name)
        trained = base.train.override(changes["train"], "train")
    except SpecError as error:
        raise TrainingError(f"impossible: {error}") from None
    return base.model_copy(update={"config": config.model_dump(mode="json"), "train": trained})


def _by_target(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`{"jlan.blocks": 2, "train.t_loss": .1}` as the settings of a variant: {"model": …, "train": …}; data have no part."""
    found: dict[str, dict[str, Any]] = {"model": {}, "train": {}}
    for name, value in values.items():
        target, _, field = name.partition(".")
        if target != "data":
            found["train" if target == "train" else "model"][field] = value
    return found


def _validation(
    trial: optuna.Trial,
    spec: RunSpec,
    corpus: Corpus,
    request: Request,
    report: Callable[[Progress], None],
    prepare: Report,
) -> float:
    """The best monitored validation value of a run with this setting. Raises TrainingError, optuna.TrialPruned."""

    def told(step: Progress) -> None:
        report(step)
        if step.ended and step.value is not None:
            trial.report(step.value, step.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    num_codes = len(corpus.vocabulary.codes)
    train.seed_everything(spec.seed)
    on = train.fabric(request.device, spec.train.precision)
    given = run.task(corpus, spec.data, spec.config.get("embedding_size"), prepare)
    try:
        model = registry.build(spec.model, given, **spec.config)
    except ValueError as error:  # values that are possible alone and not together
        raise TrainingError(f"impossible: {error}") from None
    if isinstance(model, nn.Module):
        with run.enough_memory(), tempfile.TemporaryDirectory() as folder:
            return train.fit(
                model,
                corpus.splits["train"],
                corpus.splits["validation"],
                spec.train,
                max_tokens=spec.data.max_tokens,
                num_codes=num_codes,
                seed=spec.seed,
                on=on,
                checkpoint=Path(folder) / store.CHECKPOINT,
                report=told,
            ).best
    held = corpus.splits["validation"]
    model.fit(corpus.splits["train"], spec.data.max_tokens)
    scores_NL = train.probabilities(model.scores(held, spec.data.max_tokens).astype(np.float32))
    measured = metrics.evaluate(scores_NL, held.labels(num_codes), unseen=held.unseen)
    return measured[train.monitored(spec.train, num_codes)]


# --- Where it is kept ----------------------------------------------------------------------------------------------------


@contextmanager
def _opened(
    storage: str | None, results: Path, base: RunSpec, searched: list[Parameter]
) -> Iterator[tuple[optuna.Study, AbstractContextManager[Any]]]:
    """The study of this setting and seed in the storage, new or as it stands, and what to hold while a trial is claimed.

    Raises SpecError if it cannot be opened.

    Its name has digests of all that is held fixed and of all that is searched, so that other settings, data, versions or
    ranges are other studies.
    """
    space = hashlib.sha256("; ".join(f"{each.name} {each.range}" for each in searched).encode()).hexdigest()[:8]
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its warnings of a failing database are pages of SQL
    folder = store.tuning_folder(results, base.dataset)
    try:
        if storage is None:
            folder.mkdir(parents=True, exist_ok=True)
            storage = f"sqlite:///{folder / base.model}.db"
        if storage.startswith("postgresql://"):  # the driver that the extra `postgres` installs
            storage = storage.replace("postgresql:", "postgresql+psycopg:", 1)
        claiming = _claiming(storage)
        kept, study = _study(storage, f"{base.id}-{space}", claiming)
    except (*FAILURES, ImportError, OSError, RuntimeError, ValueError) as error:
        url = re.sub(r"://[^@/]*@", "://…@", storage or str(folder))  # a password is no part of a message
        reason = _reason(error).replace(str(storage), url)
        if isinstance(error, ImportError) and url.startswith("postgresql"):
            reason = "its driver is missing; pip install 'icdbench[postgres]'"
        raise SpecError(f"storage '{url}' cannot be opened: {reason}") from None
    try:
        yield study, claiming
    except FAILURES as error:
        raise SpecError(f"the storage of trials fails: {_reason(error)}; the same command continues") from None
    finally:
        kept.remove_session()
        kept.engine.dispose()


def _cause(error: BaseException) -> BaseException:
    """The database's error where Optuna raises one of its own, which tells nothing."""
    return (error.__cause__ or error) if isinstance(error, StorageInternalError) else error


def _reason(error: BaseException) -> str:
    """In one line, without the statement that failed."""
    cause = _cause(error)
    return str(getattr(cause, "orig", None) or cause).partition("\n")[0]


def _study(url: str, name: str, claiming: AbstractContextManager[Any]) -> tuple[RDBStorage, optuna.Study]:
    """The storage and its study, made where they are new.

    Optuna makes the tables one by one, so that of the processes that open a new database at once all but one may fail.
    The lock has them wait on SQLite; on a server, where nothing does, they try again.
    """
    for tries in range(1, TRIES + 1):
        try:
            with claiming:
                kept = _storage(url)
                study = optuna.create_study(
                    storage=kept,
                    study_name=name,
                    direction="maximize",
                    load_if_exists=True,
                    pruner=optuna.pruners.MedianPruner(n_warmup_steps=WARMUP),
                )
        except FAILURES as error:
            # No other process is to blame unless a statement failed: a server that cannot be reached is told at once.
            if tries == TRIES or getattr(_cause(error), "statement", None) is None:
                raise
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311  no secret
        else:
            return kept, study
    raise AssertionError


class _Storage(RDBStorage):
    """A sign of life that fails is no matter for its thread, which would end with a traceback: the next one may not fail.

    If the database fails for good, what the trial itself writes tells.
    """

    def record_heartbeat(self, trial_id: int) -> None:
        with contextlib.suppress(*FAILURES):
            super().record_heartbeat(trial_id)


def _storage(url: str) -> RDBStorage:
    """Connections that are tested before use, as a database may be started again between two epochs."""
    engine: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        engine["connect_args"] = {"timeout": 60}
    with _calm():
        return _Storage(
            url,
            engine_kwargs=engine,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=_again,
        )


def _claiming(url: str) -> AbstractContextManager[Any]:
    """SQLite cannot lock a trial that waits, so that two processes might take it: a file lock beside it keeps one out."""
    place = sqlalchemy.make_url(url)
    path = Path(place.database or ":memory:")
    # Taking the lock would make a folder that is absent; SQLite is to say that it is.
    if place.get_backend_name() != "sqlite" or path.name == ":memory:" or not path.parent.is_dir():
        return nullcontext()
    return FileLock(path.with_name(f".{path.name}.lock"))


def _outcome(
    study: optuna.Study,
    base: RunSpec,
    entry: Entry,
    searched: list[Parameter],
    monitor: str,
    request: Request,
    seed: int,
) -> Outcome:
    """Store the best setting and the plots. Raises TrainingError if no trial was finished."""
    done, best = _done(study), _best(study)
    failures = [
        f"trial {_position(study, trial)}: {trial.user_attrs[ERROR]}" for trial in done if ERROR in trial.user_attrs
    ]
    if best is None:
        raise TrainingError(f"none of {len(done)} trials was finished: {'; '.join(failures[:3])}")
    weights = _importance(study)
    found = [replace(each, best=best.params[each.name], importance=weights.get(each.name)) for each in searched]
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    counts = {name: sum(trial.state == state for trial in done) for name, state in states.items()}
    given = {"train": base.train.model_dump(mode="json"), entry.name: base.config}
    places = [key.partition(".") for key in request.changes]
    fixed = {f"{target}.{field}": given[target][field] for target, _, field in places if target in given}
    stored = {
        "model": entry.name,
        "dataset": base.dataset,
        "fingerprint": base.fingerprint,
        "settings": _by_target({**fixed, **best.params}),
        "data": {key: value for key, value in base.changed.items() if key.startswith("data.")},
        "monitor": monitor,
        "value": best.values[0],
        "trial": _position(study, best),
        "trials": counts,
        "seed": seed,
        "versions": {**run.versions(), "optuna": optuna.__version__},
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    path = store.save_tuned(request.results, stored)
    _plot(study, found, monitor, path)
    now = {each.name: value for each, value in _current(base, searched)}
    first = next((trial.values[0] for trial in _complete(study) if trial.params == now), None)
    return Outcome(base, found, fixed, monitor, best.values[0], first, stored["trial"], counts, failures, seed, path)


def _importance(study: optuna.Study) -> dict[str, float]:
    """How much of the value's variance each parameter explains (fANOVA); none where too few trials tell."""
    values = {trial.values[0] for trial in _complete(study)}
    if len(_complete(study)) < 4 or len(values) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _plot(study: optuna.Study, found: list[Parameter], monitor: str, path: Path) -> None:
    """History and importance, each as PNG and SVG beside the best setting."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    done = _done(study)
    ends = {
        state: [(number, trial) for number, trial in enumerate(done, start=1) if trial.state == state]
        for state in (TrialState.COMPLETE, TrialState.PRUNED)
    }
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for (state, trials), colour, marker in zip(ends.items(), ("#0072b2", "0.6"), ("o", "x"), strict=True):
        points = [(number, trial.value) for number, trial in trials if trial.value is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=state.name.lower(), linestyle="none")
    numbers = [number for number, _ in ends[TrialState.COMPLETE]]
    heights = np.maximum.accumulate([trial.values[0] for _, trial in ends[TrialState.COMPLETE]])
    axes.step(numbers, heights, where="post", color="#d55e00", label="best so far")
    axes.set(xlabel="trial", ylabel=f"validation {monitor}", title=path.stem)
    figure.legend(frameon=False, loc="outside right upper")
    _save(figure, path.with_suffix(".history"), mpl.rc_context)
    known = sorted((each.importance, each.name) for each in found if each.importance is not None)
    if known:
        figure = Figure(figsize=(7, 0.4 * len(known) + 1.2), layout="constrained")
        axes = figure.subplots()
        axes.barh([name for _, name in known], [value for value, _ in known], color="#0072b2")
        axes.set(xlabel=f"share of the variance of {monitor} between trials", title=path.stem, xlim=(0, 1))
        _save(figure, path.with_suffix(".importance"), mpl.rc_context)


def _save(figure: Any, path: Path, context: Any) -> None:
    with context({"svg.hashsalt": "icdbench"}):  # equal figures are equal files
        for kind, more in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 150})):
            with replacing(path.with_name(f"{path.name}.{kind}")) as temporary:
                figure.savefig(temporary, format=kind, **more)
