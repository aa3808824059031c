"""Trackers, each run as it is: TensorBoard's event files, MLflow's SQLite store and W&B's offline files are read back."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Call

from icdbench.experiments import tracking
from icdbench.records import RunRecord, store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy:DeprecationWarning"
    ),  # MLflow's with SQLAlchemy 2.1
]

EPOCHS = 2
WORDS = ("fever", "edema", "insulin", "treated", "admitted")  # of the notes
SETTINGS = ("data.embeddings=random", "data.min_documents=1", f"train.max_epochs={EPOCHS}", "caml.filters=2")


@pytest.fixture
def command(few_notes: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run of a network and of a linear model."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{few_notes.parent}/mlflow.db")
    return [
        *("run", "--models", "caml,lr", "--dataset", few_notes.name, "--device", "cpu"),
        *(word for setting in SETTINGS for word in ("--set", setting)),
    ]


def records(folder: Path) -> dict[str, RunRecord]:
    return {record.spec.model: record for record in store.load_records(folder / "results")}


def no_words(*files: Path) -> None:
    for file in files:
        content = file.read_bytes().lower()
        assert [word for word in WORDS if word.encode() in content] == [], file.name


def expected(record: RunRecord) -> tuple[list[float], list[float], float]:
    """The loss and the P@5 of each epoch, and the micro-F1 of the test."""
    figures = [epoch.figures for epoch in record.history]
    tested = record.metrics["test"]["tuned"]["f1_micro"]
    return [each["loss"] for each in figures], [each["p@5"] for each in figures], tested


def test_tensorboard(command: list[str], icdbench: Call, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    assert icdbench(*command, "--track", "tensorboard")[0] == 0
    made = records(tmp_path)

    def read(model: str, name: str) -> list[float]:
        events = accumulator(str(tmp_path / "runs" / made[model].id))
        events.Reload()
        return [event.value for event in events.Scalars(name)]

    loss, precision, tested = expected(made["caml"])
    assert len(loss) == EPOCHS
    assert read("caml", "train/loss") == pytest.approx(loss)
    assert read("caml", "validation/p@5") == pytest.approx(precision)
    assert read("caml", "test/tuned/f1_micro") == pytest.approx([tested])
    assert read("lr", "test/tuned/f1_micro") == pytest.approx([expected(made["lr"])[2]])
    no_words(*(file for file in (tmp_path / "runs").rglob("*") if file.is_file()))


def test_mlflow(command: list[str], icdbench: Call, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    assert icdbench(*command, "--track", "mlflow")[0] == 0
    assert "already stored" in icdbench(*command, "--track", "mlflow")[2]  # which is no run
    client = mlflow.MlflowClient()
    found = {
        run.info.run_name: run for run in client.search_runs([client.get_experiment_by_name("icdbench").experiment_id])
    }
    made = {record.id: record for record in records(tmp_path).values()}
    assert found.keys() == made.keys()
    for name, record in made.items():
        loss, precision, tested = expected(record)
        run = found[name]
        for key, values in (("train/loss", loss), ("validation/p_at_5", precision), ("test/tuned/f1_micro", [tested])):
            assert [each.value for each in client.get_metric_history(run.info.run_id, key)] == pytest.approx(values)
        assert run.info.status == "FINISHED"
        assert run.data.params["seed"] == "1"
        assert run.data.params["data.min_documents"] == "1"
    no_words(tmp_path / "mlflow.db")


def test_wandb_offline(command: list[str], icdbench: Call, tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    assert icdbench(*command, "--track", "wandb")[0] == 0
    wandb.teardown()  # as at the end of a process: its service writes the last of a run's file after `finish` returns
    made = records(tmp_path)
    written = {
        name: file.read_bytes()
        for file in tmp_path.rglob("*.wandb")
        for name in made
        if made[name].id.encode() in file.read_bytes()
    }
    assert written.keys() == made.keys()
    loss, precision, tested = expected(made["caml"])
    for value in (*loss, *precision, tested):
        assert repr(value).encode() in written["caml"]
    for name in (b"train/loss", b"validation/p@5", b"test/tuned/f1_micro", b"train.max_epochs"):
        assert name in written["caml"]
    assert repr(expected(made["lr"])[2]).encode() in written["lr"]
    no_words(*(file for file in (tmp_path / "wandb").rglob("*") if file.is_file() and file.name != "requirements.txt"))


@pytest.mark.parametrize(
    ("given", "said"),
    [("tensorbord", "did you mean 'tensorboard'"), ("wandb", "wandb is missing; pip install 'icdbench[track]'")],
)
def test_what_cannot_be_tracked_is_one_line_before_anything_is_trained(
    given: str, said: str, command: list[str], icdbench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    status, out, err = icdbench(*command, "--track", given)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "results").exists()


class Broken:
    """A tracker that can be reached, and fails as soon as it is told anything."""

    def __init__(self, *_: Any) -> None:
        pass

    @staticmethod
    def check() -> None:
        pass

    def log(self, *_: Any) -> None:
        raise ConnectionError("the server is gone")

    end = log


def test_a_tracker_that_fails_costs_no_run(
    command: list[str],
    icdbench: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(tracking.TOOLS, "mlflow", Broken)
    with caplog.at_level(logging.WARNING, "icdbench"):
        assert icdbench(*command, "--track", "mlflow")[0] == 0
    made = records(tmp_path)
    assert made.keys() == {"caml", "lr"}
    lines = [line for line in caplog.messages if "no longer logs" in line]
    assert lines == [f"mlflow no longer logs {made[name].id}: the server is gone" for name in ("caml", "lr")]
