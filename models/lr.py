"""LR: one logistic regression per code on the bag of words.

The baseline of Mullenbach et al., NAACL 2018, https://arxiv.org/abs/1802.05695: word counts over the vocabulary, one
L2-regularised classifier per code (C = 1), nothing learned jointly. The intercept is not penalised; liblinear, which was
scikit-learn's default solver in 2018, penalises it, which hurts the ranking of rare codes. L2 leaves no weight at zero, so the
weights are a dense L×V, in 32 bits: 1.8 GB at 8,921 codes and 50,000 words.

`lr@tfidf` is a stronger linear model: TF-IDF (logarithmic counts) over single words and pairs of neighbours, with the
positive and negative documents of each code weighted equally; C and the weighting were chosen on the validation split of
codiesp-d50. The unknown token counts as no word, and a pair is known if two training documents have it. A code that training
never shows, or always shows, gets its smoothed log-odds as a constant score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, hstack

from icdbench import linear
from icdbench.registry import register
from icdbench.spec import PositiveFloat, Settings, Variant, tunable
from icdbench.types import UNKNOWN, Encoded, FloatArray, IntArray, Task

CODES_AT_ONCE = 512  # whose scores are computed together: scipy makes a copy of their weights


class Config(Settings):
    features: Literal["counts", "tfidf"] = "counts"
    pairs: bool = Field(
        False, description="count pairs of neighbouring words too, those in two training documents or more"
    )
    balanced: bool = Field(False, description="weight positive and negative documents of a code equally")
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

    def fit(self, encoded: Encoded, max_tokens: int) -> None:
        """Fit every code's classifier to the documents, cut to max_tokens."""
        from sklearn.feature_extraction.text import TfidfTransformer

        if self.config.pairs:
            self.pairs = _in_two_documents(*self._pairs(encoded, max_tokens))
        counts_NV = self._counts(encoded, max_tokens)
        if self.config.features == "tfidf":
            self.idf = TfidfTransformer().fit(counts_NV).idf_
        features_NV = self._weighted(counts_NV)
        labels_NL = encoded.labels(self.num_codes).tocsc()
        self.coefficients_LV = np.zeros((self.num_codes, features_NV.shape[1]), np.float32)
        for codes, weights_WC in linear.fit(features_NV, labels_NL, self.config.C, balanced=self.config.balanced):
            self.coefficients_LV[codes], self.intercepts_L[codes] = weights_WC[:-1].T, weights_WC[-1]

    def scores(self, encoded: Encoded, max_tokens: int) -> FloatArray:
        """Logits N×L."""
        features_NV = self._weighted(self._counts(encoded, max_tokens))
        parts = np.array_split(self.coefficients_LV, -(-self.num_codes // CODES_AT_ONCE))
        scores_NL: FloatArray = np.hstack([features_NV @ part_CV.T for part_CV in parts]) + self.intercepts_L
        return scores_NL

    def contributions(self, encoded: Encoded, max_tokens: int, code: int) -> FloatArray:
        """What each position of a single document adds to a code's logit: with the intercept they sum to it.

        Occurrences of a word share what its feature adds, and the two words of a pair what theirs does.
        """
        counts_1V = self._counts(encoded, max_tokens)
        features_V, counts_V = self._weighted(counts_1V).toarray()[0], counts_1V.toarray()[0]
        each_V = self.coefficients_LV[code] * features_V / np.maximum(counts_V, 1)
        _, tokens_T = _kept(encoded, max_tokens)
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
        """Everything fitted, by name."""
        return {
            "coefficients": self.coefficients_LV,
            "intercepts": self.intercepts_L,
            "idf": self.idf,
            "pairs": self.pairs.astype(np.float64),  # exact: below 2^53
        }

    def restore(self, weights: Mapping[str, FloatArray]) -> None:
        """Become the model that `weights` was called of."""
        self.coefficients_LV, self.intercepts_L = weights["coefficients"], weights["intercepts"]
        self.idf, self.pairs = weights["idf"], weights["pairs"].astype(np.int64)

    def _counts(self, encoded: Encoded, max_tokens: int) -> csr_matrix:
        """Counts of known words, then of known pairs, per document: N×V."""
        documents, tokens = _kept(encoded, max_tokens)
        known = tokens != UNKNOWN
        words = _count(documents[known], tokens[known], (len(encoded), self.num_tokens))
        if not len(self.pairs):
            return words
        documents, pairs = self._pairs(encoded, max_tokens)
        columns = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
        known = self.pairs[columns] == pairs
        return hstack([words, _count(documents[known], columns[known], (len(encoded), len(self.pairs)))], format="csr")

    def _pairs(self, encoded: Encoded, max_tokens: int) -> tuple[IntArray, IntArray]:
        """Neighbouring known words as one number, beside the document each pair is in."""
        documents, tokens = _kept(encoded, max_tokens)
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


def _kept(encoded: Encoded, max_tokens: int) -> tuple[IntArray, IntArray]:
    """Document and token of every position below max_tokens."""
    starts = np.asarray(encoded.token_offsets[:-1])
    documents = np.repeat(np.arange(len(encoded)), np.diff(encoded.token_offsets))
    kept = np.arange(len(documents)) - starts[documents] < max_tokens
    return documents[kept], np.asarray(encoded.tokens)[kept]


def _in_two_documents(documents: IntArray, pairs: IntArray) -> IntArray:
    """The distinct pairs, sorted, that two documents or more have."""
    once = np.unique(np.stack([pairs, documents]), axis=1)[0]
    found, counts = np.unique(once, return_counts=True)
    return found[counts > 1]


def _count(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
