"""How long, and for how much, the systems of the paper's Tables 5 and 6 train with five seeds on 1, 4 and 16 GPUs.

    python benchmarks/speed/estimate.py --price 2.50 [--documents 256] [--epochs 40] [--models caml,jlan] [--faster 1]

Measures the documents per second of each neural system on this machine's device: batches as the model declares them, of
documents as long as MIMIC's. From that follow the hours of a run of `--epochs` epochs over the published training splits;
runs are then given to GPUs whole, the longest first, each to the GPU that is free first. `--price` is that of a GPU for an hour, in
your currency. With `--faster N` all rates are taken N times: for a device that is not at hand. Validation, preparation and linear models come on top, and a run that stops earlier or later than `--epochs` takes
that much less or more. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import time

import torch

from icdbench import catalog, registry, train
from icdbench.batches import batches, training_order
from icdbench.benchmarks.speed.train import TOKENS, Timed, documents, realistic_lengths
from icdbench.spec import TrainSpec

TABLES = {"table5": (50, 8_066), "table6": (8_921, 47_723)}  # codes and training documents of MIMIC-III-50 and -full
GPUS = (1, 4, 16)


def rate(name: str, codes: int, count: int, device: str) -> float:
    """Documents per second of training, but for the first step."""
    on = train.fabric(device)
    timed = Timed("ours", name, codes, on)
    lengths = realistic_lengths(count)
    given = documents(lengths, codes)
    size = TrainSpec().override(registry.entry(name).train, "train").batch_size
    order = training_order(lengths, size, seed=1, epoch=1)
    if len(order) < 2:
        raise SystemExit(f"--documents {count}: give more than a batch of {name}, {size}")
    done, begun = 0, 0.0
    for step, batch in enumerate(batches(given, order, codes, TOKENS, on.device)):
        timed.step(batch)
        if on.device.type == "cuda":
            torch.cuda.synchronize()
        if step == 0:
            begun = time.perf_counter()
        else:
            done += len(batch.index_B)
    return done / (time.perf_counter() - begun)


def span(hours: list[float], gpus: int) -> float:
    """Hours until the last of the runs has ended."""
    busy = [0.0] * gpus
    for each in sorted(hours, reverse=True):
        busy[busy.index(min(busy))] += each
    return max(busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="")
    parser.add_argument("--documents", type=int, default=256, help="measured on")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--price", type=float, required=True)
    parser.add_argument("--faster", type=float, default=1.0, help="times as fast as the device measured")
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    device = train.fabric(asked.device).device
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    taken = f", rates taken {asked.faster:g} times" if asked.faster != 1 else ""
    print(
        f"{name}; {platform.platform()}, torch {torch.__version__}; {asked.epochs} epochs, {asked.seeds} seeds{taken}\n"
    )
    print("| system | table | documents/s | hours a run |\n|:--|:--|--:|--:|")
    hours: dict[str, list[float]] = {}
    for table, (codes, count) in TABLES.items():
        (part,) = catalog.chosen(table)
        for system in catalog.systems_of(part):
            if system == "lr" or (asked.models and system not in asked.models.split(",")):
                continue
            speed = asked.faster * rate(system, codes, asked.documents, asked.device)
            each = asked.epochs * count / speed / 3600
            hours.setdefault(table, []).extend([each] * asked.seeds)
            print(f"| {system} | {table} | {speed:.1f} | {each:.2f} |", flush=True)
    print("\n| runs | devices | hours | device-hours | price |\n|:--|--:|--:|--:|--:|")
    whole = {**hours, "both": list(itertools.chain.from_iterable(hours.values()))}
    for table, runs in whole.items():
        for gpus in GPUS:
            total = sum(runs)
            print(
                f"| {table}, {len(runs)} | {gpus} | {span(runs, gpus):.1f} | {total:.1f} | {total * asked.price:.0f} |"
            )


if __name__ == "__main__":
    main()
