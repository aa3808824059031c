"""Injects faults into a small run and counts what survives: the same command again must end with the same bytes.

    OMP_NUM_THREADS=1 python tests/faults/faults.py --kills 50 --damages 50 --seed 1

Prints a table of faults injected, survived and lost, and exits with 1 if anything was lost. Each command is a process of
its own, forked from one that has imported icdbench. An instant to die at is drawn within a stage, all stages in turn,
and all moments of a stage alike.

A fault is survived if the command either ends with metrics, predictions and weights identical to the byte to those of an
undisturbed run, or says in one line what is wrong (exit status 1 or 2) and ends so once the cause is gone. Everything
else is lost: another number, a traceback, a file left behind, a run that cannot be finished.

The full disk, and the folder that is read-only even for root, need the right to mount a tmpfs; without it they are left out
and named.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
import torch
import typer.main

import icdbench.run as runner
from icdbench import files, registry, train
from icdbench.cli import main as cli
from icdbench.data import datasets
from icdbench.evaluation import measure
from icdbench.experiments import trials
from icdbench.presentation import tables
from icdbench.records import provenance, store
from icdbench.records.record import RunRecord
from icdbench.training import checkpointing, objectives
from icdbench.training import memory as training_memory

MODEL = "caml"
WORDS = ("run", "--models", MODEL, "--device", "cpu")
SETTINGS = ("caml.embedding_size=8", "caml.filters=8", "train.max_epochs=6", "train.patience=6", "train.batch_size=8")
CODES = {"038.9": "sepsis fever", "428.0": "heart failure edema", "0250": "diabetes insulin", "401.9": "pressure"}

# Stages of a run, and the function of each that is its whole. They are patched in a process that is to die in one.
STAGES: dict[str, tuple[Any, str]] = {
    "preparation": (runner, "expand"),
    "word vectors": (runner, "task"),
    "training": (train, "fit"),
    "checkpointing": (store, "save_checkpoint"),
    "evaluation": (measure, "measured"),
    "writing the run": (store, "save_run"),
    "writing the table": (tables, "comparison"),
}


@dataclass
class Ended:
    """What a command did."""

    status: int  # negative: the signal that ended it
    out: str
    err: str


@dataclass
class Place:
    """Where a command works: notes, results and cache of its own."""

    folder: Path

    def __post_init__(self) -> None:
        names = ("notes.csv", "results", "cache", "temporary")
        self.notes, self.results, self.cache, self.temporary = (self.folder / name for name in names)

    @classmethod
    def new(cls, folder: Path) -> Place:
        """A place with notes whose codes can be read off their words."""
        (folder / "temporary").mkdir(parents=True)
        made, dice = cls(folder), random.Random(0)  # noqa: S311
        lines = ["id,text,codes,split"]
        for number in range(72):
            codes = [code for code in CODES if dice.random() < 0.4] or ["038.9"]
            text = " ".join(f"patient with {CODES[code]} on day {number % 7}" for code in codes)
            split = "train" if number < 48 else "validation" if number < 60 else "test"
            lines.append(f"{number},{text},{';'.join(codes)},{split}")
        made.notes.write_text("\n".join(lines), encoding="utf-8")
        return made

    def words(self) -> list[str]:
        """The command that makes the run."""
        own = [*WORDS, "--dataset", str(self.notes), "--results", str(self.results)]
        return own + [word for setting in SETTINGS for word in ("--set", setting)]

    def start(self, plant: Callable[[], None] = lambda: None, words: Sequence[str] = ()) -> int:
        """Begin the command, or that of other words, in a process of its own, in which `plant` is called first; its id."""
        if pid := os.fork():
            return pid
        status = 70
        try:
            for number, name in ((1, "out"), (2, "err")):
                with (self.folder / f"{name}-{os.getpid()}").open("w", encoding="utf-8") as file:
                    os.dup2(file.fileno(), number)
            os.environ["ICDBENCH_CACHE"] = str(self.cache)
            os.environ["ICDBENCH_FLOORS"] = "0"  # only the systems that are named
            os.environ["TMPDIR"] = tempfile.tempdir = str(self.temporary)
            sys.argv = ["icdbench", *(words or self.words())]
            trials.HEARTBEAT, trials.GRACE = 1, 2  # seconds until a killed trial is tried again
            checkpointing.CHECKPOINT_SHARE = float("inf")  # these epochs are so short that they would have none
            vars(sys.modules["__main__"]).pop("__file__", None)  # lest worker processes import all of this file
            plant()
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 0
        except BaseException:  # noqa: BLE001  as an interpreter ends
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def end(self, pid: int) -> Ended:
        """Wait for a command that was begun."""
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said = []
        for name in ("out", "err"):
            path = self.folder / f"{name}-{pid}"
            said.append(path.read_text(encoding="utf-8") if path.exists() else "")  # killed before it could write
            path.unlink(missing_ok=True)
        return Ended(status, *said)

    def command(self, plant: Callable[[], None] = lambda: None, words: Sequence[str] = ()) -> Ended:
        """Run the command to its end."""
        return self.end(self.start(plant, words))

    def outcome(self) -> dict[str, str]:
        """Digests of all that a finished run must reproduce; empty while it is unfinished."""
        found = list(self.results.glob(f"*/*/*/{store.RECORD}"))
        if len(found) != 1:
            return {}
        record = json.loads(found[0].read_text(encoding="utf-8"))
        for epoch in record["history"]:
            epoch.pop("seconds")
        kept = {name: record[name] for name in ("id", "metrics", "threshold", "intervals", "collapse", "history")}
        digests = {store.RECORD: hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()}
        return digests | {name: files.digest(found[0].parent / name) for name in (store.PREDICTIONS, store.WEIGHTS)}

    def left_over(self) -> list[str]:
        """Files of a finished run's folder that are none of its own."""
        own = {store.RECORD, store.PREDICTIONS, store.WEIGHTS, "record.old.json"}  # the last: a damaged one, kept
        found = [path for path in self.results.rglob("*") if path.is_file() and path.name not in own]
        # torch makes an empty folder for its compiler's cache once and for all, whether anything is compiled or not.
        temporary = [
            path for path in self.temporary.iterdir() if path.name[:14] != "torchinductor_" or any(path.iterdir())
        ]
        return [str(path) for path in (*found, *temporary, *self.folder.rglob(".icdbench-*"))]

    def tree(self) -> dict[str, str]:
        """Every file by its place, with its digest."""
        found = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): files.digest(path) for path in found}

    def processes(self) -> list[str]:
        """Processes that a command in this place began and that live, by their ids."""
        mark, found = f"ICDBENCH_CACHE={self.cache}".encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(path.parent.name)
        return found


