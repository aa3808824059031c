"""Sparse logistic regressions of all codes on several readings of documents: the members of a committee.

Shapes in names: N documents, L codes, M members, T positions, V features of one reading, P pairs of a document and a code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix, vstack

from icdbench.nn import ngrams, selected
from icdbench.nn.evidence import FeatureReader, Reading
from icdbench.nn.ngrams import in_parts
from icdbench.nn.words import CUES, Readings
from icdbench.types import Encoded, FloatArray, IntArray, Weights

Choice = Literal["chi2", "l1"]  # a few features per code, chosen by χ²; or as many as an L1 penalty leaves
Plan = tuple[tuple[Reading, Choice], ...]

FREQUENT = 10  # documents of a code whose features an L1 penalty can choose
BEFORE = 5  # words before a mention among which a cue counts
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
    """P pairs of a document and a code, with what surrounds the phrases that speak for it: [P, len(SURROUNDINGS)].

    How often they stand (logarithm), where the first is as a share of the document, and the shares of their weight that are
    near to words of each kind of CUES.
    """

    documents: IntArray
    codes: IntArray
    values_PF: FloatArray


def _fit_l1(features_NV: csr_matrix, labels_NL: csc_matrix, number: int, C: float) -> tuple[csr_matrix, FloatArray]:
    """Fit frequent codes with an L1 penalty and the others on chosen features: coefficients [L, V], intercepts [L]."""
    frequent_L = np.diff(labels_NL.indptr) >= FREQUENT
    parts, intercepts_L = [], np.zeros(len(frequent_L))
    groups = [np.flatnonzero(frequent_L), np.flatnonzero(~frequent_L)]
    for codes, l1 in zip(groups, (True, False), strict=True):
        labels_NC = labels_NL[:, codes]
        if not len(codes):
            continue
        fitted = (
            selected.fit_l1(features_NV, labels_NC, C)
            if l1
            else selected.fit_chosen(features_NV, labels_NC, 1.0, number)
        )
        parts.append(fitted[0])
        intercepts_L[codes] = fitted[1]
    order = np.argsort(np.concatenate(groups), kind="stable")
    return vstack(parts, format="csr")[order], intercepts_L


class Committee:
    """Members that read the same documents in different ways."""

    def __init__(self, plan: Plan, readings: Readings) -> None:
        self.plan, self.readings = plan, readings
        self.readers: dict[Reading, FeatureReader] = {}
        self.members: list[Member] = []

    def fit(self, encoded: Encoded, labels_NL: csc_matrix, number: int, C: float) -> None:
        """Fit all members: `number` features per code where these are chosen; C of the L1 penalty."""
        self.members = []
        for reading in dict.fromkeys(reading for reading, _ in self.plan):
            reader = FeatureReader.of(reading, self.readings, encoded, ngrams.least_documents(encoded))
            features_NV = reader.presence(encoded)
            fitted = []
            for choice in (choice for each, choice in self.plan if each == reading):
                if choice == "l1":
                    fitted.append(_fit_l1(features_NV, labels_NL, number, C))
                else:
                    fitted.append(selected.fit_chosen(features_NV, labels_NL, 1.0, number))
            used = np.unique(np.concatenate([coefficients_LV.indices for coefficients_LV, _ in fitted]))
            self.readers[reading] = reader.only(used)
            self.members += [Member(coefficients_LV.tocsc()[:, used].tocsr(), own) for coefficients_LV, own in fitted]

    def logits(self, encoded: Encoded) -> FloatArray:
        """Compute the logits of all members [N, L, M]."""
        features = {reading: reader.presence(encoded) for reading, reader in self.readers.items()}
        found = [
            member.logits(features[reading]) for (reading, _), member in zip(self._order(), self.members, strict=True)
        ]
        return np.stack(found, axis=-1)

    def contributions(self, encoded: Encoded, code: int) -> FloatArray:
        """Compute what each word of a single document adds to a code's logits on average [T]."""
        added_T = np.zeros(int(encoded.lengths.sum()))
        for (reading, _), member in zip(self._order(), self.members, strict=True):
            reader = self.readers[reading]
            added_T += reader.spread(encoded, member.coefficients_LV[[code]].toarray()[0])
        return added_T / len(self.members)

    def surroundings(self, encoded: Encoded) -> Surroundings:
        """Find out how codes are mentioned, by the phrases that speak for them in the first member that chooses phrases."""
        order = self._order()
        at = next((at for at, (_, choice) in enumerate(order) if choice == "chi2"), 0)
        reader, coefficients_VL = self.readers[order[at][0]], self.members[at].coefficients_LV.tocsc().T.tocsr()
        coefficients_VL.data = np.maximum(coefficients_VL.data, 0)
        coefficients_VL.eliminate_zeros()
        parts, before = [], 0
        for size, documents_T, tokens_T in in_parts(encoded):
            part = self._surroundings(reader, coefficients_VL, documents_T, tokens_T)
            parts.append(part._replace(documents=part.documents + before))
            before += size
        none = Surroundings(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, len(SURROUNDINGS))))
        return Surroundings(*(np.concatenate(columns) for columns in zip(none, *parts, strict=True)))

    def _surroundings(
        self, reader: FeatureReader, coefficients_VL: csr_matrix, documents_T: IntArray, tokens_T: IntArray
    ) -> Surroundings:
        found, codes = reader.occurrences(documents_T, tokens_T), coefficients_VL.shape[1]
        counts = np.diff(coefficients_VL.indptr)[found.features]
        at = np.repeat(np.arange(len(counts)), counts)
        within = (
            coefficients_VL.indptr[found.features[at]]
            + np.arange(len(at))
            - np.repeat(np.cumsum(counts) - counts, counts)
        )
        pairs = found.documents[at] * codes + coefficients_VL.indices[within]
        weights = coefficients_VL.data[within].astype(np.float64)
        cells, where = np.unique(pairs, return_inverse=True)
        first = found.first[at]
        begins = np.searchsorted(documents_T, found.documents[at])
        length = np.searchsorted(documents_T, found.documents[at], side="right") - begins
        earliest = np.ones(len(cells))
        np.minimum.at(earliest, where, (first - begins) / length)
        total = np.bincount(where, weights, minlength=len(cells))
        cues_TK = self.readings.cues[tokens_T]
        cue, end = _past_the_last(cues_TK > 0)[first], _past_the_last(cues_TK < 0)[first]
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
            own = weights[f"{prefix}.{number}.intercepts"]
            matrix = csr_matrix(parts, shape=(len(own), len(self.readers[reading].known)))
            matrix.check_format(full_check=True)
            self.members.append(Member(matrix, own))


def _past_the_last(marked_TK: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> IntArray:
    """Return the position after the last one that is marked before each position [T + 1, K]; 0 if none is."""
    past_TK = np.where(marked_TK, np.arange(1, len(marked_TK) + 1)[:, None], 0)
    first_1K = np.zeros((1, marked_TK.shape[1]), np.int64)
    return np.maximum.accumulate(np.concatenate([first_1K, past_TK]), axis=0)
