"""Figures 2 and 5 to 8 of the JLAN paper, drawn from stored runs alone; each data set has its own.

What a figure compares stands in its file of `icdbench.benchmarks`, and only figures say how it looks: readable in print at a
journal's column width (text of 7 points or more) and by the colour-blind (Okabe and Ito's colours, each with a marker, hatch
or line of its own). Equal records give equal pixels: the fonts are those that matplotlib brings along.
"""

from __future__ import annotations

import logging
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from icdbench.catalog import benchmarks, has_figures, systems_of
from icdbench.files import replacing
from icdbench.spec import Benchmark, SpecError, nearest
from icdbench.systems import as_number, blocks, data_name, marked, seeds, shared, systems_in
from icdbench.types import IntArray, RunRecord

if TYPE_CHECKING:  # slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger("icdbench")

COLUMN = 3.5  # inches, a journal's column
NARROW, WIDE = 2.5, 12.0
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
    "pdf.fonttype": 42,  # journals want fonts that can be searched
    "savefig.dpi": 300,
}
FORMATS: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# figure 2's classes by their lowest number of training documents
SPANS = {0: "never", 1: "1–10", 11: "11–100", 101: "101–\n1,000", 1001: "over\n1,000"}
LASTING = {"train.max_epochs", "train.patience"}  # how long a run goes on changes none of the epochs before its end


class Drawing(NamedTuple):
    """A figure and the name of its files, such as `figure5-codiesp-d50`."""

    name: str
    figure: Figure


class Request(NamedTuple):
    """What is drawn from: runs, how often the codes of a run occur in training (if stored), and what a user chose."""

    records: Sequence[RunRecord]
    counts: Callable[[RunRecord], IntArray | None]
    dataset: str | None = None
    models: Sequence[str] = ()
    width: float = COLUMN


def draw(name: str, request: Request) -> list[Drawing]:
    """The figure called `figure7` or `fig7`, once for each data set; `all` for all figures.

    What cannot be drawn is warned of in one line. Raises SpecError where nothing can be drawn at all.
    """
    from matplotlib import style

    wanted = {**{f"fig{number}": f"figure{number}" for number in "25678"}, **{each: each for each in DRAWN}}
    if name not in {"all", *wanted}:
        raise SpecError(f"no figure '{name}'{nearest(name, {'all', *wanted})}")
    if not NARROW <= request.width <= WIDE:
        raise SpecError(
            f"--width {request.width:g}: a figure is {NARROW:g} to {WIDE:g} inches wide; a column is {COLUMN:g}"
        )
    known = {record.spec.dataset for record in request.records}
    if request.dataset not in {None, *known, "mimic50", "mimic-full"}:
        raise SpecError(f"no runs on '{request.dataset}' are stored{nearest(str(request.dataset), known)}")
    drawn, missing = [], []
    with style.context(["default", STYLE]):
        for figure in DRAWN if name == "all" else [wanted[name]]:
            for each in DRAWN[figure](figure, request):
                if isinstance(each, Drawing):
                    drawn.append(each)
                else:
                    missing.append(f"{figure}: {each}")
    if not drawn:
        raise SpecError("; ".join(missing))
    for line in missing:
        log.warning("%s", line)
    return drawn


def save(drawings: Sequence[Drawing], out: Path, formats: Sequence[str] = tuple(FORMATS)) -> list[Path]:
    """Each figure in every format below `out`; the files written. Raises SpecError if the folder cannot be made."""
    from matplotlib import style

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"--out '{out}' cannot be written: {error.strerror}") from None
    paths = []
    with style.context(["default", STYLE]):
        for drawing in drawings:
            for form in formats:
                paths.append(out / f"{drawing.name}.{form}")
                with replacing(paths[-1]) as temporary:
                    drawing.figure.savefig(temporary, format=form, metadata=FORMATS[form])
    return paths


# --- What is drawn: for each data set with runs, a Drawing or a line that says what is missing


