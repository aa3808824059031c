"""Log runs to experiment trackers: TensorBoard, MLflow, Weights & Biases. Entered by `check` and `tracked`.

Each epoch's figures are logged while a run is trained, those of the test documents at its end. Each tool's own settings say
where they go (MLFLOW_TRACKING_URI, WANDB_MODE, …). Trackers get a run's settings and figures, and nothing of a note: no text,
no words, no ids.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from icdbench.settings import SpecError, typed, unknown

if TYPE_CHECKING:
    from icdbench.experiments.progress import RunGrid
    from icdbench.records import RunRecord
    from icdbench.spec import RunSpec
    from icdbench.training import Progress, TrainingError
    from icdbench.types import Report

log = logging.getLogger("icdbench")

PROJECT = "icdbench"  # MLflow experiment and W&B project, unless MLFLOW_EXPERIMENT_NAME or WANDB_PROJECT name another
OF_TRAINING = ("loss", "drop_rate", "dropped", "split", "seconds")  # the other figures of an epoch are of validation


class OnTensorBoard:
    """Event files below `runs/`, TensorBoard's default. A run that is resumed or repeated replaces the epochs it repeats."""

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
    """A run of MLflow, by default in the SQLite file `mlflow.db`.

    MLflow allows few characters in names: `p@5` becomes `p_at_5`, `f1_micro[1-10]` becomes `f1_micro_1-10`.
    """

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
    """A run of Weights & Biases, which gets neither facts of the machine, nor printed output, nor code."""

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


# An open run in one tool: `log` adds the figures of an epoch, `end` closes the run with its test figures, if it has finished.
Tracked = OnTensorBoard | OnMLflow | OnWandb
TOOLS: dict[str, type[Tracked]] = {"tensorboard": OnTensorBoard, "mlflow": OnMLflow, "wandb": OnWandb}


def check(names: Sequence[str]) -> None:
    """Raises SpecError for a tracker that is unknown, not installed or cannot be reached."""
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
def tracked(shown: RunGrid, names: Sequence[str]) -> Iterator[Tracking]:
    """Yields a display that also logs runs to the named trackers. Runs that do not end in the block are closed as failed."""
    tracking = Tracking(shown, names)
    try:
        yield tracking
    finally:
        for name in list(tracking.open):
            tracking.close(name, {})


class Tracking:
    """Shows runs as `shown` does and logs them to trackers; `finish` logs a run's end."""

    def __init__(self, shown: RunGrid, names: Sequence[str]) -> None:
        self.shown, self.names = shown, names
        self.open: dict[str, dict[str, Tracked]] = {}  # by id of the run and name of the tracker
        self.last_epoch: dict[str, float] = {}  # the last epoch of each run that was logged

    def begin(self, number: int, spec: RunSpec) -> tuple[Callable[[Progress], None], Report]:
        """Show a run; returns the display's reports, the first of which also logs."""
        report, prepare = self.shown.begin(number, spec)

        def report_and_log(step: Progress) -> None:
            report(step)
            self._log_epoch(spec, step.epoch, step.figures)

        return report_and_log if self.names else report, prepare

    def end(self, number: int) -> None:
        self.shown.end(number)

    def finish(self, outcome: RunRecord | TrainingError, name: str) -> None:
        """Log a run that ended, with those of its epochs that were trained in another process."""
        if not self.names or isinstance(outcome, Exception):
            self.close(name, {})
            return
        for epoch in outcome.history:
            if epoch.epoch > self.last_epoch.get(name, 0):
                self._log_epoch(outcome.spec, int(epoch.epoch), epoch.figures)
        self._open(outcome.spec, 1)
        tested = {
            f"test/{rule}/{key}": value
            for rule, figures in outcome.metrics["test"].items()
            for key, value in figures.items()
        }
        self.close(name, {**tested, "parameters": outcome.parameters})

    def _log_epoch(self, spec: RunSpec, epoch: int, figures: Mapping[str, float]) -> None:
        self._open(spec, epoch)
        if figures:
            grouped = {_grouped(key): value for key, value in figures.items() if key != "epoch"}
            self._each(spec.id, lambda run: run.log(grouped, epoch))
            self.last_epoch[spec.id] = epoch

    def _open(self, spec: RunSpec, epoch: int) -> None:
        if spec.id in self.open:
            return
        self.open[spec.id] = {}
        facts = {name: getattr(spec, name) for name in ("dataset", "system", "seed", "fingerprint")}
        for tool in self.names:
            try:
                self.open[spec.id][tool] = TOOLS[tool](spec.id, {**spec.settings, **facts}, epoch)
            except Exception as error:  # noqa: BLE001  each tool has errors of its own
                _warn(tool, spec.id, error)

    def close(self, name: str, figures: Mapping[str, float]) -> None:
        """Close a run in all trackers: with the test figures of a finished one, or with none."""
        self._each(name, lambda run: run.end(figures))
        self.open.pop(name, None)

    def _each(self, name: str, act: Callable[[Tracked], None]) -> None:
        """Apply to the run in every tracker; one that fails gets no more of this run."""
        for tool, run in list(self.open.get(name, {}).items()):
            try:
                act(run)
            except Exception as error:  # noqa: BLE001  each tool has errors of its own
                _warn(tool, name, error)
                del self.open[name][tool]


def _warn(tool: str, name: str, error: Exception) -> None:
    log.warning("%s no longer logs %s: %s", tool, name, _line(error))


def _grouped(key: str) -> str:
    """The name of an epoch's figure in trackers: `train/loss`, `validation/p@5`."""
    return f"train/{key}" if key in OF_TRAINING else f"validation/{key.removeprefix('validation_')}"


def _line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
