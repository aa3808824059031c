"""Numbers only: the metrics, their bootstrap intervals, all measures of a run, and the comparison of systems."""

__all__ = ["across", "analysis", "bootstrap", "compare", "drawn", "measure", "metrics", "scoring"]
