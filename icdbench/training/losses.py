"""The loss of each pair of a document and a code, chosen by `train.objective`. Entered by `of_each_pair`.

Every function takes logits and labels [B, L] and returns losses [B, L] in 32 bits, or in 64 if the logits have 64. z is a
logit, y its label, p = sigmoid(z); p_t is the probability of the true label: p where y = 1, else 1 - p. N is the number of
training documents, n_l that of those with code l. docs/losses.md compares the losses and has their sources.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from icdbench.spec import TrainSpec

PairLoss = Callable[[Tensor, Tensor], Tensor]


def each_loss(logits_BL: Tensor, labels_BL: Tensor) -> Tensor:
    """Binary cross-entropy -log p_t of each pair [B, L]; labels are 0 or 1 of any type."""
    wide_BL = _wide(logits_BL)
    return functional.binary_cross_entropy_with_logits(wide_BL, labels_BL.to(wide_BL), reduction="none")


def focal(logits_BL: Tensor, labels_BL: Tensor, *, gamma: float, alpha: float) -> Tensor:
    """-α_t (1 - p_t)^γ log p_t (Lin et al. 2017, eq. 5), where α_t is α of positive pairs and 1 - α of negative ones.

    With γ = 0 and α = 0.5 it is half the cross-entropy.
    """
    losses_BL = _focused(each_loss(logits_BL, labels_BL), gamma)
    return losses_BL * torch.where(labels_BL > 0, alpha, 1 - alpha)


def asymmetric(logits_BL: Tensor, labels_BL: Tensor, *, gamma_pos: float, gamma_neg: float, clip: float) -> Tensor:
    """Asymmetric loss (Ridnik et al. 2021), a focal loss in which easy negative pairs have no weight.

    -(1 - p)^γ₊ log p of positive pairs, -p_m^γ₋ log(1 - p_m) of negative ones, p_m = max(p - m, 0), with m = `clip`.
    Without γ and m it is the cross-entropy. As in the paper's equations, gradients flow through the weights.
    """
    losses_BL = each_loss(logits_BL, labels_BL)
    # log(1 - p_m) = min(log(1 - p + m), 0), and log(1 - p) is minus the cross-entropy of a negative pair.
    shift = losses_BL.new_tensor(math.log(clip) if clip else -math.inf)
    shifted_BL = -torch.logaddexp(-losses_BL, shift).clamp(max=0)
    positive_BL = labels_BL > 0
    gammas_BL = torch.where(positive_BL, losses_BL.new_tensor(gamma_pos), losses_BL.new_tensor(gamma_neg))
    return _focused(torch.where(positive_BL, losses_BL, shifted_BL), gammas_BL)


def class_balanced(logits_BL: Tensor, labels_BL: Tensor, *, weights_L: Tensor) -> Tensor:
    """Cross-entropy of each pair times the weight of its code (Cui et al. 2019; `effective_weights`).

    In that paper each document has one class, whose weight is the document's. Here documents have many codes, and positive
    and negative pairs of a code both have the code's weight.
    """
    return each_loss(logits_BL, labels_BL) * weights_L


def effective_weights(counts_L: Tensor, beta: float) -> Tensor:
    """(1 - β) / (1 - β^n_l), the inverse effective number of documents with code l, scaled to a mean of 1: [L].

    Cui et al. 2019, section 4, scale the sum of the weights to the number of classes. With β = 0 all weights are 1, with β
    near 1 they are proportional to 1 / n_l. A code without training documents has the weight of a code with one.
    """
    log_beta = math.log(beta) if beta else -math.inf
    weights_L = 1 / -torch.expm1(counts_L.cpu().double().clamp(min=1) * log_beta)
    return (weights_L / weights_L.mean()).to(counts_L)


def distribution_balanced(
    logits_BL: Tensor,
    labels_BL: Tensor,
    *,
    counts_L: Tensor,
    biases_L: Tensor,
    alpha: float,
    beta: float,
    mu: float,
    scale: float,
) -> Tensor:
    """Distribution-balanced loss (Wu et al. 2020), without its focal form; λ is `scale`, ν_l is in `biases_L`.

    r log(1 + exp(-(z - ν_l))) of positive pairs, r/λ log(1 + exp(λ (z - ν_l))) of negative ones; r [B, L] is
    `rebalanced_weights`. Predictions use z, without ν. α = 1, β large, μ large, ν = 0 and λ = 1 give the cross-entropy.
    """
    positive_BL = labels_BL > 0
    shifted_BL = _wide(logits_BL) - biases_L
    scales_BL = torch.where(positive_BL, 1.0, scale).to(shifted_BL)
    losses_BL = each_loss(shifted_BL * scales_BL, labels_BL) / scales_BL
    return losses_BL * rebalanced_weights(positive_BL, counts_L, alpha=alpha, beta=beta, mu=mu)


def rebalanced_weights(labels_BL: Tensor, counts_L: Tensor, *, alpha: float, beta: float, mu: float) -> Tensor:
    """r = α + sigmoid(β (s - μ)) of each pair [B, L], s = (1/n_l) / Σ 1/n_k over the codes k of the document.

    If codes were drawn evenly, s is how often a document would be drawn for code l, relative to how often for any of its codes
    (Wu et al. 2020, re-balanced weighting). For a document without codes s is infinite and r is α + 1.
    """
    inverse_L = 1 / counts_L.clamp(min=1)
    drawn_B1 = (labels_BL * inverse_L).sum(1, keepdim=True)
    share_BL = inverse_L / drawn_B1.clamp(min=1e-20)
    return alpha + torch.sigmoid(beta * (share_BL - mu))


def tolerant_biases(counts_L: Tensor, documents: int, kappa: float) -> Tensor:
    """ν_l = κ log(N / n_l - 1), [L]: rare codes need lower logits before their negative pairs cost little (Wu et al. 2020).

    A code that all documents have counts as if one document lacked it.
    """
    whole = max(documents, 2)
    return kappa * torch.log(whole / counts_L.clamp(1, whole - 1) - 1)


def divergence(one_BL: Tensor, other_BL: Tensor) -> Tensor:
    """The mean over all pairs of the symmetric Kullback–Leibler divergence of two logits' Bernoulli distributions.

    (KL(p‖q) + KL(q‖p)) / 2 is (p - q) (z_p - z_q) / 2, which has no logarithm that could overflow.
    """
    one_BL, other_BL = _wide(one_BL), _wide(other_BL)
    return ((one_BL.sigmoid() - other_BL.sigmoid()) * (one_BL - other_BL)).mean() / 2


def of_each_pair(spec: TrainSpec, counts_L: Tensor, documents: int) -> PairLoss:
    """The loss of `train.objective` with its settings; `counts_L` of the `documents` for training have each code."""
    known: dict[str, PairLoss] = {
        "bce": each_loss,
        "truncated": each_loss,
        "focal": partial(focal, gamma=spec.focal_gamma, alpha=spec.focal_alpha),
        "asymmetric": partial(
            asymmetric, gamma_pos=spec.asl_gamma_pos, gamma_neg=spec.asl_gamma_neg, clip=spec.asl_clip
        ),
        "class-balanced": partial(class_balanced, weights_L=effective_weights(counts_L, spec.cb_beta)),
        "distribution-balanced": partial(
            distribution_balanced,
            counts_L=counts_L,
            biases_L=tolerant_biases(counts_L, documents, spec.db_kappa),
            alpha=spec.db_alpha,
            beta=spec.db_beta,
            mu=spec.db_mu,
            scale=spec.db_lambda,
        ),
    }
    return known[spec.objective]


def _focused(losses_BL: Tensor, gamma: float | Tensor) -> Tensor:
    """(1 - p_t)^γ times each loss, where a loss is -log p_t.

    Replacing zero by the smallest number keeps the gradient finite where γ < 1; the loss is zero there anyhow.
    """
    wrong_BL = (-torch.expm1(-losses_BL)).clamp(min=torch.finfo(losses_BL.dtype).tiny)
    return wrong_BL**gamma * losses_BL


def _wide(logits_BL: Tensor) -> Tensor:
    """The logits in 32 bits, or in 64 if they have 64: a loss in bf16 would be rounded to three digits."""
    return logits_BL.to(torch.promote_types(logits_BL.dtype, torch.float32))
