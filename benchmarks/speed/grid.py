"""Time 12 runs of small models, one after another and side by side with `--jobs`.

    python benchmarks/speed/grid.py [--jobs 2]

Word vectors and encoded data are prepared in advance; each way has an empty results folder. The suite's bound is 1.5
times faster with two jobs on two cores. Needs an otherwise idle machine. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

from icdbench.benchmarks.speed.demo import seconds

BOUND = 1.5
GRID = ("run", "--models", "cnn,caml", "--seeds", "6", "--device", "cpu", "--set", "train.max_epochs=15")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    jobs = parser.parse_args().jobs
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        warm = [word if word != "6" else "99," for word in GRID]
        seconds((*warm, "--set", "train.patience=1", "--results", "warm"), place)
        one = seconds((*GRID, "--results", "one"), place)
        several = seconds((*GRID, "--results", "several", "--jobs", str(jobs)), place)
    print("| 12 runs on the demo notes | seconds |\n|:--|--:|")
    print(f"| one after another | {one:.1f} |\n| --jobs {jobs} | {several:.1f} |")
    print(f"\n{one / several:.2f} times faster; the bound for two jobs on two cores is {BOUND}.")


if __name__ == "__main__":
    main()
