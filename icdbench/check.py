"""A prepared data set beside what was published of it: each difference, with its cause where the data tell it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from icdbench.spec import DataSpec
from icdbench.types import SPLITS, Corpus

COUNTING = ("min_documents", "words")  # fields of DataSpec that decide how many words there are


def differences(corpus: Corpus, known: Mapping[str, Any], data: DataSpec) -> list[str]:
    """A line for each count that is not the published one.

    `known` holds `documents` per split; where they were published: `codes` (lowest and highest count reported), `codes with
    leading zeros`, `label set`, `vocabulary` (words known to models) and `distinct words` (before rare ones are dropped).
    """
    return [*_documents(corpus, known), *_codes(corpus, known, data), *_words(corpus, known, data)]


def _documents(corpus: Corpus, known: Mapping[str, Any]) -> Iterator[str]:
    facts = corpus.facts
    for split in SPLITS:
        found, expected = len(corpus.splits[split]), known["documents"][split]
        if found == expected:
            continue
        causes = [
            f"{what}: {facts[name]}"
            for name, what in (
                ("listed_without_summary", "listed admissions without a discharge summary in the table of notes"),
                ("listed_without_label", "listed documents without any code of the label set, in all splits"),
            )
            if facts.get(name)
        ]
        why = "; ".join(causes) or "the list of this split is not the published one"
        plus = f" ({expected + 1:,} in the JLAN paper, whose counts are one too high)" if "codes" in known else ""
        yield f"{split} documents: {found:,}, published {expected:,}{plus}; {why}"


def _codes(corpus: Corpus, known: Mapping[str, Any], data: DataSpec) -> Iterator[str]:
    codes = corpus.vocabulary.codes
    if "label set" in known and known["label set"] != set(codes):
        gone, new = sorted(known["label set"] - set(codes)), sorted(set(codes) - known["label set"])
        why = (
            f"top_codes={data.top_codes}"
            if data.top_codes != len(known["label set"])
            else "the counts of label rows differ"
        )
        if data.protocol == "corrected":
            why = "protocol corrected counts training documents alone"
        yield (
            f"label set: {len(gone)} of the published codes are missing ({', '.join(gone) or 'none'}), {len(new)} are new "
            f"({', '.join(new) or 'none'}); {why}"
        )
    if "codes" not in known or data.top_codes is not None:
        return
    low, high = known["codes"]
    kept = known["codes with leading zeros"]
    if data.protocol == "corrected":
        if len(codes) != kept:
            yield (
                f"codes: {len(codes):,}; reported are {low:,}–{high:,}, and {kept:,} with leading zeros kept; protocol corrected "
                "keeps them, and takes the label set from training documents alone"
            )
    elif not low <= len(codes) <= high:
        lost = corpus.facts.get("procedures_that_lost_zeros", 0)
        yield (
            f"codes: {len(codes):,}; reported are {low:,}–{high:,}; {lost} procedure codes lost leading zeros here, where the "
            "published script also turned some into floats (39.50 into 39.5), depending on how it read the file"
        )


def _words(corpus: Corpus, known: Mapping[str, Any], data: DataSpec) -> Iterator[str]:
    found = {"vocabulary": len(corpus.vocabulary.tokens) - 2, "distinct words": corpus.facts["distinct_words"]}
    changed = [f"{name}={getattr(data, name)}" for name in COUNTING if getattr(data, name) != getattr(DataSpec(), name)]
    same_documents = len(corpus.splits["train"]) == known["documents"]["train"]
    why = ", ".join(changed) or (
        "another version of NOTEEVENTS than 1.4"
        if same_documents
        else "the training documents are not the published ones"
    )
    for name, count in found.items():
        if name in known and count != known[name]:
            yield f"{name}: {count:,}, published {known[name]:,}; {why}"
