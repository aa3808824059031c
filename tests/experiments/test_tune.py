"""Tuning from end to end: what is searched, what is kept, what a trial may see, and how it goes on."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import alembic.util
import browsers
import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from conftest import Call
from systems import NEURAL, TEXTS, neural, padded, small

import icdbench.run as runner
from icdbench import registry, train
from icdbench.data import datasets, encode
from icdbench.experiments import importance, tune
from icdbench.experiments import trials as kept
from icdbench.experiments.search_space import Parameter, parameters
from icdbench.experiments.tune import Standing
from icdbench.presentation import tables
from icdbench.records import store
from icdbench.run import Request
from icdbench.settings import Range, SpecError, TrainingError
from icdbench.spec import DataSpec, RunSpec, TrainSpec
from icdbench.training import objectives
from icdbench.training.state import Progress
from icdbench.types import Corpus

pytestmark = pytest.mark.slow

FAST: dict[str, Any] = {"caml.filters": 4, "caml.embedding_size": 6, "train.max_epochs": 2}
FAST |= {"data.embeddings": "random", "data.max_tokens": 8}
FIXED = [word for name, value in FAST.items() for word in ("--set", f"{name}={value}")]
WORDS = ("tune", "caml", *FIXED, "--device", "cpu", "--dataset")


@pytest.fixture(autouse=True)
def _plots_are_drawn_for_one_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take half of the time of a few trials."""
    if request.function is not test_the_best_setting_is_stored_shown_and_run:
        monkeypatch.setattr(tune, "draw", lambda *_, **__: None)


@pytest.fixture(autouse=True, scope="module")
def _migrations_are_read_once() -> Iterator[None]:
    """Each new storage imports all of Optuna's anew, though it only notes that it has the last."""
    read = alembic.util.load_python_file
    once = functools.cache(read)

    def load(folder: Any, name: Any) -> ModuleType:
        return (read if name == "env.py" else once)(folder, name)  # which acts when it is imported

    with mock.patch.object(alembic.util, "load_python_file", load):
        yield


def request(notes: Path, tmp_path: Path, **changes: Any) -> Request:
    asked = {**FAST, **{name.replace("__", "."): value for name, value in changes.items()}}
    return Request(["caml"], str(notes), changes=asked, results=tmp_path / "results", device="cpu")


def trials(tmp_path: Path) -> list[optuna.trial.FrozenTrial]:
    """All trials of the one study below the results folder."""
    (path,) = (tmp_path / "results").glob("tuning/*/*.db")
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        (study,) = optuna.get_all_study_summaries(storage)
        return optuna.load_study(study_name=study.study_name, storage=storage).trials
    finally:
        storage.engine.dispose()


# --- What is searched ----------------------------------------------------------------------------------------------------


def test_all_fields_with_a_range_are_searched_but_those_that_are_set(few_notes: Path, tmp_path: Path) -> None:
    def names(model: str, **changes: Any) -> set[str]:
        asked = {name.replace("__", "."): value for name, value in changes.items()}
        (planned,) = runner.expand(Request([model], str(few_notes), changes=asked, results=tmp_path / "results"))
        return {each.name for each in parameters(registry.entry(model), planned.spec, asked)}

    training = {"train.learning_rate", "train.weight_decay"}
    assert names("caml") >= training | {"caml.filters", "caml.kernel_size", "caml.dropout"}
    assert not names("caml", caml__filters="50") & {"caml.filters", "train.t_loss"}
    assert names("jlan") >= training | {"jlan.blocks", "train.t_loss"}
    assert "train.t_loss" not in names("jlan", train__objective="bce")
    assert names("lr") == {"lr.C", "lr.features", "lr.longest", "lr.penalty", "lr.number"}  # it is fitted as a whole
    assert names("lr", lr__penalty="l2") == {"lr.C", "lr.features", "lr.longest"}
    assert names("lr", lr__penalty="l1") == {"lr.C", "lr.features", "lr.longest", "lr.number"}


def test_training_is_searched_for_a_network_that_is_registered_as_a_function(few_notes: Path, tmp_path: Path) -> None:
    (planned,) = runner.expand(Request(["caml"], str(few_notes), results=tmp_path / "results"))
    entry = registry.entry("caml")
    made = replace(entry, cls=functools.partial(entry.cls))
    assert parameters(made, planned.spec, {}) == parameters(entry, planned.spec, {})


