"""What training minimises: binary cross-entropy, whole or truncated (denoising)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from icdbench.spec import TrainSpec
from icdbench.training.accelerator import all_rows
from icdbench.training.errors import TrainingError
from icdbench.types import Batch

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def drop_rate(spec: TrainSpec, epoch: int) -> float:
    """The fraction of positive pairs that epoch (1, 2, …) leaves out: min(γ·epoch, D_max), eq. 15 of the JLAN paper.

    γ = D_max / ramp_epochs. Zero for plain cross-entropy, and from `stop_epoch` on.
    """
    if spec.objective == "bce" or (spec.stop_epoch is not None and epoch >= spec.stop_epoch):
        return 0.0
    return spec.t_loss * min(1.0, epoch / spec.ramp_epochs)


def drop_count(rate: float, positives: int, owed: float) -> tuple[int, float]:
    """How many positive pairs a batch leaves out, and the fraction of a pair that is owed to the next batch.

    A batch may have fewer than 1/rate positive pairs. What is lost in rounding is carried over, so that an epoch leaves out
    `rate` of its positive pairs whatever the batch size.
    """
    owed += rate * positives
    count = min(int(owed + 1e-9), positives)  # .15 · 20 is 3, not 2.999…
    return count, owed - count


def loss(logits_BL: Tensor, labels_BL: Tensor, count: int = 0) -> Tensor:
    """Mean binary cross-entropy over all B·L pairs; the `count` positive pairs of largest loss count zero (eq. 14).

    The paper writes "BCE > ε ∪ (y = 1)"; read as "and", since with "or" every positive would go: only positive pairs are
    ever dropped.
    """
    each_BL = each_loss(logits_BL, labels_BL)
    # Filled, not multiplied: a dropped pair counts zero even where its loss is infinite or not a number.
    return each_BL.masked_fill(dropped(each_BL.detach(), labels_BL, count), 0).mean() if count else each_BL.mean()


def each_loss(logits_BL: Tensor, labels_BL: Tensor) -> Tensor:
    """Binary cross-entropy of each pair [B, L], in 32 bits; labels are 0 or 1 of any type."""
    return functional.binary_cross_entropy_with_logits(logits_BL.float(), labels_BL.float(), reduction="none")


def dropped(losses_BL: Tensor, labels_BL: Tensor, count: int) -> Tensor:
    """True for the `count` positive pairs of largest loss [B, L], of which there must be at least `count`. NaN is largest."""
    ranked_X = losses_BL.masked_fill(labels_BL <= 0, -1).flatten()
    dropped_X = torch.zeros_like(ranked_X, dtype=torch.bool)
    dropped_X[ranked_X.topk(count).indices] = True
    return dropped_X.view(losses_BL.shape)


# Metrics that early stopping may monitor: the larger, the better.
MONITORS = (
    *("p@5", "p@8", "p@15", "r@5", "r@8", "r@15", "map", "r_precision", "auc_macro", "auc_micro"),
    *("f1_micro", "f1_macro", "f1_macro_present", "f1_macro_harmonic"),
)


def monitored(spec: TrainSpec, num_codes: int) -> str:
    """The validation metric that early stopping monitors; `auto` is that of the published protocols."""
    if spec.monitor != "auto":
        return spec.monitor
    if num_codes <= 5:
        return "map"  # P@5 would be the same for every ranking
    return "p@5" if num_codes <= 50 else "p@8"


def learning_rate(spec: TrainSpec, values: Sequence[float]) -> float:
    """The learning rate of the next epoch, given the monitored metric of each epoch so far.

    `plateau` computes what torch's ReduceLROnPlateau does (better is better by a factor of 1.0001). As a function of the
    history it needs no state of its own in a checkpoint.
    """
    rate, best, waited = spec.learning_rate, -math.inf, 0
    if spec.scheduler == "none":
        return rate
    for value in values:
        best, waited = (value, 0) if value > best * 1.0001 else (best, waited + 1)
        if waited > spec.plateau_patience:
            rate, waited = max(rate * spec.plateau_factor, min(rate, spec.plateau_floor)), 0
    return rate


def logits(network: nn.Module, batch: Batch) -> Tensor:
    """The network's logits [B, L]. Raises TrainingError where a model's author gives something of another shape."""
    found = network(batch)
    expected = tuple(batch.labels_BL.shape)
    if not isinstance(found, Tensor) or tuple(found.shape) != expected:
        shape = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise TrainingError(
            f"the model's forward gives {shape} for {expected[0]} documents and {expected[1]} codes; it must give a tensor of "
            f"logits of shape {expected}, B×L"
        )
    return found


def objective_of(module: nn.Module, batch: Batch, count: int) -> Tensor:
    """The loss of a batch without its `count` worst positive pairs, plus the model's own penalty if it has one."""
    return with_penalty(module, batch, logits(module, batch), count)


def with_penalty(module: nn.Module, batch: Batch, logits_BL: Tensor, count: int) -> Tensor:
    """Like `objective_of`, from logits that were computed before."""
    objective = loss(logits_BL, batch.labels_BL, count)
    # Fabric's wrapper lets only `forward` through; the model beneath computes its penalty, in 32 bits.
    penalty: Callable[[Batch], Tensor] | None = getattr(module.module, "penalty", None)
    return objective if penalty is None else objective + penalty(batch)


def own_count(logits_BL: Tensor, labels_BL: Tensor, count: int, on: Fabric, *, counting: bool) -> int:
    """How many of the `count` positive pairs of largest loss, over all processes, are this one's; none unless `counting`.

    Among equal losses those of lower ranks come first.
    """
    losses_BL = each_loss(logits_BL, labels_BL)
    positive_P = losses_BL[labels_BL > 0] if counting else losses_BL.new_empty(0)
    largest = losses_BL.new_full((count,), -1.0)
    kept = min(count, len(positive_P))
    largest[:kept] = positive_P.topk(kept).values
    every_WC = all_rows(largest, on)
    least = every_WC.flatten().topk(count).values[-1]
    above_W, equal_W = (every_WC > least).sum(1), (every_WC == least).sum(1)
    of_lower_ranks = equal_W[: on.global_rank].sum()
    left = (count - above_W.sum() - of_lower_ranks).clamp(min=0)
    return int(above_W[on.global_rank] + torch.minimum(left, equal_W[on.global_rank]))


def optimizer_of(model: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    """Adam or AdamW, fused on every device: one pass over memory per parameter, of which word vectors alone are millions."""
    kind = torch.optim.AdamW if spec.optimizer == "adamw" else torch.optim.Adam
    return kind(model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True)
