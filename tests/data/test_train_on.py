"""`data.train_on=train+validation`: epochs and threshold are chosen without the validation documents, which are then learned from."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import runs
from codiesp import small as small_codiesp
from conftest import Call
from corpora import write
from mimic import small as small_mimic

import icdbench.run as runner
from icdbench import registry
from icdbench.data import datasets
from icdbench.evaluation import analysis, measure
from icdbench.experiments import tune
from icdbench.records import comparable, store
from icdbench.settings import SpecError
from icdbench.types import Corpus, quiet

BOTH = {"data.train_on": "train+validation"}
WITH_BOTH = ("--set", "data.train_on=train+validation")

pytestmark = pytest.mark.slow


def corpus(train_on: str, **changes: object) -> Corpus:
    return datasets.open("demo", settings={"train_on": train_on, **changes}).corpus()


@pytest.mark.usefixtures("shared_cache")
def test_validation_documents_follow_those_of_training_and_test_stays_as_it_is() -> None:
    alone, both = corpus("train"), corpus("train+validation")
    assert both.splits["train"].ids == alone.splits["train"].ids + alone.splits["validation"].ids
    assert both.splits["validation"].ids == ()
    assert both.splits["test"].ids == alone.splits["test"].ids
    assert both.vocabulary.codes == alone.vocabulary.codes  # the 50 most frequent codes of another task might differ
    assert both.fingerprint == alone.fingerprint
    assert len(both.vocabulary.tokens) > len(alone.vocabulary.tokens)


def test_without_a_fixed_number_of_codes_those_of_validation_can_be_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICDBENCH_CACHE", str(tmp_path / "cache"))
    split = ["train", "train", "validation", "test"]
    codes = ["038.9", "428.0", "250.00", "250.00;401.9"]
    documents = [{"id": str(at), "text": "fever", "codes": codes[at], "split": split[at]} for at in range(4)]
    path = write(tmp_path / "notes.csv", documents)
    alone, both = (
        datasets.open(str(path), settings={"train_on": train_on, "min_documents": 1}).corpus()
        for train_on in ("train", "train+validation")
    )
    assert alone.vocabulary.codes == ("038.9", "428.0")
    assert both.vocabulary.codes == ("038.9", "250.00", "428.0")
    assert [each.splits["test"].unseen.tolist() for each in (alone, both)] == [[2], [1]]


def test_marks_of_validation_documents_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICDBENCH_CACHE", str(tmp_path / "cache"))
    root = small_codiesp(tmp_path / "data")
    settings = {"language": "es", "min_documents": 1, "spans": True}
    alone, both = (
        datasets.open("codiesp-d", root, {**settings, "train_on": train_on}).corpus().splits["train"].marks
        for train_on in ("train", "train+validation")
    )
    assert alone
    assert both
    assert len(both.codes) > len(alone.codes)
    assert len(both.offsets) > len(alone.offsets)


@pytest.mark.parametrize("model", registry.entries())
def test_a_run_has_the_epochs_and_the_threshold_of_the_same_run_without_validation(tmp_path: Path, model: str) -> None:
    epochs = {"train.max_epochs": 3} if registry.entry(model).uses_trainer else {}
    record, folder = runs.train(tmp_path, model, changes={**BOTH, **epochs})
    (alone,) = [each for each in store.load_records(tmp_path / "results") if each.id != record.id]
    assert alone.spec.data.train_on == "train"
    assert alone.spec.config == record.spec.config
    assert "data.train_on" in record.changed
    assert "data.train_on" not in alone.changed
    assert record.notes[-1] == f"epochs and threshold of {alone.id}"
    assert record.data.documents == {"train": 50, "validation": 0, "test": 10}
    assert record.threshold == alone.threshold
    assert [*record.metrics] == ["test"]
    assert {"fixed", "tuned"} == record.metrics["test"].keys()
    assert len(record.history) == (alone.best_epoch.epoch if alone.best_epoch else 0)
    assert record.best_epoch == (record.history[-1] if record.history else None)
    assert not any({"map", "validation_loss"} & epoch.figures.keys() for epoch in record.history)
    assert [*store.load_predictions(folder, record)] == ["test"]
    assert measure.remeasure(folder, record) == record


def test_a_stored_run_without_validation_is_used_and_a_repetition_ends_with_the_same_weights(tmp_path: Path) -> None:
    settings = {"train.monitor": "map", "train.max_epochs": 4}
    alone, folder = runs.train(tmp_path, changes=settings)
    written = (folder / store.RECORD).stat().st_mtime_ns
    first, place = runs.train(tmp_path, changes={**BOTH, **settings})
    assert first.notes[-1].endswith(alone.id)
    assert (folder / store.RECORD).stat().st_mtime_ns == written
    (again_in := tmp_path / "again").mkdir()
    again, other = runs.train(again_in, changes={**BOTH, **settings})
    assert (again.metrics, again.threshold) == (first.metrics, first.threshold)
    one, two = store.load_weights(place, first), store.load_weights(other, again)
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_such_runs_have_a_table_of_their_own_which_says_what_they_learned_from(notes: Path, icdbench: Call) -> None:
    assert icdbench("run", "--models", "lr", "--dataset", notes)[0] == 0
    status, out, _ = icdbench("run", "--models", "lr", "--dataset", notes, *WITH_BOTH)
    assert status == 0
    assert "train_on=train+validation" in out
    assert "are those of validation: epochs and threshold are those of the same runs" in out
    records = store.load_records(Path("results"))
    assert len(comparable.blocks(records)) == 2
    found = analysis.analyse(records, [Path("results")])
    assert all(found.figures.values())
    names = {each.id: {figure.metric for figure in found.figures[each.id]} for each in records}
    both = next(each.id for each in records if each.spec.data.train_on != "train")
    assert names.pop(both)
    for command in (
        ("report",),
        ("tables", "table5"),
        ("show", both),
        ("bundle", both, "--out", "mine.icdbench"),
        ("runs", "--remeasure"),
    ):
        assert icdbench(*command)[0] == 0, command


def test_sizes_of_the_data_are_shown(notes: Path, icdbench: Call) -> None:
    status, out, _ = icdbench("data", "describe", notes, *WITH_BOTH)
    assert status == 0
    assert re.search(r"\b50 +\| +0 +\| +10\b", out)


def test_published_counts_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICDBENCH_CACHE", str(tmp_path / "cache"))
    small_mimic().write(tmp_path / "mimic3")
    alone, both = (
        datasets.open("mimic50", tmp_path, {"train_on": train_on, "top_codes": 2, "min_documents": 1}).unlike_published(
            quiet
        )
        for train_on in ("train", "train+validation")
    )
    assert alone
    assert not both


def test_settings_for_small_data_depend_on_the_documents_of_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from icdbench import resolution

    monkeypatch.setattr(resolution, "SMALL", 45)  # 40 documents of training, 50 with validation
    path = write(tmp_path / "notes.csv", runs.rows())
    request = runner.Request(["bigru"], str(path), changes={"data.code_system": "icd9cm", **BOTH})
    (found,) = runner.resolved(request)
    assert found.planned.adapted


def test_tune_says_that_no_documents_are_left_to_compare_trials_on(tmp_path: Path) -> None:
    path = write(tmp_path / "notes.csv", runs.rows())
    request = runner.Request(["lr"], str(path), changes=BOTH, results=tmp_path / "results")
    with pytest.raises(SpecError, match=r"data\.train_on=train\+validation leaves no documents to compare trials on"):
        tune.tune(request, 1)


def test_a_wrong_value_names_those_that_there_are(icdbench: Call) -> None:
    status, _, err = icdbench("run", "--models", "lr", "--set", "data.train_on=all")
    assert status == 2
    assert "data.train_on" in err
    assert "train+validation" in err
