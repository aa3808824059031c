"""Words, phrases, pairs of words and parts of words as features of documents, with their positions (`FeatureReader`).

A feature is a 64-bit number computed from its words, so the known features are one sorted array, from which any may be left
out. Documents are read in parts.

Shapes in names: N documents, T positions, O occurrences of features, V known features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from icdbench.nn.ngrams import in_parts
from icdbench.nn.ragged import first_rows, items, ones_in, places
from icdbench.nn.words import Readings
from icdbench.types import UNKNOWN, Encoded, FloatArray, IntArray

Reading = Literal["words", "forms", "stems", "letters"]

LONGEST = {"words": 4, "forms": 3, "stems": 3}  # words of the longest phrases
APART = 3  # largest distance between the words of a pair
FACTOR = 0x9E3779B97F4A7C15 - (1 << 64)  # odd, so that multiplication modulo 2^64 is invertible
MANY = 10_000  # with more documents features are counted by BUCKETS first, as most are in too few documents
BUCKETS = 1 << 26
PAIR, SKIPPED = 0x5851F42D4C957F2D, 0x14057B7EF767814F


class Occurrences(NamedTuple):
    """O occurrences of features: document, feature, and the positions of its first and its last word.

    A pair consists of these two words only, a phrase (`whole`) also of those between them.
    """

    documents: IntArray
    features: IntArray
    first: IntArray
    last: IntArray
    whole: IntArray


@dataclass(frozen=True, eq=False)
class FeatureReader:
    """Finds the known features [V], ascending, in the words of documents, in their forms, their stems or their letters."""

    reading: Reading
    readings: Readings
    known: IntArray

    @classmethod
    def of(cls, reading: Reading, readings: Readings, encoded: Encoded, least: int) -> FeatureReader:
        """Find the features that at least `least` documents have."""
        numbers, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        reader = cls(reading, readings, numbers)
        crowded = reader._crowded(encoded, least) if len(encoded) > MANY else None
        for _, documents_T, tokens_T in in_parts(encoded):
            features = reader._once_per_document(documents_T, tokens_T)
            if crowded is not None:
                features = features[crowded[features % BUCKETS]]
            here, times = np.unique(features, return_counts=True)
            numbers, where = np.unique(np.concatenate([numbers, here]), return_inverse=True)
            counts = np.bincount(where, np.concatenate([counts, times]), minlength=len(numbers)).astype(np.int64)
        return replace(reader, known=numbers[counts >= least])

    def _crowded(self, encoded: Encoded, least: int) -> NDArray[np.bool_]:
        """Return in which of BUCKETS features have at least `least` documents together: only these can be known."""
        counts = np.zeros(BUCKETS, np.uint16)
        for _, documents_T, tokens_T in in_parts(encoded):
            buckets, times = np.unique(self._once_per_document(documents_T, tokens_T) % BUCKETS, return_counts=True)
            counts[buckets] = np.minimum(counts[buckets] + times, np.iinfo(np.uint16).max)
        return counts >= least

    def _once_per_document(self, documents_T: IntArray, tokens_T: IntArray) -> IntArray:
        """Return the numbers of all features, each as often as there are documents with it, ascending."""
        found = self.all_occurrences(documents_T, tokens_T)
        order = np.lexsort((found.documents, found.features))
        features, documents = found.features[order], found.documents[order]
        return features[first_rows(features, documents)]

    def only(self, kept_V: IntArray) -> FeatureReader:
        """Return a reader of some of the features, given by ascending index."""
        return replace(self, known=self.known[kept_V])

    def presence(self, encoded: Encoded) -> csr_matrix:
        """Return a matrix [N, V] with 1 where a document has a feature."""
        parts = [csr_matrix((0, len(self.known)), dtype=np.float32)]
        for size, documents_T, tokens_T in in_parts(encoded):
            found = self.occurrences(documents_T, tokens_T)
            parts.append(ones_in(found.documents, found.features, (size, len(self.known))))
        return vstack(parts, format="csr")

    def occurrences(self, documents_T: IntArray, tokens_T: IntArray) -> Occurrences:
        """Find the known features; they are given by their index among the known ones."""
        found = self.all_occurrences(documents_T, tokens_T)
        found = found._replace(features=places(self.known, found.features))
        return Occurrences(*(column[found.features >= 0] for column in found))

    def all_occurrences(self, documents_T: IntArray, tokens_T: IntArray) -> Occurrences:
        """Find all features, known or not; they are given by their numbers."""
        if self.reading == "letters":
            return self._letters(documents_T, tokens_T)
        forms = tokens_T - UNKNOWN
        if self.reading != "words":
            forms = (self.readings.forms if self.reading == "forms" else self.readings.stems)[tokens_T]
        positions = np.flatnonzero(forms >= 0)
        documents, forms = documents_T[positions], forms[positions]
        found = [*self._phrases(documents, forms)]
        if self.reading != "words":
            found += [*self._pairs(documents, forms)]
        features, first, last, whole = map(np.concatenate, zip(*found, strict=True))
        return Occurrences(documents[first], features, positions[first], positions[last], whole)

    def _phrases(self, documents: IntArray, forms: IntArray) -> Iterator[tuple[IntArray, ...]]:
        numbers, first = np.zeros(len(forms), np.int64), np.arange(len(forms))
        for more in range(LONGEST[self.reading]):  # number of words after the first
            first = first[first + more < len(forms)]
            first = first[(forms[first + more] > 0) & (documents[first + more] == documents[first])]
            numbers[first] = _mixed(numbers[first] + forms[first + more])
            yield numbers[first], first, first + more, np.ones_like(first)

    def _pairs(self, documents: IntArray, forms: IntArray) -> Iterator[tuple[IntArray, ...]]:
        for apart in range(1, APART + 1):
            first = np.arange(max(0, len(forms) - apart))
            one, other = forms[first], forms[first + apart]
            first = first[(one > 0) & (other > 0) & (one != other) & (documents[first] == documents[first + apart])]
            numbers = _mixed(forms[first] * np.int64(PAIR) + forms[first + apart] + np.int64(SKIPPED))
            yield numbers, first, first + apart, np.zeros_like(first)

    def _letters(self, documents_T: IntArray, tokens_T: IntArray) -> Occurrences:
        offsets = self.readings.part_offsets
        positions, within = items(np.diff(offsets)[tokens_T])
        features = self.readings.parts[offsets[tokens_T[positions]] + within]
        return Occurrences(documents_T[positions], features, positions, positions, np.ones_like(positions))

    def spread(self, encoded: Encoded, each_V: FloatArray) -> FloatArray:
        """Divide what each feature of a single document adds equally among the words of its occurrences [T]."""
        added_T = np.zeros(int(encoded.lengths.sum()))
        for _, documents_T, tokens_T in in_parts(encoded):
            found = self.occurrences(documents_T, tokens_T)
            times_V = np.maximum(np.bincount(found.features, minlength=len(each_V)), 1)
            words_O = np.where(found.whole > 0, found.last - found.first + 1, 2)
            share_O = each_V[found.features] / times_V[found.features] / words_O
            for offset in range(int((found.last - found.first).max(initial=0)) + 1):
                inside = found.first + offset <= found.last
                inside &= (found.whole > 0) | (offset == 0) | (found.first + offset == found.last)
                np.add.at(added_T, found.first[inside] + offset, share_O[inside])
        return added_T


def _mixed(numbers: IntArray) -> IntArray:
    """Return pseudo-random 64-bit numbers, different for different arguments."""
    with np.errstate(over="ignore"):
        numbers = numbers * np.int64(FACTOR)
        numbers = numbers ^ (numbers >> np.int64(29))
        return numbers * np.int64(PAIR) + np.int64(SKIPPED)
