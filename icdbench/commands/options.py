"""What commands share: options that several have, how their text is read, how they end."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from icdbench.spec import SpecError, nearest

Dataset = Annotated[str, typer.Option(help="A data set's name, or your own .csv, .parquet or .jsonl file.")]
Seeds = Annotated[str, typer.Option(help="A count (3: seeds 1, 2, 3) or a list (1,2,3; a single seed: 7,).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
DataFolder = Annotated[Path | None, typer.Option("--data", help="Folder of raw data; else ICDBENCH_DATA, else ./data.")]
Results = Annotated[Path, typer.Option("--results", help="Folder of run records.")]
Folders = Annotated[
    list[Path] | None, typer.Option("--results", help="Folder of run records; repeatable, to merge several groups'.")
]
Format = Annotated[str, typer.Option("--format", help="md, latex, csv or html.")]
Jobs = Annotated[int, typer.Option(help="Runs side by side on this machine, each with its share of the cores.")]
Devices = Annotated[int | None, typer.Option(help="Devices of this machine that compute each run together.")]
Nodes = Annotated[int | None, typer.Option(help="Machines that compute each run together, with --devices on each.")]
Launcher = Annotated[str, typer.Option(help="local, or ray: each run a task of a Ray cluster.")]
TaskCPUs = Annotated[float, typer.Option("--task-cpus", help="CPU cores that a task of --launcher ray needs.")]
TaskGPUs = Annotated[
    float | None, typer.Option("--task-gpus", help="GPUs that a task of --launcher ray needs; 0.5: two share one.")
]
RunOption = Annotated[
    str | None, typer.Option("--run", help="A trained run's id ('icdbench runs' lists them) or folder.")
]
BundleOption = Annotated[Path | None, typer.Option("--bundle", help="A trained model's file, from 'icdbench bundle'.")]
RunDataset = Annotated[
    str | None, typer.Option("--dataset", help="The run's own data file, if the cache has lost its words.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="train.FIELD=VALUE, data.FIELD=VALUE or MODEL.FIELD=VALUE; repeatable."),
]


def fail(message: str, status: int) -> None:
    print(f"icdbench: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(status)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turns Ctrl-C into a line and its exit status."""
    try:
        yield
    except KeyboardInterrupt:
        fail("stopped; nothing half-written is kept", 130)


def until_stopped(serving: Any, *, browser: bool, warning: str = "") -> None:
    """Shows where a page is served, until Ctrl-C."""
    import webbrowser

    try:
        with serving as (url, wait):
            typer.echo(url)
            if warning:
                typer.echo(warning, err=True)
            if browser:
                webbrowser.open(url)
            wait()
    except KeyboardInterrupt:
        fail("stopped", 130)


def tables_in(fmt: str) -> Any:
    """The tables module, once the format is known to be one of its own: a typo must not cost a training run."""
    from icdbench import formats, tables

    if fmt not in formats.FORMATS:
        raise SpecError(f"no format '{fmt}'{nearest(fmt, formats.FORMATS)}")
    return tables


def parsed_seeds(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    try:
        numbers = [int(part) for part in parts if part]
    except ValueError:
        numbers = []
    if len(parts) == 1 and len(numbers) == 1 and 1 <= numbers[0] <= 1000:
        return list(range(1, numbers[0] + 1))
    if len(parts) > 1 and numbers and all(0 <= number < 2**31 for number in numbers):
        return numbers
    raise SpecError(
        f"--seeds {text}: give a count such as 3 (at most 1000), or a list such as 1,2,3 (a single seed: 7,)"
    )


def parsed_changes(settings: list[str] | None, only: str | None = None) -> dict[str, Any]:
    """`train.max_epochs=5` as {"train.max_epochs": "5"}; with `only`, that part's fields alone, without its name."""
    changes: dict[str, Any] = {}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise SpecError(f"--set {setting}: write it as train.max_epochs=5")
        if key.strip() in changes:
            raise SpecError(f"--set {key.strip()} is given twice")
        changes[key.strip()] = None if value.strip().lower() == "none" else value.strip()
    if only is None:
        return changes
    for key in changes:
        if not key.startswith(f"{only}."):
            raise SpecError(f"--set {key}: only {only}.FIELD=VALUE has a meaning here")
    return {key.removeprefix(f"{only}."): value for key, value in changes.items()}


def listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def grid(rows: list[list[Any]], headers: list[str]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)
