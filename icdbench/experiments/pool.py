"""Runs side by side in a pool of processes on one machine, each with its share of the cores. Entered by `carry_out`."""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

import torch

import icdbench.run as runner
from icdbench.host import output, processes, tune_process
from icdbench.records import RunRecord
from icdbench.run import Request
from icdbench.settings import DataError, SpecError
from icdbench.spec import Planned
from icdbench.training import Progress, TrainingError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from icdbench.experiments.tracking import Tracking

Outcome = RunRecord | TrainingError
Numbered = tuple[int, Planned, Request]
Listeners = dict[int, dict[str, Callable[..., None]]]  # by the number of the run and the kind of message
EVERY = 0.2  # seconds between two reports of a run, and between two times that they are read
STARTED, LEFT, STEP, PREPARE = "started", "left", "step", "prepare"  # messages of a run to the main process
KILLED = "its process was killed (out of memory?); the same command continues"


def carry_out(runs: Sequence[tuple[Planned, Request]], jobs: int, shown: Tracking) -> Iterator[tuple[str, Outcome]]:
    """Yield the id and the record of each run as it ends, or the error that ended it.

    If a process is killed, its run fails and the pool breaks. The other runs then stop at a checkpoint and continue in a
    new pool.
    """
    waiting = deque((number, planned, request) for number, (planned, request) in enumerate(runs, start=1))
    listeners: Listeners = {}
    while waiting:
        for (number, planned, _), outcome in _until_broken(waiting, jobs, shown, listeners):
            shown.end(number)
            yield planned.spec.id, outcome


def _until_broken(
    waiting: deque[Numbered], jobs: int, shown: Tracking, listeners: Listeners
) -> Iterator[tuple[Numbered, Outcome]]:
    """Yield the outcomes of waiting runs until none is left or the pool breaks; interrupted runs are put back to wait."""
    spawn = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    messages, write_end = spawn.Pipe(duplex=False)
    running: dict[Future[Outcome], Numbered] = {}
    states: dict[int, str] = {}
    pool = ProcessPoolExecutor(
        jobs, spawn, _set_up, (max(1, torch.get_num_threads() // jobs), logging.getLogger().level)
    )
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                number, planned, _ = waiting[0]
                if number not in listeners:
                    listeners[number] = dict(zip((STEP, PREPARE), shown.begin(number, planned.spec), strict=True))
                with processes.starting():
                    future = pool.submit(_work, write_end, *waiting[0])
                running[future] = waiting.popleft()
            ended, _ = wait(running, EVERY, FIRST_COMPLETED)
            _relay(messages, listeners, states)
            for future in ended:
                outcome = future.result()
                yield running.pop(future), outcome
    except BrokenProcessPool:
        while set(multiprocessing.active_children()) - others:  # the others write their checkpoints
            messages.poll(EVERY)
            _relay(messages, listeners, states)
        yield from _after_break(running, waiting, states)
        running.clear()
    finally:
        if running:
            for pid in [process.pid for process in set(multiprocessing.active_children()) - others if process.pid]:
                os.kill(pid, signal.SIGINT)
        messages.close()  # so that no process blocks on sending a message
        pool.shutdown(cancel_futures=True)
        write_end.close()


def _after_break(
    running: dict[Future[Outcome], Numbered], waiting: deque[Numbered], states: Mapping[int, str]
) -> Iterator[tuple[Numbered, Outcome]]:
    """Yield the outcomes of runs that had ended or were killed when the pool broke; put the others back to wait."""
    for future, each in reversed(running.items()):
        if not isinstance(future.exception(), BrokenProcessPool):
            yield each, future.result()
        elif not states or states.get(each[0]) == STARTED:  # without states no run started: it would break for ever
            yield each, TrainingError(KILLED)
        else:
            waiting.appendleft(each)


def _relay(messages: Connection, listeners: Listeners, states: dict[int, str]) -> None:
    """Pass on the messages of runs, and note which runs have started or left their process."""
    while messages.poll():
        number, what, values = messages.recv()
        if what in {STARTED, LEFT}:
            states[number] = what
        else:
            listeners[number][what](*values)


def _set_up(threads: int, level: int) -> None:
    """Set up a worker: its share of the threads, its logging, and that it ends with the main process."""
    from threadpoolctl import threadpool_limits

    os.setsid()  # Ctrl-C is for the main process
    output.log_to_stderr(level)
    tune_process()
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    processes.end_with_parent()


def _work(messages: Connection, number: int, planned: Planned, request: Request) -> Outcome:
    """Carry out a run in a worker. A run that is stopped writes its checkpoint and ends the process.

    Messages are shorter than PIPE_BUF, so one pipe without a lock serves all workers.
    """
    last = 0.0

    def tell(what: str, *values: Any) -> None:
        with contextlib.suppress(OSError):  # if the main process is dead, the run must still write its checkpoint
            messages.send((number, what, values))

    def report(step: Progress) -> None:
        nonlocal last
        if step.ended or time.monotonic() - last > EVERY:
            last = time.monotonic()
            tell(STEP, step)

    try:
        tell(STARTED)
        for received in (signal.SIGINT, signal.SIGTERM):
            signal.signal(received, signal.default_int_handler)
        processes.heeding_signals()
        outcome: Outcome = runner.execute(planned, request, report, functools.partial(tell, PREPARE))
    except TrainingError as error:
        outcome = error
    except KeyboardInterrupt:
        tell(LEFT)
        os._exit(130)
    except (SpecError, DataError, OSError):
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  an error in a model's code fails only that model's runs
        traceback.print_exc()
        outcome = TrainingError(f"{type(error).__name__}, whose traceback is above")
    tell(LEFT)
    return outcome
