"""The storage of a study's trials (`opened`), which trials count, and which are tried again.

Several processes may work on one study. Optuna's heartbeat shows that a trial is running; if its process dies, Optuna marks
the trial as failed, and its retry callback queues the same setting again.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from icdbench.settings import SpecError

WARMUP = 5  # epochs before a trial may be pruned: some good settings learn slowly at first
HEARTBEAT, GRACE = 20, 60  # seconds between two heartbeats; seconds without one after which a trial is given up
TRIES = 6  # attempts to open a storage that other processes are opening, too
ERROR = "error"  # attribute of a trial: why its training failed
WORKER = "worker"  # attribute of a trial with a heartbeat: the process that computes it
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)  # Optuna wraps most, but not all, of the first in the second


class _Storage(RDBStorage):
    """Optuna's storage, in which a failed heartbeat does not end its thread, and only one process can claim a trial on SQLite."""

    def __init__(self, url: str, lock: AbstractContextManager[object]) -> None:
        engine: dict[str, object] = {"pool_pre_ping": True}  # a database may be restarted between two epochs
        if url.startswith("sqlite"):
            engine["connect_args"] = {"timeout": 60}
        self.lock = lock
        with experimental():
            super().__init__(
                url,
                engine_kwargs=engine,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=_retry,
            )

    def record_heartbeat(self, trial_id: int) -> None:
        """Record the heartbeat and the process; errors are ignored, because the next heartbeat may succeed."""
        with contextlib.suppress(*DATABASE_ERRORS, optuna.exceptions.UpdateFinishedTrialError):
            super().record_heartbeat(trial_id)
            self.set_trial_user_attr(trial_id, WORKER, f"{socket.gethostname()} {os.getpid()}")

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set them unless another process has claimed or ended the trial. A file lock stands in for SQLite's missing row locks.

        A claimed trial has a heartbeat from the start, so that no other process takes it for one that nobody computes.
        """
        if state == TrialState.RUNNING:
            self.record_heartbeat(trial_id)
        with self.lock:
            return super().set_trial_state_values(trial_id, state, values)


def _retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the setting of a trial whose process died."""
    trial.user_attrs.pop(WORKER, None)  # the retried trial has no heartbeat yet
    with experimental():
        RetryHeartbeatStaleTrialCallback()(study, trial)


def retry_stale(study: optuna.Study) -> None:
    """Give up running trials without a heartbeat, and queue their settings."""
    with experimental():
        optuna.storages.fail_stale_trials(study)


@contextlib.contextmanager
def experimental() -> Iterator[None]:
    """Suppress Optuna's warnings that heartbeat, retries and plots may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


@contextlib.contextmanager
def opened(url: str, name: str) -> Iterator[tuple[optuna.Study, AbstractContextManager[object]]]:
    """Yield the study of this name, new or as it stands, and a lock that keeps other processes out on SQLite.

    Raises SpecError if the storage cannot be opened, or fails in the block.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its warnings about a failing database are pages of SQL
    if url.startswith("postgresql://"):  # the driver that the extra `postgres` installs
        url = url.replace("postgresql:", "postgresql+psycopg:", 1)
    try:
        lock = _lock(url)
        storage, study = _open(url, name, lock)
    except (*DATABASE_ERRORS, ImportError, OSError, RuntimeError, ValueError) as error:
        shown = re.sub(r"://[^@/]*@", "://…@", url)  # without the password
        reason = _reason(error).replace(url, shown)
        if isinstance(error, ImportError) and url.startswith("postgresql"):
            reason = "its driver is missing; pip install 'icdbench[postgres]'"
        raise SpecError(f"storage '{shown}' cannot be opened: {reason}") from None
    try:
        yield study, lock
    except Exception as error:
        if _database_error(error) is None:
            raise
        raise SpecError(f"the storage of trials fails: {_reason(error)}; the same command continues") from None
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _open(url: str, name: str, lock: AbstractContextManager[object]) -> tuple[RDBStorage, optuna.Study]:
    """The storage and its study, created if they are new.

    Optuna creates the tables one by one, so when several processes open a new database at once, all but one may fail. On
    SQLite the lock makes them wait; on a server they try again.
    """
    for tries in range(1, TRIES + 1):
        try:
            with lock:
                storage = _Storage(url, lock)
                pruner = optuna.pruners.MedianPruner(n_warmup_steps=WARMUP)
                return storage, optuna.create_study(
                    storage=storage, study_name=name, direction="maximize", load_if_exists=True, pruner=pruner
                )
        except DATABASE_ERRORS as error:
            # Another process can only make a statement fail; that a server cannot be reached is reported at once.
            if tries == TRIES or getattr(_database_error(error), "statement", None) is None:
                raise
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311  no secret
    raise AssertionError


def _lock(url: str) -> AbstractContextManager[object]:
    """A file lock beside an SQLite database; a null context for a server, which locks rows itself."""
    place = sqlalchemy.make_url(url)
    path = Path(place.database or ":memory:")
    # FileLock would create a missing folder, of which SQLite should complain instead.
    if place.get_backend_name() != "sqlite" or path.name == ":memory:" or not path.parent.is_dir():
        return contextlib.nullcontext()
    return FileLock(path.with_name(f".{path.name}.lock"))


def _database_error(error: BaseException | None) -> BaseException | None:
    """The database's own error among the causes of an error, which Optuna often wraps."""
    while error is not None and not isinstance(error, SQLAlchemyError):
        error = error.__cause__ or error.__context__
    return error


def _reason(error: BaseException) -> str:
    """The reason in one line, without the statement that failed."""
    cause = _database_error(error) or error
    return str(getattr(cause, "orig", None) or cause).partition("\n")[0]


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial completed, was pruned, or failed in training; not if its process was stopped or died."""
    return trial.state.is_finished() and (trial.state != TrialState.FAIL or ERROR in trial.user_attrs)


def live(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count or still may: those that wait, and those that run and have a heartbeat."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if counts(trial)
        or trial.state == TrialState.WAITING
        or (trial.state == TrialState.RUNNING and WORKER in trial.user_attrs)
    ]


def counted(study: optuna.Study) -> optuna.Study:
    """A copy in memory of the trials that count, numbered without gaps."""
    copy = optuna.create_study(direction="maximize")
    copy.add_trials([trial for trial in study.get_trials(deepcopy=False) if counts(trial)])
    return copy


def best(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial of the highest value, the first of equals; None if there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: trial.values[0], default=None)