@dataclass
class Tally:
    """How many faults of a kind were injected, and which were lost."""

    kind: str
    injected: int = 0
    lost: list[str] = field(default_factory=list)
    note: str = ""

    def judge(self, reasons: list[str]) -> None:
        """Count one fault, lost if there is any reason."""
        self.injected += 1
        if reasons:
            self.lost.append("; ".join(reasons))


@dataclass
class Setting:
    """What all experiments share."""

    folder: Path
    dice: random.Random
    expected: dict[str, str]
    seconds: dict[str, list[float]]
    unfinished: Place  # killed in its training, with two checkpoints
    finished: Place
    count: int = 0

    def place(self, like: Place | None = None) -> Place:
        """A new place, empty or a copy."""
        self.count += 1
        folder = self.folder / str(self.count)
        if like is None:
            return Place.new(folder)
        shutil.copytree(like.folder, folder)
        return Place(folder)

    def finishes(self, place: Place, said: str = "") -> list[str]:
        """Reasons why the command, run again, did not end as it would have undisturbed; it should say `said`."""
        again = place.command()
        reasons = [] if again.status == 0 else [f"exit status {again.status}: {again.err.strip()[-300:]}"]
        if place.outcome() != self.expected:
            reasons.append("other bytes than undisturbed")
        if said not in again.err:
            reasons.append(f"'{said}' is not said: {again.err.strip()[-300:]}")
        return reasons + [f"left behind: {path}" for path in place.left_over()] + traceback_of(again)


def traceback_of(ended: Ended) -> list[str]:
    """A reason, if a user saw a traceback."""
    return [f"a traceback: {ended.err.strip()[-300:]}"] if "Traceback" in ended.err else []


