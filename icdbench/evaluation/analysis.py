"""Analyses of stored runs (`analyse`): figures by run, analysis, group and metric, as docs/analyses.md defines them.

Predictions are those stored beside the records. Lengths of notes are not stored with runs: they come from the cache or the
raw data, if these are the same as the run's. The hierarchy of the codes comes from their data set's source. Analyses whose
input is missing are left out, with a line that says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from icdbench.data import datasets, encode
from icdbench.evaluation import calibration, detail, groups, hierarchical, measure, metrics, thresholds
from icdbench.records import RunRecord, comparable, store
from icdbench.settings import DataError, SpecError
from icdbench.types import THRESHOLDS, Encoded, FloatArray, IntArray, LabelSet, Predictions, Report, quiet

if TYPE_CHECKING:
    import pandas as pd

BINS, ALPHA = calibration.BINS, thresholds.ALPHA  # shown in tables
FRACTION_KEYS = ("f1_micro", "f1_macro", "p@5", "p@8", "map")  # figures of a learning curve


class Figure(NamedTuple):
    """One number (a fraction or a count), with its analysis (`frequency`), group (`tail`; empty: all) and metric."""

    analysis: str
    group: str
    metric: str
    value: float


@dataclass(frozen=True)
class Choice:
    """How to analyse: the threshold's rule, the edges of frequency groups (none: head, medium, tail), the folder of raw data.

    Without `prepare` only data in the cache are used.
    """

    rule: str = "tuned"
    edges: Sequence[int] = ()
    root: Path | None = None
    prepare: bool = True

    def __post_init__(self) -> None:
        """Raises SpecError for an unknown rule."""
        if self.rule not in THRESHOLDS:
            raise SpecError(f"rule '{self.rule}' is none of tuned, fixed")


@dataclass(frozen=True, eq=False)
class Facts:
    """Facts of comparable runs beside their predictions: paths of the codes, lengths of the test notes in words [N].

    `missing` has a line for each fact that is not known.
    """

    paths: Sequence[hierarchical.Path] | None = None
    lengths_N: IntArray | None = None
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class Analysed:
    """The figures of each run by its id, and a line for everything that could not be analysed."""

    figures: Mapping[str, Sequence[Figure]]
    missing: Sequence[str]


def analyse(
    records: Sequence[RunRecord], folders: Sequence[Path], choice: Choice | None = None, report: Report = quiet
) -> Analysed:
    """Analyse the runs whose predictions are below the folders. Raises SpecError for impossible edges."""
    choice = choice or Choice()
    known: dict[str, Facts] = {}
    figures: dict[str, Sequence[Figure]] = {}
    absent: list[RunRecord] = []
    missing: list[str] = []
    for done, record in enumerate(records):
        report("analysing runs", done, len(records))
        folder = store.with_predictions(folders, record)
        if folder is None:
            absent.append(record)
            continue
        if record.scored and record.scored.kind != "runs":
            missing.append(f"{record.spec.system} is left out: it was scored from a file.")
            continue
        try:
            predictions, label_set = store.load_predictions(folder, record), store.load_label_set(folder, record)
        except DataError as error:
            missing.append(f"{record.id} is left out: {error}.")
            continue
        task = json.dumps(comparable.task(record), sort_keys=True)
        if task not in known:
            known[task] = facts(record, label_set, predictions["test"].labels, choice, report)
            missing += known[task].missing
        figures[record.id] = of_run(record, predictions, label_set, known[task], choice)
    if absent:
        systems = ", ".join(dict.fromkeys(record.spec.system for record in absent))
        missing.append(f"{len(absent)} runs have no predictions beside their records and are left out: {systems}.")
    return Analysed(figures, list(dict.fromkeys(missing)))


def facts(record: RunRecord, label_set: LabelSet, labels: csr_matrix, choice: Choice, report: Report = quiet) -> Facts:
    """Look up the hierarchy of a run's codes and the lengths of its test notes, whose gold codes are `labels` [N, L]."""
    spec, missing = record.spec, []
    try:
        opened = datasets.open(spec.dataset, choice.root, spec.data)
    except (SpecError, DataError) as error:
        return Facts(missing=[
            f"{spec.dataset}: neither lengths of notes nor a hierarchy of codes, as the data set is not known ({error})."
        ])  # fmt: skip
    tree = opened.tree(label_set.codes)
    if tree is None:
        missing.append(f"{spec.dataset}: no hierarchical scores, as the coding system is not said (data.code_system).")
    notes = predicted_notes(opened, record, labels, choice, report)
    lengths_N = None if notes is None else np.diff(notes.token_offsets)
    if lengths_N is None:
        missing.append(
            f"{spec.dataset}: no figures by length of notes, as the notes are neither in the cache nor, as the run read them, "
            "in the folder of raw data (--data)."
        )
    return Facts(None if tree is None else hierarchical.paths(tree, label_set.codes), lengths_N, missing)


def predicted_notes(
    opened: datasets.Source, record: RunRecord, labels: csr_matrix, choice: Choice, report: Report = quiet
) -> Encoded | None:
    """The test notes that a run predicted, whose gold codes are `labels` [N, L]; None if the data are missing or changed."""
    try:
        corpus = encode.remembered(opened, record.spec.fingerprint)
        if corpus is None and choice.prepare and opened.fingerprint() == record.spec.fingerprint:
            corpus = opened.corpus(report)
    except (SpecError, DataError):
        return None
    if corpus is None:
        return None
    test = corpus.splits["test"]
    same = test.labels().shape == labels.shape and (test.labels() != labels).nnz == 0
    return test if same else None


