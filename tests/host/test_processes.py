"""How commands end: asked to by a signal or a closed terminal, and worker processes whose parent was killed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from waiting import ended, until

from icdbench import files
from icdbench.host import processes
from icdbench.records import store

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "icdbench"]
TRAINING = [
    "run",
    "--models",
    "caml",
    "--set",
    "train.max_epochs=100000",
    "--set",
    "train.patience=100000",
    "--set",
    "data.embeddings=random",
    "--device",
    "cpu",
]
SLOW = ["data", "make", "tables", "--admissions", "5000"]


def living(mark: str) -> list[Path]:
    """Processes with this in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent)
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for several processes in /proc")
def test_workers_of_data_make_end_with_a_killed_parent_and_the_next_one_removes_what_was_left(tmp_path: Path) -> None:
    mark = f"ICDBENCH_TEST={tmp_path}"
    environment = os.environ | {"ICDBENCH_TEST": str(tmp_path)}
    made = "from pathlib import Path; from icdbench.synthetic import tables; tables.make(Path('tables'), 5000, 1, workers=2)"
    with subprocess.Popen([sys.executable, "-c", made], cwd=tmp_path, env=environment) as process, ended(process):
        until(lambda: len(living(mark)) >= 3, process)  # itself and two workers
        until(lambda: files.temporaries(tmp_path), process)
        process.kill()
    until(lambda: not living(mark))
    assert len(files.temporaries(tmp_path)) == 1
    again = [*COMMAND, "data", "make", "tables", "--admissions", "20", "--other-notes", "0"]
    assert subprocess.run(again, cwd=tmp_path, check=False).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]


@pytest.mark.parametrize(("number", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_what_is_half_written_goes_when_a_command_is_asked_to_end(number: str, status: int, tmp_path: Path) -> None:
    command = subprocess.Popen([*COMMAND, *SLOW], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    with command as process, ended(process):
        until(lambda: [*tmp_path.rglob("NOTEEVENTS*")], process)
        process.send_signal(signal.Signals[number])
        _, err = process.communicate()
    assert process.returncode == status
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def checkpointed(results: Path) -> bool:
    return any(results.rglob(store.CHECKPOINT))


def test_a_closed_terminal_has_training_write_its_checkpoint(few_notes: Path, tmp_path: Path) -> None:
    """The terminal hangs up: SIGHUP, and every further write to it fails."""
    controller, terminal = pty.openpty()
    words = [*COMMAND, *TRAINING, "--dataset", str(few_notes)]
    script = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY); os.execv(sys.argv[1], sys.argv[1:])"
    command = subprocess.Popen(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        start_new_session=True,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    with command as process, ended(process):
        os.close(terminal)
        shown = b""
        while b"loss" not in shown:
            shown += os.read(controller, 4096)
        os.close(controller)
        process.wait()
    assert checkpointed(tmp_path / "results")
    assert not list(tmp_path.rglob(".icdbench-*"))


def test_nohup_is_heeded(few_notes: Path, tmp_path: Path) -> None:
    words = ["nohup", *COMMAND, *TRAINING, "--dataset", str(few_notes)]
    command = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with command as process, ended(process):
        assert process.stderr is not None
        while "loss" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGHUP)
        for _ in range(3):
            assert "loss" in process.stderr.readline()  # it goes on
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait() == 130
    assert checkpointed(tmp_path / "results")


def test_a_process_without_a_parent_of_its_pool_is_left_alone() -> None:
    processes.end_with_parent()
    for thread in threading.enumerate():
        if thread.name == "parent":
            thread.join()  # it has nothing to watch
