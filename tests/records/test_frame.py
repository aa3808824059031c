"""All runs as one tidy table."""

from __future__ import annotations

import doctest
import functools
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from places import ROOT

from icdbench.records import frame, store
from icdbench.records.record import RunRecord

pytestmark = pytest.mark.slow

COLUMNS = [
    "dataset",
    "fingerprint",
    "synthetic",
    "system",
    "setting",
    "seed",
    "run",
    "split",
    "rule",
    "metric",
    "value",
]


@functools.cache
def committed() -> list[RunRecord]:
    folders = [
        ROOT / "results" / name for name in ("", "reference", "explain", "readings", "pretrained", "validation-notes")
    ]
    return [record for folder in folders for record in store.load_records(folder)]


def figures(record: RunRecord) -> dict[tuple[str, str, str], float]:
    return {
        (split, rule, metric): value
        for split, rules in record.metrics.items()
        for rule, values in rules.items()
        for metric, value in values.items()
    }


def test_there_is_a_row_for_each_figure_of_each_committed_run() -> None:
    records = committed()
    assert len(records) == len(list((ROOT / "results").rglob(store.RECORD)))
    runs = frame(records)
    assert list(runs.columns) == COLUMNS
    assert len(runs) == sum(len(figures(record)) for record in records)
    assert not runs.isna().to_numpy().any()
    expected = [
        (spec.dataset, spec.fingerprint, record.data.synthetic, spec.system, spec.setting, spec.seed, record.id, *key, value)
        for record in records
        for spec in [record.spec]
        for key, value in figures(record).items()
    ]  # fmt: skip
    assert list(runs.itertuples(index=False, name=None)) == expected


@pytest.mark.parametrize("records", [committed, list[RunRecord]], ids=["all", "none"])
def test_columns_have_the_documented_types(records: Callable[[], list[RunRecord]]) -> None:
    runs = frame(records())
    text = pd.Series(dtype="str").dtype
    numbers = {"synthetic": "bool", "seed": "int64", "value": "float64"}
    assert {name: str(dtype) for name, dtype in runs.dtypes.items()} == dict.fromkeys(COLUMNS, str(text)) | numbers
    documented = [line.split()[:2] for line in str(frame.__doc__).partition("content")[2].splitlines()]
    columns = [each for each in documented if len(each) == 2 and each[0] in COLUMNS]
    assert columns == [[name, numbers.get(name, "str")] for name in COLUMNS]


def test_the_example_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = {"frame": frame, "store": store, "Path": Path}
    (example,) = doctest.DocTestFinder().find(frame, "frame", globs=names)
    assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0
    means = example.globs["means"]
    (jlan,) = means.loc[("codiesp-d50", slice(None), "jlan"), :].itertuples(index=False)
    runs = [r for r in committed() if r.spec.system == "jlan" and (ROOT / "results" / r.id).is_dir() and r.spec.dataset == "codiesp-d50"]  # fmt: skip
    assert jlan.count == len(runs)
    assert jlan.mean == pytest.approx(sum(r.metrics["test"]["fixed"]["f1_micro"] for r in runs) / len(runs))
