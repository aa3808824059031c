"""The commands on data sets: `icdbench data list | get | make | check | describe | export | clear`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from icdbench.cli import options
from icdbench.host import output

app = typer.Typer(help="Data sets: what there is, fetching, checking, describing.", no_args_is_help=True)


@app.command("list")
def data_list(data: options.DataFolder = None, wide: options.Wide = False) -> None:
    """List the data sets and whether their files are present."""
    from icdbench.data import datasets

    options.print_list(datasets.overview(data), ["data set", "files", "what"], wide=wide)
    own_data = "Your own data: --dataset FILE.csv (or .tsv, .parquet, .json, .jsonl) with columns id, text, codes"
    options.echo(output.fitted(f"\n{own_data} and, if you like, split and group."))


@app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="Which data to download, such as codiesp.")],
    data: options.DataFolder = None,
) -> None:
    """Download a data set into the data folder and verify its checksums."""
    from icdbench.data import datasets

    options.echo(datasets.download(name, data))


@app.command("make")
def data_make(
    folder: Annotated[Path, typer.Argument(help="Folder for the tables, new or empty.")],
    admissions: Annotated[int, typer.Option(help="Admissions with a discharge summary; MIMIC-III has 52726.")] = 52_726,
    seed: Annotated[int, typer.Option(help="Different seeds give different tables.")] = 1,
    label_noise: Annotated[float, typer.Option(help="Share of labels that are wrong, such as 0.1.")] = 0.0,
    other_notes: Annotated[int, typer.Option(help="Notes of other kinds per admission; MIMIC-III has 38.")] = 38,
) -> None:
    """Make synthetic tables in MIMIC-III's schema, of any size: no patient data, for trying things out."""
    from icdbench.synthetic import tables

    with options.shown_progress() as report:
        tables.make(folder, admissions, seed, label_noise, other_notes, report)
    options.echo(f"{folder}: {admissions:,} admissions with a summary, synthetic")


@app.command("check")
def data_check(
    name: options.DatasetArgument,
    settings: options.Settings = None,
    columns: options.Columns = None,
    encoding: options.Encoding = None,
    skip_bad: options.SkipBad = False,
    data: options.DataFolder = None,
) -> None:
    """Check files, documents and codes for anything missing, altered or wrong; if there is any, the exit status is 2.

    Differences from the published counts are explained. Known peculiarities of a published data set are no fault.
    """
    from icdbench.data import datasets, describe

    opened = datasets.open(
        name, data, options.parsed_changes(settings, columns, encoding, skip_bad=skip_bad, only="data")
    )
    with options.shown_progress() as report:
        problems, peculiarities = describe.check(opened, report)
    options.echo(
        "\n".join([*problems, *peculiarities, *([] if problems else [f"{opened.name}: complete and as expected"])])
    )
    if problems:
        raise typer.Exit(2)


@app.command("describe")
def data_describe(
    name: options.DatasetArgument,
    settings: options.Settings = None,
    columns: options.Columns = None,
    encoding: options.Encoding = None,
    skip_bad: options.SkipBad = False,
    data: options.DataFolder = None,
    fmt: Annotated[
        str,
        typer.Option(
            "--format", help=f"{options.FORMATS_OF_TABLES}; or croissant: JSON-LD about the data, without texts."
        ),
    ] = "auto",
    wide: options.Wide = False,
) -> None:
    """Print the paper's Table 2 for a data set (vocabulary, documents per split, codes, lengths) and its figure 2."""
    fmt = options.table_format(fmt, wide=wide, other_formats=["croissant"])
    from icdbench.data import datasets, describe, encode
    from icdbench.presentation import data_tables

    opened = datasets.open(
        name, data, options.parsed_changes(settings, columns, encoding, skip_bad=skip_bad, only="data")
    )
    with options.shown_progress() as report:
        corpus = opened.corpus(report)
    encode.tell(corpus)
    if fmt == "croissant":
        options.echo(json.dumps(describe.as_croissant(opened, corpus), indent=2))
        return
    options.print_tables(data_tables.statistics(corpus, fmt))


@app.command("export")
def data_export(
    name: options.DatasetArgument,
    out: Annotated[Path, typer.Option("--out", help="A new folder for the files.")],
    settings: options.Settings = None,
    columns: options.Columns = None,
    encoding: options.Encoding = None,
    skip_bad: options.SkipBad = False,
    data: options.DataFolder = None,
    fmt: Annotated[
        str, typer.Option("--format", help="csv, parquet, libmultilabel, or brat: texts and marked words.")
    ] = "csv",
) -> None:
    """Write documents as models read them, vocabulary, codes and their titles to plain files, for other programs."""
    from icdbench.data import datasets, export

    opened = datasets.open(
        name, data, options.parsed_changes(settings, columns, encoding, skip_bad=skip_bad, only="data")
    )
    with options.shown_progress() as report:
        written = export.export(opened, out, fmt, report)
    options.echo("\n".join(map(str, written)))
    if opened.agreement:
        options.echo(f"These files hold the notes: {opened.agreement} covers them as it covers the raw data.", err=True)


@app.command("clear")
def data_clear(name: Annotated[str | None, typer.Argument(help="A data set; without it, all of them.")] = None) -> None:
    """Remove encoded data and word vectors from the cache; they are made again when they are needed."""
    from icdbench.data import cache, datasets

    cleared = cache.clear(None if name is None else datasets.source(name).name)
    count, total = len(cleared.removed), sum(size for _, size in cleared.removed)
    entries = "entry" if count == 1 else "entries"
    options.echo(f"{count} {entries}, {total / 1e6:.1f} MB, removed from {cache.cache_root()}")
    for entry, size in cleared.removed:
        options.echo(f"  {entry}, {size / 1e6:.1f} MB")
    for other in cleared.left:
        options.echo(f"kept, because icdbench did not create it: {cache.cache_root() / other}", err=True)
