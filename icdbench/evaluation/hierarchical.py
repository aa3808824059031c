"""Hierarchical scores: CoPHE, F1 of truncated codes, and errors within and outside a family of codes.

Shapes: N documents, L codes, F nodes of a layer. `predicted` and `gold` are binary sparse matrices [N, L]. All figures cover
the label set, because runs do not store the places of other gold codes in the hierarchy.

CoPHE (count-preserving hierarchical evaluation): Falis, Dong, Birch, Alex, EMNLP 2021, https://doi.org/10.18653/v1/2021.emnlp-main.69.
Errors within a family: after the weak hierarchical confusion of Falis et al., 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from icdbench.codes import Tree
from icdbench.evaluation import metrics

Path = tuple[str, ...]  # from the chapter down to the code


class Counts(NamedTuple):
    """True positives, false positives and false negatives."""

    tp: int
    fp: int
    fn: int

    @property
    def f1(self) -> float:
        """Micro F1, 0 where nothing is predicted and nothing is gold."""
        return float(metrics.f1(self.tp, self.tp + self.fp, self.tp + self.fn))


def paths(tree: Tree, codes: Sequence[str]) -> list[Path]:
    """Return for each code the nodes from the chapter, below the root, down to the code itself."""
    found = []
    for code in codes:
        path = [code]
        while (parent := tree.parents.get(path[-1])) is not None:
            path.append(parent)
        found.append(tuple(reversed(path[:-1] if len(path) > 1 else path)))
    return found


def cophe(predicted: csr_matrix, gold: csr_matrix, paths: Sequence[Path]) -> dict[int, Counts]:
    """Count hits and errors in each layer of the tree, layer 1 being that of the chapters.

    A layer has the nodes of one depth, without codes of smaller depth. A document with x predicted and y gold codes at or
    below a node has min(x, y) hits there, max(x − y, 0) false positives and max(y − x, 0) false negatives. Counts are
    preserved, so one right code of a chapter does not excuse two wrong ones.
    """
    found = {}
    for depth in range(1, max(map(len, paths)) + 1):
        nodes = [path[depth - 1] if len(path) >= depth else None for path in paths]
        found[depth] = _counts(*(each @ _membership(nodes) for each in (predicted, gold)))
    return found


def cut(predicted: csr_matrix, gold: csr_matrix, paths: Sequence[Path], levels: int) -> Counts:
    """Count hits and errors of sets of codes that are truncated by `levels`, but never above the chapter.

    Codes that become equal count once in a document.
    """
    member = _membership([path[max(0, len(path) - 1 - levels)] for path in paths])
    return _counts(*((each @ member).minimum(_ones(each @ member)) for each in (predicted, gold)))


def category(code: str) -> str:
    """Return the family of a code: the part before its dot, else its first three characters."""
    return (code.partition(".")[0] if "." in code else code[:3]).upper()


def family_errors(predicted: csr_matrix, gold: csr_matrix, codes: Sequence[str]) -> dict[str, float]:
    """Compute the shares of errors within a family of codes; undefined shares are left out.

    `fp_within` is the share of false positives whose document has a gold code of the same family, `fn_within` the share of
    missed gold codes whose document has a predicted code of the same family. `confused` is the share of missed gold codes
    that can be paired, each once, with a false positive of the same family and document.
    """
    member = _membership([category(code) for code in codes])
    wrong, missed = (csr_matrix(one - one.multiply(other)) for one, other in ((predicted, gold), (gold, predicted)))
    near_wrong, near_missed = ((_ones(each @ member) @ member.T) for each in (gold, predicted))
    paired = (wrong @ member).minimum(missed @ member).sum()
    parts = {
        "fp_within": (wrong.multiply(_ones(near_wrong)).sum(), wrong.sum()),
        "fn_within": (missed.multiply(_ones(near_missed)).sum(), missed.sum()),
        "confused": (paired, missed.sum()),
    }
    return {key: float(part / whole) for key, (part, whole) in parts.items() if whole}


def _membership(nodes: Sequence[str | None]) -> csr_matrix:
    """Return a matrix [L, F] with 1 where a code is at or below one of the distinct nodes; None: below none."""
    number = {node: position for position, node in enumerate(dict.fromkeys(node for node in nodes if node is not None))}
    pairs = [(code, number[node]) for code, node in enumerate(nodes) if node is not None]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    return csr_matrix((np.ones(len(pairs), np.int64), (rows, columns)), shape=(len(nodes), max(1, len(number))))


def _ones(counts: csr_matrix) -> csr_matrix:
    """Return 1 for every count above 0."""
    return csr_matrix((counts > 0).astype(np.int64))


def _counts(predicted: csr_matrix, gold: csr_matrix) -> Counts:
    tp = int(predicted.minimum(gold).sum())
    return Counts(tp, int(predicted.sum()) - tp, int(gold.sum()) - tp)
