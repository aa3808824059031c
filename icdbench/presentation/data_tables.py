"""Tables about data rather than systems: the sizes of a data set (`statistics`) and the paper's Table 2 (`data_sets`)."""

from __future__ import annotations

from collections.abc import Sequence

from icdbench.data import describe
from icdbench.presentation.cells import as_printed, difference
from icdbench.presentation.formats import Cell, Grid, Value, count, joined, write
from icdbench.presentation.notes import data_name
from icdbench.records import RunRecord
from icdbench.spec import Benchmark
from icdbench.types import SPLITS, Corpus

COUNTING = ("min_documents", "words")  # fields of DataSpec that decide the size of the vocabulary


def statistics(corpus: Corpus, fmt: str = "md") -> str:
    """Sizes and code frequencies of a data set. Raises SpecError for an unknown format."""
    found = describe.sizes(corpus)
    name = corpus.name + " (SYNTHETIC)" * corpus.synthetic
    header = ["data set", "vocabulary", "codes", *SPLITS, "median tokens", "codes per document"]
    rates = [found.gold[split] / number for split, number in found.documents.items() if number]
    counts = map(count, (found.vocabulary, found.codes, *found.documents.values()))
    row: list[Value] = [name, *counts, joined(found.median_tokens.values(), digits=0), joined(rates)]
    facts = "; ".join(f"{fact.replace('_', ' ')}: {value}" for fact, value in corpus.facts.items())
    notes = [
        "Vocabulary: tokens known to the models, without padding and unknown. Medians and means per split.",
        f"Fingerprint of the raw content {corpus.fingerprint}. {facts}",
    ]
    for split, missed in found.unseen.items():
        if missed:
            gold = f"{missed:,} of {found.gold[split]:,} gold assignments"
            notes.append(f"{split}: {gold} are codes that training never shows.")
    return write([Grid(f"Statistics of {name}", header, [row], notes), _code_frequencies(corpus)], fmt)


def _code_frequencies(corpus: Corpus) -> Grid:
    spans = describe.code_frequencies(corpus)
    codes, labels = sum(span.codes for span in spans), sum(span.labels for span in spans)
    rows: list[list[Value]] = []
    for span in spans:
        documents = f"{span.low:,}" if span.low == span.high else f"{span.low:,}–{span.high:,}"
        shares = [Cell(100 * span.codes / codes, unit="%"), Cell(100 * span.labels / labels, unit="%")]
        rows.append([documents, count(span.codes), *shares, "#" * round(40 * span.codes / codes)])
    header = ["training documents", "codes", "of all codes", "of all labels", "codes, to scale"]
    notes = [f"{len(corpus.splits['train']):,} training documents with {labels:,} labels."]
    return Grid("Codes by their frequency in training", header, rows, notes)


def data_sets(benchmark: Benchmark, records: Sequence[RunRecord]) -> list[Grid]:
    """The published data sets, each followed by own data of that name; then the other data of own runs."""
    own = sorted({_sizes_of(record, benchmark) for record in records}, key=lambda each: each[1:])
    paper = {dataset for dataset, _ in benchmark.published.values()}
    rows: list[list[Value]] = []
    for label, (dataset, texts) in benchmark.published.items():
        published = list(map(as_printed, texts or [""] * len(benchmark.metrics)))
        rows.append([label, "published", *published])
        for name, shown, cells in own:
            if name == dataset:
                rows += [[shown, "own", *cells], [shown, "difference", *map(difference, cells, published)]]
    header = ["data set", "figures", *(heading for heading, _ in benchmark.metrics)]
    notes = [f"Published: {benchmark.source}. {benchmark.caption}".strip()]
    notes.append(
        "Codes: size of the label set. Codes per document: gold codes in train / validation / test, also those that training lacks."
    )
    if not paper & {name for name, _, _ in own}:
        notes.append(f"No runs on {' or '.join(sorted(paper))} are stored.")
    other = [[shown, *cells] for name, shown, cells in own if name not in paper]
    grids = [Grid(benchmark.title, header, rows, notes)]
    return grids + ([Grid("Other data of own runs", [header[0], *header[2:]], other, notes[1:2])] if other else [])


def _sizes_of(record: RunRecord, benchmark: Benchmark) -> tuple[str, str, tuple[Value, ...]]:
    """The data set's name in the benchmark (empty if synthetic), its name with fingerprint, and its sizes."""
    data = record.data
    found: dict[str, Value] = {"vocabulary": count(data.num_tokens - 2), "codes": count(data.num_codes)}
    found |= {split: count(number) for split, number in data.documents.items()}
    found["codes per document"] = joined(
        data.assignments[split] / number for split, number in data.documents.items() if number
    )
    changed = sorted(record.changed.items())
    counting = [f"{name}={value}" for name, value in changed if name.removeprefix("data.") in COUNTING]
    shown = f"{', '.join([data_name(record), *counting])} [{record.spec.fingerprint[:8]}]"
    dataset = "" if data.synthetic else record.spec.dataset
    return dataset, shown, tuple(found[key] for _, key in benchmark.metrics)
