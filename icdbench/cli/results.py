"""The commands on stored runs: `runs`, `show`, `delete`, `compare`, `tables`, `figures`, `export`, `report`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icdbench.cli import options
from icdbench.settings import SpecError

if TYPE_CHECKING:
    from icdbench.records import RunRecord

app = typer.Typer()


@app.command("runs")
def show_runs(
    results: options.Results = Path("results"),
    remeasure: Annotated[
        bool, typer.Option("--remeasure", help="First recompute all figures from the stored predictions.")
    ] = False,
    wide: options.Wide = False,
) -> None:
    """List stored runs, and unfinished ones that can be continued."""
    from icdbench.records import store

    failures = {}
    if remeasure:
        from icdbench.evaluation import measure

        with options.shown_progress() as report:
            failures = measure.remeasure_all(results, report)
    records = store.load_records(results, complete=False)
    rows = [_run_row(record, records) for record in records]
    rows += [
        [f"{run.id} (unfinished)", "", f"{run.best_epoch} of {run.epochs}" if run.epochs else "", "", "", "", ""]
        for run in store.begun(results)
    ]
    if not rows:
        raise SpecError(f"no runs in '{results}'; 'icdbench run' makes some, --results names another folder")
    options.print_list(rows, ["run", "set", "best epoch", "minutes", "F1 micro", "P@5", "date"], wide=wide)
    if failures:
        reasons = "; ".join(failures.values())
        options.fail(f"{len(failures)} of {len(records)} runs could not be remeasured: {reasons}", 1)


def _run_row(record: RunRecord, records: Sequence[RunRecord]) -> list[object]:
    """A row of the list; it shows the data's fingerprint if runs on other data of the same name are stored."""
    test = record.metrics["test"]["fixed"]
    fingerprints = {each.spec.fingerprint for each in records if each.spec.dataset == record.spec.dataset}
    settings = {**record.changed, **({"fingerprint": record.spec.fingerprint} if len(fingerprints) > 1 else {})}
    return [
        record.id + " (scored)" * bool(record.scored) + " (unsigned)" * (not record.signed),
        options.listed(settings),
        record.best_epoch.epoch if record.best_epoch else "",
        "" if record.scored else f"{record.timing.train / 60:.1f}",
        *(f"{100 * test[key]:.1f}" if key in test else "–" for key in ("f1_micro", "p@5")),
        record.created[:10],
    ]


@app.command("show")
def show_run(
    name: options.RunArgument,
    as_config: Annotated[
        bool, typer.Option("--config", help="Print a file with which 'icdbench run --config' computes this run again.")
    ] = False,
    results: options.Results = Path("results"),
    fmt: options.Format = "auto",
    wide: options.Wide = False,
) -> None:
    """Show one run: its data, figures with intervals, time, and each setting with its origin."""
    fmt = options.table_format(fmt, wide=wide)
    from icdbench.inference import bundle
    from icdbench.presentation import tables

    _, record = bundle.finished(name, results)
    if as_config:
        options.echo(tables.config(record), nl=False)
    else:
        options.print_tables(tables.one_run(record, fmt))


@app.command("delete")
def delete_runs(
    names: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Ids of runs, finished or not, or their folders.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    results: options.Results = Path("results"),
) -> None:
    """Delete runs: records, predictions, weights and checkpoints. Each is removed whole or not at all."""
    from icdbench.records import store

    folders = list(dict.fromkeys(store.named(name, results) for name in names))
    for folder in folders:
        if next(folder.glob(f"*/**/{store.RECORD}"), None):
            raise SpecError(f"'{folder}' has other runs in it, so it is not deleted; name runs by their ids")
    if not yes:
        options.echo("\n".join(map(str, folders)), err=True)
        typer.confirm(f"Delete {len(folders)} run{'s' * (len(folders) > 1)} for good?", abort=True, err=True)
    for folder in folders:
        store.remove(folder)
        options.echo(f"deleted {folder}")


