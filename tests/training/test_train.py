"""The trainer: early stopping, the best epoch, the denoising objective, and resuming to the same bits."""

from __future__ import annotations

import itertools
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from systems import NUM_CODES, learnable, small_task
from torch import Tensor, nn
from torch.nn import functional

from icdbench import registry, train
from icdbench.data.batches import Loader
from icdbench.evaluation import metrics
from icdbench.records import store
from icdbench.settings import SpecError, TrainingError
from icdbench.spec import TrainSpec
from icdbench.training import checkpointing, memory
from icdbench.training.accelerator import fabric, seed_everything
from icdbench.training.losses import each_loss
from icdbench.training.memory import enough_memory
from icdbench.training.objectives import drop_count, drop_rate, dropped, learning_rate, loss, monitored
from icdbench.training.score import predictions, probabilities
from icdbench.training.state import Progress, State
from icdbench.types import Batch, Encoded

TRAIN, VALIDATION = learnable(70), learnable(30, seed=1)


@pytest.fixture(autouse=True)
def _a_checkpoint_after_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SHARE", math.inf)


def small_caml(seed: int = 1) -> nn.Module:
    seed_everything(seed)
    model = registry.build("caml", small_task(16), embedding_size=16, filters=8, dropout=0.3)
    assert isinstance(model, nn.Module)
    return model


def fit(
    model: nn.Module,
    path: Path,
    report: Callable[[Progress], None] = lambda _: None,
    validation: Encoded = VALIDATION,
    **settings: object,
) -> State:
    spec = TrainSpec().override({"learning_rate": 0.01, "max_epochs": 6, "monitor": "f1_micro", **settings}, "train")
    return train.fit(
        model,
        TRAIN,
        validation,
        spec,
        seed=3,
        on=fabric("cpu"),
        checkpoint=path / store.CHECKPOINT,
        report=report,
    )


def unequal(one: nn.Module, other: nn.Module) -> list[str]:
    theirs = other.state_dict()
    return [name for name, value in one.state_dict().items() if not torch.equal(value, theirs[name])]


def without_times(state: State) -> list[dict[str, float]]:
    return [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in state.history]


@pytest.mark.slow
def test_training_learns_and_ends_with_the_best_weights(tmp_path: Path) -> None:
    model = small_caml()
    state = fit(model, tmp_path, max_epochs=60)
    assert state.best > 0.8
    assert state.best == max(epoch["monitor"] for epoch in state.history)
    scored = predictions(model, Loader(VALIDATION), fabric("cpu"))
    assert metrics.evaluate(probabilities(scored.scores_NL), scored.labels)["f1_micro"] == state.best


def test_training_stops_when_patience_is_over(tmp_path: Path) -> None:
    state = fit(small_caml(), tmp_path, learning_rate=1e-9, patience=3, max_epochs=50)
    assert (state.best_epoch, len(state.history)) == (1, 4)


@pytest.mark.slow
def test_equal_seeds_give_equal_bits_and_other_seeds_others(tmp_path: Path) -> None:
    models, states = [], []
    for seed in (1, 1, 2):
        models.append(small_caml(seed))
        states.append(fit(models[-1], tmp_path / str(len(models))))
    one, same, other = models
    assert unequal(one, same) == []
    assert without_times(states[0]) == without_times(states[1])
    assert unequal(one, other) != []


# A rate so high that the metric soon fails to rise, and then a lower one.
FALLING = {"scheduler": "plateau", "plateau_patience": 0, "plateau_factor": 0.5, "learning_rate": 0.1}


