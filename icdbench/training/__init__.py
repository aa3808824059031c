"""The parts of training that `icdbench.train.fit` puts together: state, checkpoints, devices, memory, objectives, scores."""

from icdbench.settings import TrainingError
from icdbench.training.state import Progress, State

__all__ = ["Progress", "State", "TrainingError", "accelerator", "checkpointing", "memory", "objectives", "score"]