@pytest.mark.parametrize("system", NEURAL)
def test_what_is_searched_has_an_effect_and_what_is_left_out_has_none(system: str) -> None:
    """Models that differ in one field alone have other weights, or compute something else from the same ones."""
    config = small(system).config
    for field, each in config.ranges().items():
        values = (each.choices[0], each.choices[-1]) if each.choices else (each.low, each.high)
        if isinstance(getattr(config, field), int) and not each.choices:
            values = (4, 16)
        first, second = (_trained_mode_outcome(system, field, value) for value in values)
        same = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
        assert same == (field in config.idle()), field


def _trained_mode_outcome(system: str, field: str, value: Any) -> dict[str, torch.Tensor]:
    """The weights of a new model of these settings, and its logits with dropout."""
    model = neural(system, **{field: value})
    torch.manual_seed(1)
    return {**model.state_dict(), "logits": model(padded(TEXTS)).detach()}


def test_every_range_can_be_drawn_from_and_gives_valid_settings() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for name, entry in registry.entries().items():
        config = entry.config()
        for field, each in config.ranges().items():
            parameter = Parameter(f"{name}.{field}", each, getattr(config, field))
            for _ in range(5):
                value = parameter.draw(study.ask())
                assert parameter.range.holds(value)
                assert type(value) is type(parameter.start)
                config.override({field: value}, name)


def test_a_range_of_training_holds_what_the_model_declares() -> None:
    for entry in registry.entries().values():
        ranges = entry.train_ranges
        assert all(ranges[field].holds(value) for field, value in entry.train.items() if field in ranges)
    assert registry.entry("caml").train_ranges == TrainSpec.ranges()
    slow = registry.entry("plm-icd").train_ranges["learning_rate"]
    assert slow.log
    assert [slow.low, slow.high] == pytest.approx([5e-6, 5e-4])
    assert Range(0.0, 0.3).holding(0.5) == Range(0.0, 0.5)
    assert Range(choices=(4, 16)).holding(10) == Range(choices=(4, 10, 16))


def test_a_value_outside_its_range_cannot_be_drawn() -> None:
    assert not Range(0.0, 0.3).holds(0.31)
    assert not Range(choices=(3, 5)).holds(4)


# --- What is found -------------------------------------------------------------------------------------------------------


@pytest.mark.counted
def test_the_best_setting_is_stored_shown_and_run(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    status, out, err = icdbench(*WORDS, few_notes, "--trials", 10, "--set", "train.monitor=map")
    assert status == 0, err
    assert "[trial 10/10]" in err
    assert "left" in err
    shown = [float(value) for value in re.findall(r"(?m)^\| +\d+ \| +\**([\d.]+)\** \| complete", out)]
    assert len(shown) == 10
    assert shown == sorted(shown, reverse=True)
    assert "Budget: 10 trials (10 complete, 0 pruned, 0 failed); each at most 2 epochs, patience 10; seed 0." in out
    assert "from 10 complete trials of 5 parameters; a rough estimate, reliable from about 50" in out
    folder = tmp_path / "results" / "tuning" / "notes.csv"
    plots = [f"caml.{what}.{kind}" for what in ("history", "importance", "parallel") for kind in ("png", "svg")]
    assert sorted(path.name for path in folder.glob("[!.]*")) == sorted(
        ["caml.db", "caml.html", "caml.json", "caml.trials.csv", *plots]
    )
    assert not list(tmp_path.rglob("*.safetensors"))
    stored = json.loads((folder / "caml.json").read_text())
    done = trials(tmp_path)
    page = (folder / "caml.html").read_text()
    assert page.count("<tr>") == 2 + 10 + 5  # two headers, trials, parameters
    assert page.count('src="data:image/svg+xml;base64,') == 3
    history = (folder / "caml.history.svg").read_text()
    ticks = re.findall(r'(?s)id="xtick_\d+">.*?<!-- (.*?) -->', history)
    assert set(ticks) <= set(map(str, range(1, 11)))
    assert len(ticks) > 2
    best = max(done, key=lambda trial: trial.value or 0)
    assert stored["value"] == best.value
    assert stored["trials"] == {"complete": 10, "pruned": 0, "failed": 0}
    assert stored["settings"]["train"]["learning_rate"] == best.params["train.learning_rate"]
    assert stored["settings"]["train"]["max_epochs"] == 2  # what was held fixed belongs to the setting
    assert stored["settings"]["model"]["filters"] == 4
    assert stored["versions"]["optuna"] == optuna.__version__
    cells = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in out.splitlines() if line[:2] == "| "}
    small = registry.entry("caml").small  # as a run on so few documents has them
    assert (cells["caml.kernel_size"], cells["train.learning_rate"]) == ("6", str(small["learning_rate"]))
    assert "paper" not in out

    command = shlex.split(out.splitlines()[-1].removeprefix("- "))
    assert command[:4] == ["icdbench", "run", "--models", "caml,caml@tuned"]
    status, out, err = icdbench(*command[1:], "--device", "cpu", "--seeds", "0,1")
    assert status == 0, err
    assert "| caml@tuned " in out
    assert "| caml (" in out or "| caml " in out
    tuned = [record for record in store.load_records(tmp_path / "results") if record.spec.system == "caml@tuned"]
    assert {record.spec.train.learning_rate for record in tuned} == {best.params["train.learning_rate"]}
    assert {record.spec.config["dropout"] for record in tuned} == {best.params["caml.dropout"]}
    assert max(epoch.monitor for epoch in tuned[0].history) == best.value  # the same run
    assert all("caml@tuned" in record.id and not record.adapted for record in tuned)


