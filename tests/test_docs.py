"""Every command printed in README.md and docs/ runs: as it stands there, but for names of data and how long it trains.

A command is a line of a code block that calls icdbench. New ones are found by being there; one that cannot run on every
machine stands in NOT_RUN, with the reason, and its options must still exist.
"""

from __future__ import annotations

import ast
import io
import itertools
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import encoders
import pytest
from conftest import Call
from finished import TABLES, run_of
from markdown_it import MarkdownIt
from mimic import SUMMARY, small, write_mdace
from places import ROOT

from icdbench.cli import options
from icdbench.data import source
from icdbench.evaluation import bootstrap
from icdbench.presentation import tables
from icdbench.records import store

pytestmark = pytest.mark.slow

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What a command says, and the reason why it is not run.
NOT_RUN = {
    "--launcher ray": "starts a Ray cluster, as tests/experiments/test_launch.py does",
    "--nodes 2": "needs a cluster",
    "--devices 4": "needs four devices; tests/training/test_devices.py has processes of one",
    "duallaat.icdbench": "needs a run of duallaat, as tests/inference/test_other_codes.py has one",
    "--reference stacked": "needs runs of it and its variants, as tests/evaluation/test_compare.py has of others",
    "--track": "needs the extra, as tests/experiments/test_tracking.py does",
    "--to onnx": "needs the extra, as tests/inference/test_onnx.py does",
    "torchrun": "starts processes, as tests/training/test_devices.py does",
}
# What stands for a reader's own names, and for data that not every machine has.
NAMES = {
    "codiesp-d50": "notes.csv",
    "codiesp-d": "notes.csv",
    "NAME": "notes.csv",
    "mimic50": "mimic50",
    "FOLDER": "exported",
    "FILE.html": "mine.html",
    "more.csv": "notes.csv",
    "A": "results",
    "B": "theirs",
    "theirs": "theirs",
    "results/explain": "results",
}
# Options whose values decide how long a command takes.
SHORT = {"--seeds": "1,", "--jobs": "1", "--trials": "1", "--admissions": "60", "--documents": "2"}
TINY = {
    "train.max_epochs": "1",
    "data.embeddings": "random",
    "data.min_documents": "1",
    "data.max_tokens": "30",
    "data.code_system": "icd9cm",
}
STORED = {
    "tables",
    "figures",
    "report",
    "export",
    "blend",
}  # read runs: the committed ones, in which their data sets are
FOUND = {("data", "check")}  # status 2 says that something is wrong with the data


def blocks(page: Path, *kinds: str) -> list[Any]:
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    return [token for token in tokens if token.type in kinds]


def lines(page: Path) -> list[str]:
    """The lines of the page's code blocks, without comments; of a line of several commands each."""
    found = [line for block in blocks(page, "fence", "code_block") for line in block.content.splitlines()]
    return [part.strip() for line in found for part in re.split(r"\s#\s|&&", line)[:1] + line.split("&&")[1:]]


def commands() -> list[str]:
    """Each once, from its words on after `icdbench`."""
    calls = [(line, re.search(r"(?:^|[\s/])icdbench\s+(.*)$", line)) for page in PAGES for line in lines(page)]
    shown = [line if "torchrun" in line else call[1].strip() for line, call in calls if call and "pip" not in line]
    return list(dict.fromkeys(shown))


def reason(command: str) -> str:
    return next((why for words, why in NOT_RUN.items() if words in command), "")


def words_of(command: str, folder: Path) -> list[str]:
    """The words to run: of the shell's syntax a redirection is left out, for names stand small data."""
    words = shlex.split(command.partition(" > ")[0])
    place = words.index("icdbench") + 1 if "icdbench" in words else 0
    words = [NAMES.get(word, word) for word in words[place:]]
    for number, (option, value) in enumerate(itertools.pairwise(words)):
        if option in SHORT:
            words[number + 1] = SHORT[option]
        elif folder != Path() and (option == "--run" or (words[0] in {"bundle", "show", "delete"} and number == 0)):
            words[number + 1] = run_of(folder, "jlan" if "jlan" in value or value == "OTHER" else "caml")
        elif option == "--code":
            words[number + 1] = "428.0"
        elif option == "--storage":
            words[number + 1] = f"sqlite:///{folder}/trials.db"
        elif option == "--set" and value.startswith("train.max_epochs="):
            words[number + 1] = "train.max_epochs=1"
        elif option == "--data":
            words[number + 1] = TABLES if "synth50" in words else "DIR"
    if words[:2] == ["data", "make"]:
        words[2:] = ["made", *words[3:], "--other-notes", "1"]
    if words[0] in {"run", "ablate", "tune"}:
        words += [] if {"--dataset", "--benchmark"} & set(words) else ["--dataset", "notes.csv"]
        given = {word.partition("=")[0] for word in words} | (set() if "notes.csv" in words else {"data.code_system"})
        words += [word for key, value in TINY.items() if key not in given for word in ("--set", f"{key}={value}")]
        words += ["--device", "cpu"]
    return words


