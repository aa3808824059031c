"""Process-wide settings that make training faster on a CPU. Importing icdbench changes none of them."""

from __future__ import annotations

import ctypes
import os
import sys

THREADS = "OMP_NUM_THREADS"  # torch and the libraries below it read it when they are loaded
ENVIRONMENT = {"THP_MEM_ALLOC_ENABLE": "1", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8192", "GOMP_SPINCOUNT": "300"}


def tune_process() -> None:
    """Let torch share its cores with other work, and keep memory and compiled kernels for the next training step.

    The command line and its worker processes call this. In a notebook, call it yourself before torch is imported. It
    affects the whole process, which takes more memory and returns little of it to the system until it ends. Environment
    variables that are set already are kept; results/speed lists what each setting gains:

    - THP_MEM_ALLOC_ENABLE=1: on Linux, torch puts large tensors into large pages, which saves thousands of page faults in
      a training step.
    - ONEDNN_PRIMITIVE_CACHE_CAPACITY=8192: oneDNN keeps the kernels that it compiles for each width of a batch.
    - GOMP_SPINCOUNT=300: a thread that waits for others soon sleeps. By default it spins for milliseconds and so holds a
      core that a displaced thread needs. Sleeping at once (OMP_WAIT_POLICY=PASSIVE) is slower on an idle machine.
    - On Linux, malloc keeps what a step frees: asking the kernel for it again costs a fifth of a step.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(
            -3, 1 << 30
        )  # M_MMAP_THRESHOLD: large tensors get no mapping of their own, which would be unmapped with them
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: the end of the heap is never returned


def cores() -> int:
    """Return how many cores this process may use: its affinity, and the CPU quota of its container (cgroup), rounded up."""
    import joblib  # which imports numpy

    return int(joblib.cpu_count())


def limit_threads(threads: int | None, processes: int = 1) -> None:
    """Set how many threads compute in this process and in those that it starts; the command line calls this.

    None means OMP_NUM_THREADS if it is set, else an equal share of `cores()` for each of `processes`. Torch alone ignores
    quotas and starts a thread for each core of the machine.
    """
    if threads is None and THREADS in os.environ:
        return
    number = threads or max(1, cores() // processes)
    os.environ[THREADS] = str(number)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)
