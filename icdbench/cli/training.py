"""The commands that train: `run`, `ablate`, `tune`; and `models`, which lists what can be trained."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icdbench.cli import options
from icdbench.host import limit_threads, output
from icdbench.plugins import listing
from icdbench.settings import SpecError, typed

if TYPE_CHECKING:
    from icdbench import api, registry
    from icdbench.spec import Variant

log = logging.getLogger("icdbench")
app = typer.Typer()
NEEDS = {
    "titles": "titles of the codes",
    "hierarchy": "a hierarchy of the codes",
    "encoder": "a pretrained encoder (--set {}.encoder=FOLDER; pip install 'icdbench[plm]')",
}
CONTINUES = "stopped; the same command continues where it was"


@app.command()
def run(
    models: Annotated[
        str | None,
        typer.Option(
            help="Models by name, separated by commas, or all; variants as jlan@no-denoise; your own as ./mine.py, "
            "mine.py:NAME@VARIANT. Default: jlan,caml."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A data set's name, or your own file (.csv, .tsv, .json, …). Default: demo.")
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(help="Run the models and data set of a table, given by name or as your own file ending in .py."),
    ] = None,
    seeds: options.Seeds = "1",
    settings: options.Settings = None,
    columns: options.Columns = None,
    encoding: options.Encoding = None,
    skip_bad: options.SkipBad = False,
    data: options.DataFolder = None,
    results: options.Results = Path("results"),
    device: options.Device = "auto",
    devices: options.Devices = None,
    nodes: options.Nodes = None,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    launcher: options.Launcher = "local",
    task_cpus: options.TaskCPUs = 1,
    task_gpus: options.TaskGPUs = None,
    track: options.Track = "",
    force: options.Force = False,
    fmt: options.Format = "auto",
    wide: options.Wide = False,
    mix: options.MixVersions = False,
    floors: options.Floors = True,
    explain: options.ExplainSettings = False,
    _config: options.Config = None,
) -> None:
    """Train models on a data set and compare them on its test documents. Finished runs are not computed again."""
    names = None if models is None else options.parsed_names(models)
    if names == []:
        raise SpecError("--models names no model; see 'icdbench models'")
    listing.check_names(names or ())
    fmt = options.table_format(fmt, wide=wide)
    numbers = options.parsed_seeds(seeds)
    changes = options.parsed_changes(settings, columns, encoding, skip_bad=skip_bad)
    _limit_threads(threads, devices, launcher)
    from icdbench import api

    planned = api.plan(
        names, dataset, benchmark=benchmark, seeds=numbers, settings=changes, data=data, results=results, device=device, force=force, floors=floors and not explain
    )  # fmt: skip
    if explain:
        for each in api.resolved(planned):
            rows = [[name, typed(value), layer] for name, value, layer in each.rows]
            options.echo(
                f"{each.spec.system} on {each.spec.dataset}\n\n{options.grid(rows, ['setting', 'value', 'from'])}\n"
            )
        return
    execution = api.Execution(jobs, devices, nodes, launcher, task_cpus, task_gpus, track=options.parsed_names(track))
    _print_runs(lambda: api.carry_out(planned, execution), fmt, mix=mix)


def _limit_threads(threads: int | None, devices: int | None, launcher: str) -> None:
    """Set the number of threads. Raises SpecError if --threads cannot have an effect."""
    if threads is not None and launcher == "ray":
        raise SpecError(f"--threads {threads} does not reach the tasks of --launcher ray; say --task-cpus {threads}")
    limit_threads(threads, processes=devices or 1)


def _print_runs(call: Callable[[], api.Results], fmt: str, *, mix: bool) -> None:
    """Make runs and print their table; end with status 1 if some of them failed."""
    from icdbench import api
    from icdbench.presentation import tables

    failures = ""
    with options.stoppable(CONTINUES):
        try:
            found = call()
        except api.RunsFailedError as error:
            found, failures = error.results, str(error)
    if found or found.parts:
        options.print_tables(found.table(mix=mix).text(fmt))
    for line in tables.at_popularity(found.records):
        log.warning("%s", line)
    if failures:
        options.fail(failures, 1)


@app.command("ablate")
def run_ablation(
    model: Annotated[str, typer.Argument(help="A model with variants, such as jlan.")],
    dataset: options.Dataset = "demo",
    study: Annotated[
        str,
        typer.Option(help="A study of the model's paper (of jlan: attention, joint, denoise, t-loss, blocks), or all."),
    ] = "all",
    seeds: options.Seeds = "1",
    settings: options.Settings = None,
    columns: options.Columns = None,
    encoding: options.Encoding = None,
    skip_bad: options.SkipBad = False,
    data: options.DataFolder = None,
    results: options.Results = Path("results"),
    device: options.Device = "auto",
    devices: options.Devices = None,
    nodes: options.Nodes = None,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    launcher: options.Launcher = "local",
    task_cpus: options.TaskCPUs = 1,
    task_gpus: options.TaskGPUs = None,
    track: options.Track = "",
    force: options.Force = False,
    fmt: options.Format = "auto",
    wide: options.Wide = False,
    mix: options.MixVersions = False,
) -> None:
    """Run the studies of a model's paper, or all its variants, and print each as its table or a figure's data."""
    listing.check_names([model])
    fmt = options.table_format(fmt, wide=wide)
    numbers = options.parsed_seeds(seeds)
    changes = options.parsed_changes(settings, columns, encoding, skip_bad=skip_bad)
    _limit_threads(threads, devices, launcher)
    from icdbench import api

    execution = api.Execution(jobs, devices, nodes, launcher, task_cpus, task_gpus, track=options.parsed_names(track))
    _print_runs(
        lambda: api.ablate(
            model, dataset, study=study, seeds=numbers, settings=changes, data=data, results=results, device=device,
            force=force, execution=execution,
        ),
        fmt,
        mix=mix,
    )  # fmt: skip


@app.command("tune")
def run_tuning(
    models: Annotated[
        str, typer.Argument(metavar="MODELS", help="A model, such as jlan or ./mine.py; several, as jlan,caml; or all.")
    ],
    dataset: options.Dataset = "demo",
    trials: Annotated[
        int, typer.Option(help="Total trials of each model; the same command continues up to that number.")
    ] = 50,
    storage: Annotated[
        str | None, typer.Option(help="Database URL for the trials; default: SQLite in the results folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search and of all trials.")] = 0,
    settings: options.Settings = None,
    columns: options.Columns = None,
    encoding: options.Encoding = None,
    skip_bad: options.SkipBad = False,
    data: options.DataFolder = None,
    results: options.Results = Path("results"),
    device: options.Device = "auto",
    threads: options.Threads = None,
    fmt: options.Format = "auto",
    wide: options.Wide = False,
) -> None:
    """Search the tuning ranges for the best validation metric; the best setting is then run as MODEL@tuned."""
    names = options.parsed_names(models)
    listing.check_names(names)
    fmt = options.table_format(fmt, wide=wide)
    changes = options.parsed_changes(settings, columns, encoding, skip_bad=skip_bad)
    limit_threads(threads)
    import matplotlib as mpl

    from icdbench import api
    from icdbench.experiments import tune
    from icdbench.presentation import tables
    from icdbench.run import Request

    mpl.use("agg")  # Optuna's plots need no window
    studies: list[tuple[str, Mapping[str, Any]]] = [(models, changes)]
    failures = []
    with options.stoppable("stopped; the same command continues with the next trial"):
        if len(names) > 1 or names == ["all"]:
            every = Request(names, dataset, changes=changes, root=data, results=results, device=device)
            budgets = tune.budgets(every, trials, storage, seed)
            options.echo(tables.cost([budget for _, budget in budgets]), err=True)
            studies = [(budget.model, request.changes) for request, budget in budgets]
        for name, own_changes in studies:
            try:
                found = api.tune(
                    name, dataset, trials=trials, settings=own_changes, data=data, results=results, device=device, storage=storage, seed=seed
                )  # fmt: skip
            except api.TrainingError as error:
                failures.append(f"{name}: {error}" if len(studies) > 1 else str(error))
            else:
                options.print_tables(found.text(fmt))
    if failures:
        options.fail("; ".join(failures), 1)


@app.command("models")
def show_models(
    name: Annotated[
        str | None, typer.Argument(help="A model, or your own file, to see its fields and variants.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="A data set, to count the model's parameters on it.")] = None,
    data: options.DataFolder = None,
    wide: options.Wide = False,
) -> None:
    """List the models, or describe one: paper, equations, fields with defaults and tuning ranges, variants, parameters."""
    if name is None:
        options.print_list(_model_rows(), ["model", "paper", "variants"], wide=wide)
        return
    listing.check_names([name])
    from icdbench import registry, resolution
    from icdbench.spec import TrainSpec

    base, variant_name = registry.split(name)
    entry = registry.entry(base)
    variant = entry.variant(variant_name)
    count = _num_parameters(entry, variant, dataset, data) if dataset is not None and entry.uses_trainer else None
    fields = entry.config().override(variant.model, base).model_dump()
    if entry.needs:
        options.echo(f"Needs: {', '.join(NEEDS[each].format(entry.name) for each in entry.needs)}\n")
    options.echo(f"{entry.about if wide else output.fitted(entry.about)}\n")
    _print_fields(f"{entry.name}.", fields, entry.config.ranges(), wide=wide)
    if entry.uses_trainer:
        trained = TrainSpec().override({**entry.train, **variant.train}, "train")
        options.echo()
        _print_fields("train.", trained.model_dump(exclude=trained.idle()), entry.train_ranges, wide=wide)
        options.echo(
            output.fitted("\nOther objectives, schedules and guidance have fields of their own: docs/losses.md")
        )
    if entry.small:
        targets = entry.small_by_target.items()
        small = {f"{target}.{field}": value for target, changes in targets for field, value in changes.items()}
        found_by = f" ({entry.study})" if entry.study else ""
        options.echo(
            output.fitted(f"\nBelow {resolution.SMALL:,} training documents{found_by}: {options.listed(small)}")
        )
    if entry.variants:
        rows = [
            [f"{entry.name}@{each.name}", each.about, options.listed({**each.model, **each.data, **each.train})]
            for each in entry.variants.values()
        ]
        options.echo()
        options.print_list(rows, ["variant", "what", "sets"], wide=wide)
    if dataset is not None:
        size = "as many as the documents have features" if count is None else f"{count:,}"
        options.echo(f"\nParameters on {dataset}: {size}")


def _model_rows() -> list[list[str]]:
    """Name, paper and variants of each model; the registry, which loads torch, is asked only if it must be."""
    if (listed_models := listing.listed_models()) is not None:
        return [[each.name, each.paper, ", ".join(each.variants)] for each in listed_models]
    from icdbench import registry

    return [[each.name, each.paper, ", ".join(each.variants)] for each in registry.entries().values()]


def _num_parameters(entry: registry.Entry, variant: Variant, dataset: str, root: Path | None) -> int:
    """The number of trained parameters on a data set."""
    import icdbench.run as runner
    from icdbench import registry, resolution
    from icdbench.data import datasets
    from icdbench.training import score

    opened = datasets.open(dataset, root, {**entry.data, **variant.data})
    corpus = opened.corpus()
    small = entry.small_by_target[entry.name] if len(corpus.splits["train"]) < resolution.SMALL else {}
    model = registry.build(entry.name, runner.task(corpus, opened.data, None), **{**small, **variant.model})
    return score.num_parameters(model)


def _print_fields(target: str, values: Mapping[str, Any], ranges: Mapping[str, object], *, wide: bool) -> None:
    """Print a row for each field: its default and its tuning range."""
    rows = [[field, value, str(ranges.get(field, ""))] for field, value in values.items()]
    options.print_list(rows, [target, "default", "tuning range"], wide=wide)
