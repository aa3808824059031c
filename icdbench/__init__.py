"""icdbench: published models for automated ICD coding under one data loader, one trainer and one metrics module."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from icdbench.predict import Predictor

__version__ = "0.1.0"

# Read when torch first computes (docs/performance.md): large tensors in large pages, where Linux has them, spare a step
# thousands of page faults; and the kernels that oneDNN compiles for each width of a batch are kept, not some of them.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")


def load(path: str | PathLike[str], device: str = "cpu") -> Predictor:
    """A trained model, from a bundle or a run's folder: `icdbench.load("model.icdbench").predict(texts)`."""
    from icdbench import predict  # torch and the rest wait until they are needed

    return predict.load(path, device)
