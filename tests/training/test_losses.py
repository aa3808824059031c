"""The objectives of training: each by hand, by autograd, in its limits, at extreme logits, and as what a model learns by."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from systems import NUM_CODES, TEXTS, learnable, neural, padded, small_task
from torch import Tensor, nn

from icdbench import registry, train
from icdbench.data.batches import Loader
from icdbench.records import store
from icdbench.spec import LATER_FIELDS, TrainSpec
from icdbench.training.accelerator import fabric, seed_everything
from icdbench.training.losses import divergence, each_loss, effective_weights, of_each_pair, rebalanced_weights
from icdbench.training.objectives import Objective, objective_for, objective_of, schedule
from icdbench.training.state import State
from icdbench.types import Batch

OBJECTIVES = get_args(TrainSpec.model_fields["objective"].annotation)
COUNTS, DOCUMENTS = torch.tensor([1.0, 4.0, 8.0]), 10
LABELS = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0]])


def losses(logits_BL: Tensor, labels_BL: Tensor = LABELS, **settings: Any) -> Tensor:
    return of_each_pair(TrainSpec(**settings), COUNTS, DOCUMENTS)(logits_BL, labels_BL)


def logits(*, dtype: torch.dtype = torch.float64) -> Tensor:
    drawn = torch.randn(LABELS.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (3 * drawn).to(dtype)


def by_hand(objective: str, document: int, code: int) -> float:
    """The loss of one pair with the default settings, from probabilities alone."""
    z, y = logits()[document, code].item(), LABELS[document, code].item()
    p = 1 / (1 + math.exp(-z))
    counts = COUNTS.tolist()
    if objective == "focal":
        return -0.25 * (1 - p) ** 2 * math.log(p) if y else -0.75 * p**2 * math.log(1 - p)
    if objective == "asymmetric":
        shifted = max(p - 0.05, 0)
        return -math.log(p) if y else -(shifted**4) * math.log(1 - shifted)
    if objective == "class-balanced":
        weights = [(1 - 0.999) / (1 - math.pow(0.999, n)) for n in counts]
        return -math.log(p if y else 1 - p) * weights[code] * len(counts) / sum(weights)
    if objective == "distribution-balanced":
        drawn = sum(1 / n for n, label in zip(counts, LABELS[document].tolist(), strict=True) if label)
        ratio = 1 / counts[code] / drawn if drawn else math.inf
        weight = 0.1 + 1 / (1 + math.exp(-10 * (ratio - 0.2)))
        bias = -0.05 * -math.log(1 / (counts[code] / DOCUMENTS) - 1)
        return weight * (math.log(1 + math.exp(bias - z)) if y else math.log(1 + math.exp(2 * (z - bias))) / 2)
    return -math.log(p if y else 1 - p)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_pair_has_the_loss_of_the_equation(objective: str) -> None:
    computed = losses(logits(), objective=objective)
    expected = [[by_hand(objective, document, code) for code in range(3)] for document in range(3)]
    np.testing.assert_allclose(computed.numpy(), expected, rtol=1e-5)
    assert (objective in {"bce", "truncated"}) == bool(torch.allclose(computed, each_loss(logits(), LABELS)))


def test_a_case_from_round_numbers() -> None:
    """At a logit of zero p is one half; a quarter of the documents have the code, of which this document has no other."""
    half = torch.zeros(1, 2)
    labels = torch.tensor([[1, 0]])
    log_2 = math.log(2)
    focal = of_each_pair(TrainSpec(objective="focal"), torch.ones(2), 4)(half, labels)
    assert focal.tolist()[0] == pytest.approx([log_2 / 16, 3 * log_2 / 16])
    asymmetric = of_each_pair(TrainSpec(objective="asymmetric"), torch.ones(2), 4)(half, labels)
    assert asymmetric.tolist()[0] == pytest.approx([log_2, -(0.45**4) * math.log(0.55)])
    beta = {"objective": "class-balanced", "cb_beta": 0.9}
    balanced = of_each_pair(TrainSpec().override(beta, "train"), torch.tensor([1.0, 2.0]), 4)(half, labels)
    assert (balanced[0] / log_2).tolist() == pytest.approx([2 * 1.9 / 2.9, 2 / 2.9])  # 1 - .9² is .1 · 1.9
    rebalanced = rebalanced_weights(
        torch.tensor([[1, 1], [0, 0]]), torch.tensor([1.0, 3.0]), alpha=0.1, beta=10, mu=0.25
    )
    assert rebalanced[0].tolist() == pytest.approx([0.1 + 1 / (1 + math.exp(-5)), 0.6])  # 3/4 and 1/4 of the draws
    assert rebalanced[1].tolist() == pytest.approx([1.1, 1.1])


LIMITS: dict[str, tuple[dict[str, Any], float]] = {
    "focal": ({"focal_gamma": 0, "focal_alpha": 0.5}, 0.5),
    "asymmetric": ({"asl_gamma_neg": 0, "asl_clip": 0}, 1),
    "class-balanced": ({"cb_beta": 0}, 1),
    "distribution-balanced": ({"db_beta": 0, "db_alpha": 0.5, "db_kappa": 0, "db_lambda": 1}, 1),
}


@pytest.mark.parametrize("objective", LIMITS)
def test_with_its_settings_switched_off_it_is_cross_entropy(objective: str) -> None:
    settings, factor = LIMITS[objective]
    torch.testing.assert_close(
        losses(logits(), objective=objective, **settings), factor * each_loss(logits(), LABELS), rtol=1e-6, atol=0
    )


def test_effective_numbers_go_from_equal_weights_to_inverse_frequencies() -> None:
    inverse = 1 / COUNTS
    torch.testing.assert_close(effective_weights(COUNTS, 1 - 1e-9), inverse / inverse.mean(), rtol=1e-6, atol=0)
    assert effective_weights(COUNTS, 0.9).sum() == pytest.approx(3)
    assert effective_weights(torch.tensor([0.0, 1.0]), 0.9).tolist() == [1, 1]


def test_asymmetric_loss_ignores_easy_negatives_and_is_bounded_on_hard_ones() -> None:
    easy, hard = losses(torch.tensor([[-4.0], [50.0]]), torch.zeros(2, 1), objective="asymmetric").flatten().tolist()
    assert easy == 0  # p is below .05
    assert hard == pytest.approx(-(0.95**4) * math.log(0.05))


FRACTIONS = {"focal_gamma": 0.5, "asl_gamma_pos": 0.5, "asl_gamma_neg": 0.5}  # powers whose slope at zero is infinite


@pytest.mark.parametrize(
    "settings", [{}, FRACTIONS, FRACTIONS | {"asl_clip": 0}], ids=["paper", "fractions", "no clip"]
)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_are_those_of_the_loss(objective: str, settings: dict[str, Any]) -> None:
    given = logits().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: losses(z, objective=objective, **settings), given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "settings", [{}, FRACTIONS, FRACTIONS | {"asl_clip": 0}], ids=["paper", "fractions", "no clip"]
)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_extreme_logits_give_finite_losses_and_gradients(
    objective: str, settings: dict[str, Any], dtype: torch.dtype
) -> None:
    extreme = [-1e4, -800, -104, -90, -17, 0, 17, 90, 104, 800, 1e4]
    given = torch.tensor([[each] * 3 for each in extreme for _ in range(3)], dtype=dtype, requires_grad=True)
    found = losses(given, LABELS.repeat(len(extreme), 1).to(dtype), objective=objective, **settings)
    (gradient,) = torch.autograd.grad(found.sum(), given)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.isfinite(found).all()
    assert torch.isfinite(gradient).all()
    assert (found >= 0).all()
    assert (gradient[LABELS.repeat(len(extreme), 1) > 0] <= 0).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_bf16_logits_lose_nothing_but_their_own_digits(objective: str) -> None:
    rounded = logits(dtype=torch.bfloat16)
    torch.testing.assert_close(losses(rounded, objective=objective), losses(rounded.float(), objective=objective))


def test_frequencies_are_those_of_the_training_split() -> None:
    documents = learnable(50)
    counts = documents.labels().toarray().sum(0)
    objective = objective_for(TrainSpec(objective="class-balanced", cb_beta=0.9), documents)
    weights = 0.1 / (1 - 0.9 ** np.maximum(counts, 1))
    found = objective.each(torch.zeros(1, NUM_CODES), torch.ones(1, NUM_CODES)) / math.log(2)
    np.testing.assert_allclose(found[0].numpy(), weights / weights.mean(), rtol=1e-5)


def test_every_setting_of_an_objective_changes_it_alone() -> None:
    for objective, names in TrainSpec.belonging["objective"].items():
        for name in set(names) & LATER_FIELDS.keys():
            changed: dict[str, Any] = {name: getattr(TrainSpec(), name) / 2 or 0.5}
            assert not torch.equal(
                losses(logits(), objective=objective, **changed), losses(logits(), objective=objective)
            )
            assert TrainSpec(objective=objective).idle() == TrainSpec(objective=objective, **changed).idle()
            assert name not in TrainSpec(objective=objective).idle()
            assert all(name in TrainSpec(objective=each).idle() for each in OBJECTIVES if each != objective)


def test_defaults_are_what_older_runs_are_said_to_have_had() -> None:
    """Until one is changed on purpose: then stored runs keep the former value."""
    assert {name: TrainSpec.model_fields[name].default for name in LATER_FIELDS} == LATER_FIELDS
    assert TrainSpec().unchosen == set(LATER_FIELDS)
    assert "r_drop" not in TrainSpec(r_drop=1).unchosen


# --- Models --------------------------------------------------------------------------------------------------------------


TURNS = itertools.cycle(name for name in OBJECTIVES if name not in {"bce", "truncated"})
IN_TURN = [(name, next(TURNS)) for name in ("cnn", "bigru", "jlan", "leam", "laat", "msatt-kg", "multirescnn", "caml")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "objective"), IN_TURN)
def test_eight_documents_can_be_overfitted_by_every_objective(name: str, objective: str) -> None:
    """An objective sees logits alone, so each trains two kinds of network; tests of models train all of them."""
    fields = registry.entry(name).config.model_fields
    model = neural(name, **({"dropout": 0.0} if "dropout" in fields else {}))  # with it some need 800 steps
    documents = learnable(8, shortest=8, longest=12)
    batch = next(Loader(documents).batches([np.arange(8)]))
    chosen = objective_for(TrainSpec(objective=objective), documents)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    for step in range(800):  # all need 10 to 230; twice that depends on the processor's rounding
        optimizer.zero_grad()
        chosen(model(batch), batch.labels_BL).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 10 == 9 and ranked(model, batch):
            break
        model.train()
    assert ranked(model, batch)


def ranked(model: nn.Module, batch: Batch) -> bool:
    """Whether each document's own codes rank above all others."""
    with torch.no_grad():
        scores_BL = model.eval()(batch)
    own = scores_BL.masked_fill(batch.labels_BL == 0, math.inf).amin(1)
    return bool((own > scores_BL.masked_fill(batch.labels_BL > 0, -math.inf).amax(1)).all())


