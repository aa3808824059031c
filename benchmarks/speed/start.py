"""Measure the seconds from `icdbench run` to the first training step, with cached data.

    python benchmarks/speed/start.py [--models caml,jlan] [--dataset demo] [--data DIR] [--repeats 5]

The first start fills the cache (encoded documents, word vectors) and is not included. The bound is the suite's. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

BOUND = 5.0
# The unchanged command, except that its first training step prints a word and ends the process.
CODE = """
import os, sys
from icdbench import train
from icdbench.cli import main
def started(*_):
    os.write(1, b"started")
    os._exit(0)
train.memory.backward = started
sys.argv[0] = "icdbench"
main.main()
"""


def seconds(*words: str) -> float:
    """Measure one start. Raises SystemExit with the command's output if it does not reach training."""
    with tempfile.TemporaryDirectory() as results:
        begun = time.monotonic()
        ended = subprocess.run(  # noqa: S603
            [sys.executable, "-c", CODE, "run", *words, "--results", results], capture_output=True, check=False
        )
        took = time.monotonic() - begun
    if ended.stdout != b"started":
        raise SystemExit(f"{ended.stderr.decode()}{shlex.join(words)}: training did not start")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="caml,jlan")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--data")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(
        f"| first step on {given.dataset} after | first start, s | median of {given.repeats} more, s |\n|:--|--:|--:|"
    )
    for model in given.models.split(","):
        words = ("--models", model, "--dataset", given.dataset, *(("--data", given.data) if given.data else ()))
        first = seconds(*words)
        median = statistics.median(seconds(*words) for _ in range(given.repeats))
        print(f"| {model} | {first:.1f} | {median:.1f} |")
    print(f"\nThe bound is {BOUND:g} s.")


if __name__ == "__main__":
    main()
