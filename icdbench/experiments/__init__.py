"""Many runs: the studies of a model, tuning, and launching on one machine or many."""

__all__ = ["ablate", "importance", "launch", "progress", "tune"]
