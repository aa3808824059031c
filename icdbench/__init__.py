"""icdbench: published models for automated ICD coding under one data loader, one trainer and one metrics module."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from icdbench.predict import Predictor

__version__ = "0.1.0"

# Read by torch when it first takes memory: large tensors in large pages, where Linux has them, spare a step thousands of
# page faults (docs/performance.md).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def load(path: str | PathLike[str], device: str = "cpu") -> Predictor:
    """A trained model, from a bundle or a run's folder: `icdbench.load("model.icdbench").predict(texts)`."""
    from icdbench import predict  # torch and the rest wait until they are needed

    return predict.load(path, device)
