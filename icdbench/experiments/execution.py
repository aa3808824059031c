"""`Execution`: how runs are carried out, as users choose it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from icdbench.settings import SpecError, first_of, nearest

LAUNCHERS = ("local", "ray")


@dataclass(frozen=True)
class Execution:
    """How runs are carried out, in one of three ways (docs/scaling.md):

    - `jobs` runs side by side on this machine, each with its share of the cores;
    - each run on `devices` devices of each of `nodes` machines (None: as torchrun started them, else 1);
    - each run as a task of a Ray cluster (`launcher="ray"`) that needs `task_cpus` cores and `task_gpus` GPUs.

    `progress` shows progress on stderr. `track` names trackers: tensorboard, mlflow, wandb (docs/howto/tools.md).
    """

    jobs: int = 1
    devices: int | None = None
    nodes: int | None = None
    launcher: str = "local"
    task_cpus: float = 1
    task_gpus: float | None = None
    progress: bool = True
    track: Sequence[str] = ()

    def checked(self) -> Execution:
        """This with its types checked. Raises SpecError, also for an unknown launcher and for several ways at once."""
        try:
            valid = TypeAdapter(Execution).validate_python(vars(self))
        except ValidationError as error:
            raise SpecError(f"execution: {first_of(error)}") from None
        if valid.launcher not in LAUNCHERS:
            raise SpecError(f"no launcher '{valid.launcher}'{nearest(valid.launcher, LAUNCHERS)}")
        distributed = (valid.devices, valid.nodes) != (None, None) or "TORCHELASTIC_RUN_ID" in os.environ
        ways = {
            "--jobs": valid.jobs != 1,
            "--devices and --nodes, or torchrun": distributed,
            "--launcher ray": valid.launcher == "ray",
        }
        if sum(ways.values()) > 1:
            named = ", ".join(way for way, chosen in ways.items() if chosen)
            raise SpecError(f"{named}: these are different ways to use many cores; choose one of them")
        return valid
