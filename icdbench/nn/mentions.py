"""Mentions of codes in documents (`NameIndex`), and the probability of a mentioned code (`MentionModel`).

A name is a bag of normal forms (`icdbench.types.Names`). It is mentioned where a window of a document's words, without those
that names ignore, consists of exactly these forms in any order, or of these and one other word between them. Names with equal
bags are one key, which may stand for several codes. Each form has a random 64-bit number and a bag the sum of those of its
forms, so windows are found by differences of running sums, whatever the number of names.

Shapes in names: N documents, T words, M mentions, K keys, P pairs of a document and a code mentioned in it, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icdbench.nn.ngrams import read_in_parts
from icdbench.nn.ragged import first_rows, items, places
from icdbench.nn.selected import SMOOTHING, fit_standardised
from icdbench.types import UNKNOWN, Encoded, FloatArray, IntArray, Names, Weights

LONGEST = 8  # most forms of a name; longer names are hardly ever written out
MOST_FITTED = 10_000  # most documents for fitting
BEFORE = 4  # a negation counts if it is among this many words before a mention
FEATURES = (  # the last three depend on the training documents
    *("1 word", "2 words", "3 words", "gap", "other name", "codes", "inside", "negated", "mentions"),
    *("frequent", "new", "confirmed"),
)
FITTED = ("spread_K", "confirmed_E", "has_documents_L", "coefficients_2F", "intercepts_2")  # arrays of a MentionModel


class Mentions(NamedTuple):
    """M mentions: document, key, positions of the first and last word in the document, and context."""

    documents: IntArray
    keys: IntArray
    first: IntArray
    last: IntArray
    gap: IntArray
    inside: IntArray
    negated: IntArray


class Pairs(NamedTuple):
    """P pairs of a document and a code that it mentions, sorted by document and code, with the best mention and its features.

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
    """The keys by ascending number, the codes of key k (`codes[offsets[k] : offsets[k + 1]]`), and the words' numbers.

    `is_term` is 1 for a code of which the key is not the title. `numbers_V` is 0 for a word that names ignore.
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
        order = order[first_rows(bags[order], names.codes[kept][order])]
        bags, codes, is_term, sizes = (
            each[order] for each in (bags, names.codes[kept], names.is_term[kept], sizes[kept])
        )
        keys, starts = np.unique(bags, return_index=True)
        numbers_V = np.where(names.form_of_token >= 0, number_of_form[names.form_of_token], 0)
        numbers_V[UNKNOWN] = 1  # counts as a word, but occurs in no name
        offsets = np.append(starts, len(codes)).astype(np.int64)
        return cls(keys, sizes[starts], offsets, codes, is_term, numbers_V, names.negates)

    def mentions(self, encoded: Encoded) -> Mentions:
        """Find all mentions in documents, by document."""
        return read_in_parts(encoded, self._mentions, Mentions(*(np.zeros(0, np.int64) for _ in Mentions._fields)))

    def _mentions(self, _size: int, documents_T: IntArray, tokens_T: IntArray) -> Mentions:
        positions = np.flatnonzero(self.numbers_V[tokens_T])  # without words that names ignore
        documents, numbers = documents_T[positions], self.numbers_V[tokens_T[positions]]
        sums = np.concatenate([[0], np.cumsum(numbers)])
        starts, ends, keys, gaps = [], [], [], []
        for size in range(1, LONGEST + 1):
            for gap in (0, 1) if size > 1 else (0,):
                first = np.arange(max(0, len(positions) - size - gap + 1))
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
        negated = any_before(self.negates_V[tokens_T[positions]], documents, start, BEFORE).astype(np.int64)
        inside = part_of_longer(start, end, start, end, len(positions)).astype(np.int64)
        begin = np.searchsorted(documents_T, documents[start])
        return Mentions(documents[start], key, positions[start] - begin, positions[end] - begin, gap_M, inside, negated)

    def _find(self, bags: IntArray, size: int) -> IntArray:
        """Return the key of each bag of so many forms, -1 if none is known."""
        keys = places(self.keys, bags)
        return np.where(np.append(self.sizes, 0)[keys] == size, keys, -1)

    def pairs(self, found: Mentions) -> Pairs:
        """Choose for each document and code that it mentions the best mention: not inside another, not negated, longest."""
        counts = np.diff(self.offsets)[found.keys]
        mention, within = items(counts)
        at = self.offsets[found.keys[mention]] + within
        documents, codes, is_term = found.documents[mention], self.codes[at], self.is_term[at]
        inside, negated, gap = found.inside[mention], found.negated[mention], found.gap[mention]
        size = self.sizes[found.keys[mention]]
        order = np.lexsort((is_term, gap, -size, negated, inside, codes, documents))
        starts = first_rows(documents[order], codes[order])
        best, times = order[starts], np.diff(np.append(starts, len(order)))
        size = size[best]
        context = gap[best], is_term[best], np.log(counts[mention[best]]), inside[best], negated[best]
        columns = (size == 1, size == 2, size == 3, *context, np.log1p(times), *[size * 0] * 3)
        features_PF = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
        keys = found.keys[mention[best]]
        return Pairs(documents[best], codes[best].astype(np.int64), keys, at[best], features_PF)


def part_of_longer(start: IntArray, end: IntArray, starts: IntArray, ends: IntArray, length: int) -> NDArray[np.bool_]:
    """Return whether each window (`start`, `end`) is part of a longer one of (`starts`, `ends`), in so many words."""
    furthest = np.full(length + 1, -1)  # end of the longest window that starts at each word
    np.maximum.at(furthest, starts, ends)
    before = np.concatenate([[-1], np.maximum.accumulate(furthest)])[start]  # of windows that start at earlier words
    inside: NDArray[np.bool_] = (before >= end) | (furthest[start] > end)
    return inside


def any_before(marked: IntArray, documents: IntArray, start: IntArray, reach: int) -> NDArray[np.bool_]:
    """Return whether a marked word is among the `reach` words before each start, in the same document."""
    total = np.concatenate([[0], np.cumsum(marked)])
    begins = np.searchsorted(documents, documents[start])
    found: NDArray[np.bool_] = total[start] > total[np.maximum(begins, start - reach)]
    return found


class MentionModel:
    """The probability of a code that a document mentions: a logistic regression of all pairs of a document and a code.

    There are two regressions, for codes with training documents and for codes without. The second is fitted on training pairs
    whose code no other training document has, which resemble the pairs that it is applied to. For the same reason the last
    features count only other training documents: those with the key (`spread_K`), and those of them with the code
    (`confirmed_E`, for each entry of the index).
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
            fitted = fit_standardised(features_PF[others_P == group], gold_P[others_P == group])
            self.coefficients_2F[group], self.intercepts_2[group] = fitted

    def pairs(self, encoded: Encoded) -> Pairs:
        """Find the codes that documents mention."""
        return self.index.pairs(self.index.mentions(encoded))

    def contributions(self, encoded: Encoded, code: int, logit: float) -> FloatArray:
        """Compute what the mention adds to a code's `logit` without it, divided equally among the mention's words [T]."""
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
        """Return the features [P, F]; `own_P` and `gold_P` are 1 if the pair's own document is among those counted."""
        others_P = self.spread_K[pairs.keys] - own_P
        confirmed_P = self.confirmed_E[pairs.entries] - gold_P
        features_PF = pairs.features_PF.copy()
        features_PF[:, -3], features_PF[:, -2] = np.log1p(others_P), others_P == 0
        features_PF[:, -1] = np.log((confirmed_P + SMOOTHING) / (others_P - confirmed_P + SMOOTHING))
        return features_PF

    def weights(self) -> Weights:
        """Return everything that was fitted, by name."""
        arrays = {**vars(self.index), **{name: getattr(self, name) for name in FITTED}}
        return {f"mention.{name}": np.asarray(value) for name, value in arrays.items()}

    def restore(self, weights: Weights) -> None:
        """Load the return value of `weights`."""
        given = {name: value for name, value in weights.items() if name.startswith("mention.")}
        arrays = {name.removeprefix("mention."): value for name, value in given.items()}
        for name in FITTED:
            setattr(self, name, arrays.pop(name))
        self.index = NameIndex(**arrays)


def noisy_or(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the logits of "either or both" of two independent causes, given by their logits."""
    neither = np.logaddexp(0, one) + np.logaddexp(0, other)  # minus its log-probability
    logits: FloatArray = neither + np.log(-np.expm1(-neither))
    return logits
