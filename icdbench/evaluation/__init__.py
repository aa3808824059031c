"""Numbers only: the metrics, their bootstrap intervals, all measures of a run, and the comparison of two systems."""

__all__ = ["bootstrap", "compare", "measure", "metrics", "scoring"]
