"""Two files of one name are two data sets, whatever groups their runs: tables, the report, figures, `compare`, `runs`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Call
from pages import data_of
from runs import printed_table

from icdbench.presentation import report, tables
from icdbench.records import store
from icdbench.records.record import RunRecord
from icdbench.spec import Benchmark

pytestmark = pytest.mark.slow

LR = ("--set", "data.min_documents=1")


@pytest.fixture
def two(icdbench: Call, few_notes: Path, tmp_path: Path) -> list[RunRecord]:
    """Runs of lr on da/x.csv and on db/x.csv, of lr@tfidf on db/x.csv alone: documents and codes are equal in number."""
    for folder, word in (("da", "fever"), ("db", "sepsis")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.csv").write_text(few_notes.read_text().replace("fever", word))
    assert icdbench("run", "--models", "lr", "--dataset", "da/x.csv", *LR)[0] == 0
    assert icdbench("run", "--models", "lr,lr@tfidf", "--dataset", "db/x.csv", *LR)[0] == 0
    records = store.load_records(tmp_path / "results")
    assert len({record.spec.fingerprint for record in records}) == 2
    assert {record.spec.dataset for record in records} == {"x.csv"}
    return records


def test_tables_keep_them_apart(two: list[RunRecord]) -> None:
    short = {record.spec.fingerprint[:8] for record in two}
    own = Benchmark(name="own", title="Mine", dataset="da/x.csv", metrics=(("MAP", "map"),), models=("lr", "lr@tfidf"))
    for text in (tables.comparison(two), printed_table(own, two)):
        titles = re.findall(r"^\*\*(.*)\*\*$", text, re.MULTILINE)
        assert len(titles) == len(set(titles)) == 2
        assert {title[-11:-2].strip("\\[]") for title in titles} == short
    one = tables.comparison(two[:1])
    assert not any(each in one.splitlines()[0] for each in short)


def test_the_report_keeps_them_apart(two: list[RunRecord]) -> None:
    page = report.page(two)
    assert sorted(len(section["runs"]) for section in data_of(page).values()) == [1, 2]
    assert all(f"x.csv [{record.spec.fingerprint[:8]}]" in page for record in two)


def test_runs_tells_them_apart(icdbench: Call, two: list[RunRecord]) -> None:
    _, out, _ = icdbench("runs")
    for record in two:
        (line,) = (line for line in out.splitlines() if line.startswith(f"{record.id} "))
        assert f"fingerprint={record.spec.fingerprint}" in line


def test_compare_takes_the_runs_of_the_file_that_is_named(icdbench: Call, two: list[RunRecord], tmp_path: Path) -> None:
    words = ("compare", "lr", "lr@tfidf", "--resamples", 100, "--dataset")
    assert icdbench(*words, "db/x.csv")[0] == 0
    status, out, err = icdbench(*words, "da/x.csv")
    assert (status, out) == (2, "")
    assert "no run of 'lr@tfidf' on x.csv is stored" in err
    of_b = next(record.spec for record in two if record.spec.system == "lr@tfidf")
    status, out, err = icdbench(*words, "x.csv")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "several settings of 'lr' on x.csv are stored" in err
    assert {spec.fingerprint for spec in (r.spec for r in two)} <= set(re.findall(r"data (\w+)", err))
    of_a = next(r.spec for r in two if r.spec.fingerprint != of_b.fingerprint)
    named = ("compare", f"lr:{of_a.setting}", "lr@tfidf", "--dataset", "db/x.csv", "--resamples", 100)
    status, out, err = icdbench(*named)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"fingerprint of the raw data is {of_a.fingerprint} and {of_b.fingerprint}" in err

    (tmp_path / "db" / "x.csv").write_text((tmp_path / "db" / "x.csv").read_text().replace("edema", "oedema"))
    status, out, err = icdbench(*words, "db/x.csv")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "no runs on the present content of 'db/x.csv' (fingerprint " in err
    of_both = next(r.spec for r in two if r.spec.system == "lr" and r.spec.fingerprint == of_b.fingerprint)
    names = [f"{spec.system}:{spec.setting}" for spec in (of_both, of_b)]
    assert icdbench("compare", *names, "--dataset", "db/x.csv", "--resamples", 100)[0] == 0


def test_figures_of_both_are_drawn(icdbench: Call, two: list[RunRecord]) -> None:
    status, out, _ = icdbench("figures", "fig2")
    assert status == 0
    for record in two:
        assert f"figure2-x.csv-{record.spec.fingerprint[:8]}.png" in out