def refused(ended: Ended, status: int, *said: str) -> list[str]:
    """Reasons why the command did not stop with this status and a last line that says all of this."""
    line = (ended.err.strip().splitlines() or [""])[-1]
    reasons = [] if ended.status == status else [f"exit status {ended.status}, not {status}: {line}"]
    return reasons + [f"'{each}' is not said: {line}" for each in said if each not in line] + traceback_of(ended)


# --- Faults ----------------------------------------------------------------------------------------------------------


def around(stage: str, before: Callable[[], None], after: Callable[[], None] = lambda: None) -> None:
    """From now on, call these around each pass of a stage."""
    module, name = STAGES[stage]
    whole = getattr(module, name)

    @functools.wraps(whole)
    def wrapped(*words: Any, **named: Any) -> Any:
        before()
        try:
            return whole(*words, **named)
        finally:
            after()

    setattr(module, name, wrapped)


def timing(path: Path) -> Callable[[], None]:
    """A plant that notes the seconds of every pass of every stage in a file."""

    def plant() -> None:
        for stage in STAGES:
            begun: list[float] = []

            def after(stage: str = stage, begun: list[float] = begun) -> None:
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([stage, time.monotonic() - begun.pop()]) + "\n")

            around(stage, lambda begun=begun: begun.append(time.monotonic()), after)  # type: ignore[misc]

    return plant


def dying(stage: str, passes: int, seconds: float, how: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """A plant that kills its own process so long after the given pass of a stage begins; with 0, before it does anything."""

    def kill() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), how)

    def plant() -> None:
        count = iter(range(1, sys.maxsize))

        def before() -> None:
            if next(count) != passes:
                return
            if seconds:
                threading.Thread(target=kill, daemon=True).start()
            else:
                kill()

        around(stage, before)

    return plant


def kills(setting: Setting, number: int) -> Iterator[Tally]:
    """kill -9 at random instants of all stages in turn."""
    tallies = {stage: Tally(f"kill -9: {stage}") for stage in STAGES}
    stages, attempts = list(STAGES), 0
    locks = Tally("stale lock of a killed process")
    while sum(tally.injected for tally in tallies.values()) < number and attempts < 10 * number + 10:
        attempts += 1
        stage = stages[sum(tally.injected for tally in tallies.values()) % len(stages)]
        passes = setting.dice.randrange(len(setting.seconds[stage]))
        delay = setting.dice.uniform(0, setting.seconds[stage][passes])
        place = setting.place()
        if place.command(dying(stage, passes + 1, delay)).status != -signal.SIGKILL:
            continue  # it was faster than the time before, and ended unharmed
        left = list(place.results.rglob(store.LOCK))
        began = time.monotonic()
        reasons = setting.finishes(place)
        tallies[stage].judge(reasons)
        if left:
            longest = 5 * sum(map(sum, setting.seconds.values())) + 5
            locks.judge(reasons if time.monotonic() - began < longest else ["held up"])
        shutil.rmtree(place.folder)
    yield from tallies.values()
    yield locks


def damages(setting: Setting, number: int) -> Iterator[Tally]:
    """Files cut at a random byte, or with a random bit flipped."""

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: setting.dice.randrange(path.stat().st_size)])

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[setting.dice.randrange(len(content))] ^= 1 << setting.dice.randrange(8)
        path.write_bytes(content)

    def tally(kind: str, like: Place, names: tuple[str, ...], damage: Callable[[Path], None], said: str) -> Tally:
        counted = Tally(kind)
        for _ in range(number):
            place = setting.place(like)
            for name in names:
                damage(setting.dice.choice(sorted(place.folder.rglob(name))))
            counted.judge(setting.finishes(place, said))
            shutil.rmtree(place.folder)
        return counted

    last, both = (store.CHECKPOINT,), (store.CHECKPOINT, store.PREVIOUS)
    yield tally("checkpoint cut", setting.unfinished, last, cut, "is damaged")
    yield tally("checkpoint, one bit flipped", setting.unfinished, last, flip, "is damaged")
    yield tally("both checkpoints cut", setting.unfinished, both, cut, "is damaged")
    yield tally("both checkpoints, a bit flipped", setting.unfinished, both, flip, "is damaged")
    yield tally("cache, one bit flipped", setting.unfinished, ("*.npy",), flip, "is damaged")
    yield tally("record cut", setting.finished, (store.RECORD,), cut, "")
    yield tally("record, one bit flipped", setting.finished, (store.RECORD,), flip, "")
    for name, load in ((store.PREDICTIONS, store.load_predictions), (store.WEIGHTS, store.load_weights)):
        counted = Tally(f"{name}, one bit flipped")
        for _ in range(number):
            place = setting.place(setting.finished)
            (path,) = place.results.rglob(name)
            flip(path)
            counted.judge([] if _refuses(load, path.parent, setting.finished) else ["other numbers are read"])
            shutil.rmtree(place.folder)
        yield counted


