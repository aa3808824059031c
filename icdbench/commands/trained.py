"""Commands that use a trained model: `bundle`, `predict`, `explain`, `serve`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from icdbench.commands.options import (
    BundleOption,
    DataFolder,
    Device,
    Results,
    RunDataset,
    RunOption,
    grid,
    stoppable,
    tables_in,
    until_stopped,
)
from icdbench.spec import SpecError, nearest

app = typer.Typer()


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
    with stoppable(), counting(Console(stderr=True)) as count:
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
    typer.echo(grid(rows, ["word", "weight", "characters"]))


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
    tables_in(fmt)
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
    with stoppable(), preparing(Console(stderr=True)) as report:
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
    until_stopped(web.serving(site, host, port), browser=browser, warning=warning)


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

    with stoppable(), preparing(Console(stderr=True)) as report:
        return bundle.of_run(run_id, results, data, dataset, report)
