"""Many runs: the studies of a model, tuning, and launching on one machine or many; and predictions made elsewhere."""

__all__ = ["ablate", "importance", "launch", "progress", "scored", "tune"]
