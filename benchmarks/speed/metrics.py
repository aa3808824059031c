"""Measure time and memory of the metrics for 3,372 documents × 8,921 codes, as in MIMIC-III's full test split.

    python benchmarks/speed/metrics.py [--documents 3372] [--codes 8921]

Scores are float32, with about 15 codes per document, few frequent and most rare. Each row is measured in its own
process, which first reads the same data; memory is the peak beyond that. Times are wall seconds, with CPU seconds,
which other work on the machine affects less, in parentheses.

`published` reproduces how CAML's code and its successors evaluate: scikit-learn's ROC curves in a loop over codes,
dense labels, and sorting whole rows for precision at k, without the other metrics. `paired bootstrap` resamples all
metrics of two models, not only the six of the paper's table. Bounds: 4 s and 2 GB for all metrics, 60 s for 1,000
paired resamples. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, load_npz, save_npz
from sklearn.metrics import auc, roc_curve

from icdbench.evaluation import bootstrap, metrics
from icdbench.evaluation.measure import measured
from icdbench.records import store
from icdbench.records.record import RunRecord
from icdbench.types import LabelSet, Predictions

PER_DOCUMENT, TRAIN = 15, 47_723  # mean number of codes per document; number of training documents
K = (8, 15)
Data = tuple[NDArray[np.float32], csr_matrix, NDArray[np.int64]]


def drawn(N: int, L: int, seed: int) -> Data:
    """Draw logits, labels and training frequencies, codes by Zipf's law; another seed is another model's logits."""
    labels = np.random.default_rng(0)
    share_L = 1 / np.arange(1, L + 1)
    for _ in range(5):  # no code is in more than 40 % of the documents
        share_L = np.minimum(share_L * PER_DOCUMENT / share_L.sum(), 0.4)
    gold_NL = labels.random((N, L), dtype=np.float32) < share_L
    scores_NL = np.random.default_rng(seed).standard_normal((N, L), dtype=np.float32)
    scores_NL *= 1.3
    scores_NL += np.log(share_L / (1 - share_L)).astype(np.float32) - 1
    scores_NL += 3.5 * gold_NL.astype(np.float32)
    return scores_NL, csr_matrix(gold_NL, dtype=np.uint8), np.round(share_L * TRAIN).astype(np.int64)


def all_figures(scores_NL: Any, labels: csr_matrix, counts_L: Any) -> str:
    figures = metrics.evaluate(scores_NL, labels, 0.0, train_counts=counts_L)
    return f"{len(figures)} figures; {shown(figures)}"


def published(scores_NL: Any, labels: csr_matrix, _counts_L: Any) -> str:
    gold_NL, guess_NL = labels.toarray().astype(np.float64), (scores_NL > 0).astype(np.float64)
    both_L, either_L = (gold_NL * guess_NL).sum(0), np.maximum(gold_NL, guess_NL).sum(0)
    figures = {"jaccard_macro": np.mean(both_L / (either_L + 1e-10))}
    precision, recall = (np.mean(both_L / (each.sum(0) + 1e-10)) for each in (guess_NL, gold_NL))
    figures["f1_macro_harmonic"] = 2 * precision * recall / (precision + recall)
    figures["f1_micro"] = 2 * both_L.sum() / (gold_NL.sum() + guess_NL.sum())
    areas = []
    for code in range(gold_NL.shape[1]):
        if gold_NL[:, code].sum() > 0:
            fallout, hits, _ = roc_curve(gold_NL[:, code], scores_NL[:, code])
            areas.append(auc(fallout, hits))
    figures["auc_macro"] = np.mean(areas)
    fallout, hits, _ = roc_curve(gold_NL.ravel(), scores_NL.ravel())
    figures["auc_micro"] = auc(fallout, hits)
    best_NL = np.argsort(scores_NL)[:, ::-1]
    for k in K:
        rows = zip(gold_NL, best_NL[:, :k], strict=True)
        figures[f"p@{k}"] = np.mean([gold_L[best].sum() / k for gold_L, best in rows])
    return f"{len(figures)} figures; {shown(figures)}"


def both_splits(scores_NL: Any, labels: csr_matrix) -> dict[str, Predictions]:
    """Take the first documents for validation, as many as MIMIC-III has beside its test documents."""
    half = len(scores_NL) * 1631 // 3372
    none = np.zeros(len(scores_NL), np.int64)
    held = Predictions((), scores_NL[:half], labels[:half], none[:half])
    return {"validation": held, "test": Predictions((), scores_NL, labels, none)}


def record(scores_NL: Any, labels: csr_matrix, counts_L: Any) -> str:
    """Measure all that a finished run records: both splits and thresholds, intervals, collapse, popularity."""
    found = measured(both_splits(scores_NL, labels), counts_L)
    low, high = found["intervals"]["fixed"]["f1_micro"]
    return f"micro-F1 from {low:.4f} to {high:.4f}"


def paired(scores_NL: Any, labels: csr_matrix, counts_L: Any) -> str:
    N, L = scores_NL.shape
    other_NL, _, _ = drawn(N, L, 2)
    weights_RN = bootstrap.weights(len(scores_NL))
    both = [
        bootstrap.resampled(metrics.scored(each, labels, None, counts_L), {"": 0.0}, weights_RN)[""]
        for each in (scores_NL, other_NL)
    ]
    low, high = bootstrap.interval(both[0]["f1_micro"] - both[1]["f1_micro"])
    return f"{len(both[0])} figures; micro-F1 differs by {low:+.4f} to {high:+.4f}"


def stored(scores_NL: Any, labels: csr_matrix, counts_L: Any) -> str:
    """Write and read predictions.npz, with validation and test."""
    splits = both_splits(scores_NL, labels)
    names = LabelSet(tuple(f"{code:05d}" for code in range(len(counts_L))), counts_L)
    unsigned: dict[str, Any] = {"id": "benchmark", "digest": ""}
    record = RunRecord.model_construct(**unsigned)
    with tempfile.TemporaryDirectory() as folder:
        store.save_predictions(Path(folder), record.id, splits, names)
        size = (Path(folder) / store.PREDICTIONS).stat().st_size
        assert (store.load_predictions(Path(folder), record)["test"].scores_NL == scores_NL).all()
    return f"{size / 1e6:.0f} MB; {4 * sum(each.scores_NL.size for each in splits.values()) / 1e6:.0f} MB unpacked"


def keep(folder: Path, N: int, L: int) -> None:
    """Draw the data and write them to the folder."""
    scores_NL, labels, counts_L = drawn(N, L, 1)
    np.save(folder / "scores.npy", scores_NL)
    np.save(folder / "counts.npy", counts_L)
    save_npz(folder / "labels.npz", labels)


def shown(figures: dict[str, Any]) -> str:
    return ", ".join(f"{key} {figures[key]:.4f}" for key in ("auc_macro", "auc_micro", "f1_macro_harmonic", "f1_micro"))


WAYS: dict[str, Callable[..., str]] = {
    "all figures": all_figures,
    "published": published,
    "paired bootstrap": paired,
    "a run's record": record,
    "predictions.npz": stored,
}


def peak() -> float:
    """Return the peak memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e9 / 1024)