def _refuses(load: Callable[[Path, RunRecord], Any], folder: Path, finished: Place) -> bool:
    """Whether reading raises, or what is read is what was written: a flipped bit may be one that means nothing."""
    (whole,) = finished.results.glob("*/*/*")
    try:
        record = store.load_record(whole)
        assert record is not None
        return repr(_plain(load(folder, record))) == repr(_plain(load(whole, record)))
    except Exception:  # noqa: BLE001  any error is one that the user sees
        return True


def _plain(value: Any) -> Any:
    if hasattr(value, "toarray"):
        value = value.toarray()
    if hasattr(value, "tobytes"):
        return value.tobytes()
    if hasattr(value, "__dataclass_fields__"):
        value = vars(value)
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, dict) else value


def exchanged(setting: Setting, number: int) -> Iterator[Tally]:
    """Files of two seeds in each other's place, and the checkpoints of another learning rate."""
    both, note = setting.place(setting.finished), "1 patient with fever"
    ended = both.command(words=[*both.words(), "--seeds", "2,"])
    assert ended.status == 0, ended.err
    readers: dict[str, tuple[list[str], int, str]] = {
        store.PREDICTIONS: (["runs", "--remeasure"], 1, "is not the file that was stored with run"),
        store.WEIGHTS: (["predict", "NOTE", "--run", "RUN"], 2, "is not the file that was stored with run"),
        store.RECORD: (["runs"], 2, "no runs in"),  # each is left out, in the other's folder
    }
    for name, (words, status, said) in readers.items():
        counted = Tally(f"{name} of two runs exchanged")
        for _ in range(number):
            place = setting.place(both)
            (place.folder / "note.txt").write_text(note, encoding="utf-8")
            one, other = sorted(path.parent for path in place.results.rglob(store.RECORD))
            (one / name).rename(place.folder / "moved")
            (other / name).rename(one / name)
            (place.folder / "moved").rename(other / name)
            before = [(folder / store.RECORD).read_bytes() for folder in (one, other)]
            run_id = str(one.relative_to(place.results))
            asked = [{"NOTE": str(place.folder / "note.txt"), "RUN": run_id}.get(word, word) for word in words]
            ended = place.command(words=[*asked, "--results", str(place.results)])
            changed = before != [(folder / store.RECORD).read_bytes() for folder in (one, other)]
            counted.judge(refused(ended, status, said) + ["a record was written"] * changed)
            shutil.rmtree(place.folder)
        yield counted
    rate, counted = Place.new(setting.folder / "another rate"), Tally("checkpoints of other settings")
    words = [*rate.words(), "--set", "train.learning_rate=0.1"]
    killed = rate.command(dying("checkpointing", 3, 0), words)
    assert killed.status == -signal.SIGKILL, killed.err
    for _ in range(number):
        place = setting.place(setting.unfinished)
        for name in (store.CHECKPOINT, store.PREVIOUS):
            (to,), of = place.results.rglob(name), sorted(rate.results.rglob("checkpoint*"))
            shutil.copy(of[0], to)
        counted.judge(setting.finishes(place, "it belongs to"))
        shutil.rmtree(place.folder)
    yield counted


