"""What a checkpoint costs: seconds to write and to read one, its size, and its share of the time of training.

    python benchmarks/speed/checkpoint.py [--models caml] [--codes 50,8921] [--times 5]

Models at their papers' size over 52,000 words, with best weights and Adam's state, as training writes them. The median of
`--times` counts. Within an epoch a checkpoint is written every five minutes, and at the end of epochs only as often as
takes `train.CHECKPOINT_SHARE` of the time, so the share is at most that, or seconds / 300 if that is more. The bounds are the
suite's: 3 %, and a second for CAML with 8,921 codes. Prints Markdown.
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

from icdbench import registry, store, train
from icdbench.spec import TrainSpec
from icdbench.types import Task

WORDS = 52_000


def median(times: int, do: Callable[[], object]) -> float:
    """Seconds of one pass, the median of several."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        do()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def trained(name: str, codes: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model after one step, so that Adam has its state."""
    titles = tuple(np.array([2 + code % 1000]) for code in range(codes))
    model = registry.build(name, Task(WORDS, codes, descriptions=titles))
    assert isinstance(model, nn.Module)
    optimizer = train.optimizer_of(model, TrainSpec())
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    return model, optimizer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="caml")
    parser.add_argument("--codes", default="50,8921")
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}\n"
    )
    print("| model | codes | MB | write, s | read, s | share of training, at most |\n|:--|--:|--:|--:|--:|--:|")
    on = train.fabric("cpu")
    for name in asked.models.split(","):
        for codes in map(int, asked.codes.split(",")):
            model, optimizer = trained(name, codes)
            best = {key: value.detach().clone() for key, value in model.state_dict().items()}
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / store.CHECKPOINT
                write = median(asked.times, lambda: train._save(path, model, optimizer, train.State(), best, on))  # noqa: B023, SLF001
                read = median(asked.times, lambda: store.load_checkpoint(path))  # noqa: B023
                size = path.stat().st_size / 1e6
            share = max(train.CHECKPOINT_SHARE, write / train.CHECKPOINT_SECONDS)
            print(f"| {name} | {codes:,} | {size:.0f} | {write:.2f} | {read:.2f} | {share:.1%} |")


if __name__ == "__main__":
    main()
