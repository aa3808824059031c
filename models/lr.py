"""LR: one logistic regression per code on the bag of words.

The baseline of Mullenbach et al., NAACL 2018, https://arxiv.org/abs/1802.05695: word counts over the vocabulary, one
L2-regularised classifier per code (C = 1), trained independently. The intercept is not penalised. With L2 no weight is
exactly zero, so the weights are a dense 32-bit matrix [L, V]: 1.8 GB for 8,921 codes and 50,000 words.

The published program (log_reg.py of CAML) also has C = 1 and differs in three points:
- Its solver is SAG, stopped after 20 iterations and possibly not converged; here L-BFGS runs until convergence.
- Its unknown word is a feature with a count like any other; here it is ignored.
- It reads whole documents; here they are cut to `data.max_tokens`, as for every model.

`lr@tfidf` is a stronger linear model: TF-IDF (logarithmic counts) over single words and pairs of neighbours, with the
positive and negative documents of each code weighted equally; C and the weighting were chosen on the validation split
of codiesp-d50. The unknown word is ignored, and a pair is known if two training documents contain it. A code that no
training document has, or all have, gets its smoothed log-odds as a constant score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, hstack

from icdbench.nn import linear
from icdbench.registry import register
from icdbench.spec import PositiveFloat, Settings, Variant, tunable
from icdbench.types import UNKNOWN, Encoded, FloatArray, IntArray, Task

CODES_AT_ONCE = 512  # codes whose scores are computed together: scipy copies their weights


class Config(Settings):
    features: Literal["counts", "tfidf"] = "counts"
    pairs: bool = Field(
        False, description="also count pairs of neighbouring words that occur in at least two training documents"
    )
    balanced: bool = Field(False, description="give positive and negative documents of a code equal total weight")
    C: PositiveFloat = tunable(1.0, 1e-2, 1e2, log=True)


@register(
    "lr",
    config=Config,
    paper="Mullenbach et al., NAACL 2018",
    version="2",
    variants=(
        Variant(
            name="tfidf",
            about="TF-IDF over single words and pairs, balanced classes, C = 10",
            model={"features": "tfidf", "pairs": True, "balanced": True, "C": 10.0},
        ),
    ),
)
class LogisticRegressions:
    def __init__(self, config: Config, task: Task) -> None:
        self.config = config
        self.num_tokens = task.num_tokens
        self.num_codes = task.num_codes
        self.pairs: IntArray = np.zeros(0, np.int64)
        self.idf: FloatArray = np.zeros(0)
        self.coefficients_LV: FloatArray = np.zeros((task.num_codes, 0), np.float32)
        self.intercepts_L: FloatArray = np.zeros(task.num_codes)

    def fit(self, encoded: Encoded) -> None:
        """Fit every code's classifier to the documents."""
        from sklearn.feature_extraction.text import TfidfTransformer

        if self.config.pairs:
            self.pairs = _in_two_documents(*self._pairs(encoded))
        counts_NV = self._counts(encoded)
        if self.config.features == "tfidf":
            self.idf = TfidfTransformer().fit(counts_NV).idf_
        features_NV = self._weighted(counts_NV)
        labels_NL = encoded.labels().tocsc()
        self.coefficients_LV = np.zeros((self.num_codes, features_NV.shape[1]), np.float32)
        for codes, weights_WC in linear.fit(features_NV, labels_NL, self.config.C, balanced=self.config.balanced):
            self.coefficients_LV[codes], self.intercepts_L[codes] = weights_WC[:-1].T, weights_WC[-1]

    def scores(self, encoded: Encoded) -> FloatArray:
        """Compute logits [N, L]."""
        features_NV = self._weighted(self._counts(encoded))
        parts = np.array_split(self.coefficients_LV, -(-self.num_codes // CODES_AT_ONCE))
        scores_NL: FloatArray = np.hstack([features_NV @ part_CV.T for part_CV in parts]) + self.intercepts_L
        return scores_NL

    def contributions(self, encoded: Encoded, code: int) -> FloatArray:
        """Compute what each position of a single document adds to a code's logit; with the intercept they sum to it.

        Occurrences of a word share the contribution of its feature, and the two words of a pair that of the pair.
        """
        counts_1V = self._counts(encoded)
        features_V, counts_V = self._weighted(counts_1V).toarray()[0], counts_1V.toarray()[0]
        each_V = self.coefficients_LV[code] * features_V / np.maximum(counts_V, 1)
        _, tokens_T = _positions(encoded)
        added_T = np.where(tokens_T == UNKNOWN, 0.0, each_V[tokens_T])
        if len(self.pairs):
            known = (tokens_T[:-1] != UNKNOWN) & (tokens_T[1:] != UNKNOWN)
            pairs = tokens_T[:-1].astype(np.int64) * self.num_tokens + tokens_T[1:]
            columns = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
            half = np.where(known & (self.pairs[columns] == pairs), each_V[self.num_tokens + columns] / 2, 0.0)
            added_T[:-1] += half
            added_T[1:] += half
        return added_T

    def weights(self) -> Mapping[str, FloatArray]:
        """Return everything that was fitted, by name."""
        return {
            "coefficients": self.coefficients_LV,
            "intercepts": self.intercepts_L,
            "idf": self.idf,
            "pairs": self.pairs.astype(np.float64),  # exact: below 2^53
        }

    def restore(self, weights: Mapping[str, FloatArray]) -> None:
        """Load the return value of `weights`."""
        self.coefficients_LV, self.intercepts_L = weights["coefficients"], weights["intercepts"]
        self.idf, self.pairs = weights["idf"], weights["pairs"].astype(np.int64)

    def _counts(self, encoded: Encoded) -> csr_matrix:
        """Count known words, then known pairs, in each document [N, V]."""
        documents, tokens = _positions(encoded)
        known = tokens != UNKNOWN
        words = _count(documents[known], tokens[known], (len(encoded), self.num_tokens))
        if not len(self.pairs):
            return words
        documents, pairs = self._pairs(encoded)
        columns = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
        known = self.pairs[columns] == pairs
        return hstack([words, _count(documents[known], columns[known], (len(encoded), len(self.pairs)))], format="csr")

    def _pairs(self, encoded: Encoded) -> tuple[IntArray, IntArray]:
        """Return the document of each pair of neighbouring known words, and the pair as one number."""
        documents, tokens = _positions(encoded)
        first, second = tokens[:-1].astype(np.int64), tokens[1:].astype(np.int64)
        together = (documents[:-1] == documents[1:]) & (first != UNKNOWN) & (second != UNKNOWN)
        return documents[:-1][together], (first * self.num_tokens + second)[together]

    def _weighted(self, counts_NV: csr_matrix) -> csr_matrix:
        if self.config.features == "counts":
            return counts_NV
        weighted_NV = counts_NV.copy()
        weighted_NV.data = 1 + np.log(weighted_NV.data)
        weighted_NV = weighted_NV.multiply(self.idf).tocsr()
        norms_N = np.sqrt(weighted_NV.multiply(weighted_NV).sum(1)).A1
        return csr_matrix(weighted_NV.multiply(1 / np.maximum(norms_N, 1e-12)[:, None]))


def _positions(encoded: Encoded) -> tuple[IntArray, IntArray]:
    """Return document and token of every position that is read."""
    starts = np.asarray(encoded.token_offsets[:-1])
    documents = np.repeat(np.arange(len(encoded)), np.diff(encoded.token_offsets))
    kept = np.arange(len(documents)) - starts[documents] < encoded.max_tokens
    return documents[kept], np.asarray(encoded.tokens)[kept]


def _in_two_documents(documents: IntArray, pairs: IntArray) -> IntArray:
    """Return the distinct pairs that at least two documents contain, sorted."""
    once = np.unique(np.stack([pairs, documents]), axis=1)[0]
    found, counts = np.unique(once, return_counts=True)
    return found[counts > 1]


def _count(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
