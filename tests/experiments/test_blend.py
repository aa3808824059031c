"""Stored runs mixed by weights from validation documents: what comes out, and what cannot be mixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Call

import icdbench as api
from icdbench.experiments import blend
from icdbench.records import RunRecord, store
from icdbench.types import Predictions

pytestmark = [pytest.mark.slow, pytest.mark.counted]


def runs(results: Path) -> dict[str, RunRecord]:
    return {record.spec.system: record for record in store.load_records(results)}


def with_data(record: RunRecord, **changes: object) -> RunRecord:
    data = record.spec.data.model_copy(update=changes)
    return record.model_copy(update={"spec": record.spec.model_copy(update={"data": data})})


def test_two_runs_become_one_that_is_compared_but_has_no_model(finished: Path, icdbench: Call) -> None:
    results = finished / "results"
    before = runs(results)
    status, out, err = icdbench("blend", before["lr"].id, "--with", before["caml"].id, "--results", results)
    assert status == 0, err
    assert before["lr"].id in err
    assert "already stored" not in err
    assert "lr-with-caml" in out
    made = runs(results)["lr-with-caml"]
    assert made.metrics.keys() == {"validation", "test"}
    folder = store.folder(results, made)
    test = store.load_predictions(folder, made)["test"]
    members = [
        store.load_predictions(store.folder(results, before[name]), before[name])["test"] for name in ("lr", "caml")
    ]
    weights = [float(line.split()[0]) for line in err.splitlines()[-3:]]
    expected = sum(weight * each.scores_NL for weight, each in zip(weights, members, strict=False)) + weights[-1]
    assert np.abs(test.scores_NL - expected).max() < 0.2  # the weights are told to two places
    status, again, told = icdbench("blend", before["lr"].id, "--with", before["caml"].id, "--results", results)
    assert (status, again, told) == (0, out, f"{err}already stored: {made.id}\n")
    status, _, err = icdbench("bundle", made.id, "--out", finished / "m.icdbench", "--results", results)
    assert (status, err.count("\n")) == (2, 1)
    assert "there is no model to load" in err
    assert "mixed with" in api.results(results).table().text("md")
    status, out, _ = icdbench("show", made.id, "--results", results)
    assert (status, "--config" in out, " on \n" in out) == (0, False, False)
    status, _, err = icdbench("show", made.id, "--config", "--results", results)
    assert (status, "was not made by a model" in err) == (2, True)
    status, out, _ = icdbench("tables", "--analysis", "--results", results)
    assert (status, "lr-with-caml is left out" in out) == (0, False)


def test_a_mix_is_known_by_the_predictions_of_its_runs(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, load = finished / "results", store.load_predictions
    one, other = (runs(results)[name].id for name in ("lr", "caml"))
    first = blend.blend(one, [other], results).record.id
    again = blend.blend(one, [other], results)
    assert (again.record.id, again.known) == (first, True)

    def changed(folder: Path, record: RunRecord) -> dict[str, Predictions]:
        return {split: replace(each, scores_NL=each.scores_NL + 1) for split, each in load(folder, record).items()}

    monkeypatch.setattr(store, "load_predictions", changed)
    assert blend.blend(one, [other], results).record.id != first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr", "--with", "lr"], "a run is named twice"),
        (["lr", "--with", "caml", "--name", "a/b"], "letters, digits, dots, - and _, at most 80"),
        (["lr", "--with", "caml", "--name", "caml"], "'caml' is a model of icdbench"),
        (["lr", "--with", "caml", "--name", "floors"], "'floors' is a model of icdbench"),
    ],
)
def test_what_cannot_be_mixed_is_told_in_a_line(finished: Path, words: list[str], said: str, icdbench: Call) -> None:
    results = finished / "results"
    ids = {name: record.id for name, record in runs(results).items()}
    asked = [ids.get(word, word) if words[at - 1] != "--name" else word for at, word in enumerate(words)]
    status, out, err = icdbench("blend", *asked, "--results", results)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert said in err


def test_runs_of_other_documents_or_codes_are_refused(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = finished / "results"
    one, other = (runs(results)[name] for name in ("lr", "caml"))
    found = {each.id: blend._load_member(each.id, results) for each in (one, other)}
    strange = found[other.id]
    cases = [
        (strange._replace(record=other.model_copy(update={"spec": other.spec.model_copy(update={"fingerprint": "x"})})), "of other files"),
        (strange._replace(record=with_data(other, fraction=0.5)), "data.fraction is 0.5 there, 1.0 here"),
        (strange._replace(codes=type(strange.codes)(("a", "b"), np.ones(2, int))), "their codes differ"),
    ]  # fmt: skip
    for changed, said in cases:
        monkeypatch.setattr(
            blend, "_load_member", lambda name, _, changed=changed: changed if name == other.id else found[name]
        )
        with pytest.raises(api.SpecError, match=said):
            blend.blend(one.id, [other.id], results)