def test_trials_have_the_word_vectors_of_the_runs_of_their_seed(few_notes: Path, tmp_path: Path) -> None:
    asked = request(few_notes, tmp_path, data__embeddings="word2vec", data__vectors_per_seed=True)
    found = tune.tune(asked, 1, seed=3)
    (planned,) = runner.expand(replace(asked, seeds=(3,)))
    assert found.first == max(epoch.monitor for epoch in runner.execute(planned, asked).history)


@pytest.mark.counted
def test_the_command_compares_equal_budgets(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    held = ("--set", "train.patience=1", "--set", "train.monitor=map", "--set", "data.split_seed=3")
    status, out, err = icdbench(*WORDS, few_notes, "--trials", 3, *held)
    assert status == 0, err
    command = shlex.split(out.splitlines()[-1].removeprefix("- "))
    assert out.splitlines()[-2].endswith("both with at most 2 epochs and patience 1:")
    status, _, err = icdbench(*command[1:], "--device", "cpu")
    assert status == 0, err
    start, tuned = (
        [record.spec for record in store.load_records(tmp_path / "results") if record.spec.system == system]
        for system in ("caml", "caml@tuned")
    )
    searched = {"learning_rate", "weight_decay", "batch_size", "kernel_size", "dropout"}
    assert [spec.seed for spec in start] == [spec.seed for spec in tuned] == [1, 2, 3]
    for one, other in zip(start, tuned, strict=True):
        assert one.data == other.data
        assert one.train.model_dump(exclude=searched) == other.train.model_dump(exclude=searched)
        assert {k: v for k, v in one.config.items() if k not in searched} == {
            k: v for k, v in other.config.items() if k not in searched
        }
    first, *_, last = store.load_records(tmp_path / "results")
    longer = first.spec.model_copy(update={"train": first.spec.train.override({"max_epochs": 9}, "train")})
    beside = tables.comparison([first.model_copy(update={"spec": longer, "id": longer.id}), last])
    assert "do not compare like with like: max_epochs 2 and 9." in beside
    assert "like with like" not in tables.comparison([first, last])
    again = icdbench(*WORDS, few_notes, "--trials", 3, *held)[1]
    assert "(standard deviation of 3 stored runs)" in again


def found(**changes: Any) -> tune.Outcome:
    """An outcome of 30 trials of two parameters that gained 2 points."""
    spec = RunSpec(dataset="demo", fingerprint="", model="caml", data=DataSpec(), train=TrainSpec(), config={})
    searched = [Parameter(f"caml.{name}", Range(0, 1), 0.5, 0.25, 0.5) for name in ("dropout", "filters")]
    made = tune.Outcome(
        spec=spec,
        adapted={},
        parameters=searched,
        fixed={},
        by_epochs=True,
        monitor="p@5",
        value=0.62,
        first=0.6,
        seeds=[],
        trial=7,
        trials=[],
        counts={"complete": 30, "pruned": 0, "failed": 0},
        failures=[],
        seed=0,
        path=Path("results/tuning/demo/caml.json"),
    )
    return replace(made, **changes)


UNSURE = [Parameter(f"caml.{name}", Range(0, 1), 0.5, 0.25) for name in ("dropout", "filters")]
SAID: list[tuple[dict[str, Any], str]] = [
    ({}, "Validation P@5: 62.0 in trial 7, 60.0 at the start: gain 2.0."),
    ({"value": 0.4326, "first": 0.4115}, "Validation P@5: 43.3 in trial 7, 41.1 at the start: gain 2.2."),
    ({}, "no two seeds of the start are stored, so how far the seed alone moves the figure is not known"),
    ({"seeds": [0.60, 0.62, 0.58]}, "by ± 2.0 (standard deviation of 3 stored runs); the gain is within twice that"),
    ({"seeds": [0.60, 0.601]}, "by ± 0.1 (standard deviation of 2 stored runs); the gain is more than twice that"),
    ({"value": 0.6}, "Nothing better than the start (60.0 p@5 on validation) was found"),
    ({"first": None}, "The start has no value to compare with"),
    ({}, "each at most 200 epochs, patience 10"),
    ({}, "(fANOVA), from 30 complete trials of 2 parameters."),
    ({"counts": {"complete": 19, "pruned": 30, "failed": 0}}, "a rough estimate, reliable from about 20."),
    (
        {"parameters": UNSURE, "counts": {"complete": 1, "pruned": 0, "failed": 3}},
        "Importance: not estimated from 1 complete trial of 2 parameters; 4 are needed.",
    ),
    ({"parameters": UNSURE}, "Importance: not estimated from 30 complete trials of 2 parameters; all gave the same value."),
    ({"parameters": UNSURE[:1]}, "Importance: not estimated; a single parameter is searched."),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), SAID)
