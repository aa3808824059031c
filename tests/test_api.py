"""icdbench from Python: what the functions give back, what they refuse, and that importing the package loads none of them."""

from __future__ import annotations

import doctest
import html
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Call
from finished import once
from markdown_it import MarkdownIt
from places import ROOT
from scipy.sparse import csr_matrix

import icdbench
from icdbench import api
from icdbench.evaluation import metrics
from icdbench.presentation import tables
from icdbench.records import store
from icdbench.settings import SpecError
from icdbench.training import objectives

pytestmark = pytest.mark.slow

TINY = {"data.min_documents": 1, "data.embeddings": "random", "train.max_epochs": 1, "caml.filters": 4}
QUIET = icdbench.Execution(progress=False)
untyped: Any = icdbench  # for arguments that its types forbid
HEAVY = ("torch", "numpy", "pandas", "pydantic", "rich", "typer")


@pytest.fixture
def runs(session_folder: Path, few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> icdbench.Results:
    """Trained once per session: each test has them in a folder of its own, where they are found finished."""

    def run() -> icdbench.Results:
        return icdbench.run(["caml", "lr"], str(few_notes), seeds=2, settings=TINY, device="cpu", execution=QUIET)

    def train(folder: Path) -> None:
        run()
        shutil.copytree(tmp_path, folder)

    monkeypatch.chdir(tmp_path)
    shutil.copytree(once(session_folder / "runs-of-api", train), tmp_path, dirs_exist_ok=True)
    return run()


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_loads_nothing_heavy() -> None:
    assert python(f"import sys, icdbench; print([name for name in {HEAVY} if name in sys.modules])") == "[]\n"


ORDERS = (
    "import icdbench",
    "import icdbench, icdbench.run",
    "import icdbench.run",
    "from icdbench import run; import icdbench",
    "import icdbench.api, icdbench",
    "import icdbench; icdbench.results; import icdbench.run",
    "from icdbench.run import execute; import icdbench",
)


def test_run_is_a_function_and_a_module_in_every_order_of_imports() -> None:
    code = f"""
import inspect, sys
for order in {ORDERS}:
    for name in [name for name in sys.modules if name.split(".")[0] == "icdbench"]:
        del sys.modules[name]
    exec(order)
    from icdbench import run
    assert icdbench.run is run and run.execute and run.expand, order
    assert "seeds" in inspect.signature(icdbench.run).parameters, order
    try:
        icdbench.run("camel")
    except icdbench.SpecError as error:
        print(error)
"""
    said = python(code).splitlines()
    assert len(said) == len(ORDERS)
    assert set(said) == {said[0]}
    assert said[0].startswith("no model 'camel'; did you mean 'caml'?")


def test_every_public_name_is_there_and_documented() -> None:
    assert set(icdbench.__all__) <= set(dir(icdbench))
    assert pickle.loads(pickle.dumps(icdbench.run)) is icdbench.run  # noqa: S301
    for name in icdbench.__all__:
        assert (api.run if name == "run" else getattr(icdbench, name)).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        icdbench.nonesuch  # type: ignore[attr-defined]  # noqa: B018


def test_examples_of_the_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(api)
    assert found.failed == 0
    assert found.attempted > 5


def test_examples_of_the_page(few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks of docs/api.md, one after another, on few notes; a file that one of them shows is written first."""
    monkeypatch.chdir(tmp_path)
    known = few_notes.read_text(encoding="utf-8").replace(
        "was treated", "was treated in a patient with hypertension and reflux"
    )
    few_notes.write_text(known, encoding="utf-8")
    fences = MarkdownIt("commonmark").parse((ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
    blocks = [token.content for token in fences if token.type == "fence" and token.info == "python"]
    assert len(blocks) > 5
    names: dict[str, object] = {}
    for block in blocks:
        if block.startswith('"""'):  # a file of the user's own, which its first line names
            Path(block.removeprefix('"""').partition(":")[0]).write_text(block, encoding="utf-8")
        else:
            few = block.replace('"demo"', f'"{few_notes.name}"')
            few = few.replace('"data.top_codes": 5', '"data.min_documents": 1')
            exec(compile(few, "docs/api.md", "exec"), names)  # noqa: S102


# --- Runs ----------------------------------------------------------------------------------------------------------------


def test_runs_are_a_sequence_that_a_notebook_shows_as_a_table(runs: icdbench.Results) -> None:
    assert [run.record.spec.system for run in runs] == ["caml", "caml", "lr", "lr"]
    assert [run.record.spec.seed for run in runs[:2]] == [1, 2]
    assert repr(runs) == "<4 runs of caml, lr on notes.csv>"
    assert "<table>" in runs._repr_html_()
    assert repr(runs.table()).startswith("**Own runs on notes.csv")
    assert runs.table().text("latex").startswith("\\begin{table}")


def test_runs_are_stored_and_found_again(runs: icdbench.Results) -> None:
    stored = icdbench.results("results")
    assert {run.id for run in stored} == {run.id for run in runs}
    assert all(run.folder.is_dir() for run in stored)
    one = runs.frame().query("system == 'lr' and split == 'test' and rule == 'fixed' and metric == 'f1_micro'")
    assert one["value"].tolist() == [run.metrics()["f1_micro"] for run in runs[2:]]


def test_predictions_give_the_metrics_of_the_record(runs: icdbench.Results) -> None:
    for run in (runs[0], runs[2]):
        for split in ("validation", "test"):
            found = run.predictions(split)
            assert found["probability"].shape == found["gold"].shape == (10, 3)
            again = icdbench.evaluate(found["probability"], found["gold"], unseen=found["unseen"])
            assert again == {key: run.metrics(split=split)[key] for key in again}


def test_predictions_as_one_parquet_file(runs: icdbench.Results, tmp_path: Path) -> None:
    table = pd.read_parquet(runs.export_predictions(tmp_path / "all.parquet"))
    assert len(table) == 4 * 2 * 10 * 3
    first = table[(table["run"] == runs[0].id) & (table["split"] == "test")]
    wide = first.pivot_table(index="document", columns="code", values="probability", sort=False)
    expected = runs[0].predictions()["probability"]
    assert np.array_equal(wide[list(expected.columns)].to_numpy(), expected.to_numpy())


def test_two_systems_are_compared(runs: icdbench.Results) -> None:
    found = runs.compare("caml", "lr", resamples=100)
    assert "f1_micro" in found.data.differences
    assert "caml and lr on notes.csv" in repr(found)


def test_a_figure_is_drawn(runs: icdbench.Results) -> None:
    assert runs.figure("fig2").axes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda runs: runs.compare("caml", "laat"), "no run of 'laat'"),
        (lambda runs: runs.figure("fig9"), "no figure 'fig9'"),
        (lambda runs: runs[0].predictions("train"), "no predictions of split 'train'"),
        (lambda runs: runs[0].metrics("loose"), "no figures of split 'test' by rule 'loose'"),
        (lambda runs: runs[:0].export_predictions("p.parquet"), "no runs"),
        (lambda _: icdbench.results("nowhere"), "'nowhere' is no folder"),
        (lambda _: icdbench.run("lr", seeds=[]), r"seeds=\[\]"),
        (lambda _: untyped.run("lr", seeds="3"), "seeds=3: give a count"),
        (lambda _: untyped.run("lr", seeds=[1.5]), r"seeds=\[1\.5\]"),
        (lambda _: icdbench.run("lr", seeds=2026), "at most 1000"),
        (lambda _: icdbench.run([]), r"models=\[\]: name at least one"),
        (lambda _: icdbench.run("lr", ""), "no data set ''"),
        (lambda _: untyped.run([None]), "models is a NoneType"),
        (lambda _: untyped.run("lr", pd.DataFrame()), r"dataset is a DataFrame, neither .* write it to a file"),
        (lambda _: untyped.open_dataset(None), "dataset is a NoneType"),
        (lambda _: untyped.tune(["lr", "caml"]), "model is a list"),
        (lambda _: untyped.score(pd.DataFrame()), "file is a DataFrame"),
        (lambda _: untyped.score("f.csv", validation=pd.DataFrame()), "validation is a DataFrame"),
        (lambda _: untyped.run("lr", settings=["train.max_epochs=1"]), "give a dict of names"),
        (icdbench.load, "the model is a Results"),
        (lambda runs: untyped.explain(runs[2], None), "the text is no str but NoneType"),
        (lambda _: icdbench.run("lr", execution=icdbench.Execution(jobs=2, devices=2)), "different ways"),
        (
            lambda _: icdbench.run("lr", execution=icdbench.Execution(jobs="two")),  # type: ignore[arg-type]
            "execution: jobs='two': input should be",
        ),
        (lambda _: icdbench.run("lr", execution=icdbench.Execution(track="mlflow")), "execution: track='mlflow': "),
        (lambda _: icdbench.run("lr", device=None), "no device 'None'"),  # type: ignore[arg-type]
        (lambda _: icdbench.load("demo/lr/1-00000000"), "no run 'demo/lr/1-00000000'"),
        (lambda _: icdbench.open_dataset("camel"), "no data set 'camel'"),
        (lambda _: icdbench.open_dataset("demo", settings={"train.x": 1}), r"train\.x: only data\.FIELD has a meaning"),
        (lambda _: icdbench.score("f.csv", settings={"caml.x": 1}), r"caml\.x: only data\.FIELD has a meaning"),
    ],
)
def test_mistakes_are_one_line(runs: icdbench.Results, call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(SpecError, match=message) as caught:
        call(runs)
    assert "\n" not in str(caught.value)


def test_paths_and_numbers_of_numpy_are_as_good_as_texts_and_ints(runs: icdbench.Results, few_notes: Path) -> None:
    for seeds in (np.int64(2), np.array([1, 2]), [np.int32(1), 2], pd.Series([1, 2])):
        again = untyped.run(["caml", "lr"], few_notes, seeds=seeds, settings=TINY, device="cpu", execution=QUIET)
        assert [run.id for run in again] == [run.id for run in runs]
    assert len(icdbench.open_dataset(few_notes).documents) == len(icdbench.open_dataset(str(few_notes)).documents)


def test_a_data_file_in_the_results_folder_is_named(few_notes: Path) -> None:
    with pytest.raises(SpecError, match=r"has a file 'notes\.csv' where the runs on 'notes\.csv' go; name another"):
        icdbench.run("lr", few_notes, settings={"data.min_documents": 1}, results=few_notes.parent, execution=QUIET)


def test_a_run_that_fails_is_told_and_the_others_are_given(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(objectives, "loss", lambda logits_BL, *_: logits_BL.sum() * float("nan"))
    with pytest.raises(icdbench.RunsFailedError, match=r"1 of 2 runs failed: notes\.csv/caml/1-") as caught:
        icdbench.run(["caml", "lr"], str(few_notes), settings=TINY, device="cpu", execution=QUIET)
    assert [run.record.spec.system for run in caught.value.results] == ["lr"]


def test_a_benchmark_brings_its_models(few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from icdbench.spec import Benchmark\n"
        f"MINE = Benchmark(name='mine', title='Mine', dataset={str(few_notes)!r}, models=('lr', 'lr@tfidf'),"
        " metrics=(('F1', 'f1_micro'),), overrides={'data.min_documents': 1})\n",
        encoding="utf-8",
    )
    found = icdbench.run(benchmark="mine.py", execution=QUIET)
    assert [run.record.spec.system for run in found] == ["lr", "lr@tfidf"]
    assert repr(found.table()).startswith("**Mine")


def test_variants_are_compared(few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = icdbench.ablate("lr", str(few_notes), settings={"data.min_documents": 1}, execution=QUIET)
    assert {"lr", "lr@tfidf"} <= {run.record.spec.system for run in found}
    assert "lr@tfidf" in repr(found.table())


def test_tuning_and_the_setting_that_it_finds(few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"data.min_documents": 1}
    found = icdbench.tune("lr", str(few_notes), trials=2, settings=settings, progress=False)
    assert sum(found.data.counts.values()) == 2
    assert re.findall(r"(?m)^\*\*(.*)\*\*$", repr(found)) == [
        "Trials of lr on notes.csv, the best first",
        "Tuning of lr on notes.csv",
    ]
    assert len(icdbench.run("lr@tuned", str(few_notes), settings=settings, execution=QUIET)) == 1


def test_the_command_that_tuning_prints_has_lists_as_they_are_typed(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"embedding_size": 8, "filters": 4, "kernel_sizes": [3, 5]}
    settings = {f"multirescnn.{name}": value for name, value in small.items()}
    settings |= {"data.min_documents": 1, "train.max_epochs": 1, "train.stop_epoch": None}
    monkeypatch.setattr(tables, "tuned", lambda _found, command, _fmt: command)
    command = icdbench.tune("multirescnn", str(few_notes), trials=1, settings=settings, progress=False).text("md")
    assert "--set multirescnn.kernel_sizes=3,5 " in command


# --- Trained models --------------------------------------------------------------------------------------------------------


def test_a_trained_model_reads_notes(runs: icdbench.Results) -> None:
    by_run, by_id, by_folder = (
        icdbench.load(each).predict(["the fever was treated"]) for each in (runs[2], runs[2].id, runs[2].folder)
    )
    assert by_run == by_id == by_folder
    assert len(by_run[0]) == 3


def test_an_explanation_has_weights_and_a_page(runs: icdbench.Results) -> None:
    found = icdbench.explain(runs[2], "the fever was treated <b>", code="038.9")
    assert found.data.code == "038.9"
    assert "| fever" in repr(found)
    assert html.escape("&lt;b&gt;") in found._repr_html_()
    with pytest.raises(SpecError, match="no format 'latex'"):
        found.text("latex")


# --- Metrics alone -------------------------------------------------------------------------------------------------------

SCORES = np.array([[0.9, 0.2, 0.4], [0.1, 0.8, 0.7]])
LABELS = np.array([[1, 0, 1], [0, 1, 0]])
CODES = ["I10", "E11", "R50"]


def test_metrics_of_arrays_sparse_matrices_and_frames_are_the_same() -> None:
    expected = metrics.evaluate(SCORES, LABELS)
    scores = pd.DataFrame(SCORES, index=["a", "b"], columns=CODES)
    labels = pd.DataFrame(LABELS, index=["a", "b"], columns=CODES)
    for given in (SCORES, SCORES.tolist(), csr_matrix(SCORES), scores):
        for gold in (LABELS, LABELS.tolist(), csr_matrix(LABELS), labels, LABELS.astype(bool)):
            assert icdbench.evaluate(given, gold) == expected


def test_frames_are_aligned_by_index_and_columns() -> None:
    scores = pd.DataFrame(SCORES, index=["a", "b"], columns=CODES)
    labels = pd.DataFrame(LABELS, index=["a", "b"], columns=CODES).iloc[::-1, [2, 0, 1]]
    assert icdbench.evaluate(scores, labels) == metrics.evaluate(SCORES, LABELS)


def test_gold_codes_as_lists_beside_a_frame_of_scores() -> None:
    scores = pd.DataFrame(SCORES, columns=CODES)
    found = icdbench.evaluate(scores, [["I10", "R50"], ["E11", "Z99"]])
    assert found == metrics.evaluate(SCORES, LABELS, unseen=np.array([0, 1]))


def test_predicted_and_gold_codes_as_lists() -> None:
    found = icdbench.evaluate([["I10"], [], ["E11", "R50"]], [["I10", "R50"], [], ["E11"]])
    assert (found["precision_micro"], found["recall_micro"]) == (2 / 3, 2 / 3)
    assert found["exact_match"] == 1 / 3
    assert not {"auc_macro", "p@5", "map"} & found.keys()


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (SCORES, LABELS[:, :2], r"labels of shape \(2, 2\) do not fit scores of shape \(2, 3\)"),
        (SCORES[0], LABELS, "scores must be a matrix"),
        (SCORES, LABELS * 2, "labels must be 0 or 1"),
        (SCORES * np.nan, LABELS, "not finite"),
        (SCORES, [["I10"], ["E11"]], "scores must be a DataFrame with a column for each code"),
        ([["I10"], ["E11"]], LABELS, "labels must be a list of codes for each document"),
        ([["I10"]], [["I10"], ["E11"]], "do not fit"),
        ([["I10"], [1]], [["I10"], ["E11"]], r"document 2: .* is no list of codes"),
        (pd.DataFrame(SCORES, columns=CODES), pd.DataFrame(LABELS, columns=["I10", "E11", "Z99"]), "labels lack column 'R50'"),
        (pd.DataFrame(SCORES, columns=["I10", "I10", "R50"]), pd.DataFrame(LABELS, columns=CODES), "scores have column 'I10' twice"),
        (pd.DataFrame(SCORES, columns=["I10", "I10", "R50"]), [["I10"], []], "scores have column 'I10' twice"),
        (pd.DataFrame(SCORES, index=[1, 2]), pd.DataFrame(LABELS), "labels lack row '2'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(scores: object, labels: object, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        icdbench.evaluate(scores, labels)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


# --- Data ----------------------------------------------------------------------------------------------------------------


def test_a_data_set_as_frames(few_notes: Path) -> None:
    opened = icdbench.open_dataset(str(few_notes))
    for key in ("data.top_codes", "top_codes"):
        assert icdbench.open_dataset(str(few_notes), settings={key: 1}).source.data.top_codes == 1
    assert opened.documents.loc["0"].to_dict() == {
        "split": "train",
        "text": "the fever was treated",
        "codes": ["038.9"],
        "group": "",
    }
    assert opened.splits["documents"].to_dict() == {"train": 20, "validation": 10, "test": 10}
    assert opened.codes.loc["038.9", ["train", "validation", "test"]].sum() == 14
    assert opened.codes["train"].is_monotonic_decreasing


def test_the_command_line_exports_predictions_as_parquet(few_notes: Path, icdbench: Call) -> None:
    words = ("--dataset", few_notes, "--set", "data.min_documents=1")
    assert icdbench("run", "--models", "lr", *words)[0] == 0
    status, out, _ = icdbench("export", "shared", "--with-predictions", "--parquet")
    assert status == 0
    assert out.splitlines()[-1] == "shared/predictions.parquet"
    assert len(pd.read_parquet("shared/predictions.parquet")) == 2 * 10 * 3
    status, _, err = icdbench("export", "bare", "--parquet")  # those of a user's own data stay behind
    assert (status, Path("bare/predictions.parquet").exists()) == (0, False)
    assert "Without predictions: notes.csv" in err


def test_records_of_the_suites_models_name_no_file(runs: icdbench.Results) -> None:
    assert {run.record.code_source for run in runs} == {""}
    assert store.load_record(runs[0].folder) == runs[0].record
