"""LR: one logistic regression per code on the words of a document.

The baseline of Mullenbach et al., NAACL 2018, https://arxiv.org/abs/1802.05695: word counts over the vocabulary, one
L2-regularised classifier per code (C = 1), trained independently. The intercept is not penalised. With L2 no weight is
exactly zero, so the weights are a dense 32-bit matrix [L, V]: 1.8 GB for 8,921 codes and 50,000 words.

The published program (log_reg.py of CAML) also has C = 1 and differs in three points:
- Its solver is SAG, stopped after 20 iterations and possibly not converged; here L-BFGS runs until convergence.
- Its unknown word is a feature with a count like any other; here it is ignored.
- It reads whole documents; here they are cut to `data.max_tokens`, as for every model.
`lr@published` has the first two as the program has them; `data.max_tokens` can give it the third.

`lr@l1` is the strongest linear model of whole documents for a few hundred notes. Its features are the presence, not the
counts, of words and pairs of adjacent words. Each code has the `number` features of largest χ² among those that are more
frequent with the code than without it, and an L1 penalty leaves it a few of them; on CodiEsp's validation documents this is
better than an L1 penalty on all features (docs/plain-scripts.md), and much faster. The intercept is penalised, too, as in
LIBLINEAR. `lr@tfidf` has the usual features of text classification: TF-IDF (logarithmic counts) of words and pairs, with equal
total weight of each code's positive and negative documents.

A pair is known if two training documents contain it, or one in 5,000 of more than 10,000. A code that no or every training
document has gets its smoothed log-odds as a constant score.
"""

from __future__ import annotations

import warnings
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.sparse import csc_matrix, csr_matrix

from icdbench.nn import linear, ngrams, selected
from icdbench.registry import register
from icdbench.spec import Positive, PositiveFloat, Settings, Variant, tunable
from icdbench.types import Encoded, FloatArray, Task


class Config(Settings):
    belonging: ClassVar = {"penalty": {"l1": ("number",)}}
    features: ngrams.Weighting = tunable("counts", choices=("counts", "tfidf", "binary"))
    longest: Annotated[int, Field(gt=0, le=4)] = tunable(
        1, 1, 3, about="words of the longest n-grams that are features"
    )
    balanced: bool = Field(False, description="give positive and negative documents of a code equal total weight")
    penalty: Literal["l2", "l1"] = tunable("l2", choices=("l2", "l1"))
    C: PositiveFloat = tunable(1.0, 1e-2, 1e2, log=True)
    number: Positive = tunable(100, 20, 500, log=True, about="penalty l1: features of a code, those of largest χ²")
    unknown: bool = Field(False, description="count the unknown word as a word like any other")
    iterations: int = Field(0, ge=0, description="stop scikit-learn's SAG after so many; 0: L-BFGS until it converges")

    @model_validator(mode="after")
    def _fitted_one_way(self) -> Config:
        if self.penalty == "l1" and (self.balanced or self.iterations):
            raise ValueError("penalty 'l1' is fitted by LIBLINEAR, without 'balanced' and 'iterations'")
        return self


@register(
    "lr",
    config=Config,
    paper="Mullenbach et al., NAACL 2018",
    version="4",
    variants=(
        Variant(
            name="l1",
            about="presence of words and pairs, the best 100 of each code by χ², L1 penalty, C = 1",
            model={"features": "binary", "longest": 2, "penalty": "l1"},
            data=ngrams.ALL_WORDS,
        ),
        Variant(
            name="tfidf",
            about="TF-IDF over single words and pairs, balanced classes, C = 10",
            model={"features": "tfidf", "longest": 2, "balanced": True, "C": 10.0},
        ),
        Variant(
            name="published",
            about="as the published program fits it: 20 iterations of SAG, the unknown word counted",
            model={"unknown": True, "iterations": 20},
        ),
    ),
)
class LogisticRegressions(ngrams.NGramModel):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__(task, config.features)
        self.config = config

    def fit(self, encoded: Encoded) -> None:
        """Fit every code's classifier to the documents."""
        least = ngrams.least_documents(encoded) if self.config.longest > 1 else 1
        features_NV = self.learn(encoded, self.config.longest, least, unknown=self.config.unknown)
        labels_NL = encoded.labels().tocsc()
        if self.config.penalty == "l1":
            self.coefficients_LV, self.intercepts_L = selected.fit_chosen(
                features_NV, labels_NL, self.config.C, self.config.number, "l1"
            )
            return
        coefficients_LV = np.zeros((self.task.num_codes, features_NV.shape[1]), np.float32)
        if self.config.iterations:
            self._fit_sag(coefficients_LV, features_NV, labels_NL)
        else:
            fitted = linear.fit(features_NV, labels_NL, self.config.C, balanced=self.config.balanced)
            for codes, weights_WC in fitted:
                coefficients_LV[codes], self.intercepts_L[codes] = weights_WC[:-1].T, weights_WC[-1]
        self.coefficients_LV = coefficients_LV

    def _fit_sag(self, coefficients_LV: FloatArray, features_NV: csr_matrix, labels_NL: csc_matrix) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        classes = "balanced" if self.config.balanced else None
        settings = {"C": self.config.C, "max_iter": self.config.iterations, "class_weight": classes}
        for code in range(self.task.num_codes):
            labels_N = labels_NL[:, [code]].toarray()[:, 0]
            if labels_N.min() == labels_N.max():
                self.intercepts_L[code] = selected.log_odds(int(labels_N.sum()), len(labels_N))
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is intended
                solver = LogisticRegression(solver="sag", random_state=0, **settings).fit(features_NV, labels_N)
            coefficients_LV[code], self.intercepts_L[code] = solver.coef_[0], solver.intercept_[0]
