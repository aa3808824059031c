"""The command line. Results go to stdout, progress and messages to stderr; heavy imports wait until a command needs them.

Exit status: 0 done, 1 a run failed, 2 the request or the data are wrong (one line says what), 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from icdbench.spec import DataError, SpecError, nearest

app = typer.Typer(
    help="Train and compare published models for automated ICD coding.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Data sets: what there is, fetching, checking, describing.", no_args_is_help=True)
app.add_typer(data_app, name="data")

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


def main() -> None:
    """Run the command line; turns errors meant for the user into one line and an exit status."""
    logging.basicConfig(level=logging.WARNING, format="icdbench: %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is half-written is removed, as at Ctrl-C
    try:
        app()
    except (SpecError, DataError) as error:
        _fail(str(error), 2)
    except OSError as error:  # a full disk, a folder that vanished
        _fail(f"{error.filename or 'output'}: {error.strerror or error}; what was finished is kept", 2)


def _fail(message: str, status: int) -> None:
    print(f"icdbench: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(status)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:  # noqa: FBT002
    if version:
        from icdbench import __version__

        typer.echo(__version__)
        raise typer.Exit


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
    tables = _tables(fmt)
    from icdbench import catalog
    from icdbench.run import Request

    names = None if models is None else [name.strip() for name in models.split(",") if name.strip()]
    if names == []:
        raise SpecError("--models names no model; see 'icdbench models'")
    numbers, changes, parts = _seeds(seeds), _changes(settings), []
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
        _fail(failures, 1)


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
    ways = {"--jobs": jobs != 1, "--devices and --nodes": any(together), "--launcher ray": launcher == "ray"}
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
        _fail("stopped; the same command continues where it was", 130)
    found = [[records[spec.id] for spec in specs if spec.id in records] for specs in expanded]
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
    tables = _tables(fmt)
    from icdbench import ablate
    from icdbench.run import Request

    request = Request([model], dataset, _seeds(seeds), _changes(settings), data, results, device)
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
        _fail(failures, 1)


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
    tables = _tables(fmt)
    from rich.console import Console

    from icdbench import progress
    from icdbench.run import Request
    from icdbench.train import TrainingError
    from icdbench.tune import tune

    request = Request([model], dataset, changes=_changes(settings), root=data, results=results, device=device)
    console = Console(stderr=True)
    try:
        with progress.preparing(console) as prepare, progress.tuning(console) as show:
            found = tune(request, trials, storage, seed, show, prepare)
    except KeyboardInterrupt:
        _fail("stopped; the same command continues with the next trial", 130)
    except TrainingError as error:
        _fail(str(error), 1)
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
        typer.echo(_grid(rows, ["model", "paper", "variants"]))
        return
    base, _, variant_name = name.partition("@")
    entry = registry.entry(base)
    variant = entry.variant(variant_name)
    count = None if dataset is None else runner.parameters(name, dataset, data)
    ranges = entry.config.ranges()
    fields = entry.config().override(variant.model, base).model_dump()
    rows = [[field, value, str(ranges.get(field, ""))] for field, value in fields.items()]
    typer.echo(f"{entry.about}\n\n{_grid(rows, [f'{entry.name}.', 'default', 'tuning range'])}")
    trained = TrainSpec().override({**entry.train, **variant.train}, "train")
    ranges = trained.ranges()
    rows = [[field, value, str(ranges.get(field, ""))] for field, value in trained.model_dump().items()]
    typer.echo(f"\n{_grid(rows, ['train.', 'default', 'tuning range'])}")
    if entry.small:
        typer.echo(
            f"\nBelow {runner.SMALL:,} training documents: {_settings({f'train.{k}': v for k, v in entry.small.items()})}"
        )
    if entry.variants:
        rows = [
            [
                f"{entry.name}@{variant.name}",
                variant.about,
                _settings({**variant.model, **variant.data, **variant.train}),
            ]
            for variant in entry.variants.values()
        ]
        typer.echo(f"\n{_grid(rows, ['variant', 'what', 'sets'])}")
    if dataset is not None:
        size = "as many as the documents have features" if count is None else f"{count:,}"
        typer.echo(f"\nParameters on {dataset}: {size}")


@app.command("runs")
def show_runs(
    results: Results = Path("results"),
    remeasure: Annotated[  # noqa: FBT002
        bool, typer.Option("--remeasure", help="First compute all figures again from the stored predictions.")
    ] = False,
) -> None:
    """List stored runs, and those that were begun and can be continued."""
    from icdbench import store

    records = store.load_records(results)
    failures = _remeasure(results, records) if remeasure else []
    rows = []
    for record in store.load_records(results) if remeasure else records:
        test = record.metrics["test"]["fixed"]
        best = max(record.history, key=lambda epoch: epoch["monitor"])["epoch"] if record.history else ""
        minutes = record.timing["train"] / 60
        figures = [f"{100 * test[key]:.1f}" for key in ("f1_micro", "p@5")]
        rows.append([record.id, _settings(record.spec.changed), best, f"{minutes:.1f}", *figures, record.created[:10]])
    rows += [[name, "", "", "", "unfinished", "", ""] for name in store.unfinished(results)]
    if not rows:
        raise SpecError(f"no runs in '{results}'; 'icdbench run' makes some, --results names another folder")
    typer.echo(_grid(rows, ["run", "set", "best epoch", "minutes", "F1 micro", "P@5", "date"]))
    if failures:
        _fail(f"{len(failures)} of {len(records)} runs could not be remeasured: {'; '.join(failures)}", 1)


def _remeasure(results: Path, records: list[Any]) -> list[str]:
    """Bring stored figures up to date, with a progress bar; a line about each run that could not be."""
    from rich.console import Console

    from icdbench import run as runner
    from icdbench import store
    from icdbench.progress import preparing

    failures = []
    with _stoppable(), preparing(Console(stderr=True)) as report:
        for done, record in enumerate(records):
            report("measuring stored runs", done, len(records))
            try:
                runner.remeasure(store.folder(results, record.spec), record)
            except DataError as error:
                failures.append(str(error))
    return failures


@app.command("compare")
def show_comparison(
    one: Annotated[str, typer.Argument(help="A model with stored runs, such as jlan, jlan@no-joint.")],
    other: Annotated[str, typer.Argument(help="The model to compare it with.")],
    dataset: Dataset = "demo",
    rule: Annotated[str, typer.Option(help="Decision threshold: fixed (0.5) or tuned (on validation).")] = "fixed",
    seeds: Annotated[str | None, typer.Option(help="A count or a list, as of run; else all that are stored.")] = None,
    resamples: Annotated[int, typer.Option(help="How often the test documents are drawn.")] = 1000,
    results: Results = Path("results"),
    fmt: Format = "md",
) -> None:
    """Compare two models' stored runs: differences with intervals and p-values, by frequency, codes won and lost."""
    _tables(fmt)
    from rich.console import Console

    from icdbench import compare
    from icdbench.progress import preparing

    with _stoppable(), preparing(Console(stderr=True)) as report:
        numbers = None if seeds is None else _seeds(seeds)
        found = compare.compare(
            results, (one, other), dataset, rule=rule, seeds=numbers, resamples=resamples, report=report
        )
    typer.echo(compare.render(found, fmt), nl=False)


