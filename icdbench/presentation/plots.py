"""Draw figures that are readable at the width of a journal's column (text of at least 7 points) and by the colour-blind.

Each public function draws runs of one data set for a benchmark; `ranks` draws several data sets. Colours are Okabe and Ito's,
each with its own marker, hatch or line style. Equal runs give equal pixels: the fonts come with matplotlib.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from icdbench.evaluation import across, bootstrap
from icdbench.presentation.cells import (
    COLLAPSED,
    SystemRow,
    as_printed,
    common_settings,
    descending,
    mean_cell,
    numbered,
    systems_in,
)
from icdbench.presentation.formats import Cell, Value
from icdbench.presentation.layouts import columns_of
from icdbench.presentation.notes import short_name
from icdbench.presentation.over_data import OverData, p_words
from icdbench.records import RunRecord, comparable
from icdbench.spec import Benchmark
from icdbench.types import IntArray

if TYPE_CHECKING:  # slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS, LINES = "osD^vP", ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7.5,
    "figure.titlesize": 8,
    **dict.fromkeys(("axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7),
    **dict.fromkeys(("axes.linewidth", "hatch.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "svg.hashsalt": "icdbench",
    "pdf.fonttype": 42,  # TrueType: journals require searchable text
    "savefig.dpi": 300,
}
# Classes of codes by their lowest number of training documents.
SPANS = {0: "never", 1: "1–10", 11: "11–100", 101: "101–\n1,000", 1001: "over\n1,000"}


def frequencies(record: RunRecord, counts_L: IntArray, width: float) -> Figure:
    """Two panels: shares of codes and labels by training frequency, and the training frequency of each code."""
    figure, (bars, curve) = _figure_with_panels(2, 1 if width < 5 else 2, width, 1.5)
    spans = [(low, high) for low, high in pairwise([*SPANS, int(counts_L.max()) + 1]) if low < high]
    classes = [(counts_L >= low) & (counts_L < high) for low, high in spans]
    shares = {
        "of all codes": [100 * chosen_L.mean() for chosen_L in classes],
        "of all labels": [100 * counts_L[chosen_L].sum() / counts_L.sum() for chosen_L in classes],
    }
    for number, (label, share) in enumerate(shares.items()):
        drawn = bars.bar(
            np.arange(len(classes)) + (number - 0.5) * 0.4,
            share,
            0.38,
            label=label,
            color=COLOURS[number],
            hatch=("", "////")[number],
            edgecolor="white",
            linewidth=0,
        )
        bars.bar_label(drawn, [f"{value:.0f}" if value >= 1 or value == 0 else "<1" for value in share], padding=1)
    bars.set(xticks=range(len(classes)), xticklabels=list(SPANS.values())[: len(classes)], ylim=(0, 112))
    bars.set(xlabel="training documents with the code", ylabel="percent")
    bars.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    ranked = np.sort(counts_L)[::-1]
    marker = "." if len(ranked) <= 60 else ""
    curve.plot(np.arange(1, len(ranked) + 1), np.maximum(ranked, 0.5), color=COLOURS[0], marker=marker)
    curve.set(xlabel="codes, most frequent first", ylabel="training documents", xlim=(0, len(ranked) + 1))
    if ranked[0] > 100 * max(ranked[-1], 0.5):
        curve.set_yscale("log")
    else:
        curve.set_ylim(0)
    curve.yaxis.set_major_formatter("{x:,.0f}")
    curve.xaxis.set_major_formatter("{x:,.0f}")
    title = f"{data_title([record])}: {len(ranked):,} codes, {record.data.documents['train']:,} training documents"
    return _with_title(figure, title, width)


class PlotRow(NamedTuple):
    """A row of a figure of systems: published figures (or none) and own means (or none)."""

    label: str
    published: Sequence[Value]
    own: Sequence[Value] = ()


def systems(
    part: Benchmark, records: Sequence[RunRecord], width: float, *, beside: bool = False, mix: bool = False
) -> Figure:
    """A panel for each metric, a row for each system: own means ± sd and, with `beside`, published figures."""
    common, runs = common_settings(records)
    found = systems_in(runs, columns_of(part), mix=mix)
    rows = _plot_rows(part, found, beside=beside)
    columns = 2 if width < 5 else 3
    names = [textwrap.fill(row.label, 26) for row in rows]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    figure, panels = _figure_with_panels(len(part.metrics), columns, width, 0.45 + 0.135 * lines * len(rows))
    for number, ((heading, key), panel) in enumerate(zip(part.metrics, panels, strict=True)):
        for position, row in enumerate(rows):
            published = row.published[number] if row.published else ""
            if isinstance(published, Cell):
                hollow: dict[str, Any] = {"color": COLOURS[1], "markerfacecolor": "white", "markersize": 5}
                panel.plot(published.value, position, "D", **hollow, label="published", zorder=2)
            if row.own:
                _draw_mark(panel, row.own[number], position, 0, "own runs")
        labels = names if number % columns == 0 else []
        panel.set(yticks=range(len(rows)), yticklabels=labels, ylim=(len(rows) - 0.4, -0.6))
        panel.set_title(_metric_heading(heading, key), pad=3)
        panel.grid(axis="y", color="0.88", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(axis="y", length=0)
        panel.locator_params(axis="x", nbins=4)
        panel.margins(x=0.12)
    if "published" in _legend_handles(panels):
        _add_legend(figure, panels, 2)
    title = f"{part.dataset}: published figures, percent"
    if records:
        title = f"{data_title(records)}: test, percent, {_spread_text(records)}"
    remarks = [f"{COLLAPSED} collapsed."] * any(run.collapse for run in records) + numbered(found) + common
    return _with_title(figure, ". ".join([title, " ".join(remarks)]) if remarks else title, width)


def _plot_rows(part: Benchmark, found: Sequence[SystemRow], *, beside: bool) -> list[PlotRow]:
    """Published systems, each with its own runs, then other systems, the best precision first."""
    rows: list[PlotRow] = []
    for label, (system, texts) in part.published.items() if beside else ():
        own = [each for each in found if each.system == system]
        mark = f" {COLLAPSED}" if any(run.collapse for each in own for run in each.runs) else ""
        rows.append(PlotRow(label + mark, list(map(as_printed, texts)), own[0].cells if own else ()))
        rows += [PlotRow(each.marked, (), each.cells) for each in own[1:]]
    published = {system for system, _ in part.published.values()} if beside else set()
    others = [each for each in found if each.system not in published]
    order = next((number for number, (_, key) in enumerate(part.metrics) if key.startswith("p@")), 0)
    others.sort(key=lambda each: descending(each.cells[order]))
    return rows + [PlotRow(each.marked, (), each.cells) for each in others]


def metrics(part: Benchmark, found: Mapping[str, list[RunRecord]], width: float) -> Figure:
    """A row for each metric with a mark for each system; systems differ in colour and marker."""
    figure, (panel,) = _figure_with_panels(1, 1, width, 0.4 + 0.38 * len(part.metrics))
    styles = _style_numbers(part, found)
    for row, (_, rule, key) in enumerate(columns_of(part)):
        for number, (label, runs) in enumerate(found.items()):
            shifted = row + 0.7 * (number - (len(found) - 1) / 2) / len(found)
            _draw_mark(panel, mean_cell(runs, rule, key), shifted, styles[label], label)
        if row:
            panel.axhline(row - 0.5, color="0.88", linewidth=0.6)
    labels = [_metric_heading(*metric).replace(" (", "\n(") for metric in part.metrics]
    panel.set(yticks=range(len(part.metrics)), yticklabels=labels, xlabel="percent")
    panel.set_ylim(len(part.metrics) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", color="0.88", linewidth=0.6)
    panel.set_axisbelow(True)
    _add_legend(figure, [panel], 4)
    records = [run for runs in found.values() for run in runs]
    return _with_title(figure, f"{data_title(records)}: test, {_spread_text(records)}", width)


def _draw_mark(panel: Axes, value: Value, row: float, style: int, label: str) -> None:
    """Draw mean ± sample standard deviation over seeds; nothing if a seed lacks the metric."""
    if isinstance(value, Cell):
        colour, marker = COLOURS[style], MARKERS[style]
        panel.errorbar(value.value, row, xerr=value.sd, fmt=marker, color=colour, label=label, elinewidth=0.9, zorder=3)


def epochs(part: Benchmark, found: Mapping[str, list[RunRecord]], width: float) -> Figure:
    """A panel for each metric of the history: mean and range over seeds, up to the epoch in which the first run stops."""
    histories = [epoch.figures for runs in found.values() for run in runs for epoch in run.history[:1]]
    shown = [(heading, key) for heading, key in part.metrics if any(key in epoch for epoch in histories)]
    columns = 2 if width < 5 else 3
    figure, panels = _figure_with_panels(len(shown), columns, width, 1.15)
    styles = _style_numbers(part, found)
    for (heading, key), panel in zip(shown, panels, strict=True):
        scale = 1 if key.endswith("loss") else 100
        for label, runs in found.items():
            by_epoch = zip(*(run.history for run in runs), strict=False)
            values = np.array([[scale * each.figures.get(key, math.nan) for each in epoch] for epoch in by_epoch])
            if np.isfinite(values).all():
                position, style = np.arange(1, len(values) + 1), styles[label]
                panel.plot(position, values.mean(1), linestyle=LINES[style], color=COLOURS[style], label=label)
                area: dict[str, Any] = {"color": COLOURS[style], "alpha": 0.2, "linewidth": 0}
                panel.fill_between(position, values.min(1), values.max(1), **area)
        panel.set_title(_metric_heading(heading, key) + ", %" * (scale == 100), pad=3)
        panel.set(xlim=(1, None), ylim=(None if key.startswith("auc") else 0, None))
        panel.locator_params(nbins=5)
    for panel in panels[-columns:]:
        panel.set_xlabel("epoch")
    _add_legend(figure, panels, 2)
    records = [run for runs in found.values() for run in runs]
    several = any(len(runs) > 1 for runs in found.values())
    spread = f"mean and range, {_seed_text(found.values())}, to the first run's end" if several else "one run each"
    return _with_title(figure, f"{data_title(records)}: validation, {spread}", width)


def ranks(part: Benchmark, found: OverData, width: float) -> Figure:
    """A critical-difference diagram for each metric: systems on a scale of mean ranks, bars join those not told apart."""
    rows = -(-len(found.systems) // 2)
    groups = max(len(ranking.groups) for ranking in found.rankings)
    figure, panels = _figure_with_panels(len(part.metrics), 1, width, 0.65 + 0.14 * rows + 0.09 * groups)
    for (heading, key), ranking, panel in zip(part.metrics, found.rankings, panels, strict=True):
        _draw_ranks(panel, found.systems, ranking, width, groups)
        panel.set_title(f"{_metric_heading(heading, key)}: Friedman's test {p_words(ranking.p)}", pad=3, loc="left")
    return _with_title(figure, f"{part.title}, 1 is best: {', '.join(found.data_sets)}", width)


def _draw_ranks(panel: Axes, systems: Sequence[str], ranking: across.Ranking, width: float, groups: int) -> None:
    """Label the better half of the systems on the left, the others on the right; depths are in inches below the scale."""
    K = len(systems)
    order, left = np.argsort(ranking.mean_K, kind="stable"), -(-K // 2)
    margins = [0.06 * max(len(systems[at]) for at in half) + 0.1 for half in (order[:left], order[left:])]  # inches
    unit = (K - 1) / (width - sum(margins) - 0.2)  # ranks in an inch
    ink: dict[str, Any] = {"color": "0.2", "linewidth": 0.7}
    panel.plot([1, K], [0, 0], **ink)
    for rank in range(1, K + 1):
        panel.plot([rank, rank], [0, 0.05], **ink)
        panel.text(rank, 0.07, str(rank), ha="center", va="bottom")
    if ranking.p < bootstrap.SIGNIFICANT:
        panel.plot([1, 1 + ranking.critical], [0.3, 0.3], color=COLOURS[1], linewidth=2.2)
        panel.text(1, 0.34, f"critical difference {ranking.critical:.2f}", ha="left", va="bottom")
    for number, group in enumerate(ranking.groups, 1):
        ends = [ranking.mean_K[group[0]] - 0.03 * unit, ranking.mean_K[group[-1]] + 0.03 * unit]
        panel.plot(ends, [-0.09 * number] * 2, color=COLOURS[0], linewidth=2.6, solid_capstyle="butt")
    for position, at in enumerate(order):
        better = position < left
        depth = -0.09 * groups - 0.14 * (position + 1 if better else K - position)
        edge = 1 - 0.05 * unit if better else K + 0.05 * unit
        panel.plot([ranking.mean_K[at]] * 2 + [edge], [0, depth, depth], **ink, zorder=1)
        panel.text(edge, depth, f" {systems[at]} ", ha="right" if better else "left", va="center")
    panel.set(xlim=(1 - margins[0] * unit, K + margins[1] * unit), ylim=(-0.09 * groups - 0.14 * left - 0.08, 0.5))
    panel.set_axis_off()


def _style_numbers(part: Benchmark, found: Mapping[str, list[RunRecord]]) -> dict[str, int]:
    """The number of each label's colour, marker and line style; it does not depend on which runs are missing."""
    labels = dict.fromkeys([*part.published, *found])
    return {label: number % len(COLOURS) for number, label in enumerate(labels)}


