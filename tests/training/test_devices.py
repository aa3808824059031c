"""One run computed by several processes (gloo, on CPUs): the metrics of one process, and every document counted once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Call
from systems import learnable, small_task

from icdbench import registry
from icdbench.cli import main as cli
from icdbench.data import batches
from icdbench.records import store
from icdbench.records.record import RunRecord
from icdbench.training.accelerator import fabric, seed_everything
from icdbench.training.score import predictions
from icdbench.training.state import State

pytestmark = pytest.mark.slow

SETTINGS = {"caml.filters": 6, "caml.embedding_size": 8, "caml.dropout": 0.0, "data.embeddings": "random"}
SETTINGS |= {"train.max_epochs": 4, "train.batch_size": 7, "train.monitor": "map"}
WORDS = ("run", "--models", "caml", "--device", "cpu")


def together(world: int, target: Callable[..., None], *given: Any) -> list[int | None]:
    """The exit statuses of `world` processes that find themselves as torchrun begins its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def begin(rank: int) -> None:
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "GROUP_RANK": 0}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
        os.environ |= {name: str(value) for name, value in (ranks | where).items()}
        target(*given)

    begun = [multiprocessing.get_context("fork").Process(target=begin, args=(rank,)) for rank in range(world)]
    for process in begun:
        process.start()
    for process in begun:
        process.join(300)
    return [process.exitcode for process in begun]


def command(words: list[str]) -> None:
    """The command line; a process that is to stop at a file's wish does so."""
    sys.argv = ["icdbench", *words]
    cli.main()


def words(notes: Path, results: Path, **changes: Any) -> list[str]:
    settings = SETTINGS | {name.replace("__", "."): value for name, value in changes.items()}
    given = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return [*WORDS, "--dataset", str(notes), "--results", str(results), *given]


def record_of(results: Path) -> RunRecord:
    (record,) = store.load_records(results)
    return record


def assert_equal_but_for_rounding(one: RunRecord, other: RunRecord) -> None:
    assert one.id == other.id
    assert one.metrics["test"]["fixed"] == pytest.approx(other.metrics["test"]["fixed"], rel=1e-4)
    for mine, theirs in zip(one.history, other.history, strict=True):
        for name in mine.figures.keys() - {"seconds"}:
            assert mine.figures[name] == pytest.approx(theirs.figures[name], rel=1e-4), name


@pytest.mark.parametrize(
    ("world", "changes"),
    [
        (2, {}),
        (2, {"train__objective": "truncated", "train__t_loss": 0.3, "train__ramp_epochs": 1}),
        (2, {"train__objective": "distribution-balanced", "train__scheduler": "linear"}),
        (2, {"train__objective": "truncated", "train__t_loss": 0.3, "train__ramp_epochs": 1, "train__r_drop": 1.0}),
        (3, {"train__batch_size": 19}),  # the last batch of 20 documents is a single one
    ],
)
def test_several_processes_give_the_metrics_of_one(
    world: int, changes: dict[str, Any], few_notes: Path, tmp_path: Path, icdbench: Call
) -> None:
    status, _, err = icdbench(*words(few_notes, tmp_path / "one", **changes))
    assert status == 0, err
    assert together(world, command, words(few_notes, tmp_path / "several", **changes)) == [0] * world
    one, several = record_of(tmp_path / "one"), record_of(tmp_path / "several")
    assert_equal_but_for_rounding(several, one)
    assert several.device.startswith(f"{world} × cpu")
    scores, others = (
        store.load_predictions(tmp_path / name / run.id, run)["test"].scores_NL
        for name, run in (("one", one), ("several", several))
    )
    np.testing.assert_allclose(scores, others, rtol=1e-3, atol=1e-4)


def predicted(path: Path) -> None:
    """Write the scores that this process has in the end."""
    on = fabric("cpu", devices=3)
    seed_everything(1)
    model = registry.build("caml", small_task(16), embedding_size=16, filters=8)
    assert isinstance(model, torch.nn.Module)
    scored = predictions(model, batches.Loader(learnable(41)), on)
    np.save(path / f"{on.global_rank}.npy", scored.scores_NL, allow_pickle=False)


def test_every_document_is_counted_exactly_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = batches.evaluation_order
    monkeypatch.setattr(batches, "evaluation_order", lambda lengths: whole(lengths, tokens=1))  # a batch per document
    assert together(3, predicted, tmp_path) == [0, 0, 0]
    one = tmp_path / "one"
    one.mkdir()
    seed_everything(1)
    model = registry.build("caml", small_task(16), embedding_size=16, filters=8)
    assert isinstance(model, torch.nn.Module)
    expected = predictions(model, batches.Loader(learnable(41)), fabric("cpu")).scores_NL
    for rank in range(3):
        np.testing.assert_array_equal(np.load(tmp_path / f"{rank}.npy", allow_pickle=False), expected)


def interrupted_in(epoch: int, given: list[str]) -> None:
    """As Ctrl-C, that only one of the processes notices."""
    if os.environ["RANK"] == "1":
        learned = State.learned

        def stop(self: State, *said: Any) -> None:
            learned(self, *said)
            if self.epoch == epoch and self.step == 1:
                os.kill(os.getpid(), signal.SIGINT)

        setattr(State, "learned", stop)  # noqa: B010  which mypy would not have otherwise
    command(given)


def test_stopped_together_and_continued_equals_never_stopped(few_notes: Path, tmp_path: Path) -> None:
    dropout = {"caml__dropout": 0.3}
    assert together(2, command, words(few_notes, tmp_path / "straight", **dropout)) == [0, 0]
    stopped = words(few_notes, tmp_path / "stopped", **dropout)
    assert together(2, interrupted_in, 3, stopped) == [130, 130]
    assert store.unfinished(tmp_path / "stopped")
    assert together(2, command, stopped) == [0, 0]
    one, other = record_of(tmp_path / "straight"), record_of(tmp_path / "stopped")
    assert one.metrics == other.metrics


@pytest.mark.parametrize("launcher", ["fabric", "torchrun"])
def test_processes_are_begun_by_an_option_or_by_torchrun(launcher: str, few_notes: Path, tmp_path: Path) -> None:
    given = words(few_notes, tmp_path / "results")
    if launcher == "fabric":
        line = [sys.executable, "-m", "icdbench", *given, "--devices", "2"]
    else:
        line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "icdbench", *given]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("| caml")]) == 1
    assert record_of(tmp_path / "results").device.startswith("2 × cpu")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--devices", "0"), "--devices 0"),
        (("--nodes", "-1"), "--nodes -1"),
        (("--devices", "2", "--jobs", "2"), "choose one of them"),
    ],
)
def test_impossible_numbers_are_one_line(
    given: tuple[str, ...], message: str, icdbench: Call, few_notes: Path, tmp_path: Path
) -> None:
    status, out, err = icdbench(*words(few_notes, tmp_path / "results"), *given)
    assert (status, out) == (2, "")
    assert message in err


@pytest.mark.usefixtures("shared_cache")
@pytest.mark.parametrize("model", [name for name, entry in registry.entries().items() if not entry.uses_trainer])
def test_a_model_without_the_trainer_does_not_load_fabric(
    model: str, few_notes: Path, monkeypatch: pytest.MonkeyPatch, icdbench: Call
) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    status, _, err = icdbench("run", "--models", model, "--dataset", few_notes, "--seeds", "1,")
    assert status == 0, err