def _blocks(figure: str, request: Request) -> Iterator[tuple[str, list[RunRecord]]]:
    """The runs of each data set with the name of its drawing."""
    found = [b for b in blocks(request.records) if request.dataset in {None, b[0].spec.dataset}]
    names = [f"{figure}-{re.sub(r'[^A-Za-z0-9.]+', '-', _short(block[0]))}" for block in found]
    for name, block in zip(names, found, strict=True):
        yield (name if names.count(name) == 1 else f"{name}-{block[0].spec.fingerprint[:8]}"), block


def _short(record: RunRecord, *always: str) -> str:
    """The data set's name with the settings that the user changed, and those named."""
    name, *settings = data_name(record).split(", ")
    shown = [each for each in settings if f"data.{each.partition('=')[0]}" in {*record.spec.changed, *always}]
    return ", ".join([name, *shown])


def _distribution(figure: str, request: Request) -> Iterator[Drawing | str]:
    for name, block in _blocks(figure, request):
        counted = ((request.counts(record), record) for record in block)
        counts_L, record = next(
            ((counts, record) for counts, record in counted if counts is not None), (None, block[0])
        )
        if counts_L is None:
            yield (
                f"no run on {data_name(record)} keeps how often its codes occur in training, as of {record.id}; "
                f"'icdbench run --models lr --dataset {record.spec.dataset}' into a new --results folder makes one that does"
            )
        else:
            yield Drawing(name, _drawn_distribution(record, counts_L, request.width))
    if not request.records:
        yield "no runs are stored; 'icdbench run --models lr --dataset mimic-full' makes one"


def _comparison(figure: str, request: Request) -> Iterator[Drawing | str]:
    drawn = set()
    for name, block in _blocks(figure, request):
        part = _part(figure, block[0])
        chosen = [r for r in block if (r.spec.system in request.models if request.models else not r.spec.variant)]
        if chosen:
            drawn.add(part.dataset if _beside(part, chosen[0]) else "")
            yield Drawing(name, _drawn_comparison(part, chosen, request.width))
        else:
            yield f"no run of {', '.join(request.models) or 'a model without variant'} on {data_name(block[0])} is stored"
    if request.dataset in {"mimic50", "mimic-full"} - drawn or not request.records:
        part = next(each for each in _parts(figure) if each.dataset == (request.dataset or "mimic50"))
        yield Drawing(f"{figure}-{part.dataset}", _drawn_comparison(part, [], request.width))


def _ablation(figure: str, request: Request) -> Iterator[Drawing | str]:
    yield from _study(figure, request, lambda run: not run.spec.changed, _drawn_ablation)


def _epochs(figure: str, request: Request) -> Iterator[Drawing | str]:
    def usable(run: RunRecord) -> bool:
        return run.spec.changed.keys() <= LASTING and "loss" in (run.history or [{}])[0]

    yield from _study(figure, request, usable, _drawn_epochs)


def _study(
    figure: str,
    request: Request,
    usable: Callable[[RunRecord], bool],
    drawn: Callable[[Benchmark, Mapping[str, list[RunRecord]], float], Figure],
) -> Iterator[Drawing | str]:
    """A study's figure for each data set that has two of its systems; the others are named."""
    part = _parts(figure)[0]
    labels = {system: label for label, (system, _) in part.published.items()}
    for name, block in _blocks(figure, request):
        _, runs = shared([record for record in block if record.spec.system in labels])
        found = {
            label: _chosen([r for r in runs if r.spec.system == system and usable(r)])
            for system, label in labels.items()
        }
        lacking = [system for system, label in labels.items() if not found[label]]
        if len(labels) - len(lacking) > 1:
            yield Drawing(name, drawn(part, {label: each for label, each in found.items() if each}, request.width))
        if lacking:
            yield f"on {data_name(block[0])} no run of {', '.join(lacking)}; '{_command(part, block[0].spec.dataset)}' makes it"
    if not any(request.dataset in {None, record.spec.dataset} for record in request.records):
        yield f"no runs are stored, and the paper prints no numbers; '{_command(part, request.dataset or 'mimic50')}' makes them"


