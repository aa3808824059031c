"""The commands that store runs without training: `score` (predictions made elsewhere) and `blend` (of stored runs)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icdbench.cli import options

app = typer.Typer()


@app.command("score")
def score_file(
    file: Annotated[
        Path, typer.Argument(help="Predictions (.csv, .jsonl, .parquet, …) with columns id, codes and, if any, scores.")
    ],
    dataset: options.Dataset = "demo",
    name: Annotated[str, typer.Option(help="Name of the system; default: the file's name.")] = "",
    split: Annotated[str, typer.Option(help="Documents to score; only those of test make a stored run.")] = "test",
    validation: Annotated[
        Path | None, typer.Option(help="Predictions for the validation split, to tune the threshold on.")
    ] = None,
    ranked: Annotated[
        bool, typer.Option("--ranked", help="The codes of each document are ranked, best first.")
    ] = False,
    columns: Annotated[
        list[str] | None, typer.Option("--column", help="id=NAME, codes=NAME or scores=NAME: a column of the file.")
    ] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="Encoding of the file, if not UTF-8.")] = None,
    separator: Annotated[
        str | None, typer.Option("--code-separator", help="What separates codes: a character, space, tab, list, none.")
    ] = None,
    settings: options.Settings = None,
    data: options.DataFolder = None,
    results: options.Results = Path("results"),
    fmt: options.Format = "auto",
    wide: options.Wide = False,
) -> None:
    """Score predictions that were made elsewhere, by an LLM, an agent or another library, as a run beside the others."""
    fmt = options.table_format(fmt, wide=wide)
    given = {"columns": ",".join(columns or []), "encoding": encoding, "code_separator": separator}
    reading: dict[str, str | None] = {key: value for key, value in given.items() if value}
    if separator == "none":
        reading["code_separator"] = None
    from icdbench import api

    with options.stoppable():
        found = api.score(
            file, dataset, name=name, split=split, validation=validation, ranked=ranked,
            settings=options.parsed_changes(settings, only="data"), reading=reading, data=data, results=results,
        )  # fmt: skip
    if found.data.known and found.data.record:
        options.echo(f"already stored: {found.data.record.id}", err=True)
    options.print_tables(found.text(fmt))


@app.command("blend")
def blend_runs(
    run: Annotated[str, typer.Argument(help="A run of a model, by its id or folder.")],
    others: Annotated[
        list[str], typer.Option("--with", metavar="RUN", help="Another run on the same documents; repeatable.")
    ],
    name: Annotated[str, typer.Option(help="Name of the mixture; default: made from those of the runs.")] = "",
    results: options.Results = Path("results"),
    fmt: options.Format = "auto",
) -> None:
    """Mix the predictions of stored runs, with weights fitted on validation documents, and store the mixture as a run."""
    fmt = options.table_format(fmt, wide=False)
    from icdbench.experiments import scored
    from icdbench.presentation import tables

    found = scored.blend(run, others, results, name)
    for member, weight in found.weights.items():
        options.echo(f"{weight:6.2f}  {member}", err=True)
    if found.known:
        options.echo(f"already stored: {found.record.id}", err=True)
    options.print_tables(tables.comparison([found.record], fmt, results=[results]))
