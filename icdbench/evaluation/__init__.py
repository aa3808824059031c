"""Metrics, their bootstrap intervals, all measures of a run, analyses, and the comparison of systems: numbers, no output."""

__all__ = ["across", "analysis", "bootstrap", "compare", "drawn", "measure", "metrics", "scoring"]
