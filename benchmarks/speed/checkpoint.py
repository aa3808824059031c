"""Measure what a checkpoint costs: the seconds to write and read it, its size, and its share of training time.

    python benchmarks/speed/checkpoint.py [--models caml] [--codes 50,8921] [--times 5]

Models have their papers' size and 52,000 words; checkpoints hold the best weights and Adam's state, as in training.
Times are medians of `--times`. During an epoch a checkpoint is written every five minutes; at the end of epochs only so
often that it takes at most `checkpointing.CHECKPOINT_SHARE` of the time. The share is therefore at most that, or
seconds / 300 if that is more. The suite's bounds are 3 %, and one second for CAML with 8,921 codes. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from icdbench import registry
from icdbench.records import store
from icdbench.spec import TrainSpec
from icdbench.training import checkpointing
from icdbench.training.accelerator import fabric
from icdbench.training.checkpointing import CHECKPOINT_SECONDS, CHECKPOINT_SHARE
from icdbench.training.objectives import optimizer_of
from icdbench.training.state import State
from icdbench.types import Task

WORDS = 52_000


def median(times: int, do: Callable[[], object]) -> float:
    """Return the median seconds of several calls."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        do()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def one_step_trained(name: str, codes: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Build a model and take one step, so that Adam has its state."""
    titles = tuple(np.array([2 + code % 1000]) for code in range(codes))
    model = registry.build(name, Task(WORDS, codes, descriptions=titles))
    assert isinstance(model, nn.Module)
    optimizer = optimizer_of(model, TrainSpec())
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    return model, optimizer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="caml")
    parser.add_argument("--codes", default="50,8921")
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}\n"
    )
    print("| model | codes | MB | write, s | read, s | share of training, at most |\n|:--|--:|--:|--:|--:|--:|")
    on = fabric("cpu")
    for name in arguments.models.split(","):
        for codes in map(int, arguments.codes.split(",")):
            model, optimizer = one_step_trained(name, codes)
            best = {key: value.detach().clone() for key, value in model.state_dict().items()}
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / store.CHECKPOINT
                kept = checkpointing.Checkpoints(path, model, optimizer, on)
                write = median(arguments.times, lambda: kept.stop_or_save(State(), best, 0.0, stop=False, at_once=True))  # noqa: B023
                read = median(arguments.times, lambda: store.load_checkpoint(path))  # noqa: B023
                size = path.stat().st_size / 1e6
            share = max(CHECKPOINT_SHARE, write / CHECKPOINT_SECONDS)
            print(f"| {name} | {codes:,} | {size:.0f} | {write:.2f} | {read:.2f} | {share:.1%} |")


if __name__ == "__main__":
    main()
