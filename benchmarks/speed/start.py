"""Seconds from typing `icdbench run` to the first step of training, on data that are in the cache.

    python benchmarks/speed/start.py [--models caml,jlan] [--dataset demo] [--data DIR] [--repeats 5]

The first start fills the cache (encoded documents, word vectors) and does not count. The bound is the suite's. Prints Markdown.
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
# The command as it is, but for its first step, which says that it is there and ends the process.
CODE = """
import os, sys
from icdbench import cli, train
def begun(*_):
    os.write(1, b"begun")
    os._exit(0)
train.objective_of = begun
sys.argv[0] = "icdbench"
cli.main()
"""


def seconds(*words: str) -> float:
    """Of one start. Raises SystemExit with what the command said if it trains nothing."""
    with tempfile.TemporaryDirectory() as results:
        begun = time.monotonic()
        ended = subprocess.run(  # noqa: S603
            [sys.executable, "-c", CODE, "run", *words, "--results", results], capture_output=True, check=False
        )
        took = time.monotonic() - begun
    if ended.stdout != b"begun":
        raise SystemExit(f"{ended.stderr.decode()}{shlex.join(words)}: no step of training was begun")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="caml,jlan")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--data")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(
        f"| first step on {asked.dataset} after | first start, s | median of {asked.repeats} more, s |\n|:--|--:|--:|"
    )
    for model in asked.models.split(","):
        words = ("--models", model, "--dataset", asked.dataset, *(("--data", asked.data) if asked.data else ()))
        first = seconds(*words)
        median = statistics.median(seconds(*words) for _ in range(asked.repeats))
        print(f"| {model} | {first:.1f} | {median:.1f} |")
    print(f"\nThe bound is {BOUND:g} s.")


if __name__ == "__main__":
    main()
