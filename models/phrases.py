"""Phrases: a logistic regression per code on the few phrases most associated with it.

A baseline of this suite. A phrase is a run of one to four words that at least two training documents contain (or one in
5,000 of more than 10,000); its feature is its presence. Each code has the phrases of largest χ² among those that are more
frequent with the code than without it: five, or one for every two of its training documents if that is more, at most 100. An
L2-regularised logistic regression is fitted on them (C; the intercept is penalised, too, as in LIBLINEAR). Coders look for
mentions, and mentions are phrases, so a handful of features per code can do better than all words of a document.

The variant `titles` also looks for the codes' names (titles and inclusion terms) and predicts the whole code system, including
codes without training documents. If a document mentions a name (icdbench.nn.mentions: its words in any order, perhaps with one
other between them), a logistic regression over all such pairs of a document and a code predicts the code's probability. Its
features are the length of the name, how many codes share it, how many other training documents with and without the code
contain it, and whether it is negated or part of a longer one. Codes without training documents have a regression of their own.
Phrases and names are combined as 1 - (1 - p of its phrases) (1 - p of its name), which was better on the validation notes of
CodiEsp than the name as another feature of each code's regression; so was a larger C.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from icdbench.nn import mentions, ngrams, selected
from icdbench.registry import register
from icdbench.spec import Positive, PositiveFloat, Settings, SpecError, Variant, tunable
from icdbench.types import Encoded, FloatArray, Task, Weights


class Config(Settings):
    number: Positive = tunable(5, 2, 50, log=True, about="phrases per code, at least")
    per_document: Annotated[float, Field(ge=0)] = tunable(
        0.5, 0.0, 1.0, about="phrases per training document with the code"
    )
    longest: Annotated[int, Field(gt=0, le=6)] = tunable(4, 1, 4, about="words of the longest phrases")
    C: PositiveFloat = tunable(4.0, 1e-1, 1e2, log=True)
    names: bool = Field(False, description="look for the names of the codes; needs data.code_terms=true")


@register(
    "phrases",
    config=Config,
    paper="baseline of this suite",
    variants=[
        Variant(
            name="titles",
            about="also codes that training never shows, by their titles and inclusion terms",
            model={"names": True},
            data={"label_set": "system", "code_terms": True},
            needs=("titles",),
        )
    ],
    data=ngrams.ALL_WORDS,
    version="2",
)
class Phrases(ngrams.NGramModel):
    def __init__(self, config: Config, task: Task) -> None:
        super().__init__(task, "binary")
        self.config = config
        self.mentioned = mentions.MentionModel(task.num_codes)

    def fit(self, encoded: Encoded) -> None:
        """Choose every code's phrases and fit their weights, then those of the mentions of names."""
        features_NV = self.learn(encoded, self.config.longest, ngrams.least_documents(encoded))
        labels_NL = encoded.labels().tocsc()
        C, number, per_document = self.config.C, self.config.number, self.config.per_document
        fitted = selected.fit_chosen(features_NV, labels_NL, C, number, per_document=per_document)
        self.coefficients_LV, self.intercepts_L = fitted
        if self.config.names:
            if self.task.names is None:
                raise SpecError("phrases.names=true needs the names of the codes: set data.code_terms=true, too")
            self.mentioned.fit(encoded, self.task.names)

    def scores(self, encoded: Encoded) -> FloatArray:
        """Compute logits [N, L]."""
        scores_NL = super().scores(encoded)
        if self.config.names:
            pairs = self.mentioned.pairs(encoded)
            cells = pairs.documents, pairs.codes
            scores_NL[cells] = mentions.noisy_or(scores_NL[cells], self.mentioned.logits(pairs))
        return scores_NL

    def contributions(self, encoded: Encoded, code: int) -> FloatArray:
        """Compute what each position of a single document adds to a code's logit; with the intercept they sum to it.

        What a name adds to the logit of the phrases is divided among the words of its best mention.
        """
        added_T = super().contributions(encoded, code)
        if self.config.names:
            logit = float(added_T.sum() + self.intercepts_L[code])
            added_T += self.mentioned.contributions(encoded, code, logit)
        return added_T

    def weights(self) -> Weights:
        """Return everything that was fitted, by name."""
        return {**super().weights(), **(self.mentioned.weights() if self.config.names else {})}

    def restore(self, weights: Weights) -> None:
        """Load the return value of `weights`."""
        super().restore(weights)
        if self.config.names:
            self.mentioned.restore(weights)
