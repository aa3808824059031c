"""Fixtures that several files share. Every test has caches and data folders of its own."""

from __future__ import annotations

import contextlib
import csv
import functools
import gc
import importlib.metadata
import itertools
import os
import re
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import finished as finished_runs
import numpy as np
import pytest
import sqlalchemy
import systems
import torch
import typer.main

from icdbench import registry
from icdbench.cli import main as cli
from icdbench.nn import pooled
from icdbench.records import provenance
from icdbench.synthetic import documents

# For the commands that tests start: two processes of two threads each are many times as slow on two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")  # threads that fit seven codes wait longer than they compute
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of these commands compiles the library anew,
sys.dont_write_bytecode = False  # and each process of -n all tests
os.environ.setdefault("ICDBENCH_FLOORS", "0")  # only the systems that a test names

# A suite that is started in the background, or under nohup, ignores these, and so would the commands that it starts, which
# some tests send them. What is handled here is reset to the default there.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)

# Lightning asks what all installed packages declare whenever it chooses a device. Test modules import it, so not in a fixture.
mock.patch("importlib.metadata.entry_points", functools.cache(importlib.metadata.entry_points)).start()

Call = Callable[..., tuple[int, str, str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is not marked as slow is quick."""
    for item in items:
        if item.get_closest_marker("slow") is None:
            item.add_marker("quick")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m quick` does not even import a module all of whose tests are slow."""
    if config.option.markexpr != "quick" or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text(encoding="utf-8")
    return re.search(r"^pytestmark = \[?\s*pytest\.mark\.slow\b", text, re.MULTILINE) is not None or None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What was imported stays to the end: garbage, the search for which took 7 % of the tests' time, is not looked for in it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000)  # of new objects
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Slow tests run without coverage's tracer, which takes two fifths of the time of a traced test, but for the counted."""
    tracer = sys.gettrace()
    if tracer is None or item.get_closest_marker("slow") is None or item.get_closest_marker("counted") is not None:
        return (yield)
    of_threads = threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)
        threading.settrace(of_threads)


@pytest.fixture(autouse=True)
def _no_models_of_other_tests() -> Iterator[None]:
    """Models that a test registers from a user's file are forgotten at its end."""
    last = next(reversed(sys.modules))
    yield
    for name in [name for name, entry in registry._ENTRIES.items() if entry.source]:
        del registry._ENTRIES[name]
    if next(reversed(sys.modules)) != last:
        for name in [name for name in sys.modules if name.startswith("icdbench_user_file_")]:
            del sys.modules[name]


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all processes of a session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # each process of -n has a folder below it


@pytest.fixture(autouse=True, scope="session")
def _models_are_fitted_once(session_folder: Path) -> Iterator[None]:
    with mock.patch.object(systems, "shared", session_folder):
        yield


@pytest.fixture
def shared_cache(session_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of something else than preparation: what another test prepared is not prepared again."""
    monkeypatch.setenv("ICDBENCH_CACHE", str(session_folder / "cache"))


NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _own_folders(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A cache in the test's folder; where it has none, which takes longer than many a test, one that is made when used."""
    monkeypatch.delenv("ICDBENCH_DATA", raising=False)
    if "tmp_path" in request.fixturenames:
        monkeypatch.setenv("ICDBENCH_CACHE", str(request.getfixturevalue("tmp_path") / "cache"))
        yield
    else:
        cache = tmp_path_factory.getbasetemp() / f"cache-{next(NUMBERS)}"
        monkeypatch.setenv("ICDBENCH_CACHE", str(cache))
        yield
        if cache.exists():
            shutil.rmtree(cache)


@pytest.fixture(autouse=True, scope="session")
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """What tests write need not survive a power failure."""

    def relax(connection: Any, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", relax)
    with mock.patch.object(os, "fsync", return_value=None):
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", relax)


@pytest.fixture(autouse=True, scope="session")
def _a_few_trees() -> Iterator[None]:
    """What is boosted takes half of the time of `stacked`, whatever the number of documents."""
    with mock.patch.object(pooled, "TREES", 15):
        yield


ANSWERS = (
    (typer.main, "get_command"),
    (importlib.metadata, "version"),
    (provenance, "commit"),
    (documents, "document_with_evidence"),
)


@pytest.fixture(autouse=True, scope="session")
def _what_stays_the_same_is_computed_once() -> Iterator[None]:
    """Per process: these take half of the time of a command on a few documents, or on the demo data."""
    with contextlib.ExitStack() as stack:
        for module, name in ANSWERS:
            stack.enter_context(mock.patch.object(module, name, functools.cache(getattr(module, name))))
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small models run fastest, and reproducibly, on one thread."""
    torch.set_num_threads(1)


@pytest.fixture
def icdbench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Runs a command in an empty folder; its exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["icdbench", *map(str, words)])
        capsys.readouterr()
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 0
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """60 own documents whose codes can be read off their words, with splits."""
    generator = np.random.default_rng(0)
    words = {"038.9": "sepsis fever", "428.0": "heart failure edema", "0250": "diabetes insulin"}
    path = tmp_path / "notes.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "codes", "split"])
        for number in range(60):
            codes = [code for code in words if generator.random() < 0.5] or ["038.9"]
            text = " ".join(["the patient was admitted", *(words[code] for code in codes), "and went home"])
            split = "train" if number < 40 else "validation" if number < 50 else "test"
            writer.writerow([number, text, ";".join(codes), split])
    return path


@pytest.fixture
def few_notes(tmp_path: Path) -> Path:
    """40 own documents with splits, whose codes are words of theirs."""
    return finished_runs.write_notes(tmp_path / "notes.csv")


@pytest.fixture
def finished(tmp_path: Path, session_folder: Path) -> Path:
    """The test's folder with notes.csv, note.txt, caml.icdbench and finished runs of caml, jlan and lr in results/."""
    shared = finished_runs.once(session_folder / "finished", finished_runs.train)
    return Path(shutil.copytree(shared, tmp_path, dirs_exist_ok=True))


@pytest.fixture
def synthetic_tables(session_folder: Path) -> Path:
    """A folder with synthetic MIMIC tables of 60 admissions, which no test changes."""
    return finished_runs.once(session_folder / finished_runs.TABLES, finished_runs.synthetic)