@app.command("bundle")
def write_bundle(
    run_id: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, as 'icdbench runs' lists it, or its folder.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The file to write, such as model.icdbench.")],
    results: Results = Path("results"),
    data: DataFolder = None,
    dataset: RunDataset = None,
) -> None:
    """Write a trained model, its words, codes and thresholds to one file, for use elsewhere."""
    from icdbench import bundle, datasets

    made = _bundle(run_id, results, data, dataset)
    bundle.write(made, out)
    typer.echo(f"{out}: {made.contents.run}, {out.stat().st_size / 1e6:.1f} MB")
    known = datasets.scan().get(made.contents.dataset)
    covered = known.agreement if known else ""
    typer.echo(
        f"It holds {len(made.contents.tokens):,} words of the training notes and weights learnt from them"
        + (f": {covered} covers it as it covers the notes." if covered else "."),
        err=True,
    )


@app.command("predict")
def predict_notes(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="NOTES...", help="Text files, folders of .txt, tables (.csv, .parquet, .jsonl), - for stdin."
        ),
    ],
    run_id: RunOption = None,
    bundle_file: BundleOption = None,
    fmt: Annotated[str, typer.Option("--format", help="table, jsonl or csv.")] = "table",
    top: Annotated[
        int | None,
        typer.Option(min=1, help="So many codes of each note; else those above the threshold, and at least 10."),
    ] = None,
    threshold: Annotated[str, typer.Option(help="tuned (on validation) or fixed (0.5).")] = "tuned",
    column: Annotated[str, typer.Option(help="The column of a table that has the texts.")] = "text",
    results: Results = Path("results"),
    data: DataFolder = None,
    dataset: RunDataset = None,
    device: Device = "auto",
) -> None:
    """Assign codes to notes with a trained model: codes, titles, probabilities, above or below the threshold."""
    from rich.console import Console

    from icdbench import predict
    from icdbench.notes import notes
    from icdbench.progress import counting

    for value, known, what in ((fmt, predict.FORMATS, "format"), (threshold, predict.THRESHOLDS, "threshold")):
        if value not in known:
            raise SpecError(f"no {what} '{value}'{nearest(value, known)}")
    found = notes(sources, column)
    predictor = predict.Predictor(_trained(run_id, bundle_file, results, data, dataset), device)
    with _stoppable(), counting(Console(stderr=True)) as count:
        readings = count(predict.named(predictor, found, top, threshold))
        for piece in predict.FORMATS[fmt](readings):
            typer.echo(piece, nl=False)


