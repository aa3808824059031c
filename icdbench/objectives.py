"""What training minimises: binary cross-entropy, whole or truncated (denoising)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from icdbench.spec import TrainSpec


def drop_rate(spec: TrainSpec, epoch: int) -> float:
    """The fraction of positive pairs that epoch (1, 2, …) leaves out: min(γ·epoch, D_max), eq. 15 of the JLAN paper.

    γ = D_max / ramp_epochs. Zero for plain cross-entropy, and from `stop_epoch` on.
    """
    if spec.objective == "bce" or (spec.stop_epoch is not None and epoch >= spec.stop_epoch):
        return 0.0
    return spec.t_loss * min(1.0, epoch / spec.ramp_epochs)


def drop_count(rate: float, positives: int, owed: float) -> tuple[int, float]:
    """How many positive pairs a batch leaves out, and the fraction of a pair that is owed to the next batch.

    A batch may have fewer than 1/rate positive pairs; what rounding leaves behind is carried over, so that an epoch leaves
    out `rate` of its positive pairs whatever the batch size.
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
    return (each_BL * (~dropped(each_BL.detach(), labels_BL, count))).mean() if count else each_BL.mean()


def each_loss(logits_BL: Tensor, labels_BL: Tensor) -> Tensor:
    """Binary cross-entropy of each pair [B, L], in 32 bits."""
    return functional.binary_cross_entropy_with_logits(logits_BL.float(), labels_BL, reduction="none")


def dropped(losses_BL: Tensor, labels_BL: Tensor, count: int) -> Tensor:
    """True for the `count` positive pairs of largest loss, [B, L]; there must be so many."""
    ranked = losses_BL.masked_fill(labels_BL <= 0, -1).flatten()
    result_BL = torch.zeros_like(labels_BL, dtype=torch.bool)
    result_BL.view(-1)[ranked.topk(count).indices] = True
    return result_BL
