"""Commands that read stored runs: `runs`, `compare`, `tables`, `figures`, `export`, `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from icdbench.commands.options import (
    Dataset,
    Folders,
    Format,
    Results,
    fail,
    grid,
    listed,
    parsed_seeds,
    stoppable,
    tables_in,
    until_stopped,
)
from icdbench.spec import DataError, SpecError

app = typer.Typer()


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
        rows.append([record.id, listed(record.spec.changed), best, f"{minutes:.1f}", *figures, record.created[:10]])
    rows += [[name, "", "", "", "unfinished", "", ""] for name in store.unfinished(results)]
    if not rows:
        raise SpecError(f"no runs in '{results}'; 'icdbench run' makes some, --results names another folder")
    typer.echo(grid(rows, ["run", "set", "best epoch", "minutes", "F1 micro", "P@5", "date"]))
    if failures:
        fail(f"{len(failures)} of {len(records)} runs could not be remeasured: {'; '.join(failures)}", 1)


def _remeasure(results: Path, records: list[Any]) -> list[str]:
    """Bring stored figures up to date, with a progress bar; a line about each run that could not be."""
    from rich.console import Console

    from icdbench import run as runner
    from icdbench import store
    from icdbench.progress import preparing

    failures = []
    with stoppable(), preparing(Console(stderr=True)) as report:
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
    tables_in(fmt)
    from rich.console import Console

    from icdbench import compare
    from icdbench.progress import preparing

    with stoppable(), preparing(Console(stderr=True)) as report:
        numbers = None if seeds is None else parsed_seeds(seeds)
        found = compare.compare(
            results, (one, other), dataset, rule=rule, seeds=numbers, resamples=resamples, report=report
        )
    typer.echo(compare.render(found, fmt), nl=False)


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
    tables = tables_in(fmt)
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

    until_stopped(serving(folders, port), browser=browser)
