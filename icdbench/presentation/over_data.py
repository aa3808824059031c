"""Systems over several data sets, as tables: their mean ranks, and how far data sets agree on the order of systems."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from icdbench.evaluation import across, bootstrap
from icdbench.presentation.cells import SystemRow, common_settings, mark_best, systems_in
from icdbench.presentation.formats import Cell, Grid, Value
from icdbench.presentation.notes import block_names
from icdbench.records import RunRecord, comparable
from icdbench.spec import Benchmark
from icdbench.types import FloatArray

FEWEST_IN_ORDER = 5  # systems, for a rank correlation


class OverData(NamedTuple):
    """Systems [K] that have runs on all of the data sets [N]; for each metric their figures [N, K] and ranks."""

    data_sets: Sequence[str]
    systems: Sequence[str]
    figures: Sequence[FloatArray]
    rankings: Sequence[across.Ranking]
    left_out: str


def compared(
    benchmark: Benchmark, records: Sequence[RunRecord], models: Sequence[str] = (), *, mix: bool = False
) -> OverData | str:
    """The most data sets that have three systems in common, and these systems; or a line that says what is missing.

    Without `models`, every model counts, but no variant. Runs with settings that users changed do not count. Of several
    settings or versions of a system, the one with the most seeds counts, of these the newest.
    """
    by_data_set = _by_data_set(benchmark, records, models, mix=mix)
    found = sorted(by_data_set.items(), key=lambda each: (-len(each[1]), each[0]))
    for number in range(len(found), across.FEWEST - 1, -1):
        common = sorted(set.intersection(*(set(means) for _, means in found[:number])))
        if len(common) >= across.FEWEST:
            break
    else:
        stored = ", ".join(f"{len(means)} on {name}" for name, means in found) or "none"
        needed = f"{across.FEWEST} systems that have runs on the same {across.FEWEST} data sets or more"
        variants = " (variants do not count)" if found and not (models or benchmark.models) else ""
        return f"mean ranks need {needed}; systems with runs: {stored}{variants}"
    kept, dropped = sorted(found[:number]), [name for name, _ in found[number:]]
    figures = [
        np.array([[means[system][position] for system in common] for _, means in kept])
        for position in range(len(benchmark.metrics))
    ]
    lacking = sorted({system for _, means in kept for system in means} - set(common))
    left_out = [f"data sets {', '.join(dropped)}"] * bool(dropped) + [f"systems {', '.join(lacking)}"] * bool(lacking)
    names = [name for name, _ in kept]
    return OverData(names, common, figures, [across.ranking(each) for each in figures], "; ".join(left_out))


def _by_data_set(
    benchmark: Benchmark, records: Sequence[RunRecord], models: Sequence[str] = (), *, mix: bool, variants: bool = False
) -> dict[str, dict[str, list[float]]]:
    """For each data set its systems, and for each of these the mean over seeds of each metric."""
    blocks = comparable.blocks(records)
    wanted = models or benchmark.models
    means = [_means(benchmark, block, wanted, mix=mix, variants=variants) for block in blocks]
    return dict(zip(block_names(blocks), means, strict=True))


def _means(
    benchmark: Benchmark, block: Sequence[RunRecord], models: Sequence[str], *, mix: bool, variants: bool
) -> dict[str, list[float]]:
    _, runs = common_settings(block)
    wanted = [run for run in runs if (run.spec.system in models if models else variants or not run.spec.variant)]
    rows: dict[str, SystemRow] = {}
    for row in systems_in([run for run in wanted if not run.changed], [], mix=mix):
        rows[row.system] = max(rows.get(row.system, row), row, key=_preference)
    found = {}
    for system, row in rows.items():
        measured = [run.metrics["test"].get(benchmark.threshold, {}) for run in row.runs]
        if all(key in each for each in measured for _, key in benchmark.metrics):
            found[system] = [fmean(each[key] for each in measured) for _, key in benchmark.metrics]
    return found


def _preference(row: SystemRow) -> tuple[int, str]:
    return len(row.runs), max(run.created for run in row.runs)


def table(benchmark: Benchmark, records: Sequence[RunRecord], *, mix: bool = False) -> list[Grid]:
    """A table for each metric: mean ranks, and the figures behind them on each data set; the best mean rank first."""
    agreeing = agreement(benchmark, _by_data_set(benchmark, records, mix=mix, variants=True))
    last = [agreeing] if agreeing.rows else []
    found = compared(benchmark, records, mix=mix)
    if isinstance(found, str):
        return [Grid(benchmark.title, ["system", "mean rank"], [], [f"{found[0].upper()}{found[1:]}."]), *last]
    grids = []
    for (heading, _), figures_NK, ranking in zip(benchmark.metrics, found.figures, found.rankings, strict=True):
        cells = mark_best([[Cell(100 * figure) for figure in figures_N] for figures_N in figures_NK.T])
        order = np.argsort(ranking.mean_K, kind="stable")
        rows: list[list[Value]] = [[found.systems[at], Cell(ranking.mean_K[at], digits=2), *cells[at]] for at in order]
        notes = [f"{benchmark.caption} Percent, means over seeds.", *about(ranking, found)]
        grids.append(Grid(f"{benchmark.title}: {heading}", ["system", "mean rank", *found.data_sets], rows, notes))
    return [*grids, *last]


def agreement(benchmark: Benchmark, found: Mapping[str, Mapping[str, Sequence[float]]]) -> Grid:
    """Spearman's correlation of every two data sets over their common systems, for each metric; the highest first."""
    from scipy import stats  # slow to import

    correlated: list[tuple[list[float], list[Value]]] = []
    for one, other in itertools.combinations(sorted(found), 2):
        common = sorted(found[one].keys() & found[other].keys())
        if len(common) >= FEWEST_IN_ORDER:
            figures = [np.array([found[name][system] for system in common]).T for name in (one, other)]
            orders = [float(stats.spearmanr(*pair).statistic) for pair in zip(*figures, strict=True)]
            correlated.append((orders, [one, other, len(common), *(Cell(order, digits=2) for order in orders)]))
    rows = [row for _, row in sorted(correlated, key=lambda each: each[0], reverse=True)]
    headings = ["data set", "and", "systems", *(heading for heading, _ in benchmark.metrics)]
    notes = [
        "Spearman's rank correlation over the systems and variants that have runs on both, from their means over seeds.",
        f"Left out: data sets with fewer than {FEWEST_IN_ORDER} of these in common.",
    ]
    return Grid("Do two data sets put systems in the same order?", headings, rows, notes)


def p_words(p: float) -> str:
    """A p-value with three decimals, such as `p = 0.012`."""
    return "p < 0.001" if p < 0.0005 else f"p = {p:.3f}"


def about(ranking: across.Ranking, found: OverData) -> list[str]:
    """What the ranks show, and what was left out."""
    apart = (
        f"systems whose mean ranks are less than {ranking.critical:.2f} apart cannot be told apart"
        if ranking.p < bootstrap.SIGNIFICANT
        else "no systems can be told apart"
    )
    notes = [f"Friedman's test: {p_words(ranking.p)}; {apart}."]
    return notes + ([f"Left out, as they lack runs: {found.left_out}."] if found.left_out else [])
