"""Stacked: sparse logistic regressions on several readings of a note, combined by one classifier of all notes and codes.

A baseline of this suite, for data sets of a few hundred notes. Each part can be switched off:

- Members, each a logistic regression per code on the presence of features: the `number` words and phrases of largest χ², as in
  `phrases`, or those that an L1 penalty leaves of the best 1,000 (200 with more than 10,000 notes). `words` reads words as they
  are written; `forms` their normal forms (without plural, accents and words such as "of", in one spelling:
  icdbench/nn/words.toml) and pairs of words up to three apart; `stems` the same for the first six letters of forms; `letters`
  three to five adjacent letters of a word.
- `context`: position and number of the phrases that speak for a code, and the share of them after a negation, a mention of the
  family, of the past or of doubt.
- `document`: the expected number of the note's other codes, this code's rank among them, the note's length.
- `hierarchy`: the logit of the code's parent by its phrases, and the probability of the most probable sibling.
- `pooled`: one classifier of all pairs of a note and a code (logistic regression and boosted `trees`), trained on notes that the
  members were not fitted on (five folds, or 2,000 of more than 10,000 notes). It calibrates, and rare codes profit from frequent
  ones. Without it the score is the mean of the members' probabilities.
- `names`: mentions of titles and inclusion terms, as in `phrases@titles`, also for codes that never occur in training (variant
  `titles`). Codes without training notes have a classifier of their own, trained on codes that occur in only one fold.
- `partial` (with `names`): how much of a code's title or other names stands close together in the note, for codes with training
  notes. The classifier of pairs then also sees a member with the five best phrases of each code, leaves out more pairs for
  which nothing speaks, and grows deeper trees (variant `titles`; `whole-titles` is without it).
- `affirmed`: in notes to be coded, negated words and mentions of the family are not read (variant `affirmed`, which also uses
  the ends of sentences), by English and Spanish rules (icdbench/nn/words.toml). Training notes are read as a whole: if their
  coders code what is denied, as CodiEsp's do, the model learns such words, but must not apply them to others' notes.
- `spans`: a lexicon of the words that a person marked for the codes of training documents, if the data have them (variant
  `evidence`, which therefore learns from more than document labels). Its features are how often documents with a key have its
  code, how close its words are, whether they are part of a longer key, and how much of the most similar key is present.

A word's contribution is what it adds to the logits of the members and of the names. The difference to the classifier's logit is
divided among the words in proportion, so contributions and intercept sum to the logit.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from icdbench.nn import stacking
from icdbench.nn.members import Plan
from icdbench.nn.pooled import Pooled
from icdbench.nn.scopes import ScopeRules, affirmed
from icdbench.nn.words import Readings
from icdbench.registry import register
from icdbench.spec import Positive, PositiveFloat, Settings, SpecError, Variant, tunable
from icdbench.types import Encoded, FloatArray, IntArray, Task, Weights


class Config(Settings):
    number: Positive = tunable(20, 5, 50, log=True, about="phrases per code")
    C: PositiveFloat = tunable(1.0, 0.1, 10.0, log=True, about="inverse strength of the L1 penalty")
    words: bool = Field(True, description="phrases of words as they are written")
    forms: bool = Field(True, description="phrases and L1 on normal forms of words and pairs of them")
    stems: bool = Field(True, description="phrases on the first six letters of words")
    letters: bool = Field(True, description="L1 on parts of words")
    context: bool = Field(True, description="how and where phrases stand")
    document: bool = Field(True, description="what the note's other codes are like")
    hierarchy: bool = Field(True, description="parents and siblings of codes")
    pooled: bool = Field(True, description="one classifier of all pairs; else the mean of the members")
    trees: bool = Field(True, description="boosted trees beside the logistic regression of pairs")
    names: bool = Field(False, description="look for the names of the codes; needs data.code_terms=true")
    partial: bool = Field(False, description="with names: how much of each name stands close together")
    affirmed: bool = Field(False, description="when coding, leave out words that are denied or said of the family")
    spans: bool = Field(False, description="a lexicon of the words marked for codes; needs data.spans=true")

    @model_validator(mode="after")
    def _has_members(self) -> Config:
        if not (self.words or self.forms or self.stems or self.letters):
            raise ValueError("one of 'words', 'forms', 'stems' and 'letters' has to be true")
        return self

    @property
    def plan(self) -> Plan:
        """The reading and the choice of features of each member."""
        plan: list[tuple[bool, Plan]] = [
            (self.forms, (("forms", "chi2"), ("forms", "l1"))),
            (self.words, (("words", "chi2"),)),
            (self.stems, (("stems", "chi2"),)),
            (self.letters, (("letters", "l1"),)),
        ]
        return tuple(member for enabled, members in plan if enabled for member in members)


@register(
    "stacked",
    config=Config,
    paper="baseline of this suite",
    variants=[
        Variant(
            name="titles",
            about="also codes that training never shows, by their titles and inclusion terms",
            model={"names": True, "partial": True},
            data={"label_set": "system", "code_terms": True},
            needs=("titles",),
        ),
        Variant(
            name="whole-titles",
            about="as titles, but a name counts only where all of its words stand together",
            model={"names": True},
            data={"label_set": "system", "code_terms": True},
            needs=("titles",),
        ),
        Variant(
            name="evidence",
            about="also learns from the words that a person marked for codes of training documents",
            model={"spans": True},
            data={"spans": True},
        ),
        Variant(
            name="evidence-titles",
            about="both of these: marked words, and the names of codes that training never shows",
            model={"spans": True, "names": True},
            data={"spans": True, "label_set": "system", "code_terms": True},
            needs=("titles",),
        ),
        Variant(
            name="affirmed",
            about="codes no words that are denied or said of the family, also if training documents have them coded",
            model={"affirmed": True},
            data={"words": "sentences"},
        ),
        Variant(name="no-words", about="no phrases of words as they are written", model={"words": False}),
        Variant(name="no-forms", about="no members on normal forms", model={"forms": False}),
        Variant(name="no-stems", about="no phrases of stems", model={"stems": False}),
        Variant(name="no-letters", about="no parts of words", model={"letters": False}),
        Variant(name="no-context", about="not how and where phrases stand", model={"context": False}),
        Variant(name="no-document", about="not what the note's other codes are like", model={"document": False}),
        Variant(name="no-hierarchy", about="no parents and siblings", model={"hierarchy": False}),
        Variant(name="no-trees", about="a logistic regression of pairs alone", model={"trees": False}),
        Variant(name="no-pooled", about="the mean of the members", model={"pooled": False}),
    ],
    data={"min_documents": 1},
    version="2",
)
class Stacked:
    def __init__(self, config: Config, task: Task) -> None:
        self.config, self.task = config, task
        self.parts = stacking.Parts(
            config.plan, config.number, config.C, config.context, config.document, config.hierarchy, config.pooled,
            config.trees, config.names, config.spans, config.partial,
        )  # fmt: skip
        self.readings = Readings.of(task.tokens, task.num_tokens)
        self.scopes = ScopeRules.of(task.tokens or ("",) * task.num_tokens)
        self.base = stacking.Base(self.parts, task, self.readings)
        self.pooled: tuple[Pooled, ...] = ()
        self.intercepts_L: FloatArray = np.zeros(task.num_codes)

    def fit(self, encoded: Encoded) -> None:
        """Fit the pooled classifier by cross-fitting the parts, then fit the parts on all notes."""
        if self.config.names and self.task.names is None:
            raise SpecError("stacked.names=true needs the names of the codes: set data.code_terms=true, too")
        if self.config.spans and encoded.marks is None:
            raise SpecError("stacked.spans=true needs the words that were marked for codes: set data.spans=true, too")
        if self.config.pooled and len(encoded) >= stacking.FOLDS:
            self.pooled = stacking.pool(self.base, encoded)
        else:
            self.base.fit(encoded)
        self.intercepts_L = self.base.intercepts()

    def scores(self, encoded: Encoded) -> FloatArray:
        """Compute logits [N, L]."""
        encoded = self._words_read(encoded)
        scores_NL = np.zeros((len(encoded), self.task.num_codes))
        for rows, documents in stacking.blocks(encoded):
            found = self.base.read(documents)
            scores_NL[rows] = found.scores_NL
            for pooled, pairs in zip(self.pooled, (found.seen, found.new), strict=False):
                scores_NL[rows[pairs.documents], pairs.codes] = pooled.logits(pairs.features_PF)
        return scores_NL

    def contributions(self, encoded: Encoded, code: int) -> FloatArray:
        """Compute what each position of a single document adds to a code's logit; with the intercept they sum to it."""
        read = self._words_read(encoded)
        added_T = self.base.contributions(read, code)
        if self.pooled:
            added_T += self.base.added_by_shares(read, code, self.pooled[0])
        remainder = float(self.scores(encoded)[0, code] - self.intercepts_L[code] - added_T.sum())
        shares_T = np.abs(added_T)
        if not shares_T.any():  # equal shares of the words that are read
            positions = slice(int(read.token_offsets[0]), int(read.token_offsets[0]) + len(added_T))
            shares_T = (encoded.tokens[positions] == read.tokens[positions]).astype(float)
        if not shares_T.any():
            shares_T = np.ones_like(added_T)
        contributions_T: FloatArray = added_T + remainder * shares_T / shares_T.sum()
        return contributions_T

    def _words_read(self, encoded: Encoded) -> Encoded:
        return affirmed(encoded, self.scopes) if self.config.affirmed else encoded

    def weights(self) -> Weights:
        """Return everything that was fitted, by name."""
        readings = {f"words.{name}": value for name, value in vars(self.readings).items()}
        pooled = [classifier.weights(f"pooled.{number}") for number, classifier in enumerate(self.pooled)]
        fitted = {name: value for each in pooled for name, value in each.items()}
        scopes = {f"scopes.{name}": value for name, value in vars(self.scopes).items()} if self.config.affirmed else {}
        found = {**self.base.weights(), **readings, **scopes, **fitted, "intercepts": self.intercepts_L}
        return {name: _narrow(value) for name, value in found.items()}

    def restore(self, weights: Weights) -> None:
        """Load the return value of `weights`."""
        weights = {
            name: value.astype(np.int64) if value.dtype.kind in "iu" else value for name, value in weights.items()
        }
        read = {name.removeprefix("words."): value for name, value in weights.items() if name.startswith("words.")}
        self.readings = Readings(**read)
        if self.config.affirmed:
            names = ScopeRules.__dataclass_fields__
            self.scopes = ScopeRules(**{name: weights[f"scopes.{name}"] for name in names})
        self.base = stacking.Base(self.parts, self.task, self.readings)
        self.base.restore(weights)
        numbers = range(2) if any(name.startswith("pooled.") for name in weights) else ()
        self.pooled = tuple(Pooled.restored(weights, f"pooled.{number}") for number in numbers)
        self.intercepts_L = weights["intercepts"]


def _narrow(value: FloatArray | IntArray) -> FloatArray | IntArray:
    """Store integers in the smallest type that fits them, as parts of words take most of a file of weights."""
    if value.dtype.kind not in "iu" or not value.size:
        return value
    types = (np.int8, np.int16, np.int32)
    narrowest = next((kind for kind in types if np.iinfo(kind).max >= np.abs(value).max()), np.int64)
    narrowed: IntArray = value.astype(narrowest)
    return narrowed
