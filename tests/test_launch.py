"""Runs side by side: the same results as one after another, and nothing lost when they are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from test_cli import FAST, Call, icdbench, notes

from icdbench import launch, run, store
from icdbench.spec import DataError, RunSpec, SpecError

__all__ = ["icdbench", "notes"]  # fixtures

WORDS = ("run", "--models", "caml,lr", "--seeds", "2", "--device", "cpu", *FAST)


def test_runs_side_by_side_are_those_of_one_after_another(icdbench: Call, notes: Path, tmp_path: Path) -> None:
    one, one_out, err = icdbench(*WORDS, "--dataset", notes, "--results", "one")
    assert one == 0, err
    two, two_out, err = icdbench(*WORDS, "--dataset", notes, "--results", "two", "--jobs", "2")
    assert two == 0, err
    assert "[4/4] notes.csv lr seed 2" in err
    first, second = (store.load_records(tmp_path / folder) for folder in ("one", "two"))
    assert [record.id for record in first] == [record.id for record in second]
    for before, after in zip(first, second, strict=True):
        assert after.metrics["test"]["fixed"] == pytest.approx(before.metrics["test"]["fixed"], abs=1e-6)
    assert len(one_out.splitlines()) == len(two_out.splitlines())
    assert not list(tmp_path.rglob("lock"))


@pytest.mark.parametrize("jobs", ["0", "-1"])
def test_impossible_numbers_of_jobs_are_refused(icdbench: Call, notes: Path, jobs: str) -> None:
    status, out, err = icdbench(*WORDS, "--dataset", notes, "--jobs", jobs)
    assert (status, out) == (2, "")
    assert jobs in err


def test_stopped_side_by_side_every_run_is_continued(notes: Path, tmp_path: Path) -> None:
    words = ("run", "--models", "caml,cnn", "--set", "train.max_epochs=400", "--set", "train.patience=400")
    command = [sys.executable, "-m", "icdbench", *words, "--dataset", str(notes), "--jobs", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stderr is not None
    seen: list[str] = []
    while not all(f"[{number}] epoch 2/" in "".join(seen) for number in (1, 2)):
        seen.append(process.stderr.readline())
        assert seen[-1], "".join(seen)  # it ended by itself
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.rstrip().endswith("stopped; the same command continues where it was")
    assert "Traceback" not in err
    unfinished = store.unfinished(tmp_path / "results")
    assert len(unfinished) == 2
    states = [store.load_checkpoint(tmp_path / "results" / name / store.CHECKPOINT) for name in unfinished]
    assert all(state is not None and state[1]["state"]["epoch"] >= 2 for state in states)


def test_a_run_that_another_process_works_on_is_waited_for(
    icdbench: Call, notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    status, _, err = icdbench(*WORDS[:2], "lr", *FAST, "--dataset", notes)
    assert status == 0, err
    (record,) = store.load_records(tmp_path / "results")
    folder = tmp_path / "results" / record.id
    held = f"""
import time
from pathlib import Path
from icdbench import store
with store.alone(Path({str(folder)!r})):
    Path("held").touch()
    time.sleep(2)
"""
    with subprocess.Popen([sys.executable, "-c", held], cwd=tmp_path):
        while not (tmp_path / "held").exists():
            time.sleep(0.05)
        began = time.monotonic()
        status, _, _ = icdbench(*WORDS[:2], "lr", *FAST, "--dataset", notes)
        assert time.monotonic() - began > 0.5
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
        (("--launcher", "ray", "--task-cpus", "-1"), "--task-cpus -1"),
    ],
)
def test_impossible_launchers_are_refused(icdbench: Call, notes: Path, words: tuple[str, ...], message: str) -> None:
    if "-1" in words:
        pytest.importorskip("ray")
    status, out, err = icdbench(*WORDS, "--dataset", notes, *words)
    assert (status, out) == (2, "")
    assert message in err


def test_a_grid_on_a_cluster_survives_the_loss_of_a_task(
    icdbench: Call, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    elsewhere = launch._elsewhere

    def lost_once(spec: RunSpec, request: run.Request) -> launch.Outcome | SpecError | DataError:
        mark = Path(f"{request.dataset}.{spec.model}")
        if not mark.exists():
            mark.touch()
            os._exit(9)
        return elsewhere(spec, request)

    monkeypatch.setattr(launch, "_elsewhere", lost_once)
    status, one_out, err = icdbench(*WORDS, "--dataset", notes, "--results", "one")
    assert status == 0, err
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        status, out, err = icdbench(*WORDS, "--dataset", notes, "--results", "two", "--launcher", "ray")
    finally:
        ray.shutdown()
    assert status == 0, err
    assert len(list(tmp_path.glob("notes.csv.*"))) == 2  # both models' first tasks were lost
    first, second = (store.load_records(tmp_path / folder) for folder in ("one", "two"))
    assert [record.id for record in first] == [record.id for record in second]
    for before, after in zip(first, second, strict=True):
        assert after.metrics["test"]["fixed"] == pytest.approx(before.metrics["test"]["fixed"], abs=1e-6)
    assert len(out.splitlines()) == len(one_out.splitlines())
