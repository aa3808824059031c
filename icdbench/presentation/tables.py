"""Tables of runs: own systems side by side (`comparison`), and tables of papers with own figures in them (`printed`).

Other packages find all tables of runs here; formats are md, latex, csv, html and terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from icdbench.models import FLOORS
from icdbench.presentation import formats, over_data
from icdbench.presentation.analysis_tables import analyses, chosen_analyses
from icdbench.presentation.catalog import has_figures
from icdbench.presentation.cells import systems_in
from icdbench.presentation.data_tables import data_sets
from icdbench.presentation.formats import Cell, Grid, Value, write
from icdbench.presentation.headings import COUNTS, heading
from icdbench.presentation.layouts import Showing, answers, beside_published, by_epoch, columns_for, side_by_side, study
from icdbench.presentation.leaderboard import opencodepapers
from icdbench.presentation.notes import about_file, no_better_than_popularity, told_apart
from icdbench.presentation.one_run import config, one_run
from icdbench.presentation.reported import literature
from icdbench.presentation.tuning_table import cost, tuned, tuning_page
from icdbench.records import RunRecord, comparable
from icdbench.spec import Benchmark, Reported

if TYPE_CHECKING:
    from icdbench.experiments import scored

__all__ = [
    "FORMATS",
    "analyses",
    "at_popularity",
    "chosen_analyses",
    "comparison",
    "config",
    "cost",
    "listed",
    "literature",
    "one_run",
    "opencodepapers",
    "own_runs",
    "printed",
    "scored_file",
    "tuned",
    "tuning_page",
]

FORMATS = formats.FORMATS
Part = tuple[Benchmark, Sequence[RunRecord]]  # a table, and the runs that may enter it


def listed(rows: Iterable[Sequence[object]], headers: Sequence[str], fmt: str) -> str:
    """A table without title and notes. Raises SpecError for an unknown format."""
    return formats.write([formats.Grid("", headers, [list(map(str, row)) for row in rows], [])], fmt)


def comparison(
    records: Sequence[RunRecord], fmt: str = "md", *, results: Sequence[Path] = (), mix: bool = False
) -> str:
    """Own systems side by side, best precision at the smallest k first; a table for each set of comparable runs.

    Rows are settings, averaged over seeds: percent, mean ± sample standard deviation. The best mean of a column is bold if
    at least two rows compete. † marks collapsed runs and their worthless figures, which are never the best. ≈ marks figures
    that cannot be told from the best, if the predictions are below the `results` folders. Runs of different minor versions
    are separate rows, unless `mix`. Raises SpecError for an unknown format.
    """
    grids = _grid_of_each_block(records, lambda block: side_by_side(block, Showing(results, mix))[0])
    header = ["system", *(name for name, _, _ in columns_for(50))]
    return write(grids or [Grid("Own runs", header, [], ["No runs are stored."])], fmt)


def _grid_of_each_block(records: Sequence[RunRecord], table: Callable[[list[RunRecord]], Grid]) -> list[Grid]:
    """A table for each block of comparable runs; tables on different data have different titles."""
    found = comparable.blocks(records, any_label_set=True)
    grids = [table(block) for block in found]
    titles = told_apart([grid.title for grid in grids], found)
    return [grid._replace(title=title) for grid, title in zip(grids, titles, strict=True)]


def printed(
    parts: Sequence[Part],
    fmt: str = "md",
    reported: Sequence[Reported] = (),
    *,
    results: Sequence[Path] = (),
    mix: bool = False,
) -> str:
    """The tables of a paper: each published row, then own runs of that system, mean ± sd, and the difference.

    Systems that the paper lacks follow, then what others report. The best published and the best own figure are bold; ≈ marks
    own figures as in `comparison`. Runs on synthetic data, on other data sets or with changed data settings never stand beside
    published figures: they follow in tables of their own, once for all parts of a study. Studies and benchmarks with `models`
    show no other systems. Raises SpecError for an unknown format.
    """
    groups: dict[tuple[str, ...], list[Part]] = {}
    for benchmark, records in parts:
        own_group = benchmark.name if benchmark.models else ""
        groups.setdefault((benchmark.kind, benchmark.study, own_group), []).append((benchmark, records))
    grids = [_grids_of_group(group, reported, Showing(results, mix)) for group in groups.values()]
    return write([grid for group in grids for grid in group], fmt)


def own_runs(parts: Sequence[Part]) -> list[RunRecord]:
    """The runs that these tables show, without repetition."""
    return list({run.id: run for benchmark, records in parts for run in _runs_shown(benchmark, records)}.values())


def scored_file(found: scored.ScoredPredictions, results: Sequence[Path], fmt: str = "md") -> str:
    """Predictions made elsewhere: a comparison with their run, or the figures alone if the split is not test."""
    if found.record is not None:
        return comparison([found.record], fmt, results=results)
    figures = found.figures["fixed"].items()
    rows: list[list[Value]] = [[heading(key), Cell(value if key in COUNTS else 100 * value)] for key, value in figures]
    notes = ["Percent, but for counts; only figures of the test split are stored.", about_file(found.source)]
    return write([Grid(f"{found.system} (scored), {found.split} split", ["figures", "value"], rows, notes)], fmt)


def at_popularity(records: Sequence[RunRecord]) -> list[str]:
    """A line for each system that ranks codes no better than their frequency does."""
    remarks = [(system, no_better_than_popularity(system.runs)) for system in systems_in(records, ())]
    return [f"{system.label} on {system.runs[0].spec.dataset} {remark}" for system, remark in remarks if remark]


def _grids_of_group(parts: Sequence[Part], reported: Sequence[Reported], how: Showing) -> list[Grid]:
    first, records = parts[0]
    if first.plot == "ranks":
        return over_data.table(first, records, mix=how.mix)
    if first.kind == "data sets":
        return data_sets(first, records)
    parts = [(benchmark, _runs_shown(benchmark, records)) for benchmark, records in parts]
    if first.kind == "epochs" or (first.study and not has_figures(first)):  # nothing is published, so any data will do
        layout = by_epoch if first.kind == "epochs" else study
        return [
            grid
            for benchmark, records in parts
            for grid in _grid_of_each_block(records, partial(layout, benchmark, how=how))
            or [layout(benchmark, [], how)]
        ]
    return _grids_of_systems(parts, reported, how)


def _runs_shown(benchmark: Benchmark, records: Sequence[RunRecord]) -> list[RunRecord]:
    if not (benchmark.study or benchmark.models):
        return list(records)
    shown = {*benchmark.systems, *(FLOORS if benchmark.kind == "systems" and not benchmark.study else ())}
    return [record for record in records if record.spec.system in shown]


def _grids_of_systems(parts: Sequence[Part], reported: Sequence[Reported], how: Showing) -> list[Grid]:
    """A table for each part with the runs on its data; then the other runs, unless the benchmark names its models."""
    grids: list[Grid] = []
    placed: set[str] = set()
    for benchmark, records in parts:
        own = [record for record in records if answers(record, benchmark)]
        on_data = [each for each in reported if each.dataset == benchmark.dataset]
        layout: Callable[[Sequence[RunRecord]], Grid] = partial(study, benchmark, how=how)
        if has_figures(benchmark) or on_data:
            layout = partial(beside_published, benchmark, how=how, reported=on_data)
        grids += _grid_of_each_block(own, layout) or [layout([])]
        placed |= {record.id for record in own}
    first = parts[0][0]
    if first.models:
        return grids
    other = [record for _, records in parts for record in records if record.id not in placed]
    title = f"Other data, not comparable with {', '.join(part.name for part, _ in parts)}: own runs"
    if first.study:
        return grids + _grid_of_each_block(other, partial(study, first, how=how, title=title))
    return grids + _grid_of_each_block(other, lambda block: side_by_side(block, how, title, reported)[0])