def test_what_was_gained_and_how_sure_it_is(changes: dict[str, Any], said: str) -> None:
    text = tables.tuned(found(**changes), "icdbench run")
    assert said in text
    assert ("- icdbench run\n" in text) == ("Nothing better" not in text)


def tried() -> tune.Outcome:
    """An outcome with five trials of ten parameters, of which the last has the greatest importance of those that are named."""
    names = {"caml.dropout": 0.5, "caml.filters": 50, "train.learning_rate": 0.00123456, "train.weight_decay": 1e-6}
    more = {f"train.field_{number}": 0.1 for number in range(6)}
    search = [Parameter(name, Range(0, 1), start, start, share) for share, (name, start) in enumerate(names.items())]
    search += [Parameter(name, Range(0, 1), 0.1, 0.1, 0) for name in more]
    space: dict[str, optuna.distributions.BaseDistribution]
    space = {each.name: optuna.distributions.FloatDistribution(0, 100) for each in search}
    study = optuna.create_study(direction="maximize")
    states = optuna.trial.TrialState
    ended = (states.COMPLETE, states.PRUNED, states.FAIL, states.COMPLETE, states.COMPLETE)
    for number, (state, value) in enumerate(zip(ended, (0.6, 0.7, None, 0.62, 0.1), strict=True)):
        drawn = {**names, **more, "caml.dropout": 0.5 + number / 10}
        study.add_trial(optuna.create_trial(state=state, value=value, params=drawn, distributions=space))
    return found(parameters=search, trials=study.trials, trial=4, counts={"complete": 3, "pruned": 1, "failed": 1})


browser = pytest.fixture(browsers.started, scope="module", name="browser")
watched = pytest.fixture(browsers.watching, name="watched")


