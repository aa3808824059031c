"""Writes every committed table and figure anew from the committed records; a test compares them.

python results/rebuild.py
"""

from __future__ import annotations

import functools
import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icdbench import registry
from icdbench.cli import options
from icdbench.evaluation import measure
from icdbench.inference import faithfulness as faithful
from icdbench.presentation import catalog, figures, tables, trust
from icdbench.records import store
from icdbench.records.record import RunRecord
from icdbench.run import ALL
from icdbench.settings import typed
from icdbench.types import IntArray

ROOT = Path(__file__).resolve().parent.parent
REAL = "codiesp-d50"  # whose runs the paper's tables and figures show; demo's documents are made up
PRINTED_TABLES = {f"results/{name}.md": name for name in ("table2", "table3", "table4", "table5", "table6")}
# A newcomer's own runs may lie beside those of codiesp-d50; the first of them are on demo, and must not be there already.
CODIESP = ("codiesp-d50", "codiesp-d", "codiesp-d3", "codiesp-p")
FOLDERS = {**dict.fromkeys(CODIESP, ROOT / "results"), "demo": ROOT / "results" / "reference"}
PLACES = (FOLDERS["demo"], ROOT / "results")  # in this order: a newcomer's run on demo may have the id of one of ours
# Pages whose runs are kept apart, as they are not those of a comparison: JLAN's other readings, an encoder, more notes.
APART = {
    "docs/jlan.md": ROOT / "results" / "readings",
    "results/pretrained.md": ROOT / "results" / "pretrained",
    "results/validation-notes.md": ROOT / "results" / "validation-notes",
}
EMBEDDED = ("README.md", *APART, "results/codiesp.md", "results/codiesp-d50.md", "results/demo.md")
EXPLAINED = "results/explain.md"  # its text by hand, then the tables of the runs in results/explain, which are few and kept apart
PAGES = (*PRINTED_TABLES, *EMBEDDED, EXPLAINED)
# The columns of a page whose table is to be narrow; other pages have all.
COLUMNS = {
    "README.md": (
        *("system", "F1 macro (harmonic)", "F1 micro", "F1 micro tuned"),
        *("P@5", "MAP", "settings", "train time"),
    )
}
# A command on a page, and the table that follows: in full, or its rows alone.
COMMAND = r"    icdbench run --models (\S+) --dataset (\S+) --seeds (\S+)((?: --set \S+)*)\n"
PRINTED = re.compile(
    COMMAND + r"(?:(?!    icdbench run|\*\*Own runs|\|)[^\n]*\n)*"
    r"((?:\*\*Own runs[^\n]*\n\n)?)((?:\|[^\n]*\n)+)((?:\n(?:- [^\n]*\n)+)?)"
)


@functools.cache
def records(*datasets: str) -> list[RunRecord]:
    """The committed runs on some data sets."""
    folders = dict.fromkeys(FOLDERS[name] for name in datasets)
    found = [(place, each) for place in folders for each in store.load_records(place)]
    wanted = {name: FOLDERS[name] for name in datasets}
    stored = [each for place, each in found if wanted.get(each.spec.dataset) == place]
    return measure.with_ceilings(stored, list(PLACES))


def folder(record: RunRecord) -> Path:
    """Where a committed run is."""
    return store.folder(FOLDERS[record.spec.dataset], record)


def page(name: str) -> str:
    """The text of a page of PAGES, which is a table or has one in it."""
    if name in PRINTED_TABLES:
        table = PRINTED_TABLES[name]
        parts = [(part, catalog.of_study(part, records(REAL))) for part in catalog.chosen(table)]
        return tables.printed(parts, results=PLACES)
    text = (ROOT / name).read_text(encoding="utf-8")
    if name == EXPLAINED:
        by_hand, title, _ = text.partition("**Explanations on ")
        assert title, f"{EXPLAINED} has no table"
        return by_hand + trust.table(faithful.stored(ROOT / "results" / "explain"))
    apart = APART.get(name)
    again = functools.partial(
        _again,
        stored=measure.with_ceilings(store.load_records(apart), [apart]) if apart else records(*FOLDERS),
        places=(apart,) if apart else PLACES,
        columns=COLUMNS.get(name, ()),
    )
    return PRINTED.sub(again, text)


def _again(
    match: re.Match[str], stored: list[RunRecord], places: tuple[Path, ...], columns: tuple[str, ...] = ()
) -> str:
    """The matched command followed by its table as printed now; where the page has only rows, only those columns."""
    models, dataset, seeds, settings, title, rows, notes = match.groups()
    changes = options.parsed_changes(settings.replace("--set", "").split())
    table = tables.comparison(asked(models, dataset, seeds, stored, changes), results=places)
    if not title:
        table = _selected([line for line in table.splitlines() if line.startswith("|")], columns)
    return match[0].removesuffix(title + rows + notes) + table


def _selected(lines: list[str], columns: tuple[str, ...]) -> str:
    """A Markdown table with only these columns, or with all."""
    cells = [line.strip("|").split("|") for line in lines]
    heads = [cell.strip() for cell in cells[0]]
    chosen = [heads.index(name) for name in columns or heads]
    return "".join(f"|{'|'.join(row[column] for column in chosen)}|\n" for row in cells)


def asked(
    models: str, dataset: str, seeds: str, stored: list[RunRecord], changes: Mapping[str, Any] | None = None
) -> list[RunRecord]:
    """The committed runs that a command on a page asks for, on the data that it sets and no other."""
    systems = [name for model in models.split(",") for name in (registry.entries() if model == ALL else [model])]
    numbers = options.parsed_seeds(seeds)
    chosen = [r for r in stored if r.spec.dataset == dataset and r.spec.system in systems and r.spec.seed in numbers]
    of_data = _of_data(changes or {})
    others = {name: value for name, value in (changes or {}).items() if name not in of_data}
    chosen = [each for each in chosen if _of_data(each.changed) == of_data]
    chosen = [each for each in chosen if all(_has(each, *change) for change in others.items())]
    assert len(chosen) == len(systems) * len(numbers), (
        f"--models {models} --seeds {seeds}: {len(chosen)} runs are committed"
    )
    return chosen


def _of_data(changes: Mapping[str, Any]) -> dict[str, str]:
    """What is set for the data."""
    return {name: typed(value) for name, value in changes.items() if name.startswith("data.")}


def _has(record: RunRecord, name: str, value: object) -> bool:
    """Whether a run has this setting, such as `train.max_epochs`."""
    target, _, field = name.partition(".")
    settings = {"train": record.spec.train.model_dump(), record.spec.model: record.spec.config}
    return typed(settings[target][field]) == typed(value)


def drawings() -> list[figures.Drawing]:
    """Every figure that the committed runs suffice for."""

    def counts(record: RunRecord) -> IntArray | None:
        return store.load_train_counts(folder(record), record)

    return list(figures.draw("all", figures.DrawingRequest(records(REAL), counts)))


def main() -> None:
    for name in PAGES:
        (ROOT / name).write_text(page(name), encoding="utf-8")
    figures.save(drawings(), ROOT / "results" / "figures", ["png"])
    runpy.run_path(str(ROOT / "docs" / "curves.py"))["main"]()


if __name__ == "__main__":
    main()
