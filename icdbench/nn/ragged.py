"""Operations on sorted and ragged arrays that the features of the linear models share."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from icdbench.types import IntArray


def items(sizes: IntArray) -> tuple[IntArray, IntArray]:
    """Return for each item of consecutive groups of these sizes the index of its group and its place within the group."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return groups, np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def first_rows(*columns: IntArray) -> IntArray:
    """Return the indices of the rows of sorted columns that differ from the row before."""
    new = np.ones(len(columns[0]), np.bool_)
    new[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.flatnonzero(new)


def places(known: IntArray, wanted: IntArray) -> IntArray:
    """Return the place of each wanted number among ascending known ones, -1 for a number that is not among them."""
    if not len(known):
        return np.full(len(wanted), -1, np.int64)
    found = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[found] == wanted, found, -1)


def ones_in(rows: IntArray, columns: IntArray, shape: tuple[int, int], dtype: Any = np.float32) -> csr_matrix:
    """Return a matrix with 1 in these cells, which may be repeated."""
    found = csr_matrix((np.ones(len(rows), dtype), (rows, columns)), shape=shape)  # adds up repeated cells
    found.data[:] = 1
    return found
