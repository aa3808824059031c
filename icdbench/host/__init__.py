"""This process on its machine: text that is safe to print, how it and its workers end, threads and memory."""

__all__ = ["cores", "limit_threads", "output", "processes", "tune_process"]

from icdbench.host import output, processes
from icdbench.host.tuning import cores, limit_threads, tune_process
