"""Bootstrap figures of many systems for tables (`systems`), computed from stored predictions and cached in the process.

A system here is the runs of one setting. Its figures are averaged over the documents and runs of each resample (`bootstrap`),
so that two systems on the same documents can be subtracted resample by resample.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from icdbench.evaluation import bootstrap, measure
from icdbench.records import RunRecord, comparable, store
from icdbench.settings import DataError

log = logging.getLogger("icdbench")

MOST_CELLS = 2_000_000_000  # test documents × codes × resamples of a run: beyond it a table would take too long


class DrawnSystem(NamedTuple):
    """A system's figures in each resample by threshold rule, or the reason why there are none."""

    figures: Mapping[str, bootstrap.Figures]
    lacking: str = ""


class _DrawnRun(NamedTuple):
    figures: Mapping[str, bootstrap.Figures]
    gold: tuple[bytes, bytes, bytes]  # documents and codes of the gold pairs, numbers of unseen codes


def systems(groups: Sequence[Sequence[RunRecord]], results: Sequence[Path], comparisons: int) -> list[DrawnSystem]:
    """Compute the systems of a table, each given by its runs, with enough resamples for the number of comparisons.

    Predictions are searched below the `results` folders. Runs with other gold codes than the first have no figures; runs on a
    whole code system have only those figures that can be compared with other label sets.
    """
    resamples, gold, found = bootstrap.enough(comparisons), None, []
    for runs in groups:
        codes = 1 if comparable.training_codes(runs[0]) else runs[0].data.num_codes
        if runs[0].data.documents["test"] * codes * resamples > MOST_CELLS:
            found.append(DrawnSystem({}, "the test split is too large to be drawn for a table"))
            continue
        folders = [store.with_predictions(results, run) for run in runs]
        if None in folders:
            found.append(DrawnSystem({}, "predictions are not stored"))
            continue
        try:
            drawn = {
                run.id: _drawn(folder, run.created, resamples, *sorted(run.threshold.items()))
                for run, folder in zip(runs, folders, strict=True)
                if folder
            }
        except DataError as error:
            log.warning("%s", error)
            found.append(DrawnSystem({}, "predictions are damaged"))
            continue
        gold = gold or drawn[runs[0].id].gold
        if any(each.gold != gold for each in drawn.values()):
            found.append(DrawnSystem({}, "gold codes differ"))
            continue
        rules = drawn[runs[0].id].figures
        found.append(
            DrawnSystem({
                rule: bootstrap.mean({name: each.figures[rule] for name, each in drawn.items()}) for rule in rules
            })
        )  # fmt: skip
    return found


@functools.cache  # served pages are rebuilt whenever a run ends; `_created` makes a repeated run a new entry
def _drawn(folder: Path, _created: str, resamples: int, *thresholds: tuple[str, float]) -> _DrawnRun:
    if (record := store.load_record(folder)) is None:
        raise DataError(f"{folder / store.RECORD} cannot be read any more")
    predicted = store.load_test_predictions(folder, record)
    given = measure.scored(predicted)
    weights_RN = _weights(len(predicted.scores_NL), resamples)
    num_training_codes = comparable.training_codes(record)
    if not num_training_codes:
        gold = given.docs_P.tobytes(), given.codes_P.tobytes(), given.unseen_N.tobytes()
        return _DrawnRun(bootstrap.resampled(given, dict(thresholds), weights_RN), gold)
    seen_P = given.codes_P < num_training_codes  # the codes of training come first
    unseen_N = given.unseen_N + np.bincount(given.docs_P[~seen_P], minlength=len(given.unseen_N))
    gold = given.docs_P[seen_P].tobytes(), given.codes_P[seen_P].tobytes(), unseen_N.tobytes()
    found = bootstrap.resampled(given, dict(thresholds), weights_RN, areas=False)
    pooled = {
        rule: {key: values_R for key, values_R in figures.items() if comparable.over_label_sets(key)}
        for rule, figures in found.items()
    }
    return _DrawnRun(pooled, gold)


_weights = functools.lru_cache(maxsize=1)(bootstrap.weights)  # all systems of a table share them
