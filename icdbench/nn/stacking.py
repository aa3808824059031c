"""The parts of `models/stacked.py` (`Base`) and its stacked classifier of all pairs of a document and a code (`pool`).

The pooled classifier learns from documents that the parts below it were not fitted on: the training documents are divided into
FOLDS, and the parts are fitted on all folds but one and applied to that one. Finally they are fitted on all documents. With
more than MANY documents the parts are fitted once, on all but HELD documents, from which the pooled classifier learns.

Shapes in names: N documents, L codes, K codes that training documents have, M members, P pairs, F features, T positions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from icdbench.nn.evidence import MANY
from icdbench.nn.marked import MarkedModel
from icdbench.nn.members import SURROUNDINGS, Committee, Plan
from icdbench.nn.mentions import FEATURES as OF_MENTIONS
from icdbench.nn.mentions import MentionModel, noisy_or
from icdbench.nn.pooled import Pooled
from icdbench.nn.ragged import items, places
from icdbench.nn.selected import log_odds
from icdbench.nn.shares import FEATURES as OF_SHARES
from icdbench.nn.shares import LEAST, NameShares
from icdbench.nn.words import Readings
from icdbench.types import Encoded, FloatArray, IntArray, Marks, Task, Weights

FOLDS = 5
AT_ONCE = 250  # documents processed at a time
HELD = 2_000  # of more than MANY documents the parts are fitted on all but these
FLOOR, FIRST = 0.005, 20  # pairs below this mean probability are left out, except the first ones of a document
FLOOR_BESIDE_SPANS = 0.03  # higher, because FLOOR leaves out hardly any pair if most codes are rare
FLOOR_BESIDE_SHARES = 0.015
FURTHEST = 10.0  # logits are clipped to ± this as features


@dataclass(frozen=True)
class Parts:
    """Which parts the model has, and their settings (see models/stacked.py)."""

    plan: Plan
    number: int
    C: float
    context: bool
    document: bool
    hierarchy: bool
    pooled: bool
    trees: bool
    names: bool
    spans: bool = False
    partial: bool = False


class Candidates(NamedTuple):
    """P pairs of a document and a code that the pooled classifier judges, and their features [P, F]."""

    documents: IntArray
    codes: IntArray
    features_PF: FloatArray


class Opinions(NamedTuple):
    """The output of the parts for some documents: scores without the pooled classifier [N, L], and pairs for it.

    `seen` are pairs of codes with training documents, `new` those of other codes.
    """

    scores_NL: FloatArray
    seen: Candidates
    new: Candidates


def chosen(encoded: Encoded, rows: IntArray) -> Encoded:
    """Return some of the documents, in the given order."""
    tokens, token_offsets = _rows(encoded.tokens, encoded.token_offsets, rows)
    codes, code_offsets = _rows(encoded.codes, encoded.code_offsets, rows)
    ids = tuple(encoded.ids[row] for row in rows)
    return Encoded(
        ids, tokens, token_offsets, codes, code_offsets, encoded.unseen[rows], encoded.num_codes, encoded.max_tokens,
        marks=encoded.marks and _marks(encoded.marks, rows),
    )  # fmt: skip


def _marks(marks: Marks, rows: IntArray) -> Marks:
    numbers, offsets = _rows(np.arange(len(marks.codes)), marks.offsets, rows)
    words, word_offsets = _rows(marks.words, marks.word_offsets, numbers)
    return Marks(words, word_offsets, np.asarray(marks.codes)[numbers], offsets)


def _rows(values: IntArray, offsets: IntArray, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Return the values of some rows of a ragged array, and their offsets."""
    sizes = np.diff(offsets)[rows]
    row, within = items(sizes)
    at = np.asarray(offsets)[rows][row] + within
    return np.asarray(values)[at], np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


