"""Commands that train: `run`, `ablate`, `tune`; and `models`, which says what can be trained."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icdbench.cli.options import (
    Columns,
    Config,
    DataFolder,
    Dataset,
    Device,
    Devices,
    Encoding,
    ExplainSettings,
    Floors,
    Force,
    Format,
    Jobs,
    Launcher,
    MixVersions,
    Nodes,
    Results,
    Seeds,
    Settings,
    SkipBad,
    TaskCPUs,
    TaskGPUs,
    Threads,
    Track,
    Wide,
    echo,
    fail,
    grid,
    listed,
    parsed_changes,
    parsed_names,
    parsed_seeds,
    print_list,
    print_tables,
    stoppable,
    table_format,
    with_reading,
)
from icdbench.host import limit_threads, output
from icdbench.plugins import listing
from icdbench.settings import SpecError, typed

if TYPE_CHECKING:
    from icdbench import api

log = logging.getLogger("icdbench")
app = typer.Typer()
_NEEDS = {
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
            "mine.py:NAME@VARIANT. Else jlan,caml."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A data set's name, or your own file (.csv, .tsv, .json, …). Else demo.")
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="Models and data set of a table: its name, or your own file ending in .py.")
    ] = None,
    seeds: Seeds = "1",
    settings: Settings = None,
    columns: Columns = None,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,  # noqa: FBT002
    data: DataFolder = None,
    results: Results = Path("results"),
    device: Device = "auto",
    devices: Devices = None,
    nodes: Nodes = None,
    jobs: Jobs = 1,
    threads: Threads = None,
    launcher: Launcher = "local",
    task_cpus: TaskCPUs = 1,
    task_gpus: TaskGPUs = None,
    track: Track = "",
    force: Force = False,  # noqa: FBT002
    fmt: Format = "auto",
    wide: Wide = False,  # noqa: FBT002
    mix: MixVersions = False,  # noqa: FBT002
    floors: Floors = True,  # noqa: FBT002
    explain: ExplainSettings = False,  # noqa: FBT002
    _config: Config = None,
) -> None:
    """Train models on a data set and compare them on its test documents. Finished runs are not computed again."""
    names = None if models is None else parsed_names(models)
    if names == []:
        raise SpecError("--models names no model; see 'icdbench models'")
    listing.check_names(names or ())
    fmt = table_format(fmt, wide=wide)
    numbers, changes = parsed_seeds(seeds), parsed_changes(with_reading(settings, columns, encoding, skip_bad=skip_bad))
    _limit_threads(threads, devices, launcher)
    from icdbench import api

    planned = api.plan(
        names, dataset, benchmark=benchmark, seeds=numbers, settings=changes, data=data, results=results, device=device, force=force, floors=floors and not explain
    )  # fmt: skip
    if explain:
        for each in api.resolved(planned):
            rows = [[name, typed(value), layer] for name, value, layer in each.rows]
            echo(f"{each.spec.system} on {each.spec.dataset}\n\n{grid(rows, ['setting', 'value', 'from'])}\n")
        return
    execution = api.Execution(jobs, devices, nodes, launcher, task_cpus, task_gpus, track=parsed_names(track))
    _print_runs(lambda: api.carry_out(planned, execution), fmt, mix=mix)


def _limit_threads(threads: int | None, devices: int | None, launcher: str) -> None:
    """Raises SpecError where another option says how many threads there are."""
    if threads is not None and launcher == "ray":
        raise SpecError(f"--threads {threads} does not reach the tasks of --launcher ray; say --task-cpus {threads}")
    limit_threads(threads, processes=devices or 1)


def _print_runs(call: Callable[[], api.Results], fmt: str, *, mix: bool) -> None:
    """Print the table of the runs that a call makes; it ends with status 1 if some of them failed."""
    from icdbench import api
    from icdbench.presentation import tables

    failures = ""
    with stoppable(CONTINUES):
        try:
            found = call()
        except api.RunsFailedError as error:
            found, failures = error.results, str(error)
    if found or found.parts:
        print_tables(found.table(mix=mix).text(fmt))
    for line in tables.at_popularity(found.records):
        log.warning("%s", line)
    if failures:
        fail(failures, 1)


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
    columns: Columns = None,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,  # noqa: FBT002
    data: DataFolder = None,
    results: Results = Path("results"),
    device: Device = "auto",
    devices: Devices = None,
    nodes: Nodes = None,
    jobs: Jobs = 1,
    threads: Threads = None,
    launcher: Launcher = "local",
    task_cpus: TaskCPUs = 1,
    task_gpus: TaskGPUs = None,
    track: Track = "",
    force: Force = False,  # noqa: FBT002
    fmt: Format = "auto",
    wide: Wide = False,  # noqa: FBT002
    mix: MixVersions = False,  # noqa: FBT002
) -> None:
    """Run the studies of a model's paper, or all its variants, and print each as its table or a figure's data."""
    listing.check_names([model])
    fmt = table_format(fmt, wide=wide)
    numbers, changes = parsed_seeds(seeds), parsed_changes(with_reading(settings, columns, encoding, skip_bad=skip_bad))
    _limit_threads(threads, devices, launcher)
    from icdbench import api

    execution = api.Execution(jobs, devices, nodes, launcher, task_cpus, task_gpus, track=parsed_names(track))
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
    dataset: Dataset = "demo",
    trials: Annotated[
        int, typer.Option(help="Trials of each model in all; the same command continues up to that number.")
    ] = 50,
    storage: Annotated[
        str | None, typer.Option(help="Where trials are kept: a database URL; else SQLite in the results folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search and of every trial.")] = 0,
    settings: Settings = None,
    columns: Columns = None,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,  # noqa: FBT002
    data: DataFolder = None,
    results: Results = Path("results"),
    device: Device = "auto",
    threads: Threads = None,
    fmt: Format = "auto",
    wide: Wide = False,  # noqa: FBT002
) -> None:
    """Search the tuning ranges for the best validation metric; the setting found is run as MODEL@tuned."""
    names = parsed_names(models)
    listing.check_names(names)
    fmt = table_format(fmt, wide=wide)
    changes = parsed_changes(with_reading(settings, columns, encoding, skip_bad=skip_bad))
    limit_threads(threads)
    import matplotlib as mpl

    from icdbench import api
    from icdbench.experiments import tune
    from icdbench.presentation import tables
    from icdbench.run import Request

    mpl.use("agg")  # Optuna's plots need no window
    studies: list[tuple[str, Mapping[str, Any]]] = [(models, changes)]
    failures = []
    with stoppable("stopped; the same command continues with the next trial"):
        if len(names) > 1 or names == ["all"]:
            asked = Request(names, dataset, changes=changes, root=data, results=results, device=device)
            budgets = tune.budgets(asked, trials, storage, seed)
            echo(tables.cost([budget for _, budget in budgets]), err=True)
            studies = [(budget.model, request.changes) for request, budget in budgets]
        for name, of_model in studies:
            try:
                found = api.tune(
                    name, dataset, trials=trials, settings=of_model, data=data, results=results, device=device, storage=storage, seed=seed
                )  # fmt: skip
            except api.TrainingError as error:
                failures.append(f"{name}: {error}" if len(studies) > 1 else str(error))
            else:
                print_tables(found.text(fmt))
    if failures:
        fail("; ".join(failures), 1)


@app.command("models")
def show_models(
    name: Annotated[
        str | None, typer.Argument(help="A model, or your own file, to see its fields and variants.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="A data set, to count the model's parameters on it.")] = None,
    data: DataFolder = None,
    wide: Wide = False,  # noqa: FBT002
) -> None:
    """List the models, or describe one: paper, equations, fields with defaults and tuning ranges, variants, parameters."""
    if name is None:
        print_list(_every_model(), ["model", "paper", "variants"], wide=wide)
        return
    listing.check_names([name])
    import icdbench.run as runner
    from icdbench import registry, resolution
    from icdbench.spec import TrainSpec

    base, variant_name = registry.split(name)
    entry = registry.entry(base)
    variant = entry.variant(variant_name)
    count = None if dataset is None else runner.parameters(name, dataset, data)
    fields = entry.config().override(variant.model, base).model_dump()
    if entry.needs:
        echo(f"Needs: {', '.join(_NEEDS[each].format(entry.name) for each in entry.needs)}\n")
    echo(f"{entry.about if wide else output.fitted(entry.about)}\n")
    _print_fields(f"{entry.name}.", fields, entry.config.ranges(), wide=wide)
    trained = TrainSpec().override({**entry.train, **variant.train}, "train")
    echo()
    _print_fields("train.", trained.model_dump(), entry.train_ranges, wide=wide)
    if entry.small:
        small = listed(
            {f"{target}.{field}": value for target, of in entry.small_by_target.items() for field, value in of.items()}
        )
        found_by = f" ({entry.study})" if entry.study else ""
        echo(output.fitted(f"\nBelow {resolution.SMALL:,} training documents{found_by}: {small}"))
    if entry.variants:
        rows = [
            [f"{entry.name}@{each.name}", each.about, listed({**each.model, **each.data, **each.train})]
            for each in entry.variants.values()
        ]
        echo()
        print_list(rows, ["variant", "what", "sets"], wide=wide)
    if dataset is not None:
        size = "as many as the documents have features" if count is None else f"{count:,}"
        echo(f"\nParameters on {dataset}: {size}")


def _every_model() -> list[list[str]]:
    """Name, paper and variants of each; torch is loaded only if the files' text does not say it."""
    if (found := listing.listed_models()) is not None:
        return [[each.name, each.paper, ", ".join(each.variants)] for each in found]
    from icdbench import registry

    return [[each.name, each.paper, ", ".join(each.variants)] for each in registry.entries().values()]


def _print_fields(target: str, values: Mapping[str, Any], ranges: Mapping[str, object], *, wide: bool) -> None:
    """A row for each field: its default and its tuning range."""
    rows = [[field, value, str(ranges.get(field, ""))] for field, value in values.items()]
    print_list(rows, [target, "default", "tuning range"], wide=wide)