@app.command("explain")
def explain_note(
    source: Annotated[str | None, typer.Argument(metavar="NOTE", help="A text file, or - for stdin.")] = None,
    run_ids: Annotated[
        list[str] | None,
        typer.Option("--run", help="A trained run's id or folder; with --evaluate repeatable, else all measured ones."),
    ] = None,
    bundle_file: BundleOption = None,
    code: Annotated[str, typer.Option(help="The code to explain; else the most probable one.")] = "",
    method: Annotated[str, typer.Option(help="attention, gradient, … (docs/predict.md); else the model's first.")] = "",
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write the note with its weights to this file.")
    ] = None,
    cloud: Annotated[
        Path | None, typer.Option("--cloud", help="Also draw the note's words to this .png, .svg or .pdf (figure 9).")
    ] = None,
    title_cloud: Annotated[
        Path | None, typer.Option("--title-cloud", help="The same of the titles of its codes (figure 10).")
    ] = None,
    evaluate: Annotated[  # noqa: FBT002
        bool, typer.Option("--evaluate", help="Measure all methods on test documents instead, and print the table.")
    ] = False,
    documents: Annotated[
        int | None, typer.Option(min=1, help="With --evaluate: so many test documents are drawn; else 50.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="With --evaluate: another seed, other documents; else 0.")
    ] = None,
    fmt: Annotated[
        str | None,
        typer.Option("--format", help="text, or json for programs; with --evaluate md, latex, csv or html."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="So many words in the list below the note.")] = 10,
    results: Results = Path("results"),
    data: DataFolder = None,
    dataset: RunDataset = None,
    device: Device = "cpu",
) -> None:
    """Show which words of a note speak for a code, by a trained model; or measure how far such weights can be trusted."""
    if evaluate:
        if any((source, bundle_file, code, method, html, cloud, title_cloud)):
            raise SpecError(
                "--evaluate takes no note, --bundle, --code, --method and no files: it measures every method of runs"
            )
        _evaluate(run_ids or [], documents, seed, fmt or "md", results, data, dataset, device)
        return
    if source is None or documents is not None or seed is not None:
        raise SpecError(
            "name a note, or - for standard input; --documents and --seed belong to --evaluate, which needs none"
        )
    if len(run_ids or []) > 1:
        raise SpecError("a note is explained by one run; several belong to --evaluate")
    name = run_ids[0] if run_ids else None
    trained = partial(_trained, name, bundle_file, results, data, dataset)
    _explain(source, trained, code, method, (html, cloud, title_cloud), fmt or "text", top, device)


