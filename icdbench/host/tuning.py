"""Settings of the whole process that make training faster on a CPU. Importing icdbench touches none of them."""

from __future__ import annotations

import ctypes
import os
import sys


def tune_process() -> None:
    """Let torch and the C library keep memory and compiled kernels from one training step for the next.

    The command line and its worker processes call this; in a notebook it is yours to call, before torch first computes. It
    affects everything in the process, which takes more memory and gives little back to the system until it ends:

    - THP_MEM_ALLOC_ENABLE=1, unless it is set: torch has large tensors in large pages, where Linux has them, which spares a
      step thousands of page faults.
    - ONEDNN_PRIMITIVE_CACHE_CAPACITY=8192, unless it is set: the kernels that oneDNN compiles for each width of a batch are
      all kept.
    - malloc keeps what a step frees, on Linux: asking the kernel for it again costs a fifth of a step.

    docs/performance.md has what each is worth.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: no mapping of its own for a large tensor, which goes when that goes
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: the end of the heap is not given back
