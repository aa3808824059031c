"""A grid of runs: one after another, or `jobs` of them side by side on one machine, each with its share of the cores.

Or each run a task of a Ray cluster; or one run at a time by several processes, on as many devices and nodes (`join`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from icdbench import datasets, run, train
from icdbench.run import Request
from icdbench.spec import DataError, RunSpec, SpecError
from icdbench.train import TrainingError
from icdbench.types import RunRecord, quiet

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import SpawnProcess

    from icdbench.train import Progress
    from icdbench.types import Report

Outcome = RunRecord | TrainingError
Told = SpecError | DataError | OSError  # errors that end the grid with a line for the user
RETRIES = 20  # of a task whose node or process was lost
PATIENCE = 60  # seconds for the tasks of a cluster to write their checkpoints when stopped
EVERY = 0.2  # seconds between two reports of a run to the process that shows them


class Shown(Protocol):
    """Whoever shows the progress of runs, by their numbers from 1."""

    def begin(self, number: int, spec: RunSpec) -> tuple[Callable[[Progress], None], Report]:
        """Reports for the trainer and for what goes before."""

    def end(self, number: int) -> None:
        """The run is over."""


def shows() -> bool:
    """Whether this process is the one of those that compute a run together that shows and prints."""
    ranks = ("RANK", "LOCAL_RANK")  # of torchrun, Fabric
    return os.environ.get(next((name for name in ranks if name in os.environ), ""), "0") == "0"


def join(device: str, devices: int | None, nodes: int | None) -> tuple[int, int]:
    """Begin the processes that compute a run together, unless torchrun, SLURM or this function began them: this is one.

    Devices of each node, and nodes; where None is given, as torchrun began them, or one. Raises SpecError.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        devices, nodes = devices or local, nodes or world // local
        if (devices, nodes) != (local, world // local):
            raise SpecError(
                f"--devices {devices} --nodes {nodes}, but torchrun began {local} processes on each of {world // local} "
                "nodes; leave both options out"
            )
    devices, nodes = 1 if devices is None else devices, 1 if nodes is None else nodes
    if devices < 1 or nodes < 1:
        raise SpecError(f"--devices {devices} --nodes {nodes}: give numbers, 1 or more")
    if devices * nodes == 1:
        return 1, 1
    train.fabric(device)  # says what is wrong with the name
    present = torch.cuda.device_count() if device in {"auto", "cuda"} else 1 if device == "mps" else devices
    if 0 < present < devices:
        raise SpecError(f"--devices {devices}: this machine has {present} that torch can use")
    if train.fabric(device, "32-true", devices, nodes).global_rank:
        logging.getLogger("icdbench").setLevel(logging.ERROR)
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  for as long as the process lives
    return devices, nodes


@dataclass(frozen=True)
class Cluster:
    """What each run needs of a Ray cluster; without `gpus` a whole one where there are any, unless the CPU is asked for."""

    cpus: float = 1
    gpus: float | None = None


def carry_out(
    asked: Sequence[tuple[RunSpec, Request]], jobs: int, shown: Shown, cluster: Cluster | None = None
) -> Iterator[tuple[str, Outcome]]:
    """The record of each run by its id, as they end; the error of one whose training cannot go on.

    Raises SpecError, DataError, and KeyboardInterrupt once the checkpoints of all that was running are written.
    """
    if jobs < 1:
        raise SpecError(f"--jobs {jobs}: give the number of runs side by side, 1 or more")
    if cluster is not None:
        with contextlib.redirect_stdout(sys.stderr):  # Ray prints what becomes of its tasks; stdout is the table's
            yield from _on_cluster(asked, cluster, shown)
        return
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


def _on_cluster(
    asked: Sequence[tuple[RunSpec, Request]], cluster: Cluster, shown: Shown
) -> Iterator[tuple[str, Outcome]]:
    """Each run a task of Ray's, on the cluster that RAY_ADDRESS names or that runs here, else on one of this machine.

    A task that its node or process takes along is begun again and continues from its checkpoint, as all do when the driver
    dies and the command is given again: results must lie in a folder that all nodes share.
    """
    if cluster.cpus < 0 or (cluster.gpus or 0) < 0:
        raise SpecError(f"--task-cpus {cluster.cpus} --task-gpus {cluster.gpus}: a task's needs are 0 or more")
    ray = _connected()
    gpus = cluster.gpus
    if gpus is None:
        gpus = float("GPU" in ray.cluster_resources() and asked[0][1].device in {"auto", "cuda"})
    for name, need in (("CPU", cluster.cpus), ("GPU", gpus)):
        if need and all(node["Resources"].get(name, 0) < need for node in ray.nodes() if node["Alive"]):
            raise SpecError(f"no node of the cluster has {need:g} {name}s, which each task was said to need")
    task = ray.remote(num_cpus=cluster.cpus, num_gpus=gpus, max_retries=RETRIES)(_elsewhere)
    pending = {
        task.remote(spec, _absolute(request)): (number, spec) for number, (spec, request) in enumerate(asked, start=1)
    }
    for number, spec in pending.values():
        shown.begin(number, spec)
    try:
        while pending:
            (done, *_), _ = ray.wait(list(pending))
            number, spec = pending.pop(done)
            outcome = _fetched(ray, done)
            shown.end(number)
            yield spec.id, outcome
    finally:
        for left in pending:
            ray.cancel(left)
        if pending:  # their processes end with this one, and must have written their checkpoints
            ray.wait(list(pending), num_returns=len(pending), timeout=PATIENCE)


def _fetched(ray: Any, done: Any) -> Outcome:
    """What became of a task."""
    try:
        return _outcome(ray.get(done))
    except ray.exceptions.RayTaskError:  # an error of ours
        raise
    except ray.exceptions.RayError as error:
        return TrainingError(f"its process was lost {RETRIES + 1} times ({type(error).__name__})")


def _connected() -> Any:
    """Ray, with a cluster. Raises SpecError."""
    try:
        import ray
    except ImportError:
        raise SpecError("--launcher ray: Ray is missing; pip install 'icdbench[ray]'") from None
    passed = {name: value for name, value in os.environ.items() if name.startswith("ICDBENCH_")}
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": passed}, ignore_reinit_error=True
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if address := os.environ.get("RAY_ADDRESS"):
            raise SpecError(
                f"--launcher ray: no cluster at RAY_ADDRESS={address} ({reason}); begin one with 'ray start --head', "
                "or unset RAY_ADDRESS to use this machine alone"
            ) from None
        raise SpecError(f"--launcher ray: Ray does not start on this machine: {reason}") from None
    # Ray's own handler ends a local cluster before tasks have written their checkpoints.
    signal.signal(signal.SIGTERM, terminated)
    return ray


def _elsewhere(spec: RunSpec, request: Request) -> Outcome | Told:
    """A run as a task of Ray's."""
    return _caught(spec, request, lambda _: None, quiet)


def _caught(spec: RunSpec, request: Request, report: Callable[[Progress], None], prepare: Report) -> Outcome | Told:
    """A run in another process; errors that the user is told of come back as they are, for on their way they'd be wrapped."""
    try:
        return _attempt(spec, request, report, prepare)
    except (SpecError, DataError, OSError) as error:
        return error


def _outcome(sent: Outcome | Told) -> Outcome:
    """What another process sent. Raises the errors that end the whole grid."""
    if isinstance(sent, (SpecError, DataError, OSError)):
        raise sent
    return sent


def _absolute(request: Request) -> Request:
    """The request as any process on any node of the cluster understands it."""
    path = Path(request.dataset)
    return replace(
        request,
        dataset=str(path.resolve()) if path.is_file() else request.dataset,
        root=datasets.data_root(request.root).resolve(),
        results=request.results.resolve(),
    )


def _side_by_side(asked: Sequence[tuple[RunSpec, Request]], jobs: int, shown: Shown) -> Iterator[tuple[str, Outcome]]:
    """Each run in one of `jobs` processes, which are given a run at a time; one that is killed fails only the run it had.

    That their pipe is closed, here or because this process is dead, tells them to write their checkpoints and end.
    """
    share = max(1, len(os.sched_getaffinity(0)) // jobs) if hasattr(os, "sched_getaffinity") else 1
    waiting = deque(enumerate(asked, start=1))
    processes: dict[Any, SpawnProcess] = {}  # by this end of the pipe to each
    running: dict[Any, tuple[int, str, Callable[[Progress], None], Report]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                end = next((end for end in processes if end not in running), None) or _begin(processes, share)
                number, (spec, request) = waiting.popleft()
                running[end] = number, spec.id, *shown.begin(number, spec)
                with contextlib.suppress(OSError):  # killed while it was idle: found out below
                    end.send((spec, request))
            ready: list[Any] = connection.wait(list(running))
            for end in ready:
                number, name, report, prepare = running[end]
                what: tuple[Any, ...]
                try:
                    kind, what = end.recv()
                except (EOFError, OSError):
                    kind, what = "end", (_lost(processes.pop(end)),)
                if kind != "end":
                    (prepare if kind == "prepare" else report)(*what)
                    continue
                del running[end]
                shown.end(number)
                yield name, _outcome(*what)
    finally:
        for end in processes:
            end.close()
        for process in processes.values():
            process.join()


def _begin(processes: dict[Any, SpawnProcess], threads: int) -> Any:
    """One more process; this end of the pipe to it."""
    context = multiprocessing.get_context("spawn")
    end, other = context.Pipe()
    with other:  # once it is begun only the process itself holds it, so that its death shows here
        process = context.Process(target=_serve, args=(other, threads, logging.getLogger().level))
        process.start()
    processes[end] = process
    return end


def _lost(process: SpawnProcess) -> TrainingError:
    process.join()
    if process.exitcode and process.exitcode > 0:  # it wrote its traceback
        return TrainingError(f"its process ended with status {process.exitcode}")
    return TrainingError("its process was killed (out of memory?); the same command continues")


def _serve(end: Any, threads: int, level: int) -> None:
    """Carry out the runs that the main process sends: with a share of the cores, its messages, and Ctrl-C left to it."""
    from threadpoolctl import threadpool_limits

    tasks: queue.SimpleQueue[tuple[RunSpec, Request] | None] = queue.SimpleQueue()

    def receive() -> None:
        """As only a thread can notice while a run is in progress that the pipe was closed."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                tasks.put(end.recv())
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        tasks.put(None)  # for a run that was past heeding it

    def tell(kind: str, *what: Any) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more; the run must get to its checkpoint
            end.send((kind, what))

    last = 0.0

    def report(step: Progress) -> None:
        nonlocal last
        if step.ended or time.monotonic() - last > EVERY:
            last = time.monotonic()
            tell("report", step)

    os.setsid()
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    logging.basicConfig(level=level, format="icdbench: %(message)s", stream=sys.stderr)
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    threading.Thread(target=receive, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        while (task := tasks.get()) is not None:
            tell("end", _caught(*task, report, functools.partial(tell, "prepare")))
