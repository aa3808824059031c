"""Draws docs/curves.svg: validation P@5 over epochs, from the committed records.

python docs/curves.py
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from icdbench.records import store

ROOT = Path(__file__).parent.parent
STYLES = {"jlan": ("#0072b2", "-"), "caml": ("#d55e00", "--"), "cnn": ("#009e73", "-.")}  # apart for the colour-blind


def main() -> None:
    mpl.rcParams["svg.hashsalt"] = "icdbench"  # equal figures are equal files
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    records = [record for record in store.load_records(ROOT / "results") if record.spec.dataset == "codiesp-d50"]
    for system, runs in groupby(records, key=lambda record: record.spec.system):
        each = list(runs)
        if system in STYLES:
            colour, line = STYLES[system]
            for number, run in enumerate(each):
                values = [100 * epoch.figures["p@5"] for epoch in run.history]
                label = f"{system}, {len(each)} seeds" if number == 0 else None
                axes.plot(range(1, len(values) + 1), values, line, color=colour, label=label, linewidth=1.4)
        elif system == "lr":
            level = 100 * each[0].metrics["validation"]["fixed"]["p@5"]
            axes.axhline(level, color="0.35", linewidth=1, label="lr")
    axes.set(xlabel="epoch", ylabel="validation P@5 (%)", title="codiesp-d50", ylim=(0, None), xlim=(1, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(ROOT / "docs" / "curves.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
