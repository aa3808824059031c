"""Several processes tune together, on SQLite and on a real PostgreSQL server, and one of them is killed in a trial."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from icdbench import train
from icdbench.experiments import trials as kept
from icdbench.experiments import tune
from icdbench.run import Request
from icdbench.types import quiet

pytestmark = pytest.mark.slow

TRIALS = 7
SETTINGS: dict[str, Any] = {"caml.filters": 4, "caml.embedding_size": 6, "train.max_epochs": 2}
SETTINGS |= {"data.embeddings": "random", "data.max_tokens": 8}


def server_program(name: str) -> str | None:
    """PostgreSQL's own programs are not on everybody's path."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(versions[-1]) if versions else None)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a server of our own, behind a socket in a folder of its own; as root it runs as another user."""
    initdb, postgres = server_program("initdb"), server_program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("needs PostgreSQL: apt install postgresql")
    user = None if os.geteuid() else "nobody"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="icdbench-", dir="/tmp"))
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        more: dict[str, Any] = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        data = f"{folder}/data"
        subprocess.run([initdb, "-D", data, "-U", "icdbench", "-A", "trust", "--no-sync"], check=True, **more)
        server = subprocess.Popen([postgres, "-D", data, "-k", folder, "-c", "listen_addresses="], **more)
        stack.callback(server.wait)
        stack.callback(server.send_signal, signal.SIGINT)
        deadline = time.monotonic() + 120
        while not (Path(folder) / ".s.PGSQL.5432").exists():
            assert time.monotonic() < deadline
            assert server.poll() is None
            time.sleep(0.1)
        yield f"postgresql://icdbench@/postgres?host={folder}"


def request_of(folder: Path, worker: str) -> Request:
    """Every worker has results of its own, as on machines that share the database alone."""
    changes = dict(SETTINGS)
    return Request(["caml"], str(folder / "notes.csv"), changes=changes, results=folder / worker, device="cpu")


def work(folder: Path, worker: str, storage: str, began: Any = None) -> None:
    """A worker's whole life; one that is given an event sets it in its first trial, which it never ends."""
    kept.HEARTBEAT, kept.GRACE, tune.WAIT = 1, 4, 0.2
    if began is not None:

        def fit(*_: Any, **__: Any) -> Any:
            began.set()
            signal.pause()

        train.fit = fit
    tune.tune(request_of(folder, worker), TRIALS, storage)


def stored(storage: str) -> list[FrozenTrial]:
    """All trials of the one study in the storage."""
    opened = optuna.storages.RDBStorage(storage.replace("postgresql:", "postgresql+psycopg:"))
    try:
        (study,) = optuna.get_all_study_summaries(opened)
        return optuna.load_study(study_name=study.study_name, storage=opened).trials
    finally:
        opened.engine.dispose()