def _command(part: Benchmark, dataset: str) -> str:
    return f"icdbench ablate {systems_of(part)[-1].partition('@')[0]} --study {part.study} --dataset {dataset}"


def _chosen(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """A run for each seed: the longest, of equals the newest."""
    best: dict[int, RunRecord] = {}
    for run in sorted(runs, key=lambda each: (len(each.history), each.created)):
        best[run.spec.seed] = run
    return [best[seed] for seed in sorted(best)]


def _parts(figure: str) -> list[Benchmark]:
    return [each for name, each in benchmarks().items() if name in {figure, f"{figure}-full"}]


def _part(figure: str, record: RunRecord) -> Benchmark:
    """The figure's part for a data set: its own, else the one for as many codes."""
    fifty, full = _parts(figure)
    return next(
        (each for each in (fifty, full) if each.dataset == record.spec.dataset),
        fifty if record.corpus["num_codes"] <= 50 else full,
    )


def _beside(part: Benchmark, record: RunRecord) -> bool:
    """Whether published figures may stand beside a run's."""
    altered = any(name.startswith("data.") for name in record.spec.changed)
    return has_figures(part) and part.dataset == record.spec.dataset and not altered and not record.corpus["synthetic"]


DRAWN: Mapping[str, Callable[[str, Request], Iterator[Drawing | str]]] = {
    "figure2": _distribution,
    "figure5": _comparison,
    "figure6": _ablation,
    "figure7": _epochs,
    "figure8": _epochs,
}


# --- How it is drawn


def _drawn_distribution(record: RunRecord, counts_L: IntArray, width: float) -> Figure:
    """Above, how many codes are how frequent, and how much of all labels they make up; below, the frequency of each code."""
    figure, (bars, curve) = _panels(2, 1 if width < 5 else 2, width, 1.5)
    edges = [*SPANS, int(counts_L.max()) + 1]
    spans = [(low, high) for low, high in pairwise(edges) if low < high]
    classes = [(counts_L >= low) & (counts_L < high) for low, high in spans]
    shares = (
        [100 * chosen_L.mean() for chosen_L in classes],
        [100 * counts_L[chosen_L].sum() / counts_L.sum() for chosen_L in classes],
    )
    for number, (share, label) in enumerate(zip(shares, ("of all codes", "of all labels"), strict=True)):
        place = np.arange(len(classes)) + (number - 0.5) * 0.4
        drawn = bars.bar(
            place,
            share,
            0.38,
            label=label,
            color=COLOURS[number],
            hatch=("", "////")[number],
            edgecolor="white",
            linewidth=0,
        )
        bars.bar_label(drawn, [f"{value:.0f}" if value >= 1 or value == 0 else "<1" for value in share], padding=1)
    bars.set(
        xticks=range(len(classes)),
        xticklabels=list(SPANS.values())[: len(classes)],
        xlabel="training documents with the code",
        ylabel="percent",
        ylim=(0, 112),
    )
    bars.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    ranked = np.sort(counts_L)[::-1]
    curve.plot(
        np.arange(1, len(ranked) + 1),
        np.maximum(ranked, 0.5),
        color=COLOURS[0],
        marker="." if len(ranked) <= 60 else "",
    )
    curve.set(xlabel="codes, most frequent first", ylabel="training documents", xlim=(0, len(ranked) + 1))
    if ranked[0] > 100 * max(ranked[-1], 0.5):
        curve.set_yscale("log")
    else:
        curve.set_ylim(0)
    curve.yaxis.set_major_formatter("{x:,.0f}")
    curve.xaxis.set_major_formatter("{x:,.0f}")
    title = f"{_title(record)}: {len(ranked):,} codes, {record.corpus['documents']['train']:,} training documents"
    return _titled(figure, title, width)


def _drawn_comparison(part: Benchmark, records: Sequence[RunRecord], width: float) -> Figure:
    """A panel for each metric, a row for each model: own means ± sd, and the published figures where they are of the same data."""
    common, runs = shared(records)
    systems = systems_in(runs, [(heading, part.threshold, key) for heading, key in part.metrics])
    beside = not records or _beside(part, records[0])
    rows: list[tuple[str, Sequence[str], Sequence[RunRecord]]] = []
    for label, (model, printed) in part.published.items() if beside else ():
        own = [system for system in systems if system.runs[0].spec.system == model]
        rows.append((label + " †" * any("†" in marked(each) for each in own), printed, own[0].runs if own else ()))
        rows += [(marked(each), (), each.runs) for each in own[1:]]
    position = next(number for number, (_, key) in enumerate(part.metrics) if key.startswith("p@"))
    rest = [each for each in systems if not any(each.runs is runs for _, _, runs in rows)]
    rest.sort(key=lambda each: -(as_number(each.cells[position].removesuffix(" †")) or 0))
    rows += [(marked(each), (), each.runs) for each in rest]
    columns = 2 if width < 5 else 3
    figure, panels = _panels(len(part.metrics), columns, width, 0.45 + 0.135 * len(rows))
    for number, ((heading, key), panel) in enumerate(zip(part.metrics, panels, strict=True)):
        for row, (_, cells, of) in enumerate(rows):
            value = as_number(cells[number]) if cells else None
            if value is not None:
                panel.plot(
                    value,
                    row,
                    "D",
                    color=COLOURS[1],
                    markerfacecolor="white",
                    markersize=5,
                    label="published",
                    zorder=2,
                )
            _mark(panel, of, part.threshold, key, row, 0)
        first = number % columns == 0
        panel.set(
            yticks=range(len(rows)),
            yticklabels=[textwrap.fill(label, 26) for label, _, _ in rows] if first else [],
            ylim=(len(rows) - 0.4, -0.6),
        )
        panel.set_title(_heading(heading, key), pad=3)
        panel.grid(axis="y", color="0.88", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(axis="y", length=0)
        panel.locator_params(axis="x", nbins=4)
        panel.margins(x=0.12)
    handles = {
        name: handle for panel in panels for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    if "published" in handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    what = (
        f"{_title(records[0])}: test, percent, {_spread(records)}"
        if records
        else f"{part.dataset}: published figures, percent"
    )
    said = ["† collapsed."] * any("†" in label for label, _, _ in rows) + common
    return _titled(figure, ". ".join([what, " ".join(said)]) if said else what, width)


def _mark(
    panel: Axes, runs: Sequence[RunRecord], rule: str, key: str, row: float, style: int, label: str = "own runs"
) -> None:
    """Mean ± sample standard deviation over seeds; nothing where a seed lacks the figure."""
    values = [100 * run.metrics["test"][rule][key] for run in runs if key in run.metrics["test"].get(rule, {})]
    if values and len(values) == len(runs):
        error = stdev(values) if len(values) > 1 else None
        panel.errorbar(
            fmean(values),
            row,
            xerr=error,
            fmt=MARKERS[style],
            color=COLOURS[style],
            label=label,
            elinewidth=0.9,
            zorder=3,
        )


def _drawn_ablation(part: Benchmark, found: Mapping[str, list[RunRecord]], width: float) -> Figure:
    """A row for each metric, in it a mark for each configuration; colour and marker stay with the configuration."""
    figure, (panel,) = _panels(1, 1, width, 0.4 + 0.38 * len(part.metrics))
    styles = {label: number for number, label in enumerate(part.published)}
    for row, (_, key) in enumerate(part.metrics):
        for number, (label, runs) in enumerate(found.items()):
            _mark(
                panel,
                runs,
                part.threshold,
                key,
                row + 0.7 * (number - (len(found) - 1) / 2) / len(found),
                styles[label],
                label,
            )
        if row:
            panel.axhline(row - 0.5, color="0.88", linewidth=0.6)
    panel.set(
        yticks=range(len(part.metrics)),
        yticklabels=[_heading(*metric).replace(" (", "\n(") for metric in part.metrics],
        xlabel="percent",
    )
    panel.set_ylim(len(part.metrics) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", color="0.88", linewidth=0.6)
    panel.set_axisbelow(True)
    handles = {name: handle for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    records = [run for runs in found.values() for run in runs]
    return _titled(figure, f"{_title(records[0])}: test, {_spread(records)}", width)


def _drawn_epochs(part: Benchmark, found: Mapping[str, list[RunRecord]], width: float) -> Figure:
    """A panel for each figure of the history: mean and range over seeds, up to the epoch where the first of them had stopped."""
    histories = [epoch for runs in found.values() for run in runs for epoch in run.history[:1]]
    shown = [(heading, key) for heading, key in part.metrics if any(key in epoch for epoch in histories)]
    columns = 2 if width < 5 else 3
    figure, panels = _panels(len(shown), columns, width, 1.15)
    styles = {label: number for number, label in enumerate(part.published)}
    for (heading, key), panel in zip(shown, panels, strict=True):
        scale = 1 if key.endswith("loss") else 100
        for label, runs in found.items():
            values = np.array(
                [
                    [scale * each.get(key, math.nan) for each in epochs]
                    for epochs in zip(*(run.history for run in runs), strict=False)
                ]
            )
            if not np.isfinite(values).all():
                continue
            epochs, style = np.arange(1, len(values) + 1), styles[label]
            panel.plot(epochs, values.mean(1), linestyle=LINES[style], color=COLOURS[style], label=label)
            panel.fill_between(epochs, values.min(1), values.max(1), color=COLOURS[style], alpha=0.2, linewidth=0)
        panel.set_title(_heading(heading, key) + ", %" * (scale == 100), pad=3)
        panel.set(xlim=(1, None), ylim=(None if key.startswith("auc") else 0, None))
        panel.locator_params(nbins=5)
    for panel in panels[-columns:]:
        panel.set_xlabel("epoch")
    handles = {
        name: handle for panel in panels for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    records = [run for runs in found.values() for run in runs]
    several = any(len(runs) > 1 for runs in found.values())
    how = f"mean and range, {_seeds(found.values())}, to the first run's end" if several else "one run each"
    return _titled(figure, f"{_title(records[0])}: validation, {how}", width)


def _heading(heading: str, key: str) -> str:
    return f"{heading} (harmonic)" if key == "f1_macro_harmonic" and "harmonic" not in heading else heading


def _panels(number: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `number` panels in rows of `columns`, each row `height` inches; what is left over stays empty."""
    from matplotlib.figure import Figure

    rows = -(-number // columns)
    figure = Figure(figsize=(width, 0.55 + rows * height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for empty in axes[number:]:
        empty.remove()
    return figure, axes[:number]


def _titled(figure: Figure, title: str, width: float) -> Figure:
    figure.suptitle(textwrap.fill(title, int(15.5 * width)), x=0.01, ha="left")
    return figure


def _title(record: RunRecord) -> str:
    return _short(record, "data.protocol")


def _seeds(groups: Any) -> str:
    each = {seeds(runs) for runs in groups}
    return next(iter(each)).replace(" ", "\N{NO-BREAK SPACE}") if len(each) == 1 else "several seeds"


def _spread(records: Sequence[RunRecord]) -> str:
    """What the marks show."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.spec.setting, []).append(record)
    several = any(len(runs) > 1 for runs in groups.values())
    return f"mean ± sd over {_seeds(groups.values())}" if several else f"one run each, {_seeds(groups.values())}"
