"""The words that speak for a note's codes as marks for BRAT, which people can correct and `icdbench.data` reads back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from icdbench.data import datasets, export
from icdbench.inference.explain import Explanation, Pass, explained
from icdbench.inference.predict import Predictor


def write(place: Path, predictor: Predictor, text: str, code: str, method: str, top: int) -> list[Path]:
    """Write a note and the `top` words that speak most for its code, or for each code above the threshold; the two files.

    `place` is their path without suffix. Raises SpecError, DataError as `explain`, and SpecError if they are there already.
    """
    forward = Pass(predictor, text)
    codes = [code] if code else [each.code for each in forward.reading(None, "tuned").codes if each.above]
    found = [explained(forward, each, method) for each in codes or [""]]
    marks = {each.code: [[span] for span in strongest_spans(each, top)] for each in found}
    titles = {each.code: each.title for each in found}
    return export.annotate(place.parent, place.name, text, marks, titles, datasets.code_system(predictor.codes))


def strongest_spans(found: Explanation, count: int) -> Sequence[tuple[int, int]]:
    """Where in the text the `count` words stand that speak most for the code; words side by side are one span."""
    strongest = np.argsort(-found.weights, kind="stable")[:count]
    places = np.sort(strongest[found.weights[strongest] > 0])
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return [(found.spans[run[0]][0], found.spans[run[-1]][1]) for run in runs if len(run)]
