"""What a table marks as not to be told from the best: against `icdbench compare`, and where nothing can be said."""

from __future__ import annotations

import csv
import functools
import io
from pathlib import Path

import pytest
from conftest import Call
from places import ROOT
from runs import hash_of, stored

from icdbench.evaluation import compare, drawn
from icdbench.evaluation.bootstrap import SIGNIFICANT, holm
from icdbench.presentation import tables
from icdbench.presentation.cells import SystemRow, systems_in
from icdbench.presentation.formats import Cell
from icdbench.presentation.layouts import columns_for
from icdbench.presentation.standing import marked
from icdbench.records import store

pytestmark = pytest.mark.slow

COMMITTED = ROOT / "results"
NOTE = "≈ cannot be told from the best of its column (bold): p of at least 0.05 by the paired bootstrap of"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """jlan and caml, of almost the same skill, with three seeds; lr far behind; each seed with its own noise."""
    for model, skill in (("jlan", 0.9), ("caml", 0.85), ("lr", 0.1)):
        for seed in (1, 2, 3):
            stored(tmp_path, model, seed, skill)
    return tmp_path


def shown(results: Path, *, fmt: str = "md") -> str:
    return tables.comparison(store.load_records(results), fmt, results=[results])


@pytest.mark.slow
def test_the_marks_are_those_of_compare() -> None:
    """On the committed runs: each system against the best of a column, as `icdbench compare` has it."""
    names = ["jlan", "keywords", "laat", "lr", "lr@tfidf", "msatt-kg"]
    records = [r for r in store.load_records(COMMITTED) if r.spec.dataset == "codiesp-d50" and r.spec.system in names]
    columns = columns_for(50)
    systems, _ = marked(systems_in(records, columns), columns, [COMMITTED])
    assert [system.label for system in systems] == sorted(names)

    @functools.cache
    def compared(best: str, rule: str) -> list[compare.Comparison]:
        return compare.against(COMMITTED, [best, *(name for name in names if name != best)], "codiesp-d50", rule=rule)

    seen = set()
    for position, (_, rule, key) in enumerate(columns):
        cells = {system.label: cell for system in systems if isinstance(cell := system.cells[position], Cell)}
        best = next(label for label, cell in cells.items() if cell.best)
        others = [name for name in names if name != best]
        p_values = [each.differences[key].p for each in compared(best, rule)]
        adjusted = dict(zip(others, holm(p_values), strict=True))
        tied = {name for name, p in adjusted.items() if p >= SIGNIFICANT}
        assert {label for label, cell in cells.items() if cell.tied} == tied, key
        seen |= {len(tied)}
    assert len(seen) > 1, "columns differ, so that the test can fail"


def test_a_mark_and_what_it_covers_are_printed(results: Path) -> None:
    text = shown(results)
    line = next(line for line in text.splitlines() if line.startswith("| caml"))
    assert " ≈" in line
    assert "≈" not in next(line for line in text.splitlines() if line.startswith("| lr"))
    assert f"- {NOTE} test documents and seeds, corrected for its comparisons (Holm).\n" in text
    first = {row["system"].split(" ")[0]: row for row in csv.DictReader(io.StringIO(shown(results, fmt="csv")))}
    assert (first["caml"]["P@5 ≈"], first["lr"]["P@5 ≈"], first["jlan"]["P@5 ≈"]) == ("≈", "", "")
    assert float(first["caml"]["P@5"]) > 0
    assert float(first["caml"]["P@5 sd"]) > 0
    assert r"$\approx$" in shown(results, fmt="latex")
    assert "≈" not in shown(results, fmt="latex")
    assert "≈" in shown(results, fmt="html")
    assert shown(results) == text


def test_one_seed_covers_documents_alone(results: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    stored(results, "cnn")
    assert (
        "test documents and seeds, corrected for its comparisons (Holm); documents alone for cnn, with one seed."
        in shown(results)
    )
    single = tmp_path_factory.mktemp("single")
    for model in ("jlan", "caml"):
        stored(single, model)
    assert f"{NOTE} test documents, one seed each, corrected" in shown(single)


def test_without_predictions_nothing_is_marked_and_a_note_says_so(results: Path) -> None:
    for path in results.glob("*/caml/*/predictions.npz"):
        path.unlink()
    text = shown(results)
    assert "Not tested: caml: predictions are not stored." in text
    assert "≈" not in next(line for line in text.splitlines() if line.startswith("| caml"))
    for path in results.glob("*/*/*/predictions.npz"):
        path.unlink()
    text = shown(results)
    assert "≈" not in text
    assert "- What cannot be told from the best is not marked: predictions are not stored.\n" in text
    alone = tables.comparison(store.load_records(results))
    assert "cannot be told" not in alone, "no folder was named"


def test_one_seed_without_predictions_is_no_system_of_the_others(results: Path) -> None:
    next(results.glob("*/caml/2-*/predictions.npz")).unlink()
    assert "Not tested: caml: predictions are not stored." in shown(results)


def test_a_large_test_split_is_left_to_compare(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "MOST_CELLS", 40 * 8 * 1000 - 1)
    text = shown(results)
    assert "is not marked: the test split is too large to be drawn for a table" in text
    assert "≈" not in text


def test_other_gold_codes_and_damaged_files_are_not_tested(results: Path) -> None:
    stored(results, "leam", gold=1)
    place = next(results.glob("*/lr/1-*")) / store.PREDICTIONS
    place.write_bytes(place.read_bytes()[:200])
    text = shown(results)
    assert "Not tested: leam: gold codes differ." in text
    assert "Not tested: lr: predictions are damaged." in text


def test_many_systems_are_drawn_so_often_that_some_can_be_told_apart(tmp_path: Path) -> None:
    """Of 27 systems the best is far ahead: with 1,000 resamples no corrected p-value could be below .05."""
    names = [f"m{number}" for number in range(26)]
    assert len({hash_of(name) for name in names}) > 1
    for name in ("best", *names):
        stored(tmp_path, name, skill=2.0 if name == "best" else 0.1)
    rows = [
        SystemRow(record.spec.system, [record], [Cell(1, best=record.spec.system == "best")])
        for record in store.load_records(tmp_path, complete=False)
    ]
    found, _ = marked(rows, [("P@5", "fixed", "p@5")], [tmp_path])
    assert not any(cell.tied for row in found for cell in row.cells if isinstance(cell, Cell))


def test_the_command_and_python_mark(icdbench: Call, results: Path) -> None:
    import icdbench as suite

    status, out, err = icdbench("tables", "table5", "--results", results)
    assert (status, err) == (0, "")
    assert "≈" in out
    assert "≈" in suite.results(results).table().text("md")
