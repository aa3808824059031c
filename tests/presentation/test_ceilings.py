"""The ceilings below tables: the most that a ranking can reach, given the gold codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from runs import printed_table, record
from scipy.sparse import csr_matrix

from icdbench.evaluation import measure
from icdbench.presentation import catalog, tables
from icdbench.records import store
from icdbench.spec import Benchmark

RESULTS = ROOT / "results"
LINE = "Ceilings, given the gold codes of the test documents: P@5 56.2, R@5 85.6; no ranking can exceed them."


def test_ceilings_by_hand() -> None:
    """Three documents with 2, 0 and 6 of 7 codes; the second has a code that training never shows, and no other."""
    labels = csr_matrix(np.array([[0, 1, 0, 0, 0, 0, 1], [0] * 7, [1, 1, 1, 1, 1, 1, 0]]))
    found = measure.ceilings(labels, np.array([0, 1, 0]))
    assert found["p@5"] == pytest.approx((2 / 5 + 0 + 1) / 3)
    assert found["p@8"] == pytest.approx((2 / 7 + 0 + 6 / 7) / 3)
    assert found["r@5"] == pytest.approx((1 + 0 + 5 / 6) / 3)
    assert found["r@8"] == pytest.approx(2 / 3)
    assert found["map"] == pytest.approx(2 / 3)


def test_every_kind_of_comparison_table_states_them() -> None:
    records = [record("lr"), record("caml")]
    mine = Benchmark(
        name="mine",
        title="Mine",
        dataset="codiesp-d50",
        models=("lr", "caml"),
        metrics=(("P@5", "p@5"), ("R@5", "r@5")),
    )
    shown = [
        tables.comparison(records),
        printed_table(mine, records),
        printed_table(catalog.chosen("table5")[0], records),
    ]
    assert [LINE in text for text in shown] == [True] * 3


def test_only_columns_of_the_table_are_named() -> None:
    mine = Benchmark(
        name="mine", title="Mine", dataset="codiesp-d50", models=("lr",), metrics=(("F1", "f1_micro"), ("R@5", "r@5"))
    )
    assert "test documents: R@5 85.6; no ranking" in printed_table(mine, [record("lr")])
    mine = mine.model_copy(update={"metrics": (("F1", "f1_micro"), ("MAP", "map"))})  # a MAP of 1 is no news
    assert "Ceilings" not in printed_table(mine, [record("lr")])


@pytest.mark.slow
def test_committed_runs_have_them_though_their_records_do_not() -> None:
    stored = [each for each in store.load_records(RESULTS) if each.spec.dataset == "codiesp-d50"]
    older = [each for each in stored if not each.ceilings]
    assert older
    assert LINE in tables.comparison(measure.with_ceilings(older, [RESULTS]))
    assert LINE in tables.comparison(measure.with_ceilings(stored, [RESULTS]))


def test_without_predictions_nothing_is_said(tmp_path: Path) -> None:
    bare = record("lr").model_copy(update={"ceilings": {}})
    assert measure.with_ceilings([bare], [tmp_path]) == [bare]
    assert "Ceilings" not in tables.comparison([bare])