def edited(setting: Setting, number: int) -> Iterator[Tally]:
    """A figure of a record edited: with its digest it is left out and computed again; without one it is marked."""
    for kept, tally in ((True, Tally("record edited")), (False, Tally("record edited, its digest taken out"))):
        for _ in range(number):
            place = setting.place(setting.finished)
            (path,) = place.results.rglob(store.RECORD)
            content = json.loads(path.read_bytes())
            content["metrics"]["test"]["fixed"]["f1_micro"] = setting.dice.random()
            path.write_text(json.dumps(content | ({} if kept else {"digest": ""})), encoding="utf-8")
            if kept:
                tally.judge(setting.finishes(place, "its bytes were altered"))
            else:
                shown = place.command(words=["runs", "--results", str(place.results)])
                tally.judge(["it is not marked"] if "(unsigned)" not in shown.out else [])
            shutil.rmtree(place.folder)
        yield tally


def nan(setting: Setting, number: int) -> Iterator[Tally]:
    """A loss that is not a number at a random step."""
    tally = Tally("loss not a number")
    for _ in range(number):
        at = setting.dice.randrange(1, 30)

        def plant(at: int = at) -> None:
            count = iter(range(1, sys.maxsize))

            whole = objectives.loss

            def loss(*words: Any) -> torch.Tensor:
                value = whole(*words)
                return value * float("nan") if next(count) == at else value

            setattr(objectives, "loss", loss)  # noqa: B010  of another signature

        place = setting.place()
        reasons = refused(place.command(plant), 1, "the loss is nan in epoch", "step", "checkpoint")
        tally.judge(reasons + setting.finishes(place))
        shutil.rmtree(place.folder)
    yield tally


def memory(setting: Setting, number: int) -> Iterator[Tally]:
    """Memory that does not hold a batch: the run goes on with parts of it and its history says so."""
    tally = Tally("memory too small for a batch", note="finishes, recorded")
    for _ in range(number):
        most = setting.dice.randrange(1, 8)

        def plant(most: int = most) -> None:
            whole = objectives.objective_of

            def objective_of(module: Any, batch: Any, *chosen: Any) -> torch.Tensor:
                if len(batch.index_B) > most:
                    raise torch.OutOfMemoryError("out of memory")
                return whole(module, batch, *chosen)

            setattr(training_memory, "objective_of", objective_of)  # noqa: B010

        place = setting.place()
        ended = place.command(plant)
        reasons = [] if ended.status == 0 else [f"exit status {ended.status}: {ended.err[-300:]}"]
        if not reasons:
            (path,) = place.results.rglob(store.RECORD)
            history = json.loads(path.read_text(encoding="utf-8"))["history"]
            reasons += [] if all(epoch.get("split") for epoch in history) else ["not recorded"]
        tally.judge(reasons + traceback_of(ended))
        shutil.rmtree(place.folder)
    yield tally


def vanished(setting: Setting) -> Iterator[Tally]:
    """Data that are gone when a stopped run continues; results that are removed beneath a run."""
    tally = Tally("data vanished")
    for change in (Path.unlink, lambda path: path.chmod(0) if os.geteuid() else path.unlink()):
        place = setting.place(setting.unfinished)
        content = place.notes.read_bytes()
        change(place.notes)
        reasons = refused(place.command(), 2, "notes.csv")
        place.notes.unlink(missing_ok=True)
        place.notes.write_bytes(content)
        tally.judge(reasons + setting.finishes(place))
        shutil.rmtree(place.folder)
    yield tally
    tally = Tally("results removed beneath a run")
    for stage in ("training", "checkpointing", "evaluation", "writing the run"):
        place = setting.place()
        place.command(lambda stage=stage, place=place: around(stage, lambda: shutil.rmtree(place.results, True)))  # type: ignore[misc]
        tally.judge(setting.finishes(place))
        shutil.rmtree(place.folder)
    yield tally


def together(setting: Setting, number: int) -> Iterator[Tally]:
    """Two processes on the same run at once."""
    tally = Tally("two processes on one run")
    for _ in range(number):
        place = setting.place()
        pids = [place.start(), place.start()]
        ended = [place.end(pid) for pid in pids]
        reasons = [f"exit status {each.status}: {each.err[-300:]}" for each in ended if each.status]
        said = sum("process is working on" in each.err for each in ended)  # each may wait for the cache before that
        reasons += [] if said == 1 else [f"{said} of two said that they wait"]
        tally.judge(reasons + setting.finishes(place) + [reason for each in ended for reason in traceback_of(each)])
        shutil.rmtree(place.folder)
    yield tally