def fitted(path: Path, **settings: Any) -> tuple[nn.Module, State]:
    seed_everything(1)
    model = registry.build("caml", small_task(16), embedding_size=16, filters=8, dropout=0.3)
    assert isinstance(model, nn.Module)
    spec = TrainSpec().override({"learning_rate": 0.01, "monitor": "map", "patience": 99, **settings}, "train")
    documents, held_out = learnable(70), learnable(30, seed=1)
    checkpoint = path / store.CHECKPOINT
    return model, train.fit(model, documents, held_out, spec, seed=3, on=fabric("cpu"), checkpoint=checkpoint)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [*({"objective": each} for each in OBJECTIVES), {"r_drop": 1.0}], ids=str)
def test_the_trainer_learns_by_every_objective(settings: dict[str, Any], tmp_path: Path) -> None:
    _, state = fitted(tmp_path, max_epochs=40, **settings)
    assert state.best > 0.8  # an untrained model has 0.43
    assert state.history[-1]["loss"] < state.history[0]["loss"]


@pytest.mark.parametrize(("name", "settings"), [("dr-caml", {}), ("leam", {"attention": "ngram"})])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_penalty_of_the_model_is_added_to_every_objective(
    name: str, settings: dict[str, Any], objective: str
) -> None:
    model = neural(name, dropout=0.0, **settings).train()
    module = fabric("cpu").setup(model)
    batch = padded(TEXTS)
    batch.labels_BL[:, 0] = 1
    chosen = objective_for(TrainSpec(objective=objective), learnable(20))
    alone = chosen(model(batch), batch.labels_BL)
    penalty = model.penalty(batch)  # type: ignore[operator]
    assert penalty > 0
    torch.testing.assert_close(objective_of(module, batch, chosen), alone + penalty)
    twice = objective_of(module, batch, Objective(objective, chosen.each, r_drop=1.0))
    torch.testing.assert_close(twice, alone + penalty)  # without dropout both readings are one


