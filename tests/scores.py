"""Scores and labels of many kinds, on which metrics are tested."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Data = tuple[NDArray[Any], NDArray[Any]]


def random_data(seed: int, N: int, L: int, gold: float = 0.2, levels: int = 0) -> Data:
    """Scores that know a little of the labels; on `levels` distinct values if given."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((N, L)) < gold).astype(np.int8)
    scores = np.clip(rng.random((N, L)) * 0.8 + 0.2 * labels, 0, 1)
    return (np.round(scores * levels) / levels if levels else scores), labels


def all_data() -> dict[str, Data]:
    some, labels = random_data(1, 40, 12)
    return {
        "random": (some, labels),
        "float32": (some.astype(np.float32), labels),
        "logits": (np.log(some / (1 - some)) + 0.5, labels),
        "columns first": (np.asfortranarray(some), labels),
        "tied": random_data(2, 40, 12, levels=4),
        "two levels": random_data(3, 40, 12, levels=1),
        "many codes": random_data(4, 9, 60, gold=0.05),
        "dense labels": random_data(5, 30, 20, gold=0.8, levels=10),
        "three codes": random_data(6, 30, 3, gold=0.5, levels=5),
        "one code": random_data(7, 30, 1, gold=0.5, levels=5),
        "one document": random_data(8, 1, 12, gold=0.5, levels=5),
        "no gold": (some, np.zeros_like(labels)),
        "all gold": (some, np.ones_like(labels)),
        "constant": (np.full_like(some, 0.7), labels),
        "nothing predicted": (some / 10, labels),
        "one cell": (np.array([[0.7]]), np.array([[1]])),
    }


DATA = all_data()
each_data = pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
