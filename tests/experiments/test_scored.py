"""Predictions made elsewhere: every format gives the same run, and what does not fit is counted by a stated rule."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Call

import icdbench as api
from icdbench.data import datasets
from icdbench.presentation import report
from icdbench.records import RunRecord, store

pytestmark = [pytest.mark.slow, pytest.mark.counted]

CODES = ("038.9", "428.0", "0250")  # of document n the code n % 3, in conftest's few_notes
TOP5 = {"top_codes": 5}
MOST = {"data.top_codes": 5}
TEST = {str(number): [CODES[number % 3]] for number in range(30, 40)}
HELD = {str(number): [CODES[number % 3]] for number in range(20, 30)}


def write(path: Path, codes: Mapping[str, Sequence[str]], scores: Mapping[str, Sequence[float]] | None = None) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "codes", *(["scores"] if scores else [])])
        for name, listed in codes.items():
            rows.writerow([name, ";".join(listed), *([";".join(map(str, scores[name]))] if scores else [])])
    return path


def score(file: Path, dataset: Path, **options: Any) -> RunRecord:
    found = api.score(file, str(dataset), results=file.parent / "results", **options).data
    assert found.record is not None
    return found.record


def test_the_command_in_the_report_reads_the_file_as_it_was_read(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, icdbench: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{name},{'|'.join(codes)}\n" for name, codes in TEST.items()]
    Path("gpt.csv").write_text("".join(["note,guess\n", *rows]), encoding="cp1252")
    reading = ("--column", "id=note", "--column", "codes=guess", "--code-separator", "none", "--encoding", "cp1252")
    assert icdbench("score", "gpt.csv", "--dataset", few_notes, *reading)[0] == 0
    (run,) = api.results("results")
    (command,) = report.commands([run.record])
    command = command.replace(f"--dataset {few_notes.name}", f"--dataset {few_notes}")
    assert "already stored" in icdbench(*shlex.split(command)[1:])[2]


# --- A run's own predictions give its own figures ---------------------------------------------------------------------------


def exported(run: api.Run, split: str) -> pd.DataFrame:
    """The run's probabilities with the documents' ids, a row for each code."""
    ids = datasets.open("demo", None, TOP5).corpus().splits[split].ids
    wide = run.predictions(split)["probability"].set_axis(list(ids), axis="index")
    found: pd.DataFrame = wide.rename_axis("id").reset_index().melt("id", var_name="code", value_name="score")
    return found


def test_the_predictions_of_a_run_give_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, icdbench: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    quiet = api.Execution(progress=False)
    (run,) = api.run("lr", "demo", settings=MOST, device="cpu", execution=quiet)
    test, held = (exported(run, split) for split in ("test", "validation"))
    test.to_csv("gpt.csv", index=False)
    held.to_parquet("held.parquet")
    words = ("score", "gpt.csv", "--validation", "held.parquet", "--set", "data.top_codes=5")
    status, out, err = icdbench(*words)
    assert (status, err) == (0, "")
    assert "gpt (scored)" in out
    assert "gpt: scored from a file, gpt.csv (SHA-256" in out
    (made,) = (each.record for each in api.results("results") if each.record.scored)
    for split, rules in run.record.metrics.items():
        for rule, figures in rules.items():
            assert made.metrics[split][rule] == pytest.approx(figures, abs=1e-12)
            assert made.metrics[split][rule].keys() == figures.keys()
    assert made.threshold == pytest.approx(run.record.threshold, abs=1e-12)
    assert made.intervals == run.record.intervals
    assert made.popularity == run.record.popularity

    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    status, again, err = icdbench(*words)
    assert (status, again, err) == (0, out, f"already stored: {made.id}\n")
    assert {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()} == before

    found = api.results("results")
    assert found.compare("gpt", "lr", rule="tuned", resamples=100).data.differences["f1_micro"].mean == 0
    assert "gpt: scored from a file" in found.compare("gpt", "lr", resamples=100).text("md")
    table = found.table().text("md")
    assert "gpt (scored)" in table
    assert "cannot be told from the best" in table
    assert icdbench("runs")[1].count("(scored)") == 1
    assert icdbench("runs", "--remeasure")[0] == 0
    assert "gpt is left out: it was scored from a file" in icdbench("tables", "--analysis")[1]
    assert icdbench("report")[0] == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert "gpt (scored)" in page
    assert "icdbench score gpt.csv --dataset demo --name gpt --validation held.parquet" in page
    status, _, err = icdbench("predict", "gpt.csv", "--run", made.id)
    assert status == 2
    assert "was not made by a model: there is no model to load" in err
    status, out, _ = icdbench("export", "to-share", "--with-predictions")
    assert (status, len(list(Path("to-share").rglob("predictions.npz")))) == (0, 2)


# --- Formats -------------------------------------------------------------------------------------------------------------


SCORES = {name: [0.9, 0.4, 0.1] for name in TEST}
ORDER = {name: [CODES[int(name) % 2], *(code for code in CODES if code != CODES[int(name) % 2])] for name in TEST}


def formats(folder: Path) -> list[Path]:
    rows = [{"id": name, "codes": ORDER[name], "scores": SCORES[name]} for name in ORDER]
    long = [(name, *pair) for name in ORDER for pair in zip(ORDER[name], SCORES[name], strict=True)]
    write(folder / "joined.csv", ORDER, SCORES)
    (folder / "lists.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (folder / "array.json").write_text(json.dumps(rows), encoding="utf-8")
    pd.DataFrame(rows).to_parquet(folder / "lists.parquet")
    pd.DataFrame(long, columns=["id", "code", "probability"]).to_parquet(folder / "long.parquet")
    pd.DataFrame(long, columns=["note_id", "ICD10", "Confidence"]).to_csv(folder / "long.csv", index=False)
    pd.DataFrame([{**row, "codes": str(row["codes"])} for row in rows]).to_csv(folder / "python.csv", index=False)
    pd.DataFrame(rows).assign(id=lambda frame: frame["id"].astype(int)).to_parquet(folder / "numbers.parquet")
    names = (
        "joined.csv",
        "lists.jsonl",
        "array.json",
        "lists.parquet",
        "long.parquet",
        "long.csv",
        "python.csv",
        "numbers.parquet",
    )
    return [folder / name for name in names]


def test_every_format_gives_the_same_figures(few_notes: Path, tmp_path: Path) -> None:
    made = [score(file, few_notes, name=f"s{number}") for number, file in enumerate(formats(tmp_path))]
    assert {record.scored.kind for record in made if record.scored} == {"probabilities"}
    assert all(record.metrics == made[0].metrics for record in made)
    assert 0 < made[0].metrics["test"]["fixed"]["f1_micro"] < 1
    assert "auc_micro" in made[0].metrics["test"]["fixed"]
    assert "tuned" not in made[0].metrics["test"]


def test_what_a_file_does_not_tell_is_left_out(few_notes: Path, tmp_path: Path) -> None:
    alone = score(write(tmp_path / "alone.csv", TEST), few_notes)
    assert alone.metrics["test"]["fixed"]["f1_micro"] == alone.metrics["test"]["fixed"]["exact_match"] == 1
    figures = {*alone.metrics["test"]["fixed"], *alone.intervals["fixed"]}
    assert not any(key.startswith(("auc", "p@", "r@", "map", "r_precision")) for key in figures)
    ranked = score(write(tmp_path / "ranked.csv", ORDER), few_notes, ranked=True)
    assert not any(key.startswith("auc") for key in ranked.metrics["test"]["fixed"])
    assert ranked.metrics["test"]["fixed"]["map"] < 1
    assert alone.scored is not None
    assert ranked.scored is not None
    assert (alone.scored.kind, ranked.scored.kind) == ("codes", "ranking")


def test_a_ranking_is_cut_where_validation_says(few_notes: Path, tmp_path: Path) -> None:
    held = {name: [*listed, *(code for code in CODES if code not in listed)] for name, listed in HELD.items()}
    best = {name: [*listed, *(code for code in CODES if code not in listed)] for name, listed in TEST.items()}
    files = write(tmp_path / "test.csv", best), write(tmp_path / "held.csv", held)
    made = score(files[0], few_notes, ranked=True, validation=files[1])
    assert made.metrics["test"]["fixed"]["f1_micro"] == 0.5, "all of a list are predicted"
    assert made.metrics["test"]["tuned"]["f1_micro"] == 1


def test_other_numbers_are_logits(few_notes: Path, tmp_path: Path) -> None:
    logits = {name: [3.0, -0.5, -2.0] for name in ORDER}
    made = score(write(tmp_path / "logits.csv", ORDER, logits), few_notes)
    likely = score(write(tmp_path / "likely.csv", ORDER, SCORES), few_notes)
    assert made.metrics == likely.metrics
    assert made.scored is not None
    assert made.scored.kind == "logits"


# --- What does not fit ---------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_counted_and_its_rule_stated(few_notes: Path, tmp_path: Path, icdbench: Call) -> None:
    rows = {
        **{name: listed for name, listed in TEST.items() if name not in {"30", "31"}},
        "32": ["250", "0250.", "428.0", "Z99.9"],  # no code of the data, its own with a dot, a false one, one outside
        "33": ["0389", "038.9"],  # without its dot, and once more
        "5": ["428.0"],
        "x": ["428.0"],
    }
    path = write(tmp_path / "gpt.csv", rows)
    with path.open("a", encoding="utf-8") as file:
        file.write("34,038.9;428.0\n")
    status, out, err = icdbench("score", path, "--dataset", few_notes)
    assert (status, err) == (0, "")
    (record,) = store.load_records(tmp_path / "results")
    assert record.scored is not None
    assert record.scored.counts["test"] == {
        "missing": 2, "elsewhere": 1, "unknown": 1, "repeated": 1, "doubled": 1, "respelled": 2, "outside": 2,
    }  # fmt: skip
    assert record.metrics["test"]["fixed"]["precision_micro"] == pytest.approx(8 / 11), (
        "428.0 and two outside are wrong"
    )
    assert record.metrics["test"]["fixed"]["recall_micro"] == pytest.approx(8 / 10)
    for said in (
        "documents without a row (nothing is predicted): 2",
        "codes outside the label set (false positives): 2",
    ):
        assert said in out
    stored = (tmp_path / "results" / record.id / store.RECORD).read_text(encoding="utf-8")
    assert "Z99" not in stored
    assert str(tmp_path) not in stored


def test_a_correct_code_that_training_never_shows_is_missed_and_no_false_positive(tmp_path: Path) -> None:
    notes = tmp_path / "notes.csv"
    rows = [(number, "train", "038.9") for number in range(4)] + [
        (4, "validation", "038.9"),
        (5, "test", "038.9;R65.2"),
    ]
    lines = [f"{number},sepsis with fever,{codes},{split}" for number, split, codes in rows]
    notes.write_text("\n".join(["id,text,codes,split", *lines]), encoding="utf-8")
    made = score(write(tmp_path / "gpt.csv", {"5": ["038.9", "R65.2"]}), notes)
    assert made.scored is not None
    assert made.scored.counts == {"test": {"unseen": 1}}
    figures = made.metrics["test"]["fixed"]
    assert (figures["precision_micro"], figures["recall_micro"], figures["exact_match"]) == (1, 0.5, 0)


def test_codes_that_top_codes_leaves_out_are_another_task(few_notes: Path, tmp_path: Path) -> None:
    made = score(write(tmp_path / "gpt.csv", TEST), few_notes, settings={"top_codes": 2})
    assert made.scored is not None
    assert made.scored.counts["test"].keys() == {"left_out"}
    assert made.metrics["test"]["fixed"]["precision_micro"] == 1
    assert made.changed == {"data.top_codes": 2}


@pytest.mark.parametrize("settings", [{}, {"top_codes": 2}])
def test_codes_of_which_the_data_have_none_are_said_to_be_of_another_system(
    few_notes: Path, tmp_path: Path, settings: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    made = score(write(tmp_path / "gpt.csv", {key: ["I10", "E11.9"] for key in TEST}), few_notes, settings=settings)
    assert made.metrics["test"]["fixed"]["f1_micro"] == 0
    assert "none of its 2 codes occurs in 'notes.csv'; the file has codes such as 'E11.9'" in caplog.text
    caplog.clear()
    score(write(tmp_path / "other.csv", {key: ["I10", "0389"] for key in TEST}), few_notes, settings=settings)
    assert "none of its" not in caplog.text


def test_another_split_is_measured_and_not_stored(few_notes: Path, tmp_path: Path, icdbench: Call) -> None:
    status, out, _ = icdbench(
        "score", write(tmp_path / "gpt.csv", HELD), "--dataset", few_notes, "--split", "validation"
    )
    assert status == 0
    assert "gpt (scored), validation split" in out
    assert not (tmp_path / "results").exists()


def test_a_compared_run_without_validation_has_no_tuned_threshold(
    few_notes: Path, tmp_path: Path, icdbench: Call
) -> None:
    for name, codes in (("one", TEST), ("other", ORDER)):
        score(write(tmp_path / f"{name}.csv", codes), few_notes)
    status, _, err = icdbench("compare", "one", "other", "--dataset", few_notes, "--rule", "tuned")
    assert status == 2
    assert "has no tuned threshold: it was scored without --validation FILE" in err
    assert icdbench("compare", "one", "other", "--dataset", few_notes)[0] == 0


GOOD = "id,codes\n30,038.9\n"
FAULTS: list[tuple[str, tuple[str, ...], str]] = [
    ("id,codes\nA1,038.9\n", (), "none of its 1 ids is that of a test document of 'notes.csv'; the file has ids such as 'A1', the data set '30'"),
    ("note,codes\n30,038.9\n", (), "no column 'id'"),
    ("id,codes,scores\n30,038.9,high\n", (), "gpt.csv, line 2: 'scores' 'high' is not a finite number"),
    ("id,codes,scores\n30,038.9,nan\n", (), "line 2: 'scores' 'nan' is not a finite number"),
    ("id,codes,scores\n30,038.9;428.0,0.5\n", (), "line 2: 2 codes and 1 scores; there must be one score for each code"),
    ("id,codes\n,038.9\n", (), "line 2: 'id' is empty"),
    ("id,codes\n", (), "gpt.csv has no rows"),
    ("", (), "is empty"),
    ('id,codes\n30,"Sepsis, severe"\n', (), "--code-separator ','"),
    (GOOD, ("--split", "tset"), "no split 'tset'; did you mean 'test'?"),
    (GOOD, ("--name", "caml"), "'caml' is a model of icdbench; say what made these predictions with --name"),
    (GOOD, ("--name", "a/b"), "--name 'a/b'"),
    (GOOD, ("--column", "scores=p"), "no column 'p'"),
    (GOOD, ("--column", "text=id"), "reading.columns='text=id'"),
    (GOOD, ("--validation", "gpt.csv"), "has codes without scores, from which no threshold is tuned"),
    (GOOD, ("--validation", "gpt.csv", "--split", "validation"), "leave it out"),
    (GOOD, ("--set", "train.max_epochs=1"), "only data.FIELD=VALUE has a meaning here"),
    ("id,codes,scores\n30,038.9,0.5\n", ("--ranked",), "has scores, which rank its codes; leave --ranked out"),
]  # fmt: skip


def test_a_folder_is_no_file_of_predictions(tmp_path: Path, icdbench: Call) -> None:
    status, _, err = icdbench("score", tmp_path)
    assert (status, err) == (2, f"icdbench: {tmp_path} is a folder; name a file of predictions in it\n")


@pytest.mark.parametrize(("text", "words", "said"), FAULTS)
def test_a_fault_is_told_in_a_line(
    text: str, words: tuple[str, ...], said: str, few_notes: Path, tmp_path: Path, icdbench: Call
) -> None:
    (tmp_path / "gpt.csv").write_text(text, encoding="utf-8")
    status, out, err = icdbench("score", "gpt.csv", "--dataset", few_notes, *words)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert said in err
    assert not list(tmp_path.glob("results/*/gpt*"))


def test_a_file_that_is_missing_is_named(few_notes: Path, icdbench: Call) -> None:
    status, _, err = icdbench("score", "gone.csv", "--dataset", few_notes)
    assert (status, err.count("\n")) == (2, 1)
    assert "gone.csv is not a file of predictions" in err
