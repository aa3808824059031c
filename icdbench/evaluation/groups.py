"""Figures of groups: codes by their frequency in training, documents by length or by number of codes.

Shapes: N documents, L codes, G groups. Empty groups are left out. Gold codes outside the label set never occur in training,
so they count as missed in the group of codes without training documents.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icdbench.evaluation import metrics
from icdbench.evaluation.metrics import Scored
from icdbench.settings import SpecError
from icdbench.types import FloatArray, IntArray

# The end of each group, as a share of all assignments in training, beginning with the most frequent code.
SHARES = {"head": 0.05, "medium": 0.20, "tail": 1.0}
UNSEEN = "unseen"
PARTS = 4  # groups of documents, of about equal size

Figures = dict[str, dict[str, float]]  # figures by key, of each group by its name


class Groups(NamedTuple):
    """The names of G groups in order, and for each code or document the index of its group."""

    names: Sequence[str]
    number: IntArray


def by_share(train_counts_L: IntArray) -> Groups:
    """Divide codes into head, medium and tail by their share of the training assignments (5, 15 and 80 %), and unseen.

    A code belongs to the first group whose end exceeds the joint share of more frequent codes, so that codes of equal
    frequency stay together.
    """
    order = np.sort(train_counts_L)[::-1]
    before = np.concatenate([[0], np.cumsum(order)])
    share_L = before[np.searchsorted(-order, -train_counts_L)] / max(1, before[-1])
    number_L = np.searchsorted(list(SHARES.values())[:-1], share_L, side="right")
    return Groups([*SHARES, UNSEEN], np.where(train_counts_L == 0, len(SHARES), number_L))


def by_edges(train_counts_L: IntArray, edges: Sequence[int]) -> Groups:
    """Divide codes by their number of training documents: 0, then up to each edge, then above the last.

    Raises SpecError unless the edges are whole numbers from 1 up that ascend.
    """
    if not edges or edges[0] < 1 or any(one >= other for one, other in itertools.pairwise(edges)):
        raise SpecError(f"edges {','.join(map(str, edges))}: give ascending numbers from 1 up, such as 10,100")
    starts = [1, *(edge + 1 for edge in edges)]
    names = [str(one) if one == last else f"{one}-{last}" for one, last in zip(starts, edges, strict=False)]
    return Groups(["0", *names, f">{edges[-1]}"], np.searchsorted([0, *edges], train_counts_L))


def equal_parts(values_N: IntArray, parts: int = PARTS) -> Groups:
    """Divide documents into parts of about equal size by a whole number of each document; parts are named by their range.

    Equal numbers stay together, so there are fewer parts if many documents share one.
    """
    ends = np.unique(np.quantile(values_N, np.arange(1, parts + 1) / parts, method="inverted_cdf"))
    number_N = np.searchsorted(ends, values_N)
    found = [values_N[number_N == part] for part in range(len(ends))]
    names = [str(each.min()) if each.min() == each.max() else f"{each.min()}-{each.max()}" for each in found]
    return Groups(names, number_N)


def of_codes(given: Scored, predicted_NL: NDArray[np.bool_], groups: Groups) -> Figures:
    """Compute F1 and recall of each group of codes, the number of codes, and their gold assignments in this split.

    `f1_macro` is the mean over the group's codes. A group without codes that holds gold codes outside the label set has
    micro figures only, all 0.
    """
    counts = metrics.code_counts(given, predicted_NL)
    rarest = 0 if groups.names[0] == "0" else len(groups.names) - 1
    found: Figures = {}
    for number, name in enumerate(groups.names):
        inside_L = groups.number == number
        missed = int(given.unseen_N.sum()) if number == rarest else 0
        if not inside_L.any() and not missed:
            continue
        tp, predicted, gold = (each[inside_L] for each in counts)
        sizes = {"codes": float(inside_L.sum()), "assignments": float(gold.sum() + missed)}
        if inside_L.any():
            figures = metrics.macro_and_micro(tp, predicted, gold, missed)
            found[name] = {key: float(figures[key]) for key in ("f1_micro", "f1_macro", "recall_micro")} | sizes
        else:
            found[name] = {"f1_micro": 0.0, "recall_micro": 0.0} | sizes
    return found


def of_documents(given: Scored, predicted_NL: NDArray[np.bool_], groups: Groups) -> Figures:
    """Compute micro F1, P@5, R@5 and MAP of each group of documents, and their number."""
    tp_N, predicted_N, gold_N = metrics.document_counts(given, predicted_NL)
    gold_N, ranked = gold_N + given.unseen_N, metrics.ranking_by_document(given)
    found: Figures = {}
    for number, name in enumerate(groups.names):
        inside_N = groups.number == number
        f1 = metrics.f1(tp_N[inside_N].sum(), predicted_N[inside_N].sum(), gold_N[inside_N].sum())
        found[name] = {"f1_micro": float(f1), "documents": float(inside_N.sum())}
        found[name] |= {key: _mean(ranked[key][inside_N]) for key in ("p@5", "r@5", "map")}
    return {name: {key: each for key, each in figures.items() if not np.isnan(each)} for name, figures in found.items()}


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
