"""Runs of adjacent words (n-grams) as features of documents (`NGrams`), and linear models on them (`NGramModel`).

An n-gram is known if enough training documents contain it. It is coded as one number: the place of its first n - 1 words
among the known n-grams of that length, times the size of the vocabulary, plus its last word. So its first n - 1 words are
known, too, and the n-grams of one length are one sorted array. Documents are read in parts, so that the occurrences of all
n-grams are never in memory at once.

Shapes in names: N documents, T positions, V features (the known n-grams, shortest first), L codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from scipy.sparse import csr_matrix, vstack

from icdbench.nn.ragged import places
from icdbench.types import UNKNOWN, Encoded, FloatArray, IntArray, Task, Weights

DOCUMENTS_AT_ONCE = 1000
CODES_AT_ONCE = 512  # codes whose scores are computed together: scipy copies their weights
PER_DOCUMENTS = 5000  # of very many training documents one in this number must contain a known n-gram

ALL_WORDS = {"min_documents": 2}  # data settings for models of n-grams, which may contain rare words

Weighting = Literal["counts", "tfidf", "binary"]
Columns = TypeVar("Columns", bound=tuple[Any, ...])  # a NamedTuple of columns, one of them `documents`


def least_documents(encoded: Encoded) -> int:
    """Return how many training documents must contain an n-gram for it to be known: 2, or one in 5,000 of very many."""
    return max(2, len(encoded) // PER_DOCUMENTS)


@dataclass(frozen=True, eq=False)
class NGrams:
    """The known n-grams over `num_tokens` words: for each length from 1 their numbers, ascending."""

    num_tokens: int
    numbers: tuple[IntArray, ...]

    @classmethod
    def of(cls, encoded: Encoded, num_tokens: int, longest: int, least: int, *, unknown: bool = False) -> NGrams:
        """Find the n-grams of at most `longest` words that at least `least` documents contain.

        The unknown word is part of none, unless `unknown` makes it a word like any other.
        """
        known = cls(num_tokens, (np.arange(UNKNOWN if unknown else UNKNOWN + 1, num_tokens),))
        known = cls(num_tokens, (known._frequent(encoded, 1, least),))
        for length in range(2, longest + 1):
            known = cls(num_tokens, (*known.numbers, known._frequent(encoded, length, least)))
        return known

    def __len__(self) -> int:
        return sum(map(len, self.numbers))

    def counts(self, encoded: Encoded) -> csr_matrix:
        """Count the known n-grams of each document [N, V]."""
        parts = [csr_matrix((0, len(self)), dtype=np.float32)]
        for size, documents_T, tokens_T in in_parts(encoded):
            starting = [
                (documents_T[features_T >= 0], features_T[features_T >= 0])
                for features_T in self.starting(documents_T, tokens_T)
            ]
            rows, columns = map(np.concatenate, zip(*starting, strict=True))
            cells, counts = np.unique(rows * len(self) + columns, return_counts=True)
            rows, columns = np.divmod(cells, max(len(self), 1))
            offsets = np.searchsorted(rows, np.arange(size + 1))
            part = (counts.astype(np.float32), columns.astype(np.int32), offsets.astype(np.int32))
            parts.append(csr_matrix(part, shape=(size, len(self))))
        return vstack(parts, format="csr")

    def starting(self, documents_T: IntArray, tokens_T: IntArray) -> Iterator[IntArray]:
        """For each length, yield the feature that starts at each position [T], -1 where none is known.

        `documents_T` tells which document each token is in.
        """
        places_T, first = tokens_T, 0
        for length, numbers in enumerate(self.numbers, 1):
            places_T = places(numbers, self._candidates(places_T, documents_T, tokens_T, length))
            yield np.where(places_T >= 0, places_T + first, -1)
            first += len(numbers)

    def _candidates(self, places_T: IntArray, documents_T: IntArray, tokens_T: IntArray, length: int) -> IntArray:
        """Return the number of the n-gram that starts at each position, -1 where it cannot be known.

        `places_T` are those of the n-grams that lack its last word.
        """
        if length == 1:
            return tokens_T
        last = length - 1  # from the first word of an n-gram to its last
        whole = (places_T[:-last] >= 0) & (documents_T[:-last] == documents_T[last:])
        whole &= places(self.numbers[0], tokens_T[last:]) >= 0
        numbers_T = np.full(len(tokens_T), -1, np.int64)
        numbers_T[:-last] = np.where(whole, places_T[:-last] * self.num_tokens + tokens_T[last:], -1)
        return numbers_T

    def _frequent(self, encoded: Encoded, length: int, least: int) -> IntArray:
        """Return the numbers of the n-grams of this length that enough documents contain, shorter ones being known."""
        found = []
        for size, documents_T, tokens_T in in_parts(encoded):
            places_T = tokens_T
            for shorter, numbers in enumerate(self.numbers[: length - 1], 1):
                places_T = places(numbers, self._candidates(places_T, documents_T, tokens_T, shorter))
            numbers_T = self._candidates(places_T, documents_T, tokens_T, length)
            if length == 1:
                numbers_T = np.where(places(self.numbers[0], tokens_T) >= 0, tokens_T, -1)
            known = numbers_T >= 0
            found.append(np.unique(numbers_T[known] * size + documents_T[known]) // size)
        numbers, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *found]), return_counts=True)
        return numbers[counts >= least]


def in_parts(encoded: Encoded) -> Iterator[tuple[int, IntArray, IntArray]]:
    """Yield for each part the number of documents, and the document and token of each position that models read."""
    for first in range(0, len(encoded), DOCUMENTS_AT_ONCE):
        offsets = np.asarray(encoded.token_offsets[first : first + DOCUMENTS_AT_ONCE + 1])
        size = len(offsets) - 1
        documents_T = np.repeat(np.arange(size), np.diff(offsets))
        read_T = np.arange(len(documents_T)) - (offsets[:-1] - offsets[0])[documents_T] < encoded.max_tokens
        yield size, documents_T[read_T], np.asarray(encoded.tokens[offsets[0] : offsets[-1]], np.int64)[read_T]


def read_in_parts(encoded: Encoded, read: Callable[[int, IntArray, IntArray], Columns], none: Columns) -> Columns:
    """Apply `read` to the `in_parts` of documents and join the columns, of which `documents` are counted through.

    `none` has the columns without rows.
    """
    parts, before = [none], 0
    for size, documents_T, tokens_T in in_parts(encoded):
        part: Any = read(size, documents_T, tokens_T)
        parts.append(part._replace(documents=part.documents + before))
        before += size
    return type(none)(*map(np.concatenate, zip(*parts, strict=True)))


class NGramModel:
    """Scores that are linear in features of n-grams; a subclass fits `coefficients_LV` and `intercepts_L`.

    Features are the counts of n-grams in a document, their presence (`binary`), or `tfidf`: 1 + log count times
    1 + log((1 + N) / (1 + documents with the n-gram)), each document scaled to length one.
    """

    def __init__(self, task: Task, weighting: Weighting) -> None:
        self.task, self.weighting = task, weighting
        self.ngrams = NGrams(task.num_tokens, ())
        self.idf_V: FloatArray = np.zeros(0)
        self.coefficients_LV: FloatArray | csr_matrix = csr_matrix((task.num_codes, 0))
        self.intercepts_L: FloatArray = np.zeros(task.num_codes)

    def learn(self, encoded: Encoded, longest: int, least: int, *, unknown: bool = False) -> csr_matrix:
        """Learn which n-grams are known, and return the features of the training documents [N, V]."""
        self.ngrams = NGrams.of(encoded, self.task.num_tokens, longest, least, unknown=unknown)
        counts_NV = self.ngrams.counts(encoded)
        if self.weighting == "tfidf":
            spread_V = np.bincount(counts_NV.indices, minlength=counts_NV.shape[1])
            self.idf_V = 1 + np.log((1 + len(encoded)) / (1 + spread_V))
        return self.weighted(counts_NV)

    def scores(self, encoded: Encoded) -> FloatArray:
        """Compute logits [N, L]."""
        features_NV = self.weighted(self.ngrams.counts(encoded))
        scores_NL = np.empty((len(encoded), self.task.num_codes))
        for first in range(0, self.task.num_codes, CODES_AT_ONCE):
            product = features_NV @ self.coefficients_LV[first : first + CODES_AT_ONCE].T
            scores_NL[:, first : first + CODES_AT_ONCE] = product.toarray() if hasattr(product, "toarray") else product
        return scores_NL + self.intercepts_L

    def contributions(self, encoded: Encoded, code: int) -> FloatArray:
        """Compute what each position of a single document adds to a code's logit; with the intercept they sum to it.

        Occurrences of an n-gram share the contribution of its feature equally, and so do its words.
        """
        counts_1V = self.ngrams.counts(encoded)
        row_V = self.coefficients_LV[[code]]
        row_V = row_V.toarray()[0] if hasattr(row_V, "toarray") else row_V[0]
        each_V = row_V * self.weighted(counts_1V).toarray()[0] / np.maximum(counts_1V.toarray()[0], 1)
        return self.spread(encoded, each_V)

    def spread(self, encoded: Encoded, each_V: FloatArray) -> FloatArray:
        """Share what each occurrence of an n-gram in a single document adds among its words [T]."""
        added_T = np.zeros(int(encoded.lengths.sum()))
        for _, documents_T, tokens_T in in_parts(encoded):
            for length, features_T in enumerate(self.ngrams.starting(documents_T, tokens_T), 1):
                share_T = np.where(features_T >= 0, each_V[features_T] / length, 0.0) if len(each_V) else added_T * 0
                for offset in range(length):
                    added_T[offset:] += share_T[: len(share_T) - offset]
        return added_T

    def weighted(self, counts_NV: csr_matrix) -> csr_matrix:
        """Turn counts of n-grams into features [N, V]."""
        if self.weighting == "counts":
            return counts_NV
        weighted_NV = counts_NV.copy()
        if self.weighting == "binary":
            weighted_NV.data[:] = 1
            return weighted_NV
        weighted_NV.data = (1 + np.log(weighted_NV.data)) * self.idf_V[weighted_NV.indices]
        rows = np.repeat(np.arange(weighted_NV.shape[0]), np.diff(weighted_NV.indptr))
        norms_N = np.sqrt(np.bincount(rows, weighted_NV.data**2, minlength=weighted_NV.shape[0]))
        weighted_NV.data /= norms_N[rows]
        return weighted_NV

    def weights(self) -> Weights:
        """Return everything that was fitted, by name."""
        known = {f"numbers{length}": numbers for length, numbers in enumerate(self.ngrams.numbers, 1)}
        fitted = {**known, "intercepts": self.intercepts_L, "idf": self.idf_V}
        if not isinstance(self.coefficients_LV, csr_matrix):
            return {**fitted, "coefficients": self.coefficients_LV}
        matrix = self.coefficients_LV
        return {**fitted, "coefficients": matrix.data, "columns": matrix.indices, "offsets": matrix.indptr}

    def restore(self, weights: Weights) -> None:
        """Load the return value of `weights`."""
        lengths = range(1, 1 + sum(name.startswith("numbers") for name in weights))
        self.ngrams = NGrams(self.task.num_tokens, tuple(weights[f"numbers{length}"] for length in lengths))
        self.idf_V, self.intercepts_L = weights["idf"], weights["intercepts"]
        self.coefficients_LV = weights["coefficients"]
        if "offsets" in weights:
            parts = weights["coefficients"], weights["columns"], weights["offsets"]
            self.coefficients_LV = csr_matrix(parts, shape=(self.task.num_codes, len(self.ngrams)))
            self.coefficients_LV.check_format(full_check=True)
