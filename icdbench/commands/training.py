"""Commands that train: `run`, `ablate`, `tune`; and `models`, which says what can be trained."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from icdbench.commands.options import (
    DataFolder,
    Dataset,
    Device,
    Devices,
    Format,
    Jobs,
    Launcher,
    Nodes,
    Results,
    Seeds,
    Settings,
    TaskCPUs,
    TaskGPUs,
    fail,
    grid,
    listed,
    parsed_changes,
    parsed_seeds,
    tables_in,
)
from icdbench.spec import SpecError, nearest

app = typer.Typer()


@app.command()
def run(
    models: Annotated[
        str | None,
        typer.Option(help="Models by name, separated by commas, or all; variants as jlan@no-denoise. Else jlan,caml."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A data set's name, or your own .csv, .parquet or .jsonl file. Else demo.")
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="Models and data set of a table: its name, or your own file ending in .py.")
    ] = None,
    seeds: Seeds = "1",
    settings: Settings = None,
    data: DataFolder = None,
    results: Results = Path("results"),
    device: Device = "auto",
    devices: Devices = None,
    nodes: Nodes = None,
    jobs: Jobs = 1,
    launcher: Launcher = "local",
    task_cpus: TaskCPUs = 1,
    task_gpus: TaskGPUs = None,
    fmt: Format = "md",
) -> None:
    """Train models on a data set and compare them on its test documents. Finished runs are not computed again."""
    tables = tables_in(fmt)
    from icdbench import catalog
    from icdbench.run import Request

    names = None if models is None else [name.strip() for name in models.split(",") if name.strip()]
    if names == []:
        raise SpecError("--models names no model; see 'icdbench models'")
    numbers, changes, parts = parsed_seeds(seeds), parsed_changes(settings), []
    if benchmark is None:
        asked = [Request(names or ("jlan", "caml"), dataset or "demo", numbers, changes, data, results, device)]
    else:
        parts = [each for each in catalog.chosen(benchmark) if dataset in {None, each.dataset} and not each.statistics]
        if not parts:
            raise SpecError(f"'{benchmark}' has no table of systems" + (f" on '{dataset}'" if dataset else ""))
        asked = [
            Request(systems, each.dataset, numbers, {**each.overrides, **changes}, data, results, device)
            for each in parts
            for systems in [names or catalog.systems_of(each)]
        ]
    found, failures = _carry_out(asked, jobs, (devices, nodes), (launcher, task_cpus, task_gpus))
    if parts:
        typer.echo(tables.printed(list(zip(parts, found, strict=True)), fmt), nl=False)
    elif found[0]:
        typer.echo(tables.comparison(found[0], fmt), nl=False)
    if failures:
        fail(failures, 1)


def _carry_out(
    requests: list[Any], jobs: int, together: tuple[int | None, int | None], task: tuple[str, float, float | None]
) -> tuple[list[list[Any]], str]:
    """The finished runs of each request, and a line about those that failed. What several ask for is run once."""
    from rich.console import Console

    from icdbench import launch
    from icdbench import run as runner
    from icdbench.progress import display, preparing

    launcher, *needs = task
    if launcher not in {"local", "ray"}:
        raise SpecError(f"no launcher '{launcher}'{nearest(launcher, ('local', 'ray'))}")
    ways = {
        "--jobs": jobs != 1,
        "--devices and --nodes, or torchrun": together != (None, None) or "TORCHELASTIC_RUN_ID" in os.environ,
        "--launcher ray": launcher == "ray",
    }
    if sum(ways.values()) > 1:
        named = ", ".join(way for way, chosen in ways.items() if chosen)
        raise SpecError(f"{named}: these are different ways to use many cores; choose one of them")
    cluster = launch.Cluster(*needs) if launcher == "ray" else None  # type: ignore[arg-type]
    console = Console(stderr=True, quiet=not launch.shows())
    records, failures = {}, []
    try:
        with preparing(console) as prepare:
            expanded = [runner.expand(request, prepare) for request in requests]
        # Only now that all is known to be right are other processes begun.
        devices, nodes = launch.join(requests[0].device, *together)
        requests = [replace(request, devices=devices, nodes=nodes) for request in requests]
        asked = {spec.id: (spec, request) for specs, request in zip(expanded, requests, strict=True) for spec in specs}
        with display(len(asked), console) as shown:
            for name, outcome in launch.carry_out(list(asked.values()), jobs, shown, cluster):
                if isinstance(outcome, Exception):
                    failures.append(f"{name}: {outcome}")
                else:
                    records[name] = outcome
    except KeyboardInterrupt:
        fail("stopped; the same command continues where it was", 130)
    found = [[records[spec.id] for spec in specs if spec.id in records] for specs in expanded]
    if not launch.shows():  # a process that ended with an error would take along the one that prints
        return found, ""
    return found, f"{len(failures)} of {len(asked)} runs failed: {'; '.join(failures)}" if failures else ""


@app.command("ablate")
def run_ablation(
    model: Annotated[str, typer.Argument(help="A model with variants, such as jlan.")],
    dataset: Dataset = "demo",
    study: Annotated[
        str,
        typer.Option(help="A study of the model's paper (of jlan: attention, joint, denoise, t-loss, blocks), or all."),
    ] = "all",
    seeds: Seeds = "1",
    settings: Settings = None,
    data: DataFolder = None,
    results: Results = Path("results"),
    device: Device = "auto",
    devices: Devices = None,
    nodes: Nodes = None,
    jobs: Jobs = 1,
    launcher: Launcher = "local",
    task_cpus: TaskCPUs = 1,
    task_gpus: TaskGPUs = None,
    fmt: Format = "md",
) -> None:
    """Run the studies of a model's paper, or all its variants, and print each as its table or a figure's data."""
    tables = tables_in(fmt)
    from icdbench import ablate
    from icdbench.run import Request

    request = Request([model], dataset, parsed_seeds(seeds), parsed_changes(settings), data, results, device)
    planned = ablate.plan(request, model, study)
    found, failures = _carry_out(
        [each for _, each in planned], jobs, (devices, nodes), (launcher, task_cpus, task_gpus)
    )
    shown = [(benchmark, records) for (benchmark, _), records in zip(planned, found, strict=True) if records]
    texts = [
        tables.table(benchmark, records, fmt) if benchmark else tables.comparison(records, fmt)
        for benchmark, records in shown
    ]
    typer.echo("\n".join(texts), nl=False)
    if failures:
        fail(failures, 1)


@app.command("tune")
def run_tuning(
    model: Annotated[str, typer.Argument(help="A model, such as jlan.")],
    dataset: Dataset = "demo",
    trials: Annotated[int, typer.Option(help="Trials in all; the same command continues up to that number.")] = 50,
    storage: Annotated[
        str | None, typer.Option(help="Where trials are kept: a database URL; else SQLite in the results folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search and of every trial.")] = 0,
    settings: Settings = None,
    data: DataFolder = None,
    results: Results = Path("results"),
    device: Device = "auto",
    fmt: Format = "md",
) -> None:
    """Search the tuning ranges for the best validation metric; the setting found is run as MODEL@tuned."""
    tables = tables_in(fmt)
    from rich.console import Console

    from icdbench import progress
    from icdbench.run import Request
    from icdbench.train import TrainingError
    from icdbench.tune import tune

    request = Request([model], dataset, changes=parsed_changes(settings), root=data, results=results, device=device)
    console = Console(stderr=True)
    try:
        with progress.preparing(console) as prepare, progress.tuning(console) as show:
            found = tune(request, trials, storage, seed, show, prepare)
    except KeyboardInterrupt:
        fail("stopped; the same command continues with the next trial", 130)
    except TrainingError as error:
        fail(str(error), 1)
    words = ["icdbench", "run", "--models", f"{model},{model}@tuned", "--dataset", dataset]
    words += [word for setting in settings or [] if setting.startswith("data.") for word in ("--set", setting)]
    words += ["--data", str(data)] if data else []
    words += ["--results", str(results)] if results != Path("results") else []
    typer.echo(tables.tuned(found, shlex.join(words), fmt), nl=False)


@app.command("models")
def show_models(
    name: Annotated[str | None, typer.Argument(help="A model, to see its fields and variants.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A data set, to count the model's parameters on it.")] = None,
    data: DataFolder = None,
) -> None:
    """List the models, or describe one: paper, equations, fields with defaults and tuning ranges, variants, parameters."""
    from icdbench import registry
    from icdbench import run as runner
    from icdbench.spec import TrainSpec

    if name is None:
        rows = [[entry.name, entry.paper, ", ".join(entry.variants)] for entry in registry.entries().values()]
        typer.echo(grid(rows, ["model", "paper", "variants"]))
        return
    base, _, variant_name = name.partition("@")
    entry = registry.entry(base)
    variant = entry.variant(variant_name)
    count = None if dataset is None else runner.parameters(name, dataset, data)
    ranges = entry.config.ranges()
    fields = entry.config().override(variant.model, base).model_dump()
    rows = [[field, value, str(ranges.get(field, ""))] for field, value in fields.items()]
    typer.echo(f"{entry.about}\n\n{grid(rows, [f'{entry.name}.', 'default', 'tuning range'])}")
    trained = TrainSpec().override({**entry.train, **variant.train}, "train")
    ranges = trained.ranges()
    rows = [[field, value, str(ranges.get(field, ""))] for field, value in trained.model_dump().items()]
    typer.echo(f"\n{grid(rows, ['train.', 'default', 'tuning range'])}")
    if entry.small:
        typer.echo(
            f"\nBelow {runner.SMALL:,} training documents: {listed({f'train.{k}': v for k, v in entry.small.items()})}"
        )
    if entry.variants:
        rows = [
            [
                f"{entry.name}@{variant.name}",
                variant.about,
                listed({**variant.model, **variant.data, **variant.train}),
            ]
            for variant in entry.variants.values()
        ]
        typer.echo(f"\n{grid(rows, ['variant', 'what', 'sets'])}")
    if dataset is not None:
        size = "as many as the documents have features" if count is None else f"{count:,}"
        typer.echo(f"\nParameters on {dataset}: {size}")