# --- R-Drop --------------------------------------------------------------------------------------------------------------


def test_divergence_is_the_symmetric_one_of_bernoulli_distributions() -> None:
    one, other = logits(), logits().flip(0) / 2
    p, q = (torch.distributions.Bernoulli(logits=each) for each in (one, other))
    kl = torch.distributions.kl_divergence
    torch.testing.assert_close(divergence(one, other), (kl(p, q) + kl(q, p)).mean() / 2)
    assert divergence(one, one) == 0
    assert torch.autograd.gradcheck(divergence, (one.requires_grad_(), other.requires_grad_()))
    far = torch.full((1, 1), 1e4, dtype=torch.bfloat16)
    assert divergence(far, -far).item() == pytest.approx(1e4, rel=0.01)


def test_r_drop_is_the_mean_of_two_readings_and_their_divergence() -> None:
    first, second = logits(), logits().flip(1)
    labels = LABELS.double()
    both = Objective("bce", r_drop=0.7)(torch.cat([first, second]), torch.cat([labels, labels]))
    alone = (each_loss(first, labels).mean() + each_loss(second, labels).mean()) / 2
    torch.testing.assert_close(both, alone + 0.7 * divergence(first, second))


def test_r_drop_reads_each_document_twice_with_other_units_dropped() -> None:
    batch = padded(TEXTS)
    assert Objective("bce").repeated(batch) is batch
    twice = Objective("bce", r_drop=1.0).repeated(batch)
    assert twice.index_B.tolist() == [*range(5), *range(5)]
    torch.manual_seed(0)
    one, other = neural("caml", dropout=0.5).train()(twice).chunk(2)
    assert not torch.allclose(one, other)


