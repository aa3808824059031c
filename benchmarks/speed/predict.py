"""Measure how long prediction takes: from starting the process to the first codes, and for each further note.

    python benchmarks/speed/predict.py [--words 52000] [--threads 2]

Models have 50 codes, their papers' size, untrained weights (which are as fast as trained ones) and a vocabulary as
large as MIMIC-III's; notes have 1,500 words. The first prediction is the median of five processes running `icdbench
predict` on one note; their CPU time is given too, because wall time includes other work on the machine. The suite's
bounds are 3 seconds for the first note of CAML, then 100 ms per note, and 1.5 s per note for JLAN. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from icdbench import registry
from icdbench.inference import bundle
from icdbench.inference.predict import Predictor
from icdbench.types import Task

BOUNDS = {"caml": (3.0, 100.0), "jlan": (None, 1500.0)}
CODES, LENGTH, TIMES = 50, 1_500, 20


def untrained(name: str, words: int) -> bundle.Bundle:
    """Bundle a model with its initial weights."""
    entry = registry.entry(name)
    model = registry.build(name, Task(words, CODES, descriptions=tuple(np.array([2 + code]) for code in range(CODES))))
    assert isinstance(model, nn.Module)
    contents = bundle.Contents(
        run=f"speed/{name}/1-00000000",
        dataset="speed",
        fingerprint="",
        synthetic=True,
        icdbench="",
        created="",
        model=name,
        variant="",
        version=entry.version,
        config=entry.config().model_dump(mode="json"),
        words="not-numeric",
        max_tokens=2500,
        threshold={"fixed": 0.5, "tuned": 0.5},
        tokens=tuple(f"w{number}" for number in range(words)),
        codes=tuple(map(str, range(CODES))),
        titles=("title",) * CODES,
        descriptions=tuple((2 + code,) for code in range(CODES)),
        hierarchy=None,
    )
    return bundle.Bundle(contents, {key: value.numpy() for key, value in model.state_dict().items()})


def first_note(file: Path, note: Path) -> tuple[float, float]:
    """Return wall and CPU seconds of a process that predicts one note."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "icdbench", "predict", str(note), "--bundle", str(file), "--device", "cpu"]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def further_notes(file: Path, texts: list[str]) -> list[float]:
    """Return the seconds of each note after the first, predicted one at a time."""
    model = Predictor(bundle.read(file))
    taken = []
    for text in texts:
        begun = time.monotonic()
        model.predict([text])
        taken.append(time.monotonic() - begun)
    return taken[1:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--words", type=int, default=52_000)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    drawn = np.random.default_rng(0).integers(2, given.words, (TIMES + 1, LENGTH))
    texts = [" ".join(f"w{word}" for word in row) for row in drawn]
    print(f"{platform.platform()}, {given.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| model | first note, s | processor, s | bound | a note, ms | bound |\n|:--|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "note.txt"
        note.write_text(texts[0], encoding="utf-8")
        for name, (start_bound, bound) in BOUNDS.items():
            file = Path(folder) / f"{name}.icdbench"
            bundle.write(untrained(name, given.words), file)
            starts = [first_note(file, note) for _ in range(5)]
            wall, processor = (statistics.median(values) for values in zip(*starts, strict=True))
            median = 1000 * statistics.median(further_notes(file, texts))
            shown = "" if start_bound is None else f"{start_bound:.0f}"
            print(f"| {name} | {wall:.2f} | {processor:.2f} | {shown} | {median:.0f} | {bound:.0f} |", flush=True)


if __name__ == "__main__":
    main()