def _explain(
    source: str,
    trained: Callable[[], Any],
    code: str,
    method: str,
    files: tuple[Path | None, Path | None, Path | None],
    fmt: str,
    top: int,
    device: str,
) -> None:
    """Show a note's words by their weights, also in `files` (page, cloud, cloud of titles).

    The model is loaded once the rest of the request is known to be right.
    """
    from rich.console import Console

    from icdbench import clouds, explain
    from icdbench.notes import notes
    from icdbench.predict import Predictor

    if fmt not in {"text", "json"}:
        raise SpecError(f"no format '{fmt}'{nearest(fmt, ('text', 'json'))}")
    html, cloud, title_cloud = files
    for path in (cloud, title_cloud):
        clouds.checked(path)
    (name, text), *more = notes([source])
    if more:
        raise SpecError(f"'{source}' has {len(more) + 1} notes; name a single one")
    predictor = Predictor(trained(), device)
    found = explain.explain(predictor, text, code, method)
    if html is not None:
        explain.write_html(html, explain.as_html(found, text, name))
    if cloud is not None:
        clouds.save(clouds.of_note(found, text), cloud)
    if title_cloud is not None:
        clouds.save(clouds.of_titles(predictor, text, method), title_cloud)
    if fmt == "json":
        typer.echo(explain.as_json(found))
        return
    typer.echo(f"{explain.heading(found)}\n")
    console = Console(highlight=False)
    if console.is_terminal:  # elsewhere there are no colours to see
        console.print(explain.as_text(found, text), soft_wrap=True)
    rows = [list(row) for row in explain.strongest(found, text, top)]
    typer.echo(_grid(rows, ["word", "weight", "characters"]))


def _evaluate(
    names: list[str],
    documents: int | None,
    seed: int | None,
    fmt: str,
    results: Path,
    data: Path | None,
    dataset: str | None,
    device: str,
) -> None:
    """Measure the named runs' explanations, and print their table; without names that of all that were measured."""
    _tables(fmt)
    from rich.console import Console

    from icdbench import faithful
    from icdbench.progress import preparing

    count = faithful.DOCUMENTS if documents is None else documents
    request = faithful.Request(results, count, faithful.SEED if seed is None else seed, data, dataset, device)
    if not names:
        if documents is not None or seed is not None:
            raise SpecError("--documents and --seed measure anew: name runs with --run")
        typer.echo(faithful.table(faithful.stored(results), fmt), nl=False)
        return
    with _stoppable(), preparing(Console(stderr=True)) as report:
        measured = [faithful.of_run(name, request, report) for name in dict.fromkeys(names)]
    typer.echo(faithful.table(measured, fmt), nl=False)


