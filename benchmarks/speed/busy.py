"""Measure a training step of every neural model beside other work, compared with textbook implementations.

    python benchmarks/speed/busy.py [--models caml,jlan] [--codes 50,8921] [--rounds 3] [--threads 2]

Batches, models and `plain` are those of train.py. Each case has a process of its own for `ours`, with what `icdbench run`
sets for its process, and for `plain`, with torch's own settings. They take turns: in each round each computes for SECONDS
(a step at least) on an idle machine, beside one and beside two processes that never rest. These run in sessions of their
own, because Linux shares the cores between sessions first, and a nice value counts within its session alone. The median
of the rounds counts.

Whatever else runs on the machine is measured, too: a turn that lost more than QUIET of a core to it is repeated, up to
REPEATS times, and the quietest counts. `other work` is the mean of what was lost, in cores. The script needs Linux.

`--quota 1` runs ours with one and with `--threads` threads within a CPU quota of one core, as a container has it, beside
nothing else. It makes a cgroup (version 1 or 2) for that, for which it must be root. Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from icdbench.benchmarks.speed import train
from icdbench.benchmarks.speed.plain import TIMED
from icdbench.data.batches import Loader
from icdbench.host.tuning import ENVIRONMENT
from icdbench.training.accelerator import fabric

SECONDS, QUIET, REPEATS = 0.5, 0.1, 5
LOADS = (0, 1, 2)
TICKS = os.sysconf("SC_CLK_TCK")
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(1_000_000))"  # ends with this process


class Timed:
    """A process that computes steps of one model in one of the two implementations when it is told to."""

    def __init__(self, way: str, model: str, codes: int, environment: dict[str, str]) -> None:
        command = [sys.executable, __file__, "--child", json.dumps({"way": way, "model": model, "codes": codes})]
        self.process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.steps = 1
        self.steps = max(1, int(SECONDS / self.seconds()))

    def seconds(self) -> float:
        """Compute some steps; return the seconds of one."""
        assert self.process.stdin
        assert self.process.stdout
        print(self.steps, file=self.process.stdin, flush=True)
        said = self.process.stdout.readline()
        if not said:
            sys.exit(1)  # the child has printed why
        return float(said)

    def beside(self, loads: list[int]) -> tuple[float, float]:
        """Return the seconds of a step, and how many cores went to processes other than this one and those loads."""
        own = [self.process.pid, *loads]
        used, mine, begun = machine_seconds(), sum(map(process_seconds, own)), time.perf_counter()
        seconds = self.seconds()
        lost = (machine_seconds() - used) - (sum(map(process_seconds, own)) - mine)
        return seconds, max(0.0, lost / (time.perf_counter() - begun))

    def end(self) -> None:
        self.process.communicate()


def machine_seconds() -> float:
    """Return the seconds that all cores have worked since the machine started, or were lent to other machines."""
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(
        int, Path("/proc/stat").read_text(encoding="utf-8").split(maxsplit=9)[1:9]
    )
    return (user + nice + system + interrupts + soft + stolen) / TICKS


def process_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.contextmanager
def load(count: int) -> Iterator[list[int]]:
    """Keep so many processes busy, each in a session of its own; gives their ids."""
    processes = [
        subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True)  # noqa: S603
        for _ in range(count)
    ]
    try:
        time.sleep(0.2 * bool(count))  # until they have started
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def environment(way: str, threads: int) -> dict[str, str]:
    own = train.AS_TORCH_IS if way == "plain" else ENVIRONMENT
    kept = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    return kept | own | {"OMP_NUM_THREADS": str(threads)}


def measured(timed: dict[str, Timed], rounds: int) -> tuple[dict[tuple[str, int], float], float]:
    """Return the seconds of a step by implementation and number of busy processes, and the cores lost to other work."""
    found: dict[tuple[str, int], list[float]] = {}
    lost = []
    for _ in range(rounds):
        for count in LOADS:
            with load(count) as loads:
                for way, each in timed.items():
                    turns: list[tuple[float, float]] = []
                    while len(turns) < REPEATS and min((other for _, other in turns), default=1.0) > QUIET:
                        turns.append(each.beside(loads))
                    seconds, other = min(turns, key=lambda turn: turn[1])
                    found.setdefault((way, count), []).append(seconds)
                    lost.append(other)
    return {key: statistics.median(values) for key, values in found.items()}, statistics.mean(lost)


def table(chosen: argparse.Namespace) -> None:
    heading = "idle, s | beside one, s | beside two, s"
    print(f"| training step | codes | {heading} | times | times | plain {heading} | other work |")
    print("|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for codes in chosen.codes:
        for model in chosen.models:
            timed = {way: Timed(way, model, codes, environment(way, chosen.threads)) for way in ("ours", "plain")}
            found, other = measured(timed, chosen.rounds)
            for each in timed.values():
                each.end()
            ours, plain = ([found[way, count] for count in LOADS] for way in timed)
            cells = [
                *(f"{seconds:.3f}" for seconds in ours),
                *(f"{seconds / ours[0]:.2f}" for seconds in ours[1:]),
                *(f"{seconds:.3f}" for seconds in plain),
            ]
            print(f"| {model} | {codes:,} | {' | '.join(cells)} | {other:.2f} |", flush=True)


@contextlib.contextmanager
def cgroup(cores: float) -> Iterator[Path]:
    """Make a group of processes that may use so many cores; gives the file that takes their ids."""
    period = 100_000
    second = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    group = Path("/sys/fs/cgroup", *(() if second else ("cpu",)), f"icdbench-busy-{os.getpid()}")
    group.mkdir()
    try:
        if second:
            (group / "cpu.max").write_text(f"{int(cores * period)} {period}", encoding="ascii")
        else:
            (group / "cpu.cfs_period_us").write_text(str(period), encoding="ascii")
            (group / "cpu.cfs_quota_us").write_text(str(int(cores * period)), encoding="ascii")
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def quota_table(chosen: argparse.Namespace) -> None:
    print(
        f"| within {chosen.quota:g} cores | codes | one thread, s | {chosen.threads} threads, s | times | other work |"
    )
    print("|:--|--:|--:|--:|--:|--:|")
    for codes in chosen.codes:
        for model in chosen.models:
            found: dict[int, list[float]] = {1: [], chosen.threads: []}
            lost = []
            with cgroup(chosen.quota) as members:
                timed = {threads: Timed("ours", model, codes, environment("ours", threads)) for threads in found}
                for each in timed.values():
                    members.write_text(str(each.process.pid), encoding="ascii")
                for _ in range(chosen.rounds):
                    for threads, each in timed.items():
                        seconds, other = each.beside([])
                        found[threads].append(seconds)
                        lost.append(other)
                for each in timed.values():
                    each.end()
            one, many = map(statistics.median, found.values())
            print(
                f"| {model} | {codes:,} | {one:.3f} | {many:.3f} | {many / one:.2f} | {statistics.mean(lost):.2f} |",
                flush=True,
            )


def child(case: dict[str, Any]) -> None:
    """Compute as many steps as each line of stdin says, and print the seconds of one."""
    on = fabric("cpu", "32-true")
    timed = train.Timed(case["way"], case["model"], case["codes"], on)
    given = train.documents(np.full(train.DOCUMENTS, train.TOKENS), case["codes"])
    (batch,) = Loader(given, on.device).batches([np.arange(train.DOCUMENTS)])
    timed.step(batch)
    for line in sys.stdin:
        begun = time.perf_counter()
        for _ in range(int(line)):
            timed.step(batch)
        print((time.perf_counter() - begun) / int(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=train.names, default=TIMED)
    parser.add_argument("--codes", type=lambda text: [int(count) for count in text.split(",")], default=[50, 8921])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quota", type=float, help="cores; ours alone, within that quota")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child)
        return
    print(f"{platform.platform()}, {os.cpu_count()} cores, {chosen.threads} threads;", end=" ")
    print(f"Python {platform.python_version()}, torch {torch.__version__}\n")
    (quota_table if chosen.quota else table)(chosen)


if __name__ == "__main__":
    main()
