"""Popularity: every document gets the codes in order of their frequency in training.

A baseline of this suite that ignores the notes: a system that is no better has learnt only the frequencies of codes. The
score of a code is its smoothed log-odds over the training documents.
"""

from __future__ import annotations

import numpy as np

from icdbench.nn import selected
from icdbench.registry import register
from icdbench.spec import Settings
from icdbench.types import Encoded, FloatArray, Task, Weights


class Config(Settings):
    pass


@register("popularity", config=Config, paper="baseline of this suite", version="1")
class Popularity:
    def __init__(self, config: Config, task: Task) -> None:
        self.config = config
        self.intercepts_L: FloatArray = np.zeros(task.num_codes)

    def fit(self, encoded: Encoded) -> None:
        """Count the codes."""
        positives_L = np.bincount(encoded.codes, minlength=encoded.num_codes)
        self.intercepts_L = np.array([selected.log_odds(int(positives), len(encoded)) for positives in positives_L])

    def scores(self, encoded: Encoded) -> FloatArray:
        """Compute logits [N, L], equal for all documents."""
        return np.tile(self.intercepts_L, (len(encoded), 1))

    def contributions(self, encoded: Encoded, code: int) -> FloatArray:
        """Return zeros [T]: no word adds anything."""
        del code
        return np.zeros(int(encoded.lengths.sum()))

    def weights(self) -> Weights:
        """Return everything that was fitted, by name."""
        return {"intercepts": self.intercepts_L}

    def restore(self, weights: Weights) -> None:
        """Load the return value of `weights`."""
        self.intercepts_L = weights["intercepts"]