@contextmanager
def no_waiting(serving: Any, **_: object) -> Iterator[None]:
    """A page that is served is asked for nothing, and ends."""
    with serving as (url, _wait):
        assert url.startswith("http://127.0.0.1:")
        yield


@pytest.fixture
def desk(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the commands name."""
    (finished / "notes").mkdir()
    (finished / "notes" / "one.txt").write_text((finished / "note.txt").read_text())
    (finished / "gpt.csv").write_text("id,codes\n" + "".join(f"{number},038.9\n" for number in range(30, 40)))
    record = store.read_record(finished / "results" / run_of(finished, "caml"))
    (finished / "run.yaml").write_text(tables.config(record))
    (finished / "vectors.bin").write_text(f"1 100\nfever{' 0.5' * 100}\n")
    (finished / "synonyms.csv").write_text("code,synonym\n428.0,CCF\n038.9,Blood poisoning\n")
    (finished / "encoder").symlink_to(encoders.folder())
    (finished / "DIR").mkdir()
    small().write(finished / "DIR" / "mimic3")
    marked = {hadm: [(hadm - 101, SUMMARY, [(0, 6, "401.9", "ICD-9-CM")])] for hadm in (104, 105)}
    write_mdace(finished / "DIR", marked, {"train": [101, 102, 103], "val": [104], "test": [105]})
    for place, systems in (
        ("ours", ("caml", "jlan", "lr", "leam", "msatt-kg@no-graph", "stacked@titles")),
        ("theirs", ("caml", "cnn")),
    ):
        (finished / place / "codiesp-d50").mkdir(parents=True)
        for system in systems:
            (finished / place / "codiesp-d50" / system).symlink_to(ROOT / "results" / "codiesp-d50" / system)
    monkeypatch.setenv("ICDBENCH_DATA", str(finished / "DIR"))
    table = next(
        block.content for block in blocks(ROOT / "docs" / "tables.md", "fence") if "BENCHMARK" in block.content
    )
    for name in ("linear.py", "my_table.py"):
        (finished / name).write_text(table.replace('"demo"', '"notes.csv"'), encoding="utf-8")
    model = next(block.content for block in blocks(ROOT / "docs" / "api.md", "fence") if "@register" in block.content)
    model = model.replace('"average"', '"average_of_the_docs"')  # other tests of this process register the same example
    (finished / "my_model.py").write_text(model, encoding="utf-8")
    monkeypatch.setattr(options, "until_stopped", lambda serving, **_: no_waiting(serving).__enter__())
    for name in source.DOWNLOADS:
        monkeypatch.setitem(source.DOWNLOADS, name, lambda _: "nothing was downloaded")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"fever")))
    monkeypatch.setattr(bootstrap, "enough", lambda _: 200)  # tables are not read here
    return finished


@pytest.mark.parametrize("command", [command for command in commands() if not reason(command)])
def test_a_command_of_the_docs_runs(command: str, desk: Path, icdbench: Call) -> None:
    words = words_of(command, desk)
    if words[0] in STORED and not {"notes.csv", "--document-ids"} & set(words):
        (desk / "results").rename(desk / "mine")
        (desk / "ours").rename(desk / "results")
    status, out, err = icdbench(*words)
    assert status in ({0, 2} if tuple(words[:2]) in FOUND else {0}), err
    assert "Traceback" not in err
    assert out or words[0] in {"serve", "report"} or "--html" in words, "nothing was printed"


@pytest.mark.parametrize("command", [command for command in commands() if reason(command)])
def test_a_command_that_is_not_run_has_only_options_that_exist(command: str, icdbench: Call) -> None:
    words = words_of(command, Path())
    _, usage, _ = icdbench(words[0], "--help")
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z][a-z-]*", usage))


def test_each_reason_has_its_command() -> None:
    assert {words for words in NOT_RUN if not any(words in command for command in commands())} == set()
    assert len(commands()) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_and_extras_that_the_docs_name_exist(page: Path) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for line in lines(page):
        for extra in re.findall(r"icdbench\[([a-z]+)\]", line):
            assert re.search(rf"(?m)^{extra} = ", project), line
        if script := re.search(r"\bpython3? ([a-z/_]+\.py)(.*)", line):
            code = (ROOT / script[1]).read_text(encoding="utf-8")
            for option in re.findall(r"--[a-z][a-z-]*", script[2]):
                assert option.removeprefix("--") in code, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_docs_names_what_there_is(page: Path) -> None:
    """Each block parses, and what it imports of icdbench exists."""
    for block in blocks(page, "fence"):
        if block.info == "python":
            tree = ast.parse(block.content)
            imported = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
            exec("\n".join(imported), {})  # noqa: S102