@app.command("compare")
def show_comparison(
    systems: Annotated[
        list[str] | None, typer.Argument(help="Models with stored runs, such as jlan jlan@no-joint; all for every one.")
    ] = None,
    models: Annotated[str, typer.Option("--models", help="The same as a list with commas.")] = "",
    reference: Annotated[
        str, typer.Option(help="The model to compare the others with; default: the first, if there are more than two.")
    ] = "",
    dataset: options.Dataset = "demo",
    rule: Annotated[str, typer.Option(help="Decision threshold: fixed (0.5) or tuned (on validation).")] = "fixed",
    seeds: Annotated[str | None, typer.Option(help="Count or list, as in 'icdbench run'; default: all stored.")] = None,
    resamples: Annotated[int, typer.Option(help="Number of bootstrap samples of documents and seeds.")] = 1000,
    fix_seeds: Annotated[
        bool, typer.Option("--fix-seeds", help="Draw only documents: intervals then do not cover other seeds.")
    ] = False,
    results: options.Results = Path("results"),
    fmt: options.Format = "auto",
    wide: options.Wide = False,
    mix: options.MixVersions = False,
) -> None:
    """Compare stored runs. Two models: differences with intervals and p-values, by frequency, codes won and lost.

    More than two, or --reference: each against one of them, with p-values corrected for their number (Holm).
    """
    fmt = options.table_format(fmt, wide=wide)
    numbers = None if seeds is None else options.parsed_seeds(seeds)
    names = [*(systems or ()), *options.parsed_names(models)]
    from icdbench.evaluation import compare
    from icdbench.presentation import comparison

    pair = len(names) == 2 and not reference and compare.ALL not in names
    ordered = names[::-1] if pair else [reference, *(n for n in names if n != reference)] if reference else names
    with options.shown_progress() as report:
        found = compare.against(
            results,
            ordered,
            dataset,
            rule=rule,
            seeds=numbers,
            resamples=resamples,
            fix_seeds=fix_seeds,
            mix=mix,
            report=report,
        )
    options.print_tables(comparison.render(found[0], fmt) if pair else comparison.render_against(found, fmt))


@app.command("tables")
def show_tables(
    name: Annotated[
        str | None,
        typer.Argument(
            help="table2 to table6, figure6 to figure8, ranks, all, literature, or your own file ending in .py; else table5. "
            "With --analysis: frequency, length, codes, hierarchy, errors, rare, calibration, reliability, thresholds, groups, "
            "conformal, fractions; else all but reliability."
        ),
    ] = None,
    results: options.Folders = None,
    analysis: Annotated[
        bool, typer.Option("--analysis", help="Print analyses of the stored predictions (docs/analyses.md).")
    ] = False,
    edges: Annotated[
        str, typer.Option(help="With --analysis: highest training counts of frequency groups, such as 10,100.")
    ] = "",
    data: options.DataFolder = None,
    literature: Annotated[bool, typer.Option("--literature", help="Add what others report on the same data.")] = False,
    fmt: Annotated[
        str,
        typer.Option(
            "--format", help=f"{options.FORMATS_OF_TABLES}; or opencodepapers: own runs as JSON for that leaderboard."
        ),
    ] = "auto",
    wide: options.Wide = False,
    mix: options.MixVersions = False,
) -> None:
    """Print a table of the paper, or your own: published figures, and those of your runs beside them."""
    fmt = options.table_format(fmt, wide=wide, other_formats=["opencodepapers"])
    if fmt == "opencodepapers" and (analysis or literature or name == "literature"):
        raise SpecError("--format opencodepapers shows only own runs; leave out --analysis and literature")
    if analysis:
        options.print_tables(_analyses(_existing_folders(results), name, edges, data, fmt, mix=mix))
        return
    if edges or data:
        raise SpecError("--edges and --data belong to --analysis")
    from icdbench.evaluation import measure
    from icdbench.presentation import catalog, tables
    from icdbench.records import store

    name = name or "table5"
    if name == "literature":
        options.print_tables(tables.literature(catalog.literature(), fmt))
        return
    parts, folders = catalog.chosen(name), _existing_folders(results)
    records = measure.with_ceilings(store.load_records(*folders), folders)
    reported = catalog.literature() if literature else ()
    shown = [(part, catalog.of_study(part, records)) for part in parts]
    if fmt == "opencodepapers":
        boards = tables.opencodepapers(tables.own_runs(shown), mix=mix)
        options.echo(json.dumps(boards if len(boards) > 1 else boards[0], indent=2))
        return
    options.print_tables(tables.printed(shown, fmt, reported, results=folders, mix=mix))


