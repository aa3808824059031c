"""Measure training steps and inference of every neural model in bfloat16, compared with float32.

    OMP_NUM_THREADS=1 python benchmarks/speed/precision.py [--models caml,jlan] [--codes 50,8921] [--rounds 3]

Batches, models and settings are those of train.py: 8 documents of 2,500 tokens. Each model and number of codes has a
process of its own. In it both precisions have the same weights and take turns, so that other work slows both; the fastest
of `--rounds` counts, after one warm-up step. CPU seconds are measured, so that one thread gives the same figures beside
other work as far as caches and memory allow. `difference` is the largest one between the two precisions' logits before
any training, as a share of the largest logit. Prints Markdown.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from icdbench.benchmarks.speed import train
from icdbench.benchmarks.speed.plain import TIMED
from icdbench.data.batches import Loader
from icdbench.host.tuning import ENVIRONMENT
from icdbench.training.accelerator import fabric, multiplies_bf16

PRECISIONS = ("32-true", "bf16-mixed")


def measured(model: str, codes: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of a step and of inference in each precision, and how much the logits differ."""
    on = [fabric("cpu", precision) for precision in PRECISIONS]
    both = [train.Timed("ours", model, codes, each) for each in on]
    given = train.documents(np.full(train.DOCUMENTS, train.TOKENS), codes)
    (batch,) = Loader(given, on[0].device).batches([np.arange(train.DOCUMENTS)])
    wide, low = (timed.infer(batch) for timed in both)
    found: dict[str, Any] = {"difference": float((wide - low).abs().max() / wide.abs().max())}
    for kind in ("infer", "step"):
        works = [functools.partial(getattr(timed, kind), batch) for timed in both]
        for work in works:
            work()
        seconds = [[train.fastest(work, 1, on[0].device) for work in works] for _ in range(rounds)]
        found[kind] = [min(each) for each in zip(*seconds, strict=True)]
    return found


def child(model: str, codes: int, rounds: int) -> dict[str, Any]:
    """Measure in a process of its own."""
    print(model, codes, file=sys.stderr, flush=True)
    case = json.dumps({"model": model, "codes": codes, "rounds": rounds})
    environment = os.environ | ENVIRONMENT | {train.CLOCK: "process_time"}
    command = [sys.executable, __file__, "--case", case]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout))


def processor() -> str:
    """Return what Linux calls the processor, and which of its instructions compute in bfloat16."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    has = ", ".join(each for each in ("avx512_bf16", "amx_bf16", "bf16") if torch.cpu.get_capabilities().get(each))
    return f"{name} ({has})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=train.names, default=sorted(TIMED))
    parser.add_argument("--codes", type=lambda text: [int(count) for count in text.split(",")], default=[50, 8921])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case:
        print(json.dumps(measured(**chosen.case)))
        return
    if not multiplies_bf16(torch.device("cpu")):
        sys.exit("precision.py: this processor has no instructions for bfloat16 that torch knows of")
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    print(
        f"{processor()}, {os.cpu_count()} cores, threads: {threads}, load before: {load:.1f}; torch {torch.__version__}\n"
    )
    print("| model | codes | step, s | in bf16 | times faster | inference, s | in bf16 | times faster | difference |")
    print("|:--|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    faster: dict[str, list[float]] = {"step": [], "infer": []}
    for codes in chosen.codes:
        for model in chosen.models:
            found = child(model, codes, chosen.rounds)
            cells = [model, f"{codes:,}"]
            for kind, ratios in faster.items():
                wide, low = found[kind]
                ratios.append(wide / low)
                cells += [f"{wide:.3f}", f"{low:.3f}", f"{ratios[-1]:.2f}"]
            print(f"| {' | '.join(cells)} | {found['difference']:.1%} |", flush=True)
    means = {kind: statistics.geometric_mean(ratios) for kind, ratios in faster.items()}
    print(f"\nGeometric means: steps {means['step']:.2f} times faster, inference {means['infer']:.2f} times.")


if __name__ == "__main__":
    main()
