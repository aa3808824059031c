"""Figures from stored runs: those whose `plot` a file of `icdbench.benchmarks` declares, one for each data set.

`draw` decides which runs a figure shows and logs what is missing; `icdbench.presentation.plots` does the drawing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from icdbench.files import replacing
from icdbench.presentation import over_data, plots
from icdbench.presentation.catalog import benchmarks, chosen, has_figures
from icdbench.presentation.cells import common_settings
from icdbench.presentation.layouts import precision_metric
from icdbench.presentation.notes import data_name, short_name
from icdbench.records import RunRecord, comparable
from icdbench.settings import SpecError, nearest
from icdbench.spec import Benchmark
from icdbench.types import IntArray

if TYPE_CHECKING:  # slow to import
    from matplotlib.figure import Figure

log = logging.getLogger("icdbench")

COLUMN = 3.5  # inches, a journal's column
NARROW, WIDE = 2.5, 12.0
FORMATS: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
LASTING = {"train.max_epochs", "train.patience"}  # settings that change how long a run goes on, but none of its epochs


class Drawing(NamedTuple):
    """A figure and the name of its files, such as `figure5-codiesp-d50`."""

    name: str
    figure: Figure


class DrawingRequest(NamedTuple):
    """The runs to draw, the training counts of a run's codes (if stored), and the user's choices.

    Runs of different minor versions are averaged only with `mix`.
    """

    records: Sequence[RunRecord]
    counts: Callable[[RunRecord], IntArray | None]
    dataset: str | None = None
    models: Sequence[str] = ()
    width: float = COLUMN
    mix: bool = False


Found = Iterator[Drawing | str]  # for each data set a drawing, or a line that says what is missing


def drawable() -> dict[str, list[Benchmark]]:
    """The benchmarks that declare a plot, by figure; a figure may have several parts: `figure5`, `figure5-full`."""
    found: dict[str, list[Benchmark]] = {}
    for name, benchmark in benchmarks().items():
        if benchmark.plot:
            found.setdefault(name.partition("-")[0], []).append(benchmark)
    return found


def draw(name: str, request: DrawingRequest) -> list[Drawing]:
    """Draw `figure7` (or `fig7`), the figure of a user's own file, or `all` figures, once for each data set.

    What cannot be drawn is logged. Raises SpecError if nothing can.
    """
    from matplotlib import style

    wanted = _parts_by_figure(name)
    if not NARROW <= request.width <= WIDE:
        limits = f"a figure is {NARROW:g} to {WIDE:g} inches wide; a column is {COLUMN:g}"
        raise SpecError(f"--width {request.width:g}: {limits}")
    stored = {record.spec.dataset for record in request.records}
    published = {dataset for parts in drawable().values() for part in parts for dataset in _datasets(part)}
    if request.dataset not in {None, *stored, *published}:
        raise SpecError(f"no runs on '{request.dataset}' are stored{nearest(str(request.dataset), stored)}")
    drawn, missing = [], []
    with style.context(["default", plots.STYLE]):
        for figure, parts in wanted.items():
            for each in DRAWN[parts[0].plot](figure, parts, request):
                if isinstance(each, Drawing):
                    drawn.append(each)
                else:
                    missing.append(f"{figure}: {each}")
    if not drawn:
        raise SpecError("; ".join(missing))
    for line in missing:
        log.warning("%s", line)
    return drawn


def _parts_by_figure(name: str) -> dict[str, list[Benchmark]]:
    known = drawable()
    if name == "all":
        return known
    if name.endswith(".py"):
        own = {each.name: [each] for each in chosen(name) if each.plot}
        if not own:
            raise SpecError(f"{name} declares no plot; docs/tables.md tells how")
        return own
    full = re.sub(r"^fig(?=\d)", "figure", name)
    if full not in known:
        short = [each.replace("figure", "fig") for each in known]
        raise SpecError(f"no figure '{name}'{nearest(name, {'all', *known, *short})}")
    return {full: known[full]}


def _datasets(part: Benchmark) -> list[str]:
    return part.systems if part.kind == "data sets" else [part.dataset] if part.dataset else []


def save(drawings: Sequence[Drawing], out: Path, formats: Sequence[str] = tuple(FORMATS)) -> list[Path]:
    """Write each figure in each format below `out` and return the files. Raises SpecError if the folder cannot be made."""
    from matplotlib import style

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"--out '{out}' cannot be written: {error.strerror}") from None
    paths = []
    with style.context(["default", plots.STYLE]):
        for drawing in drawings:
            for form in formats:
                paths.append(out / f"{drawing.name}.{form}")
                with replacing(paths[-1]) as temporary:
                    drawing.figure.savefig(temporary, format=form, metadata=FORMATS[form])
    return paths


def _named_blocks(figure: str, request: DrawingRequest) -> Iterator[tuple[str, list[RunRecord]]]:
    """The runs of each data set, with the name of their figure."""
    found = [b for b in comparable.blocks(request.records) if request.dataset in {None, b[0].spec.dataset}]
    names = [f"{figure}-{re.sub(r'[^A-Za-z0-9.]+', '-', short_name(block[0], 'data.label_set'))}" for block in found]
    for name, block in zip(names, found, strict=True):
        yield (name if names.count(name) == 1 else f"{name}-{block[0].spec.fingerprint[:8]}"), block


def _draw_frequencies(figure: str, parts: Sequence[Benchmark], request: DrawingRequest) -> Found:
    blocks = list(_named_blocks(figure, request))
    for name, block in blocks:
        all_counts = ((request.counts(record), record) for record in block)
        counts_L, record = next((pair for pair in all_counts if pair[0] is not None), (None, block[0]))
        if counts_L is None:
            yield (
                f"no run on {data_name(record)} keeps how often its codes occur in training, as of {record.id}; "
                f"'icdbench run --models lr --dataset {record.spec.dataset}' into a new --results folder makes one that does"
            )
        else:
            yield Drawing(name, plots.frequencies(record, counts_L, request.width))
    if not blocks:
        dataset = request.dataset or _datasets(parts[-1])[-1]
        yield f"no runs are stored; 'icdbench run --models lr --dataset {dataset}' makes one"


def _draw_systems(figure: str, parts: Sequence[Benchmark], request: DrawingRequest) -> Found:
    drawn = set()
    for name, block in _named_blocks(figure, request):
        part = _part_for(parts, block[0])
        named = request.models or part.models
        shown = [run for run in block if (run.spec.system in named if named else not run.spec.variant)]
        if shown:
            beside = _published_beside(part, shown[0])
            drawn |= {part.dataset} if beside else set()
            yield Drawing(name, plots.systems(part, shown, request.width, beside=beside, mix=request.mix))
        else:
            yield f"no run of {', '.join(named) or 'a model without variant'} on {data_name(block[0])} is stored"
    dataset = request.dataset or ("" if request.records else parts[0].dataset)
    if alone := [part for part in parts if part.dataset == dataset and dataset not in drawn and has_figures(part)]:
        yield Drawing(f"{figure}-{dataset}", plots.systems(alone[0], [], request.width, beside=True))
    elif not any(request.dataset in {None, record.spec.dataset} for record in request.records):
        yield f"no runs on {request.dataset or parts[0].dataset} are stored"


def _part_for(parts: Sequence[Benchmark], record: RunRecord) -> Benchmark:
    """The part of a figure for a data set: its own, else the first whose metrics suit the number of codes."""
    metric = precision_metric(record.data.num_codes)
    suitable = [part for part in parts if metric in dict(part.metrics).values()]
    return next((part for part in parts if part.dataset == record.spec.dataset), (suitable or parts)[0])


def _published_beside(part: Benchmark, record: RunRecord) -> bool:
    altered = any(name.startswith("data.") for name in record.changed)
    return has_figures(part) and part.dataset == record.spec.dataset and not altered and not record.data.synthetic


def _draw_study(
    figure: str,
    parts: Sequence[Benchmark],
    request: DrawingRequest,
    *,
    usable: Callable[[RunRecord], bool],
    plot: Callable[[Benchmark, Mapping[str, list[RunRecord]], float], Figure],
) -> Found:
    """A study's figure for each data set with at least two of its systems; the missing systems are named."""
    part = parts[0]
    labels = {system: system for system in part.systems}
    labels |= {system: label for label, (system, _) in part.published.items()}
    for name, block in _named_blocks(figure, request):
        _, runs = common_settings([record for record in block if record.spec.system in labels])
        runs = [run for run in runs if usable(run)]
        kept = runs if request.mix else _most_common_version(runs)
        if len(kept) < len(runs):
            yield (
                f"on {data_name(block[0])} {len(runs) - len(kept)} of {len(runs)} runs are of other versions and left out; "
                "--mix-versions averages them"
            )
        found = {
            label: _longest_of_each_seed([run for run in kept if run.spec.system == system])
            for system, label in labels.items()
        }
        lacking = [system for system, label in labels.items() if not found[label]]
        if len(labels) - len(lacking) > 1:
            yield Drawing(name, plot(part, {label: each for label, each in found.items() if each}, request.width))
        if lacking:
            command = _command_for(part, block[0].spec.dataset)
            yield f"on {data_name(block[0])} no run of {', '.join(lacking)}; '{command}' makes it"
    if not any(request.dataset in {None, record.spec.dataset} for record in request.records):
        command = _command_for(part, request.dataset or part.dataset)
        yield f"no runs are stored, and the paper prints no numbers; '{command}' makes them"