def test_r_drop_of_zero_computes_what_was_computed_before(tmp_path: Path) -> None:
    plain, _ = fitted(tmp_path / "plain", max_epochs=2)
    off, _ = fitted(tmp_path / "off", max_epochs=2, r_drop=0.0)
    on, _ = fitted(tmp_path / "on", max_epochs=2, r_drop=1.0)
    weights, others = plain.state_dict(), on.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in off.state_dict().items())
    assert not all(torch.equal(value, others[name]) for name, value in weights.items())


@pytest.mark.parametrize("count", [0, 2])
def test_r_drop_leaves_out_the_worst_pairs_of_both_readings(count: int) -> None:
    model = neural("caml").eval()
    module = fabric("cpu").setup(model)
    batch = padded(TEXTS)
    batch.labels_BL[:, :2] = 1
    plain = objective_of(module, batch, Objective("truncated"), count)
    torch.testing.assert_close(objective_of(module, batch, Objective("truncated", r_drop=1.0), count), plain)


# --- The learning rate of each step ----------------------------------------------------------------------------------------


def rates(spec: TrainSpec, steps: int, done: int = 0) -> list[float]:
    """The learning rate of each step from `done` on."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=spec.learning_rate)
    scheduler = schedule(optimizer, spec, [], done, steps)
    found = []
    for _ in range(done, steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_linear_rises_and_falls_as_published() -> None:
    """As get_linear_schedule_with_warmup of transformers."""
    spec = TrainSpec(scheduler="linear", warmup=0.3, learning_rate=2.0)
    falling = [2 * (10 - step) / 7 for step in range(3, 10)]
    assert rates(spec, 10) == pytest.approx([0, 2 / 3, 4 / 3, *falling])
    assert rates(spec, 10, done=4) == rates(spec, 10)[4:]
    assert rates(TrainSpec(scheduler="linear", warmup=0, learning_rate=1), 4) == [1, 0.75, 0.5, 0.25]
    assert rates(TrainSpec(scheduler="linear", warmup=1, learning_rate=1), 4) == [0, 0.25, 0.5, 0.75]
    assert rates(TrainSpec(learning_rate=0.1, warmup=0.5), 4) == [0.1] * 4


def test_linear_falls_as_torchs_own_linear_scheduler() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    reference = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1, end_factor=0, total_iters=20)
    found = []
    for _ in range(20):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert rates(TrainSpec(scheduler="linear", warmup=0, learning_rate=0.5), 20) == pytest.approx(found)


def test_linear_goes_on_over_all_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    step = torch.optim.Adam.step

    def noted(self: torch.optim.Adam, *given: Any, **named: Any) -> Any:
        seen.append(self.param_groups[0]["lr"])
        return step(self, *given, **named)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    fitted(tmp_path, max_epochs=3, scheduler="linear", warmup=0.2)
    spec = TrainSpec(scheduler="linear", warmup=0.2, learning_rate=0.01)
    assert seen == rates(spec, 3 * math.ceil(70 / 16))
