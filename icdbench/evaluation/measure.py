"""Compute the fields of a record that follow from predictions: `measured` for a new run, `remeasure` for a stored one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import csr_matrix

from icdbench.evaluation import bootstrap, metrics
from icdbench.records import RunRecord, comparable, provenance, store
from icdbench.settings import DataError, SpecError
from icdbench.training import score
from icdbench.types import IntArray, Predictions, Report, quiet

T = TypeVar("T")

MEASURED = ("validation", "test")
BOUNDED = ("p@5", "p@8", "p@15", "r@5", "r@8", "r@15", "map")  # ranking metrics with a floor and a ceiling in records


def measured(
    predictions: Mapping[str, Predictions],
    train_counts: IntArray,
    lacking: tuple[str, ...] = (),
    tuned: float | None = None,
) -> dict[str, Any]:
    """Compute the fields of a record that follow from its predictions. The tuned threshold uses only validation.

    `predictions` has the keys of MEASURED; without validation the tuned threshold is the given one, or there is none.
    `train_counts` [L] counts each code's training documents. Metrics whose keys begin with one of `lacking` are left out.
    """
    given = {split: scored(predicted, train_counts) for split, predicted in predictions.items()}
    test, threshold = predictions["test"], {"fixed": 0.5} | ({} if tuned is None else {"tuned": tuned})
    if (held := predictions.get("validation")) is not None:
        checked = given["validation"]
        threshold["tuned"] = metrics.tune_threshold(
            checked.scores_NL, held.labels, unseen=held.unseen, outside=checked.outside_NF
        )
    collapsed = {rule: metrics.collapse(given["test"].scores_NL, at) for rule, at in threshold.items()}
    floor = metrics.ranking(metrics.popularity(train_counts, len(test.scores_NL)), test.labels, unseen=test.unseen)
    found = {split: metrics.evaluate_rules(each, threshold) for split, each in given.items()}
    intervals = bootstrap.intervals(given["test"], threshold)
    return {
        "metrics": {
            split: {rule: without(lacking, figures) for rule, figures in by_rule.items()}
            for split, by_rule in found.items()
        },
        "threshold": threshold,
        "intervals": {rule: without(lacking, figures) for rule, figures in intervals.items()},
        "collapse": {rule: name for rule, name in collapsed.items() if name},
        "popularity": {key: floor[key] for key in BOUNDED if key in floor},
        "ceilings": ceilings(test.labels, test.unseen),
    }


def scored(predicted: Predictions, train_counts: IntArray | None = None) -> metrics.Scored:
    """Check predictions and convert them to the input of every metric, with probabilities as scores."""
    outside = None if predicted.outside_NF is None else score.probabilities(predicted.outside_NF)
    return metrics.scored(
        score.probabilities(predicted.scores_NL), predicted.labels, predicted.unseen, train_counts, outside
    )


def of_split(predicted: Predictions, train_counts: IntArray, lacking: tuple[str, ...] = ()) -> dict[str, float]:
    """Compute the figures of one split alone, for the threshold 0.5."""
    return without(lacking, metrics.evaluate_rules(scored(predicted, train_counts), {"fixed": 0.5})["fixed"])


def without(lacking: tuple[str, ...], figures: Mapping[str, T]) -> dict[str, T]:
    """Return the figures whose keys begin with none of `lacking`."""
    return {key: value for key, value in figures.items() if not key.startswith(lacking)}


def ceilings(labels: csr_matrix, unseen: IntArray) -> dict[str, float]:
    """Compute the metrics of BOUNDED for a ranking that begins with each document's gold codes, their upper bounds.

    `labels` [N, L] and `unseen` [N] as in Predictions. P@k is below 1 for a document with fewer than k gold codes, R@k for
    one with more; both, and MAP, if some gold codes never occur in training.
    """
    perfect = metrics.ranking(labels.toarray().astype(np.float32), labels, unseen=unseen)
    return {key: perfect[key] for key in BOUNDED if key in perfect}


def with_ceilings(records: Sequence[RunRecord], folders: Sequence[Path]) -> list[RunRecord]:
    """Return the records with ceilings, which older records lack, computed from stored gold codes.

    Runs that may share a table have the same documents, so predictions of one of them below `folders` are enough. Without
    any the field stays empty.
    """
    found: dict[str, dict[str, float]] = {}
    for block in comparable.blocks(records):
        known = next((record.ceilings for record in block if record.ceilings), None)
        for record in block if known is None else ():
            if (place := store.with_predictions(folders, record)) is not None:
                with contextlib.suppress(DataError):
                    test = store.load_test_predictions(place, record)
                    known = ceilings(test.labels, test.unseen)
                    break
        found |= {record.id: known or {} for record in block}
    return [
        record if record.ceilings else record.model_copy(update={"ceilings": found[record.id]}) for record in records
    ]


def remeasure(folder: Path, record: RunRecord) -> RunRecord:
    """Compute a stored run's figures again from its predictions and return its record, signed and stored if it changed.

    Raises DataError if the predictions are damaged or belong to another run.
    """
    predictions, label_set = store.load_predictions(folder, record), store.load_label_set(folder, record)
    shapes = {split: predicted.scores_NL.shape for split, predicted in predictions.items()}
    documents, L = record.data.documents, record.data.num_codes
    lacking = record.scored.lacking if record.scored else ()
    tuned = record.threshold.get("tuned")
    held_out = tuned is not None and record.data.documents["validation"] > 0
    expected = MEASURED if held_out else ("test",)
    if shapes != {split: (documents[split], L) for split in expected}:
        raise DataError(f"{folder / store.PREDICTIONS} has other documents or codes than its record; run it again")
    in_order = {split: predictions[split] for split in expected}
    again = record.model_copy(update=measured(in_order, label_set.train_counts, lacking, tuned))
    if again == record and record.signed:
        return record
    if again != record:
        again = again.model_copy(update={"remeasured": provenance.now()})
    # A signed record keeps its checksums: the files beside it have not changed.
    return store.save_record(folder, again if record.signed else store.sign(folder, again))


def remeasure_all(results: Path, report: Report = quiet) -> dict[str, str]:
    """Bring the figures of all stored runs up to date; return the reasons, by id, of those that failed."""
    failures = {}
    records = store.load_records(results, complete=False)
    for done, record in enumerate(records):
        report("measuring stored runs", done, len(records))
        try:
            remeasure(store.folder(results, record), record)
        except DataError as error:
            failures[record.id] = str(error)
    return failures


def epoch_measures(scored: Predictions, monitor: str) -> dict[str, float]:
    """Compute the validation figures after an epoch.

    Raises SpecError if `monitor`, the metric to stop by, is undefined.
    """
    figures = metrics.evaluate(score.probabilities(scored.scores_NL), scored.labels, unseen=scored.unseen)
    if monitor not in figures:
        raise SpecError(f"train.monitor: {monitor} is undefined on this validation split; choose another, such as p@5")
    return figures | {"validation_loss": _mean_cross_entropy(scored)}


def _mean_cross_entropy(predicted: Predictions) -> float:
    """Average softplus(z) - y·z over all pairs of a document and a code, including those that the objective leaves out."""
    gold = predicted.labels.multiply(predicted.scores_NL).sum(dtype=np.float64)
    return float((np.logaddexp(0, predicted.scores_NL).sum(dtype=np.float64) - gold) / predicted.scores_NL.size)
