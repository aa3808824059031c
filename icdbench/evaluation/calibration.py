"""Calibration of probabilities (`figures`): reliability, expected calibration error, Brier score, prevalence.

Shapes: probabilities_NL [N documents, L codes], gold_NL of the same shape. Almost all cells of a note are true negatives with
a probability near 0, so an error over all of them would be near 0 for any model; bins are made of the cells above FLOOR.

Equal-mass bins: Nguyen and O'Connor, EMNLP 2015, https://doi.org/10.18653/v1/D15-1182.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icdbench.types import FloatArray, IntArray

FLOOR, BINS = 0.01, 10


class Reliability(NamedTuple):
    """Bins of equal mass: mean probability, share of gold cells, number of cells; each [bins], probabilities ascending."""

    mean: FloatArray
    share: FloatArray
    cells: IntArray


def reliability(
    probabilities_NL: FloatArray, gold_NL: NDArray[np.bool_], floor: float = FLOOR, bins: int = BINS
) -> Reliability:
    """Divide the cells above `floor` by probability into bins of equal size (±1 cell); fewer bins if there are few cells."""
    inside = probabilities_NL > floor
    values, gold = probabilities_NL[inside], gold_NL[inside]
    order = np.argsort(values, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return Reliability(
        np.array([values[part].mean() for part in parts]),
        np.array([gold[part].mean() for part in parts]),
        np.array([len(part) for part in parts], np.int64),
    )


def figures(probabilities_NL: FloatArray, gold_NL: NDArray[np.bool_]) -> dict[str, float]:
    """Compute the figures of calibration.

    - `ece`: the mean distance of mean probability and share of gold cells in the bins, weighted by cells; absent without any;
    - `brier`: the mean squared distance of probability and label over all cells;
    - `quantification`: the mean over codes of |mean probability − share of documents with the code|, an error in prevalence;
    - `cells`: the share of cells from which the ECE is computed.
    """
    found = reliability(probabilities_NL, gold_NL)
    total = found.cells.sum()
    return ({"ece": float((found.cells * abs(found.mean - found.share)).sum() / total)} if total else {}) | {
        "brier": float(np.square(probabilities_NL - gold_NL).mean()),
        "quantification": float(abs(probabilities_NL.mean(axis=0) - gold_NL.mean(axis=0)).mean()),
        "cells": float(total / probabilities_NL.size),
    }
