"""Phrases: a logistic regression per code on the few phrases most associated with it.

A baseline of this suite. A phrase is a run of one to four words that at least two training documents contain (or one in
5,000 of more than 10,000); a document has it or has it not. Each code takes the n phrases whose χ² with it is largest, among those that are
more frequent with the code than without it, and an L2-regularised logistic regression on them (C; its intercept is
penalised as well, as in LIBLINEAR). Coders look for mentions, and mentions are phrases: so a handful of features per
code says what a whole document's words say worse.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from icdbench.nn import ngrams, selected
from icdbench.registry import register
from icdbench.spec import Positive, PositiveFloat, Settings, tunable
from icdbench.types import Encoded, Task


class Config(Settings):
    number: Positive = tunable(5, 2, 50, log=True, about="phrases per code")
    longest: Annotated[int, Field(gt=0, le=6)] = tunable(4, 1, 4, about="words of the longest phrases")
    C: PositiveFloat = tunable(1.0, 1e-1, 1e2, log=True)


@register("phrases", config=Config, paper="baseline of this suite", version="1")
class Phrases(ngrams.NGramModel):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__(task, "binary")
        self.config = config

    def fit(self, encoded: Encoded) -> None:
        """Choose every code's phrases and fit their weights."""
        features_NV = self.learn(encoded, self.config.longest, ngrams.least_documents(encoded))
        labels_NL = encoded.labels().tocsc()
        fitted = selected.fit_chosen(features_NV, labels_NL, self.config.C, self.config.number)
        self.coefficients_LV, self.intercepts_L = fitted
