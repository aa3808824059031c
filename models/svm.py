"""SVM: one linear support vector machine per code on TF-IDF of words and pairs of adjacent words.

A baseline of this suite and the usual one of text classification: squared hinge loss, L2, fitted by scikit-learn's LIBLINEAR
with a penalised intercept. Features have logarithmic counts and inverse document frequencies, for n-grams that at least two
training documents contain. The score is the distance from the hyperplane, not a logit. The fixed threshold of .5 is at
distance 0, so the model should be compared by a tuned threshold.

On small data single words do better than words and pairs: so says a search on codiesp-d50 (results/codiesp-d50.md), and the
validation documents of codiesp-d agree.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from icdbench.nn import ngrams, selected
from icdbench.registry import register
from icdbench.spec import PositiveFloat, Settings, Study, tunable
from icdbench.types import Encoded, Task


class Config(Settings):
    longest: Annotated[int, Field(gt=0, le=4)] = tunable(2, 1, 3, about="words of the longest n-grams")
    C: PositiveFloat = tunable(10.0, 1e-2, 1e2, log=True)


@register(
    "svm",
    config=Config,
    paper="baseline of this suite",
    small={"longest": 1, "C": 14.5},
    study=Study(trials=16, dataset="codiesp-d50"),
    version="1",
)
class SupportVectorMachines(ngrams.NGramModel):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__(task, "tfidf")
        self.config = config

    def fit(self, encoded: Encoded) -> None:
        """Fit the machine of every code."""
        from sklearn.svm import LinearSVC

        features_NV = self.learn(encoded, self.config.longest, ngrams.least_documents(encoded)).astype(np.float64)
        labels_NL = encoded.labels().tocsc()
        coefficients_LV = np.zeros((self.task.num_codes, features_NV.shape[1]), np.float32)
        for code in range(self.task.num_codes):
            labels_N = labels_NL[:, [code]].toarray()[:, 0]
            if labels_N.min() == labels_N.max():
                self.intercepts_L[code] = selected.log_odds(int(labels_N.sum()), len(labels_N))
                continue
            solver = LinearSVC(C=self.config.C, random_state=0, max_iter=10_000).fit(features_NV, labels_N)
            coefficients_LV[code], self.intercepts_L[code] = solver.coef_[0], solver.intercept_[0]
        self.coefficients_LV = coefficients_LV