@app.command("serve")
def serve_page(
    runs: Annotated[
        list[str] | None, typer.Option("--run", help="A trained run's id or folder; repeatable, to compare.")
    ] = None,
    bundles: Annotated[
        list[Path] | None, typer.Option("--bundle", help="A file from 'icdbench bundle'; repeatable, to compare.")
    ] = None,
    results: Results = Path("results"),
    data: DataFolder = None,
    dataset: RunDataset = None,
    device: Device = "auto",
    host: Annotated[
        str, typer.Option(help="An address of this machine; another than 127.0.0.1 opens the page to others.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8351,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,  # noqa: FBT002
) -> None:
    """Show a page to try trained models: paste a note, see its codes, and the words behind one; compare two runs."""
    if not (runs or bundles):
        raise SpecError(
            "name a trained model: --run ID ('icdbench runs' lists them) or --bundle FILE; several to compare"
        )
    from icdbench import app as pages
    from icdbench import bundle, web
    from icdbench.predict import Predictor

    trained = [_bundle(name, results, data, dataset) for name in runs or []] + list(map(bundle.read, bundles or []))
    alone = web.is_loopback(host)
    site = pages.page([Predictor(each, device) for each in trained], alone=alone)
    warning = "" if alone else f"Whoever reaches {host} can use this page; notes cross the network unencrypted."
    _until_stopped(web.serving(site, host, port), browser=browser, warning=warning)


def _until_stopped(serving: Any, *, browser: bool, warning: str = "") -> None:
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
        _fail("stopped", 130)


def _trained(run_id: str | None, file: Path | None, results: Path, data: Path | None, dataset: str | None) -> Any:
    """The bundle that a user names, as a run or as a file."""
    from icdbench import bundle

    if (run_id is None) == (file is None):
        raise SpecError("name a trained model: either --run ID ('icdbench runs' lists them) or --bundle FILE")
    return bundle.read(file) if file is not None else _bundle(str(run_id), results, data, dataset)


def _bundle(run_id: str, results: Path, data: Path | None, dataset: str | None) -> Any:
    from rich.console import Console

    from icdbench import bundle
    from icdbench.progress import preparing

    with _stoppable(), preparing(Console(stderr=True)) as report:
        return bundle.of_run(run_id, results, data, dataset, report)


@app.command("tables")
def show_tables(
    name: Annotated[
        str,
        typer.Argument(help="table2 to table6, figure6 to figure8, all, literature, or your own file ending in .py."),
    ] = "table5",
    results: Folders = None,
    literature: Annotated[bool, typer.Option("--literature", help="Add what others report on the same data.")] = False,  # noqa: FBT002
    fmt: Format = "md",
) -> None:
    """Print a table of the paper, or your own: published figures, and those of your runs beside them."""
    tables = _tables(fmt)
    from icdbench import catalog

    if name == "literature":
        typer.echo(tables.literature(catalog.literature(), fmt), nl=False)
        return
    parts = catalog.chosen(name)
    records = _records(results)
    shown = [(part, catalog.of_study(part, records)) for part in parts]
    typer.echo(tables.printed(shown, fmt, catalog.literature() if literature else ()), nl=False)


@app.command("figures")
def draw_figures(
    name: Annotated[str, typer.Argument(help="fig2, fig5, fig6, fig7, fig8 or all.")] = "all",
    out: Annotated[Path, typer.Option("--out", help="A folder for the files, each as PNG, SVG and PDF.")] = Path(
        "figures"
    ),
    dataset: Annotated[str | None, typer.Option(help="A data set's name; else each that has runs.")] = None,
    models: Annotated[str, typer.Option(help="What fig5 compares; else every model, variants left out.")] = "",
    width: Annotated[float, typer.Option(help="Inches; 3.5 is a journal's column, 7 its page.")] = 3.5,
    results: Folders = None,
) -> None:
    """Draw figures of the paper from stored runs: codes by frequency, models, ablations, joint learning, denoising."""
    from icdbench import figures, store

    records = _records(results)
    folders = results or [Path("results")]

    def counts(record: Any) -> Any:
        places = (store.folder(folder, record.spec) for folder in folders)
        return next(
            (found for place in places if place.is_dir() and (found := store.load_train_counts(place)) is not None),
            None,
        )

    chosen = [model.strip() for model in models.split(",") if model.strip()]
    drawn = figures.draw(name, figures.Request(records, counts, dataset, chosen, width))
    typer.echo("\n".join(map(str, figures.save(drawn, out))))


@app.command("export")
def export_runs(
    out: Annotated[Path, typer.Argument(help="A new folder, to give to others.")],
    results: Folders = None,
    with_predictions: Annotated[  # noqa: FBT002
        bool, typer.Option("--with-predictions", help="Also on data under an agreement and your own: patients' codes.")
    ] = False,
) -> None:
    """Pack finished runs to share: records and predictions, without text, words, ids or weights. For data: data export."""
    from icdbench.share import share

    written = share(results or [Path("results")], out, predictions=with_predictions)
    typer.echo(f"{out}: {written.runs} runs")
    if written.without:
        typer.echo(f"Without predictions: {', '.join(written.without)}; they would show patients' codes.", err=True)


def _records(results: list[Path] | None) -> list[Any]:
    """The stored runs of one or several results folders."""
    from icdbench import store

    for folder in results or []:
        if not folder.is_dir():
            raise SpecError(f"--results '{folder}' is no folder")
    return store.load_records(*(results or [Path("results")]))


@app.command("report")
def make_report(
    out: Annotated[Path | None, typer.Option("--out", help="The page to write; else report.html.")] = None,
    results: Annotated[list[Path] | None, typer.Option("--results", help="Folder of run records; repeatable.")] = None,
    serve: Annotated[  # noqa: FBT002
        bool, typer.Option("--serve", help="Show the page on this machine alone, and refresh it as runs finish.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of --serve; 0: any that is free.")] = 8350,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the served page.")] = True,  # noqa: FBT002
) -> None:
    """Write one HTML page of all stored runs: tables, curves, differences, time, and the command behind every figure."""
    from icdbench import report

    folders = results or [Path("results")]
    if not serve:
        out = out or Path("report.html")
        report.save(out, folders)
        typer.echo(out)
        return
    if out is not None:
        raise SpecError("--serve writes no file; leave out --out or --serve")
    from icdbench.serve import serving

    _until_stopped(serving(folders, port), browser=browser)


@data_app.command("list")
def data_list(data: DataFolder = None) -> None:
    """List the data sets and whether their files are present."""
    from icdbench import datasets

    rows = [
        [origin.name, _presence(origin, datasets.data_root(data)), origin.about] for origin in datasets.scan().values()
    ]
    typer.echo(_grid(rows, ["data set", "files", "what"]))
    typer.echo(
        "\nYour own data: --dataset FILE.csv (or .parquet, .jsonl) with columns id, text, codes and, if you like, split."
    )


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="Which data to download, such as codiesp.")], data: DataFolder = None
) -> None:
    """Download a data set into the data folder and verify its checksums."""
    from icdbench import datasets

    known = datasets.scan()
    fetch = datasets.DOWNLOADS.get(known[name].download if name in known else name)
    if fetch is None:
        if name in known:
            raise SpecError(f"data set '{name}' needs no download")
        raise SpecError(f"no download '{name}'{nearest(name, datasets.DOWNLOADS)}")
    typer.echo(fetch(datasets.data_root(data)))


