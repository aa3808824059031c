"""Runs of different versions: apart where a minor version differs, averaged with a note where less does, everywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import Call
from places import ROOT
from runs import RECORDS, compared_pair, keep, printed_table, stored

import icdbench
from icdbench.presentation import catalog, figures, report, tables
from icdbench.records import store
from icdbench.records.comparable import made_by, minor
from icdbench.records.record import RunRecord
from icdbench.settings import SpecError

PARTS = list(made_by(RECORDS[0]))  # all that is compared


def by(record: RunRecord, **versions: str) -> RunRecord:
    """The record as other programs would have made it."""
    return record.model_copy(update={"versions": {**record.versions, **versions}})


def of(system: str, *versions: dict[str, str]) -> list[RunRecord]:
    """The committed runs of a system, made by these versions in turn."""
    found = [record for record in RECORDS if record.spec.system == system]
    assert len(found) == len(versions) == 3
    return [by(record, **made) for record, made in zip(found, versions, strict=True)]


def rows(text: str, system: str) -> list[str]:
    """The labels of a system's rows in Markdown, without backslashes."""
    cells = [[cell.strip().replace("\\", "") for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return [row[0] for row in cells if row and row[0].partition(" ")[0] == system and row[1] != "difference"]


MINOR = [("icdbench", "0.3.0", "0.4.0"), ("torch", "2.13.0+cpu", "2.14.0+cpu"), ("torch", "2.13.0", "3.0.0")]
PATCH = [
    ("icdbench", "0.1.0", "0.2.0"),
    ("icdbench", "0.3.0", "0.3.1"),
    ("torch", "2.13.0+cpu", "2.13.1"),
    ("torch", "2.13.0+cpu", "2.13.0+cu128"),
]


def test_what_is_compared() -> None:
    assert {"icdbench", "torch"} <= set(PARTS)
    assert [minor(version) for version in ("2.13.0+cpu", "0.1.0", "10.2.3rc1", "a1b2c3d4", "2", "")] == [
        "2.13",
        "0.1",
        "10.2",
        "a1b2c3d4",
        "2",
        "",
    ]


def test_a_run_of_an_older_version_is_not_computed_again() -> None:
    record = RECORDS[0]
    assert record.versions["icdbench"] == "0.1.0" != icdbench.__version__
    found = store.find(ROOT / "results", record.spec)
    assert found is not None
    assert found.id == record.id


@pytest.mark.parametrize(("name", "old", "new"), MINOR)
def test_minor_versions_are_rows_of_their_own_unless_asked(name: str, old: str, new: str) -> None:
    records = [*of("caml", {name: old}, {name: new}, {name: new}), *of("cnn", {name: new}, {name: new}, {name: new})]
    short = [minor(each) for each in (old, new)]
    study = catalog.chosen("table5")[0].override({"models": ("caml", "cnn"), "published": {}}, "table")
    for text in (
        tables.comparison(records),
        printed_table(catalog.chosen("table5")[0].override({"dataset": "codiesp-d50"}, "table"), records),
        printed_table(study.override({"dataset": "codiesp-d50"}, "table"), records),
    ):
        apart = [row for row in rows(text, "caml") if "[" in row]  # the other is of the published figures
        assert sorted(apart) == [f"caml [{name} {each}]" for each in short]
        assert rows(text, "cnn") == ["cnn"]
        assert "different minor versions are in rows of their own; --mix-versions averages them." in text
    mixed = tables.comparison(records, mix=True)
    assert rows(mixed, "caml") == ["caml"]
    assert (
        f"caml is averaged over runs of different versions: {name} {old} (seed 1); {name} {new} (seeds 2, 3)." in mixed
    )
    assert "rows of their own" not in mixed
    section = report.page(records)
    assert all(f"caml [{name} {each}]" in section for each in short)


@pytest.mark.parametrize(("name", "old", "new"), PATCH)
def test_patches_are_averaged_and_it_is_said(name: str, old: str, new: str) -> None:
    text = tables.comparison(of("caml", {name: old}, {name: new}, {name: new}))
    assert rows(text, "caml") == ["caml"]
    assert (
        f"caml is averaged over runs of different versions: {name} {old} (seed 1); {name} {new} (seeds 2, 3)." in text
    )


def test_equal_versions_go_without_a_word() -> None:
    first = {record.spec.system: made_by(record) for record in reversed(RECORDS)}
    alike = [record for record in RECORDS if made_by(record) == first[record.spec.system]]
    assert {"caml", "jlan"} <= {record.spec.system for record in alike}
    assert "version" not in tables.comparison(alike)
    assert "[" not in "".join(rows(tables.comparison(alike), "caml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fig6", "fig7"])
def test_a_study_is_drawn_of_the_versions_of_most_runs(name: str, caplog: pytest.LogCaptureFixture) -> None:
    def draw(records: Sequence[RunRecord], **chosen: bool) -> list[figures.Drawing]:
        return figures.draw(name, figures.DrawingRequest(records, lambda _: None, **chosen))  # type: ignore[arg-type]

    readings = store.load_records(ROOT / "results" / "readings")
    records = [record for record in readings if record.spec.config["kernel_size"] == 9]
    old = [by(record, torch="1.0.0") if record.spec.seed == 1 else record for record in records]
    assert draw(old)
    assert "are of other versions and left out; --mix-versions averages them" in caplog.text
    caplog.clear()
    assert draw(old, mix=True)
    assert draw(records)
    assert "other versions" not in caplog.text


def test_the_rows_of_figure_5_are_those_of_the_tables() -> None:
    records = of("caml", {"torch": "2.12.0"}, {}, {})
    (drawn,) = figures.draw("fig5", figures.DrawingRequest(records, lambda _: None))
    labels = [label.get_text() for label in drawn.figure.axes[0].get_yticklabels()]
    assert sorted(labels) == ["caml [torch 2.12]", "caml [torch 2.13]"]


@pytest.mark.slow
def test_compare_refuses_to_average_them_unless_asked(icdbench: Call, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for model, seed, torch in (
        ("jlan", 1, "2.13.0"),
        ("jlan", 2, "2.14.0"),
        ("caml", 1, "2.13.1"),
        ("caml", 2, "2.13.1"),
    ):
        folder = stored(results, model, seed)
        record = store.load_record(folder)
        assert record is not None
        store.save_record(folder, by(record, torch=torch))
    words = ("compare", "jlan", "caml", "--dataset", "demo", "--resamples", 100)
    status, out, err = icdbench(*words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "the runs of 'jlan' on demo were made by different versions: torch 2.13 (seed 1); torch 2.14 (seed 2)" in err
    status, out, _ = icdbench(*words, "--mix-versions")
    assert status == 0
    assert (
        "The runs are of different versions: torch 2.13.0: jlan seed 1; torch 2.14.0: jlan seed 2; torch 2.13.1" in out
    )
    status, out, _ = icdbench(*words, "--seeds", "1,")
    assert status == 0
    assert "torch 2.13.0: jlan seed 1; torch 2.13.1: caml seed 1." in out
    with pytest.raises(SpecError, match="--mix-versions"):
        compared_pair(results, ("caml", "jlan"), "demo", resamples=100)


def test_the_option_reaches_the_tables(icdbench: Call, tmp_path: Path) -> None:
    keep(of("caml", {"torch": "2.12.0"}, {}, {}), tmp_path / "results")
    own = tmp_path / "own.py"
    own.write_text(
        "from icdbench.spec import Benchmark\n"
        "OWN = Benchmark(name='own', title='Mine', dataset='codiesp-d50', models=('caml',), metrics=(('MAP', 'map'),))\n"
    )
    assert (ROOT / "results").is_dir()
    apart, mixed = icdbench("tables", "own.py")[1], icdbench("tables", "own.py", "--mix-versions")[1]
    assert len(re.findall(r"^\| caml", apart, re.MULTILINE)) == 2
    assert len(re.findall(r"^\| caml", mixed, re.MULTILINE)) == 1
