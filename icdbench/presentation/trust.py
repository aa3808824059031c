"""How far explanations can be trusted (`icdbench.inference.faithfulness`), as tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from icdbench.evaluation import bootstrap
from icdbench.inference import faithfulness
from icdbench.presentation.cells import common_settings, systems_in
from icdbench.presentation.formats import Cell, Grid, Value, write
from icdbench.presentation.notes import about_data, data_name
from icdbench.records import Explained, RunRecord, Trust, comparable


def table(measured: Sequence[tuple[RunRecord, Explained]], fmt: str = "md") -> str:
    """A table for each set of runs on the same data and documents. Raises SpecError for an unknown format."""
    explained = {record.id: each for record, each in measured}
    grids = []
    for block in comparable.blocks([record for record, _ in measured]):
        asked: dict[tuple[int, int], list[RunRecord]] = defaultdict(list)
        for record in block:
            asked[explained[record.id].documents, explained[record.id].seed].append(record)
        grids += [_grid(records, explained) for records in asked.values()]
    return write(grids, fmt)


def _grid(records: Sequence[RunRecord], explained: Mapping[str, Explained]) -> Grid:
    common, renamed = common_settings(records)
    found = {record.id: explained[record.id] for record in records}
    known = {key for each in found.values() for trusted in each.methods.values() for key in trusted.figures}
    columns = {
        key: heading for key, heading in {**faithfulness.FAITHFULNESS, **faithfulness.AGREEMENT}.items() if key in known
    }
    rows: list[list[Value]] = []
    for system in systems_in(renamed, []):
        for run in system.runs:
            label = system.marked + (f", seed {run.spec.seed}" if len(system.runs) > 1 else "")
            rows += [[label, *row] for row in _rows(found[run.id].methods, columns)]
    title = f"Explanations on {data_name(records[0])}"
    return Grid(title, ["system", "method", *columns.values()], rows, [*_about(records, list(found.values())), *common])


def _rows(trusted: Mapping[str, Trust], keys: Iterable[str]) -> list[list[Value]]:
    """A row for each method; the best of a column is marked, if one end of the scale is better."""

    def cell(method: Trust, key: str) -> Value:
        if key not in method.figures:
            return ""
        value, (low, high) = method.figures[key], method.intervals[key]
        best = (min if key in faithfulness.FALLING else max)(each.figures.get(key, value) for each in trusted.values())
        marked = value == best and key not in faithfulness.HALVES
        return Cell(100 * value, interval=(100 * low, 100 * high), best=marked)

    listed = list(keys)
    return [[name, *(cell(method, key) for key in listed)] for name, method in trusted.items()]


def _about(records: Sequence[RunRecord], found: Sequence[Explained]) -> list[str]:
    """What was measured on which documents, and how."""
    counts, fractions = found[0].counts, ", ".join(f"{100 * fraction:.0f}" for fraction in faithfulness.FRACTIONS)
    predicted, pairs = (
        _range([each.counts[name] for each in found]) for name in ("predicted codes", "codes with evidence")
    )
    drawn_again = (
        f"Percent, with the 95 % interval of {bootstrap.RESAMPLES:,} resamples of the {counts['test documents']:,} test documents "
        f"(seed {found[0].seed}) in parentheses. Bold: the best method of a system."
    )
    faithful = (
        "Comprehensiveness: how far a code's probability drops without the words of most weight; sufficiency: how far it drops "
        f"with these words alone; means over the top {fractions} % of the words. Measured for the codes above the run's tuned "
        f"threshold, or else the most probable one ({predicted} in all). Both compare methods of one system, not systems."
    )
    means = "IoU, " if any("iou" in trusted.figures for trusted in found[0].methods.values()) else ""
    agreeing = (
        f"Precision, recall, F1: words that a method selects, against the evidence for gold codes ({pairs} in all). It selects words "
        f"from the share of weight that is best on {counts['validation documents']:,} validation documents. {means}AUPRC and hit@1 "
        "are means over codes."
    )
    none = "These data come without evidence, so agreement with it is not measured."
    return [*about_data(records), drawn_again, faithful, agreeing if counts["codes with evidence"] else none]


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
