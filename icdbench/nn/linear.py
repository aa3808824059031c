"""Logistic regressions of many codes on the same sparse features, fitted together by L-BFGS (`fit`).

Nearly all time is spent on products with the features, and a product for many codes costs little more than one for a single
code. So L-BFGS takes its steps for many codes at once, each with its own direction and step length.

Shapes in names: N documents, V features, W = V + 1 weights (the last is the intercept), C codes that are fitted at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.sparse import csc_matrix, csr_matrix
from torch import Tensor
from torch.nn import functional

from icdbench.types import IntArray

TOGETHER = 32  # codes fitted at a time
HISTORY = 10  # steps that L-BFGS remembers
TOLERANCE = 1e-4  # scikit-learn's, for the largest entry of the gradient of the mean loss
STEPS, HALVINGS = 5000, 40


def fit(
    features_NV: csr_matrix, labels_NL: csc_matrix, C: float, *, balanced: bool
) -> Iterator[tuple[IntArray, Tensor]]:
    """Yield codes and their weights_WC in parts.

    The objective is scikit-learn's: the mean logistic loss (`balanced`: with equal total weight of a code's positive and negative
    documents) plus |w|² / 2CN, without the intercept. A code that no or every document has gets its smoothed log-odds as
    intercept and no other weight.
    """
    documents = _Documents(features_NV, 1 / (C * features_NV.shape[0]))
    positives_L = np.diff(labels_NL.indptr)
    rare_first = np.argsort(positives_L, kind="stable")  # codes of similar frequency take about as many steps
    for codes in np.array_split(rare_first, max(1, -(-len(rare_first) // TOGETHER))):
        labels_NC = torch.from_numpy(labels_NL[:, codes].toarray().astype(np.float32))
        yield codes, documents.fitted(labels_NC, balanced=balanced)


class _Documents:
    def __init__(self, features_NV: csr_matrix, penalty: float) -> None:
        self.size, self.penalty = features_NV.shape[0], penalty
        self.features_NV, self.features_VN = _sparse(features_NV), _sparse(features_NV.T.tocsr())
        squares_V = np.asarray(features_NV.multiply(features_NV).mean(0)).ravel()
        self.squares_W1 = torch.from_numpy(np.append(squares_V, 1.0).astype(np.float32))[:, None]

    def fitted(self, labels_NC: Tensor, *, balanced: bool) -> Tensor:
        """weights_WC."""
        positives_C = labels_NC.sum(0)
        odds_C = (positives_C + 0.5) / (self.size - positives_C + 0.5)
        weights_WC = torch.zeros(len(self.squares_W1), labels_NC.shape[1])
        weights_WC[-1] = odds_C.log()
        codes_C = ((positives_C > 0) & (positives_C < self.size)).nonzero()[:, 0]
        fits = self._begin(weights_WC[:, codes_C], labels_NC[:, codes_C], balanced=balanced)
        for _ in range(STEPS):
            ended_C = (fits.gradient_WC.abs().amax(0) <= TOLERANCE) | fits.stuck_C
            if ended_C.any():
                weights_WC[:, codes_C[ended_C]] = fits.weights_WC[:, ended_C]
                codes_C = codes_C[~ended_C]
                fits = fits.of(~ended_C)
            if not len(codes_C):
                return weights_WC
            self._step(fits)
        weights_WC[:, codes_C] = fits.weights_WC
        return weights_WC

    def _begin(self, weights_WC: Tensor, labels_NC: Tensor, *, balanced: bool) -> _Fits:
        positives_C = labels_NC.sum(0)
        shares_NC = torch.full_like(labels_NC, 1 / self.size)
        if balanced:
            weights_WC[-1] = 0
            shares_NC = torch.where(labels_NC > 0, 0.5 / positives_C, 0.5 / (self.size - positives_C))
        scores_NC = weights_WC[-1].expand(self.size, -1).clone()
        # The initial diagonal of the objective's second derivative, as if features and errors were independent.
        chance_NC = scores_NC.sigmoid()
        steepness_WC = self.squares_W1 * (shares_NC * chance_NC * (1 - chance_NC)).sum(0)
        steepness_WC[:-1] += self.penalty
        fits = _Fits(weights_WC, scores_NC, labels_NC, shares_NC, 1 / steepness_WC)
        fits.gradient_WC = self._gradient(fits)
        return fits

    def _step(self, fits: _Fits) -> None:
        """Move along the direction, by the largest of 1, 1/2, 1/4 … that lowers the objective enough (Armijo)."""
        direction_WC = fits.direction()
        moved_NC = self.features_NV @ direction_WC[:-1] + direction_WC[-1]
        slope_C, length_C = (direction_WC * fits.gradient_WC).sum(0), torch.ones(len(fits.stuck_C))
        here_C = self._objective(fits, fits.scores_NC, fits.weights_WC)
        for _ in range(HALVINGS):
            there_C = self._objective(
                fits, fits.scores_NC + length_C * moved_NC, fits.weights_WC + length_C * direction_WC
            )
            enough_C = (there_C <= here_C + 1e-4 * length_C * slope_C) & (there_C < here_C)
            if enough_C.all():
                break
            length_C = torch.where(enough_C, length_C, length_C / 2)
        fits.stuck_C = ~enough_C  # as close to the minimum as 32 bits allow
        step_WC = torch.where(enough_C, length_C, 0.0) * direction_WC
        before_WC = fits.gradient_WC
        fits.weights_WC += step_WC
        fits.scores_NC += torch.where(enough_C, length_C, 0.0) * moved_NC
        fits.gradient_WC = self._gradient(fits)
        fits.steps = [*fits.steps[-HISTORY + 1 :], (step_WC, fits.gradient_WC - before_WC)]

    def _objective(self, fits: _Fits, scores_NC: Tensor, weights_WC: Tensor) -> Tensor:
        """The objective of each code [C], in 64 bits."""
        losses_NC = functional.softplus(scores_NC).sub_(fits.labels_NC * scores_NC).mul_(fits.shares_NC)
        return losses_NC.sum(0, dtype=torch.float64) + self.penalty / 2 * weights_WC[:-1].square().sum(0)

    def _gradient(self, fits: _Fits) -> Tensor:
        """The gradient of the objective by the weights [W, C]."""
        errors_NC = fits.scores_NC.sigmoid().sub_(fits.labels_NC).mul_(fits.shares_NC)
        by_feature_VC = (self.features_VN @ errors_NC).add_(fits.weights_WC[:-1], alpha=self.penalty)
        return torch.cat((by_feature_VC, errors_NC.sum(0, keepdim=True)))


@dataclass(eq=False)
class _Fits:
    """The state of the codes that have not converged yet."""

    weights_WC: Tensor
    scores_NC: Tensor
    labels_NC: Tensor
    shares_NC: Tensor  # each document's weight in the mean
    flatness_WC: Tensor  # the inverse of the initial diagonal of the second derivative
    gradient_WC: Tensor = field(default_factory=lambda: torch.empty(0))
    stuck_C: Tensor = field(default_factory=lambda: torch.empty(0))
    steps: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # s_WC, y_WC: changes of weights and gradient

    def __post_init__(self) -> None:
        self.stuck_C = torch.zeros(self.weights_WC.shape[1], dtype=torch.bool)

    def of(self, chosen_C: Tensor) -> _Fits:
        """The state of some of the codes."""
        tensors = {name: value[..., chosen_C] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return _Fits(**tensors, steps=[(s_WC[:, chosen_C], y_WC[:, chosen_C]) for s_WC, y_WC in self.steps])

    def direction(self) -> Tensor:
        """The direction of L-BFGS, starting from the diagonal of the second derivative [W, C]."""
        ahead_WC, shares = self.gradient_WC.clone(), []
        for s_WC, y_WC in reversed(self.steps):
            inverse_C = _inverse((s_WC * y_WC).sum(0))
            share_C = (s_WC * ahead_WC).sum(0) * inverse_C
            ahead_WC.addcmul_(y_WC, share_C, value=-1)
            shares.append((share_C, inverse_C))
        ahead_WC *= self.flatness_WC
        if self.steps:
            s_WC, y_WC = self.steps[-1]
            scale_C = (s_WC * y_WC).sum(0) * _inverse((y_WC.square() * self.flatness_WC).sum(0))
            ahead_WC *= torch.where(scale_C > 0, scale_C, 1.0)
        for (s_WC, y_WC), (share_C, inverse_C) in zip(self.steps, reversed(shares), strict=True):
            ahead_WC.addcmul_(s_WC, share_C - (y_WC * ahead_WC).sum(0) * inverse_C)
        return ahead_WC.neg_()


def _inverse(products_C: Tensor) -> Tensor:
    """The inverse, or zero, which omits a step, if rounding left no positive product."""
    return torch.where(products_C > torch.finfo(torch.float32).tiny, 1 / products_C, 0.0)


def _sparse(matrix: csr_matrix) -> Tensor:
    rows, columns, values = map(torch.from_numpy, (matrix.indptr, matrix.indices, matrix.data.astype(np.float32)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(rows, columns, values, matrix.shape, check_invariants=True)
