"""Nearest neighbours: the codes of the most similar training documents, weighted by similarity.

A baseline of this suite. Documents are TF-IDF vectors of their n-grams (logarithmic counts, at least two training documents),
projected on their `size` main axes (truncated singular value decomposition, as in latent semantic analysis) and scaled to
length one; similarity is the cosine. The k most similar training documents vote, if their similarity is positive:
p(code) = (Σ cosines of the neighbours with the code + s · prior) / (Σ cosines of all neighbours + s), where the prior is the
code's share of the training documents. The score is the logit of p. A stored model has the projections of the training
documents and their codes, but no text.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from icdbench.nn import ngrams, selected
from icdbench.registry import register
from icdbench.spec import Positive, PositiveFloat, Settings, tunable
from icdbench.types import Encoded, FloatArray, Task, Weights

AT_ONCE = 500  # documents compared with all training documents at a time
DIGITS = 9  # to which cosines are rounded; ties are in the order of the training documents


class Config(Settings):
    neighbours: Positive = tunable(20, 1, 200, log=True)
    size: Positive = Field(256, description="axes that documents are compared on")
    longest: Annotated[int, Field(gt=0, le=4)] = tunable(1, 1, 2, about="words of the longest n-grams")
    smoothing: PositiveFloat = tunable(1.0, 0.1, 10.0, log=True)


@register("knn", config=Config, paper="baseline of this suite", data=ngrams.ALL_WORDS, version="1")
class NearestNeighbours(ngrams.NGramModel):
    """`axes_VD` are the axes, `trained_ND` the projected training documents, `labels_NL` their codes."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__(task, "tfidf")
        self.config = config
        self.axes_VD: FloatArray = np.zeros((0, 0))
        self.trained_ND: FloatArray = np.zeros((0, 0))
        self.labels_NL = csr_matrix((0, task.num_codes))

    def fit(self, encoded: Encoded) -> None:
        """Find the axes and project the training documents."""
        from sklearn.decomposition import TruncatedSVD

        features_NV = self.learn(encoded, self.config.longest, ngrams.least_documents(encoded)).astype(np.float64)
        self.labels_NL = encoded.labels().tocsr().astype(np.float64)
        positives_L = np.diff(self.labels_NL.tocsc().indptr)
        self.intercepts_L = np.array([selected.log_odds(int(positives), len(encoded)) for positives in positives_L])
        self.axes_VD = np.zeros((features_NV.shape[1], 1))
        if features_NV.shape[1] == 1:
            self.axes_VD = np.ones((1, 1))  # scikit-learn needs two features
        elif size := min(self.config.size, *features_NV.shape):
            with np.errstate(invalid="ignore"):  # if all documents are equal it divides by a variance of 0
                self.axes_VD = _as_stored(TruncatedSVD(size, random_state=0).fit(features_NV).components_.T)
        self.trained_ND = _as_stored(self._project(features_NV))

    def scores(self, encoded: Encoded) -> FloatArray:
        """Compute logits [N, L]."""
        projected_ND = self._project(self.weighted(self.ngrams.counts(encoded)))
        prior_L, smoothing = 1 / (1 + np.exp(-self.intercepts_L)), self.config.smoothing
        scores_NL = np.empty((len(projected_ND), self.task.num_codes))
        for first in range(0, len(projected_ND), AT_ONCE):
            votes_BN = self._votes(projected_ND[first : first + AT_ONCE])
            for_BL = (votes_BN @ self.labels_NL).toarray() + smoothing * prior_L
            against_BL = votes_BN.sum(axis=1) + smoothing - for_BL
            scores_NL[first : first + AT_ONCE] = np.log(for_BL) - np.log(np.maximum(against_BL, smoothing * 1e-6))
        return scores_NL

    def contributions(self, encoded: Encoded, code: int) -> FloatArray:
        """Compute what each position of a single document adds to a code's logit; with the intercept they sum to it.

        If the neighbours speak for the code, words share the sum by what they add to the similarity of neighbours with the
        code; if they speak against it, to that of neighbours without it.
        """
        counts_1V = self.ngrams.counts(encoded)
        features_V = self.weighted(counts_1V).toarray()[0]
        projected_1D = self._project(csr_matrix(features_V))
        surplus = float(self.scores(encoded)[0, code] - self.intercepts_L[code])
        with_N = self.labels_NL[:, [code]].toarray()[:, 0] > 0
        chosen_N = (self._votes(projected_1D).toarray()[0] > 0) & (with_N == (surplus > 0))
        similarity_V = features_V * (self.axes_VD @ self.trained_ND[chosen_N].sum(axis=0))
        total = float(similarity_V.sum())
        each_V = similarity_V * (surplus / total) / np.maximum(counts_1V.toarray()[0], 1) if total else similarity_V
        return self.spread(encoded, each_V)

    def _project(self, features_NV: csr_matrix) -> FloatArray:
        projected_ND: FloatArray = features_NV @ self.axes_VD
        lengths_N1 = np.linalg.norm(projected_ND, axis=1, keepdims=True)
        projected_ND /= np.where(lengths_N1 > 0, lengths_N1, 1.0)
        return projected_ND

    def _votes(self, projected_BD: FloatArray) -> csr_matrix:
        """Each document's cosines with its neighbours, zero for all other training documents [B, N]."""
        cosines_BN: NDArray[np.float64] = np.round(projected_BD @ self.trained_ND.T, DIGITS)
        nearest_BK = np.argsort(-cosines_BN, axis=1, kind="stable")[:, : self.config.neighbours]
        votes_BN = np.zeros_like(cosines_BN)
        np.put_along_axis(votes_BN, nearest_BK, np.take_along_axis(cosines_BN, nearest_BK, 1).clip(0), 1)
        return csr_matrix(votes_BN)

    def weights(self) -> Weights:
        """Return everything that was fitted, by name."""
        fitted = {name: value for name, value in super().weights().items() if name not in {"columns", "offsets"}}
        codes = {"neighbour_codes": self.labels_NL.indices, "neighbour_offsets": self.labels_NL.indptr}
        places = {"coefficients": self.axes_VD.astype(np.float32), "neighbours": self.trained_ND.astype(np.float32)}
        return {**fitted, **places, **codes}

    def restore(self, weights: Weights) -> None:
        """Load the return value of `weights`."""
        super().restore(weights)
        self.axes_VD = weights["coefficients"].astype(np.float64)
        self.trained_ND = weights["neighbours"].astype(np.float64)
        codes, offsets = weights["neighbour_codes"], weights["neighbour_offsets"]
        shape = len(self.trained_ND), self.task.num_codes
        self.labels_NL = csr_matrix((np.ones(len(codes)), codes, offsets), shape=shape)
        self.labels_NL.check_format(full_check=True)


def _as_stored(values: FloatArray) -> FloatArray:
    """Round to the 32 bits that are stored, so that a restored model has the same scores."""
    return values.astype(np.float32).astype(np.float64)
