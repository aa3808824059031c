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


def loss(logits_BL: Tensor, labels_BL: Tensor, rate: float = 0.0) -> Tensor:
    """Mean binary cross-entropy over all B·L pairs; the worst fraction `rate` of the positive pairs counts zero (eq. 14).

    The paper writes "BCE > ε ∪ (y = 1)"; read as "and", since with "or" every positive would go: only positive pairs are
    ever dropped. The number dropped is rounded down, so small batches may drop none.
    """
    each_BL = functional.binary_cross_entropy_with_logits(logits_BL.float(), labels_BL, reduction="none")
    return (each_BL * (~dropped(each_BL.detach(), labels_BL, rate))).mean() if rate > 0 else each_BL.mean()


def dropped(losses_BL: Tensor, labels_BL: Tensor, rate: float) -> Tensor:
    """True for the floor(rate · positives) positive pairs of largest loss, [B, L]."""
    positive_BL = labels_BL > 0
    count = int(rate * int(positive_BL.sum()) + 1e-9)  # .15 · 20 is 3, not 2.999…
    result_BL = torch.zeros_like(positive_BL)
    if count:
        ranked = losses_BL.masked_fill(~positive_BL, -1).flatten()
        result_BL.view(-1)[ranked.topk(count).indices] = True
    return result_BL
