"""What training minimises and how: the objective of a batch, the pairs it leaves out, the optimizer, the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from icdbench.settings import TrainingError
from icdbench.spec import TrainSpec
from icdbench.training.accelerator import all_rows
from icdbench.training.guidance import Guide, code_vectors, distance, guide_for, padded
from icdbench.training.losses import PairLoss, divergence, each_loss, of_each_pair
from icdbench.types import Batch, Encoded

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def drop_rate(spec: TrainSpec, epoch: int) -> float:
    """The fraction of positive pairs that an epoch (1, 2, …) leaves out: min(γ·epoch, D_max), eq. 15 of the JLAN paper.

    γ = D_max / ramp_epochs. Zero for any objective other than `truncated`, and from `stop_epoch` on.
    """
    if spec.objective != "truncated" or (spec.stop_epoch is not None and epoch >= spec.stop_epoch):
        return 0.0
    return spec.t_loss * min(1.0, epoch / spec.ramp_epochs)


def drop_count(rate: float, positives: int, owed: float) -> tuple[int, float]:
    """How many positive pairs a batch leaves out, and the fraction of a pair that is carried over to the next batch.

    A batch may have fewer than 1/rate positive pairs. Carrying over what is lost in rounding makes an epoch leave out `rate`
    of its positive pairs whatever the batch size.
    """
    owed += rate * positives
    count = min(int(owed + 1e-9), positives)  # .15 · 20 is 3, not 2.999…
    return count, owed - count


@dataclass(frozen=True)
class Objective:
    """The loss of a batch: the mean over pairs of the loss `each`, which `train.objective` names.

    With `r_drop` each document is read twice with different dropout (R-Drop, Liang et al. 2021). As in that paper the batch
    is repeated, [x; x], and the loss is the mean of both readings' losses plus `r_drop` times their symmetric
    Kullback–Leibler divergence. Codes are not mutually exclusive, so this is the mean over pairs of the divergence of two
    Bernoulli distributions; GKI-ICD, which also uses R-Drop, takes the softmax of a document's logits over all codes.

    With a `guide` the model also reads texts of names of the gold codes (icdbench.training.guidance).
    """

    name: str
    each: PairLoss = each_loss
    r_drop: float = 0.0
    guide: Guide | None = None

    @property
    def readings(self) -> int:
        """How many times each document is read."""
        return 2 if self.r_drop else 1

    def repeated(self, batch: Batch) -> Batch:
        """The batch as the model reads it: the documents once or twice, then their guides as many times."""
        texts = [batch] if self.guide is None else [batch, self.guide.texts(batch)]
        parts = [each for each in texts for _ in range(self.readings)]
        if len(parts) == 1:
            return batch
        width = max(part.tokens_BT.shape[1] for part in parts)
        wide = [vars(replace(part, tokens_BT=padded(part.tokens_BT, width))).values() for part in parts]
        return Batch(*map(torch.cat, zip(*wide, strict=True)))

    def documents(self, each_B: Tensor) -> Tensor:
        """The rows of a `repeated` batch that are documents, not guides."""
        return each_B if self.guide is None else each_B.chunk(2)[0]

    def __call__(self, logits_BL: Tensor, labels_BL: Tensor, count: int = 0) -> Tensor:
        """The objective of a `repeated` batch, without the `count` positive pairs of documents with the largest loss."""
        value = self._loss_of_readings(self.documents(logits_BL), self.documents(labels_BL), count)
        if self.guide is None:
            return value
        return value + self.guide.weight * self._loss_of_readings(logits_BL.chunk(2)[1], labels_BL.chunk(2)[1], 0)

    def _loss_of_readings(self, logits_BL: Tensor, labels_BL: Tensor, count: int) -> Tensor:
        value = loss(logits_BL, labels_BL, count, self.each)
        return value + self.r_drop * divergence(*logits_BL.chunk(2)) if self.r_drop else value


BCE = Objective("bce")


def objective_for(spec: TrainSpec, train: Encoded, device: torch.device | str = "cpu") -> Objective:
    """The objective of a run; some losses need the frequencies of codes in its training documents.

    Raises SpecError for guidance by names if the data have none.
    """
    counts_L = torch.from_numpy(np.bincount(train.codes, minlength=train.num_codes)).to(device, torch.float32)
    return Objective(spec.objective, of_each_pair(spec, counts_L, len(train)), spec.r_drop, guide_for(spec, train))


def loss(logits_BL: Tensor, labels_BL: Tensor, count: int = 0, each: PairLoss = each_loss) -> Tensor:
    """Mean loss over all B·L pairs, by default cross-entropy; the `count` positive pairs of largest loss count as zero.

    Eq. 14 of the JLAN paper writes "BCE > ε ∪ (y = 1)". It is read as "and", because "or" would drop every positive pair.
    """
    each_BL = each(logits_BL, labels_BL)
    # Filled, not multiplied: a dropped pair counts as zero even if its loss is infinite or NaN.
    return each_BL.masked_fill(dropped(each_BL.detach(), labels_BL, count), 0).mean() if count else each_BL.mean()


def dropped(losses_BL: Tensor, labels_BL: Tensor, count: int) -> Tensor:
    """True for the `count` positive pairs of largest loss [B, L]; there must be at least `count`. NaN counts as largest."""
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
    """The learning rate at the start of the next epoch, given the monitored metric of each epoch so far.

    `plateau` computes what torch's ReduceLROnPlateau does ("better" means by a factor of 1.0001). As a function of the
    history it needs no state in checkpoints.
    """
    rate, best, waited = spec.learning_rate, -math.inf, 0
    if spec.scheduler != "plateau":
        return rate
    for value in values:
        best, waited = (value, 0) if value > best * 1.0001 else (best, waited + 1)
        if waited > spec.plateau_patience:
            rate, waited = max(rate * spec.plateau_factor, min(rate, spec.plateau_floor)), 0
    return rate


def schedule(
    optimizer: torch.optim.Optimizer, spec: TrainSpec, values: Sequence[float], done: int, steps: int
) -> LambdaLR:
    """Torch's scheduler for the next epoch, when `done` of `steps` (those of `max_epochs`) are taken; `values` as above.

    `linear` rises from 0 over the first `warmup` share of all steps and falls to 0 at the last, as transformers'
    get_linear_schedule_with_warmup does. A step's factor depends only on its number, so checkpoints need not store it.
    Other schedulers keep the rate for the epoch.
    """
    rising = math.ceil(spec.warmup * steps)

    def factor(step: int) -> float:
        if spec.scheduler != "linear":
            return 1.0
        return step / rising if step < rising else (steps - step) / max(steps - rising, 1)

    for group in optimizer.param_groups:
        group["initial_lr"] = learning_rate(spec, values)
    return LambdaLR(optimizer, factor, last_epoch=done - 1)


def logits(network: nn.Module, batch: Batch) -> Tensor:
    """The network's logits [B, L]. Raises TrainingError if a model's `forward` returns something of another shape."""
    found = network(batch)
    expected = tuple(batch.labels_BL.shape)
    if not isinstance(found, Tensor) or tuple(found.shape) != expected:
        shape = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise TrainingError(
            f"the model's forward gives {shape} for {expected[0]} documents and {expected[1]} codes; it must give a tensor of "
            f"logits of shape {expected}, B×L"
        )
    return found


def read(module: nn.Module, batch: Batch, objective: Objective) -> tuple[Tensor, Tensor | float]:
    """Logits of a `repeated` batch, and what the distance of documents from their guides adds to the loss."""
    if objective.guide is None or not objective.guide.similarity:
        return logits(module, batch), 0.0
    with code_vectors(module) as collected:
        logits_BL = logits(module, batch)
    return logits_BL, objective.guide.similarity * distance(collected, batch.labels_BL)


def objective_of(module: nn.Module, batch: Batch, objective: Objective = BCE, count: int = 0) -> Tensor:
    """The loss of a batch without its `count` positive pairs of largest loss, plus the model's own penalty if it has one."""
    batch = objective.repeated(batch)
    logits_BL, added = read(module, batch, objective)
    return with_penalty(module, batch, logits_BL, objective, count * objective.readings) + added


