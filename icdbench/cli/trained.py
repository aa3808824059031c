"""Commands that use a trained model: `bundle`, `predict`, `explain`, `serve`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icdbench.cli.options import (
    BundleOption,
    Columns,
    DataFolder,
    Device,
    Encoding,
    ModelFiles,
    Results,
    RunDataset,
    RunOption,
    Threads,
    echo,
    fail,
    parsed_changes,
    print_list,
    print_tables,
    shown_progress,
    stoppable,
    table_format,
    until_stopped,
    with_reading,
)
from icdbench.host import limit_threads
from icdbench.settings import DataError, SpecError, nearest

if TYPE_CHECKING:
    from icdbench.inference import explain, predict

log = logging.getLogger("icdbench")
app = typer.Typer()
BUNDLE_FORMATS = ("hf", "onnx")  # of `bundle --to`


@app.command("bundle")
def write_bundle(
    run_id: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, as 'icdbench runs' lists it, or its folder.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The file to write, such as model.icdbench.")] = None,
    to: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            metavar="FORMAT PATH",
            help="In place of --out. hf DIR: a folder for Hugging Face, with weights, configuration and model card. "
            "onnx FILE: the network, if it is not recurrent.",
        ),
    ] = None,
    public: Annotated[  # noqa: FBT002
        bool, typer.Option("--public", help="With --to hf: say that it may be published. Refused where it may not be.")
    ] = False,
    results: Results = Path("results"),
    data: DataFolder = None,
    dataset: RunDataset = None,
) -> None:
    """Write a trained model, its words, codes and thresholds to one file, for use elsewhere."""
    if (out is None) == (to is None):
        raise SpecError("say where to write: --out FILE, --to hf DIR or --to onnx FILE")
    fmt, place = ("", out) if to is None else to
    if to is not None and fmt not in BUNDLE_FORMATS:
        raise SpecError(f"--to: no format '{fmt}'{nearest(fmt, BUNDLE_FORMATS)}")
    if public and fmt != "hf":
        raise SpecError("--public belongs to --to hf, whose card says it")
    assert place is not None
    from icdbench.data import datasets
    from icdbench.inference import bundle, hub, onnx

    with shown_progress() as report:
        made = bundle.of_run(run_id, results, data, dataset, report)
    if fmt == "hf":
        hub.write(made, bundle.finished(run_id, results)[1], place, public=public)
    elif fmt == "onnx":
        onnx.write(made, place)
    else:
        bundle.write(made, place)
    size = sum(file.stat().st_size for file in (place.iterdir() if place.is_dir() else [place]))
    echo(f"{place}: {made.contents.run}, {size / 1e6:.1f} MB")
    known = datasets.scan().get(made.contents.dataset)
    covered = known.agreement if known else ""
    echo(
        f"It holds {len(made.contents.tokens):,} words of the training notes and weights learnt from them"
        + (f": {covered} covers it as it covers the notes." if covered else "."),
        err=True,
    )


@app.command("predict")
def predict_notes(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="NOTES...",
            help="Text files, folders of .txt, tables (.csv, .tsv, .parquet, .json, …), - for stdin.",
        ),
    ],
    run_id: RunOption = None,
    bundle_file: BundleOption = None,
    fmt: Annotated[str, typer.Option("--format", help="table, jsonl, csv or fhir.")] = "table",
    top: Annotated[
        int | None,
        typer.Option(min=1, help="So many codes of each note; else those above the threshold, and at least 10."),
    ] = None,
    threshold: Annotated[str, typer.Option(help="tuned (on validation) or fixed (0.5).")] = "tuned",
    codes: Annotated[
        Path | None,
        typer.Option(
            "--codes", help="Score these codes in place of the model's: a CSV of code,title, or a code a line."
        ),
    ] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    results: Results = Path("results"),
    data: DataFolder = None,
    dataset: RunDataset = None,
    models: ModelFiles = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Assign codes to notes with a trained model: codes, titles, probabilities, above or below the threshold.

    A note that cannot be read says why in its place, the others go on, and the exit status is 1.
    """
    limit_threads(threads)
    from rich.console import Console

    from icdbench.data import datasets
    from icdbench.experiments import progress
    from icdbench.inference import fhir, notes, predict

    formats = (*predict.FORMATS, "fhir")
    for value, known, what in ((fmt, formats, "format"), (threshold, predict.THRESHOLDS, "threshold")):
        if value not in known:
            raise SpecError(f"no {what} '{value}'{nearest(value, known)}")
    found = notes.every(sources, datasets.reading(parsed_changes(with_reading(None, columns, encoding), only="data")))
    predictor = _loaded(run_id, bundle_file, results, data, dataset, models, device)
    if codes is not None:
        predictor = predictor.for_codes(datasets.code_list(codes, predictor.codes))
    failed, total = 0, 0

    def watched(answers: Iterable[predict.Answer]) -> Iterator[predict.Answer]:
        nonlocal failed, total
        for name, answer in answers:
            failed, total = failed + isinstance(answer, DataError), total + 1
            yield name, answer

    with stoppable(), progress.counting(Console(stderr=True)) as count:
        answers = watched(count(predict.named(predictor, found, top, threshold)))
        write = typer.echo if fmt == "csv" and not sys.stdout.isatty() else echo  # a file keeps each cell as it is
        named = predictor.bundle.contents.run
        pieces = fhir.as_fhir(answers, predictor.codes, named) if fmt == "fhir" else predict.FORMATS[fmt](answers)
        for piece in pieces:
            write(piece, nl=False)
    if failed:
        fail(f"not predicted: {failed:,} of {total:,} notes; each says why in its place", 1)


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
        Path | None,
        typer.Option("--html", help="Also write a page of the note and its weights, for other likely codes too."),
    ] = None,
    cloud: Annotated[
        Path | None, typer.Option("--cloud", help="Also draw the note's words to this .png, .svg or .pdf (figure 9).")
    ] = None,
    title_cloud: Annotated[
        Path | None, typer.Option("--title-cloud", help="The same of the titles of its codes (figure 10).")
    ] = None,
    marks: Annotated[
        Path | None,
        typer.Option(
            "--brat", help="Also write the note and its --top words for each code above the threshold to this folder."
        ),
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
    columns: Columns = None,
    encoding: Encoding = None,
    results: Results = Path("results"),
    data: DataFolder = None,
    dataset: RunDataset = None,
    models: ModelFiles = None,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Show which words of a note speak for a code, by a trained model; or measure how far such weights can be trusted."""
    limit_threads(threads)
    if evaluate:
        if any((source, bundle_file, code, method, html, cloud, title_cloud, marks)):
            raise SpecError(
                "--evaluate takes no note, --bundle, --code, --method and no files: it measures every method of runs"
            )
        _evaluate(run_ids or [], documents, seed, fmt or "auto", results, data, dataset, models, device)
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
    name, text = notes.single(
        source, datasets.reading(parsed_changes(with_reading(None, columns, encoding), only="data"))
    )
    # The model is loaded once the rest of the request is known to be right.
    predictor = _loaded(run_ids[0] if run_ids else None, bundle_file, results, data, dataset, models, device)
    if html is not None:
        from icdbench.serving import explanation

        found, *others = explanation.explanations(predictor, text, code, method)
        explanation.save(html, explanation.as_html([found, *others], text, name))
    else:
        found = explain.explain(predictor, text, code, method)
    _draw_clouds(found, predictor, text, cloud, title_cloud)
    if marks is not None:
        _write_marks(marks / Path(source).stem, predictor, text, code, method, top)
    _print_explanation(found, text, top, as_json=fmt == "json")


def _draw_clouds(
    found: explain.Explanation, predictor: predict.Predictor, text: str, cloud: Path | None, title_cloud: Path | None
) -> None:
    from icdbench.presentation import word_clouds as clouds

    if cloud is not None:
        clouds.save(clouds.of_note(found, text), cloud)
    if title_cloud is not None:
        clouds.save(clouds.of_titles(predictor, text, found.method), title_cloud)


def _write_marks(place: Path, predictor: predict.Predictor, text: str, code: str, method: str, top: int) -> None:
    from icdbench.inference import explain

    for path in explain.write_marks(place, predictor, text, code, method, top):
        echo(str(path), err=True)


def _print_explanation(found: explain.Explanation, text: str, top: int, *, as_json: bool) -> None:
    from rich.console import Console

    from icdbench.inference import explain

    if as_json:
        echo(explain.as_json(found))
        return
    echo(f"{explain.heading(found)}\n")
    console = Console(highlight=False)
    if console.is_terminal:  # elsewhere there are no colours to see
        console.print(explain.as_text(found, text), soft_wrap=True)
    print_list(explain.strongest(found, text, top), ["word", "weight", "characters"])


def _evaluate(
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
    """Measure the named runs' explanations, and print their table; without names that of all that were measured."""
    fmt = table_format(fmt)
    from icdbench import registry
    from icdbench.inference import faithfulness
    from icdbench.presentation import trust

    if not names:
        if documents is not None or seed is not None:
            raise SpecError("--documents and --seed measure anew: name runs with --run")
        print_tables(trust.table(faithfulness.stored(results), fmt))
        return
    registry.load_files(models or ())
    count = faithfulness.DOCUMENTS if documents is None else documents
    drawn = faithfulness.SEED if seed is None else seed
    request = faithfulness.Sampling(results, count, drawn, data, dataset, device)
    with shown_progress() as report:
        measured = [faithfulness.of_run(name, request, report) for name in dict.fromkeys(names)]
    print_tables(trust.table(measured, fmt))


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
    models: ModelFiles = None,
    device: Device = "auto",
    threads: Threads = None,
    host: Annotated[
        str, typer.Option(help="An address of this machine; another than 127.0.0.1 opens the page to others.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8351,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,  # noqa: FBT002
) -> None:
    """Show a page to try trained models: paste a note, see its codes, and the words behind one; compare two runs."""
    limit_threads(threads)
    from icdbench.serving import app as pages
    from icdbench.serving import web

    named: list[tuple[str | None, Path | None]] = [(run, None) for run in runs or []]
    named += [(None, file) for file in bundles or []]
    named = named or [(None, None)]
    predictors = [_loaded(*each, results, data, dataset, models, device) for each in named]
    alone = web.is_loopback(host)
    warning = "" if alone else f"Whoever reaches {host} can use this page; notes cross the network unencrypted."
    site = pages.page(predictors, alone=alone)
    until_stopped(web.serving(site, host, port), browser=browser, warning=warning)


def _loaded(
    run_id: str | None,
    file: Path | None,
    results: Path,
    data: Path | None,
    dataset: str | None,
    models: list[str] | None,
    device: str,
) -> predict.Predictor:
    """The model that a user names, as a run or as a bundle; the packaged one if none is named."""
    from icdbench import api
    from icdbench.inference import bundle

    if run_id is not None and file is not None:
        raise SpecError("name one trained model: either --run ID ('icdbench runs' lists them) or --bundle FILE")
    trained = run_id or file
    if trained is None:
        trained = bundle.PACKAGED
        log.warning("%s", bundle.ABOUT_PACKAGED)
    with stoppable():
        return api.load(trained, device, models=models or (), results=results, data=data, dataset=dataset)
