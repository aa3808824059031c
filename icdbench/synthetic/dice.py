"""Random choices that are the same on every platform and with every version of numpy."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def random_stream(*seed: int) -> np.random.Generator:
    """A PCG64 generator; only its `random` is used, which does not change between versions of numpy."""
    return np.random.Generator(np.random.PCG64(seed))


class Dice:
    """The random choices of one document."""

    def __init__(self, *seed: int) -> None:
        self._random = random_stream(*seed).random

    def share(self) -> float:
        """A number in [0, 1)."""
        return self._random()

    def luck(self, chance: float) -> bool:
        """True with that probability."""
        return self._random() < chance

    def number(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self._random() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        return items[self.number(0, len(items) - 1)]

    def weighted(self, weights: Mapping[str, float]) -> str:
        """A key, with a probability proportional to its weight."""
        marks = list(accumulate(weights.values()))
        return list(weights)[bisect_right(marks, self._random() * marks[-1], hi=len(marks) - 1)]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        return [item for _, item in sorted(((self._random(), item) for item in items), key=itemgetter(0))]
