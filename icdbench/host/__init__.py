"""What this process has to do with its host: the text that leaves it, how it and its workers end, and its memory."""

__all__ = ["cores", "limit_threads", "output", "processes", "tune_process"]

from icdbench.host import output, processes
from icdbench.host.tuning import cores, limit_threads, tune_process
