"""Measure time and memory of training word vectors on 80 million words, 52,000 of them distinct, as in MIMIC-III.

    python benchmarks/speed/vectors.py [--words 80000000]

Trains 100 dimensions in 5 epochs, without a cache, on random words (Zipf's law) in documents of about 1,500. For
comparison, gensim is called plainly on a part of the same words: with one worker, creating a new string for each word.
The suite's bound is 10 minutes on 2 cores. Prints Markdown; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gensim.models import Word2Vec

from icdbench.data.word_vectors import EPOCHS, training, word_vectors
from icdbench.spec import DataSpec
from icdbench.types import Corpus, Encoded, Vocabulary

KINDS, WIDTH, LENGTH, BOUND = 52_000, 100, 1_500, 600.0
PART = 2_000_000  # words for the plain way
PIECE = 1_000_000  # words drawn at once


def drawn(words: int, folder: Path) -> Encoded:
    """Draw documents of random words, memory-mapped as encoded data sets are."""
    generator = np.random.default_rng(0)
    probability = 1 / np.arange(1, KINDS - 1)
    cumulative = np.cumsum(probability / probability.sum())
    by_rank = generator.permutation(np.arange(2, KINDS, dtype=np.int32))
    tokens = np.lib.format.open_memmap(folder / "tokens.npy", mode="w+", dtype=np.int32, shape=(words,))
    for start in range(0, words, PIECE):
        piece = tokens[start : start + PIECE]
        piece[:] = by_rank[np.searchsorted(cumulative[:-1], generator.random(len(piece)))]
    del tokens
    lengths = generator.integers(LENGTH // 2, LENGTH * 3 // 2, words // LENGTH * 2 + 2)
    ends = np.cumsum(lengths)
    offsets = np.concatenate([[0], ends[ends < words], [words]])
    none = np.zeros(len(offsets), np.int64)
    return Encoded(
        (), np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False), offsets, none[:0], none, none[1:], 0
    )


def corpus(train: Encoded) -> Corpus:
    empty = Encoded((), train.tokens[:0], np.zeros(1, np.int64), train.codes, np.zeros(1, np.int64), train.codes, 0)
    return Corpus(
        name="drawn",
        vocabulary=Vocabulary(tuple(map(str, range(KINDS))), ()),
        splits={"train": train, "validation": empty, "test": empty},
        background=empty,
        descriptions=(),
        fingerprint="",
        key="",
        synthetic=True,
        facts={},
    )


class Plain:
    """The first documents, about PART words, with a new string for each word."""

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded
        self.offsets = encoded.token_offsets[encoded.token_offsets <= PART]

    def __iter__(self) -> Iterator[list[str]]:
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield [str(token) for token in self.encoded.tokens[start:end]]


def show(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done / total:.0%}", end="" if done < total else "\n", file=sys.stderr, flush=True)


def peak() -> float:
    """Return the peak memory of this process so far in GiB, including resident pages of memory maps."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=80_000_000)
    words = parser.parse_args().words
    print(f"{platform.platform()}, {os.cpu_count()} cores; Python {platform.python_version()}", end="")
    print(f", gensim {version('gensim')}, numpy {version('numpy')}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ICDBENCH_CACHE"] = folder
        made = corpus(drawn(words, Path(folder)))
        before, begun = peak(), time.monotonic()
        word_vectors(made, DataSpec(), WIDTH, show)
        seconds, used = time.monotonic() - begun, peak()
        workers = training(made, DataSpec(), WIDTH)["workers"]
        plain = Plain(made.splits["train"])
        begun = time.monotonic()
        Word2Vec(plain, vector_size=WIDTH, window=5, min_count=0, epochs=EPOCHS, sg=0, workers=1, seed=1)
        old_seconds, old_words = time.monotonic() - begun, int(plain.offsets[-1])
    print(f"Peak memory {used:.2f} GiB, {before:.2f} GiB of it before training; bound {BOUND:.0f} seconds.\n")
    print("| way | words | epochs | workers | seconds | words per second |\n|:--|--:|--:|--:|--:|--:|")
    for way, count, by, took in (("icdbench", words, workers, seconds), ("plain", old_words, 1, old_seconds)):
        print(f"| {way} | {count:,} | {EPOCHS} | {by} | {took:.0f} | {count * EPOCHS / took:,.0f} |")


if __name__ == "__main__":
    main()