def with_penalty(module: nn.Module, batch: Batch, logits_BL: Tensor, objective: Objective, count: int) -> Tensor:
    """The loss with penalty of a `repeated` batch, given its logits."""
    value = objective(logits_BL, batch.labels_BL, count)
    # Fabric's wrapper passes on only `forward`; the model beneath it computes its penalty in 32 bits.
    penalty: Callable[[Batch], Tensor] | None = getattr(module.module, "penalty", None)
    return value if penalty is None else value + penalty(batch)


def own_count(logits_BL: Tensor, labels_BL: Tensor, count: int, on: Fabric, *, counting: bool) -> int:
    """How many of the `count` positive pairs of largest loss over all processes are this process's; none unless `counting`.

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
    left = (count - above_W.sum() - equal_W[: on.global_rank].sum()).clamp(min=0)
    return int(above_W[on.global_rank] + torch.minimum(left, equal_W[on.global_rank]))


def optimizer_of(model: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    """Adam or AdamW, fused on every device: one pass over memory per step, as word vectors alone are millions of numbers.

    With `clip_norm` c gradients g are multiplied by min(1, c / |g|), where |g| is their norm over all parameters.
    """
    kind = torch.optim.AdamW if spec.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True)

    def clip(*_: object) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), spec.clip_norm)

    if spec.clip_norm:
        optimizer.register_step_pre_hook(clip)
    return optimizer
