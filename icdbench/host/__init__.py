"""What this process has to do with its host: the text that leaves it, how it and its workers end, and its memory."""

__all__ = ["output", "processes", "tune_process"]

from icdbench.host import output, processes
from icdbench.host.tuning import tune_process
