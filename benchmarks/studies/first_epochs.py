"""Trains the first epoch of stored runs again and compares it with their records: does today's code compute the same?

    OMP_NUM_THREADS=1 python benchmarks/studies/first_epochs.py results --dataset codiesp-d50

Takes the first stored seed of each neural system whose settings are its defaults. On a CPU equal code computes equal bits;
another processor or number of threads rounds differently. Systems whose learning rate depends on the number of epochs
(`train.scheduler=linear`) are left out. A larger difference means that the code has changed, as by a new stream of random
numbers: such a row can be repeated on average, but not seed by seed.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

import icdbench
from icdbench.records import RunRecord

ROUNDING = 1e-6  # relative difference of losses


def compared(records: list[RunRecord], data: Path | None, scratch: str) -> Iterator[list[str]]:
    """A row for each system: its seed, the commit, the first epoch's loss and MAP then and now, and how they differ."""
    trained = [
        each
        for each in records
        if each.history and each.spec.uses_trainer and not each.changed and each.spec.train.scheduler != "linear"
    ]
    for system, runs in itertools.groupby(trained, key=lambda record: record.spec.system):
        stored = next(iter(runs))
        settings = {"train.max_epochs": 1, "train.precision": stored.spec.train.precision}
        (again,) = icdbench.run(
            system,
            stored.spec.dataset,
            seeds=[stored.spec.seed],
            settings=settings,
            data=data,
            results=scratch,
            device="cpu",
        )
        then, now = (record.history[0].figures for record in (stored, again.record))
        difference = abs(then["loss"] - now["loss"]) / then["loss"]
        verdict = "same bits" if not difference else "rounding" if difference < ROUNDING else "other numbers"
        figures = [f"{epoch['loss']:.6f}" for epoch in (then, now)] + [
            f"{100 * epoch['map']:.2f}" for epoch in (then, now)
        ]
        yield [system, str(stored.spec.seed), stored.commit, *figures, verdict]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Whether today's code computes the first epochs of stored runs.")
    parser.add_argument("results", type=Path, help="the folder of stored runs")
    parser.add_argument("--dataset", default="codiesp-d50")
    parser.add_argument("--data", type=Path, help="folder of raw data; else ICDBENCH_DATA, else ./data")
    parser.add_argument("--again", help="a folder to keep the new runs in")
    given = parser.parse_args()
    records = [each.record for each in icdbench.results(given.results) if each.record.spec.dataset == given.dataset]
    header = ["system", "seed", "commit", "loss then", "loss now", "MAP then", "MAP now", ""]
    with tempfile.TemporaryDirectory() as scratch:
        rows = list(compared(records, given.data, given.again or scratch))
    print(tabulate(rows, header, tablefmt="pipe", disable_numparse=True, colalign=["left", *["right"] * 6, "left"]))


if __name__ == "__main__":
    main()
