"""Tables about data rather than systems: the paper's Table 2, and its figure 2 as a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from icdbench.formats import Grid, write
from icdbench.spec import Benchmark
from icdbench.systems import data_name
from icdbench.types import SPLITS, Corpus, RunRecord

COUNTING = ("min_documents", "words")  # fields of DataSpec that decide how many words there are


def statistics(corpus: Corpus, fmt: str = "md") -> str:
    """The paper's Table 2 for one data set, and what else decides whether label counts match. Raises SpecError."""
    splits = [corpus.splits[split] for split in SPLITS]
    lengths = [float(np.median(np.diff(encoded.token_offsets))) for encoded in splits]
    codes = [(len(encoded.codes) + int(encoded.unseen.sum())) / len(encoded) for encoded in splits]
    name = corpus.name + " (SYNTHETIC)" * corpus.synthetic
    header = ["data set", "vocabulary", "codes", *SPLITS, "median tokens", "codes per document"]
    counts = [len(corpus.vocabulary.tokens) - 2, len(corpus.vocabulary.codes), *map(len, splits)]
    sizes = [f"{count:,}" for count in counts]
    shape = [" / ".join(f"{value:.0f}" for value in lengths), " / ".join(f"{value:.1f}" for value in codes)]
    notes = [
        "Vocabulary: tokens known to the models, without padding and unknown. Medians and means per split.",
        f"Fingerprint of the raw content {corpus.fingerprint}. "
        + "; ".join(f"{fact.replace('_', ' ')}: {value}" for fact, value in corpus.facts.items()),
    ]
    for split, encoded in zip(SPLITS, splits, strict=True):
        if missed := int(encoded.unseen.sum()):
            gold = len(encoded.codes) + missed
            notes.append(f"{split}: {missed:,} of {gold:,} gold assignments are codes that training never shows.")
    return write([Grid(f"Statistics of {name}", header, [[name, *sizes, *shape]], notes), _frequencies(corpus)], fmt)


def _frequencies(corpus: Corpus) -> Grid:
    """The paper's figure 2: how many codes are how frequent in training, and how much of all labels they make up."""
    counts_L = corpus.splits["train"].labels(len(corpus.vocabulary.codes)).sum(0).A1
    edges = [0, 1, 2, 6, 11, 51, 101, 501, 1001, 5001, len(corpus.splits["train"]) + 1]
    rows = []
    for low, high in pairwise(sorted({min(edge, edges[-1]) for edge in edges})):
        chosen_L = (counts_L >= low) & (counts_L < high)
        if chosen_L.any():
            share = chosen_L.mean()
            span = f"{low:,}" if high == low + 1 else f"{low:,}–{high - 1:,}"
            cells = [
                f"{chosen_L.sum():,}",
                f"{100 * share:.1f} %",
                f"{100 * counts_L[chosen_L].sum() / counts_L.sum():.1f} %",
            ]
            rows.append([span, *cells, "#" * round(40 * share)])
    header = ["training documents", "codes", "of all codes", "of all labels", "codes, to scale"]
    notes = [f"{len(corpus.splits['train']):,} training documents with {counts_L.sum():,} labels."]
    return Grid("Codes by their frequency in training", header, rows, notes)


def data_sets(benchmark: Benchmark, records: Sequence[RunRecord]) -> list[Grid]:
    """The paper's Table 2: its data sets, under each what own runs saw of it; then the other data of own runs."""
    own = sorted({_sizes(record, benchmark) for record in records}, key=lambda each: each[1:])
    paper = {dataset for dataset, _ in benchmark.published.values()}
    rows: list[list[str]] = []
    for label, (dataset, published) in benchmark.published.items():
        rows.append([label, "published", *published])
        for name, shown, cells in own:
            if name == dataset:
                rows += [[shown, "own", *cells], [shown, "difference", *map(_difference, cells, published)]]
    header = ["data set", "figures", *(heading for heading, _ in benchmark.metrics)]
    notes = [f"Published: {benchmark.source}. {benchmark.caption}".strip()]
    notes.append(
        "Codes: the label set. Codes per document: gold codes in train / validation / test, with those that training lacks."
    )
    if not paper & {name for name, _, _ in own}:
        notes.append(f"No runs on {' or '.join(sorted(paper))} are stored.")
    other = [[shown, *cells] for name, shown, cells in own if name not in paper]
    grids = [Grid(benchmark.title, header, rows, notes)]
    return grids + ([Grid("Other data of own runs", [header[0], *header[2:]], other, notes[1:2])] if other else [])


def _sizes(record: RunRecord, benchmark: Benchmark) -> tuple[str, str, tuple[str, ...]]:
    """The data set's name in the benchmark ("" if synthetic), how it is told apart, and its sizes by the benchmark's metrics."""
    corpus = record.corpus
    rates = [
        f"{corpus['assignments'][split] / number:.1f}"
        for split, number in corpus["documents"].items()
        if number and split in corpus["assignments"]
    ]
    sizes = {"vocabulary": f"{corpus['num_tokens'] - 2:,}", "codes": f"{corpus['num_codes']:,}"}
    sizes |= {split: f"{number:,}" for split, number in corpus["documents"].items()}
    sizes["codes per document"] = " / ".join(rates)
    words = [
        f"{name}={value}"
        for name, value in sorted(record.spec.changed.items())
        if name.removeprefix("data.") in COUNTING
    ]
    shown = f"{', '.join([data_name(record), *words])} [{record.spec.fingerprint[:8]}]"
    dataset = "" if corpus["synthetic"] else record.spec.dataset
    return dataset, shown, tuple(sizes[key] for _, key in benchmark.metrics)


def _difference(own: str, published: str) -> str:
    ours, theirs = (cell.replace(",", "") for cell in (own, published))
    return f"{int(ours) - int(theirs):+,}".replace("+0", "0") if ours.isdigit() and theirs.isdigit() else ""
