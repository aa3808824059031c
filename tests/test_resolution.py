"""Settings: which layer each comes from, and what a user is told of them before anything is trained."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from conftest import Call

import icdbench.run as runner
from icdbench.resolution import DATA_SET, LAYERS, MODEL, SUITE, USER, Resolved
from icdbench.run import Request

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_cache")]


def resolved(system: str, **changes: Any) -> Resolved:
    (found,) = runner.resolved(
        Request([system], "demo", changes={key.replace("__", "."): changes[key] for key in changes})
    )
    return found


def test_each_setting_has_the_layer_that_it_comes_from() -> None:
    found = resolved("caml", caml__filters=30, train__patience=3)
    layers = {name: layer for name, _, layer in found.rows}
    assert layers["train.optimizer"] == layers["data.min_documents"] == SUITE
    assert layers["caml.embedding_size"] == MODEL
    assert layers["train.max_epochs"] == layers["data.top_codes"] == layers["caml.kernel_size"] == DATA_SET
    assert layers["caml.filters"] == layers["train.patience"] == USER
    assert set(layers.values()) == set(LAYERS)
    values = {name: value for name, value, _ in found.rows}
    assert (values["caml.filters"], values["train.patience"], values["train.max_epochs"]) == (30, 3, 20)
    effective = found.spec.identity()
    assert {f"train.{name}" for name in effective["train"]} == {name for name in values if name.startswith("train.")}
    assert {f"caml.{name}" for name in effective["config"]} == {name for name in values if name.startswith("caml.")}
    assert "data.language" not in values  # an option of another source


def test_settings_for_small_data_are_of_the_data_set_unless_a_variant_says_otherwise() -> None:
    small, published = resolved("dr-caml"), resolved("dr-caml@published")
    assert (small.spec.train.learning_rate, small.layers["train.learning_rate"]) == (0.00386, DATA_SET)
    assert (published.spec.train.learning_rate, published.layers["train.learning_rate"]) == (0.0001, MODEL)
    assert small.planned.adapted["train.learning_rate"] == 0.00386
    assert published.planned.adapted == {}


def test_a_model_says_how_many_tokens_it_reads() -> None:
    assert resolved("caml").layers["data.max_tokens"] == SUITE
    found = resolved("laat")
    assert (found.spec.data.max_tokens, found.layers["data.max_tokens"]) == (4000, MODEL)


def test_a_setting_without_effect_is_not_shown() -> None:
    found = resolved("lr", train__max_epochs=3)
    assert found.unused == {"train.max_epochs"}
    assert not [name for name, _, _ in found.rows if name.startswith("train.")]


def test_the_command_prints_settings_and_trains_nothing(icdbench: Call, few_notes: Path, tmp_path: Path) -> None:
    words = (
        "run",
        "--models",
        "caml,lr",
        "--dataset",
        few_notes,
        "--set",
        "data.min_documents=1",
        "--explain-settings",
    )
    status, out, _ = icdbench(*words)
    assert status == 0
    rows = [line.split() for line in out.splitlines()]
    assert ["caml.embedding_size", "100", "model"] in rows
    assert ["data.min_documents", "1", "user"] in rows
    assert ["train.stop_epoch", "none", "suite"] not in rows
    assert out.count("setting ") == 2
    assert not (tmp_path / "results").exists()


def test_a_mistake_is_one_line_here_too(icdbench: Call, few_notes: Path) -> None:
    status, out, err = icdbench("run", "--models", "camel", "--dataset", few_notes, "--explain-settings")
    assert (status, out) == (2, "")
    assert "did you mean 'caml'?" in err


def test_what_should_be_known_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    told: set[str] = set()
    with caplog.at_level(logging.WARNING):
        for models in (["bigru", "jlan"], ["bigru", "jlan"]):
            runner.expand(Request(models, "demo", (1, 2)), warned=told)
    lines = [record.getMessage() for record in caplog.records]
    expected = (
        "600 training documents, fewer than 2,000: settings for small data in place of the published ones "
        "(bigru train.learning_rate=0.001, train.batch_size=4; jlan train.batch_size=4, train.monitor=map, jlan.kernel_size=3, "
        "jlan.dropout=0.65); MODEL@published has those"
    )
    assert lines == [expected]


def test_titles_that_a_model_misses_are_said_before_it_is_trained(
    few_notes: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    request = Request(["leam"], str(few_notes), changes={"data.min_documents": 1}, results=tmp_path / "results")
    with caplog.at_level(logging.WARNING):
        runner.expand(request)
    assert (
        "leam: these data have no titles of codes: vectors that should start from them start at random" in caplog.text
    )
