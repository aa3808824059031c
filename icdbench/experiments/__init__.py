"""Many runs: studies of a model, tuning, running on one machine or many, and scoring predictions made elsewhere."""

from icdbench.experiments.execution import Execution

__all__ = ["Execution", "ablate", "importance", "launch", "progress", "scored", "tracking", "tune"]