def row(way: str, folder: Path) -> str:
    """Measure one row of the table, in this process."""
    data = (
        np.load(folder / "scores.npy", allow_pickle=False),
        load_npz(folder / "labels.npz"),
        np.load(folder / "counts.npy", allow_pickle=False),
    )
    before, begun, worked = peak(), time.monotonic(), time.process_time()
    what = WAYS[way](*data)
    seconds, work, used = time.monotonic() - begun, time.process_time() - worked, peak()
    return f"| {way} | {seconds:.1f} ({work:.1f}) | {used - before:.2f} | {what} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=3372)
    parser.add_argument("--codes", type=int, default=8921)
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.row:
        way, place = given.row[0], Path(given.row[1])
        if way in WAYS:
            print(row(way, place))
        else:
            keep(place, given.documents, given.codes)
        return
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"{platform.platform()}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}", end="")
    print(
        f"; Python {platform.python_version()}",
        *(f"{n} {version(n)}" for n in ("numpy", "scipy", "scikit-learn")),
        sep=", ",
    )
    print(f"\n{given.documents:,} documents × {given.codes:,} codes\n")
    print("| what | seconds (CPU) | GB more | result |\n|:--|--:|--:|:--|", flush=True)
    size = ("--documents", str(given.documents), "--codes", str(given.codes))
    with tempfile.TemporaryDirectory() as folder:
        for way in ("data", *WAYS):  # keep this process small: a child's peak starts at its parent's
            subprocess.run([sys.executable, __file__, *size, "--row", way, folder], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
