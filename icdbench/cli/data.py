"""Commands on data sets: `data list | get | make | check | describe | export | clear`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icdbench.cli.options import (
    FORMATS_OF_TABLES,
    Columns,
    DataFolder,
    Encoding,
    Settings,
    SkipBad,
    Wide,
    echo,
    parsed_changes,
    print_list,
    print_tables,
    shown_progress,
    table_format,
    with_reading,
)
from icdbench.host import output

if TYPE_CHECKING:
    from icdbench.data import datasets

app = typer.Typer(help="Data sets: what there is, fetching, checking, describing.", no_args_is_help=True)


@app.command("list")
def data_list(data: DataFolder = None, wide: Wide = False) -> None:  # noqa: FBT002
    """List the data sets and whether their files are present."""
    from icdbench.data import datasets

    print_list(datasets.overview(data), ["data set", "files", "what"], wide=wide)
    own = "\nYour own data: --dataset FILE.csv (or .tsv, .parquet, .json, .jsonl) with columns id, text, codes and, if you like, "
    echo(output.fitted(f"{own}split and group."))


@app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="Which data to download, such as codiesp.")], data: DataFolder = None
) -> None:
    """Download a data set into the data folder and verify its checksums."""
    from icdbench.data import datasets

    echo(datasets.download(name, data))


@app.command("make")
def data_make(
    folder: Annotated[Path, typer.Argument(help="Where to put the tables: a folder that is new or empty.")],
    admissions: Annotated[int, typer.Option(help="Admissions with a discharge summary; MIMIC-III has 52726.")] = 52_726,
    seed: Annotated[int, typer.Option(help="Another seed, other tables.")] = 1,
    label_noise: Annotated[float, typer.Option(help="Share of labels that are wrong, such as 0.1.")] = 0.0,
    other_notes: Annotated[int, typer.Option(help="Notes of other kinds per admission; MIMIC-III has 38.")] = 38,
) -> None:
    """Make synthetic tables in MIMIC-III's schema, of any size: no patient data, for trying things out."""
    from icdbench.synthetic import tables

    with shown_progress() as report:
        tables.make(folder, admissions, seed, label_noise, other_notes, report)
    echo(f"{folder}: {admissions:,} admissions with a summary, synthetic")


@app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="A data set, or your own file.")],
    settings: Settings = None,
    columns: Columns = None,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,  # noqa: FBT002
    data: DataFolder = None,
) -> None:
    """Say what is missing, altered or wrong with files, documents and codes. Exit status 2 if anything is.

    Also what differs from the published counts, and why. Known facts of a published data set are said, and are no fault.
    """
    from icdbench.data import describe

    opened = _opened(name, with_reading(settings, columns, encoding, skip_bad=skip_bad), data)
    with shown_progress() as report:
        problems, known = describe.check(opened, report)
    echo("\n".join([*problems, *known, *([] if problems else [f"{opened.name}: complete and as expected"])]))
    if problems:
        raise typer.Exit(2)


@app.command("describe")
def data_describe(
    name: Annotated[str, typer.Argument(help="A data set, or your own file.")],
    settings: Settings = None,
    columns: Columns = None,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,  # noqa: FBT002
    data: DataFolder = None,
    fmt: Annotated[
        str, typer.Option("--format", help=f"{FORMATS_OF_TABLES}; or croissant: JSON-LD about the data, without texts.")
    ] = "auto",
    wide: Wide = False,  # noqa: FBT002
) -> None:
    """Print the paper's Table 2 for a data set (vocabulary, documents per split, codes, lengths) and its figure 2."""
    fmt = table_format(fmt, wide=wide, beside=["croissant"])
    from icdbench.data import describe, encode
    from icdbench.presentation import data_tables

    opened = _opened(name, with_reading(settings, columns, encoding, skip_bad=skip_bad), data)
    with shown_progress() as report:
        corpus = opened.corpus(report)
    encode.tell(corpus)
    if fmt == "croissant":
        echo(json.dumps(describe.as_croissant(opened, corpus), indent=2))
        return
    print_tables(data_tables.statistics(corpus, fmt))


@app.command("export")
def data_export(
    name: Annotated[str, typer.Argument(help="A data set, or your own file.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the files.")],
    settings: Settings = None,
    columns: Columns = None,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,  # noqa: FBT002
    data: DataFolder = None,
    fmt: Annotated[
        str, typer.Option("--format", help="csv, parquet, libmultilabel, or brat: texts and marked words.")
    ] = "csv",
) -> None:
    """Write documents as models read them, vocabulary, codes and their titles to plain files, for other programs."""
    from icdbench.data import export

    opened = _opened(name, with_reading(settings, columns, encoding, skip_bad=skip_bad), data)
    with shown_progress() as report:
        written = export.export(opened, out, fmt, report)
    echo("\n".join(map(str, written)))
    if opened.agreement:
        echo(f"These files hold the notes: {opened.agreement} covers them as it covers the raw data.", err=True)


@app.command("clear")
def data_clear(
    name: Annotated[str | None, typer.Argument(help="A data set; without it, all of them.")] = None,
) -> None:
    """Remove encoded data and word vectors from the cache; they are made again when they are needed."""
    from icdbench.data import cache, datasets

    cleared = cache.clear(None if name is None else datasets.source(name).name)
    count, total = len(cleared.removed), sum(size for _, size in cleared.removed)
    entries = "entry" if count == 1 else "entries"
    echo(f"{count} {entries}, {total / 1e6:.1f} MB, removed from {cache.cache_root()}")
    for entry, size in cleared.removed:
        echo(f"  {entry}, {size / 1e6:.1f} MB")
    for strange in cleared.left:
        echo(f"left, as icdbench did not make it: {cache.cache_root() / strange}", err=True)


def _opened(name: str, settings: list[str], data: Path | None) -> datasets.Source:
    """The data set with the settings that the user typed."""
    from icdbench.data import datasets

    return datasets.open(name, data, parsed_changes(settings, only="data"))
