"""The state of training, and what a display may show of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from icdbench.spec import TrainSpec
from icdbench.training.objectives import drop_count


@dataclass(frozen=True)
class Progress:
    """What a display may show after a step: counts of this epoch, the last loss, the monitored metric so far."""

    epoch: int
    step: int
    steps: int
    loss: float
    rate: float  # documents per second
    monitor: str
    value: float | None
    best: float | None
    best_epoch: int
    seconds_per_epoch: float
    dropped: int  # positive pairs that this epoch has left out so far
    figures: Mapping[str, float]  # of the epoch as in the history, once evaluated; `loss` is then the epoch's mean

    @property
    def ended(self) -> bool:
        """Whether the epoch is over and evaluated."""
        return bool(self.figures)


@dataclass
class State:
    """The state of training; JSON beside the tensors of a checkpoint."""

    epoch: int = 1
    step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    owed: float = 0.0  # fraction of a positive pair that the truncated objective carries over to the next batch
    positives: int = 0  # positive pairs seen in this epoch, and how many of them were left out
    dropped: int = 0
    split: int = 0  # batches of this epoch that memory held only in parts
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def value(self) -> float | None:
        """The monitored metric of the last epoch."""
        return self.history[-1]["monitor"] if self.history else None

    def to_drop(self, rate: float, positives: int) -> int:
        """How many of a batch's positive pairs the objective leaves out."""
        if not rate:
            return 0
        count, self.owed = drop_count(rate, positives, self.owed)
        self.positives, self.dropped = self.positives + positives, self.dropped + count
        return count

    @property
    def monitored(self) -> list[float]:
        """The monitored metric of each epoch so far."""
        return [epoch["monitor"] for epoch in self.history]

    def timed(self) -> Callable[[], None]:
        """A function that adds to `seconds` the time since its last call, at first since now."""
        last = time.monotonic()

        def add() -> None:
            nonlocal last
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now

        return add

    @property
    def ever_split(self) -> bool:
        """Whether any batch so far was computed in parts."""
        return self.split > 0 or any("split" in epoch for epoch in self.history)

    def learned(self, value: float, documents: int, parts: int) -> None:
        """Count a step."""
        self.step += 1
        self.loss_sum += value * documents
        self.loss_count += documents
        self.split += parts > 1

    def over(self, spec: TrainSpec) -> bool:
        """Whether training is finished."""
        return self.epoch > spec.max_epochs or self.epoch - self.best_epoch > spec.patience

    def next_epoch(self) -> None:
        """Go on to the next epoch, whose counts start at zero."""
        self.epoch += 1
        self.step, self.loss_sum, self.loss_count, self.positives, self.dropped, self.split = 0, 0.0, 0, 0, 0, 0
