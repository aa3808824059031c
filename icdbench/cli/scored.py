"""Commands that store runs without training a model: `score` (predictions made elsewhere) and `blend` (of stored runs)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icdbench.cli.options import (
    DataFolder,
    Dataset,
    Format,
    Results,
    Settings,
    Wide,
    echo,
    parsed_changes,
    print_tables,
    stoppable,
    table_format,
)

app = typer.Typer()


@app.command("score")
def score_file(
    file: Annotated[
        Path, typer.Argument(help="Predictions (.csv, .jsonl, .parquet, …) with columns id, codes and, if any, scores.")
    ],
    dataset: Dataset = "demo",
    name: Annotated[str, typer.Option(help="What made the predictions; else the file's name.")] = "",
    split: Annotated[str, typer.Option(help="The documents that are scored; only test makes a stored run.")] = "test",
    validation: Annotated[
        Path | None, typer.Option(help="Predictions for the validation split, to tune the threshold on.")
    ] = None,
    ranked: Annotated[  # noqa: FBT002
        bool, typer.Option("--ranked", help="The codes of each document are in order, the best first.")
    ] = False,
    columns: Annotated[
        list[str] | None, typer.Option("--column", help="id=NAME, codes=NAME or scores=NAME: a column of the file.")
    ] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="Encoding of the file, if not UTF-8.")] = None,
    separator: Annotated[
        str | None, typer.Option("--code-separator", help="What joins codes: a character, space, tab, list, none.")
    ] = None,
    settings: Settings = None,
    data: DataFolder = None,
    results: Results = Path("results"),
    fmt: Format = "auto",
    wide: Wide = False,  # noqa: FBT002
) -> None:
    """Score predictions that were made elsewhere, by an LLM, an agent or another library, as a run beside the others."""
    fmt = table_format(fmt, wide=wide)
    changes = parsed_changes(settings, only="data")
    said = {"columns": ",".join(columns or []), "encoding": encoding, "code_separator": separator}
    reading: dict[str, str | None] = {key: value for key, value in said.items() if value}
    if separator == "none":
        reading["code_separator"] = None
    from icdbench import api

    with stoppable():
        found = api.score(
            file, dataset, name=name, split=split, validation=validation, ranked=ranked, settings=changes,
            reading=reading, data=data, results=results,
        )  # fmt: skip
    if found.data.known and found.data.record:
        echo(f"already stored: {found.data.record.id}", err=True)
    print_tables(found.text(fmt))


@app.command("blend")
def blend_runs(
    run: Annotated[str, typer.Argument(help="A run of a model, by its id or folder.")],
    others: Annotated[
        list[str], typer.Option("--with", metavar="RUN", help="Another run on the same documents; repeatable.")
    ],
    name: Annotated[str, typer.Option(help="The system's name in tables; else made of those of the runs.")] = "",
    results: Results = Path("results"),
    fmt: Format = "auto",
) -> None:
    """Mix the predictions of stored runs, by weights from the validation documents, and store them as a run beside the others."""
    fmt = table_format(fmt, wide=False)
    from icdbench.experiments import scored
    from icdbench.presentation import tables

    found = scored.blend(run, others, results, name)
    for member, weight in found.weights.items():
        echo(f"{weight:6.2f}  {member}", err=True)
    if found.known:
        echo(f"already stored: {found.record.id}", err=True)
    print_tables(tables.comparison([found.record], fmt, results=[results]))
