"""Keywords: for each code the most predictive phrase of a document decides.

A baseline of this suite: keyword spotting. For every phrase of one to four words, P(code | phrase) = (n + s · p) / (m + s),
where n of the m training documents with the phrase have the code, p is the code's share of all documents and s a smoothing.
A document's score is the logit of the largest P among its phrases, or of p if that is larger. For each code the `number`
phrases of largest P are kept.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, vstack

from icdbench.nn import ngrams, selected
from icdbench.registry import register
from icdbench.spec import Positive, PositiveFloat, Settings, tunable
from icdbench.types import Encoded, FloatArray, IntArray, Task


class Config(Settings):
    longest: Annotated[int, Field(gt=0, le=6)] = tunable(4, 1, 4, about="words of the longest phrases")
    number: Positive = Field(100, description="phrases that are kept per code")
    smoothing: PositiveFloat = tunable(1.0, 0.1, 10.0, log=True)


@register("keywords", config=Config, paper="baseline of this suite", data=ngrams.ALL_WORDS, version="1")
class Keywords(ngrams.NGramModel):
    """`coefficients_LV` has the differences between the phrases' logits and that of the code, which is its intercept."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__(task, "binary")
        self.config = config

    def fit(self, encoded: Encoded) -> None:
        """Count codes with phrases."""
        features_NV = self.learn(encoded, self.config.longest, ngrams.least_documents(encoded))
        labels_NL, size = encoded.labels().tocsc(), len(encoded)
        spread_V = np.bincount(features_NV.indices, minlength=features_NV.shape[1])
        positives_L = np.diff(labels_NL.indptr)
        self.intercepts_L = np.array([selected.log_odds(int(positives), size) for positives in positives_L])
        rows = [
            self._best_phrases(together_CV[code], spread_V, self.intercepts_L[first + code])
            for first, together_CV in selected.cooccurring(features_NV, labels_NL)
            for code in range(together_CV.shape[0])
        ]
        self.coefficients_LV = vstack(rows, format="csr")

    def _best_phrases(self, together_1V: csr_matrix, spread_V: IntArray, intercept: float) -> csr_matrix:
        prior, smoothing = 1 / (1 + np.exp(-intercept)), self.config.smoothing
        columns, both = together_1V.indices, together_1V.data.astype(np.float64)
        others = spread_V[columns] - both
        surplus = np.log(both + smoothing * prior) - np.log(others + smoothing * (1 - prior)) - intercept
        kept = np.lexsort((columns, -surplus))[: self.config.number]
        kept = np.sort(kept[surplus[kept] > 0])
        order = np.argsort(columns[kept], kind="stable")
        cells = (surplus[kept][order], columns[kept][order], [0, len(kept)])
        return csr_matrix(cells, shape=together_1V.shape, dtype=np.float32)

    def scores(self, encoded: Encoded) -> FloatArray:
        """Compute logits [N, L]."""
        features_NV = self.weighted(self.ngrams.counts(encoded))
        scores_NL = np.zeros((len(encoded), self.task.num_codes))
        by_phrase = csr_matrix(self.coefficients_LV).T.tocsr()
        for index in range(len(encoded)):
            phrases = by_phrase[features_NV[index].indices]
            if phrases.nnz:
                scores_NL[index] = phrases.max(axis=0).toarray()[0]
        return scores_NL + self.intercepts_L

    def contributions(self, encoded: Encoded, code: int) -> FloatArray:
        """Compute what each position of a single document adds to a code's logit: only words of the deciding phrase do."""
        counts_V = self.ngrams.counts(encoded).toarray()[0]
        present_V = np.where(counts_V > 0, csr_matrix(self.coefficients_LV)[[code]].toarray()[0], 0.0)
        each_V = np.zeros_like(present_V)
        if present_V.any():
            best = int(present_V.argmax())
            each_V[best] = present_V[best] / counts_V[best]
        return self.spread(encoded, each_V)
