"""Carry out a grid of runs: one after another, side by side on one machine, or as tasks of a Ray cluster.

`carry_out` yields the record of each run as it ends. `join` starts the processes of a run on several devices.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import icdbench.run as runner
from icdbench.experiments import cluster, pool
from icdbench.experiments.cluster import Cluster
from icdbench.host import output
from icdbench.records import store
from icdbench.settings import SpecError
from icdbench.training import TrainingError, accelerator

if TYPE_CHECKING:
    from rich.console import Console

    from icdbench.experiments.tracking import Tracking
    from icdbench.records import RunRecord
    from icdbench.run import Request
    from icdbench.spec import Planned

__all__ = ["Cluster", "carry_out", "join", "shows", "tell_stored"]


def shows() -> bool:
    """Whether this process shows progress and prints results: of several processes of a run only the first."""
    ranks = ("RANK", "LOCAL_RANK")  # of torchrun, Fabric
    return os.environ.get(next((name for name in ranks if name in os.environ), ""), "0") == "0"


def tell_stored(runs: Sequence[tuple[Planned, Request]], console: Console) -> set[str]:
    """Print how many of the runs are already stored and will not be computed. Returns their ids."""
    known = {
        each.spec.id
        for each, request in runs
        if not request.force and store.find(request.results, each.spec) is not None
    }
    if known:
        line = f"{len(known)} of {len(runs)} runs: already stored, not computed (--force computes them)"
        console.print(output.printable(line), markup=False, highlight=False, soft_wrap=True)
    return known


def join(device: str, devices: int | None, nodes: int | None) -> tuple[int, int]:
    """Start the processes of a run on several devices, or join them if torchrun, SLURM or this function started this one.

    Returns the devices of each node and the number of nodes; None stands for torchrun's numbers, else 1. Raises SpecError.
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
    accelerator.torch_device(device)  # raises SpecError for an unknown or absent device
    present = torch.cuda.device_count() if device in {"auto", "cuda"} else 1 if device == "mps" else devices
    if 0 < present < devices:
        raise SpecError(f"--devices {devices}: this machine has {present} that torch can use")
    if accelerator.fabric(device, "32-true", devices, nodes).global_rank:
        logging.getLogger("icdbench").setLevel(logging.ERROR)
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  for as long as the process lives
    return devices, nodes


def carry_out(
    runs: Sequence[tuple[Planned, Request]], jobs: int, shown: Tracking, on: Cluster | None = None
) -> Iterator[tuple[str, RunRecord | TrainingError]]:
    """Yield the id and the record of each run as it ends, or the error that ended it.

    Raises SpecError, DataError, OSError; KeyboardInterrupt once all running runs have written their checkpoints.
    """
    if jobs < 1:
        raise SpecError(f"--jobs {jobs}: give the number of runs side by side, 1 or more")
    if on is not None:
        with contextlib.redirect_stdout(sys.stderr):  # Ray prints messages; stdout is for tables
            yield from cluster.carry_out(runs, on, shown)
    elif min(jobs, len(runs)) > 1:
        yield from pool.carry_out(runs, min(jobs, len(runs)), shown)
    else:
        for number, (planned, request) in enumerate(runs, start=1):
            report, prepare = shown.begin(number, planned.spec)
            try:
                outcome: RunRecord | TrainingError = runner.execute(planned, request, report, prepare)
            except TrainingError as error:
                outcome = error
            shown.end(number)
            yield planned.spec.id, outcome
