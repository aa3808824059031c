"""A grid of runs: one after another, or `jobs` of them side by side on one machine, each with its share of the cores."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from icdbench import run
from icdbench.run import Request
from icdbench.spec import RunSpec, SpecError
from icdbench.train import TrainingError
from icdbench.types import RunRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from icdbench.train import Progress
    from icdbench.types import Report

Outcome = RunRecord | TrainingError
EVERY = 0.2  # seconds between two reports of a run to the process that shows them


class Shown(Protocol):
    """Whoever shows the progress of runs, by their numbers from 1."""

    def begin(self, number: int, spec: RunSpec) -> tuple[Callable[[Progress], None], Report]:
        """Reports for the trainer and for what goes before."""

    def end(self, number: int) -> None:
        """The run is over."""


def carry_out(asked: Sequence[tuple[RunSpec, Request]], jobs: int, shown: Shown) -> Iterator[tuple[str, Outcome]]:
    """The record of each run by its id, as they end; the error of one whose training cannot go on.

    Raises SpecError, DataError, and KeyboardInterrupt once the checkpoints of all that was running are written.
    """
    if jobs < 1:
        raise SpecError(f"--jobs {jobs}: give the number of runs side by side, 1 or more")
    if min(jobs, len(asked)) > 1:
        yield from _side_by_side(asked, min(jobs, len(asked)), shown)
        return
    for number, (spec, request) in enumerate(asked, start=1):
        outcome = _attempt(spec, request, *shown.begin(number, spec))
        shown.end(number)
        yield spec.id, outcome


def _attempt(spec: RunSpec, request: Request, report: Callable[[Progress], None], prepare: Report) -> Outcome:
    try:
        return run.execute(spec, request, report, prepare)
    except TrainingError as error:
        return error


def _side_by_side(asked: Sequence[tuple[RunSpec, Request]], jobs: int, shown: Shown) -> Iterator[tuple[str, Outcome]]:
    """Each run in a process of a pool. Told to stop, the processes are asked once to write their checkpoints."""
    context = multiprocessing.get_context("spawn")
    share = max(1, len(os.sched_getaffinity(0)) // jobs) if hasattr(os, "sched_getaffinity") else 1
    told: Any = context.Queue()
    pids: list[int] = []
    reports: dict[int, tuple[Callable[[Progress], None], Report]] = {}

    def listen(wait: float) -> None:
        try:
            while True:
                kind, number, what = told.get(timeout=wait)
                if kind == "pid":
                    pids.append(number)
                elif kind == "begin":
                    reports[number] = shown.begin(number, asked[number - 1][0])
                else:
                    reports[number][kind == "prepare"](*what)
                wait = 0.0
        except queue.Empty:
            pass

    with ProcessPoolExecutor(jobs, context, _own_process, (told, share, logging.getLogger().level)) as pool:
        pending: dict[Future[Outcome], tuple[int, str]] = {
            pool.submit(_task, number, spec, request): (number, spec.id)
            for number, (spec, request) in enumerate(asked, start=1)
        }
        try:
            while pending:
                listen(EVERY)
                for future in [future for future in pending if future.done()]:
                    number, name = pending.pop(future)
                    shown.end(number)
                    yield name, future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            listen(0)
            for pid in pids:
                os.kill(pid, signal.SIGINT)
            raise


_told: Any = None  # in a process of the pool: where its reports go


def _own_process(told: Any, threads: int, level: int) -> None:
    """Set up a process of the pool: its share of cores, messages as in the main one, and Ctrl-C left to that one."""
    global _told  # noqa: PLW0603
    import torch
    from threadpoolctl import threadpool_limits

    _told = told
    os.setsid()
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    logging.basicConfig(level=level, format="icdbench: %(message)s", stream=sys.stderr)
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    told.put(("pid", os.getpid(), None))


def _task(number: int, spec: RunSpec, request: Request) -> Outcome:
    """A run, reporting to the main process."""
    last = 0.0

    def report(step: Progress) -> None:
        nonlocal last
        if step.ended or time.monotonic() - last > EVERY:
            last = time.monotonic()
            _told.put(("report", number, (step,)))

    _told.put(("begin", number, None))
    return _attempt(spec, request, report, lambda *what: _told.put(("prepare", number, what)))
