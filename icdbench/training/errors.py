"""The error that ends a training run."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """Training cannot go on: a loss or score that is not finite, a model that does not fit. Says where."""
