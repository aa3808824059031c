"""Stored runs in every resample, for tables of many systems: computed from their predictions, kept by the process.

A system here is the runs of one setting. Its figures are averaged over the documents and the runs of each resample
(`bootstrap`), so that two systems on the same documents can be subtracted resample by resample.
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
from icdbench.types import FloatArray

log = logging.getLogger("icdbench")

MOST_CELLS = 2_000_000_000  # test documents × codes × resamples of a run: beyond it a table would take too long


class DrawnSystem(NamedTuple):
    """A system's figures in each resample by threshold rule, or in words why there are none."""

    figures: Mapping[str, bootstrap.Figures]
    lacking: str = ""


class _DrawnRun(NamedTuple):
    figures: Mapping[str, bootstrap.Figures]
    gold: tuple[bytes, bytes, bytes]  # documents and codes of the gold pairs, numbers of unseen codes


def systems(groups: Sequence[Sequence[RunRecord]], results: Sequence[Path], comparisons: int) -> list[DrawnSystem]:
    """Draw the systems, each given by its runs, of one table with so many comparisons.

    Predictions are looked for below the `results` folders. Runs with other gold codes than the first are not drawn. Of runs
    on a whole code system only the figures are drawn that compare with those of other label sets.
    """
    resamples, gold, found = bootstrap.enough(comparisons), None, []
    for runs in groups:
        codes = 1 if comparable.training_codes(runs[0]) else runs[0].data.num_codes
        if runs[0].data.documents["test"] * codes * resamples > MOST_CELLS:
            found.append(DrawnSystem({}, "the test split is too large to be drawn for a table"))
            continue
        places = [_place(run, results) for run in runs]
        if None in places:
            found.append(DrawnSystem({}, "predictions are not stored"))
            continue
        try:
            drawn = {
                run.id: _drawn(place, run.created, resamples, *sorted(run.threshold.items()))
                for run, place in zip(runs, places, strict=True)
                if place
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


def p_value(one_R: FloatArray | None, other_R: FloatArray | None) -> float | None:
    """Compute the p-value of a difference; None where a figure of either system is missing."""
    return None if one_R is None or other_R is None else bootstrap.p_value(one_R - other_R)


def _place(run: RunRecord, results: Sequence[Path]) -> Path | None:
    folders = (store.folder(folder, run) for folder in results)
    return next((folder for folder in folders if (folder / store.PREDICTIONS).is_file()), None)


@functools.cache  # a page that is served is made again whenever a run ends
def _drawn(folder: Path, _created: str, resamples: int, *thresholds: tuple[str, float]) -> _DrawnRun:
    if (record := store.load_record(folder)) is None:
        raise DataError(f"{folder / store.RECORD} cannot be read any more")
    predicted = store.load_predictions(folder, record)["test"]
    given = measure.scored(predicted)
    weights_RN = _weights(len(predicted.scores_NL), resamples)
    known = comparable.training_codes(record)
    if not known:
        gold = given.docs_P.tobytes(), given.codes_P.tobytes(), given.unseen_N.tobytes()
        return _DrawnRun(bootstrap.resampled(given, dict(thresholds), weights_RN), gold)
    usual_P = given.codes_P < known  # the codes of training come first
    unseen_N = given.unseen_N + np.bincount(given.docs_P[~usual_P], minlength=len(given.unseen_N))
    gold = given.docs_P[usual_P].tobytes(), given.codes_P[usual_P].tobytes(), unseen_N.tobytes()
    return _DrawnRun(bootstrap.of_documents(given, dict(thresholds), weights_RN), gold)


_weights = functools.lru_cache(maxsize=1)(bootstrap.weights)  # of one table after the other
