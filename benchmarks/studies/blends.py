"""What stored runs add to a system, by validation alone: `python benchmarks/studies/blends.py results stacked@titles MIX MIX ...`.

A MIX names systems, as `leam,caml`: all their runs and one of the first system are mixed as `icdbench blend` does, in a copy of the
runs, and the figures of the cross-fitted validation notes are printed. Nothing of the test notes is shown.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from tabulate import tabulate

from icdbench.experiments import blend
from icdbench.records import RunRecord, comparable, store

HEADS = ["mixed with", "F1 at .5", "F1, tuned", "MAP"]


def validation_figures(record: RunRecord) -> list[float]:
    """Micro-F1 at .5 and at the threshold that is best on the same notes, and MAP, in percent."""
    fixed, tuned = (record.metrics["validation"][rule] for rule in ("fixed", "tuned"))
    return [100 * fixed["f1_micro"], 100 * tuned["f1_micro"], 100 * fixed["map"]]


def figures(results: Path, dataset: str, first: str, mixes: list[list[str]]) -> list[list[object]]:
    """A row for the first run of the system `first`, and one for each mix with it. Runs of another task are left out."""

    def runs(system: str) -> list[RunRecord]:
        records = [store.load_record(folder) for folder in sorted((results / dataset / system).glob("*-*"))]
        found = [each for each in records if each is not None and "validation" in each.metrics]
        if not found:
            raise SystemExit(f"no run of '{system}' under {results / dataset}; train it with icdbench run first")
        return found

    start = runs(first)[0]
    task = comparable.task(start)
    rows: list[list[object]] = [["nothing", *validation_figures(start)]]
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder)
        for system in {first}.union(*mixes):
            shutil.copytree(results / dataset / system, copied / dataset / system)
        for number, mix in enumerate(mixes):
            others = [run.id for system in mix for run in runs(system) if comparable.task(run) == task]
            mixed = blend.blend(start.id, others, copied, f"mix-{number}").record
            rows.append([", ".join(mix), *validation_figures(mixed)])
    return rows


def main() -> None:
    """Print a row for each mix."""
    parser = argparse.ArgumentParser(description="What stored runs add to a system, by validation alone.")
    parser.add_argument("results", type=Path, help="the folder of results")
    parser.add_argument("first", help="the system that the others are mixed with")
    parser.add_argument("mixes", nargs="+", help="systems to mix with it, as leam,caml")
    parser.add_argument("--dataset", default="codiesp-d50")
    given = parser.parse_args()
    rows = figures(given.results, given.dataset, given.first, [mix.split(",") for mix in given.mixes])
    print(tabulate(rows, HEADS, "pipe", floatfmt=".1f"))


if __name__ == "__main__":
    main()
