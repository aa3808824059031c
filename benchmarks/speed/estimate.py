"""Estimate time and cost of training the systems of Tables 5 and 6 with five seeds on 1, 4 and 16 GPUs.

    python benchmarks/speed/estimate.py --price 2.50 [--documents 256] [--epochs 40] [--models caml,jlan] [--faster 1]

Measures the documents per second of each neural system on this machine's device, with the model's batch size and
documents as long as MIMIC's. This gives the hours of a run of `--epochs` epochs over the published training splits.
Each run is assigned to one GPU, longest runs first, each to the GPU that becomes free first. `--price` is the price of
a GPU per hour, in your currency. `--faster N` multiplies all rates by N, for a device that is not at hand. Validation,
preparation and linear models are not included, and a run that stops earlier or later takes correspondingly less or
more. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import time

import torch

from icdbench import registry
from icdbench.benchmarks.speed.train import Timed, documents, realistic_lengths
from icdbench.data.batches import Loader, training_order
from icdbench.presentation import catalog
from icdbench.spec import TrainSpec
from icdbench.training.accelerator import fabric

TABLES = {"table5": (50, 8_066), "table6": (8_921, 47_723)}  # codes and training documents of MIMIC-III-50 and -full
GPUS = (1, 4, 16)


def rate(name: str, codes: int, count: int, device: str) -> float:
    """Return the documents per second of training, without the first step."""
    on = fabric(device)
    timed = Timed("ours", name, codes, on)
    lengths = realistic_lengths(count)
    given = documents(lengths, codes)
    size = TrainSpec().override(registry.entry(name).train, "train").batch_size
    order = training_order(lengths, size, seed=1, epoch=1)
    if len(order) < 2:
        raise SystemExit(f"--documents {count}: give more than {size}, the batch size of {name}")
    done, begun = 0, 0.0
    for step, batch in enumerate(Loader(given, on.device).batches(order)):
        timed.step(batch)
        if on.device.type == "cuda":
            torch.cuda.synchronize()
        if step == 0:
            begun = time.perf_counter()
        else:
            done += len(batch.index_B)
    return done / (time.perf_counter() - begun)


def span(hours: list[float], gpus: int) -> float:
    """Return the hours until the last run ends."""
    busy = [0.0] * gpus
    for each in sorted(hours, reverse=True):
        busy[busy.index(min(busy))] += each
    return max(busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="")
    parser.add_argument("--documents", type=int, default=256, help="documents to measure with")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--price", type=float, required=True)
    parser.add_argument("--faster", type=float, default=1.0, help="multiply the measured rates by this")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = fabric(arguments.device).device
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    taken = f", rates taken {arguments.faster:g} times" if arguments.faster != 1 else ""
    print(
        f"{name}; {platform.platform()}, torch {torch.__version__}; {arguments.epochs} epochs, {arguments.seeds} seeds{taken}\n"
    )
    print("| system | table | documents/s | hours a run |\n|:--|:--|--:|--:|")
    hours: dict[str, list[float]] = {}
    for table, (codes, count) in TABLES.items():
        (part,) = catalog.chosen(table)
        for system in part.systems:
            if system == "lr" or (arguments.models and system not in arguments.models.split(",")):
                continue
            speed = arguments.faster * rate(system, codes, arguments.documents, arguments.device)
            each = arguments.epochs * count / speed / 3600
            hours.setdefault(table, []).extend([each] * arguments.seeds)
            print(f"| {system} | {table} | {speed:.1f} | {each:.2f} |", flush=True)
    print("\n| runs | devices | hours | device-hours | price |\n|:--|--:|--:|--:|--:|")
    whole = {**hours, "both": list(itertools.chain.from_iterable(hours.values()))}
    for table, runs in whole.items():
        for gpus in GPUS:
            total = sum(runs)
            print(
                f"| {table}, {len(runs)} | {gpus} | {span(runs, gpus):.1f} | {total:.1f} | {total * arguments.price:.0f} |"
            )


if __name__ == "__main__":
    main()
