"""Measure time and memory of `lr` at the size of MIMIC-III, compared with scikit-learn fitting each code separately.

    python benchmarks/speed/linear.py [--documents 47723] [--codes 8921] [--part 60]

Random documents (median 1,400 tokens, 50,000 words by Zipf's law, 15 codes each with a long tail, some words for each
code) are kept in memory. icdbench fits all codes; scikit-learn's LogisticRegression, with the same settings and
features, fits a sample spread evenly over the codes' frequencies. Micro F1 is that of the sample, on held-out
documents. Bounds: 15 minutes, 6 GB, a difference of .002. Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import sys
import time
from importlib.metadata import version

import numpy as np
from joblib import Parallel, delayed
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from icdbench import registry
from icdbench.types import Encoded, FloatArray, IntArray, Task

WORDS, MEDIAN, SPREAD, MAX_TOKENS, EACH, HELD_OUT = 50_000, 1_400, 0.47, 2_500, 15, 3_372
OF_CODES, KINDS = 0.06, 20  # share of a document's words that come from its codes, and distinct words of each code


def drawn(count: int, num_codes: int, seed: int) -> Encoded:
    generator = np.random.default_rng(seed)
    kinds = np.random.default_rng(0).integers(200, WORDS, (num_codes, KINDS), np.int32)
    lengths = generator.lognormal(math.log(MEDIAN), SPREAD, count).astype(np.int64).clip(20, MAX_TOKENS)
    codes = _zipf(generator, count * EACH, num_codes, 1.1).reshape(count, EACH)
    tokens = 2 + _zipf(generator, int(lengths.sum()), WORDS - 2, 1.2)
    documents = np.repeat(np.arange(count, dtype=np.int32), lengths)
    chosen = np.flatnonzero(generator.random(len(tokens), np.float32) < OF_CODES)
    said = codes[documents[chosen], generator.integers(0, EACH, len(chosen))]
    tokens[chosen] = kinds[said, generator.integers(0, KINDS, len(chosen))]
    rows = [np.unique(row) for row in codes]
    starts = np.cumsum([0, *map(len, rows)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Encoded((), tokens, offsets, np.concatenate(rows), starts, np.zeros(count, np.int32), num_codes)


def _zipf(generator: np.random.Generator, size: int, kinds: int, exponent: float) -> IntArray:
    cumulative = np.cumsum(1 / np.arange(3, kinds + 3) ** exponent)
    drawn_X: IntArray = np.searchsorted(cumulative[:-1], generator.random(size) * cumulative[-1]).astype(np.int32)
    return drawn_X


def features(encoded: Encoded) -> csr_matrix:
    """Count words, independently of icdbench: the features for scikit-learn."""
    shape = (len(encoded), WORDS)
    counts = csr_matrix((np.ones(len(encoded.tokens)), encoded.tokens, encoded.token_offsets), shape=shape)
    counts.sum_duplicates()
    return counts


def one_vs_rest(train: csr_matrix, labels: csr_matrix, held: csr_matrix) -> FloatArray:
    """Fit one classifier per code; returns the scores of the held-out documents [N, L]."""

    def scores(labels_N: IntArray) -> FloatArray:
        fitted = LogisticRegression(max_iter=5000).fit(train, labels_N)
        found: FloatArray = held @ fitted.coef_[0] + fitted.intercept_[0]
        return found

    columns = [labels[:, [code]].toarray().ravel() for code in range(labels.shape[1])]
    return np.stack(Parallel(n_jobs=-1, prefer="threads")(delayed(scores)(column) for column in columns), 1)


def micro_f1(scores: FloatArray, gold: csr_matrix) -> float:
    said, true = scores > 0, gold.toarray() > 0
    return float(2 * (said & true).sum() / (said.sum() + true.sum()))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=47_723)
    parser.add_argument("--codes", type=int, default=8_921)
    parser.add_argument("--part", type=int, default=60, help="number of codes for scikit-learn")
    chosen = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("scikit-learn", "scipy", "torch"))
    print(
        f"{platform.platform()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}\n", flush=True
    )
    train, held = drawn(chosen.documents, chosen.codes, 1), drawn(HELD_OUT, chosen.codes, 2)
    model = registry.build("lr", Task(WORDS, chosen.codes))
    assert not hasattr(model, "forward")
    before, begun, spent = peak(), time.perf_counter(), time.process_time()
    model.fit(train)
    ours, ours_spent = time.perf_counter() - begun, time.process_time() - spent
    scores = model.scores(held)
    used = peak()
    counts = train.labels().sum(0).A1
    known = np.flatnonzero(counts)
    part = known[np.argsort(counts[known], kind="stable")][np.linspace(0, len(known) - 1, chosen.part).astype(int)]
    gold = held.labels()[:, part]
    counted = features(train), train.labels()[:, part], features(held)
    begun, spent = time.perf_counter(), time.process_time()
    theirs = one_vs_rest(*counted)
    plain, plain_spent = time.perf_counter() - begun, time.process_time() - spent
    print(f"{chosen.documents:,} documents, {counted[0].nnz / chosen.documents:.0f} different words in each;", end=" ")
    print(f"{len(known):,} codes occur, the median {np.median(counts[known]):.0f} times.\n")
    print("| way | codes | seconds | processor seconds | seconds for all codes | micro-F1 of the part |")
    print("|:--|--:|--:|--:|--:|--:|")
    for way, codes, seconds, processor, f1 in (
        ("icdbench", chosen.codes, ours, ours_spent, micro_f1(scores[:, part], gold)),
        ("scikit-learn", chosen.part, plain, plain_spent, micro_f1(theirs, gold)),
    ):
        print(
            f"| {way} | {codes:,} | {seconds:.0f} | {processor:.0f} | {seconds / codes * chosen.codes:.0f} | {f1:.4f} |"
        )
    print(f"\nPeak memory with scoring {used:.2f} GiB, {before:.2f} GiB of it the documents and Python.")


if __name__ == "__main__":
    main()
