"""The commands that use a trained model: `bundle`, `predict`, `explain`, `serve`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icdbench.cli import options
from icdbench.host import limit_threads
from icdbench.settings import DataError, SpecError, nearest

if TYPE_CHECKING:
    from icdbench.inference import explain, predict

log = logging.getLogger("icdbench")
app = typer.Typer()
BUNDLE_FORMATS = ("hf", "onnx")  # of `bundle --to`


@app.command("bundle")
def write_bundle(
    run_id: options.RunArgument,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write, such as model.icdbench.")] = None,
    to: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            metavar="FORMAT PATH",
            help="Instead of --out. hf DIR: a folder for Hugging Face, with weights, configuration and model card. "
            "onnx FILE: the network, if it is not recurrent.",
        ),
    ] = None,
    public: Annotated[
        bool,
        typer.Option(
            "--public", help="With --to hf: state in the model card that it may be published. Refused if it may not."
        ),
    ] = False,
    results: options.Results = Path("results"),
    data: options.DataFolder = None,
    dataset: options.RunDataset = None,
    models: options.ModelFiles = None,
) -> None:
    """Write a trained model, its words, codes and thresholds to one file, for use elsewhere."""
    if (out is None) == (to is None):
        raise SpecError("say where to write: --out FILE, --to hf DIR or --to onnx FILE")
    fmt, path = ("", out) if to is None else to
    if to is not None and fmt not in BUNDLE_FORMATS:
        raise SpecError(f"--to: no format '{fmt}'{nearest(fmt, BUNDLE_FORMATS)}")
    if public and fmt != "hf":
        raise SpecError("--public belongs to --to hf, whose card says it")
    assert path is not None
    from icdbench import registry
    from icdbench.data import datasets
    from icdbench.inference import bundle, hub, onnx

    registry.load_files(models or ())
    with options.shown_progress() as report:
        made = bundle.of_run(run_id, results, data, dataset, report)
    if fmt == "hf":
        hub.write(made, bundle.finished(run_id, results)[1], path, public=public)
    elif fmt == "onnx":
        onnx.write(made, path)
    else:
        bundle.write(made, path)
    size = sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
    options.echo(f"{path}: {made.contents.run}, {size / 1e6:.1f} MB")
    source = datasets.scan().get(made.contents.dataset)
    terms = f": {source.agreement} covers it as it covers the notes" if source and source.agreement else ""
    words = f"{len(made.contents.tokens):,} words of the training notes"
    options.echo(f"It holds {words} and weights learnt from them{terms}.", err=True)


@app.command("predict")
def predict_notes(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="NOTES...",
            help="Text files, folders of .txt, tables (.csv, .tsv, .parquet, .json, …), - for stdin.",
        ),
    ],
    run_id: options.RunOption = None,
    bundle_file: options.BundleOption = None,
    fmt: Annotated[str, typer.Option("--format", help="table, jsonl, csv or fhir.")] = "table",
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Codes to show for each note; default: those above the threshold, at least 10."),
    ] = None,
    threshold: Annotated[str, typer.Option(help="tuned (on validation) or fixed (0.5).")] = "tuned",
    codes: Annotated[
        Path | None,
        typer.Option(
            "--codes", help="Score these codes instead of the model's: a CSV of code,title, or one code per line."
        ),
    ] = None,
    columns: options.Columns = None,
    encoding: options.Encoding = None,
    results: options.Results = Path("results"),
    data: options.DataFolder = None,
    dataset: options.RunDataset = None,
    models: options.ModelFiles = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Assign codes to notes with a trained model: codes, titles, probabilities, above or below the threshold.

    If a note cannot be read, the reason is printed in its place, the other notes are coded, and the exit status is 1.
    """
    limit_threads(threads)
    from rich.console import Console

    from icdbench.data import datasets
    from icdbench.experiments import progress
    from icdbench.inference import fhir, notes, predict
    from icdbench.types import THRESHOLDS

    formats = (*predict.FORMATS, "fhir")
    for value, choices, what in ((fmt, formats, "format"), (threshold, THRESHOLDS, "threshold")):
        if value not in choices:
            raise SpecError(f"no {what} '{value}'{nearest(value, choices)}")
    found = notes.every(sources, datasets.reading(options.parsed_changes(None, columns, encoding, only="data")))
    predictor = _load_predictor(run_id, bundle_file, results, data, dataset, models, device)
    if codes is not None:
        predictor = predictor.for_codes(datasets.code_list(codes, predictor.codes))
    failed, total = 0, 0

    def counted(answers: Iterable[predict.Answer]) -> Iterator[predict.Answer]:
        nonlocal failed, total
        for name, answer in answers:
            failed, total = failed + isinstance(answer, DataError), total + 1
            yield name, answer

    with options.stoppable(), progress.counting(Console(stderr=True)) as count:
        answers = counted(count(predict.named(predictor, found, top, threshold)))
        # A CSV file keeps each cell unchanged.
        write = typer.echo if fmt == "csv" and not sys.stdout.isatty() else options.echo
        run = predictor.bundle.contents.run
        pieces = fhir.as_fhir(answers, predictor.codes, run) if fmt == "fhir" else predict.FORMATS[fmt](answers)
        for piece in pieces:
            write(piece, nl=False)
    if failed:
        options.fail(f"not predicted: {failed:,} of {total:,} notes; the reason is printed in the place of each", 1)