def test_nothing_on_the_page_of_tuning_is_hard_to_read(watched: browsers.Watched, tmp_path: Path) -> None:
    path = tmp_path / "caml.html"
    path.write_text(tables.tuning_page(tried(), "icdbench run"), encoding="utf-8")
    page = watched.open(path.as_uri())
    assert browsers.violations(page) == []
    assert page.locator("strong").all_inner_texts() == ["62.0"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390  # of the last of these screens


def test_all_trials_are_a_table_that_fits_a_terminal() -> None:
    outcome = tried()
    table = tables.tuned(outcome, "icdbench run").partition("\n\n- ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert rows[0][:7] == ["trial", "validation", "state", "weight decay", "learning rate", "filters", "dropout"]
    assert [row[:3] for row in rows[2:]] == [
        ["4", "**62.0**", "complete"],
        ["1", "60.0", "complete, start"],
        ["5", "10.0", "complete"],
        ["2", "70.0", "pruned"],
        ["3", "", "failed"],
    ]
    assert rows[2][3:7] == ["1e-06", "0.00123", "50", "0.8"]
    with mock.patch.dict(os.environ, COLUMNS="80"):
        shown = re.sub(r"\x1b\[\d*m", "", tables.tuned(outcome, "icdbench run", "terminal")).splitlines()
    assert max(map(len, shown)) <= 80
    assert sum(bool(re.match(r"\d +(\d+\.\d)? +(complete|pruned|failed)", line)) for line in shown) == 5


def test_short_names_of_parameters_are_different() -> None:
    for entry in registry.entries().values():
        trained = entry.train_ranges if entry.uses_trainer else {}
        assert not entry.config.ranges().keys() & trained.keys(), entry.name


def test_a_setting_holds_for_the_data_that_it_was_tuned_on(
    icdbench: Call, few_notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder, word in (("da", "fever"), ("db", "sepsis")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.csv").write_text(few_notes.read_text().replace("fever", word))
    run_db = ("run", "--models", "caml@tuned", "--dataset", "db/x.csv", "--device", "cpu")
    assert icdbench(*WORDS, "da/x.csv", "--trials", 1)[0] == 0
    status, out, err = icdbench(*run_db)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "'caml@tuned' was tuned on other data named 'x.csv' (fingerprint" in err
    assert "'icdbench tune caml --dataset db/x.csv --results results' makes it for these data" in err
    assert icdbench(*WORDS, "db/x.csv", "--trials", 1)[0] == 0
    assert "held the setting tuned on other data of that name" in caplog.text
    assert icdbench(*run_db)[0] == 0
    assert icdbench(*run_db[:4], "da/x.csv")[0] == 2


def test_the_first_trial_is_the_setting_to_be_improved(few_notes: Path, tmp_path: Path) -> None:
    found = tune.tune(request(few_notes, tmp_path), 1)
    of_model, of_training = registry.entry("caml").small_by_target.values()  # what a run on 20 documents has
    assert trials(tmp_path)[0].params == {
        "caml.kernel_size": of_model["kernel_size"],
        "caml.dropout": of_model["dropout"],
        "train.learning_rate": of_training["learning_rate"],
        "train.weight_decay": of_training["weight_decay"],
        "train.batch_size": of_training["batch_size"],
    }
    (row,) = pd.read_csv(found.path.with_suffix(".trials.csv")).to_dict("records")
    assert row["state"] == "COMPLETE"
    assert row["value"] == pytest.approx(found.value)
    assert row["params_caml.kernel_size"] == of_model["kernel_size"]
    assert found.first == found.value


def test_a_model_that_is_fitted_whole(tmp_path: Path) -> None:
    changes = {"data.max_tokens": 20, "lr.features": "counts", "lr.longest": 1, "lr.penalty": "l2"}
    asked = Request(["lr"], "demo", results=tmp_path / "results", changes=changes)
    found = tune.tune(asked, 3)
    assert [each.name for each in found.parameters] == ["lr.C"]
    assert found.counts["complete"] == 3
    assert (
        store.load_tuned(asked.results, "demo", "lr", "", found.spec.fingerprint).model["C"] == found.parameters[0].best
    )
    (planned,) = runner.expand(replace(asked, models=["lr@tuned"]))
    assert runner.execute(planned, asked).metrics["validation"]["fixed"][found.monitor] == found.value


def test_the_objective_never_sees_test(few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode.corpus

    def found(name: str, change: Callable[[Corpus], Corpus]) -> list[tuple[dict[str, Any], float | None]]:
        monkeypatch.setattr(encode, "corpus", lambda *given: change(whole(*given)))
        tune.tune(request(few_notes, tmp_path / name), 3)
        return [(trial.params, trial.value) for trial in trials(tmp_path / name)]

    def shuffled(split: str) -> Callable[[Corpus], Corpus]:
        def change(corpus: Corpus) -> Corpus:
            part = corpus.splits[split]
            codes = np.random.default_rng(1).permutation(part.codes)
            return replace(corpus, splits={**corpus.splits, split: replace(part, codes=codes)})

        return change

    def without(corpus: Corpus) -> Corpus:
        """The trials' own corpus, which lacks the split altogether."""
        assert set(corpus.splits) == {"train", "validation", "test"}
        return corpus

    plain = found("plain", without)
    assert found("test", shuffled("test")) == plain
    assert found("validation", shuffled("validation")) != plain  # the labels that it does see


def test_no_split_but_training_and_validation_reaches_a_trial(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    whole = runner.task

    def task(corpus: Corpus, *rest: Any, **named: Any) -> Any:
        seen.append(set(corpus.splits))
        return whole(corpus, *rest, **named)

    monkeypatch.setattr(runner, "task", task)
    tune.tune(request(few_notes, tmp_path), 2)
    planned, tried = (
        seen[:-4],
        seen[-4:],
    )  # the plan is that of any run; of each trial one to see whether it fits, one to build it
    assert {frozenset(splits) for splits in planned} == {frozenset({"train", "validation", "test"})}
    assert tried == [{"train", "validation"}] * 4


# --- How it goes on ------------------------------------------------------------------------------------------------------


def test_stopped_and_continued_equals_never_stopped(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "AT_RANDOM", 3)  # TPE proposes from the fourth on
    straight = tune.tune(request(few_notes, tmp_path / "straight"), 6)
    tune.tune(request(few_notes, tmp_path / "stopped"), 2)
    fit = train.fit

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        tune.tune(request(few_notes, tmp_path / "stopped"), 6)
    monkeypatch.setattr(train, "fit", fit)
    shown: list[Standing] = []

    def show(standing: Standing) -> Callable[[Progress], None]:
        shown.append(standing)
        return lambda _: None

    continued = tune.tune(request(few_notes, tmp_path / "stopped"), 6, show=show)
    assert [each.number for each in shown] == [3, 4, 5, 6]
    assert shown[0].best is not None
    ours, theirs = ([t for t in trials(tmp_path / name) if t.value is not None] for name in ("stopped", "straight"))
    assert [trial.params for trial in ours] == [trial.params for trial in theirs]
    assert len({json.dumps(trial.params) for trial in theirs}) == 6  # nothing is drawn twice
    assert continued.parameters == straight.parameters
    assert continued.counts == straight.counts


def test_ctrl_c_is_told_in_a_line(icdbench: Call, few_notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fit", stop)
    status, out, err = icdbench(*WORDS, few_notes)
    assert (status, out) == (130, "")
    assert err.splitlines()[-1] == "icdbench: stopped; the same command continues with the next trial"


def test_enough_trials_are_not_added_to(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    status, out, _ = icdbench(*WORDS, few_notes, "--trials", 2)
    assert status == 0
    assert icdbench(*WORDS, few_notes, "--trials", 2)[:2] == (0, out)
    assert len(trials(tmp_path)) == 2


def test_other_settings_are_another_study(few_notes: Path, tmp_path: Path) -> None:
    shown: list[int] = []

    def show(standing: Standing) -> Callable[[Progress], None]:
        shown.append(standing.number)
        return lambda _: None

    tune.tune(request(few_notes, tmp_path), 1, show=show)
    tune.tune(request(few_notes, tmp_path, caml__dropout="0.2"), 1, show=show)  # the default, but held fixed
    tune.tune(request(few_notes, tmp_path, train__max_epochs=1), 1, show=show)
    tune.tune(request(few_notes, tmp_path), 1, seed=7, show=show)
    tune.tune(request(few_notes, tmp_path), 1, show=show)
    assert shown == [1, 1, 1, 1]


def test_a_failed_trial_is_recorded_and_the_study_goes_on(
    icdbench: Call, few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, calls = train.fit, []

    def third(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise TrainingError("the loss is nan in epoch 1, step 1")
        if len(calls) == 3:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory")
        return fit(*given, **named)

    monkeypatch.setattr(train, "fit", third)
    status, out, err = icdbench(*WORDS, few_notes, "--trials", 4)
    assert status == 0, err
    assert "2 complete, 0 pruned, 2 failed" in out
    assert "trial 2: the loss is nan" in out
    assert "trial 3: not enough memory" in out
    states = [trial.state.name for trial in trials(tmp_path)]
    assert states == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]


def test_values_that_exclude_each_other_count_as_failed(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = registry.entry("caml")
    usual = entry.small["kernel_size"]

    class Odd(entry.config):  # type: ignore[name-defined, misc]
        def override(self, changes: Any, where: str) -> Any:
            if changes.get("kernel_size", usual) != usual:
                raise SpecError(f"{where}.kernel_size: only {usual}")
            return super().override(changes, where)

    monkeypatch.setitem(registry._ENTRIES, "caml", replace(entry, config=Odd))
    found = tune.tune(request(few_notes, tmp_path), 3)
    assert found.counts == {"complete": 1, "pruned": 0, "failed": 2}
    assert found.failures[0] == f"trial 2: impossible: caml.kernel_size: only {usual}"


def test_nothing_but_failures_is_status_1(
    icdbench: Call, few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "loss", lambda logits_BL, *_: logits_BL.sum() * float("nan"))
    status, out, err = icdbench(*WORDS, few_notes, "--trials", 2)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith(
        "icdbench: none of 2 trials was finished: trial 1: the loss is nan in epoch 1"
    )
    assert not list(tmp_path.glob("results/tuning/*/*.json"))


def test_hopeless_trials_are_ended(few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "WARMUP", 0)
    fit, calls = train.fit, []

    def worse(*given: Any, **named: Any) -> Any:
        """Each trial is better than the one before, until from the seventh on they are worse than all."""
        calls.append(1)
        report = named["report"]

        def told(step: Progress) -> None:
            value = len(calls) / 10 if len(calls) <= 6 else 0.0
            report(replace(step, value=value) if step.ended else step)

        return fit(*given, **{**named, "report": told})

    monkeypatch.setattr(train, "fit", worse)
    found = tune.tune(request(few_notes, tmp_path), 8)
    assert found.counts == {"complete": 6, "pruned": 2, "failed": 0}
    assert [len(trial.intermediate_values) for trial in trials(tmp_path)] == [2] * 6 + [1, 1]


# --- What is wrong -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("caml", "--trials", "0"), "--trials 0: give the number of trials, 1 or more"),
        (("caml", "--seed", "-1"), "--seed -1"),
        (("camel",), "no model 'camel'; did you mean 'caml'"),
        (("jlan@no-joint",), "is a variant; tune takes a model, such as 'jlan'"),
        (("svm", "--set", "svm.C=2", "--set", "svm.longest=1"), "nothing is left to tune: --set fixes every field"),
        (("popularity",), "nothing is left to tune: no field of 'popularity' has a range"),
        (("caml", "--set", "caml.filter=2"), "did you mean 'filters'"),
        (("caml", "--dataset", "demi"), "did you mean 'demo'"),
        (("caml", "--format", "markdwn"), "no format 'markdwn'"),
        (
            ("caml", "--storage", "sqlite:////nowhere/at/all.db"),
            "storage 'sqlite:////nowhere/at/all.db' cannot be opened",
        ),
        (("caml", "--storage", "nowhere"), "storage 'nowhere' cannot be opened"),
        (
            ("caml", "--storage", "no-such://me:secret@host/x"),  # pragma: allowlist secret
            "storage 'no-such://…@host/x' cannot be opened",
        ),
    ],
)
def test_bad_requests_get_one_line_and_status_2(
    icdbench: Call, few_notes: Path, words: tuple[str, ...], message: str
) -> None:
    data = () if "--dataset" in words else ("--dataset", few_notes)
    status, out, err = icdbench("tune", *words, *data)
    assert (status, out) == (2, "")
    assert message in err
    assert "secret" not in err
    assert err.count("\n") == 1


def test_a_storage_that_is_no_database(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_text("no database")
    status, out, err = icdbench(*WORDS, few_notes, "--storage", "sqlite:///bad.db")
    assert (status, out) == (2, "")
    assert err == "icdbench: storage 'sqlite:///bad.db' cannot be opened: file is not a database\n"


@pytest.mark.parametrize("table", ["trial_intermediate_values", "trial_values"])
def test_a_storage_that_fails_during_a_trial(
    icdbench: Call, few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    for name in ("HEARTBEAT", "GRACE"):  # the trial's end could not be stored: it is given up for dead
        monkeypatch.setattr(kept, name, 1)
    fit = train.fit

    def fit_without_table(*given: Any, **named: Any) -> Any:
        with contextlib.closing(sqlite3.connect(tmp_path / "mine.db")) as database:
            database.execute(f"ALTER TABLE {table} RENAME TO gone")
        monkeypatch.setattr(train, "fit", fit)
        return fit(*given, **named)

    monkeypatch.setattr(train, "fit", fit_without_table)
    status, out, err = icdbench(*WORDS, few_notes, "--storage", "sqlite:///mine.db", "--trials", 2)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1] == (
        f"icdbench: the storage of trials fails: no such table: {table}; the same command continues"
    )
    assert not [word for word in ("Traceback", "SELECT") if word in err]

    with contextlib.closing(sqlite3.connect(tmp_path / "mine.db")) as database:
        database.execute(f"ALTER TABLE gone RENAME TO {table}")
    assert icdbench(*WORDS, few_notes, "--storage", "sqlite:///mine.db", "--trials", 2)[0] == 0


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sign_of_life_that_fails_is_followed_by_others(
    few_notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "HEARTBEAT", 0.05)
    record, signs = optuna.storages.RDBStorage.record_heartbeat, []

    def fail(storage: optuna.storages.RDBStorage, trial: int) -> None:
        signs.append(trial)
        if len(signs) == 2:
            raise optuna.exceptions.StorageInternalError("away")
        record(storage, trial)

    def fit_long(*given: Any, **named: Any) -> Any:
        deadline = time.monotonic() + 60
        while len(signs) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return fit(*given, **named)

    fit = train.fit
    monkeypatch.setattr(train, "fit", fit_long)
    monkeypatch.setattr(optuna.storages.RDBStorage, "record_heartbeat", fail)
    assert tune.tune(request(few_notes, tmp_path), 1).counts["complete"] == 1


def test_a_storage_of_ones_own(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    assert icdbench(*WORDS, few_notes, "--trials", 1, "--storage", "sqlite:///mine.db")[0] == 0
    assert (tmp_path / "mine.db").exists()
    assert not list(tmp_path.glob("results/tuning/*/*.db"))


def test_a_tuned_setting_that_is_absent_names_the_command(icdbench: Call, few_notes: Path) -> None:
    status, out, err = icdbench("run", "--models", "caml@tuned", "--dataset", few_notes)
    assert (status, out) == (2, "")
    assert "no tuned setting of 'caml' for 'notes.csv'" in err
    assert f"'icdbench tune caml --dataset {few_notes} --results results' makes it" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged"),
        ("[]", "is damaged"),
        ('{"model": "caml", "dataset": "notes.csv"}', "is damaged (no 'settings')"),
        ('{"model": "caml", "dataset": "notes.csv", "settings": {"model": {}, "train": {}}}', "(no 'fingerprint')"),
        (
            '{"model": "caml", "dataset": "notes.csv", "fingerprint": "FINGERPRINT", "settings": {"model": 3, "train": {}}}',
            "is damaged",
        ),
        (
            '{"model": "cnn", "dataset": "notes.csv", "fingerprint": "FINGERPRINT", "settings": {"model": {}, "train": {}}}',
            "is of 'cnn'",
        ),
        (
            '{"model": "caml", "dataset": "notes.csv", "fingerprint": "FINGERPRINT", "settings": {"model": {"filter": 3}, "train": {}}}',
            "has no field 'filter'",
        ),
        (
            '{"model": "caml", "dataset": "notes.csv", "fingerprint": "FINGERPRINT", "settings": {"model": {"filters": -3}, "train": {}}}',
            "filters=-3",
        ),
    ],
)
def test_a_tuned_setting_that_is_damaged(
    icdbench: Call, few_notes: Path, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "results" / "tuning" / "notes.csv" / "caml.json"
    path.parent.mkdir(parents=True)
    now = datasets.open(str(few_notes)).fingerprint()
    path.write_text(text.replace("FINGERPRINT", now))
    status, out, err = icdbench("run", "--models", "caml@tuned", "--dataset", few_notes)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


# --- Several models --------------------------------------------------------------------------------------------------------


def cost_rows(err: str) -> list[list[str]]:
    """The rows of the table of costs among what a command says on stderr."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in err.splitlines() if line.startswith("| ")
    ]
    return [row for row in cells if row[0] != "model"]


@pytest.mark.slow
def test_several_models_say_their_whole_cost_before_and_what_is_left(
    icdbench: Call, few_notes: Path, tmp_path: Path
) -> None:
    words = ("tune", "phrases,popularity,lr", "--dataset", few_notes, "--set", "data.min_documents=1")
    status, out, err = icdbench(*words, "--set", "lr.unknown=true", "--trials", "2")
    assert status == 0
    assert cost_rows(err) == [
        ["phrases", "4", "0", "2", "?"],
        ["lr", "5", "0", "2", "?"],
        ["all", "", "0", "4", "0.0 s + ?"],
    ]
    assert [name for name in ("phrases", "lr", "popularity") if f"{name} on" in out or f"{name}@tuned" in out] == [
        "phrases",
        "lr",
    ]
    stored = json.loads((tmp_path / "results" / "tuning" / few_notes.name / "lr.json").read_text(encoding="utf-8"))
    assert stored["settings"]["model"]["unknown"] is True
    status, _, err = icdbench(*words, "--set", "lr.unknown=true", "--trials", "3")
    assert status == 0
    rows = cost_rows(err)
    assert [row[:4] for row in rows] == [["phrases", "4", "2", "1"], ["lr", "5", "2", "1"], ["all", "", "4", "2"]]
    assert not any("?" in row[4] for row in rows)


def test_the_plots_of_another_search_are_not_left_beside_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "lr.json"

    def searched(trials: int) -> set[str]:
        study = optuna.create_study(direction="maximize")
        study.optimize(lambda trial: trial.suggest_float("C", 0.1, 1.0), n_trials=trials)
        importance.draw(study, "map", path, importance=False)
        return {each.name for each in tmp_path.iterdir()}

    assert searched(2) == {f"lr.{plot}.{kind}" for plot in ("history", "parallel") for kind in ("png", "svg")}
    assert searched(1) == {"lr.history.png", "lr.history.svg"}
