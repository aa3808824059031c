"""Mentions of codes in documents: places where all words of one of a code's names stand together.

A name is a bag of normal forms (`icdbench.types.Names`). It is mentioned where a window of a document's words, those that names
ignore left out, consists of just these forms in any order, or has a single other word between them. Names that are the same
bag are one key, which may stand for several codes. Each form has a random number of 64 bits and a bag the sum of those of
its forms, so windows are found by differences of running sums, whatever the number of names.

Shapes in names: N documents, T words, M mentions, K keys, P pairs of a document and a code mentioned in it, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from icdbench.nn.ngrams import in_parts
from icdbench.nn.selected import SMOOTHING, log_odds
from icdbench.types import UNKNOWN, Encoded, FloatArray, IntArray, Names, Weights

LONGEST = 8  # forms of a name; longer ones are hardly ever written out
MOST_FITTED = 10_000  # documents
BEFORE = 4  # words before a mention among which a negation counts
FEATURES = (  # the last three depend on the training documents
    *("1 word", "2 words", "3 words", "gap", "other name", "codes", "inside", "negated", "mentions"),
    *("frequent", "new", "confirmed"),
)


class Mentions(NamedTuple):
    """M mentions: document, key, positions of its first word and its last in the document, and what surrounds it."""

    documents: IntArray
    keys: IntArray
    first: IntArray
    last: IntArray
    gap: IntArray
    inside: IntArray
    negated: IntArray


class Pairs(NamedTuple):
    """P pairs of a document and a code that it mentions, by document, then by code: the best mention and its features.

    The mention is given by its key, and by the key's entry for the code in `NameIndex.codes`. The features that depend on the
    training documents are 0; `MentionModel` fills them in.
    """

    documents: IntArray
    codes: IntArray
    keys: IntArray
    entries: IntArray
    features_PF: FloatArray


@dataclass(eq=False)
class NameIndex:
    """The keys by ascending number, the codes of each (`codes` from `offsets[k]` to `offsets[k + 1]`), the words' numbers.

    `is_term` says of each code of a key whether the key is another name than its title. `numbers_V` is 0 for a word that names
    ignore.
    """

    keys: IntArray
    sizes: IntArray
    offsets: IntArray
    codes: IntArray
    is_term: IntArray
    numbers_V: IntArray
    negates_V: IntArray

    @classmethod
    def of(cls, names: Names) -> NameIndex:
        """Index the names of at most LONGEST forms."""
        generator = np.random.default_rng(0)
        number_of_form = generator.integers(1, 1 << 62, int(names.form_of_token.max(initial=0)) + 1, np.int64)
        sizes = np.diff(names.offsets)
        sums = np.concatenate([[0], np.cumsum(number_of_form[names.forms])])  # modulo 2^64, as numpy's integers are
        kept = np.flatnonzero(sizes <= LONGEST)
        bags = (sums[names.offsets[1:]] - sums[names.offsets[:-1]])[kept]
        order = np.lexsort((names.is_term[kept], names.codes[kept], bags))
        bags, codes, is_term, sizes = (
            bags[order],
            names.codes[kept][order],
            names.is_term[kept][order],
            sizes[kept][order],
        )
        once = np.ones(len(bags), bool)
        once[1:] = (bags[1:] != bags[:-1]) | (codes[1:] != codes[:-1])
        bags, codes, is_term, sizes = bags[once], codes[once], is_term[once], sizes[once]
        keys, starts = np.unique(bags, return_index=True)
        numbers_V = np.where(names.form_of_token >= 0, number_of_form[names.form_of_token], 0)
        numbers_V[UNKNOWN] = 1  # a word, but of no name
        offsets = np.append(starts, len(codes)).astype(np.int64)
        return cls(keys, sizes[starts], offsets, codes, is_term, numbers_V, names.negates)

    def mentions(self, encoded: Encoded) -> Mentions:
        """Find all mentions in documents, by document."""
        found, before = [], 0
        for size, documents_T, tokens_T in in_parts(encoded):
            part = self._mentions(documents_T, tokens_T)
            found.append(part._replace(documents=part.documents + before))
            before += size
        none = Mentions(*(np.zeros(0, np.int64) for _ in Mentions._fields))
        return Mentions(*(np.concatenate(columns) for columns in zip(none, *found, strict=True)))

    def _mentions(self, documents_T: IntArray, tokens_T: IntArray) -> Mentions:
        places = np.flatnonzero(self.numbers_V[tokens_T])  # of words that count, from here on one after another
        documents, numbers = documents_T[places], self.numbers_V[tokens_T[places]]
        sums = np.concatenate([[0], np.cumsum(numbers)])
        starts, ends, keys, gaps = [], [], [], []
        for size in range(1, LONGEST + 1):
            for gap in (0, 1) if size > 1 else (0,):
                first = np.arange(max(0, len(places) - size - gap + 1))
                first = first[documents[first] == documents[first + size + gap - 1]]
                bags = sums[first + size + gap] - sums[first]
                for left_out in range(1, size) if gap else (None,):
                    bags_here = bags if left_out is None else bags - numbers[first + left_out]
                    key = self._find(bags_here, size)
                    hit = key >= 0
                    starts.append(first[hit])
                    ends.append(first[hit] + size + gap - 1)
                    keys.append(key[hit])
                    gaps.append(np.full(int(hit.sum()), gap))
        start, end, key, gap_M = map(np.concatenate, (starts, ends, keys, gaps))
        order = np.lexsort((key, end, start))
        start, end, key, gap_M = start[order], end[order], key[order], gap_M[order]
        negated = self._negated(documents, tokens_T[places], start)
        inside = _inside(start, end, len(places))
        begin = np.searchsorted(documents_T, documents[start])
        return Mentions(documents[start], key, places[start] - begin, places[end] - begin, gap_M, inside, negated)

    def _find(self, bags: IntArray, size: int) -> IntArray:
        """Return the key of each bag of so many forms, -1 where none is known."""
        if not len(self.keys):
            return np.full(len(bags), -1)
        at = np.minimum(np.searchsorted(self.keys, bags), len(self.keys) - 1)
        return np.where((self.keys[at] == bags) & (self.sizes[at] == size), at, -1)

    def _negated(self, documents: IntArray, tokens: IntArray, start: IntArray) -> IntArray:
        """Return whether a negation is among the BEFORE words before each start, in the same document."""
        total = np.concatenate([[0], np.cumsum(self.negates_V[tokens])])
        begins = np.searchsorted(documents, documents[start])
        return (total[start] > total[np.maximum(begins, start - BEFORE)]).astype(np.int64)

    def pairs(self, found: Mentions) -> Pairs:
        """Choose for each document and code that is mentioned in it the best mention: whole, not negated, of most words."""
        counts = np.diff(self.offsets)[found.keys]
        mention = np.repeat(np.arange(len(found.keys)), counts)
        within = np.arange(len(mention)) - np.repeat(np.cumsum(counts) - counts, counts)
        at = self.offsets[found.keys[mention]] + within
        documents, codes, is_term = found.documents[mention], self.codes[at], self.is_term[at]
        inside, negated, gap = found.inside[mention], found.negated[mention], found.gap[mention]
        size = self.sizes[found.keys[mention]]
        order = np.lexsort((is_term, gap, -size, negated, inside, codes, documents))
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(documents[order]) != 0) | (np.diff(codes[order]) != 0)
        starts = np.flatnonzero(new)
        best, times = order[starts], np.diff(np.append(starts, len(order)))
        size, columns = (
            size[best],
            (gap[best], is_term[best], np.log(counts[mention[best]]), inside[best], negated[best]),
        )
        each = (size == 1, size == 2, size == 3, *columns, np.log1p(times), *[size * 0] * 3)
        features_PF = np.stack([np.asarray(column, np.float64) for column in each], axis=1)
        keys = found.keys[mention[best]]
        return Pairs(documents[best], codes[best].astype(np.int64), keys, at[best], features_PF)


def _inside(start: IntArray, end: IntArray, length: int) -> IntArray:
    """Return whether each mention is part of a longer one."""
    furthest = np.full(length + 1, -1)  # end of the longest mention that starts at each word
    np.maximum.at(furthest, start, end)
    before = np.concatenate([[-1], np.maximum.accumulate(furthest)])[start]  # of those that start at earlier words
    return ((before >= end) | (furthest[start] > end)).astype(np.int64)


class MentionModel:
    """How likely a code is that a document mentions: a logistic regression of all pairs of a document and a code.

    There are two, for codes with training documents and for codes without. In the second each pair of training stands for
    one of a new document if no other training document has the code: so it is fitted on what it is applied to. For the same
    reason the last features count other training documents: those that have the key (`spread_K`), and those of them that
    have the code (`confirmed_E`, for each entry of the index).
    """

    index: NameIndex

    def __init__(self, num_codes: int) -> None:
        self.num_codes = num_codes
        self.spread_K: IntArray = np.zeros(0, np.int64)
        self.confirmed_E: IntArray = np.zeros(0, np.int64)
        self.has_documents_L: IntArray = np.zeros(num_codes, np.int64)
        self.coefficients_2F: FloatArray = np.zeros((2, len(FEATURES)))
        self.intercepts_2: FloatArray = np.zeros(2)

    def fit(self, encoded: Encoded, names: Names) -> None:
        """Fit both regressions to the training documents, at most MOST_FITTED of them, evenly spaced."""
        self.index = NameIndex.of(names)
        found, labels_NL = self.index.mentions(encoded), encoded.labels()
        used = found.documents % -(-len(encoded) // MOST_FITTED) == 0
        found = Mentions(*(column[used] for column in found))
        number = len(self.index.keys)
        self.spread_K = np.bincount(np.unique(found.documents * number + found.keys) % max(1, number), minlength=number)
        counts_L = np.asarray(labels_NL.sum(0)).ravel().astype(np.int64)
        self.has_documents_L = (counts_L > 0).astype(np.int64)
        pairs = self.index.pairs(found)
        gold = np.repeat(np.arange(len(encoded)), np.diff(labels_NL.indptr)) * self.num_codes + labels_NL.indices
        gold_P = np.isin(pairs.documents * self.num_codes + pairs.codes, gold).astype(np.int64)
        self.confirmed_E = np.bincount(pairs.entries[gold_P > 0], minlength=len(self.index.codes))
        features_PF = self._features(pairs, np.ones_like(gold_P), gold_P)
        others_P = counts_L[pairs.codes] - gold_P > 0
        for group in (0, 1):
            fitted = _pooled(features_PF[others_P == group], gold_P[others_P == group])
            self.coefficients_2F[group], self.intercepts_2[group] = fitted

    def pairs(self, encoded: Encoded) -> Pairs:
        """Find the codes that documents mention."""
        return self.index.pairs(self.index.mentions(encoded))

    def contributions(self, encoded: Encoded, code: int, logit: float) -> FloatArray:
        """Compute what each word of a single document adds to a code's other `logit` [T]: the words of its mentions, alike."""
        added_T = np.zeros(int(encoded.lengths.sum()))
        found = self.index.mentions(encoded)
        pairs = self.index.pairs(found)
        at = np.flatnonzero(pairs.codes == code)
        if not len(at):
            return added_T
        added = float((noisy_or(np.array([logit]), self.logits(pairs)[at]) - logit)[0])
        words = np.zeros(len(added_T), bool)
        for mention in np.flatnonzero(found.keys == pairs.keys[at[0]]):
            words[found.first[mention] : found.last[mention] + 1] = True
        added_T[words] = added / words.sum()
        return added_T

    def logits(self, pairs: Pairs) -> FloatArray:
        """Return the log-odds of each pair [P]."""
        group_P = self.has_documents_L[pairs.codes]
        none_P = np.zeros_like(group_P)
        products_P = np.einsum("pf,pf->p", self._features(pairs, none_P, none_P), self.coefficients_2F[group_P])
        logits_P: FloatArray = products_P + self.intercepts_2[group_P]
        return logits_P

    def _features(self, pairs: Pairs, own_P: IntArray, gold_P: IntArray) -> FloatArray:
        """Return the features [P, F]; `own_P` and `gold_P` are 1 where the pair's document itself is among those counted."""
        others_P = self.spread_K[pairs.keys] - own_P
        confirmed_P = self.confirmed_E[pairs.entries] - gold_P
        features_PF = pairs.features_PF.copy()
        features_PF[:, -3], features_PF[:, -2] = np.log1p(others_P), others_P == 0
        features_PF[:, -1] = np.log((confirmed_P + SMOOTHING) / (others_P - confirmed_P + SMOOTHING))
        return features_PF

    def weights(self) -> Weights:
        """Return everything that was fitted, by name."""
        arrays = {
            **vars(self.index),
            "spread_K": self.spread_K,
            "confirmed_E": self.confirmed_E,
            "has_documents_L": self.has_documents_L,
        }
        fitted = {"coefficients_2F": self.coefficients_2F, "intercepts_2": self.intercepts_2}
        return {f"mention.{name}": np.asarray(value) for name, value in {**arrays, **fitted}.items()}

    def restore(self, weights: Weights) -> None:
        """Load the return value of `weights`."""
        given = {name: value for name, value in weights.items() if name.startswith("mention.")}
        arrays = {name.removeprefix("mention."): value for name, value in given.items()}
        own = ("spread_K", "confirmed_E", "has_documents_L", "coefficients_2F", "intercepts_2")
        for name in own:
            setattr(self, name, arrays.pop(name))
        self.index = NameIndex(**arrays)


def _pooled(features_PF: FloatArray, gold_P: IntArray) -> tuple[FloatArray, float]:
    """Fit a logistic regression, L2-penalised on standardised features: coefficients [F] and intercept.

    Without pairs of both kinds every pair gets their smoothed log-odds.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(gold_P)) < 2:
        return np.zeros(features_PF.shape[1]), log_odds(int(gold_P.sum()), len(gold_P))
    center_F, scale_F = features_PF.mean(0), features_PF.std(0)
    scale_F[scale_F == 0] = 1
    solver = LogisticRegression(max_iter=1000).fit((features_PF - center_F) / scale_F, gold_P)
    coefficients_F = solver.coef_[0] / scale_F
    return coefficients_F, float(solver.intercept_[0] - coefficients_F @ center_F)


def noisy_or(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the logits of "either or both" of two independent causes, given by their logits."""
    silent = np.logaddexp(0, one) + np.logaddexp(0, other)  # minus the log-probability of neither
    logits: FloatArray = silent + np.log(-np.expm1(-silent))
    return logits
