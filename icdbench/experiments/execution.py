"""How runs are carried out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from icdbench.settings import SpecError, nearest

LAUNCHERS = ("local", "ray")


@dataclass(frozen=True)
class Execution:
    """How runs are carried out, in one of three ways: `jobs` runs side by side on this machine, each with its share of the
    cores; each run by `devices` of this machine on `nodes` machines together (None: as torchrun started them, else 1);
    each run a task of a Ray cluster (`launcher="ray"`) that needs so many CPU cores and GPUs. docs/scaling.md has more.

    `progress` shows runs on stderr while they are in progress. `track` names the trackers that are told of runs:
    tensorboard, mlflow, wandb (docs/howto/tools.md).
    """

    jobs: int = 1
    devices: int | None = None
    nodes: int | None = None
    launcher: str = "local"
    task_cpus: float = 1
    task_gpus: float | None = None
    progress: bool = True
    track: Sequence[str] = ()

    def check(self) -> None:
        """Raises SpecError for an unknown launcher, and for several ways at once."""
        if self.launcher not in LAUNCHERS:
            raise SpecError(f"no launcher '{self.launcher}'{nearest(self.launcher, LAUNCHERS)}")
        together = (self.devices, self.nodes) != (None, None) or "TORCHELASTIC_RUN_ID" in os.environ
        ways = {
            "--jobs": self.jobs != 1,
            "--devices and --nodes, or torchrun": together,
            "--launcher ray": self.launcher == "ray",
        }
        if sum(ways.values()) > 1:
            named = ", ".join(way for way, chosen in ways.items() if chosen)
            raise SpecError(f"{named}: these are different ways to use many cores; choose one of them")
