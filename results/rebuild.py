"""Writes every committed table and figure anew from the committed records; a test compares them.

python results/rebuild.py
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from icdbench import catalog, cli, faithful, figures, store, tables
from icdbench.types import IntArray, RunRecord

ROOT = Path(__file__).resolve().parent.parent
TABLES = ("table2", "table3", "table4", "table5", "table6")
DATA_SETS = ("codiesp-d50",)  # a newcomer's own runs may lie beside them
EMBEDDED = ("README.md", "docs/jlan.md", *(f"results/{name}.md" for name in DATA_SETS))
EXPLAINED = "results/explain.md"  # its text by hand, then the tables of the runs in results/explain, which are few and kept apart
# A command on a page, and the table that follows: in full, or its rows alone.
COMMAND = r"    icdbench run --models (\S+) --dataset (\S+) --seeds (\S+)\n"
PRINTED = re.compile(
    COMMAND + r"(?:(?!    icdbench run|\*\*Own runs|\|)[^\n]*\n)*"
    r"((?:\*\*Own runs[^\n]*\n\n)?)((?:\|[^\n]*\n)+)((?:\n(?:- [^\n]*\n)+)?)"
)


def records() -> list[RunRecord]:
    """The committed runs."""
    return [record for record in store.load_records(ROOT / "results") if record.spec.dataset in DATA_SETS]


def pages() -> dict[str, str]:
    """The text of every page that is a table or has one in it, by its path."""
    stored = records()
    texts = {}
    for name in TABLES:
        parts = [(part, catalog.of_study(part, stored)) for part in catalog.chosen(name)]
        texts[f"results/{name}.md"] = tables.printed(parts)
    for name in EMBEDDED:
        texts[name] = PRINTED.sub(lambda match: _again(match, stored), (ROOT / name).read_text(encoding="utf-8"))
    by_hand, title, _ = (ROOT / EXPLAINED).read_text(encoding="utf-8").partition("**Explanations on ")
    assert title, f"{EXPLAINED} has no table"
    texts[EXPLAINED] = by_hand + faithful.table(faithful.stored(ROOT / "results" / "explain"))
    return texts


def _again(match: re.Match[str], stored: list[RunRecord]) -> str:
    models, dataset, seeds, title, rows, notes = match.groups()
    table = tables.comparison(asked(models, dataset, seeds, stored))
    if not title:
        table = "".join(line for line in table.splitlines(keepends=True) if line.startswith("|"))
    return match[0].removesuffix(title + rows + notes) + table


def asked(models: str, dataset: str, seeds: str, stored: list[RunRecord]) -> list[RunRecord]:
    """The committed runs that a command on a page asks for."""
    systems, numbers = models.split(","), cli._seeds(seeds)
    chosen = [r for r in stored if r.spec.dataset == dataset and r.spec.system in systems and r.spec.seed in numbers]
    assert len(chosen) == len(systems) * len(numbers), (
        f"--models {models} --seeds {seeds}: {len(chosen)} runs are committed"
    )
    return chosen


def drawings() -> list[figures.Drawing]:
    """Every figure that the committed runs suffice for."""

    def counts(record: RunRecord) -> IntArray | None:
        return store.load_train_counts(store.folder(ROOT / "results", record.spec))

    return figures.draw("all", figures.Request(records(), counts))


def main() -> None:
    for name, text in pages().items():
        (ROOT / name).write_text(text, encoding="utf-8")
    figures.save(drawings(), ROOT / "results" / "figures", ["png"])
    runpy.run_path(str(ROOT / "docs" / "curves.py"))["main"]()


if __name__ == "__main__":
    main()
