"""How much of the names of codes stands close together in documents (`NameShares`).

Notes seldom have a whole title of a code. A name is read here as the set of the stems of its words (icdbench.nn.words), of
which rare ones weigh more. Its share in a document is the weight of its stems within WINDOW words, divided by that of all.

Shapes in names: N documents, T words of one document, K codes that training documents have, M names, V stems, F features.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from icdbench.nn.ngrams import in_parts
from icdbench.nn.ragged import first_rows, items, ones_in, places
from icdbench.nn.words import Readings
from icdbench.types import Encoded, FloatArray, IntArray, Names, Weights

WINDOW = 8  # words, without those that names ignore
LEAST = 0.6  # share from which a document is a candidate for the code
FEATURES = ("share", "weight", "missing", "other name", "words", "as similar", "confirmed")


@dataclass(eq=False)
class NameShares:
    """The names of codes by code, name m with the stems `stems[offsets[m] : offsets[m + 1]]`; stem 0 is in no name.

    `weights_V` is the logarithm of one over the share of training documents that have a stem. `confirmed` are the stems of a
    code's names that its training documents have, too: the code (position among the K) times V, plus the stem.
    """

    stem_of_token: IntArray
    stems: IntArray
    offsets: IntArray
    codes: IntArray
    is_term: IntArray
    weights_V: FloatArray
    confirmed: IntArray
    num_codes: int

    @classmethod
    def of(cls, encoded: Encoded, readings: Readings, names: Names, known_K: IntArray) -> NameShares:
        """Read the names of the codes `known_K`, ascending, that the training documents have."""
        stem_of_token, tokens = readings.stems, np.flatnonzero(names.form_of_token >= 0)[::-1]
        stem_of_form = np.zeros(int(names.form_of_token.max(initial=0)) + 1, np.int64)
        stem_of_form[names.form_of_token[tokens]] = stem_of_token[tokens]  # that of the first token of each form
        width = int(stem_of_token.max(initial=0)) + 1
        code_M = places(known_K, names.codes)
        name, stems = np.repeat(np.arange(len(code_M)), np.diff(names.offsets)), stem_of_form[names.forms]
        kept = (stems > 0) & (code_M[name] >= 0)
        cells = np.unique((code_M[name[kept]] * len(code_M) + name[kept]) * width + stems[kept])  # by code, name, stem
        code_names, stems = np.divmod(cells, width)
        starts = first_rows(code_names)
        codes, numbers = np.divmod(code_names[starts], len(code_M))
        presence_NV = vstack([_present(windows_TV) for windows_TV in _windows(encoded, stem_of_token, width)])
        weights_V = np.log((len(encoded) + 1) / (np.asarray(presence_NV.sum(0)).ravel() + 0.5))
        labels_KN = encoded.labels()[:, known_K].T.astype(np.float64)
        with_code_KV = labels_KN @ presence_NV
        found = np.repeat(codes, np.diff(np.append(starts, len(stems)))) * width + stems
        here = with_code_KV.tocoo()
        confirmed = np.intersect1d(found, here.row.astype(np.int64) * width + here.col)
        offsets = np.append(starts, len(stems)).astype(np.int64)
        is_term = np.asarray(names.is_term)[numbers].astype(np.int64)
        return cls(stem_of_token, stems, offsets, codes, is_term, weights_V, confirmed, len(known_K))

    def read(self, encoded: Encoded) -> FloatArray:
        """Compute the features of all codes, each by its best name, in documents [N, K, F]."""
        width = len(self.weights_V)
        names_MV = csr_matrix((self.weights_V[self.stems], self.stems, self.offsets), shape=(len(self.codes), width))
        total_M, names_VM = np.asarray(names_MV.sum(1)).ravel(), names_MV.T.tocsr()
        rows, columns = np.divmod(self.confirmed, width)
        confirmed_KV = csr_matrix((self.weights_V[columns], (rows, columns)), shape=(self.num_codes, width))
        confirmed_K = np.maximum(np.asarray(confirmed_KV.sum(1)).ravel(), 1e-9)
        features_NKF = np.zeros((len(encoded), self.num_codes, len(FEATURES)))
        for features_KF, windows_TV in zip(features_NKF, _windows(encoded, self.stem_of_token, width), strict=True):
            if not windows_TV.shape[0] or not len(self.codes):
                continue
            weight_M = (windows_TV @ names_VM).max(axis=0).toarray()[0]
            best = self._best(weight_M, total_M)
            share = weight_M[best] / total_M[best]
            columns_KF = [share, weight_M[best], total_M[best] - weight_M[best], self.is_term[best]]
            features_KF[self.codes[best], :5] = np.stack([*columns_KF, np.diff(self.offsets)[best]], axis=1)
            features_KF[:, 5] = np.log1p(
                self.num_codes - np.searchsorted(np.sort(features_KF[:, 0]), features_KF[:, 0])
            )
            features_KF[:, 6] = (confirmed_KV @ _present(windows_TV).T).toarray()[:, 0] / confirmed_K
        return features_NKF

    def _best(self, weight_M: FloatArray, total_M: FloatArray) -> IntArray:
        """Return the name of largest share of each code that has names, of equal ones that of largest weight."""
        order = np.lexsort((-weight_M, -np.round(weight_M / total_M, 6), self.codes))
        best: IntArray = order[first_rows(self.codes[order])]
        return best

    def absent(self, features_PF: FloatArray) -> FloatArray:
        """Return these features [P, F] as they were if the documents had no word of the names."""
        absent_PF = features_PF * [0, 0, 1, 1, 1, 0, 0]
        absent_PF[:, 2] += features_PF[:, 1]
        absent_PF[:, 5] = np.log1p(self.num_codes)
        return absent_PF

    def words(self, encoded: Encoded, at: int) -> IntArray:
        """Return the positions in a single document that the best name of the code at this place shares with it."""
        names = np.flatnonzero(self.codes == at)
        _, _, tokens_T = next(in_parts(encoded))
        name, within = items(np.diff(self.offsets)[names])
        stems = self.stems[self.offsets[names[name]] + within]
        best = 0.0, np.zeros(0, np.int64)
        read_T = np.flatnonzero(self.stem_of_token[tokens_T] >= 0)
        stems_T = self.stem_of_token[tokens_T[read_T]]
        for number in range(len(names)):
            of_name = stems[name == number]
            for first in np.flatnonzero(np.isin(stems_T, of_name)):
                near = slice(first, first + WINDOW)
                inside = np.isin(stems_T[near], of_name)
                share = self.weights_V[np.unique(stems_T[near][inside])].sum() / self.weights_V[of_name].sum()
                if share > best[0] + 1e-9:
                    best = share, read_T[near][inside]
        return best[1]

    def weights(self) -> Weights:
        """Return everything that was fitted, by name."""
        return {f"shares.{name}": np.atleast_1d(value) for name, value in vars(self).items()}

    @classmethod
    def restored(cls, weights: Weights) -> NameShares:
        """Load the return value of `weights`."""
        given: dict[str, Any] = {name: weights[f"shares.{name}"] for name in cls.__dataclass_fields__}
        return cls(**given | {"num_codes": given["num_codes"].item()})


def _windows(encoded: Encoded, stem_of_token: IntArray, width: int) -> Iterator[csr_matrix]:
    """Yield for each document the stems of the WINDOW words from each of its words on [T, V]."""
    for size, documents_T, tokens_T in in_parts(encoded):
        stems_T = stem_of_token[tokens_T]
        kept_T = stems_T >= 0
        bounds = np.searchsorted(documents_T[kept_T], np.arange(size + 1))
        for first, last in itertools.pairwise(bounds.tolist()):
            stems = stems_T[kept_T][first:last]
            start, within = items(np.minimum(WINDOW, len(stems) - np.arange(len(stems))))
            known = stems[start + within] > 0
            cells = start[known], stems[start + within][known]
            yield ones_in(*cells, (len(stems), width), np.float64)


def _present(windows_TV: csr_matrix) -> csr_matrix:
    """Return the stems of a document [1, V]."""
    stems = np.unique(windows_TV.indices)
    return ones_in(np.zeros_like(stems), stems, (1, windows_TV.shape[1]), np.float64)