def _legend_handles(panels: Iterable[Axes]) -> dict[str, Any]:
    pairs = (zip(*panel.get_legend_handles_labels(), strict=True) for panel in panels)
    return {label: handle for panel in pairs for handle, label in panel}


def _add_legend(figure: Figure, panels: Iterable[Axes], columns: int) -> None:
    handles = _legend_handles(panels)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)


def _metric_heading(heading: str, key: str) -> str:
    return f"{heading} (harmonic)" if key == "f1_macro_harmonic" and "harmonic" not in heading else heading


def _figure_with_panels(number: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with `number` panels in rows of `columns`, each row `height` inches high."""
    from matplotlib.figure import Figure

    rows = -(-number // columns)
    figure = Figure(figsize=(width, 0.55 + rows * height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for empty in axes[number:]:
        empty.remove()
    return figure, axes[:number]


def _with_title(figure: Figure, title: str, width: float) -> Figure:
    lines = textwrap.wrap(title, int(15.5 * width))
    figure.suptitle("\n".join(lines), x=0.01, ha="left")
    figure.set_figheight(figure.get_figheight() + 0.12 * max(0, len(lines) - 4))
    return figure


def data_title(records: Sequence[RunRecord]) -> str:
    """The name of the runs' data, and how many runs are unsigned."""
    unsigned = sum(not record.signed for record in records)
    remark = f" ({unsigned} of {len(records)} runs unsigned)" if unsigned else ""
    return short_name(records[0], "data.protocol") + remark


def _seed_text(groups: Iterable[Sequence[RunRecord]]) -> str:
    seeds = {comparable.seed_list(runs) for runs in groups}
    return seeds.pop().replace(" ", "\N{NO-BREAK SPACE}") if len(seeds) == 1 else "several seeds"


def _spread_text(records: Sequence[RunRecord]) -> str:
    """The meaning of a mark: a mean or a single run, and over which seeds."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.spec.setting, []).append(record)
    several = any(len(runs) > 1 for runs in groups.values())
    return (
        f"mean ± sd over {_seed_text(groups.values())}" if several else f"one run each, {_seed_text(groups.values())}"
    )
