"""Settings of the whole process that make training faster on a CPU. Importing icdbench touches none of them."""

from __future__ import annotations

import ctypes
import os
import sys

THREADS = "OMP_NUM_THREADS"  # torch and the libraries below it read it when they are loaded
ENVIRONMENT = {
    "THP_MEM_ALLOC_ENABLE": "1",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8192",
    "GOMP_SPINCOUNT": "300",
}


def tune_process() -> None:
    """Let torch share its cores with other work, and keep memory and compiled kernels for the next training step.

    The command line and its worker processes call this; in a notebook it is yours to call, before torch is imported. It
    affects everything in the process, which takes more memory and gives little back to the system until it ends:

    - THP_MEM_ALLOC_ENABLE=1, unless it is set: torch has large tensors in large pages, where Linux has them, which spares a
      step thousands of page faults.
    - ONEDNN_PRIMITIVE_CACHE_CAPACITY=8192, unless it is set: the kernels that oneDNN compiles for each width of a batch are
      all kept.
    - GOMP_SPINCOUNT=300, unless it is set: a thread that waits for the others of an operation soon sleeps. By default it
      spins for milliseconds, and where another process has displaced one of them it holds the core that this one could
      have. Sleeping at once (OMP_WAIT_POLICY=PASSIVE) would make an idle machine slower.
    - malloc keeps what a step frees, on Linux: asking the kernel for it again costs a fifth of a step.

    results/speed has what each is worth.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: no mapping of its own for a large tensor, which goes when that goes
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: the end of the heap is not given back


def cores() -> int:
    """Return how many cores this process may use: its affinity, and the CPU quota of its container (cgroup), rounded up."""
    import joblib  # which imports numpy

    return int(joblib.cpu_count())


def limit_threads(threads: int | None, processes: int = 1) -> None:
    """Set how many threads compute in this process and in those that it starts; the command line calls this.

    None: what OMP_NUM_THREADS says if it is set, else an equal share of `cores()` for each of so many processes. torch by
    itself does not know of quotas, and has a thread for each core of the machine.
    """
    if threads is None and THREADS in os.environ:
        return
    number = threads or max(1, cores() // processes)
    os.environ[THREADS] = str(number)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)
