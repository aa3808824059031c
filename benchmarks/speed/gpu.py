"""Measure training steps on a GPU, compared with textbook implementations in 32 bits: one table, in less than ten minutes.

    python benchmarks/speed/gpu.py [--models caml,jlan] [--codes 50,8921] [--steps 5]

Batches, models, `plain` and processes are those of train.py; ours computes as `icdbench run` does, in bf16 where the GPU has
it. `difference` is the largest one between the logits of both in 32 bits, as a share of the largest logit. `busy` is the
share of a step's time in which the GPU computed, `waits` how often the processor waited for it within a step: once, for the
loss, where batches do not choose what is computed. GFLOP/s count the products of plain. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from icdbench.benchmarks.speed import train

MODELS = ["bigru", "caml", "cnn", "jlan", "laat", "multirescnn"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=train.names, default=MODELS)
    parser.add_argument("--codes", type=lambda text: [int(count) for count in text.split(",")], default=[50, 8921])
    parser.add_argument("--steps", type=int, default=5)
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("gpu.py: torch finds no CUDA GPU here; benchmarks/speed/train.py and precision.py measure CPUs")
    os.environ[train.CLOCK] = "perf_counter"
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}\n")
    print(
        "| model | codes | step, ms | plain, ms | times faster | busy | waits | GFLOP/s | GiB | plain, GiB | difference |"
    )
    print("|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    gains = []
    for codes in chosen.codes:
        for model in chosen.models:
            case = {"model": model, "codes": codes, "tokens": train.TOKENS, "steps": chosen.steps, "device": "cuda"}
            with tempfile.TemporaryDirectory() as folder:
                logits = {way: str(Path(folder) / f"{way}.npy") for way in ("ours", "plain")}
                ours, plain = (train.child("steps", way=way, logits=path, **case) for way, path in logits.items())
                one, other = map(np.load, logits.values())
            gains.append(plain["train"] / ours["train"])
            print(
                f"| {model} | {codes:,} | {1000 * ours['train']:.2f} | {1000 * plain['train']:.2f} | {gains[-1]:.2f} "
                f"| {ours['busy']:.0%} | {ours['waits']} | {plain['train_products'] / ours['train'] / 1e9:,.0f} "
                f"| {ours['train_peak']:.2f} | {plain['train_peak']:.2f} | {np.abs(one - other).max() / np.abs(other).max():.1e} |",
                flush=True,
            )
    print(f"\nGeometric mean: {statistics.geometric_mean(gains):.2f} times faster.")


if __name__ == "__main__":
    main()
