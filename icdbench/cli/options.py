"""What commands share: the options of several commands, parsing of their values, printing, and exit statuses."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icdbench.host import output
from icdbench.settings import SpecError, nearest, typed, unknown

if TYPE_CHECKING:  # it imports numpy
    from icdbench.types import Report


def folder(path: str | Path) -> Path:
    """The folder of this name. Raises BadParameter for an empty name, such as that of a shell's variable that is not set."""
    if not str(path):
        raise typer.BadParameter("the name of the folder is empty; . is the current folder")
    return Path(path)


Dataset = Annotated[
    str, typer.Option(help="A data set's name, or your own file (.csv, .tsv, .parquet, .json, .jsonl).")
]
Seeds = Annotated[str, typer.Option(help="A count (3: seeds 1, 2, 3) or a list (1,2,3; a single seed: 7,).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", parser=folder, help="Folder of raw data; else ICDBENCH_DATA, else ./data.")
]
Results = Annotated[Path, typer.Option("--results", parser=folder, help="Folder of run records.")]
Folders = Annotated[
    list[Path] | None,
    typer.Option("--results", parser=folder, help="Folder of run records; repeatable, to merge several groups'."),
]
FORMATS_OF_TABLES = "md, latex, csv, html or terminal; auto: terminal on a terminal, else md"
Format = Annotated[str, typer.Option("--format", help=f"{FORMATS_OF_TABLES}.")]
Wide = Annotated[bool, typer.Option("--wide", help="On a terminal, print all columns of a table, however wide.")]
ExplainSettings = Annotated[
    bool, typer.Option("--explain-settings", help="Train nothing; print each setting and where it comes from.")
]
MixVersions = Annotated[bool, typer.Option("--mix-versions", help="Average runs of different minor versions, too.")]
Jobs = Annotated[int, typer.Option(help="Runs side by side on this machine, each with its share of the cores.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads, shared among --jobs; default: one for each core this process may use."),
]
Devices = Annotated[int | None, typer.Option(help="Devices of this machine that share the work of each run.")]
Nodes = Annotated[int | None, typer.Option(help="Machines that share the work of each run, with --devices on each.")]
Launcher = Annotated[str, typer.Option(help="local, or ray: each run is a task of a Ray cluster.")]
TaskCPUs = Annotated[float, typer.Option("--task-cpus", help="CPU cores that a task of --launcher ray needs.")]
TaskGPUs = Annotated[
    float | None, typer.Option("--task-gpus", help="GPUs that a task of --launcher ray needs; 0.5: two share one.")
]
Track = Annotated[str, typer.Option(help="Trackers for each run, separated by commas: tensorboard, mlflow, wandb.")]
ModelFiles = Annotated[
    list[str] | None, typer.Option("--models", help="Your own file that defines the run's model; repeatable.")
]
RunOption = Annotated[
    str | None, typer.Option("--run", help="A trained run's id ('icdbench runs' lists them) or folder.")
]
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="A trained model's file or folder, from 'icdbench bundle'.")
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, as 'icdbench runs' lists it, or its folder.")
]
DatasetArgument = Annotated[str, typer.Argument(help="A data set, or your own file.")]
RunDataset = Annotated[
    str | None, typer.Option("--dataset", help="The run's own data file, needed if its vocabulary is no longer cached.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="train.FIELD=VALUE, data.FIELD=VALUE or MODEL.FIELD=VALUE; repeatable."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="text=NAME, or NAME: your file's column of texts; likewise id=, codes=, split=, group=."
    ),
]
Encoding = Annotated[
    str | None, typer.Option("--encoding", help="Encoding of your own file, if not UTF-8, such as windows-1252.")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out rows of your own file that cannot be read, and list them.")
]

Force = Annotated[
    bool, typer.Option("--force", help="Compute finished runs again; their records are kept as record.old.json.")
]
Floors = Annotated[
    bool,
    typer.Option(
        "--floors/--no-floors",
        envvar="ICDBENCH_FLOORS",
        help="Also run the floors, which any system has to beat: keyword spotting and a sparse linear model (seconds).",
    ),
]


