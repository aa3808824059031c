"""Models that draw codes, keep what they read of titles, or lay a loss by for the trainer are resumed to the same bits."""

from __future__ import annotations

import itertools
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from systems import learnable, neural
from torch import nn

from icdbench import train
from icdbench.data.batches import Loader
from icdbench.records import store
from icdbench.spec import TrainSpec
from icdbench.training import checkpointing
from icdbench.training.accelerator import fabric, seed_everything
from icdbench.training.score import predictions
from icdbench.training.state import Progress

pytestmark = pytest.mark.slow

TRAIN, VALIDATION = learnable(30), learnable(12, seed=1)
SETTINGS: dict[str, dict[str, int]] = {
    "corelation": {"synonyms": 2, "frequent_codes": 2, "sampled_codes": 2},
    "duallaat": {"label_space": 4},
    "duallaat@cnn": {"label_space": 4},
    "laat@joint": {},
    "msmn": {"synonyms": 2},
}


def built(name: str) -> nn.Module:
    return neural(name, **SETTINGS[name], dropout=0.2)


def fit(model: nn.Module, path: Path, report: Callable[[Progress], None] = lambda _: None) -> None:
    changes = {"learning_rate": 0.01, "max_epochs": 3, "monitor": "map", "r_drop": 1.0}
    spec = TrainSpec().override(changes, "train")
    seed_everything(1)
    checkpoint = path / store.CHECKPOINT
    train.fit(model, TRAIN, VALIDATION, spec, seed=3, on=fabric("cpu"), checkpoint=checkpoint, report=report)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_stopped_and_resumed_equals_the_straight_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SHARE", math.inf)
    straight = built(name)
    fit(straight, tmp_path / "straight")
    count = itertools.count(1)

    def interrupt(step: Progress) -> None:
        if not step.ended and next(count) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(built(name), tmp_path / "stopped", interrupt)
    resumed = built(name)
    fit(resumed, tmp_path / "stopped")
    theirs = resumed.state_dict()
    assert [key for key, value in straight.state_dict().items() if not torch.equal(value, theirs[key])] == []
    one, other = (predictions(each, Loader(VALIDATION), fabric("cpu")).scores_NL for each in (straight, resumed))
    np.testing.assert_array_equal(one, other)