@data_app.command("make")
def data_make(
    folder: Annotated[Path, typer.Argument(help="Where to put the tables: a folder that is new or empty.")],
    admissions: Annotated[int, typer.Option(help="Admissions with a discharge summary; MIMIC-III has 52726.")] = 52_726,
    seed: Annotated[int, typer.Option(help="Another seed, other tables.")] = 1,
    label_noise: Annotated[float, typer.Option(help="Share of labels that are wrong, such as 0.1.")] = 0.0,
    other_notes: Annotated[int, typer.Option(help="Notes of other kinds per admission; MIMIC-III has 38.")] = 38,
) -> None:
    """Make synthetic tables in MIMIC-III's schema, of any size: no patient data, for trying things out."""
    from rich.console import Console

    from icdbench.datasets import mimic3_tables
    from icdbench.progress import preparing

    with _stoppable(), preparing(Console(stderr=True)) as report:
        mimic3_tables.make(folder, admissions, seed, label_noise, other_notes, report)
    typer.echo(f"{folder}: {admissions:,} admissions with a summary, synthetic")


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="A data set, or your own file.")],
    settings: Settings = None,
    data: DataFolder = None,
) -> None:
    """Say what is missing or altered, or differs from the published counts, and why. Exit status 2 if anything is."""
    from icdbench import check, datasets

    origin = datasets.source(name)
    spec = datasets.data_spec(origin, _changes(settings, only="data"))
    problems = list(origin.check(datasets.data_root(data), spec))
    if origin.known:
        try:
            problems += check.differences(_prepared(origin, data, spec), origin.known, spec)
        except DataError as error:
            problems += [] if str(error) in problems else [str(error)]
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(2)
    typer.echo(f"{origin.name}: complete and as expected")


