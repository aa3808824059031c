"""Many runs: the studies of a model, tuning, and launching on one machine or many; and predictions made elsewhere."""

from icdbench.experiments.execution import Execution

__all__ = ["Execution", "ablate", "importance", "launch", "progress", "scored", "tracking", "tune"]
