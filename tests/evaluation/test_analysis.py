"""The analyses of stored runs: bound to their files, complete, the same by command, API and table."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import Call
from places import ROOT

import icdbench as library
from icdbench.data import datasets
from icdbench.evaluation import analysis
from icdbench.presentation import tables
from icdbench.records import RunRecord, store
from icdbench.settings import SpecError

COMMITTED = ROOT / "results"
DEMO = ROOT / "results" / "reference"


def demo(*systems: str) -> list[RunRecord]:
    return [record for record in store.load_records(DEMO) if record.spec.system in systems and record.spec.seed == 1]


def value(found: analysis.Analysed, record: RunRecord, *key: str) -> float:
    (only,) = [figure.value for figure in found.figures[record.id] if figure[:3] == key]
    return only


@pytest.fixture(scope="module")
def analysed() -> tuple[RunRecord, analysis.Analysed]:
    (record,) = demo("lr")
    return record, analysis.analyse([record], [DEMO])


@pytest.mark.slow
def test_every_analysis_is_there_and_every_figure_a_number(analysed: tuple[RunRecord, analysis.Analysed]) -> None:
    record, found = analysed
    assert found.missing == []
    shown = {figure.analysis for figure in found.figures[record.id]}
    assert shown == {
        *("frequency", "length", "codes", "hierarchy", "family", "detail", "calibration", "reliability"),
        *("thresholds", "group thresholds", "conformal", "fraction"),
    }
    assert all(math.isfinite(figure.value) for figure in found.figures[record.id])


@pytest.mark.counted
@pytest.mark.slow
def test_groups_add_up_to_the_recorded_figures(analysed: tuple[RunRecord, analysis.Analysed]) -> None:
    record, found = analysed
    of = [figure for figure in found.figures[record.id] if figure.analysis in {"codes", "length"}]
    documents = {
        name: sum(f.value for f in of if f.metric == "documents" and f.analysis == name) for name in ("codes", "length")
    }
    assert documents == {"codes": 160, "length": 160}
    recorded = record.metrics["test"]
    assert value(found, record, "group thresholds", "one", "f1_micro") == recorded["tuned"]["f1_micro"]
    assert value(found, record, "thresholds", "0.5", "f1_micro") == recorded["fixed"]["f1_micro"]
    assert value(found, record, "fraction", "1", "map") == recorded["tuned"]["map"]
    for name in documents:
        sizes = {f.group: f.value for f in of if f.analysis == name and f.metric == "documents"}
        mean = sum(sizes[f.group] * f.value for f in of if f.analysis == name and f.metric == "p@5") / 160
        assert mean == pytest.approx(recorded["tuned"]["p@5"])


@pytest.mark.counted
@pytest.mark.slow
def test_lengths_are_those_of_the_notes_in_the_order_of_the_predictions() -> None:
    (record,) = demo("lr")
    predictions, label_set = (
        store.load_predictions(DEMO / record.id, record),
        store.load_label_set(DEMO / record.id, record),
    )
    known = analysis.facts(record, label_set, predictions["test"].labels, analysis.Choice())
    test = datasets.open("demo").corpus().splits["test"]
    assert known.lengths_N is not None
    assert known.lengths_N.tolist() == np.diff(test.token_offsets).tolist()
    assert known.paths is not None
    assert [path[-1] for path in known.paths] == list(label_set.codes)


@pytest.mark.slow
def test_other_labels_than_the_datas_have_no_lengths() -> None:
    (record,) = demo("lr")
    predictions, label_set = (
        store.load_predictions(DEMO / record.id, record),
        store.load_label_set(DEMO / record.id, record),
    )
    known = analysis.facts(record, label_set, predictions["test"].labels[::-1], analysis.Choice())
    assert known.lengths_N is None
    assert "no figures by length of notes" in known.missing[0]


@pytest.mark.slow
def test_without_the_notes_one_line_says_so_and_the_rest_is_there(tmp_path: Path) -> None:
    record = next(
        each
        for each in store.load_records(COMMITTED)
        if each.spec.dataset == "codiesp-d50" and each.spec.system == "lr"
    )
    found = analysis.analyse([record], [COMMITTED], analysis.Choice(root=tmp_path))
    (line,) = found.missing
    assert line.startswith("codiesp-d50: no figures by length of notes, as the notes are neither in the cache nor")
    shown = {figure.analysis for figure in found.figures[record.id]}
    assert "length" not in shown
    assert {"hierarchy", "frequency", "calibration"} <= shown
    assert line in tables.analyses([record], found, analysis.Choice())


@pytest.mark.counted
@pytest.mark.slow
def test_altered_and_absent_predictions_are_left_out_with_a_line(tmp_path: Path) -> None:
    (record,) = demo("lr")
    assert analysis.analyse([record], [tmp_path]).missing == [
        "1 runs have no predictions beside their records and are left out: lr."
    ]
    folder = tmp_path / record.id
    folder.mkdir(parents=True)
    whole = (DEMO / record.id / store.PREDICTIONS).read_bytes()
    (folder / store.PREDICTIONS).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = analysis.analyse([record], [tmp_path])
    assert found.figures == {}
    assert "is not the file that was stored with run" in found.missing[0]


def test_edges_and_the_fixed_threshold() -> None:
    (record,) = demo("lr")
    found = analysis.analyse([record], [DEMO], analysis.Choice("fixed", [20, 60], prepare=False))
    names = list(dict.fromkeys(f.group for f in found.figures[record.id] if f.analysis == "frequency"))
    assert set(names) <= {"0", "1-20", "21-60", ">60"}
    assert value(found, record, "group thresholds", "one", "f1_micro") == record.metrics["test"]["fixed"]["f1_micro"]
    with pytest.raises(SpecError, match="rule 'best' is none of tuned, fixed"):
        analysis.Choice("best")


@pytest.mark.slow
def test_the_frame_of_the_api_is_what_the_command_prints(icdbench_results: Path, icdbench: Call) -> None:
    shown = library.results(icdbench_results).analysis()
    assert list(shown.columns) == [
        "dataset",
        "system",
        "setting",
        "seed",
        "run",
        "analysis",
        "group",
        "metric",
        "value",
    ]
    assert set(shown["system"]) == {"caml", "jlan", "lr"}
    status, out, err = icdbench("tables", "errors", "--analysis", "--format", "csv", "--results", icdbench_results)
    assert (status, err) == (0, "")
    printed = {row["system"].split(" ")[0]: float(row["Jaccard"]) for row in csv.DictReader(io.StringIO(out))}
    jaccard = shown.query("analysis == 'detail' and metric == 'jaccard'").set_index("system")["value"]
    assert printed == pytest.approx((100 * jaccard).round(1).to_dict())


@pytest.fixture
def icdbench_results(finished: Path) -> Path:
    return finished / "results"


@pytest.mark.counted
@pytest.mark.parametrize("fmt", tables.FORMATS)
@pytest.mark.slow
def test_all_analyses_print_in_every_format(fmt: str, icdbench_results: Path, icdbench: Call) -> None:
    status, out, _ = icdbench("tables", "--analysis", "--format", fmt, "--results", icdbench_results)
    assert status == 0
    for layouts in ("micro F1 by length of the note", "CoPHE", "calibration", "conformal sets"):
        assert layouts in out


@pytest.mark.slow
def test_tables_fit_into_80_columns(icdbench: Call) -> None:
    _, out, _ = icdbench("tables", "--analysis", "--results", DEMO)
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert len(rows) > 100
    assert max(map(len, rows)) <= 80


@pytest.mark.counted
@pytest.mark.slow
def test_reliability_has_a_row_for_each_bin(icdbench_results: Path, icdbench: Call) -> None:
    _, out, _ = icdbench("tables", "reliability", "--analysis", "--format", "csv", "--results", icdbench_results)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {row["bin"] for row in rows} == {str(number) for number in range(1, analysis.BINS + 1)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tables", "frequencies", "--analysis"], "no analysis 'frequencies'; did you mean 'frequency'?"),
        (["tables", "--analysis", "--edges", "10,5"], "give ascending numbers from 1 up, such as 10,100"),
        (["tables", "--analysis", "--edges", "few"], "--edges few: give ascending numbers from 1 up"),
        (["tables", "--edges", "10"], "--edges and --data belong to --analysis"),
    ],
)
@pytest.mark.slow
def test_bad_requests_are_one_line(words: list[str], said: str, icdbench: Call) -> None:
    status, out, err = icdbench(*words, "--results", DEMO)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.counted
@pytest.mark.slow
def test_a_learning_curve_has_a_row_for_each_fraction_and_system(notes: Path, icdbench: Call) -> None:
    words = ("run", "--models", "lr", "--dataset", notes, "--set", "data.top_codes=3")
    for fraction in ("0.1", "0.3", "1"):
        assert icdbench(*words, "--set", f"data.fraction={fraction}")[0] == 0
    _, out, _ = icdbench("tables", "fractions", "--analysis", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    label = "lr (data.top_codes=3)"  # what the user set is part of the label, but for the fraction
    assert [(row["fraction"], row["documents"], row["system"]) for row in rows] == [
        ("10 %", "4", f"{label} †"), ("30 %", "12", label), ("100 %", "40", label)
    ]  # fmt: skip
    assert "fraction" not in rows[0]["table"]
    figures = {
        record.spec.data.fraction: record.metrics["test"]["tuned"] for record in store.load_records(Path("results"))
    }
    assert [float(row["MAP"]) for row in rows] == pytest.approx(
        [round(100 * figures[each]["map"], 1) for each in (0.1, 0.3, 1)]
    )


def test_without_runs_a_line_says_so(icdbench: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, out, _ = icdbench("tables", "--analysis", "--results", "empty")
    assert status == 0
    assert "No runs with predictions are stored." in out