def _analyses(folders: Sequence[Path], name: str | None, edges: str, data: Path | None, fmt: str, *, mix: bool) -> str:
    from icdbench.evaluation import analysis
    from icdbench.presentation import tables
    from icdbench.records import store

    tables.chosen_analyses(name)  # refuses a misspelt name before the analyses are computed
    try:
        numbers = [int(edge) for edge in edges.split(",")] if edges else []
    except ValueError:
        raise SpecError(f"--edges {edges}: give ascending numbers from 1 up, such as 10,100") from None
    records, choice = store.load_records(*folders), analysis.Choice(edges=numbers, root=data)
    with options.shown_progress() as report:
        found = analysis.analyse(records, folders, choice, report)
    return tables.analyses(records, found, choice, name, fmt, mix=mix)


def _existing_folders(folders: Sequence[Path] | None) -> Sequence[Path]:
    """The folders that the user names, which must exist; by default `results`, which need not. Raises SpecError."""
    if missing := next((folder for folder in folders or () if not folder.is_dir()), None):
        raise SpecError(f"--results '{missing}' is no folder")
    return folders or [Path("results")]


@app.command("figures")
def draw_figures(
    name: Annotated[str, typer.Argument(help="fig2, fig5, fig6, fig7, fig8, ranks or all.")] = "all",
    out: Annotated[Path, typer.Option("--out", help="Folder for PNG, SVG and PDF of each figure.")] = Path("figures"),
    dataset: Annotated[str | None, typer.Option(help="A data set's name; default: all that have runs.")] = None,
    models: Annotated[str, typer.Option(help="Models in fig5 and ranks; default: all, without variants.")] = "",
    width: Annotated[float, typer.Option(help="Width in inches; a journal's column has 3.5, its page 7.")] = 3.5,
    results: options.Folders = None,
    mix: options.MixVersions = False,
) -> None:
    """Draw figures of the paper from stored runs: codes by frequency, models, ablations, joint learning, denoising, ranks."""
    from icdbench import views
    from icdbench.presentation import figures

    runs = views.stored(*_existing_folders(results))
    request = figures.DrawingRequest(runs.records, runs.train_counts, dataset, options.parsed_names(models), width, mix)
    options.echo("\n".join(map(str, figures.save(figures.draw(name, request), out))))


@app.command("export")
def export_runs(
    out: Annotated[Path, typer.Argument(help="A new folder for the runs to share.")],
    results: options.Folders = None,
    with_predictions: Annotated[
        bool, typer.Option("--with-predictions", help="Also of own and restricted data: they show patients' codes.")
    ] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Also write these predictions as one table, predictions.parquet.")
    ] = False,
) -> None:
    """Copy finished runs for sharing: records and predictions, without text, words, ids or weights."""
    from icdbench import views
    from icdbench.records import sharing

    written = sharing.share(results or [Path("results")], out, predictions=with_predictions)
    options.echo(f"{out}: {written.runs} runs")
    if parquet and (kept := views.stored(out).with_predictions()):
        options.echo(kept.export_predictions(out / "predictions.parquet"))
    if written.without:
        options.echo(f"Without predictions: {', '.join(written.without)}; they would show patients' codes.", err=True)


@app.command("report")
def make_report(
    out: Annotated[Path | None, typer.Option("--out", help="The page to write; default: report.html.")] = None,
    results: options.Folders = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the page to this machine only, and refresh it as runs finish.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of --serve; 0: any free port.")] = 8350,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the served page.")] = True,
    document_ids: Annotated[
        bool,
        typer.Option("--document-ids", help="Also list test documents by id, with their errors; needs the raw data."),
    ] = False,
    data: options.DataFolder = None,
) -> None:
    """Write an HTML page about all stored runs: tables, curves, errors, time, and the command behind every figure."""
    folders = results or [Path("results")]
    if serve and out is not None:
        raise SpecError("--serve writes no file; leave out --out or --serve")
    if serve and document_ids:
        raise SpecError("--serve shows no document ids; leave out --document-ids or --serve")
    if serve:
        from icdbench.serving import live_report

        options.until_stopped(live_report.serving(folders, port, data), browser=browser)
        return
    from icdbench.presentation import report

    page = out or Path("report.html")
    report.save(page, folders, data, document_ids=document_ids)
    options.echo(page)
