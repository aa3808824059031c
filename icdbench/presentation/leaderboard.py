"""Own runs as a leaderboard of OpenCodePapers: the JSON of a file in its folder dataset/benchmarks.

https://gitlab.com/OpenCodePapers/OpenCodePapers, which continues the leaderboards of Papers with Code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from icdbench import registry
from icdbench.data import datasets
from icdbench.presentation.cells import descending, systems_in
from icdbench.presentation.formats import Cell
from icdbench.records import RunRecord, comparable
from icdbench.settings import SpecError

TASK = ["Multi-Label Classification", "Medical Code Prediction"]
LISTED = {"mimic-full": "mimic-iii"}  # the site's name of a data set
METRICS = {  # headings, sorted by the first; the site does not say which macro-F1 it means
    "f1_micro": "Micro-F1",
    "f1_macro_harmonic": "Macro-F1 (harmonic)",
    "f1_macro": "Macro-F1 (mean)",
    "auc_micro": "Micro-AUC",
    "auc_macro": "Macro-AUC",
    "p@5": "Precision@5",
    "p@8": "Precision@8",
    "p@15": "Precision@15",
    "map": "mAP",
}


def opencodepapers(records: Sequence[RunRecord], *, mix: bool = False) -> list[dict[str, Any]]:
    """A leaderboard for each set of comparable runs: percent on the test split, means over seeds, the best system first.

    Figures of collapsed runs are left out. Raises SpecError if there are no runs.
    """
    found = comparable.blocks(records, any_label_set=True)
    if not found:
        raise SpecError("no stored runs to put on a leaderboard; 'icdbench run' makes some")
    titles = [_title(block[0].spec.dataset) for block in found]
    boards: dict[str, dict[str, Any]] = {}
    for title, block in zip(titles, found, strict=True):
        named = title if titles.count(title) == 1 else f"{title}-{block[0].spec.fingerprint}"
        unique = named if named not in boards else f"{named}-{len(boards)}"
        boards[unique] = _board(unique, block, mix=mix)
    return list(boards.values())


def _title(dataset: str) -> str:
    """The title, also the file's name: the site allows lower-case letters, digits and hyphens."""
    return "medical-code-prediction-on-" + re.sub("[^a-z0-9]+", "-", LISTED.get(dataset, dataset).lower()).strip("-")


def _board(title: str, records: Sequence[RunRecord], *, mix: bool) -> dict[str, Any]:
    columns = [(label, "fixed", key) for key, label in METRICS.items()]
    systems = sorted(systems_in(records, columns, mix=mix), key=lambda system: descending(system.cells[0]))
    items = []
    for system in systems:
        cells = {
            f"m{number}": f"{cell.shown:.{cell.digits}f}"
            for number, cell in enumerate(system.cells, start=1)
            if isinstance(cell, Cell) and not cell.mark
        }
        if cells:
            released = max(run.created for run in system.runs)[:10] or None
            name = f"{system.full} (icdbench)"
            items.append({"p": _paper(system.runs[0]), "c": "", "n": name, "d": released, **cells})
    shown = {key for item in items for key in item}
    metrics = [(f"m{number}", label) for number, label in enumerate(METRICS.values(), start=1)]
    fields = [("p", "Paper"), ("c", "Code"), *(pair for pair in metrics if pair[0] in shown), ("n", "ModelName")]
    sortable = [
        {"key": key, "label": label} | ({"sortable": "true"} if key[0] in "md" else {})
        for key, label in [*fields, ("d", "ReleaseDate")]
    ]
    source = datasets.scan().get(records[0].spec.dataset)
    info = {"link": source.published.get("url", ""), "paper": source.about} if source else {"link": "", "paper": ""}
    return {
        "title": title,
        "task-hierarchy": TASK,
        "dataset-info": info,
        "benchmark": {"fields": sortable, "items": items},
    }


def _paper(record: RunRecord) -> dict[str, str] | str:
    """The paper of the model that was run; empty for baselines and for predictions made elsewhere."""
    entry = registry.entries().get(record.spec.model)
    link = re.search(r"https?://[^\s;,]+", entry.about) if entry and not record.scored else None
    return {"name": entry.paper, "link": link[0].rstrip(".:")} if entry and link else ""