def open_at_once(url: str, start: Any) -> None:
    """What a worker does first, at the moment at which the others do."""
    start.wait(60)
    storage, _ = kept._open(url, "name", kept._lock(url))
    storage.engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_workers_that_start_together_open_one_new_storage(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(2):  # which of them meet is chance
        if kind == "sqlite":
            url = f"sqlite:///{tmp_path / f'{attempt}.db'}"
        else:
            server = request.getfixturevalue("postgresql").replace("postgresql:", "postgresql+psycopg:")
            url = server.replace("/postgres?", f"/attempt{attempt}?")
            engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text(f"CREATE DATABASE attempt{attempt}"))
            engine.dispose()
        start = context.Barrier(4)
        workers = [context.Process(target=open_at_once, args=(url, start)) for _ in range(4)]
        for process in workers:
            process.start()
        for process in workers:
            process.join(120)
        assert [process.exitcode for process in workers] == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_several_workers_share_the_trials_and_one_that_dies_takes_none_along(
    kind: str, few_notes: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    storage = f"sqlite:///{tmp_path / 'trials.db'}" if kind == "sqlite" else request.getfixturevalue("postgresql")
    assert few_notes == tmp_path / "notes.csv"
    context = multiprocessing.get_context("fork")
    began = context.Event()
    slow = context.Process(target=work, args=(tmp_path, "slow", storage, began))
    slow.start()
    assert began.wait(120)
    others = [context.Process(target=work, args=(tmp_path, f"worker {number}", storage)) for number in range(3)]
    for process in others:
        process.start()
    slow.kill()
    for process in others:
        process.join(300)
    assert [process.exitcode for process in others] == [0, 0, 0]

    trials = stored(storage)
    counted = [trial for trial in trials if trial.state.is_finished() and trial.state != TrialState.FAIL]
    # Workers that look at the same moment may each begin the last one, and the killed one's setting comes back.
    assert TRIALS <= len(counted) <= TRIALS + len(others)
    assert not [trial for trial in trials if not trial.state.is_finished()]
    # The killed one had the setting to be improved; it was tried again, once, and nothing else was tried twice.
    assert trials[0].state == TrialState.FAIL
    assert [trial.params for trial in counted].count(trials[0].params) == 1
    assert len({str(trial.params) for trial in counted}) == len(counted)
    assert len({trial.user_attrs[kept.WORKER] for trial in trials if kept.WORKER in trial.user_attrs}) >= 3
    found = [tune.tune(request_of(tmp_path, f"worker {number}"), TRIALS, storage) for number in range(3)]
    assert [each.counts["complete"] for each in found] == [len(counted)] * 3
    assert found[0].value == found[1].value == found[2].value
    assert len(stored(storage)) == len(trials)
    files = [(tmp_path / f"worker {number}/tuning/notes.csv/caml.json").read_text() for number in range(3)]
    best = [text[text.index('"settings"') : text.index('"versions"')] for text in files]
    assert best[0] == best[1] == best[2]


def add_running(storage: str, *, heartbeat: bool, **given: Any) -> None:
    """As if a process had died in a trial: it is running, and its only heartbeat is old, or there was none yet."""
    opened = optuna.storages.RDBStorage(storage)
    (summary,) = optuna.get_all_study_summaries(opened)
    study = optuna.load_study(study_name=summary.study_name, storage=opened)
    study.add_trial(optuna.create_trial(state=TrialState.RUNNING, **given))
    if heartbeat:
        opened.record_heartbeat(study.trials[-1]._trial_id)
        opened.set_trial_user_attr(study.trials[-1]._trial_id, kept.WORKER, "elsewhere 1")
        with opened.engine.begin() as connection:
            connection.execute(sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'"))
    opened.engine.dispose()


def test_the_setting_of_a_trial_that_died_is_tried_again(few_notes: Path, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'trials.db'}"
    assert few_notes == tmp_path / "notes.csv"
    tune.tune(request_of(tmp_path, "results"), 2, storage)
    done = stored(storage)[1]
    add_running(storage, heartbeat=True, params=done.params, distributions=done.distributions)
    tune.tune(request_of(tmp_path, "results"), 3, storage)
    states = [(trial.state, trial.params == done.params) for trial in stored(storage)]
    assert states[2:] == [(TrialState.FAIL, True), (TrialState.COMPLETE, True)]


def test_a_process_that_died_before_its_first_heartbeat_is_not_waited_for(few_notes: Path, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'trials.db'}"
    assert few_notes == tmp_path / "notes.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "fit", full_disk)
        with pytest.raises(OSError, match="full"):
            tune.tune(request_of(tmp_path, "results"), 1, storage)
    add_running(storage, heartbeat=False, user_attrs={tune.START: True})
    found = tune.tune(request_of(tmp_path, "results"), 2, storage)
    states = [trial.state for trial in stored(storage)]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.RUNNING, TrialState.COMPLETE]
    assert found.first is not None


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_no_process_takes_a_claimed_start_for_one_that_nobody_computes(tmp_path: Path) -> None:
    with kept.opened(f"sqlite:///{tmp_path / 'trials.db'}", "name") as (study, _):
        study.enqueue_trial({"x": 1}, {tune.START: True})
        study.ask()  # claims the trial; the thread of heartbeats starts later
        assert [trial.state for trial in kept.live(study)] == [TrialState.RUNNING]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_start_that_another_process_is_about_to_queue_again_is_not_queued_twice(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = f"sqlite:///{tmp_path / 'trials.db'}"
    assert few_notes == tmp_path / "notes.csv"
    search = tune._plan_search(request_of(tmp_path, "results"), 2, 0, quiet)
    start = {each.name: each.start for each in search.parameters}
    with tune._open_study(search, storage) as (study, _):
        study.enqueue_trial(start, {tune.START: True})
        study.tell(study.ask(), state=TrialState.FAIL)
    again: list[int] = []
    fit = train.fit

    def queue_again(*given: Any, **named: Any) -> Any:
        """As another process would, while this one waits or, if it does not wait, trains."""
        if not again:
            with tune._open_study(search, storage) as (study, _):
                kept._retry(study, study.trials[0])
            again.append(1)
        return fit(*given, **named) if named else None

    monkeypatch.setattr(time, "sleep", queue_again)
    monkeypatch.setattr(train, "fit", queue_again)
    tune.tune(request_of(tmp_path, "results"), 2, storage)
    starts = [trial.state for trial in stored(storage) if tune.START in trial.user_attrs]
    assert starts == [TrialState.FAIL, TrialState.COMPLETE]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_start_that_was_lost_long_ago_is_queued_at_once(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = f"sqlite:///{tmp_path / 'trials.db'}"
    assert few_notes == tmp_path / "notes.csv"
    search = tune._plan_search(request_of(tmp_path, "results"), 1, 0, quiet)
    with tune._open_study(search, storage) as (study, _):
        study.enqueue_trial({}, {tune.START: True})
        study.tell(study.ask(), state=TrialState.FAIL)
    with sqlalchemy.create_engine(storage).begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE trials SET datetime_complete = '2020-01-01 00:00:00'"))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits for a process that is long dead"))
    assert tune.tune(request_of(tmp_path, "results"), 1, storage).first is not None


def full_disk(*_: Any, **__: Any) -> Any:
    raise OSError("full")


def test_a_trial_that_was_given_up_for_dead_does_not_count_when_it_ends_after_all(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    storage = f"sqlite:///{tmp_path / 'trials.db'}"
    assert few_notes == tmp_path / "notes.csv"
    fit, calls = train.fit, []

    def fit_while_given_up(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            opened = optuna.storages.RDBStorage(storage)
            (summary,) = optuna.get_all_study_summaries(opened)
            optuna.load_study(study_name=summary.study_name, storage=opened).tell(1, state=TrialState.FAIL)
            opened.engine.dispose()
        return fit(*given, **named)

    monkeypatch.setattr(train, "fit", fit_while_given_up)
    found = tune.tune(request_of(tmp_path, "results"), 3, storage)
    assert found.counts == {"complete": 3, "pruned": 0, "failed": 0}
    assert len(calls) == 4
    assert "given up for dead" in caplog.text