def of_run(
    record: RunRecord, predictions: Mapping[str, Predictions], label_set: LabelSet, known: Facts, choice: Choice
) -> list[Figure]:
    counts_L, threshold = label_set.train_counts.astype(np.int64), record.threshold[choice.rule]
    test, held_out = measure.scored(predictions["test"]), predictions.get("validation")
    predicted_NL = test.scores_NL > threshold
    by_frequency = groups.by_edges(counts_L, choice.edges) if choice.edges else groups.by_share(counts_L)
    gold_N = np.bincount(test.docs_P, minlength=len(predicted_NL)) + test.unseen_N
    documents = record.data.documents["train"]
    found = [
        *_grouped("frequency", groups.of_codes(test, predicted_NL, by_frequency)),
        *_grouped("codes", groups.of_documents(test, predicted_NL, groups.equal_parts(gold_N))),
        *_grouped(
            "detail", {"": detail.of_decisions(test, predicted_NL) | detail.of_ranking(test, counts_L, documents)}
        ),
        *_calibration(test.scores_NL, predictions["test"].labels.toarray().astype(bool)),
        *(_thresholds(measure.scored(held_out), test, by_frequency, threshold) if held_out else []),
    ]
    if known.lengths_N is not None:
        by_length = groups.equal_parts(known.lengths_N)
        found += _grouped("length", groups.of_documents(test, predicted_NL, by_length))
    if known.paths is not None:
        found += _hierarchical(predicted_NL, predictions["test"].labels, known.paths, label_set.codes)
    share, tested = f"{record.spec.data.fraction:g}", record.metrics["test"][choice.rule]
    return found + [Figure("fraction", share, key, tested[key]) for key in FRACTION_KEYS if key in tested]


def _grouped(analysis: str, figures: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    return [Figure(analysis, group, key, value) for group, values in figures.items() for key, value in values.items()]


def _calibration(probabilities_NL: FloatArray, gold_NL: np.ndarray) -> list[Figure]:
    bins = calibration.reliability(probabilities_NL, gold_NL)
    by_bin = {
        str(number): {"mean": float(mean), "share": float(share), "cells": float(cells)}
        for number, (mean, share, cells) in enumerate(zip(*bins, strict=True), start=1)
    }
    return [
        *_grouped("calibration", {"": calibration.figures(probabilities_NL, gold_NL)}),
        *_grouped("reliability", by_bin),
    ]


def _thresholds(
    validation: metrics.Scored, test: metrics.Scored, by_frequency: groups.Groups, common: float
) -> list[Figure]:
    """F1 along thresholds; F1 with one threshold and with one per frequency group; conformal sets."""
    own_L = thresholds.of_groups(validation, by_frequency, common)
    chosen = {"one": test.scores_NL > common, "each": test.scores_NL > own_L}
    both = {}
    for name, predicted_NL in chosen.items():
        figures = metrics.macro_and_micro(*metrics.code_counts(test, predicted_NL), test.unseen_N.sum())
        both[name] = {key: float(figures[key]) for key in ("f1_micro", "f1_macro")}
    promised = {
        "all codes": thresholds.sets(test, thresholds.whole_set_threshold(validation)),
        "mean recall": thresholds.sets(test, thresholds.recall_threshold(validation)),
    }
    along = {f"{threshold:g}": figures for threshold, figures in thresholds.curve(test).items()}
    return [*_grouped("thresholds", along), *_grouped("group thresholds", both), *_grouped("conformal", promised)]


def _hierarchical(
    predicted_NL: np.ndarray, labels: csr_matrix, paths: Sequence[hierarchical.Path], codes: Sequence[str]
) -> list[Figure]:
    predicted, gold = csr_matrix(predicted_NL, dtype=np.int64), csr_matrix(labels, dtype=np.int64)
    layers = hierarchical.cophe(predicted, gold, paths)
    scored = {f"layer {depth}": each for depth, each in layers.items()}
    scored["all layers"] = hierarchical.Counts(*map(sum, zip(*layers.values(), strict=True)))
    scored |= {f"cut by {levels}": hierarchical.cut(predicted, gold, paths, levels) for levels in (1, 2, 3)}
    figures = {
        name: {
            "f1": each.f1,
            "precision": each.tp / max(1, each.tp + each.fp),
            "recall": each.tp / max(1, each.tp + each.fn),
        }
        for name, each in scored.items()
    }
    return [
        *_grouped("hierarchy", figures),
        *_grouped("family", {"": hierarchical.family_errors(predicted, gold, codes)}),
    ]


def frame(records: Iterable[RunRecord], analysed: Analysed) -> pd.DataFrame:
    """All figures as one table: a row for each figure of each run, with columns as `icdbench.records.frame` has them."""
    import pandas as pd

    rows = [
        (record.spec.dataset, record.spec.system, record.spec.setting, record.spec.seed, record.id, *figure)
        for record in records
        for figure in analysed.figures.get(record.id, ())
    ]
    return pd.DataFrame(rows, columns=["dataset", "system", "setting", "seed", "run", *Figure._fields])