LINEAR = {"scheduler": "linear", "warmup": 0.4, "learning_rate": 0.1}
TWICE = {"objective": "distribution-balanced", "r_drop": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"objective": "truncated"}, FALLING, LINEAR, TWICE], ids=str)
def test_run_stopped_anywhere_and_resumed_equals_the_straight_run(tmp_path: Path, settings: dict[str, Any]) -> None:
    straight = small_caml()
    expected = fit(straight, tmp_path / "straight", **settings)
    if settings == FALLING:
        values = [epoch["monitor"] for epoch in expected.history]
        rates = [learning_rate(TrainSpec().override(FALLING, "train"), values[:seen]) for seen in range(6)]
        assert rates[-1] < rates[0]
    steps = math.ceil(len(TRAIN) / 16)
    for stop_after in (1, steps - 1, steps, 2 * steps + 3, 5 * steps + 1):
        path = tmp_path / f"stopped {stop_after}"
        count = itertools.count(1)

        def interrupt(step: Progress, count: itertools.count[int] = count, at: int = stop_after) -> None:
            if not step.ended and next(count) == at:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            fit(small_caml(), path, interrupt, **settings)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        resumed = small_caml(seed=77)  # the checkpoint alone decides
        state = fit(resumed, path, **settings)
        assert unequal(straight, resumed) == []
        assert without_times(state) == without_times(expected)
        assert (state.best, state.best_epoch) == (expected.best, expected.best_epoch)


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    first = small_caml()
    expected = fit(first, tmp_path)
    again = small_caml(seed=5)

    def never(_: Progress) -> None:
        raise AssertionError

    assert without_times(fit(again, tmp_path, never)) == without_times(expected)
    assert unequal(first, again) == []


def stopped_late(path: Path) -> tuple[Path, Path]:
    """A run stopped in its fourth epoch: its last checkpoint and the one before."""
    count = itertools.count(1)

    def interrupt(step: Progress) -> None:
        if not step.ended and next(count) == 3 * math.ceil(len(TRAIN) / 16) + 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        fit(small_caml(), path, interrupt)
    return path / store.CHECKPOINT, path / store.PREVIOUS


