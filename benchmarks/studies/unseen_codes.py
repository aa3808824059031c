"""How many assignments of codes that training never shows are found by systems that can predict any code.

    python benchmarks/studies/unseen_codes.py results --dataset codiesp-d --data DIR --model FILE

compares stored runs with `data.label_set=system`, and runs or bundles of models that score any codes by their titles, on the test
documents. All pairs of a document and such a code are ranked together. Pairs with equal scores count as if in random order.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tabulate import tabulate

import icdbench
from icdbench.records import store
from icdbench.types import FloatArray, composed

PRECISION = 0.4
FIRST = (300, 3_000, 30_000)  # pairs


def figures(scores_NU: FloatArray, gold_NU: FloatArray, assignments: int) -> list[float]:
    """Return in percent the largest recall at PRECISION or more (0 if there is none) and the recall of the FIRST pairs.

    `assignments` counts all gold pairs, also those of codes that are not among the U unseen ones. Recall of the first pairs
    is the expected one if pairs with equal scores are in random order.
    """
    values, inverse = np.unique(-scores_NU.ravel(), return_inverse=True)
    pairs = np.cumsum(np.bincount(inverse, minlength=len(values)))
    hits = np.cumsum(np.bincount(inverse, gold_NU.ravel(), minlength=len(values)))
    precise = hits[hits >= PRECISION * pairs]
    first = np.interp(FIRST, np.concatenate([[0], pairs]), np.concatenate([[0], hits]))
    return [100 * float(each) / assignments for each in (max(precise, default=0), *first)]


def stored(results: Path, dataset: str) -> Iterator[tuple[str, list[float]]]:
    """The figures of the first seed of each stored system that predicts the whole code system."""
    for run in icdbench.results(results):
        spec = run.record.spec
        if (
            spec.dataset == dataset
            and spec.data.label_set == "system"
            and spec.data.top_codes is None
            and spec.seed == 1
        ):
            predicted = store.load_test_predictions(run.folder, run.record)
            unseen_L = store.load_label_set(run.folder, run.record).train_counts == 0
            gold_NU = predicted.labels[:, unseen_L].toarray()
            found = figures(predicted.scores_NL[:, unseen_L], gold_NU, int(gold_NU.sum() + predicted.unseen.sum()))
            yield f"{spec.system}, {spec.data.options.get('language', 'en')}", found


def by_title(model: str, dataset: str, data: Path | None) -> list[float]:
    """The figures of a model that scores any codes by their titles."""
    notes = icdbench.open_dataset(dataset, data, {"data.label_set": "system"})
    test = notes.documents[notes.documents["split"] == "test"]
    titles = {str(code): title for code, title in notes.codes["title"].items() if title}
    seen = {str(code) for code in notes.codes.index[notes.codes["train"] > 0]}
    unseen = [code for code in titles if code not in seen]
    predictor = icdbench.load(model, data=data).for_codes({code: titles[code] for code in unseen})
    scores_NU = predictor.scores(predictor.encode(list(test["text"])))
    place = {composed(code).casefold(): at for at, code in enumerate(unseen)}
    gold_NU, known = np.zeros(scores_NU.shape), {composed(code).casefold() for code in seen}
    others = 0
    for row, codes in enumerate(test["codes"]):
        for code in {composed(each).casefold() for each in codes} - known:
            if code in place:
                gold_NU[row, place[code]] = 1
            else:
                others += 1
    return figures(scores_NU, gold_NU, int(gold_NU.sum()) + others)


def main() -> None:
    """Print a row for each system."""
    parser = argparse.ArgumentParser(description="Assignments found of codes that training never shows.")
    parser.add_argument("results", type=Path, help="the folder of stored runs")
    parser.add_argument("--dataset", default="codiesp-d")
    parser.add_argument("--data", type=Path, help="folder of raw data; else ICDBENCH_DATA, else ./data")
    parser.add_argument("--model", action="append", default=[], help="a run's folder or a bundle; repeatable")
    asked = parser.parse_args()
    rows = [[system, *found] for system, found in stored(asked.results, asked.dataset)]
    rows += [[model, *by_title(model, asked.dataset, asked.data)] for model in asked.model]
    heads = ["system", f"recall at {PRECISION:.0%} precision", *(f"first {number:,} pairs" for number in FIRST)]
    print(tabulate(rows, heads, "pipe", floatfmt=".1f"))


if __name__ == "__main__":
    main()
