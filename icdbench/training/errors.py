"""TrainingError, in a file of its own so that no two files import each other."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """Training cannot go on, for example because a loss is not finite or a model does not fit into memory."""
