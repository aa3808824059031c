"""What a person sees while runs are in progress: on stderr, one live line on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from icdbench.spec import RunSpec
from icdbench.types import Report

if TYPE_CHECKING:  # torch is slow to import, and preparing data needs none
    from icdbench.train import Progress as Step


@contextlib.contextmanager
def preparing(console: Console) -> Iterator[Report]:
    """Yields a Report that shows a bar for each thing that is being done, on a terminal alone."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=32), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as live:
        bars: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = live.add_task(what.replace("[", r"\["), total=total)
            live.update(bars[what], completed=done, total=total)

        yield report


@contextlib.contextmanager
def display(total: int, console: Console) -> Iterator[Callable[[int, RunSpec], tuple[Callable[[Step], None], Report]]]:
    """Yields a function (number, spec) -> reports for the trainer and for what goes before; `total` runs are asked for."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as live:

        def start(number: int, spec: RunSpec) -> tuple[Callable[[Step], None], Report]:
            name = f"[{number}/{total}] {spec.dataset} {spec.system} seed {spec.seed}"
            for earlier in live.task_ids:
                live.remove_task(earlier)
            shown = live.add_task(name.replace("[", r"\["), total=None, figures="preparing")
            if not console.is_terminal:
                console.print(name, markup=False, highlight=False)

            def prepare(what: str, done: int, total: int) -> None:
                live.update(shown, total=total, completed=done, figures=what)

            def report(step: Step) -> None:
                live.update(shown, total=step.steps, completed=step.step, figures=figures(step, spec))
                if step.ended and not console.is_terminal:
                    console.print(f"  {figures(step, spec)}", markup=False, highlight=False, soft_wrap=True)

            return report, prepare

        yield start


def figures(step: Step, spec: RunSpec) -> str:
    """Epoch, loss, validation metric, speed, and the time left if no epoch is better than the best so far."""
    value = "" if step.value is None else f"  {step.monitor} {step.value:.3f}"
    best = "" if step.best is None else f" (best {step.best:.3f}, epoch {step.best_epoch})"
    stop = min(spec.train.max_epochs, max(step.best_epoch, 1) + spec.train.patience)
    soonest = _clock((stop - step.epoch + 1 - step.step / step.steps) * step.seconds_per_epoch)
    return f"epoch {step.epoch}/{spec.train.max_epochs}  loss {step.loss:.4f}{value}{best}  {step.rate:.0f} docs/s  ≥ {soonest} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    return f"{minutes}:{rest:02d}"
