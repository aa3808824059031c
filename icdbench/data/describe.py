"""A data set in numbers (`sizes`, `code_frequencies`, `as_croissant`), and what is wrong with it (`check`)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from icdbench.data import croissant, quality
from icdbench.data.source import Source
from icdbench.settings import DataError
from icdbench.types import SPLITS, Corpus, Report, quiet

EDGES = (0, 1, 2, 6, 11, 51, 101, 501, 1001, 5001)  # the lowest number of training documents in each span


class CorpusSizes(NamedTuple):
    """How large a data set is; the mappings have a value for each split. `vocabulary` leaves out padding and unknown."""

    vocabulary: int
    codes: int
    documents: dict[str, int]
    median_tokens: dict[str, float]
    gold: dict[str, int]
    unseen: dict[str, int]


class FrequencySpan(NamedTuple):
    """The number of codes that `low` to `high` training documents have, and the number of their training labels."""

    low: int
    high: int
    codes: int
    labels: int


def sizes(corpus: Corpus) -> CorpusSizes:
    """The figures of the paper's Table 2 for one data set, and the numbers of gold codes that training never shows."""
    splits = {split: corpus.splits[split] for split in SPLITS}
    unseen = {split: int(encoded.unseen.sum()) for split, encoded in splits.items()}
    return CorpusSizes(
        vocabulary=len(corpus.vocabulary.tokens) - 2,
        codes=len(corpus.vocabulary.codes),
        documents={split: len(encoded) for split, encoded in splits.items()},
        median_tokens={
            split: float(np.median(np.diff(each.token_offsets))) if len(each) else 0.0 for split, each in splits.items()
        },
        gold={split: len(encoded.codes) + unseen[split] for split, encoded in splits.items()},
        unseen=unseen,
    )


def code_frequencies(corpus: Corpus) -> list[FrequencySpan]:
    """The paper's figure 2: the number of codes by their frequency in training. Spans without codes are left out."""
    counts_L = corpus.splits["train"].labels().sum(0).A1
    end = len(corpus.splits["train"]) + 1
    spans = []
    for low, following in pairwise(sorted({*(min(edge, end) for edge in EDGES), end})):
        chosen_L = (counts_L >= low) & (counts_L < following)
        spans.append(FrequencySpan(low, following - 1, int(chosen_L.sum()), int(counts_L[chosen_L].sum())))
    return [span for span in spans if span.codes]


def as_croissant(opened: Source, corpus: Corpus) -> dict[str, Any]:
    """The data set in Croissant's JSON-LD: files, numbers of each split, codes; no texts and no ids. Raises DataError."""
    found = sizes(corpus)
    splits = [
        {
            "split": split,
            "documents": found.documents[split],
            "gold_codes": found.gold[split],
            "gold_codes_not_in_training": found.unseen[split],
            "median_words": found.median_tokens[split],
        }
        for split in SPLITS
    ]
    return croissant.described(opened, corpus, splits)


def check(opened: Source, report: Report = quiet) -> tuple[list[str], list[str]]:
    """Check files, documents and codes, and compare the counts with the published ones.

    Returns what is wrong, and what is a known fact of a published data set; a line each.
    """
    problems, known = list(opened.check()), []
    try:
        problems += opened.unlike_published(report)
        for kind, line in quality.inspected(opened, report):
            if kind in opened.expected:
                known.append(f"known: {line}; {opened.expected[kind]}")
            else:
                problems.append(line)
    except DataError as error:
        problems += [] if str(error) in problems else [str(error)]
    return problems, known
