"""Commands on stored runs: `runs`, `show`, `delete`, `compare`, `tables`, `figures`, `export`, `report`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icdbench.cli.options import (
    FORMATS_OF_TABLES,
    DataFolder,
    Dataset,
    Folders,
    Format,
    MixVersions,
    Results,
    Wide,
    echo,
    fail,
    listed,
    parsed_names,
    parsed_seeds,
    print_list,
    print_tables,
    shown_progress,
    table_format,
    until_stopped,
)
from icdbench.settings import SpecError

if TYPE_CHECKING:
    from icdbench.records import RunRecord

app = typer.Typer()


@app.command("runs")
def show_runs(
    results: Results = Path("results"),
    remeasure: Annotated[  # noqa: FBT002
        bool, typer.Option("--remeasure", help="First compute all figures again from the stored predictions.")
    ] = False,
    wide: Wide = False,  # noqa: FBT002
) -> None:
    """List stored runs, and those that were begun and can be continued."""
    from icdbench.records import store

    failures = {}
    if remeasure:
        from icdbench.evaluation import measure

        with shown_progress() as report:
            failures = measure.remeasure_all(results, report)
    records = store.load_records(results, complete=False)
    rows = [_row(record, records) for record in records]
    rows += [
        [f"{run.id} (unfinished)", "", f"{run.best_epoch} of {run.epochs}" if run.epochs else "", "", "", "", ""]
        for run in store.begun(results)
    ]
    if not rows:
        raise SpecError(f"no runs in '{results}'; 'icdbench run' makes some, --results names another folder")
    print_list(rows, ["run", "set", "best epoch", "minutes", "F1 micro", "P@5", "date"], wide=wide)
    if failures:
        reasons = "; ".join(failures.values())
        fail(f"{len(failures)} of {len(records)} runs could not be remeasured: {reasons}", 1)


def _row(record: RunRecord, records: Sequence[RunRecord]) -> list[object]:
    """A run in the list; with the fingerprint of its data where others are on other data of the same name."""
    test = record.metrics["test"]["fixed"]
    contents = {each.spec.fingerprint for each in records if each.spec.dataset == record.spec.dataset}
    settings = {**record.changed, **({"fingerprint": record.spec.fingerprint} if len(contents) > 1 else {})}
    return [
        record.id + " (scored)" * bool(record.scored) + " (unsigned)" * (not record.signed),
        listed(settings),
        record.best_epoch.epoch if record.best_epoch else "",
        "" if record.scored else f"{record.timing.train / 60:.1f}",
        *(f"{100 * test[key]:.1f}" if key in test else "–" for key in ("f1_micro", "p@5")),
        record.created[:10],
    ]


@app.command("show")
def show_run(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, as 'icdbench runs' lists it, or its folder.")],
    as_config: Annotated[  # noqa: FBT002
        bool, typer.Option("--config", help="Print a file for 'icdbench run --config', which computes this run.")
    ] = False,
    results: Results = Path("results"),
    fmt: Format = "auto",
    wide: Wide = False,  # noqa: FBT002
) -> None:
    """Show one run: its data, figures with intervals, time, and each setting with where it comes from."""
    fmt = table_format(fmt, wide=wide)
    from icdbench.inference import bundle
    from icdbench.presentation import tables

    _, record = bundle.finished(name, results)
    if as_config:
        echo(tables.config(record), nl=False)
    else:
        print_tables(tables.one_run(record, fmt))


@app.command("delete")
def delete_runs(
    names: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Ids of runs, finished or not, or their folders.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,  # noqa: FBT002
    results: Results = Path("results"),
) -> None:
    """Delete runs: records, predictions, weights and checkpoints. Each is removed whole or not at all."""
    from icdbench.records import store

    places = list(dict.fromkeys(store.named(name, results) for name in names))
    if not yes:
        echo("\n".join(map(str, places)), err=True)
        typer.confirm(f"Delete {len(places)} run{'s' * (len(places) > 1)} for good?", abort=True, err=True)
    for place in places:
        store.remove(place)
        echo(f"deleted {place}")


@app.command("compare")
def show_comparison(
    systems: Annotated[
        list[str] | None, typer.Argument(help="Models with stored runs, such as jlan jlan@no-joint; all: every one.")
    ] = None,
    models: Annotated[str, typer.Option("--models", help="The same as a list with commas, as of run.")] = "",
    reference: Annotated[
        str,
        typer.Option(help="The model that the others are compared with; of more than two the first, if none is given."),
    ] = "",
    dataset: Dataset = "demo",
    rule: Annotated[str, typer.Option(help="Decision threshold: fixed (0.5) or tuned (on validation).")] = "fixed",
    seeds: Annotated[str | None, typer.Option(help="A count or a list, as of run; else all that are stored.")] = None,
    resamples: Annotated[int, typer.Option(help="How often documents and seeds are drawn.")] = 1000,
    fix_seeds: Annotated[  # noqa: FBT002
        bool, typer.Option("--fix-seeds", help="Draw documents alone: intervals then do not cover other seeds.")
    ] = False,
    results: Results = Path("results"),
    fmt: Format = "auto",
    wide: Wide = False,  # noqa: FBT002
    mix: MixVersions = False,  # noqa: FBT002
) -> None:
    """Compare stored runs. Two models: differences with intervals and p-values, by frequency, codes won and lost.

    More than two, or --reference: each against one of them, with p-values corrected for their number (Holm).
    """
    fmt = table_format(fmt, wide=wide)
    numbers = None if seeds is None else parsed_seeds(seeds)
    names = [*(systems or ()), *parsed_names(models)]
    from icdbench.evaluation import compare
    from icdbench.presentation import comparison

    pair = len(names) == 2 and not reference and compare.ALL not in names
    ordered = names[::-1] if pair else [reference, *(n for n in names if n != reference)] if reference else names
    with shown_progress() as report:
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
    print_tables(comparison.render(found[0], fmt) if pair else comparison.render_against(found, fmt))


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
    results: Folders = None,
    analysis: Annotated[  # noqa: FBT002
        bool, typer.Option("--analysis", help="Analyse the stored predictions (docs/analyses.md).")
    ] = False,
    edges: Annotated[
        str, typer.Option(help="With --analysis: highest training counts of frequency groups, such as 10,100.")
    ] = "",
    data: DataFolder = None,
    literature: Annotated[bool, typer.Option("--literature", help="Add what others report on the same data.")] = False,  # noqa: FBT002
    fmt: Annotated[
        str,
        typer.Option(
            "--format", help=f"{FORMATS_OF_TABLES}; or opencodepapers: own runs as JSON for that leaderboard."
        ),
    ] = "auto",
    wide: Wide = False,  # noqa: FBT002
    mix: MixVersions = False,  # noqa: FBT002
) -> None:
    """Print a table of the paper, or your own: published figures, and those of your runs beside them."""
    fmt = table_format(fmt, wide=wide, beside=["opencodepapers"])
    if fmt == "opencodepapers" and (analysis or literature or name == "literature"):
        raise SpecError("--format opencodepapers has own runs alone; leave --analysis and literature out")
    if analysis:
        print_tables(_analyses(_existing(results), name, edges, data, fmt, mix=mix))
        return
    if edges or data:
        raise SpecError("--edges and --data belong to --analysis")
    from icdbench.evaluation import measure
    from icdbench.presentation import catalog, tables
    from icdbench.records import store

    name = name or "table5"
    if name == "literature":
        print_tables(tables.literature(catalog.literature(), fmt))
        return
    parts, folders = catalog.chosen(name), _existing(results)
    records = measure.with_ceilings(store.load_records(*folders), folders)
    reported = catalog.literature() if literature else ()
    shown = [(part, catalog.of_study(part, records)) for part in parts]
    if fmt == "opencodepapers":
        boards = tables.opencodepapers(tables.own_runs(shown), mix=mix)
        echo(json.dumps(boards if len(boards) > 1 else boards[0], indent=2))
        return
    print_tables(tables.printed(shown, fmt, reported, results=folders, mix=mix))


def _analyses(folders: Sequence[Path], name: str | None, edges: str, data: Path | None, fmt: str, *, mix: bool) -> str:
    from icdbench.evaluation import analysis
    from icdbench.presentation import tables
    from icdbench.records import store

    tables.chosen_analyses(name)  # a typo must not wait for the analyses
    try:
        numbers = [int(edge) for edge in edges.split(",")] if edges else []
    except ValueError:
        raise SpecError(f"--edges {edges}: give ascending numbers from 1 up, such as 10,100") from None
    records, choice = store.load_records(*folders), analysis.Choice(edges=numbers, root=data)
    with shown_progress() as report:
        found = analysis.analyse(records, folders, choice, report)
    return tables.analyses(records, found, choice, name, fmt, mix=mix)


def _existing(folders: Sequence[Path] | None) -> Sequence[Path]:
    """The folders that a user names, which must exist; else `results`, which need not."""
    if missing := next((folder for folder in folders or () if not folder.is_dir()), None):
        raise SpecError(f"--results '{missing}' is no folder")
    return folders or [Path("results")]


@app.command("figures")
def draw_figures(
    name: Annotated[str, typer.Argument(help="fig2, fig5, fig6, fig7, fig8, ranks or all.")] = "all",
    out: Annotated[Path, typer.Option("--out", help="A folder for the files, each as PNG, SVG and PDF.")] = Path(
        "figures"
    ),
    dataset: Annotated[str | None, typer.Option(help="A data set's name; else each that has runs.")] = None,
    models: Annotated[str, typer.Option(help="What fig5 and ranks compare; else every model, variants left out.")] = "",
    width: Annotated[float, typer.Option(help="Inches; 3.5 is a journal's column, 7 its page.")] = 3.5,
    results: Folders = None,
    mix: MixVersions = False,  # noqa: FBT002
) -> None:
    """Draw figures of the paper from stored runs: codes by frequency, models, ablations, joint learning, denoising, ranks."""
    from icdbench import views
    from icdbench.presentation import figures

    found = views.stored(*_existing(results))
    chosen = parsed_names(models)
    request = figures.DrawingRequest(found.records, found.train_counts, dataset, chosen, width, mix)
    echo("\n".join(map(str, figures.save(figures.draw(name, request), out))))


@app.command("export")
def export_runs(
    out: Annotated[Path, typer.Argument(help="A new folder, to give to others.")],
    results: Folders = None,
    with_predictions: Annotated[  # noqa: FBT002
        bool, typer.Option("--with-predictions", help="Also on data under an agreement and your own: patients' codes.")
    ] = False,
    parquet: Annotated[  # noqa: FBT002
        bool, typer.Option("--parquet", help="Also write these predictions as one table, predictions.parquet.")
    ] = False,
) -> None:
    """Pack finished runs to share: records and predictions, without text, words, ids or weights. For data: data export."""
    from icdbench import views
    from icdbench.records import sharing

    written = sharing.share(results or [Path("results")], out, predictions=with_predictions)
    echo(f"{out}: {written.runs} runs")
    if parquet and (kept := views.stored(out).with_predictions()):
        echo(kept.export_predictions(out / "predictions.parquet"))
    if written.without:
        echo(f"Without predictions: {', '.join(written.without)}; they would show patients' codes.", err=True)


@app.command("report")
def make_report(
    out: Annotated[Path | None, typer.Option("--out", help="The page to write; else report.html.")] = None,
    results: Annotated[list[Path] | None, typer.Option("--results", help="Folder of run records; repeatable.")] = None,
    serve: Annotated[  # noqa: FBT002
        bool, typer.Option("--serve", help="Show the page on this machine alone, and refresh it as runs finish.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of --serve; 0: any that is free.")] = 8350,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the served page.")] = True,  # noqa: FBT002
    document_ids: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--document-ids", help="Also list test documents by id with their errors; needs the raw data."),
    ] = False,
    data: DataFolder = None,
) -> None:
    """Write one HTML page of all stored runs: tables, curves, errors, time, and the command behind every figure."""
    folders = results or [Path("results")]
    if serve and out is not None:
        raise SpecError("--serve writes no file; leave out --out or --serve")
    if serve and document_ids:
        raise SpecError("--serve shows no document ids; leave out --document-ids or --serve")
    if serve:
        from icdbench.serving import live_report

        until_stopped(live_report.serving(folders, port), browser=browser)
        return
    from icdbench.presentation import report

    out = out or Path("report.html")
    report.save(out, folders, data, document_ids=document_ids)
    echo(out)
