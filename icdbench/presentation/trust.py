"""Tables of how far explanations can be trusted (`icdbench.inference.faithfulness`); entered by `table`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from icdbench.evaluation import bootstrap
from icdbench.inference import faithfulness
from icdbench.presentation.cells import common_settings, numbered, systems_in
from icdbench.presentation.formats import Cell, Grid, Value, write
from icdbench.presentation.notes import about_data, data_name
from icdbench.records import Explained, RunRecord, Trust, comparable


def table(measured: Sequence[tuple[RunRecord, Explained]], fmt: str = "md") -> str:
    """A table for each set of runs on the same data and documents. Raises SpecError for an unknown format."""
    explained = {record.id: each for record, each in measured}
    grids = []
    for block in comparable.blocks([record for record, _ in measured]):
        samples: dict[tuple[int, int], list[RunRecord]] = defaultdict(list)
        for record in block:
            samples[explained[record.id].documents, explained[record.id].seed].append(record)
        grids += [_grid(records, explained) for records in samples.values()]
    return write(grids, fmt)


def _grid(records: Sequence[RunRecord], explained: Mapping[str, Explained]) -> Grid:
    common, renamed = common_settings(records)
    found = {record.id: explained[record.id] for record in records}
    measured = {key for each in found.values() for trusted in each.methods.values() for key in trusted.figures}
    headings = {**faithfulness.FAITHFULNESS, **faithfulness.AGREEMENT}
    columns = {key: heading for key, heading in headings.items() if key in measured}
    rows: list[list[Value]] = []
    systems = systems_in(renamed, [])
    for system in systems:
        for run in system.runs:
            label = system.marked + (f", seed {run.spec.seed}" if len(system.runs) > 1 else "")
            rows += [[label, *row] for row in _method_rows(found[run.id].methods, columns)]
    notes = [*_notes(records, list(found.values())), *numbered(systems), *common]
    title = f"Explanations on {data_name(records[0])}"
    return Grid(title, ["system", "method", *columns.values()], rows, notes)


def _method_rows(trusted: Mapping[str, Trust], keys: Collection[str]) -> list[list[Value]]:
    """A row for each method; the best of a column is bold, if one end of the scale is better."""

    def cell(method: Trust, key: str) -> Value:
        if key not in method.figures:
            return ""
        value, (low, high) = method.figures[key], method.intervals[key]
        best = (min if key in faithfulness.FALLING else max)(each.figures.get(key, value) for each in trusted.values())
        marked = value == best and key not in faithfulness.HALVES
        return Cell(100 * value, interval=(100 * low, 100 * high), best=marked)

    return [[name, *(cell(method, key) for key in keys)] for name, method in trusted.items()]


def _notes(records: Sequence[RunRecord], found: Sequence[Explained]) -> list[str]:
    counts, fractions = found[0].counts, ", ".join(f"{100 * fraction:.0f}" for fraction in faithfulness.FRACTIONS)
    predicted, pairs = (
        _range_text([each.counts[name] for each in found]) for name in ("predicted codes", "codes with evidence")
    )
    resampled = (
        f"Percent, with the 95 % interval of {bootstrap.RESAMPLES:,} resamples of the {counts['test documents']:,} test documents "
        f"(seed {found[0].seed}) in parentheses. Bold: the best method of a system."
    )
    faithful = (
        "Comprehensiveness: how far a code's probability drops without the words of most weight; sufficiency: how far it drops "
        f"with these words alone; means over the top {fractions} % of the words. Measured for the codes above the run's tuned "
        f"threshold, or else the most probable one ({predicted} in all). Both compare methods of one system, not systems."
    )
    means = "IoU, " if any("iou" in trusted.figures for trusted in found[0].methods.values()) else ""
    tuning = counts["validation documents"]
    agreeing = (
        f"Precision, recall, F1: words that a method selects, against the evidence for gold codes ({pairs} in all). It selects words "
        f"from the share of weight that is best on {tuning:,} validation documents. {means}AUPRC and hit@1 "
        "are means over codes."
    )
    no_evidence = "These data come without marked evidence, so agreement with it is not measured."
    return [*about_data(records), resampled, faithful, agreeing if counts["codes with evidence"] else no_evidence]


def _range_text(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
