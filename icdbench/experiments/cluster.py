"""Runs as tasks of a Ray cluster: the one that RAY_ADDRESS names, else one already running here, else this machine alone.

A task whose node or process is lost starts again and continues from its checkpoint. If the driver dies, the same command
continues all tasks. Results must lie in a folder that all nodes share. Entered by `carry_out`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import icdbench.run as runner
from icdbench.data import datasets
from icdbench.host import tune_process
from icdbench.records import RunRecord
from icdbench.run import Request
from icdbench.settings import DataError, SpecError
from icdbench.spec import Planned
from icdbench.training import TrainingError

if TYPE_CHECKING:
    from icdbench.experiments.tracking import Tracking

Outcome = RunRecord | TrainingError
Fatal = SpecError | DataError | OSError  # errors that end the grid with a line for the user
RETRIES = 20  # of a task whose node or process was lost
PATIENCE = 60  # seconds that stopped tasks have to write their checkpoints


@dataclass(frozen=True)
class Cluster:
    """What each run needs of a Ray cluster. `gpus` is None for a whole GPU where there are any, unless `--device cpu`."""

    cpus: float = 1
    gpus: float | None = None


def carry_out(runs: Sequence[tuple[Planned, Request]], need: Cluster, shown: Tracking) -> Iterator[tuple[str, Outcome]]:
    """Yield the id and the record of each run as it ends, or the error that ended it. Raises SpecError, DataError, OSError."""
    if need.cpus < 0 or (need.gpus or 0) < 0:
        raise SpecError(f"--task-cpus {need.cpus} --task-gpus {need.gpus}: a task's needs are 0 or more")
    ray = _connected()
    gpus = need.gpus
    if gpus is None:
        gpus = float("GPU" in ray.cluster_resources() and runs[0][1].device in {"auto", "cuda"})
    for name, number in (("CPU", need.cpus), ("GPU", gpus)):
        if number and all(node["Resources"].get(name, 0) < number for node in ray.nodes() if node["Alive"]):
            raise SpecError(f"no node of the cluster has {number:g} {name}s, which each task was said to need")
    task = ray.remote(num_cpus=need.cpus, num_gpus=gpus, max_retries=RETRIES)(_task)
    pending = {}
    for number, (planned, request) in enumerate(runs, start=1):
        shown.begin(number, planned.spec)
        pending[task.remote(planned, _with_absolute_paths(request))] = number, planned.spec.id
    try:
        while pending:
            (done, *_), _ = ray.wait(list(pending))
            number, name = pending.pop(done)
            outcome = _outcome(ray, done)
            shown.end(number)
            yield name, outcome
    finally:
        for task_left in pending:
            ray.cancel(task_left)
        if pending:  # their processes end with this one, so it waits until they have written their checkpoints
            ray.wait(list(pending), num_returns=len(pending), timeout=PATIENCE)


def _task(planned: Planned, request: Request) -> Outcome | Fatal:
    """Execute a run on a node. Errors are returned, because Ray would wrap raised ones."""
    tune_process()
    try:
        return runner.execute(planned, request)
    except (TrainingError, SpecError, DataError, OSError) as error:
        return error


def _outcome(ray: Any, done: Any) -> Outcome:
    """The outcome of a task. Raises SpecError, DataError, OSError."""
    try:
        returned: Outcome | Fatal = ray.get(done)
    except ray.exceptions.RayTaskError:  # a mistake in our code or a model's
        raise
    except ray.exceptions.RayError as error:
        return TrainingError(f"its process was lost {RETRIES + 1} times ({type(error).__name__})")
    if isinstance(returned, (SpecError, DataError, OSError)):
        raise returned
    return returned


def _connected() -> Any:
    """Connect to a cluster and return the module `ray`. Raises SpecError."""
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


def _with_absolute_paths(request: Request) -> Request:
    """The request with paths that hold in a process of any node."""
    path = Path(request.dataset)
    return replace(
        request,
        dataset=str(path.resolve()) if path.is_file() else request.dataset,
        root=datasets.data_root(request.root).resolve(),
        results=request.results.resolve(),
    )