@pytest.mark.counted
@pytest.mark.slow
def test_of_a_checkpoint_cut_or_altered_anywhere_the_one_before_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    straight = small_caml()
    expected = fit(straight, tmp_path / "straight")
    last, before = stopped_late(tmp_path / "stopped")
    whole, earlier = last.read_bytes(), before.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    number = whole.index(b'\\"epoch\\": 4')  # in the state, as JSON in the header's JSON

    def flipped(at: int, bit: int = 0) -> bytes:
        return whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :]

    cuts = [whole[:size] for size in (0, 5, 100, 8 + header, len(whole) - 1)]
    flips = [flipped(at) for at in (0, 7, 9, number + 11, 8 + header, len(whole) // 2, len(whole) - 1)]
    for damaged in (*cuts, *flips):
        last.write_bytes(damaged)
        before.write_bytes(earlier)
        caplog.clear()
        began: list[int] = []
        again = small_caml(seed=5)
        state = fit(again, last.parent, lambda step, began=began: began.append(step.epoch))  # type: ignore[misc]
        assert "is damaged" in caplog.text
        assert began[0] == 4  # the one before was written when the fourth epoch began
        assert without_times(state) == without_times(expected)
        assert unequal(straight, again) == []


def test_a_damaged_checkpoint_never_takes_the_place_of_a_good_one(tmp_path: Path) -> None:
    last, before = stopped_late(tmp_path)
    last.write_bytes(b"damaged")
    good = before.read_bytes()
    loaded = store.load_checkpoint(last, discard=True)
    assert loaded is not None
    store.save_checkpoint(last, *loaded)
    assert before.read_bytes() == good


@pytest.mark.slow
def test_checkpoints_take_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    save, seconds, taken = store.save_checkpoint, itertools.count(), []

    def slow(*given: Any) -> None:
        taken.append([next(seconds) for _ in range(10)])
        save(*given)

    monkeypatch.setattr(store, "save_checkpoint", slow)
    monkeypatch.setattr(checkpointing, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    state = fit(small_caml(), tmp_path, max_epochs=10, patience=10)
    assert len(taken) == 2  # after the first epoch and at the end
    assert len(state.history) == 10


@pytest.mark.slow
def test_without_any_good_checkpoint_training_starts_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    straight = small_caml()
    fit(straight, tmp_path / "straight")
    for path in stopped_late(tmp_path / "stopped"):
        path.write_bytes(path.read_bytes()[:-1])
    again = small_caml()
    fit(again, tmp_path / "stopped")
    assert caplog.text.count("is damaged") == 2
    assert unequal(straight, again) == []


@pytest.mark.counted
@pytest.mark.slow
def test_foreign_checkpoint_is_warned_of_and_training_starts_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    straight = small_caml()
    expected = fit(straight, tmp_path)
    path = tmp_path / store.CHECKPOINT
    loaded = store.load_checkpoint(path)
    assert loaded is not None
    tensors, state = loaded
    wide = {**tensors, "model/embedding.weight": torch.zeros(3, 3)}
    lacking = {name: value for name, value in tensors.items() if name != "random/torch"}
    foreign = [(wide, state), (lacking, state), (tensors, {}), (tensors, {**state, "state": {"novel": 1}})]
    for each in foreign:
        store.save_checkpoint(path, *each)
        caplog.clear()
        again = small_caml()
        assert without_times(fit(again, tmp_path)) == without_times(expected)
        assert "does not fit" in caplog.text
        assert unequal(straight, again) == []


def test_monitor_that_the_validation_split_leaves_undefined_is_an_error(tmp_path: Path) -> None:
    one_class = Encoded(
        **{**vars(VALIDATION), "codes": VALIDATION.codes[:0], "code_offsets": VALIDATION.code_offsets * 0}
    )
    with pytest.raises(SpecError, match="auc_macro is undefined on this validation split"):
        fit(small_caml(), tmp_path, validation=one_class, monitor="auc_macro")


def test_automatic_monitor_is_the_published_one_and_never_a_constant() -> None:
    assert [monitored(TrainSpec(), codes) for codes in (3, 5, 6, 50, 51)] == ["map", "map", "p@5", "p@5", "p@8"]
    assert monitored(TrainSpec(monitor="f1_micro"), 3) == "f1_micro"


class Broken(nn.Module):
    """Gives `value` as every logit."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))

    def forward(self, batch: Batch) -> Tensor:
        return self.weight.expand(len(batch.lengths_B), NUM_CODES)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e6])
def test_a_loss_that_explodes_stops_training_and_says_where(tmp_path: Path, value: float) -> None:
    with pytest.raises(TrainingError, match=r"the loss is \S+ in epoch 1, step 1; there was no checkpoint yet"):
        fit(Broken(value), tmp_path)


def test_a_rate_that_diverges_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    fit(small_caml(), tmp_path, max_epochs=1)
    loaded = store.load_checkpoint(tmp_path / store.CHECKPOINT)
    assert loaded is not None
    tensors, state = loaded
    tensors = {
        name: value * 1e30 if "final" in name and name.startswith("model/") else value
        for name, value in tensors.items()
    }
    store.save_checkpoint(tmp_path / store.CHECKPOINT, tensors, state)
    with pytest.raises(TrainingError, match=rf"in epoch 2, step 1; .* good checkpoint is {tmp_path}"):
        fit(small_caml(), tmp_path)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError("Unable to allocate 128. MiB for an array"),  # numpy's
    RuntimeError("could not create a primitive"),  # oneDNN's
]


class Narrow(nn.Module):
    """CAML on a machine whose memory holds `most` documents."""

    def __init__(self, most: int, error: Exception = OUT_OF_MEMORY[0]) -> None:
        super().__init__()
        seed_everything(1)
        self.error = error
        self.caml = registry.build("caml", small_task(16), embedding_size=16, filters=8, dropout=0.0)
        self.most = most

    def forward(self, batch: Batch) -> Tensor:
        if self.training and len(batch.lengths_B) > self.most:
            raise self.error
        assert isinstance(self.caml, nn.Module)
        logits_BL: Tensor = self.caml(batch)
        return logits_BL


@pytest.mark.counted
@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"objective": "truncated"}, TWICE], ids=str)
def test_a_batch_that_memory_does_not_hold_is_computed_in_parts(tmp_path: Path, settings: dict[str, Any]) -> None:
    roomy, narrow = Narrow(32), Narrow(5)
    whole = fit(roomy, tmp_path / "whole", max_epochs=3, **settings)
    parts = fit(narrow, tmp_path / "parts", max_epochs=3, **settings)
    assert [epoch["split"] for epoch in parts.history] == [math.ceil(len(TRAIN) / 16)] * 3
    assert all("split" not in epoch for epoch in whole.history)
    assert [epoch["dropped"] for epoch in parts.history] == [epoch["dropped"] for epoch in whole.history]
    if settings != {"objective": "truncated"}:  # of which each part leaves out its own worst pairs
        losses = [[epoch["loss"] for epoch in state.history] for state in (whole, parts)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


class Normed(Narrow):
    """The same with a batch norm over the documents of a batch."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.norm = nn.BatchNorm1d(NUM_CODES)

    def forward(self, batch: Batch) -> Tensor:
        logits_BL: Tensor = self.norm(super().forward(batch))
        return logits_BL


def test_batch_norm_of_parts_is_said_once_and_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    batches = 2 * math.ceil(len(TRAIN) / 16)
    for name, model, said, notes in (
        ("plain", Narrow(5), "in 4 parts", []),
        (
            "normed",
            Normed(5),
            "in 4 parts; its batch norm saw the statistics of the parts",
            [f"memory held {batches} batches"],
        ),
        ("roomy", Normed(16), "", []),
    ):
        caplog.clear()
        state = fit(model, tmp_path / name, max_epochs=2)
        assert [record.getMessage() for record in caplog.records] == (
            [f"memory does not hold a batch of 16 documents; it was computed {said}"] if said else []
        )
        found = memory.notes(model, state)
        assert len(found) == len(notes)
        assert all(line.startswith(start) for line, start in zip(found, notes, strict=True))


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_every_library_has_its_own_way_to_say_so(tmp_path: Path, error: Exception) -> None:
    parts = fit(Narrow(5, error), tmp_path, max_epochs=1)
    assert parts.history[0]["split"] == math.ceil(len(TRAIN) / 16)
    with pytest.raises(TrainingError, match="not enough memory"), enough_memory():
        raise error


def test_a_document_that_memory_does_not_hold_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        fit(Narrow(0), tmp_path)


def test_unknown_or_absent_devices_are_errors() -> None:
    with pytest.raises(SpecError, match="no device 'cdua'; did you mean 'cuda'"):
        fabric("cdua")
    if not torch.cuda.is_available():
        with pytest.raises(SpecError, match="no 'cuda' device"):
            fabric("cuda")


def test_loss_is_mean_cross_entropy() -> None:
    logits_BL, labels_BL = torch.randn(5, 4), (torch.rand(5, 4) < 0.4).float()
    expected = functional.binary_cross_entropy_with_logits(logits_BL, labels_BL)
    torch.testing.assert_close(loss(logits_BL, labels_BL), expected)


def test_truncated_loss_drops_the_worst_positives_only() -> None:
    logits_BL = torch.tensor([[5.0, -4.0, -3.0], [-2.0, 6.0, -1.0]])
    labels_BL = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])  # the worst pairs of all are two negatives
    each_BL = functional.binary_cross_entropy_with_logits(logits_BL, labels_BL, reduction="none")
    expected_BL = torch.tensor([[False, True, True], [False, False, False]])
    assert torch.equal(dropped(each_BL, labels_BL, 2), expected_BL)
    torch.testing.assert_close(loss(logits_BL, labels_BL, 2), (each_BL * ~expected_BL).sum() / 6)
    assert not dropped(each_BL, labels_BL, 0).any()


@pytest.mark.parametrize("batches", [[200], [100, 100], [7, 3, 0, 10, 180], [1] * 200])
def test_an_epoch_drops_the_same_fraction_whatever_the_batch_size(batches: list[int]) -> None:
    counts, owed = [], 0.0
    for positives in batches:
        count, owed = drop_count(0.15, positives, owed)
        counts.append(count)
    assert sum(counts) == 30
    assert all(count <= positives for count, positives in zip(counts, batches, strict=True))


def test_no_batch_drops_more_positives_than_it_has() -> None:
    assert drop_count(0.5, 1, 1.75) == (1, 1.25)
    assert drop_count(0.0, 0, 0.75) == (0, 0.75)


def test_no_gradient_flows_through_dropped_pairs() -> None:
    logits_BL = torch.tensor([[-4.0, -3.0]], requires_grad=True)
    loss(logits_BL, torch.ones(1, 2), 1).backward()  # type: ignore[no-untyped-call]
    assert logits_BL.grad is not None
    assert logits_BL.grad[0, 0] == 0
    assert logits_BL.grad[0, 1] != 0


DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available(), *["mps"] * torch.backends.mps.is_available()]
LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "contiguous": lambda matrix_BL: matrix_BL,
    "transposed": lambda matrix_BL: matrix_BL.T.contiguous().T,
    "every other column": lambda matrix_BL: matrix_BL.repeat_interleave(2, dim=1)[:, ::2],
    "part of a wider one": lambda matrix_BL: torch.cat((matrix_BL, matrix_BL), dim=1)[:, : matrix_BL.shape[1]],
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("of_labels", LAYOUTS)
@pytest.mark.parametrize("of_logits", LAYOUTS)
def test_the_layout_of_a_matrix_changes_no_loss(of_logits: str, of_labels: str, device: str) -> None:
    torch.manual_seed(0)
    logits_BL, labels_BL = torch.randn(5, 4).to(device), (torch.rand(5, 4) < 0.6).float().to(device)
    made_BL = LAYOUTS[of_logits](logits_BL.clone()).requires_grad_(), LAYOUTS[of_labels](labels_BL)
    plain_BL = logits_BL.clone().requires_grad_()
    for count in (0, 3, int(labels_BL.sum())):
        assert loss(*made_BL, count).item() == pytest.approx(loss(plain_BL, labels_BL, count).item(), rel=1e-6)
        each_BL = each_loss(made_BL[0].detach(), made_BL[1])
        chosen_BL = dropped(each_BL, made_BL[1], count)
        assert chosen_BL.sum() == count
        assert torch.equal(chosen_BL, dropped(each_loss(logits_BL, labels_BL), labels_BL, count))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "of_labels", [torch.float32, torch.float64, torch.bfloat16, torch.bool, torch.uint8, torch.int64]
)
@pytest.mark.parametrize("of_logits", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_type_of_numbers_changes_no_loss(of_logits: torch.dtype, of_labels: torch.dtype, device: str) -> None:
    if device == "mps" and torch.float64 in {of_logits, of_labels}:
        pytest.skip("mps has no float64")
    torch.manual_seed(0)
    logits_BL = torch.randn(5, 4).to(device, of_logits)
    labels_BL = (torch.rand(5, 4) < 0.6).to(device)
    expected = loss(logits_BL.float(), labels_BL.float(), 3)
    found = loss(logits_BL, labels_BL.to(of_labels), 3)
    assert found.dtype == torch.promote_types(of_logits, torch.float32)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("logit", [-float("inf"), -3e38, -1e4])
def test_a_dropped_pair_counts_zero_however_large_its_loss(logit: float, device: str) -> None:
    logits_BL = torch.tensor([[logit, -3.0], [2.0, logit]], device=device, requires_grad=True)
    value = loss(logits_BL, torch.ones(2, 2, device=device), 2)
    value.backward()  # type: ignore[no-untyped-call]
    rest = functional.binary_cross_entropy_with_logits(torch.tensor([-3.0, 2.0]), torch.ones(2), reduction="sum") / 4
    assert value.item() == pytest.approx(rest.item())
    assert logits_BL.grad is not None
    assert logits_BL.grad.isfinite().all()
    assert logits_BL.grad[0, 0] == logits_BL.grad[1, 1] == 0


def test_drop_rate_rises_to_its_bound_and_may_end() -> None:
    spec = TrainSpec(objective="truncated", t_loss=0.15, ramp_epochs=30, stop_epoch=50)
    rates = [drop_rate(spec, epoch) for epoch in range(1, 61)]
    np.testing.assert_allclose(rates[:30], [0.005 * epoch for epoch in range(1, 31)])
    assert set(rates[30:49]) == {0.15}
    assert set(rates[49:]) == {0.0}
    assert drop_rate(TrainSpec(), 10) == 0.0