def disks(setting: Setting, number: int) -> Iterator[Tally]:
    """A tmpfs too small for the results or the cache, at sizes drawn at random; one that is read-only."""
    whole = sum(path.stat().st_size for path in setting.unfinished.results.rglob("*") if path.is_file())
    for kind in ("results", "cache"):
        tally = Tally(f"disk full: {kind}")
        while tally.injected < number:
            place = setting.place()
            where: Path = getattr(place, kind)
            where.mkdir()
            size = setting.dice.randrange(8, max(12, int(1.4 * whole) // 1024) if kind == "results" else 40)
            if not mount("-t", "tmpfs", "-o", f"size={size}k", "none", str(where)):
                tally.note = "not tried: no right to mount"
                break
            try:
                ended = place.command()
                mount("-o", "remount,size=64m", str(where))
                if ended.status:
                    tally.judge(refused(ended, 2) + setting.finishes(place))
            finally:
                subprocess.run(["umount", "--lazy", str(where)], check=True)
            shutil.rmtree(place.folder)
        yield tally
    tally = Tally("results read-only")
    place = setting.place(setting.unfinished)
    if mount("--bind", str(place.results), str(place.results)):
        try:
            mount("-o", "remount,bind,ro", str(place.results))
            reasons = refused(place.command(), 2, "cannot be written")
            mount("-o", "remount,bind,rw", str(place.results))
            tally.judge(reasons + setting.finishes(place))
        finally:
            subprocess.run(["umount", "--lazy", str(place.results)], check=True)
    else:
        tally.note = "not tried: no right to mount"
    yield tally


def mount(*words: str) -> bool:
    """Whether it could be mounted."""
    return subprocess.run(["mount", *words], check=False, capture_output=True).returncode == 0


# --- Every command that writes ------------------------------------------------------------------------------------------

# What a run and these import when they need it: once in this process, from which all are forked.
LATER = (
    "icdbench.api",
    "icdbench.models.caml",
    "lightning_fabric",
    "gensim.models.word2vec",
    "sklearn.linear_model",
    "captum.attr",
    "matplotlib.figure",
    "wordcloud",
    "pyarrow.parquet",
    "icdbench.presentation.report",
)
# What Python does to files, as its audit hooks are told.
CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "tempfile.mkdtemp"}


def writers(place: Place) -> dict[str, list[str]]:
    """Commands that write, other than `run`, by name, in a place with a finished run."""
    (record,) = place.results.glob(f"*/*/*/{store.RECORD}")
    run_id, notes, out = str(record.parent.relative_to(place.results)), str(place.notes), place.folder / "out"
    out.mkdir(exist_ok=True)
    note = place.folder / "note.txt"
    note.write_text("patient with heart failure on day 1", encoding="utf-8")
    commands = {
        "tune": ["tune", "lr", "--dataset", notes, "--trials", "1"],
        "bundle": ["bundle", run_id, "--out", f"{out}/model.icdbench"],
        "data export": ["data", "export", notes, "--out", f"{out}/exported"],
        "data make": ["data", "make", f"{out}/tables", "--admissions", "120", "--other-notes", "0"],
        "data describe": ["data", "describe", notes, "--set", "data.min_documents=2"],  # encodes anew
        "export": ["export", f"{out}/shared"],
        "report": ["report", "--out", f"{out}/report.html"],
        "explain": ["explain", str(note), "--run", run_id, "--html", f"{out}/note.html", "--cloud", f"{out}/note.svg"],
        "explain --evaluate": ["explain", "--evaluate", "--run", run_id, "--dataset", notes, "--documents", "2"],
    }
    return {
        name: words if words[0] == "data" else [*words, "--results", str(place.results)]
        for name, words in commands.items()
    }


def changing(place: Place, told: Callable[[], object]) -> Callable[[], None]:
    """A plant that calls `told` before each change of a file below the place."""

    def hook(event: str, words: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(words[2], int) and words[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (writes or event in CHANGES) and str(place.folder) in str(words[0]):
            told()

    return lambda: sys.addaudithook(hook)


def dying_at(place: Place, change: int) -> Callable[[], None]:
    """A plant that kills its own process before its so-manieth change of a file."""
    count = iter(range(1, sys.maxsize))
    return changing(place, lambda: os.kill(os.getpid(), signal.SIGKILL) if next(count) == change else None)


@dataclass
class Undisturbed:
    """What a command that writes does: its files with their digests, where these are the same each time, changes and seconds."""

    tree: dict[str, str]
    changes: int
    seconds: float


def undisturbed(setting: Setting, names: Sequence[str]) -> dict[str, Undisturbed]:
    """Two passes of each command."""
    passes: list[dict[str, Undisturbed]] = []
    for number in range(2):
        time.sleep(1.1 * number)  # what is written with the time, in seconds, differs between the passes
        passes.append({name: one_pass(setting, name) for name in names})
    for name in names:
        one, other = (found[name].tree for found in passes)
        assert one.keys() == other.keys(), name
        passes[1][name].tree = {path: one[path] if one[path] == other[path] else "" for path in one}
    return passes[1]


def one_pass(setting: Setting, name: str) -> Undisturbed:
    """A command as it is, with the digests of all its files."""
    place, counted = setting.place(setting.finished), setting.folder / "changes"
    counted.write_text("", encoding="utf-8")
    file = os.open(counted, os.O_WRONLY | os.O_APPEND)
    words, began = writers(place)[name], time.monotonic()
    ended = place.command(changing(place, lambda: os.write(file, b".")), words)
    seconds, changes = time.monotonic() - began, counted.stat().st_size
    os.close(file)
    assert ended.status == 0, ended.err
    tree = place.tree()
    shutil.rmtree(place.folder)
    return Undisturbed(tree, changes, seconds)


def leftovers(setting: Setting, number: int) -> Iterator[Tally]:
    """kill -9 of every command that writes, at a random change of a file or a random time: the next one finds nothing left."""
    names = list(writers(setting.place(setting.finished)))
    whole = undisturbed(setting, names)
    tallies = {name: Tally(f"kill -9: {name}") for name in names}
    attempts = 0
    while (done := sum(tally.injected for tally in tallies.values())) < max(
        number, len(names)
    ) and attempts < 10 * number:
        attempts += 1
        name = names[done % len(names)]
        place = setting.place(setting.finished)
        words, about = writers(place)[name], whole[name]
        if setting.dice.random() < 0.7:
            ended = place.command(dying_at(place, setting.dice.randrange(1, about.changes + 1)), words)
        else:
            pid = place.start(words=words)
            time.sleep(setting.dice.uniform(0, about.seconds))
            os.kill(pid, signal.SIGKILL)
            ended = place.end(pid)
        if ended.status == -signal.SIGKILL:
            tallies[name].judge(orphans(place) + rewritten(place, words, about))
        shutil.rmtree(place.folder)
    yield from tallies.values()


def orphans(place: Place) -> list[str]:
    """Reasons, if processes that a killed one had begun live on."""
    until = time.monotonic() + 20
    while (found := place.processes()) and time.monotonic() < until:
        time.sleep(0.05)
    return [f"processes live on: {found}"] if found else []


def rewritten(place: Place, words: Sequence[str], about: Undisturbed) -> list[str]:
    """Reasons why the command, given again, does not leave what it leaves undisturbed, and nothing else."""
    again = place.command(words=words)
    complete = again.status == 2 and ("is there already" in again.err or "is not empty" in again.err)
    reasons = [] if again.status == 0 or complete else [f"exit status {again.status}: {again.err.strip()[-300:]}"]
    found = place.tree()
    reasons += [f"left behind: {path}" for path in sorted(found.keys() - about.tree.keys())]
    reasons += [f"missing: {path}" for path in sorted(about.tree.keys() - found.keys())]
    reasons += [
        f"other bytes: {path}" for path in found.keys() & about.tree.keys() if about.tree[path] not in {"", found[path]}
    ]
    reasons += [f"left behind: {path}" for path in place.folder.rglob(".icdbench-*")]
    return reasons + traceback_of(again)


def hangups(setting: Setting, number: int) -> Iterator[Tally]:
    """SIGHUP, as of a terminal that is closed, at random instants of all stages in turn."""
    tally, stages = Tally("SIGHUP"), list(STAGES)
    for count in range(max(number, len(stages))):
        stage = stages[count % len(stages)]
        passes = setting.dice.randrange(len(setting.seconds[stage]))
        delay = setting.dice.uniform(0, setting.seconds[stage][passes])
        place = setting.place()
        ended = place.command(dying(stage, passes + 1, delay, signal.SIGHUP))
        reasons = [] if ended.status in {0, 129, 130} else [f"exit status {ended.status}: {ended.err[-300:]}"]
        reasons += [f"left behind: {path}" for path in place.folder.rglob(".icdbench-*")]
        if ended.status == 130 and not list(place.results.rglob(store.CHECKPOINT)):
            reasons.append("no checkpoint was written")
        tally.judge(reasons + traceback_of(ended) + setting.finishes(place))
        shutil.rmtree(place.folder)
    yield tally


# --- The whole -------------------------------------------------------------------------------------------------------


def remember() -> None:
    """Import, and compute, once in this process, and so in none forked from it, what takes most of the time of a command."""
    for name in LATER:
        importlib.import_module(name)
    for module, name in (
        (typer.main, "get_command"),
        (importlib.metadata, "entry_points"),
        (importlib.metadata, "version"),
        (provenance, "commit"),
    ):
        setattr(module, name, functools.cache(getattr(module, name)))
    provenance.commit()
    registry.entries()
    datasets.scan()
    sys.argv = ["icdbench", "models", MODEL]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        cli.main()
    optuna.logging.disable_default_handler()
    optuna.create_study(storage="sqlite://")
    mock.patch.object(os, "fsync").start()  # what a killed process has written is there


def prepared(folder: Path, seed: int) -> Setting:
    """Two undisturbed runs, which must be equal; the second is timed."""
    remember()
    finished, timed = Place.new(folder / "finished"), Place.new(folder / "timed")
    ended = finished.command()
    assert ended.status == 0, ended.err
    ended = timed.command(timing(folder / "seconds"))
    assert ended.status == 0, ended.err
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for line in (folder / "seconds").read_text(encoding="utf-8").splitlines():
        stage, each = json.loads(line)
        seconds[stage].append(each)
    assert finished.outcome() == timed.outcome()
    unfinished = Place.new(folder / "unfinished")
    checkpoints = len(seconds["checkpointing"])
    assert unfinished.command(dying("checkpointing", checkpoints - 1, 0)).status == -signal.SIGKILL
    dice = random.Random(seed)  # noqa: S311
    return Setting(folder, dice, finished.outcome(), seconds, unfinished, finished)


def experiments(number: int, damaged: int, few: int) -> list[Callable[[Setting], Iterator[Tally]]]:
    """All of them."""
    return [
        lambda setting: kills(setting, number),
        lambda setting: leftovers(setting, number),
        lambda setting: hangups(setting, few),
        lambda setting: damages(setting, damaged),
        lambda setting: exchanged(setting, few),
        lambda setting: edited(setting, few),
        lambda setting: nan(setting, few),
        lambda setting: memory(setting, few),
        vanished,
        lambda setting: together(setting, few),
        lambda setting: disks(setting, few),
    ]


def main() -> None:
    """Print the table; exit status 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--damages", type=int, default=50, help="of each kind of damaged file")
    parser.add_argument("--few", type=int, default=5, help="of each other fault")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lost: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        setting = prepared(Path(folder), asked.seed)
        print("| fault | injected | survived | lost | |\n|:--|--:|--:|--:|:--|")
        for experiment in experiments(asked.kills, asked.damages, asked.few):
            for tally in experiment(setting):
                survived = tally.injected - len(tally.lost)
                line = f"| {tally.kind} | {tally.injected} | {survived} | {len(tally.lost)} | {tally.note} |"
                print(line, flush=True)
                for reason in tally.lost:
                    print(f"lost: {tally.kind}: {reason}", file=sys.stderr, flush=True)
                lost[tally.kind] += len(tally.lost)
    sys.exit(1 if lost.total() else 0)


if __name__ == "__main__":
    main()
