"""Progress on stderr: live bars on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from icdbench.host import output
from icdbench.spec import RunSpec
from icdbench.types import Report

if TYPE_CHECKING:  # torch is slow to import, and preparing data needs none
    from icdbench.experiments import tune
    from icdbench.training import Progress as Step

T = TypeVar("T")


@contextlib.contextmanager
def preparing(console: Console) -> Iterator[Report]:
    """Yields a Report that shows a bar for each stage of preparation; on a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=32), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as live:
        bars: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = live.add_task(_label(what), total=total)
            live.update(bars[what], completed=done, total=total)

        yield report


@contextlib.contextmanager
def counting(console: Console) -> Iterator[Callable[[Iterable[T]], Iterator[T]]]:
    """Yields a function that passes notes through and shows their number and rate; on a terminal only."""
    texts = (TextColumn("{task.completed:,.0f} notes"), TextColumn("{task.fields[rate]}"))
    columns = (SpinnerColumn(), *texts, TimeElapsedColumn())
    hidden = not console.is_terminal or sys.stdout.isatty()  # output on the terminal is progress enough
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=hidden) as live:

        def count(notes: Iterable[T]) -> Iterator[T]:
            shown, began = live.add_task("", total=None, rate=""), time.monotonic()
            for number, note in enumerate(notes, start=1):
                live.update(shown, completed=number, rate=f"{number / (time.monotonic() - began + 1e-9):,.1f} notes/s")
                yield note

        yield count


@contextlib.contextmanager
def display(total: int, console: Console) -> Iterator[RunGrid]:
    """Yields the display of a grid of `total` runs: a line for each run in progress."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as live:
        yield RunGrid(total, console, live)


class RunGrid:
    """Runs in progress, by their numbers from 1."""

    def __init__(self, total: int, console: Console, live: Progress) -> None:
        self.total, self.console, self.live = total, console, live
        self.shown: dict[int, TaskID] = {}
        self.several = False  # runs side by side: then each line begins with the run's number

    def begin(self, number: int, spec: RunSpec) -> tuple[Callable[[Step], None], Report]:
        """Show a run; returns the functions to report training and the preparation of data to."""
        name = f"[{number}/{self.total}] {spec.dataset} {spec.system} seed {spec.seed}"
        task = self.shown[number] = self.live.add_task(_label(name), total=None, figures="preparing")
        self.several = self.several or len(self.shown) > 1
        self._line(name)

        def report(step: Step) -> None:
            if self.shown.get(number) != task:  # a late report of a run that has ended
                return
            self.live.update(task, total=step.steps, completed=step.step, figures=figures(step, spec))
            if step.ended:
                self._line(f"{f'[{number}]' if self.several else ' '} {figures(step, spec)}")

        def prepare(what: str, done: int, total: int) -> None:
            if self.shown.get(number) == task:
                self.live.update(task, total=total, completed=done, figures=_label(what))

        return report, prepare

    def end(self, number: int) -> None:
        if number in self.shown:
            self.live.remove_task(self.shown.pop(number))

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(output.printable(text), markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def tuning(console: Console) -> Iterator[Callable[[tune.Standing], Callable[[Step], None]]]:
    """Yields a function that shows where a study stands as a trial begins, and returns the report for its training."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as live:
        shown = live.add_task("tuning", total=None, figures="")
        first, began = 0, time.monotonic()

        def start(standing: tune.Standing) -> Callable[[Step], None]:
            nonlocal first
            first = first or standing.number
            best = left = ""
            if standing.best is not None:
                best = f"  best {standing.monitor} {standing.best:.3f} (trial {standing.best_trial})"
            if done := standing.number - first:
                each = (time.monotonic() - began) / done
                left = f"  {_clock(each * (standing.total - standing.number + 1))} left"
            line = f"[trial {standing.number}/{standing.total}]{best}{left}"
            live.update(shown, description=_label(line), completed=standing.number - 1, total=standing.total)
            if not console.is_terminal:
                console.print(output.printable(line), markup=False, highlight=False, soft_wrap=True)

            def report(step: Step) -> None:
                value = "" if step.best is None else f"  {step.monitor} {step.best:.3f}"
                live.update(shown, figures=f"epoch {step.epoch}  loss {step.loss:.4f}{value}")

            return report

        yield start


def figures(step: Step, spec: RunSpec) -> str:
    """Epoch, loss, validation metric, speed, and the time left if the best epoch so far stays the best."""
    if not step.monitor:
        return f"epoch {step.epoch}  loss {step.loss:.4f}  {step.rate:.0f} docs/s  with the validation documents"
    value = "" if step.value is None else f"  {step.monitor} {step.value:.3f}"
    best = "" if step.best is None else f" (best {step.best:.3f}, epoch {step.best_epoch})"
    stop = min(spec.train.max_epochs, max(step.best_epoch, 1) + spec.train.patience)
    soonest = _clock((stop - step.epoch + 1 - step.step / step.steps) * step.seconds_per_epoch)
    return f"epoch {step.epoch}/{spec.train.max_epochs}  loss {step.loss:.4f}{value}{best}  {step.rate:.0f} docs/s  ≥ {soonest} left"


def _label(text: str) -> str:
    """The text for a column, with brackets escaped: they are no markup."""
    return output.printable(text).replace("[", r"\[")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    return f"{minutes}:{rest:02d}"
