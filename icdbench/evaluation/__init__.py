"""Numbers only: the metrics, their bootstrap intervals, all measures of a run, and the comparison of two systems."""

__all__ = ["analysis", "bootstrap", "compare", "measure", "metrics", "scoring"]