@dataclass(eq=False)
class Base:
    """The parts below the pooled classifier, fitted on some documents."""

    parts: Parts
    task: Task
    readings: Readings
    known_K: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    counts_L: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    size: int = 0

    def __post_init__(self) -> None:
        self.codes = Committee(self.parts.plan, self.readings)
        self.few = Committee((("words", "few"),), self.readings)
        self.parents = Committee((("forms", "chi2"),), self.readings)
        self.mentioned = MentionModel(self.task.num_codes)
        self.marked = MarkedModel(self.task.num_codes, self.readings)
        self.shares: NameShares | None = None
        tree = self.task.hierarchy if self.parts.hierarchy else None
        none = np.full(self.task.num_codes, -1)
        self.parent_L: IntArray = none if tree is None else np.asarray(tree.parents[: self.task.num_codes], np.int64)
        self.families: IntArray = np.zeros(0, np.int64)  # parents with training documents, ascending

    def fit(self, encoded: Encoded) -> None:
        """Fit all parts."""
        labels_NL = encoded.labels()
        self.size = len(encoded)
        self.counts_L = np.bincount(labels_NL.indices, minlength=self.task.num_codes)
        self.known_K = np.flatnonzero(self.counts_L)
        settings = self.parts.number, self.parts.C
        labels_NK = labels_NL[:, self.known_K].tocsc()
        if len(self.known_K):
            self.codes.fit(encoded, labels_NK, *settings)
        parent_K = self.parent_L[self.known_K]
        self.families = np.unique(parent_K[parent_K >= 0])
        if len(self.families):
            at = np.flatnonzero(parent_K >= 0)
            cells = np.ones(len(at)), (at, np.searchsorted(self.families, parent_K[at]))
            labels_NF = labels_NK @ csr_matrix(cells, shape=(len(parent_K), len(self.families)))
            labels_NF.data[:] = 1
            self.parents.fit(encoded, labels_NF.tocsc(), *settings)
        if self.parts.names and self.task.names is not None:
            self.mentioned.fit(encoded, self.task.names)
            if self.parts.partial and len(self.known_K):
                self.shares = NameShares.of(encoded, self.readings, self.task.names, self.known_K)
                self.few.fit(encoded, labels_NK, *settings)
        if self.parts.spans:
            self.marked.fit(encoded)

    def read(self, encoded: Encoded) -> Opinions:
        """Compute the output of the parts for at most AT_ONCE documents."""
        size, num_codes = len(encoded), self.task.num_codes
        scores_NL = np.full((size, num_codes), log_odds(0, self.size))
        logits_NKM = self.codes.logits(encoded) if len(self.known_K) else np.zeros((size, 0, len(self.parts.plan)))
        chances_NK = (1 / (1 + np.exp(-logits_NKM))).mean(-1)
        scores_NL[:, self.known_K] = _logit(chances_NK)
        mentions_NL = csr_matrix((size, num_codes))
        flags = np.zeros((0, 0))
        if self.parts.names:
            found = self.mentioned.pairs(encoded)
            logits_P = self.mentioned.logits(found)
            place = np.arange(1, len(logits_P) + 1)  # 0 is no mention
            mentions_NL = csr_matrix((place, (found.documents, found.codes)), shape=(size, num_codes))
            before = scores_NL[found.documents, found.codes]
            scores_NL[found.documents, found.codes] = noisy_or(before, logits_P)
            flags = np.concatenate(
                [np.full((1, 3), [-FURTHEST, 0, 0]), np.stack([logits_P, *_flags(found.features_PF)], 1)]
            )
        marked: tuple[csr_matrix, FloatArray] = csr_matrix((size, num_codes)), np.zeros((1, 0))
        if self.parts.spans:
            marked = self.marked.read(encoded)
            cells = marked[0].tocoo()
            before = scores_NL[cells.row, cells.col]
            scores_NL[cells.row, cells.col] = noisy_or(before, marked[1][cells.data, 0])
        family_NF = self.parents.logits(encoded)[:, :, 0] if len(self.families) else np.zeros((size, 0))
        seen = self._seen(encoded, logits_NKM, chances_NK, family_NF, (mentions_NL, flags), marked)
        return Opinions(scores_NL, seen, self._new(chances_NK, family_NF, (mentions_NL, flags)))

    def _seen(
        self, encoded: Encoded, logits_NKM: FloatArray, chances_NK: FloatArray, family_NF: FloatArray,
        mentioned: tuple[csr_matrix, FloatArray], marked: tuple[csr_matrix, FloatArray],
    ) -> Candidates:  # fmt: skip
        """Return the candidate pairs of codes with training documents, and their features."""
        mentions_NL, flags = mentioned
        ranks_NK = (-chances_NK).argsort(1, kind="stable").argsort(1, kind="stable")
        place_NK, marked_NK = (each[:, self.known_K].toarray() for each in (mentions_NL, marked[0]))
        floor = FLOOR_BESIDE_SPANS if self.parts.spans else FLOOR_BESIDE_SHARES if self.parts.partial else FLOOR
        judged_NK = (chances_NK >= floor) | (ranks_NK < FIRST) | (place_NK > 0) | (marked_NK > 0)
        if self.shares is not None:
            shares_NKF = self.shares.read(encoded)
            judged_NK |= shares_NKF[:, :, 0] >= LEAST
        documents, at = np.nonzero(judged_NK)
        codes, chances = self.known_K[at], chances_NK[documents, at]
        counts = self.counts_L[codes]
        columns = [*np.clip(logits_NKM[documents, at], -FURTHEST, FURTHEST).T, _logit(chances)]
        columns.append(np.log((counts + 0.5) / (self.size - counts + 0.5)))
        if self.parts.document:
            columns += [chances_NK.sum(1)[documents] - chances, np.log1p(ranks_NK[documents, at])]
            columns.append(np.log1p(encoded.lengths)[documents])
        if self.parts.context:
            columns += [*self._surroundings(encoded, documents, at).T]
        if self.parts.hierarchy:
            columns += [
                self._family(family_NF, documents, codes),
                self._siblings(chances_NK, documents, codes, chances),
            ]
        if self.parts.names:
            columns += [*flags[place_NK[documents, at]].T]
        if self.parts.spans:
            columns += [*marked[1][marked_NK[documents, at]].T]
        if self.shares is not None:
            columns.append(np.clip(self.few.logits(encoded)[documents, at, 0], -FURTHEST, FURTHEST))
            columns += [*shares_NKF[documents, at].T]
        elif self.parts.partial:  # no code has training documents
            columns += [np.zeros(len(codes))] * (1 + len(OF_SHARES))
        return Candidates(documents, codes, np.stack(columns, axis=1))

    def _new(
        self, chances_NK: FloatArray, family_NF: FloatArray, mentioned: tuple[csr_matrix, FloatArray]
    ) -> Candidates:
        """Return the pairs of codes without training documents that documents mention, and their features."""
        mentions_NL, flags = mentioned
        cells = mentions_NL.tocoo()
        new = self.counts_L[cells.col] == 0
        documents, codes = cells.row[new].astype(np.int64), cells.col[new].astype(np.int64)
        if not len(codes):
            return Candidates(documents, codes, np.zeros((0, 3 + 2 * self.parts.hierarchy)))
        columns = [*flags[cells.data[new]].T]
        if self.parts.hierarchy:
            none = np.zeros(len(codes))
            columns += [self._family(family_NF, documents, codes), self._siblings(chances_NK, documents, codes, none)]
        return Candidates(documents, codes, np.stack(columns, axis=1))

    def _surroundings(self, encoded: Encoded, documents: IntArray, at: IntArray) -> FloatArray:
        """Return the context of the mentions of each pair's code [P, F]."""
        values = np.zeros((len(documents), len(SURROUNDINGS)))
        values[:, 1] = 1
        if not len(documents):
            return values
        found, width = self.codes.surroundings(encoded), max(1, len(self.known_K))
        place = places(found.documents * width + found.codes, documents * width + at)
        values[place >= 0] = found.values_PF[place[place >= 0]]
        return values

    def _family(self, family_NF: FloatArray, documents: IntArray, codes: IntArray) -> FloatArray:
        """Return the logits of the codes' parents [P], the lowest for a parent without training documents."""
        if not len(self.families):
            return np.full(len(codes), -FURTHEST)
        place = places(self.families, self.parent_L[codes])
        logits: FloatArray = np.clip(family_NF[documents, place], -FURTHEST, FURTHEST)
        return np.where(place >= 0, logits, -FURTHEST)

    def _siblings(
        self, chances_NK: FloatArray, documents: IntArray, codes: IntArray, chances: FloatArray
    ) -> FloatArray:
        """Return the largest probability of another code of the same parent [P], 0 if there is none."""
        if not len(self.families):
            return np.zeros(len(codes))
        parent_K = self.parent_L[self.known_K]
        largest = np.zeros((len(chances_NK), len(self.families), 2))  # the largest two of each family
        for number, family in enumerate(self.families):
            of_NC = np.sort(chances_NK[:, parent_K == family], axis=1)[:, ::-1][:, :2]
            largest[:, number, : of_NC.shape[1]] = of_NC
        place = places(self.families, self.parent_L[codes])
        first, second = largest[documents, place].T
        return np.where(place >= 0, np.where(chances >= first, second, first), 0.0)

    def intercepts(self) -> FloatArray:
        """Return the scores of a document without any feature [L]."""
        intercepts_L = np.full(self.task.num_codes, log_odds(0, self.size))
        if len(self.known_K):
            members_KM = np.stack([member.intercepts_L for member in self.codes.members], axis=1)
            intercepts_L[self.known_K] = _logit((1 / (1 + np.exp(-members_KM))).mean(-1))
        return intercepts_L

    def contributions(self, encoded: Encoded, code: int) -> FloatArray:
        """Compute what each word of a single document adds to a code's score without the pooled classifier [T]."""
        added_T = np.zeros(int(encoded.lengths.sum()))
        intercept = self.intercepts()[code]
        if self.counts_L[code]:
            added_T += self.codes.contributions(encoded, int(np.searchsorted(self.known_K, code)))
        if self.parts.names:
            added_T += self.mentioned.contributions(encoded, code, float(intercept + added_T.sum()))
        if self.parts.spans:
            added_T += self.marked.contributions(encoded, code, float(intercept + added_T.sum()))
        return added_T

    def added_by_shares(self, encoded: Encoded, code: int, pooled: Pooled) -> FloatArray:
        """Compute what the best name of a code adds to its pooled logit, divided equally among its words [T]."""
        added_T = np.zeros(int(encoded.lengths.sum()))
        if self.shares is None or not self.counts_L[code]:
            return added_T
        pairs, words = self.read(encoded).seen, self.shares.words(encoded, int(np.searchsorted(self.known_K, code)))
        features_PF = pairs.features_PF[pairs.codes == code]
        if len(features_PF) and len(words):
            rest_PF, shares_PF = np.split(features_PF, [-len(OF_SHARES)], axis=1)
            absent_PF = np.concatenate([rest_PF, self.shares.absent(shares_PF)], axis=1)
            added_T[words] = (pooled.logits(features_PF) - pooled.logits(absent_PF))[0] / len(words)
        return added_T

    def weights(self) -> Weights:
        """Return everything that was fitted, by name."""
        arrays = {
            "known_K": self.known_K, "counts_L": self.counts_L, "size": np.array([self.size]), "parent_L": self.parent_L,
            "families": self.families,
        }  # fmt: skip
        names = self.mentioned.weights() if self.parts.names else {}
        marked = self.marked.weights() if self.parts.spans else {}
        shares = {**self.shares.weights(), **self.few.weights("few")} if self.shares is not None else {}
        parents = self.parents.weights("parents") if len(self.families) else {}
        codes = self.codes.weights("codes") if len(self.known_K) else {}
        return {
            **{f"base.{name}": value for name, value in arrays.items()},
            **codes,
            **parents,
            **names,
            **marked,
            **shares,
        }

    def restore(self, weights: Weights) -> None:
        """Load the return value of `weights`."""
        self.known_K, self.counts_L = weights["base.known_K"], weights["base.counts_L"]
        self.size = int(weights["base.size"][0])
        self.parent_L, self.families = weights["base.parent_L"], weights["base.families"]
        if len(self.known_K):
            self.codes.restore(weights, "codes")
        if len(self.families):
            self.parents.restore(weights, "parents")
        if self.parts.names:
            self.mentioned.restore(weights)
        if self.parts.spans:
            self.marked.restore(weights)
        if self.parts.partial and len(self.known_K):
            self.shares = NameShares.restored(weights)
            self.few.restore(weights, "few")