@app.command("explain")
def explain_note(
    source: Annotated[str | None, typer.Argument(metavar="NOTE", help="A text file, or - for stdin.")] = None,
    run_ids: Annotated[
        list[str] | None,
        typer.Option(
            "--run", help="A trained run's id or folder; with --evaluate repeatable, default: all that were measured."
        ),
    ] = None,
    bundle_file: options.BundleOption = None,
    code: Annotated[str, typer.Option(help="The code to explain; default: the most probable one.")] = "",
    method: Annotated[
        str, typer.Option(help="attention, gradient, … (docs/predict.md); default: the model's first.")
    ] = "",
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Also write a page with the note and its weights, for other likely codes, too."),
    ] = None,
    cloud: Annotated[
        Path | None,
        typer.Option("--cloud", help="Also draw a cloud of the note's words to this .png, .svg or .pdf (figure 9)."),
    ] = None,
    title_cloud: Annotated[
        Path | None, typer.Option("--title-cloud", help="Also draw a cloud of the titles of its codes (figure 10).")
    ] = None,
    marks: Annotated[
        Path | None,
        typer.Option(
            "--brat", help="Also write the note and its --top words for each code above the threshold to this folder."
        ),
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Instead measure all methods on test documents, and print the table.")
    ] = False,
    documents: Annotated[
        int | None, typer.Option(min=1, help="With --evaluate: number of test documents to draw; default: 50.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="With --evaluate: seed that decides which documents are drawn; default: 0."),
    ] = None,
    fmt: Annotated[
        str | None, typer.Option("--format", help="text, or json for programs; with --evaluate md, latex, csv or html.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of words in the list below the note.")] = 10,
    columns: options.Columns = None,
    encoding: options.Encoding = None,
    results: options.Results = Path("results"),
    data: options.DataFolder = None,
    dataset: options.RunDataset = None,
    models: options.ModelFiles = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Show which words of a note support a code, according to a trained model; or measure how far that can be trusted."""
    limit_threads(threads)
    if evaluate:
        if any((source, bundle_file, code, method, html, cloud, title_cloud, marks)):
            raise SpecError(
                "--evaluate measures every method of runs: leave out the note, --bundle, --code, --method and files to write"
            )
        _measure_explanations(run_ids or [], documents, seed, fmt or "auto", results, data, dataset, models, device)
        return
    if source is None or documents is not None or seed is not None:
        raise SpecError(
            "name a note, or - for standard input; --documents and --seed belong to --evaluate, which needs none"
        )
    if len(run_ids or []) > 1:
        raise SpecError("a note is explained by one run; several belong to --evaluate")
    if fmt not in {None, "text", "json"}:
        raise SpecError(f"no format '{fmt}'{nearest(str(fmt), ('text', 'json'))}")
    from icdbench.data import datasets
    from icdbench.inference import explain, notes
    from icdbench.presentation import word_clouds as clouds

    for path in (cloud, title_cloud):
        clouds.checked(path)
    _check_not_the_note(source, html, cloud, title_cloud)
    name, text = notes.single(source, datasets.reading(options.parsed_changes(None, columns, encoding, only="data")))
    # Only now, when the rest of the request has been checked, load the model.
    predictor = _load_predictor(run_ids[0] if run_ids else None, bundle_file, results, data, dataset, models, device)
    if html is not None:
        from icdbench.serving import explanation

        found, *others = explanation.explanations(predictor, text, code, method)
        explanation.save(html, explanation.as_html([found, *others], text, name))
    else:
        found = explain.explain(predictor, text, code, method)
    _draw_clouds(found, predictor, text, cloud, title_cloud)
    if marks is not None:
        for path in explain.write_marks(marks / Path(source).stem, predictor, text, code, method, top):
            options.echo(path, err=True)
    _print_explanation(found, text, top, as_json=fmt == "json")


def _check_not_the_note(source: str, *written: Path | None) -> None:
    for path in written:
        if path is not None and path.exists() and Path(source).exists() and path.samefile(source):
            raise SpecError(f"{path} is the note itself; name another file to write to")


def _draw_clouds(
    found: explain.Explanation, predictor: predict.Predictor, text: str, cloud: Path | None, title_cloud: Path | None
) -> None:
    from icdbench.presentation import word_clouds as clouds

    if cloud is not None:
        clouds.save(clouds.of_note(found, text), cloud)
    if title_cloud is not None:
        clouds.save(clouds.of_titles(predictor, text, found.method), title_cloud)


def _print_explanation(found: explain.Explanation, text: str, top: int, *, as_json: bool) -> None:
    from rich.console import Console

    from icdbench.inference import explain

    if as_json:
        options.echo(explain.as_json(found))
        return
    options.echo(f"{explain.heading(found)}\n")
    console = Console(highlight=False)
    if console.is_terminal:  # the note shows its weights by colours alone
        console.print(explain.as_text(found, text), soft_wrap=True)
    options.print_list(explain.strongest(found, text, top), ["word", "weight", "characters"])


def _measure_explanations(
    names: list[str],
    documents: int | None,
    seed: int | None,
    fmt: str,
    results: Path,
    data: Path | None,
    dataset: str | None,
    models: list[str] | None,
    device: str,
) -> None:
    """Measure the explanations of the named runs and print their table; without names, print all stored measurements."""
    fmt = options.table_format(fmt)
    from icdbench import registry
    from icdbench.inference import faithfulness
    from icdbench.presentation import trust

    if not names:
        if documents is not None or seed is not None:
            raise SpecError("--documents and --seed need runs to measure: name them with --run")
        options.print_tables(trust.table(faithfulness.stored(results), fmt))
        return
    registry.load_files(models or ())
    count = faithfulness.DOCUMENTS if documents is None else documents
    sampling_seed = faithfulness.SEED if seed is None else seed
    sampling = faithfulness.Sampling(results, count, sampling_seed, data, dataset, device)
    with options.shown_progress() as report:
        measured = [faithfulness.of_run(name, sampling, report) for name in dict.fromkeys(names)]
    options.print_tables(trust.table(measured, fmt))


@app.command("serve")
def serve_page(
    runs: Annotated[
        list[str] | None, typer.Option("--run", help="A trained run's id or folder; repeatable, to compare.")
    ] = None,
    bundles: Annotated[
        list[Path] | None, typer.Option("--bundle", help="A file from 'icdbench bundle'; repeatable, to compare.")
    ] = None,
    results: options.Results = Path("results"),
    data: options.DataFolder = None,
    dataset: options.RunDataset = None,
    models: options.ModelFiles = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    host: Annotated[
        str, typer.Option(help="Address of this machine to serve on; any but 127.0.0.1 opens the page to others.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on; 0: any free port.")] = 8351,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Serve a page to try trained models: paste a note, see its codes and the words behind each, compare two runs."""
    limit_threads(threads)
    from icdbench.serving import app as pages
    from icdbench.serving import web

    named: list[tuple[str | None, Path | None]] = [(run, None) for run in runs or []]
    named += [(None, file) for file in bundles or []]
    predictors = [_load_predictor(*each, results, data, dataset, models, device) for each in named or [(None, None)]]
    alone = web.is_loopback(host)
    warning = "" if alone else f"Whoever reaches {host} can use this page; notes cross the network unencrypted."
    options.until_stopped(
        web.serving(pages.page(predictors, alone=alone), host, port), browser=browser, warning=warning
    )


def _load_predictor(
    run_id: str | None,
    file: Path | None,
    results: Path,
    data: Path | None,
    dataset: str | None,
    models: list[str] | None,
    device: str,
) -> predict.Predictor:
    """Load the model that the user names by its run or its bundle; by default the packaged one. Raises SpecError."""
    from icdbench import api
    from icdbench.inference import bundle

    if run_id is not None and file is not None:
        raise SpecError("name one trained model: either --run ID ('icdbench runs' lists them) or --bundle FILE")
    trained = file if run_id is None else run_id
    if trained is None:
        trained = bundle.PACKAGED
        log.warning("%s", bundle.ABOUT_PACKAGED)
    with options.stoppable():
        return api.load(trained, device, models=models or (), results=results, data=data, dataset=dataset)