def fail(message: str, status: int) -> None:
    """End the command with a one-line message on stderr and an exit status."""
    with contextlib.suppress(OSError):  # the terminal may be closed
        echo(f"icdbench: {output.message(message)}", err=True)
    sys.exit(status)


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text with everything replaced that could control the terminal. All commands print through this function."""
    typer.echo(output.printable(str(text)), err=err, nl=nl)


@contextlib.contextmanager
def stoppable(message: str = "stopped; nothing half-written is kept") -> Iterator[None]:
    """On Ctrl-C, end the command with this message and exit status 130."""
    try:
        yield
    except KeyboardInterrupt:
        fail(message, 130)


@contextlib.contextmanager
def shown_progress() -> Iterator[Report]:
    """Yield a Report that shows progress on stderr; Ctrl-C ends the command with a message."""
    from rich.console import Console

    from icdbench.experiments import progress

    with stoppable(), progress.preparing(Console(stderr=True)) as report:
        yield report


def until_stopped(
    serving: AbstractContextManager[tuple[str, Callable[[], object]]], *, browser: bool, warning: str = ""
) -> None:
    """Print the address of a served page, open it in a browser if asked, and wait for Ctrl-C."""
    import webbrowser

    with stoppable("stopped"), serving as (url, wait):
        echo(url)
        if warning:
            echo(warning, err=True)
        if browser:
            webbrowser.open(url)
        wait()


def table_format(fmt: str, *, wide: bool = False, other_formats: Sequence[str] = ()) -> str:
    """The format that --format and --wide ask for: one of tables, or of `other_formats` that the command has.

    Raises SpecError for any other. Commands call it first, so that a typo does not cost a training run.
    """
    from icdbench.presentation import tables

    if fmt not in (formats := ("auto", *tables.FORMATS, *other_formats)):
        raise SpecError(f"no format '{fmt}'{nearest(fmt, formats)}")
    if fmt == "auto":
        fmt = "terminal" if sys.stdout.isatty() else "md"
    return "wide" if wide and fmt == "terminal" else fmt


def print_tables(text: str) -> None:
    """Print tables as they are: their cells are printable already, and `echo` would remove bold type."""
    typer.echo(text, nl=False)


def parsed_seeds(text: str) -> list[int]:
    """Parse --seeds: `3` gives 1, 2, 3; `1,2,3` and `7,` are lists. Raises SpecError."""
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


def parsed_names(text: str) -> list[str]:
    """Parse a list of names, such as `jlan,caml`."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parsed_changes(
    settings: list[str] | None,
    columns: list[str] | None = None,
    encoding: str | None = None,
    *,
    skip_bad: bool = False,
    only: str | None = None,
) -> dict[str, Any]:
    """Parse --set and the options for reading own data: `train.max_epochs=5` gives {"train.max_epochs": "5"}.

    With `only`, such as `data`, settings of other parts are refused and the part is left out of the keys. Raises SpecError.
    """
    reading = {
        "columns": ",".join(column if "=" in column else f"text={column}" for column in columns or []),
        "encoding": encoding,
        "skip_bad": "true" if skip_bad else "",
    }
    changes: dict[str, Any] = {}
    for setting in [*(settings or []), *(f"data.{name}={value}" for name, value in reading.items() if value)]:
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


def options_from(context: typer.Context, path: Path | None) -> Path | None:
    """Read default values of a command's options from a YAML file. Raises SpecError for unknown options."""
    if path is None:
        return None
    import yaml

    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
        raise SpecError(f"--config {path}: cannot be read as YAML: {reason}") from None
    if not isinstance(given, dict):
        raise SpecError(f"--config {path}: expected options of 'icdbench {context.info_name}', such as 'models: jlan'")
    options = {option.lstrip("-"): each for each in context.command.params for option in each.opts}
    del options["config"]
    if wrong := [str(key) for key in given if key not in options]:
        raise SpecError(f"--config {path}: {unknown('option', wrong, options)}")
    repeated = {key for key, each in options.items() if getattr(each, "multiple", False)}
    if odd := next((key for key, value in given.items() if isinstance(value, dict) and key not in repeated), None):
        raise SpecError(
            f"--config {path}: '{odd}' is one value or a list, such as '{odd}: [a, b]', not names with values"
        )
    context.default_map = {
        str(options[key].name): _as_typed(value, repeated=key in repeated)
        for key, value in given.items()
        if value is not None
    }
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=options_from,
        is_eager=True,
        help="A YAML file of this command's options, such as 'models: jlan'; options on the command line override it.",
    ),
]


def _as_typed(value: Any, *, repeated: bool) -> Any:
    """A YAML value as a user would type it: settings as NAME=VALUE; a list separated by commas, or of a repeated option."""
    if isinstance(value, dict):
        return [f"{key}={typed(each)}" for key, each in value.items()]
    if repeated:
        return [typed(each) for each in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        return typed(value) + "," * (len(value) == 1)
    return value if isinstance(value, bool) else typed(value)


def listed(values: Mapping[str, object]) -> str:
    """`name=value` pairs, separated by commas."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def grid(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> str:
    """A plain-text table with unchanged cells."""
    from tabulate import tabulate

    return tabulate(list(rows), headers, tablefmt="simple", disable_numparse=True)


def print_list(rows: Iterable[Sequence[object]], headers: Sequence[str], *, wide: bool = False) -> None:
    """Print rows as a table; on a terminal with as many columns as fit, or with all (`wide`)."""
    if not sys.stdout.isatty():
        echo(grid(rows, headers))
        return
    from icdbench.presentation import tables

    print_tables(tables.listed(rows, headers, "wide" if wide else "terminal"))
