"""Own runs as a leaderboard's file, by the rules that the leaderboard's own test of its files has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Call
from runs import RECORDS, keep, record

from icdbench.presentation.leaderboard import opencodepapers
from icdbench.settings import SpecError

ADDRESS = re.compile(r"https?://([a-zA-Z0-9-]+\.)+[a-zA-Z]{2,}(/.*)?")


def assert_accepted(board: dict[str, Any]) -> None:
    """What OpenCodePapers asks of a file: tests/test_benchmark_files.py of its repository, October 2026."""
    assert re.fullmatch("[a-z0-9-]+", board["title"])
    assert isinstance(board["dataset-info"]["link"], str)
    assert all(isinstance(each, str) for each in board["task-hierarchy"])
    keys = [field["key"] for field in board["benchmark"]["fields"]]
    assert {"p", "c", "n", "d"} < set(keys)
    for item in board["benchmark"]["items"]:
        assert {"p", "c", "n", "d"} < item.keys() <= set(keys)
        assert item["p"] == "" or (item["p"]["name"] and ADDRESS.fullmatch(item["p"]["link"]))
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", item["d"])
        assert all(re.fullmatch(r"\d+\.\d", item[key]) for key in item if key.startswith("m"))


def test_the_committed_runs_are_a_leaderboard() -> None:
    (board,) = opencodepapers([each for each in RECORDS if not each.spec.data.spans])
    assert_accepted(board)
    assert board["title"] == "medical-code-prediction-on-codiesp-d50"
    assert board["dataset-info"]["link"] == "https://doi.org/10.5281/zenodo.3837305"
    labels = {field["key"]: field["label"] for field in board["benchmark"]["fields"]}
    assert labels["m1"] == "Micro-F1"
    assert "Precision@8" in labels.values()
    items = {item["n"]: item for item in board["benchmark"]["items"]}
    assert next(iter(items)) == "stacked@titles (icdbench)"
    assert items["stacked (icdbench)"]["m1"] == "82.5"  # as in README
    assert items["caml (icdbench)"]["p"] == {
        "name": "Mullenbach et al., NAACL 2018",
        "link": "https://arxiv.org/abs/1802.05695",
    }
    assert items["lr@l1 (icdbench)"]["p"]
    assert items["stacked (icdbench)"]["p"] == ""


def test_other_data_are_other_leaderboards_and_collapsed_figures_none() -> None:
    runs = [
        record("caml", dataset="mimic-full"),
        record("jlan", value=0.7, fingerprint="f" * 16),
        record("lr", fingerprint="f" * 16, num_codes=49),  # another task on the same raw data
        record("jlan", fingerprint="e" * 16, collapse={"fixed": "all equal"}),
    ]
    boards = {
        board["title"]: board
        for board in opencodepapers([each.model_copy(update={"created": "2026-11-29T10"}) for each in runs])
    }
    for board in boards.values():
        assert_accepted(board)
    of_codiesp = "medical-code-prediction-on-codiesp-d50"
    assert set(boards) == {
        "medical-code-prediction-on-mimic-iii",
        f"{of_codiesp}-{'f' * 16}",
        f"{of_codiesp}-{'f' * 16}-2",
        f"{of_codiesp}-{'e' * 16}",
    }
    (item,) = boards[f"{of_codiesp}-{'f' * 16}"]["benchmark"]["items"]
    assert item["m1"] == "70.0"
    with pytest.raises(SpecError, match="no stored runs"):
        opencodepapers([])


def test_the_command_prints_the_runs_of_a_table(icdbench: Call, tmp_path: Path) -> None:
    keep([record("caml"), record("jlan"), record("jlan", dataset="demo", synthetic=True)], tmp_path / "results")
    (tmp_path / "mine.py").write_text(
        "from icdbench.spec import Benchmark\n"
        'MINE = Benchmark(name="mine", title="Mine", dataset="codiesp-d50", models=("caml",), metrics=(("F1", "f1_micro"),))\n'
    )
    status, out, _ = icdbench("tables", "mine.py", "--format", "opencodepapers")
    assert status == 0
    assert [item["n"] for item in json.loads(out)["benchmark"]["items"]] == ["caml (icdbench)"]
    status, out, _ = icdbench("tables", "--format", "opencodepapers")
    assert (status, len(json.loads(out))) == (0, 2)
    status, _, err = icdbench("tables", "--literature", "--format", "opencodepapers")
    assert status == 2
    assert "shows only own runs" in err
