"""A committee of sparse logistic regressions of all codes on several readings of documents (`Committee`).

Shapes in names: N documents, L codes, M members, T positions, V features of one reading, P pairs of a document and a code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

from icdbench.nn import ngrams, selected
from icdbench.nn.evidence import MANY, FeatureReader, Reading
from icdbench.nn.ngrams import read_in_parts
from icdbench.nn.ragged import items
from icdbench.nn.words import CUES, Readings
from icdbench.types import Encoded, FloatArray, IntArray, Weights

# Features of a code chosen by χ²; those that an L1 penalty leaves of the SCREENED best by χ² (SCREENED_OF_MANY with more than
# MANY documents); or FEW with a weak penalty, as in `phrases@titles`.
Choice = Literal["chi2", "l1", "few"]
Plan = tuple[tuple[Reading, Choice], ...]

FEW, FEW_C = 5, 10.0
SCREENED = 1000  # compared with other numbers in docs/stacked.md
SCREENED_OF_MANY = 200  # because the L1 fits on 1,000 take most of the time of a large data set
BEFORE = 5  # a cue counts if it is among this many words before a mention
SURROUNDINGS = ("mentions", "first", *CUES)


@dataclass(eq=False)
class Member:
    """The regressions of all codes on one reading: coefficients [L, V] and intercepts [L]."""

    coefficients_LV: csr_matrix
    intercepts_L: FloatArray

    def logits(self, features_NV: csr_matrix) -> FloatArray:
        """Return logits [N, L]."""
        return np.asarray((features_NV @ self.coefficients_LV.T).toarray() + self.intercepts_L)


class Surroundings(NamedTuple):
    """P pairs of a document and a code, with the context of the phrases that speak for the code: [P, len(SURROUNDINGS)].

    The values are the logarithm of their number, the relative position of the first, and for each kind of CUES the share of
    their weight that follows such a word.
    """

    documents: IntArray
    codes: IntArray
    values_PF: FloatArray


class Committee:
    """Members that read the same documents in different ways."""

    def __init__(self, plan: Plan, readings: Readings) -> None:
        self.plan, self.readings = plan, readings
        self.readers: dict[Reading, FeatureReader] = {}
        self.members: list[Member] = []

    def fit(self, encoded: Encoded, labels_NL: csc_matrix, number: int, C: float) -> None:
        """Fit all members, with `number` features per code if these are chosen by χ² alone, or with C for the L1 penalty."""
        self.members = []
        screened = SCREENED_OF_MANY if len(encoded) > MANY else SCREENED
        for reading in dict.fromkeys(reading for reading, _ in self.plan):
            reader = FeatureReader.of(reading, self.readings, encoded, ngrams.least_documents(encoded))
            features_NV = reader.presence(encoded)
            fitted = []
            for choice in (choice for each, choice in self.plan if each == reading):
                ways = {"chi2": (1.0, number), "l1": (C, screened), "few": (FEW_C, FEW)}
                penalty: selected.Penalty = "l1" if choice == "l1" else "l2"
                fitted.append(selected.fit_chosen(features_NV, labels_NL, *ways[choice], penalty))
            used = np.unique(np.concatenate([coefficients_LV.indices for coefficients_LV, _ in fitted]))
            self.readers[reading] = reader.only(used)
            self.members += [Member(each_LV.tocsc()[:, used].tocsr(), intercepts_L) for each_LV, intercepts_L in fitted]

    def logits(self, encoded: Encoded) -> FloatArray:
        """Compute the logits of all members [N, L, M]."""
        features = {reading: reader.presence(encoded) for reading, reader in self.readers.items()}
        found = [
            member.logits(features[reading]) for (reading, _), member in zip(self._order(), self.members, strict=True)
        ]
        return np.stack(found, axis=-1)

    def contributions(self, encoded: Encoded, code: int) -> FloatArray:
        """Compute what each word of a single document adds to the mean of the members' logits of a code [T]."""
        added_T = np.zeros(int(encoded.lengths.sum()))
        for (reading, _), member in zip(self._order(), self.members, strict=True):
            reader = self.readers[reading]
            added_T += reader.spread(encoded, member.coefficients_LV[[code]].toarray()[0])
        return added_T / len(self.members)

    def surroundings(self, encoded: Encoded) -> Surroundings:
        """Find the context of codes' mentions, by the phrases that speak for them in the first member that chooses by χ²."""
        order = self._order()
        first = next((number for number, (_, choice) in enumerate(order) if choice == "chi2"), 0)
        reader, coefficients_VL = self.readers[order[first][0]], self.members[first].coefficients_LV.tocsc().T.tocsr()
        coefficients_VL.data = np.maximum(coefficients_VL.data, 0)
        coefficients_VL.eliminate_zeros()
        none = Surroundings(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, len(SURROUNDINGS))))
        return read_in_parts(encoded, partial(self._surroundings, reader, coefficients_VL), none)

    def _surroundings(
        self, reader: FeatureReader, coefficients_VL: csr_matrix, _size: int, documents_T: IntArray, tokens_T: IntArray
    ) -> Surroundings:
        found, codes = reader.occurrences(documents_T, tokens_T), coefficients_VL.shape[1]
        at, within = items(np.diff(coefficients_VL.indptr)[found.features])
        entries = coefficients_VL.indptr[found.features[at]] + within
        pairs = found.documents[at] * codes + coefficients_VL.indices[entries]
        weights = coefficients_VL.data[entries].astype(np.float64)
        cells, where = np.unique(pairs, return_inverse=True)
        first = found.first[at]
        begins = np.searchsorted(documents_T, found.documents[at])
        length = np.searchsorted(documents_T, found.documents[at], side="right") - begins
        earliest = np.ones(len(cells))
        np.minimum.at(earliest, where, (first - begins) / length)
        total = np.bincount(where, weights, minlength=len(cells))
        cues_TK = self.readings.cues[tokens_T]
        cue, end = _after_last(cues_TK > 0)[first], _after_last(cues_TK < 0)[first]
        near = cue > np.maximum(end, np.maximum(begins, first - BEFORE)[:, None])
        shares = [np.bincount(where, weights * near[:, cue], minlength=len(cells)) / total for cue in range(len(CUES))]
        times = np.log1p(np.bincount(where, minlength=len(cells)))
        documents, of_codes = np.divmod(cells, max(1, codes))
        return Surroundings(documents, of_codes, np.stack([times, earliest, *shares], axis=1))

    def _order(self) -> list[tuple[Reading, Choice]]:
        """The plan in the order in which members were fitted: by reading."""
        readings = list(dict.fromkeys(reading for reading, _ in self.plan))
        return sorted(self.plan, key=lambda each: readings.index(each[0]))

    def weights(self, prefix: str) -> Weights:
        """Return everything that was fitted, by name."""
        found: dict[str, FloatArray | IntArray] = {
            f"{prefix}.{reading}.known": reader.known for reading, reader in self.readers.items()
        }
        for number, member in enumerate(self.members):
            matrix = member.coefficients_LV
            arrays = {"data": matrix.data, "columns": matrix.indices, "offsets": matrix.indptr}
            found |= {f"{prefix}.{number}.{name}": array for name, array in arrays.items()}
            found[f"{prefix}.{number}.intercepts"] = member.intercepts_L
        return found

    def restore(self, weights: Weights, prefix: str) -> None:
        """Load the return value of `weights`."""
        self.readers = {
            reading: FeatureReader(reading, self.readings, weights[f"{prefix}.{reading}.known"])
            for reading, _ in self._order()
        }
        self.members = []
        for number, (reading, _) in enumerate(self._order()):
            parts = tuple(weights[f"{prefix}.{number}.{name}"] for name in ("data", "columns", "offsets"))
            intercepts_L = weights[f"{prefix}.{number}.intercepts"]
            matrix = csr_matrix(parts, shape=(len(intercepts_L), len(self.readers[reading].known)))
            matrix.check_format(full_check=True)
            self.members.append(Member(matrix, intercepts_L))


def _after_last(marked_TK: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> IntArray:
    """Return for each position the one after the last marked position before it [T + 1, K], 0 if there is none."""
    after_TK = np.where(marked_TK, np.arange(1, len(marked_TK) + 1)[:, None], 0)
    return np.maximum.accumulate(np.pad(after_TK, ((1, 0), (0, 0))), axis=0)
