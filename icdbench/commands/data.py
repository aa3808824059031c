"""Commands on data sets: `data list | get | make | check | describe | export | clear`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from icdbench.commands.options import DataFolder, Format, Settings, grid, parsed_changes, stoppable, tables_in
from icdbench.spec import DataError, SpecError, nearest

app = typer.Typer(help="Data sets: what there is, fetching, checking, describing.", no_args_is_help=True)


@app.command("list")
def data_list(data: DataFolder = None) -> None:
    """List the data sets and whether their files are present."""
    from icdbench import datasets

    rows = [
        [origin.name, _presence(origin, datasets.data_root(data)), origin.about] for origin in datasets.scan().values()
    ]
    typer.echo(grid(rows, ["data set", "files", "what"]))
    typer.echo(
        "\nYour own data: --dataset FILE.csv (or .parquet, .jsonl) with columns id, text, codes and, if you like, split."
    )


@app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="Which data to download, such as codiesp.")], data: DataFolder = None
) -> None:
    """Download a data set into the data folder and verify its checksums."""
    from icdbench import datasets

    known = datasets.scan()
    fetch = datasets.DOWNLOADS.get(known[name].download if name in known else name)
    if fetch is None:
        if name in known:
            raise SpecError(f"data set '{name}' needs no download")
        raise SpecError(f"no download '{name}'{nearest(name, datasets.DOWNLOADS)}")
    typer.echo(fetch(datasets.data_root(data)))


@app.command("make")
def data_make(
    folder: Annotated[Path, typer.Argument(help="Where to put the tables: a folder that is new or empty.")],
    admissions: Annotated[int, typer.Option(help="Admissions with a discharge summary; MIMIC-III has 52726.")] = 52_726,
    seed: Annotated[int, typer.Option(help="Another seed, other tables.")] = 1,
    label_noise: Annotated[float, typer.Option(help="Share of labels that are wrong, such as 0.1.")] = 0.0,
    other_notes: Annotated[int, typer.Option(help="Notes of other kinds per admission; MIMIC-III has 38.")] = 38,
) -> None:
    """Make synthetic tables in MIMIC-III's schema, of any size: no patient data, for trying things out."""
    from rich.console import Console

    from icdbench.datasets import mimic3_tables
    from icdbench.progress import preparing

    with stoppable(), preparing(Console(stderr=True)) as report:
        mimic3_tables.make(folder, admissions, seed, label_noise, other_notes, report)
    typer.echo(f"{folder}: {admissions:,} admissions with a summary, synthetic")


@app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="A data set, or your own file.")],
    settings: Settings = None,
    data: DataFolder = None,
) -> None:
    """Say what is missing or altered, or differs from the published counts, and why. Exit status 2 if anything is."""
    from icdbench import check, datasets

    origin = datasets.source(name)
    spec = datasets.data_spec(origin, parsed_changes(settings, only="data"))
    problems = list(origin.check(datasets.data_root(data), spec))
    if origin.known:
        try:
            problems += check.differences(_prepared(origin, data, spec), origin.known, spec)
        except DataError as error:
            problems += [] if str(error) in problems else [str(error)]
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(2)
    typer.echo(f"{origin.name}: complete and as expected")


@app.command("describe")
def data_describe(
    name: Annotated[str, typer.Argument(help="A data set, or your own file.")],
    settings: Settings = None,
    data: DataFolder = None,
    fmt: Format = "md",
) -> None:
    """Print the paper's Table 2 for a data set (vocabulary, documents per split, codes, lengths) and its figure 2."""
    tables_in(fmt)
    from icdbench import counts, datasets

    origin = datasets.source(name)
    spec = datasets.data_spec(origin, parsed_changes(settings, only="data"))
    typer.echo(counts.statistics(_prepared(origin, data, spec), fmt), nl=False)


@app.command("export")
def data_export(
    name: Annotated[str, typer.Argument(help="A data set, or your own file.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the files.")],
    settings: Settings = None,
    data: DataFolder = None,
    fmt: Annotated[str, typer.Option("--format", help="csv, parquet or libmultilabel.")] = "csv",
) -> None:
    """Write documents as models read them, vocabulary, codes and their titles to plain files, for other programs."""
    from rich.console import Console

    from icdbench import datasets
    from icdbench.export import export
    from icdbench.progress import preparing

    origin = datasets.source(name)
    spec = datasets.data_spec(origin, parsed_changes(settings, only="data"))
    with stoppable(), preparing(Console(stderr=True)) as report:
        written = export(origin, datasets.data_root(data), spec, out, fmt, report)
    typer.echo("\n".join(map(str, written)))
    if origin.agreement:
        typer.echo(f"These files hold the notes: {origin.agreement} covers them as it covers the raw data.", err=True)


@app.command("clear")
def data_clear(
    name: Annotated[str | None, typer.Argument(help="A data set; without it, all of them.")] = None,
) -> None:
    """Remove encoded data and word vectors from the cache; they are made again when they are needed."""
    from icdbench import datasets, files

    removed, size = files.clear(None if name is None else datasets.source(name).name)
    entries = "entry" if removed == 1 else "entries"
    typer.echo(f"{removed} {entries}, {size / 1e6:.1f} MB, removed from {files.cache_root()}")


def _prepared(origin: Any, data: Path | None, spec: Any) -> Any:
    """The encoded data set, with a progress bar on stderr while it is made."""
    from rich.console import Console

    from icdbench import datasets, encode
    from icdbench.progress import preparing

    with stoppable(), preparing(Console(stderr=True)) as report:
        return encode.corpus(origin, datasets.data_root(data), spec, report)


def _presence(origin: Any, root: Path) -> str:
    from icdbench import datasets

    try:
        files = origin.files(root, datasets.data_spec(origin))
    except DataError:
        return "absent"
    packaged = Path(datasets.__file__).parent
    return "packaged" if all(path.is_relative_to(packaged) for path in files) else f"{len(files)} found"
