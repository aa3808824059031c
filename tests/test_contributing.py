"""The examples of CONTRIBUTING.md are files that work: a model, a data set, a table, each added from its one file."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Call
from markdown_it import MarkdownIt
from places import ROOT

from icdbench import models, registry
from icdbench.data import datasets, source
from icdbench.records import store

pytestmark = pytest.mark.slow

MOST_LINES = 20  # of an example
SECTIONS = {"Add a model": "average", "Add a data set": "letters", "Add a table or a figure": "mine"}


def examples() -> dict[str, str]:
    """The Python block of each section that has one, by the section's heading."""
    found, heading = {}, ""
    tokens = MarkdownIt("commonmark").parse((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    for before, token in itertools.pairwise(tokens):
        if before.type == "heading_open":
            heading = token.content
        elif token.type == "fence" and token.info == "python":
            assert heading not in found, heading
            found[heading] = token.content
    return found


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with each example as a file: the model as one of models/, the data set and the table as a user's own."""
    registry.entries()
    datasets.scan()
    before = dict(registry._ENTRIES), dict(source.SOURCES)
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path / "models")])
    for place, heading in (("models", "Add a model"), (".", "Add a data set"), (".", "Add a table or a figure")):
        (tmp_path / place / f"{SECTIONS[heading]}.py").write_text(examples()[heading], encoding="utf-8")
    splits = ["train"] * 8 + ["validation", "test"]
    lines = [f"{number}\t{split}\tR50.9\thas fever" for number, split in enumerate(splits)]
    (tmp_path / "letters.tsv").write_text("\n".join(lines), encoding="utf-8")
    yield tmp_path
    sys.modules.pop("icdbench.models.average", None)
    registry._ENTRIES.clear()
    registry._ENTRIES.update(before[0])
    source.SOURCES.clear()
    source.SOURCES.update(before[1])
    datasets._user_file.cache_clear()


def test_each_example_is_short() -> None:
    found = examples()
    assert found.keys() == SECTIONS.keys()
    assert max(text.count("\n") for text in found.values()) <= MOST_LINES


def test_the_model_trains_on_the_data_set(written: Path, icdbench: Call) -> None:
    words = ("--set", "train.max_epochs=2", "--set", "data.embeddings=random", "--set", "average.embedding_size=8")
    status, out, err = icdbench("run", "--models", "average,lr", "--dataset", "./letters.py", "--data", written, *words)
    assert status == 0, err
    assert "| average" in out
    assert {record.spec.system for record in store.load_records(written / "results")} == {"average", "lr"}
    assert "average" in icdbench("models")[1]


def test_the_table_is_printed(written: Path, icdbench: Call) -> None:
    status, out, err = icdbench("run", "--benchmark", written / "mine.py", "--set", "data.embeddings=random")
    assert status == 0, err
    assert "| lr@tfidf" in out
