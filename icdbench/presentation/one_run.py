"""One run as tables of facts, figures and settings (`one_run`), and as a file for `icdbench run --config` (`config`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from icdbench.presentation.formats import Cell, Grid, duration, write
from icdbench.presentation.headings import COUNTS, heading
from icdbench.records import RunRecord
from icdbench.settings import SpecError, typed
from icdbench.types import SPLITS

REPRODUCING = "'icdbench show RUN --config' prints a file with which 'icdbench run --config FILE' computes this run."


def one_run(record: RunRecord, fmt: str = "md") -> str:
    """Three tables: facts, figures in percent, settings. Raises SpecError for an unknown format."""
    reproducing = [] if record.scored else [REPRODUCING]
    facts = [[name, value] for name, value in _facts(record) if value]
    marks = [f"{rule} threshold: {what}" for rule, what in record.collapse.items()]
    values = [[name, typed(value), _origin(record, name)] for name, value in settings(record).items()]
    grids = [
        Grid(record.id, ["figures", "what"], facts, [*marks, *record.notes, *record.data.notices, *reproducing]),
        Grid("Figures", *_figure_table(record)),
        Grid("Settings", ["parameter", "value", "from"], values, ["Settings without effect on this run are left out."]),
    ]
    return write(grids, fmt)


def settings(record: RunRecord) -> dict[str, Any]:
    """Every setting that has an effect, by its name for --set."""
    found = record.spec.settings
    return {name: found[name] for part in record.spec.parts for name in found if name.startswith(f"{part}.")}


def config(record: RunRecord) -> str:
    """The run as YAML for `icdbench run --config FILE`. Raises SpecError if no model made it."""
    import yaml

    if record.scored:
        raise SpecError(f"run '{record.id}' was not made by a model: there is no 'icdbench run' that computes it")
    spec, changes = record.spec, settings(record)
    options = {"models": spec.system, "dataset": spec.dataset, "seeds": [spec.seed], "floors": False, "set": changes}
    lines = [f"# {record.id}: icdbench run --config FILE"]
    if record.code_source:
        lines.append(f"# The model is in {record.code_source}: give its path, as ./mine.py:{spec.system}")
    return "\n".join([*lines, yaml.safe_dump(options, sort_keys=False, allow_unicode=True)])


def _facts(record: RunRecord) -> Iterator[tuple[str, str]]:
    data, timing, best = record.data, record.timing, record.best_epoch
    sizes = ", ".join(f"{data.documents[split]:,} {split}" for split in SPLITS)
    yield "data", f"{data.name}{' (synthetic)' * data.synthetic}, fingerprint {data.fingerprint}"
    yield "documents", f"{sizes}; {data.num_codes:,} codes"
    if record.scored:
        yield "scored", f"{record.scored.file}: {record.scored.kind}"
    else:
        yield "time", f"{duration(timing.train)} training, {duration(timing.predict)} prediction"
        yield "parameters", f"{record.parameters:,}"
    if best:
        yield "epochs", f"{len(record.history)}, best {best.epoch:g}"
    yield "made", f"{record.created} on {record.device}" if record.device else record.created
    yield "versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())
    yield "commit", record.commit
    yield "code", record.code_source
    yield "record", "" if record.signed else "unsigned"


def _figure_table(record: RunRecord) -> tuple[list[str], list[list[Any]], list[str]]:
    """Header, rows and notes: test figures under each threshold with intervals, and validation figures."""
    rules = list(record.metrics["test"])
    columns = [(split, rule) for split in ("test", "validation") if split in record.metrics for rule in rules]
    keys = dict.fromkeys(key for split, rule in columns for key in record.metrics[split].get(rule, {}))

    def cell(key: str, split: str, rule: str) -> Cell | str:
        value = record.metrics[split].get(rule, {}).get(key)
        if value is None:
            return "–"
        ends = record.intervals.get(rule, {}).get(key) if split == "test" else None
        return Cell(100 * value, interval=(100 * ends[0], 100 * ends[1]) if ends else None)

    rows = [[heading(key), *(cell(key, *column) for column in columns)] for key in keys if key not in COUNTS]
    thresholds = ", ".join(f"{rule} {value:.3f}" for rule, value in record.threshold.items())
    notes = [f"Percent; 95 % intervals over test documents in brackets. Threshold: {thresholds or 'fixed 0.5'}."]
    return ["figures", *(f"{split}, {rule}" for split, rule in columns)], rows, notes


def _origin(record: RunRecord, name: str) -> str:
    if name in record.changed:
        return "user"
    if name not in record.adapted:
        return "default"
    return f"small data ({record.study})" if record.study else "small data"