def blocks(encoded: Encoded) -> Iterator[tuple[IntArray, Encoded]]:
    """Yield AT_ONCE documents at a time, preceded by their row numbers."""
    for first in range(0, len(encoded), AT_ONCE):
        rows = np.arange(first, min(first + AT_ONCE, len(encoded)))
        yield rows, chosen(encoded, rows)


def pool(base: Base, encoded: Encoded) -> tuple[Pooled, Pooled]:
    """Fit the parts and the pooled classifiers, for codes with training documents and for others."""
    order_N = np.random.default_rng(0).permutation(len(encoded))
    many = len(encoded) > MANY
    features: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    labels: tuple[list[IntArray], list[IntArray]] = ([], [])
    for fold in range(1 if many else FOLDS):
        left_out_N = order_N < HELD if many else order_N % FOLDS == fold
        below = base if many else Base(base.parts, base.task, base.readings)
        below.fit(chosen(encoded, np.flatnonzero(~left_out_N)))
        for _, documents in blocks(chosen(encoded, np.flatnonzero(left_out_N))):
            found, gold_NL = below.read(documents), documents.labels().toarray()
            for number, pairs in enumerate((found.seen, found.new)):
                features[number].append(pairs.features_PF)
                labels[number].append(gold_NL[pairs.documents, pairs.codes].astype(np.int64))
    if not many:
        base.fit(encoded)
    seen, new = (
        Pooled.of(np.concatenate(values), np.concatenate(gold), trees=base.parts.trees, deep=deep)
        for values, gold, deep in zip(features, labels, (base.parts.partial, False), strict=True)
    )
    return seen, new


def _flags(features_PF: FloatArray) -> FloatArray:
    return features_PF[:, [OF_MENTIONS.index("inside"), OF_MENTIONS.index("negated")]].T


def _logit(chances: FloatArray) -> FloatArray:
    """Return log-odds; probabilities are clipped by the precision of 64 bits."""
    inside = np.clip(chances, sys.float_info.epsilon, 1 - sys.float_info.epsilon)
    logits: FloatArray = np.log(inside) - np.log1p(-inside)
    return logits
