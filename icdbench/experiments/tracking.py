"""Tells trackers of runs: TensorBoard, MLflow, Weights & Biases.

One callback serves all three: while a run is trained, the figures of each epoch; at its end those of the test documents.
Where they are kept is what each tool's own settings say (MLFLOW_TRACKING_URI, WANDB_MODE, …). Trackers are told a run's
settings and numbers, and nothing of a note: no text, no words, no ids.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from icdbench.settings import SpecError, typed, unknown

if TYPE_CHECKING:
    from icdbench.experiments.launch import RunProgress
    from icdbench.records import RunRecord
    from icdbench.spec import RunSpec
    from icdbench.training import Progress, TrainingError
    from icdbench.types import Report

log = logging.getLogger("icdbench")

PROJECT = "icdbench"  # MLflow's experiment, W&B's project, unless MLFLOW_EXPERIMENT_NAME, WANDB_PROJECT name another
OF_TRAINING = ("loss", "drop_rate", "dropped", "split", "seconds")  # of an epoch; its other figures are of validation


class Tracked(Protocol):
    """One run in one tool, open."""

    def log(self, figures: Mapping[str, float], epoch: int) -> None:
        """Add the figures of an epoch."""

    def end(self, figures: Mapping[str, float]) -> None:
        """Close it, with the figures of a finished run, or none of one that did not finish."""


class OnTensorBoard:
    """Event files below `runs/`, TensorBoard's own default. A run that continues or is repeated replaces what it repeats."""

    def __init__(self, name: str, settings: Mapping[str, Any], epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer, self.settings = SummaryWriter(f"runs/{name}", purge_step=epoch), settings

    @staticmethod
    def check() -> None:
        """Raises ImportError."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401

    def log(self, figures: Mapping[str, float], epoch: int) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def end(self, figures: Mapping[str, float]) -> None:
        if figures:
            plain = {
                name: value if isinstance(value, int | float | str) else typed(value)
                for name, value in self.settings.items()
            }
            self.writer.add_hparams(plain, dict(figures), run_name=".")
        self.writer.close()


class OnMLflow:
    """A run of MLflow, by default in the SQLite file `mlflow.db`. Its names have few signs: `p@5` is `p_at_5`, `f1_micro[1-10]` is `f1_micro_1-10`."""

    def __init__(self, name: str, settings: Mapping[str, Any], _epoch: int) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self.client = MlflowClient()
        self.run = self.client.create_run(self._experiment(self.client), run_name=name).info.run_id
        parameters = [Param(_plain(key), typed(value)) for key, value in settings.items()]
        self.client.log_batch(self.run, params=parameters)

    @staticmethod
    def _experiment(client: Any) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name))

    @classmethod
    def check(cls) -> None:
        """Raises ImportError, or what MLflow raises if its store cannot be reached."""
        from mlflow import MlflowClient

        cls._experiment(MlflowClient())

    def log(self, figures: Mapping[str, float], epoch: int) -> None:
        import time

        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        self.client.log_batch(self.run, [Metric(_plain(name), value, now, epoch) for name, value in figures.items()])

    def end(self, figures: Mapping[str, float]) -> None:
        if figures:
            self.log(figures, 0)
        self.client.set_terminated(self.run, "FINISHED" if figures else "FAILED")


def _plain(name: str) -> str:
    return re.sub(r"[^/\w.\- :]+", "_", name.replace("@", "_at_")).rstrip("_")


class OnWandb:
    """A run of Weights & Biases, which is told nothing of the machine, of what is printed and of the code."""

    def __init__(self, name: str, settings: Mapping[str, Any], _epoch: int) -> None:
        import wandb

        private = wandb.Settings(
            silent=True, console="off", disable_code=True, disable_git=True, x_disable_meta=True, x_disable_stats=True,
            x_disable_machine_info=True,
        )  # fmt: skip
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self.run = wandb.init(project=project, name=name, config=dict(settings), reinit="create_new", settings=private)
        self.run.define_metric("*", step_metric="epoch")

    @staticmethod
    def check() -> None:
        """Raises ImportError, or what W&B raises if nobody is logged in."""
        from wandb import login

        if os.environ.get("WANDB_MODE", "online") == "online":
            login()

    def log(self, figures: Mapping[str, float], epoch: int) -> None:
        self.run.log({"epoch": epoch, **figures})

    def end(self, figures: Mapping[str, float]) -> None:
        self.run.summary.update(dict(figures))
        self.run.finish(exit_code=0 if figures else 1)


TOOLS: dict[str, type[OnTensorBoard | OnMLflow | OnWandb]] = {
    "tensorboard": OnTensorBoard,
    "mlflow": OnMLflow,
    "wandb": OnWandb,
}


def check(names: Sequence[str]) -> None:
    """Raises SpecError for a tracker that there is not, that is not installed or that cannot be reached."""
    if wrong := [name for name in names if name not in TOOLS]:
        raise SpecError(unknown("tracker", wrong, TOOLS))
    for name in names:
        try:
            TOOLS[name].check()
        except ImportError:
            raise SpecError(f"--track {name}: {name} is missing; pip install 'icdbench[track]'") from None
        except Exception as error:
            raise SpecError(f"--track {name}: {_line(error)}") from error


@contextlib.contextmanager
def tracked(shown: RunProgress, names: Sequence[str]) -> Iterator[Tracking]:
    """Yields what shows runs as `shown` does, and tells the named trackers. Those that do not end are closed as failed."""
    tracking = Tracking(shown, names)
    try:
        yield tracking
    finally:
        for name in list(tracking.open):
            tracking.close(name, {})


class Tracking:
    """Shows runs, and tells trackers of them: launch.RunProgress, and `finish`."""

    def __init__(self, shown: RunProgress, names: Sequence[str]) -> None:
        self.shown, self.names = shown, names
        self.open: dict[str, dict[str, Tracked]] = {}  # by id of the run and name of the tracker
        self.told: dict[str, float] = {}  # the last epoch of each run that trackers know

    def begin(self, number: int, spec: RunSpec) -> tuple[Callable[[Progress], None], Report]:
        """The reports of `shown`, of which the trackers hear too."""
        report, prepare = self.shown.begin(number, spec)

        def both(step: Progress) -> None:
            report(step)
            self._tell(spec, step.epoch, step.figures)

        return both if self.names else report, prepare

    def end(self, number: int) -> None:
        """The run is no longer shown."""
        self.shown.end(number)

    def finish(self, outcome: RunRecord | TrainingError, name: str) -> None:
        """Tell of a run that ended, and of those of its epochs that were trained elsewhere."""
        if not self.names or isinstance(outcome, Exception):
            self.close(name, {})
            return
        for epoch in outcome.history:
            if epoch.epoch > self.told.get(name, 0):
                self._tell(outcome.spec, int(epoch.epoch), epoch.figures)
        self._opened(outcome.spec, 1)
        tested = {
            f"test/{rule}/{key}": value for rule, of in outcome.metrics["test"].items() for key, value in of.items()
        }
        self.close(name, {**tested, "parameters": outcome.parameters})

    def _tell(self, spec: RunSpec, epoch: int, figures: Mapping[str, float]) -> None:
        self._opened(spec, epoch)
        if figures:
            named = {_named(key): value for key, value in figures.items() if key != "epoch"}
            self._each(spec.id, lambda tool: tool.log(named, epoch))
            self.told[spec.id] = epoch

    def _opened(self, spec: RunSpec, epoch: int) -> None:
        if spec.id in self.open:
            return
        self.open[spec.id] = {}
        settings = {
            **spec.settings,
            "dataset": spec.dataset,
            "system": spec.system,
            "seed": spec.seed,
            "fingerprint": spec.fingerprint,
        }
        for tool in self.names:
            with _harmless(tool, spec.id):
                self.open[spec.id][tool] = TOOLS[tool](spec.id, settings, epoch)

    def close(self, name: str, figures: Mapping[str, float]) -> None:
        """Close a run in all trackers: with the figures of a finished one, or none."""
        self._each(name, lambda tool: tool.end(figures))
        self.open.pop(name, None)

    def _each(self, name: str, tell: Callable[[Tracked], None]) -> None:
        """Tell every tracker; one that fails is told no more of this run."""
        for tool, run in list(self.open.get(name, {}).items()):
            done = False
            with _harmless(tool, name):
                tell(run)
                done = True
            if not done:
                del self.open[name][tool]


@contextlib.contextmanager
def _harmless(tool: str, name: str) -> Iterator[None]:
    """A tracker that fails costs no run: a warning says so."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  each tool has errors of its own
        log.warning("%s is told no more of %s: %s", tool, name, _line(error))


def _named(key: str) -> str:
    """`train/loss`, `validation/p@5`: a figure of an epoch as trackers group it."""
    return f"train/{key}" if key in OF_TRAINING else f"validation/{key.removeprefix('validation_')}"


def _line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
