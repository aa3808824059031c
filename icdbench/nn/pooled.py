"""One classifier of all pairs of a document and a code (`Pooled`): the mean of a logistic regression and boosted trees.

Both are fitted by scikit-learn and stored as arrays. A leaf of its trees has no bound: where hardly any pair is right, Newton's
step may be 1e56. The logits of the trees are bounded by CERTAIN.

Shapes in names: P pairs, F features, R trees, J nodes of the largest tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icdbench.nn.selected import fit_standardised
from icdbench.types import FloatArray, IntArray, Weights

TREES = 150
FLAT, DEEP = (3, 0.08), (5, 0.05)  # depth of trees, learning rate
LEAST = 20  # least number of pairs of a leaf
CERTAIN = -float(np.log(np.finfo(float).eps))  # at this logit a probability is 1 but for the last of 64 bits


@dataclass(eq=False)
class Pooled:
    """The logits of pairs by their features; without trees those of the logistic regression."""

    coefficients_F: FloatArray
    intercept: FloatArray  # [1]
    features_RJ: IntArray  # the feature that a node compares; -1 for a leaf
    thresholds_RJ: FloatArray
    children_RJ2: IntArray
    values_RJ: FloatArray
    start: FloatArray  # [1], to which trees are added

    @classmethod
    def of(cls, features_PF: FloatArray, labels_P: IntArray, *, trees: bool, deep: bool = False) -> Pooled:
        """Fit both; without pairs of both labels every pair gets their smoothed log-odds."""
        coefficients_F, intercept = fit_standardised(features_PF, labels_P)
        intercept_1 = np.array([intercept])
        if trees and len(np.unique(labels_P)) == 2:
            return cls(coefficients_F, intercept_1, *_forest(features_PF, labels_P, *(DEEP if deep else FLAT)))
        none, nodes, children = np.zeros((0, 0)), np.zeros((0, 0), np.int64), np.zeros((0, 0, 2), np.int64)
        return cls(coefficients_F, intercept_1, nodes, none, children, none, np.zeros(1))

    def logits(self, features_PF: FloatArray) -> FloatArray:
        """Return the logits of pairs [P]."""
        linear_P: FloatArray = np.einsum("pf,f->p", features_PF, self.coefficients_F) + self.intercept
        if not len(self.features_RJ):
            return linear_P
        return (linear_P + self.boosted(features_PF)) / 2

    def boosted(self, features_PF: FloatArray) -> FloatArray:
        """Return the logits of the trees [P], between ±CERTAIN."""
        total_P, rows = np.full(len(features_PF), self.start[0]), np.arange(len(features_PF))
        rounded_PF = features_PF.astype(np.float32)  # scikit-learn compares in this precision
        for features, thresholds, children, values in zip(
            self.features_RJ, self.thresholds_RJ, self.children_RJ2, self.values_RJ, strict=True
        ):
            nodes = np.zeros(len(rows), np.int64)
            for _ in range(max(FLAT[0], DEEP[0])):
                feature = features[nodes]
                right = rounded_PF[rows, feature] > thresholds[nodes]
                nodes = np.where(feature >= 0, children[nodes, right.astype(np.int64)], nodes)
            total_P += values[nodes]
        bounded_P: FloatArray = np.clip(total_P, -CERTAIN, CERTAIN)
        return bounded_P

    def weights(self, prefix: str) -> Weights:
        """Return everything that was fitted, by name."""
        return {f"{prefix}.{name}": value for name, value in vars(self).items()}

    @classmethod
    def restored(cls, weights: Weights, prefix: str) -> Pooled:
        """Load the return value of `weights`."""
        start = f"{prefix}."
        return cls(**{name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)})


def _forest(
    features_PF: FloatArray, labels_P: IntArray, depth: int, rate: float
) -> tuple[IntArray, FloatArray, IntArray, FloatArray, FloatArray]:
    """Fit boosted trees: the arrays of `Pooled` from `features_RJ` to `start`."""
    from sklearn.ensemble import GradientBoostingClassifier

    solver = GradientBoostingClassifier(
        n_estimators=TREES, max_depth=depth, learning_rate=rate, subsample=0.5, max_features=0.5,
        min_samples_leaf=LEAST, random_state=0,
    ).fit(features_PF, labels_P)  # fmt: skip
    grown = [each.tree_ for each in solver.estimators_[:, 0]]
    most = max(each.node_count for each in grown)
    features_RJ, thresholds_RJ = np.full((TREES, most), -1), np.zeros((TREES, most))
    children_RJ2, values_RJ = np.zeros((TREES, most, 2), np.int64), np.zeros((TREES, most))
    for row, each in enumerate(grown):
        inner = each.children_left >= 0
        features_RJ[row, : each.node_count] = np.where(inner, each.feature, -1)
        thresholds_RJ[row, : each.node_count] = each.threshold
        children_RJ2[row, : each.node_count] = np.stack([each.children_left, each.children_right], axis=1)
        values_RJ[row, : each.node_count] = rate * each.value[:, 0, 0]
    share = labels_P.mean(keepdims=True)
    return features_RJ, thresholds_RJ, children_RJ2, values_RJ, np.log(share) - np.log1p(-share)
