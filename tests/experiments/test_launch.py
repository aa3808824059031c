"""Runs side by side: the same results as one after another, and nothing lost when they are stopped."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Call
from filelock import FileLock
from rich.console import Console
from runs import FAST
from waiting import Heard, ended, until

import icdbench.run as runner
from icdbench.experiments import cluster, pool
from icdbench.experiments.progress import display
from icdbench.host import processes
from icdbench.records import store
from icdbench.settings import TrainingError
from icdbench.spec import DataSpec, Planned, RunSpec, TrainSpec
from icdbench.training.state import Progress

pytestmark = pytest.mark.slow

WORDS = ("run", "--models", "caml,lr", "--seeds", "2", "--device", "cpu", *FAST)


def test_runs_side_by_side_are_those_of_one_after_another_with_any_number_of_threads(
    icdbench: Call, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same results to rounding; jobs share the threads asked for."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which is restored
    outputs = {}
    for threads, words in {1: (), 4: ("--threads", "4"), 2: ("--threads", "4", "--jobs", "2")}.items():
        status, outputs[threads], err = icdbench(*WORDS, "--dataset", notes, "--results", threads, *words)
        assert status == 0, err
        assert threads != 2 or "[4/4] notes.csv lr seed 2" in err
    one, four, two = (store.load_records(tmp_path / str(threads)) for threads in (1, 4, 2))
    for threads, found in ((4, four), (2, two)):
        assert [record.id for record in found] == [record.id for record in one]
        assert {f"cpu, {threads} threads" in record.device for record in found if record.spec.model == "caml"} == {True}
        for before, after in zip(one, found, strict=True):
            assert after.metrics["test"]["fixed"] == pytest.approx(before.metrics["test"]["fixed"], abs=1e-6)
    assert len(outputs[1].splitlines()) == len(outputs[2].splitlines())
    assert not list(tmp_path.rglob("lock"))


@pytest.mark.parametrize("jobs", ["0", "-1"])
def test_impossible_numbers_of_jobs_are_refused(icdbench: Call, notes: Path, jobs: str) -> None:
    status, out, err = icdbench(*WORDS, "--dataset", notes, "--jobs", jobs)
    assert (status, out) == (2, "")
    assert jobs in err


SPEC = RunSpec(dataset="demo", fingerprint="", model="caml", data=DataSpec(), train=TrainSpec(), config={})
LONG = ("--set", "train.max_epochs=4000", "--set", "train.patience=4000", "--set", "data.embeddings=random")


class Grid:
    """A long grid of five runs, two side by side, that is seen to be under way."""

    def __init__(self, notes: Path, folder: Path) -> None:
        words = ("run", "--models", "caml", "--seeds", "5", "--device", "cpu", *LONG, "--set", "caml.filters=8")
        command = [sys.executable, "-m", "icdbench", *words, "--dataset", str(notes), "--jobs", "2"]
        self.results = folder / "results"
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=folder
        )

    def until(self, *marks: str) -> None:
        """Read what it says until it has said all these."""
        assert self.process.stderr is not None
        seen = ""
        while not all(mark in seen for mark in marks):
            line = self.process.stderr.readline()
            assert line, seen  # it ended by itself
            seen += line

    def workers(self) -> list[int]:
        """The processes that carry out runs."""
        asked = ["ps", "-wweo", "pid=,ppid=,args="]
        rows = [line.split(None, 2) for line in subprocess.check_output(asked, text=True).splitlines()]
        return [int(pid) for pid, parent, args in rows if int(parent) == self.process.pid and "spawn_main" in args]

    def check_checkpoints(self, count: int) -> None:
        """So many runs were begun, and all can be continued."""
        unfinished = store.unfinished(self.results)
        assert len(unfinished) == count
        states = [store.load_checkpoint(self.results / name / store.CHECKPOINT) for name in unfinished]
        assert all(state is not None and state[1]["state"]["epoch"] >= 2 for state in states)


@pytest.fixture
def grid(notes: Path, tmp_path: Path) -> Iterator[Grid]:
    grid = Grid(notes, tmp_path)
    with grid.process:
        try:
            grid.until("[1] epoch 2/", "[2] epoch 2/")
            yield grid
        finally:
            grid.process.kill()


def test_a_killed_process_fails_only_its_run_and_stopped_ones_are_continued(grid: Grid) -> None:
    os.kill(grid.workers()[0], signal.SIGKILL)
    grid.until("[3] epoch 2/")  # by another process
    grid.process.send_signal(signal.SIGINT)
    _, err = grid.process.communicate()
    assert grid.process.returncode == 130
    assert err.rstrip().endswith("stopped; the same command continues where it was")
    assert "Traceback" not in err
    grid.check_checkpoints(3)


def test_of_a_broken_pool_the_killed_run_fails_and_the_stopped_ones_wait_again() -> None:
    ended, killed, stopped, unseen = (Future[pool.Outcome]() for _ in range(4))
    ended.set_result(TrainingError("its own"))
    for each in (killed, stopped, unseen):
        each.set_exception(BrokenProcessPool())
    running = {
        each: (number, Planned(SPEC), runner.Request())
        for number, each in enumerate((ended, killed, stopped, unseen), start=1)
    }
    states = {1: pool.LEFT, 2: pool.STARTED, 3: pool.LEFT}
    waiting = deque([(5, Planned(SPEC), runner.Request())])
    found = {number: str(outcome) for (number, *_), outcome in pool._after_break(running, waiting, states)}
    assert found == {1: "its own", 2: pool.KILLED}
    assert [number for number, *_ in waiting] == [3, 4, 5]


def test_a_pool_that_breaks_before_it_starts_a_run_is_not_tried_for_ever() -> None:
    broken = Future[pool.Outcome]()
    broken.set_exception(BrokenProcessPool())
    waiting: deque[pool.Numbered] = deque()
    ((_, outcome),) = pool._after_break({broken: (1, Planned(SPEC), runner.Request())}, waiting, {})
    assert isinstance(outcome, TrainingError)
    assert not waiting


@pytest.mark.parametrize("mistake", [ZeroDivisionError, SystemExit])
def test_a_mistake_in_a_model_costs_its_run_alone(
    mistake: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(*_: object) -> None:
        raise mistake

    monkeypatch.setattr(runner, "execute", execute)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its handlers
    monkeypatch.setattr(processes, "heeding_signals", lambda: None)
    messages, write_end = multiprocessing.Pipe(duplex=False)
    with messages, write_end:
        outcome = pool._work(write_end, 1, Planned(SPEC), runner.Request())
        assert [messages.recv()[:2] for _ in range(2)] == [(1, pool.STARTED), (1, pool.LEFT)]
    assert str(outcome) == f"{mistake.__name__}, whose traceback is above"
    assert "Traceback" in capsys.readouterr().err


def test_processes_end_with_a_killed_main_process(grid: Grid) -> None:
    grid.process.kill()
    _, err = grid.process.communicate()  # stderr ends once they, who hold it too, are gone
    assert "Traceback" not in err
    grid.check_checkpoints(2)


def test_reports_of_a_run_that_ended_are_ignored() -> None:
    with display(1, Console(stderr=True)) as grid:
        report, prepare = grid.begin(1, SPEC)
        grid.end(1)
        prepare("vectors", 1, 2)
        report(Progress.__new__(Progress))


def test_a_run_that_another_process_works_on_is_waited_for(
    icdbench: Call, notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    status, _, err = icdbench(*WORDS[:2], "lr", *FAST, "--dataset", notes)
    assert status == 0, err
    (record,) = store.load_records(tmp_path / "results")
    folder = tmp_path / "results" / record.id
    (folder / store.RECORD).unlink()
    held, waited = threading.Event(), threading.Event()

    def work() -> None:
        with store.alone(folder):
            held.set()
            waited.wait()

    other = threading.Thread(target=work)
    other.start()
    held.wait()
    with Heard("another process is working on", waited.set):
        status, _, _ = icdbench(*WORDS[:2], "lr", *FAST, "--dataset", notes)
    other.join()
    assert status == 0
    assert "another process is working on" in caplog.text


def test_the_lock_of_a_dead_process_holds_nobody_up(tmp_path: Path) -> None:
    code = f"from filelock import FileLock; FileLock({str(tmp_path / store.LOCK)!r}).acquire(); import os; os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / store.LOCK).exists()
    with store.alone(tmp_path):
        assert FileLock(tmp_path / store.LOCK, timeout=0).lock_file
    assert os.access(tmp_path, os.W_OK)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--launcher", "rya"), "no launcher 'rya'; did you mean 'ray'"),
        (("--launcher", "ray", "--jobs", "2"), "choose one of them"),
        (("--launcher", "ray", "--threads", "2"), "say --task-cpus 2"),
        (("--threads", "0"), "'--threads': Input should be greater"),
        (("--launcher", "ray", "--task-cpus", "-1"), "--task-cpus -1"),
    ],
)
def test_impossible_launchers_are_refused(icdbench: Call, notes: Path, words: tuple[str, ...], message: str) -> None:
    if "-1" in words:
        pytest.importorskip("ray")
    status, out, err = icdbench(*WORDS, "--dataset", notes, *words)
    assert (status, out) == (2, "")
    assert message in err


def test_a_cluster_that_is_not_there_is_told(icdbench: Call, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    status, out, err = icdbench(*WORDS, "--dataset", notes, "--launcher", "ray")
    assert (status, out) == (2, "")
    assert "no cluster at RAY_ADDRESS=auto" in err
    assert "unset RAY_ADDRESS" in err


def test_a_full_disk_elsewhere_is_told_as_here(monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "record.json")

    def execute(*_: object) -> None:
        raise full

    monkeypatch.setattr(runner, "execute", execute)
    returned = cluster._task(Planned(SPEC), runner.Request())
    assert returned is full
    ray = SimpleNamespace(get=lambda _: returned, exceptions=SimpleNamespace(RayTaskError=KeyError, RayError=KeyError))
    with pytest.raises(OSError, match="No space left"):
        cluster._outcome(ray, object())


def test_a_grid_on_a_cluster_survives_the_loss_of_a_task_and_one_always_lost_fails_alone(
    icdbench: Call, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    task = cluster._task

    def lost(planned: Planned, request: runner.Request) -> cluster.Outcome | cluster.Fatal:
        spec, once = planned.spec, Path(f"{request.dataset}.lost")
        if spec.model == "lr" and spec.seed == 2:
            os._exit(9)
        if spec.model == "caml" and not once.exists():
            once.touch()
            os._exit(9)
        return task(planned, request)

    monkeypatch.setattr(cluster, "_task", lost)
    monkeypatch.setattr(cluster, "RETRIES", 1)
    status, one_out, err = icdbench(*WORDS, "--dataset", notes, "--results", "one")
    assert status == 0, err
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        status, out, err = icdbench(*WORDS, "--dataset", notes, "--results", "two", "--launcher", "ray")
    finally:
        ray.shutdown()
    assert status == 1, err
    assert list(tmp_path.glob("notes.csv.lost"))
    # Ray's own log may have been configured in a test before, and its stream is closed
    last = err.rstrip().splitlines()[-1]
    assert last.startswith("icdbench: 1 of 4 runs failed")
    assert "lost 2 times" in last
    first, second = (store.load_records(tmp_path / folder) for folder in ("one", "two"))
    assert [record.id for record in first if (record.spec.model, record.spec.seed) != ("lr", 2)] == [
        record.id for record in second
    ]
    expected = {record.id: record.metrics["test"]["fixed"] for record in first}
    for record in second:
        assert record.metrics["test"]["fixed"] == pytest.approx(expected[record.id], abs=1e-6)
    assert all(f"| {model}" in table for model in ("caml", "lr") for table in (one_out, out))


def test_a_grid_stopped_on_a_cluster_leaves_checkpoints(notes: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    words = ("run", "--models", "caml", "--seeds", "2", *LONG, "--dataset", str(notes), "--launcher", "ray")
    command = [sys.executable, "-m", "icdbench", *words]
    with (
        subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=tmp_path
        ) as process,
        ended(process),
    ):
        until(lambda: len(list((tmp_path / "results").rglob(f"{store.CHECKPOINT}*"))) >= 2, process)
        stopped = time.time()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130, err
    assert err.rstrip().endswith("stopped; the same command continues where it was")
    checkpoints = [tmp_path / "results" / name / store.CHECKPOINT for name in store.unfinished(tmp_path / "results")]
    assert len(checkpoints) == 2
    assert all(path.stat().st_mtime > stopped and store.load_checkpoint(path) for path in checkpoints)
