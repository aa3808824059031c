"""Studies from end to end: what is run, what is run once, which table or figure it ends in."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Call
from places import PAPER
from runs import printed_table, record

from icdbench import registry
from icdbench.experiments import ablate
from icdbench.presentation import catalog, formats
from icdbench.presentation.catalog import studies
from icdbench.records import store
from icdbench.records.record import Epoch
from icdbench.run import Request
from icdbench.settings import SpecError
from icdbench.spec import Benchmark
from icdbench.training import objectives
from icdbench.training.score import probabilities

TINY = [
    *("--set", "jlan.embedding_size=4", "--set", "jlan.hidden_size=4", "--set", "jlan.attention_size=3"),
    *(
        "--set",
        "data.embeddings=random",
        "--set",
        "data.max_tokens=8",
        "--set",
        "train.batch_size=20",
        "--device",
        "cpu",
    ),
]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- What is asked for ---------------------------------------------------------------------------------------------------


def test_studies_are_those_of_the_paper() -> None:
    assert set(studies("jlan")) == {"attention", "joint", "denoise", "t-loss", "blocks"}
    planned = {study: ablate.plan(Request(["jlan"]), studies("jlan"), study)[0] for study in studies("jlan")}
    assert planned["attention"][1].models == ["jlan@label-only", "jlan@self-only", "jlan@no-joint", "jlan"]
    assert planned["t-loss"][1].models == ["jlan@t-loss-0.05", "jlan@t-loss-0.1", "jlan", "jlan@t-loss-0.2"]
    assert planned["blocks"][1].models == ["jlan", "jlan@blocks-2", "jlan@blocks-3"]
    assert planned["denoise"][1].models == ["jlan", "jlan@no-denoise"]
    assert planned["joint"][1].models == ["jlan", "jlan@no-joint"]
    assert [benchmark.study for benchmark, _ in ablate.plan(Request(["jlan"]), studies("jlan")) if benchmark] == list(
        studies("jlan")
    )


def test_every_system_of_a_study_is_a_declared_variant() -> None:
    for benchmark in catalog.benchmarks().values():
        for system in benchmark.systems if benchmark.study else []:
            base, _, variant = system.partition("@")
            registry.entry(base).variant(variant)


def test_variants_set_what_the_tables_rows_say() -> None:
    jlan = registry.entry("jlan")
    for label, (system, _) in catalog.chosen("table3")[0].published.items():
        default = {"t_loss": 0.15}
        assert (jlan.variant(system.partition("@")[2]).train or default) == {"t_loss": float(label.partition("=")[2])}
    for label, (system, _) in catalog.chosen("table4")[0].published.items():
        assert (jlan.variant(system.partition("@")[2]).model or {"blocks": 1}) == {"blocks": int(label[-1])}


def test_the_data_set_chooses_the_papers_columns() -> None:
    for dataset, name in (("mimic50", "table3"), ("mimic-full", "table3-full"), ("demo", "table3")):
        ((benchmark, _),) = ablate.plan(Request(["jlan"], dataset), studies("jlan"), "t-loss")
        assert benchmark is not None
        assert benchmark.name == name


def test_fifty_epochs_for_all_unless_the_user_says_otherwise() -> None:
    ((_, asked),) = ablate.plan(Request(["jlan"]), studies("jlan"), "joint")
    assert asked.changes == {"train.max_epochs": 50, "train.patience": 50}
    ((_, asked),) = ablate.plan(Request(["jlan"], changes={"train.max_epochs": "3"}), studies("jlan"), "joint")
    assert asked.changes == {"train.max_epochs": "3", "train.patience": 50}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("jlan", "--study", "t-los"), "no study 't-los'; did you mean 't-loss'"),
        (("jlann",), "no model 'jlann'; did you mean 'jlan'"),
        (("jlan@no-joint",), "'jlan@no-joint' is a variant; ablate takes a model, such as 'jlan'"),
        (("knn",), "model 'knn' has no variants"),
        (("caml", "--study", "joint"), "model 'caml' has no study 'joint'"),
        (("jlan", "--set", "train.max_epoch=2"), "did you mean 'max_epochs'"),
        (("jlan", "--format", "markdwn"), "no format 'markdwn'"),
        (("jlan", "--dataset", "mimic-50"), "did you mean 'mimic50'"),
    ],
)
def test_bad_requests_get_one_line_and_status_2(icdbench: Call, words: tuple[str, ...], message: str) -> None:
    status, out, err = icdbench("ablate", *words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


# --- What is printed -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text lies outside the repository")
@pytest.mark.parametrize("number", [3, 4])
def test_published_cells_are_the_papers(number: int) -> None:
    text = PAPER.read_text(encoding="utf-8").partition(f"\nTable {number} Performance")[2]
    full, fifty = catalog.chosen(f"table{number}-full")[0], catalog.chosen(f"table{number}")[0]
    for label in fifty.published:
        words = text.partition(f"\n{label} ")[2].split()[:4]
        figures = [f"{100 * float(word):.1f}" for word in words]
        assert figures == [*full.published[label][1], *fifty.published[label][1]]


def test_own_figures_stand_under_the_published_ones_of_the_same_data_alone() -> None:
    table3 = catalog.chosen("table3")[0]
    same, other = record(dataset="mimic50", value=0.65), record(dataset="demo", synthetic=True, value=0.99)
    shown = rows(printed_table(table3, [same, other, record("caml", dataset="mimic50")], "csv"))
    paper = [row for row in shown if row["table"].startswith("Table 3")]
    assert [row["figures"] for row in paper if row["system"].startswith("jlan")] == ["mimic50, 1 seed", "difference"]
    assert [row["F1 micro"] for row in paper if row["figures"] == "difference"] == ["+2.3"]
    assert "99.0" not in str(paper)
    assert not any(row["system"].startswith("caml") for row in shown)
    (own,) = [row for row in shown if row["table"].startswith("Other data")]
    assert (own["config"], own["F1 micro"]) == ("T-loss=0.15", "99.0")


def test_a_figure_is_a_mean_by_epoch_and_blank_where_a_run_had_stopped() -> None:
    def run(seed: int, variant: str, losses: list[float]) -> object:
        made = record(dataset="demo", seed=seed, variant=variant)
        history = [
            Epoch.model_validate({"epoch": n, "monitor": 0.1, "p@5": 0.1 * n, "loss": loss})
            for n, loss in enumerate(losses, 1)
        ]
        return made.model_copy(update={"history": history})

    runs = [run(1, "", [0.5, 0.25]), run(2, "", [0.7]), run(1, "no-joint", [0.9, 0.8, 0.7])]
    shown = rows(printed_table(catalog.chosen("figure7")[0], runs, "csv"))  # type: ignore[arg-type]
    table = {(row["epoch"], row["config"]): row for row in shown}
    assert list(table) == [
        ("1", "with joint learning"),
        ("1", "without"),
        ("2", "with joint learning"),
        ("2", "without"),
        ("3", "without"),
    ]
    assert table["1", "with joint learning"]["training loss"] == "0.6000"
    assert table["1", "with joint learning"]["training loss sd"] == "0.1414"
    assert table["2", "with joint learning"]["training loss"] == ""
    assert table["3", "without"]["training loss"] == "0.7000"
    assert table["3", "without"]["P@5"] == "30.0"
    assert table["3", "without"]["validation loss"] == ""  # runs of earlier versions have none


@pytest.mark.parametrize("fmt", formats.FORMATS)
@pytest.mark.parametrize("name", ["figure6", "figure7", "figure8", "table4"])
def test_every_study_has_every_format_with_and_without_runs(name: str, fmt: str) -> None:
    benchmark = catalog.chosen(name)[0]
    empty = printed_table(benchmark, [], fmt)
    assert "ablate" in empty or name == "table4" or fmt == "csv"  # which has no place for notes without rows
    assert "jlan" in printed_table(benchmark, [record(dataset="demo", synthetic=True)], fmt)


def test_stored_runs_enter_a_figure_if_they_have_its_settings() -> None:
    fifty = record(changed={"train.max_epochs": 50, "train.patience": 50})
    found = catalog.of_study(catalog.chosen("figure7")[0], [record(), fifty])
    assert [each.id for each in found] == [fifty.id]
    assert len(catalog.of_study(catalog.chosen("table3")[0], [record(), fifty])) == 2


# --- From end to end -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_studies_share_their_runs_and_finished_ones_are_kept(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    words = ("ablate", "jlan", "--dataset", few_notes, *TINY, "--set", "train.max_epochs=2")
    status, out, err = icdbench(*words, "--study", "t-loss")
    assert status == 0, err
    assert "Table 3" in out
    assert "T-loss=0.2" in out
    assert "not comparable" in out
    assert "epoch 2/2" not in out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/**/record.json")}
    assert len(before) == 4

    status, out, err = icdbench(*words)
    assert status == 0, err
    for title in ("Table 3", "Table 4", "Figure 6", "Figure 7", "Figure 8"):
        assert f"**{title}" in out
    records = store.load_records(tmp_path / "results")
    # Eight systems stop as they like, three of them also run for figures 7 and 8, which have a patience of their own.
    assert len(records) == 9 + 3
    assert {path: path.stat().st_mtime_ns for path in before} == before

    status, again, _ = icdbench(*words)
    assert (status, again) == (0, out)
    assert len(store.load_records(tmp_path / "results")) == len(records)


@pytest.mark.slow
def test_no_run_of_figure_7_stops_early(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    words = ("ablate", "jlan", "--dataset", few_notes, *TINY, "--study", "joint", "--set", "train.learning_rate=1e-9")
    status, out, err = icdbench(*words, "--format", "csv")
    assert status == 0, err
    assert {len(each.history) for each in store.load_records(tmp_path / "results")} == {50}  # though nothing is learned
    assert [row["epoch"] for row in rows(out)] == [str(epoch) for epoch in range(1, 51) for _ in range(2)]
    assert all(row["validation loss"] for row in rows(out))


@pytest.mark.slow
def test_the_validation_loss_is_the_whole_cross_entropy(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    one = ("--set", "train.max_epochs=1", "--set", "train.ramp_epochs=1")
    assert icdbench("ablate", "jlan", "--dataset", few_notes, *TINY, *one, "--study", "denoise")[0] == 0
    for each in store.load_records(tmp_path / "results"):
        held = store.load_predictions(store.folder(tmp_path / "results", each), each)["validation"]
        labels_NL = held.labels.toarray()
        chances_NL = probabilities(held.scores_NL)
        expected = -np.log(np.where(labels_NL > 0, chances_NL, 1 - chances_NL)).mean()
        assert each.history[0].figures["validation_loss"] == pytest.approx(expected, rel=1e-5)
        assert (each.history[0].dropped > 0) == (each.spec.variant == "")


def test_variants_that_predict_other_codes_are_no_part_of_a_comparison() -> None:
    ((_, request),) = ablate.plan(Request(["stacked"]), {})
    assert {"stacked", "stacked@no-pooled"} <= set(request.models)
    assert {"stacked@titles", "stacked@evidence"}.isdisjoint(request.models)
    with pytest.raises(SpecError, match="'phrases' has no variants of the same codes"):
        ablate.plan(Request(["phrases"]), {})


@pytest.mark.slow
def test_a_model_without_studies_is_compared_with_all_its_variants(
    icdbench: Call, few_notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "benchmarks", dict[str, Benchmark])
    with pytest.raises(SpecError, match="leave --study out"):
        ablate.plan(Request(["jlan"]), studies("jlan"), "joint")
    status, out, err = icdbench("ablate", "jlan", "--dataset", few_notes, *TINY, "--set", "train.max_epochs=1")
    assert status == 0, err
    assert all(f"jlan@{variant} " in out for variant in registry.entry("jlan").variants)
    assert "| jlan " in out


@pytest.mark.slow
def test_a_run_that_diverges_is_told_and_the_others_are_shown(
    icdbench: Call, few_notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = objectives.loss

    def loss(logits_BL: Any, labels_BL: Any, count: int, each: Any) -> object:
        return whole(logits_BL, labels_BL, count, each) * (float("nan") if count else 1)

    monkeypatch.setattr("icdbench.training.objectives.loss", loss)
    words = ("--study", "denoise", "--set", "train.max_epochs=1", "--set", "train.ramp_epochs=1")
    status, out, err = icdbench("ablate", "jlan", "--dataset", few_notes, *TINY, *words)
    assert status == 1
    assert "without" in out
    assert "with denoising" not in [line.split("|")[2].strip() for line in out.splitlines() if line.startswith("|")]
    assert "1 of 2 runs failed" in err
