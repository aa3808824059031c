"""A lexicon of the words that people marked for codes (`SpanLexicon`), and features of documents from it (`MarkedModel`).

A key of the lexicon is the set of forms of a mark's words (icdbench.nn.words), so order, plural, accents and small words do not
matter; a lexicon of stems also ignores most endings. A document has a key if it has all of its forms; the closer together they
are, the better. Marks have gaps, and the words of one mark may be sentences apart.

Shapes in names: N documents, T positions, K keys, E entries (a key with a code), C matches of a document and a key,
P pairs of a document and a code, F features, G classes of matches, V forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, vstack

from icdbench.nn.mentions import any_before, noisy_or, part_of_longer
from icdbench.nn.ngrams import in_parts, read_in_parts
from icdbench.nn.ragged import first_rows, items, ones_in
from icdbench.nn.words import Readings
from icdbench.types import Encoded, FloatArray, IntArray, Weights

SIMILAR = 0.5  # least weighted share of a key's forms for a document to be similar to the key; rare forms weigh more
NEAR = (0, 2, 8)  # most other words between those of a key, for each class of matches except the last
BEFORE = 5  # a negation counts if it is among this many words before a match
FEATURES = ("odds", "count", "confirmed", "words", "between", "times", "inside", "negated", "keys", "any")
OF_SIMILAR = ("share", "share times odds", "weight", "weight of the key", "words")
FURTHEST = 10.0  # -FURTHEST are the log-odds of a code without a key


class Matches(NamedTuple):
    """C matches of a document and a key, by document: first and last position of the closest occurrence, words in between.

    `times` counts equally close occurrences. `inside`: all of them are part of a contiguous occurrence of a longer key.
    `negated`: a negation precedes the first.
    """

    documents: IntArray
    keys: IntArray
    between: IntArray
    first: IntArray
    last: IntArray
    times: IntArray
    inside: IntArray
    negated: IntArray


class MarkedPairs(NamedTuple):
    """P pairs of a document and a code of one of its keys, by document, then code, with the best match and features [P, F]."""

    documents: IntArray
    codes: IntArray
    matches: IntArray
    features_PF: FloatArray


@dataclass(eq=False)
class SpanLexicon:
    """Keys as rows of `forms` (from `offsets[k]`), and entries by key, each with a code.

    `spread_KG` counts the training documents with a key, by class of matches, `confirmed_EG` those of them that also have the
    entry's code.
    """

    form_of_token: IntArray
    negates: IntArray
    forms: IntArray
    offsets: IntArray
    entry_keys: IntArray
    entry_codes: IntArray
    weights_V: FloatArray  # log of one over the share of training documents that have a form
    spread_KG: IntArray
    confirmed_EG: IntArray

    @classmethod
    def of(cls, encoded: Encoded, readings: Readings, form_of_token: IntArray) -> SpanLexicon:
        """Learn from documents with marks."""
        marks = encoded.marks
        assert marks is not None
        entries: dict[tuple[int, ...], set[int]] = {}
        document_M = np.repeat(np.arange(len(encoded)), np.diff(marks.offsets))
        starts = encoded.token_offsets[document_M]
        for number, code in enumerate(marks.codes.tolist()):
            words = marks.words[marks.word_offsets[number] : marks.word_offsets[number + 1]]
            words = words[words < encoded.lengths[document_M[number]]]
            forms = form_of_token[encoded.tokens[starts[number] + words]]
            if key := tuple(sorted(set(forms[forms > 0].tolist()))):
                entries.setdefault(key, set()).add(code)
        keys = list(entries)
        codes = [sorted(entries[key]) for key in keys]
        groups = len(NEAR) + 1
        found = cls(
            form_of_token,
            (readings.cues[:, 0] > 0).astype(np.int64),
            np.array([form for key in keys for form in key], np.int64),
            np.cumsum([0, *map(len, keys)]),
            np.repeat(np.arange(len(keys)), [len(each) for each in codes]),
            np.array([code for each in codes for code in each], np.int64),
            np.zeros(int(form_of_token.max(initial=0)) + 1),
            np.zeros((len(keys), groups), np.int64),
            np.zeros((sum(map(len, codes)), groups), np.int64),
        )
        found.weights_V = np.log((len(encoded) + 1) / (np.asarray(found._presence(encoded).sum(0)).ravel() + 1))
        matches = found.matches(encoded)
        np.add.at(found.spread_KG, (matches.keys, _group(matches.between)), 1)
        match, entry = found._entries(matches.keys)
        labels_NL = encoded.labels().tocsr()
        right = np.asarray(labels_NL[matches.documents[match], found.entry_codes[entry]]).ravel() > 0
        np.add.at(found.confirmed_EG, (entry[right], _group(matches.between[match[right]])), 1)
        return found

    def matches(self, encoded: Encoded) -> Matches:
        """Find the keys of documents."""
        return read_in_parts(encoded, self._matches, Matches(*(np.zeros(0, np.int64) for _ in Matches._fields)))

    def _matches(self, size: int, documents_T: IntArray, tokens_T: IntArray) -> Matches:
        places = np.flatnonzero(self.form_of_token[tokens_T] >= 0)  # without ignored words
        documents, forms = documents_T[places], self.form_of_token[tokens_T[places]]
        width, sizes_K = len(self.weights_V), np.diff(self.offsets)
        common = (ones_in(documents, forms, (size, width)) @ self._keys(np.ones(width)).T).tocoo()
        whole = common.data == sizes_K[common.col]
        document_C, key_C = common.row[whole].astype(np.int64), common.col[whole].astype(np.int64)
        # The places of each form in each document, by document, then form.
        place_O = np.lexsort((np.arange(len(forms)), forms, documents))
        cell_O = documents[place_O] * width + forms[place_O]
        match_R, within = items(sizes_K[key_C])  # a row for each form of each match
        row_C = np.cumsum(sizes_K[key_C]) - sizes_K[key_C]  # the first row of each match
        cell_R = document_C[match_R] * width + self.forms[self.offsets[key_C[match_R]] + within]
        start_R = np.searchsorted(cell_O, cell_R)
        count_R = np.searchsorted(cell_O, cell_R, side="right") - start_R
        # The rarest form of each match is its anchor; for each place of it, find the nearest place of each other form.
        anchor_C = np.lexsort((count_R, match_R))[row_C]
        match_A, at_A = items(count_R[anchor_C])
        anchor_A = place_O[start_R[anchor_C[match_A]] + at_A]
        low_A, high_A = anchor_A.copy(), anchor_A.copy()
        span = cell_O * (len(forms) + 1) + place_O  # ascending
        for number in range(int(sizes_K.max(initial=0))):
            rows = np.flatnonzero(sizes_K[key_C[match_A]] > number)
            row_R = row_C[match_A[rows]] + number
            wanted = np.searchsorted(span, cell_R[row_R] * (len(forms) + 1) + anchor_A[rows])
            start, end = start_R[row_R], start_R[row_R] + count_R[row_R] - 1
            after, before = (place_O[np.clip(each, start, end)] for each in (wanted, wanted - 1))
            anchor = anchor_A[rows]
            near = np.where(np.abs(after - anchor) <= np.abs(before - anchor), after, before)
            low_A[rows], high_A[rows] = np.minimum(low_A[rows], near), np.maximum(high_A[rows], near)
        between_A = high_A - low_A + 1 - sizes_K[key_C[match_A]]
        return self._closest(
            document_C, key_C, match_A, (low_A, high_A, between_A), documents, places, documents_T, tokens_T
        )

    def _closest(
        self, document_C: IntArray, key_C: IntArray, match_A: IntArray, around: tuple[IntArray, IntArray, IntArray],
        documents: IntArray, places: IntArray, documents_T: IntArray, tokens_T: IntArray,
    ) -> Matches:  # fmt: skip
        """Choose the closest occurrence of each match."""
        low_A, high_A, between_A = around
        tight = between_A <= 0
        inside_A = part_of_longer(low_A, high_A, low_A[tight], high_A[tight], len(documents))
        negated_A = any_before(self.negates[tokens_T[places]], documents, low_A, BEFORE)
        order = np.lexsort((low_A, negated_A, inside_A, between_A, match_A))
        best_C = order[np.searchsorted(match_A[order], np.arange(len(key_C)))]
        least_C = between_A[best_C]
        times_C = np.bincount(match_A[between_A <= least_C[match_A]], minlength=len(key_C))
        begin_C = np.searchsorted(documents_T, document_C)
        return Matches(
            document_C, key_C, np.maximum(least_C, 0), places[low_A[best_C]] - begin_C, places[high_A[best_C]] - begin_C,
            times_C, inside_A[best_C].astype(np.int64), negated_A[best_C].astype(np.int64),
        )  # fmt: skip

    def _presence(self, encoded: Encoded) -> csr_matrix:
        """Return a matrix [N, V] with 1 where a document has a form."""
        parts = []
        for size, documents_T, tokens_T in in_parts(encoded):
            forms_T = self.form_of_token[tokens_T]
            parts.append(ones_in(documents_T[forms_T > 0], forms_T[forms_T > 0], (size, len(self.weights_V))))
        return vstack(parts, format="csr")

    def _keys(self, weights_V: FloatArray) -> csr_matrix:
        """Return the forms of the keys, each with its weight [K, V]."""
        return csr_matrix(
            (weights_V[self.forms], self.forms, self.offsets), shape=(len(self.offsets) - 1, len(weights_V))
        )

    def _entries(self, keys: IntArray) -> tuple[IntArray, IntArray]:
        """Return the entries of each of some keys, preceded by the index of the key among these."""
        starts = np.searchsorted(self.entry_keys, np.arange(len(self.offsets)))
        place, within = items(np.diff(starts)[keys])
        return place, starts[keys[place]] + within

    def pairs(self, matches: Matches) -> MarkedPairs:
        """Compute features of each code of a match, by its best match."""
        match, entry = self._entries(matches.keys)
        keys, group = matches.keys[match], _group(matches.between[match])
        spread, confirmed = self.spread_KG[keys], self.confirmed_EG[entry]
        usual = (confirmed.sum(1) + 0.5) / (spread.sum(1) + 1)
        rows = np.arange(len(match))
        share = (confirmed[rows, group] + 2 * usual) / (spread[rows, group] + 2)
        odds = np.log(share) - np.log1p(-share)
        document, code = matches.documents[match], self.entry_codes[entry]
        order = np.lexsort((matches.inside[match], -odds, code, document))
        begins = first_rows(document[order], code[order])
        best, number = order[begins], np.diff(np.append(begins, len(order)))
        silent = np.add.reduceat(np.log1p(-share[order]), begins) if len(begins) else np.zeros(0)
        chosen = match[best]
        columns = [
            odds[best], np.log1p(spread.sum(1)[best]), np.log1p(confirmed.sum(1)[best]),
            np.diff(self.offsets)[keys[best]], np.log1p(matches.between[chosen]), np.log1p(matches.times[chosen]),
            matches.inside[chosen], matches.negated[chosen], np.log1p(number), np.log(-np.expm1(silent)) - silent,
        ]  # fmt: skip
        return MarkedPairs(document[best], code[best], chosen, np.stack(columns, axis=1).astype(np.float64))

    def similar(self, encoded: Encoded) -> MarkedPairs:
        """Compute features of codes from keys that a document has at least in part (SIMILAR)."""
        keys_KV = self._keys(self.weights_V)
        common = (self._presence(encoded) @ keys_KV.T).tocoo()
        total = np.asarray(keys_KV.sum(1)).ravel()[common.col]
        share = common.data / np.maximum(total, 1e-9)
        kept = np.flatnonzero(share > SIMILAR)
        match, entry = self._entries(common.col[kept])
        at = kept[match]
        usual = (self.confirmed_EG[entry].sum(1) + 0.5) / (self.spread_KG[common.col[at]].sum(1) + 1)
        document, code = common.row[at].astype(np.int64), self.entry_codes[entry]
        order = np.lexsort((-share[at] * usual, code, document))
        best = order[first_rows(document[order], code[order])]
        at = at[best]
        words = np.diff(self.offsets)[common.col[at]]
        columns = [share[at], share[at] * usual[best], common.data[at], total[at], words]
        return MarkedPairs(document[best], code[best], at, np.stack(columns, axis=1).astype(np.float64))


class MarkedModel:
    """Features of documents from two lexicons, of forms and of stems."""

    def __init__(self, num_codes: int, readings: Readings) -> None:
        self.num_codes, self.readings = num_codes, readings
        self.lexicons: tuple[SpanLexicon, ...] = ()

    def fit(self, encoded: Encoded) -> None:
        """Learn the marks of documents."""
        by_token = self.readings.forms, self.readings.stems
        self.lexicons = tuple(SpanLexicon.of(encoded, self.readings, forms) for forms in by_token)

    def read(self, encoded: Encoded) -> tuple[csr_matrix, FloatArray]:
        """Return for each document and code [N, L] the index of its features in an array [1 + P, F]; row 0 is for no key."""
        found = [lexicon.pairs(lexicon.matches(encoded)) for lexicon in self.lexicons]
        found.append(self.lexicons[-1].similar(encoded))
        none = np.zeros(len(FEATURES))
        none[[0, -1]] = -FURTHEST
        cells = [pairs.documents * self.num_codes + pairs.codes for pairs in found]
        every = np.unique(np.concatenate(cells))
        columns = []
        absent = (none, none, np.zeros(len(OF_SIMILAR)))  # features of a pair that a lexicon does not have
        for pairs, pair_cells, default in zip(found, cells, absent, strict=True):
            features = np.tile(default, (1 + len(every), 1))
            features[1 + np.searchsorted(every, pair_cells)] = pairs.features_PF
            columns.append(features)
        where = (np.arange(1, 1 + len(every)), np.divmod(every, self.num_codes))
        return csr_matrix(where, shape=(len(encoded), self.num_codes)), np.concatenate(columns, axis=1)

    def contributions(self, encoded: Encoded, code: int, logit: float) -> FloatArray:
        """Compute what the best match adds to a code's `logit` without it, divided equally among the match's words [T]."""
        added_T = np.zeros(int(encoded.lengths.sum()))
        for lexicon in self.lexicons:
            matches = lexicon.matches(encoded)
            pairs = lexicon.pairs(matches)
            for at in np.flatnonzero(pairs.codes == code):
                number = pairs.matches[at]
                key = matches.keys[number]
                places = np.arange(matches.first[number], matches.last[number] + 1)
                forms = lexicon.form_of_token[np.asarray(encoded.tokens)[encoded.token_offsets[0] + places]]
                words = places[np.isin(forms, lexicon.forms[lexicon.offsets[key] : lexicon.offsets[key + 1]])]
                added_T[words] = float((noisy_or(np.array([logit]), pairs.features_PF[at, :1]) - logit)[0]) / len(words)
                return added_T
        return added_T

    def weights(self) -> Weights:
        """Return everything that was fitted, by name."""
        return {
            f"marked.{number}.{name}": value
            for number, lexicon in enumerate(self.lexicons)
            for name, value in vars(lexicon).items()
        }

    def restore(self, weights: Weights) -> None:
        """Load the return value of `weights`."""
        names = SpanLexicon.__dataclass_fields__
        self.lexicons = tuple(
            SpanLexicon(*(weights[f"marked.{number}.{name}"] for name in names)) for number in range(2)
        )


def _group(between: IntArray) -> IntArray:
    """Return the class of matches with so many other words between those of the key."""
    return np.searchsorted(np.array(NEAR), between)