@data_app.command("describe")
def data_describe(
    name: Annotated[str, typer.Argument(help="A data set, or your own file.")],
    settings: Settings = None,
    data: DataFolder = None,
    fmt: Format = "md",
) -> None:
    """Print the paper's Table 2 for a data set (vocabulary, documents per split, codes, lengths) and its figure 2."""
    _tables(fmt)
    from icdbench import counts, datasets

    origin = datasets.source(name)
    spec = datasets.data_spec(origin, _changes(settings, only="data"))
    typer.echo(counts.statistics(_prepared(origin, data, spec), fmt), nl=False)


@data_app.command("export")
def data_export(
    name: Annotated[str, typer.Argument(help="A data set, or your own file.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the files.")],
    settings: Settings = None,
    data: DataFolder = None,
    fmt: Annotated[str, typer.Option("--format", help="csv, parquet or libmultilabel.")] = "csv",
) -> None:
    """Write documents as models read them, vocabulary, codes and their titles to plain files, for other programs."""
    from rich.console import Console

    from icdbench import datasets
    from icdbench.export import export
    from icdbench.progress import preparing

    origin = datasets.source(name)
    spec = datasets.data_spec(origin, _changes(settings, only="data"))
    with _stoppable(), preparing(Console(stderr=True)) as report:
        written = export(origin, datasets.data_root(data), spec, out, fmt, report)
    typer.echo("\n".join(map(str, written)))
    if origin.agreement:
        typer.echo(f"These files hold the notes: {origin.agreement} covers them as it covers the raw data.", err=True)


@data_app.command("clear")
def data_clear(
    name: Annotated[str | None, typer.Argument(help="A data set; without it, all of them.")] = None,
) -> None:
    """Remove encoded data and word vectors from the cache; they are made again when they are needed."""
    from icdbench import datasets, files

    removed, size = files.clear(None if name is None else datasets.source(name).name)
    entries = "entry" if removed == 1 else "entries"
    typer.echo(f"{removed} {entries}, {size / 1e6:.1f} MB, removed from {files.cache_root()}")


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Turns Ctrl-C into a line and its exit status."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("stopped; nothing half-written is kept", 130)


def _prepared(origin: Any, data: Path | None, spec: Any) -> Any:
    """The encoded data set, with a progress bar on stderr while it is made."""
    from rich.console import Console

    from icdbench import datasets, encode
    from icdbench.progress import preparing

    with _stoppable(), preparing(Console(stderr=True)) as report:
        return encode.corpus(origin, datasets.data_root(data), spec, report)


def _tables(fmt: str) -> Any:
    """The tables module, once the format is known to be one of its own: a typo must not cost a training run."""
    from icdbench import formats, tables

    if fmt not in formats.FORMATS:
        raise SpecError(f"no format '{fmt}'{nearest(fmt, formats.FORMATS)}")
    return tables


def _presence(origin: Any, root: Path) -> str:
    from icdbench import datasets

    try:
        files = origin.files(root, datasets.data_spec(origin))
    except DataError:
        return "absent"
    packaged = Path(datasets.__file__).parent
    return "packaged" if all(path.is_relative_to(packaged) for path in files) else f"{len(files)} found"


def _seeds(text: str) -> list[int]:
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


def _changes(settings: list[str] | None, only: str | None = None) -> dict[str, Any]:
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


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _grid(rows: list[list[Any]], headers: list[str]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)