def _command_for(part: Benchmark, dataset: str) -> str:
    if not part.study:
        return f"icdbench run --models {','.join(part.systems)} --dataset {dataset}"
    return f"icdbench ablate {part.systems[-1].partition('@')[0]} --study {part.study} --dataset {dataset}"


def _most_common_version(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs of the minor versions that made the most runs, of equally many the newest."""
    groups = comparable.by_version(runs, exact=False).values()
    return max(groups, key=lambda group: (len(group), max(run.created for run in group)), default=[])


def _longest_of_each_seed(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The longest run of each seed, of equally long ones the newest."""
    longest_last = sorted(runs, key=lambda run: (len(run.history), run.created))
    return [run for _, run in sorted({run.spec.seed: run for run in longest_last}.items())]


def _draw_ranks(figure: str, parts: Sequence[Benchmark], request: DrawingRequest) -> Found:
    if request.dataset:
        yield "mean ranks are over all data sets; leave out --dataset"
        return
    found = over_data.compared(parts[0], request.records, request.models, mix=request.mix)
    if isinstance(found, str):
        yield found
        return
    yield Drawing(figure, plots.ranks(parts[0], found, request.width))
    if found.left_out:
        yield f"left out, as they lack runs: {found.left_out}"


DRAWN: Mapping[str, Callable[[str, Sequence[Benchmark], DrawingRequest], Found]] = {
    "systems": _draw_systems,
    "metrics": partial(_draw_study, usable=lambda run: not run.changed, plot=plots.metrics),
    "epochs": partial(
        _draw_study, usable=lambda run: bool(run.history) and run.changed.keys() <= LASTING, plot=plots.epochs
    ),
    "frequencies": _draw_frequencies,
    "ranks": _draw_ranks,
}
