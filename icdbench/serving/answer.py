"""The prediction page's answer to a note: its codes ranked, and the words that count for or against one of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from icdbench.inference import explain, fhir, predict
from icdbench.serving.form import NoteForm
from icdbench.settings import DataError, SpecError, nearest
from icdbench.types import THRESHOLDS

STRONGEST = 8  # words listed above a note
LEVELS = 9  # shades of a word's weight


class Model(NamedTuple):
    """A loaded model, its label on the page, and its explanation methods, the default first."""

    label: str
    predictor: predict.Predictor
    methods: tuple[str, ...]

    @property
    def name(self) -> str:
        """The label with the data set that the model was trained on."""
        return f"{self.label} ({self.predictor.bundle.contents.dataset})"


class CodeRow(NamedTuple):
    """A code and its prediction by each model shown; None for a model that does not know the code."""

    code: str
    title: str
    cells: tuple[predict.Code | None, ...]


class Piece(NamedTuple):
    """A piece of the note, its shade (-LEVELS to LEVELS), and its rank among the strongest words if it is one."""

    text: str
    shade: int
    rank: int | None


class Evidence(NamedTuple):
    """The note with its words weighted for one code by one model, or `problem`: why that is not possible."""

    label: str
    code: predict.Code | None
    method: str
    shares: str
    signed: bool
    strongest: tuple[str, ...]
    pieces: tuple[Piece, ...]
    unread: str
    problem: str


class Answer(NamedTuple):
    """Everything the page shows about a note."""

    code: str
    title: str
    facts: tuple[str, ...]
    groups: tuple[tuple[str, tuple[CodeRow, ...]], ...]
    evidence: tuple[Evidence, ...]
    copies: tuple[tuple[str, str], ...]


def answer(models: Sequence[Model], form: NoteForm) -> Answer:
    """Rank the note's codes by each of these models and explain one code.

    Raises DataError for a note without words, SpecError for a threshold that does not exist.
    """
    if not form.note.strip():
        raise DataError("the note is empty; paste one, or try an example")
    if form.threshold not in THRESHOLDS:
        raise SpecError(f"no threshold '{form.threshold}'{nearest(form.threshold, THRESHOLDS)}")
    passes = [explain.Pass(model.predictor, form.note) for model in models]
    readings = [each.reading(len(each.predictor.codes), form.threshold) for each in passes]
    groups = _group_codes(models, readings, form.threshold)
    code = _spelling(form.code, models) or form.code or _spelling(form.chosen, models) or groups[0][1][0].code
    titles = (dict(zip(m.predictor.codes, m.predictor.bundle.contents.titles, strict=True)) for m in models)
    title = next((each[code] for each in titles if code in each), "")
    evidence = tuple(map(functools.partial(_evidence, form, code), models, passes, readings))
    facts = tuple(map(_word_counts, models, readings))
    return Answer(code, title, facts, groups, evidence, tuple(_copies(models, readings)))


def _copies(models: Sequence[Model], readings: Sequence[predict.Reading]) -> Iterator[tuple[str, str]]:
    """The codes of the page as `icdbench predict` prints them, each with the page's name for the format."""
    answers: list[predict.Answer] = []
    for model, reading in zip(models, readings, strict=True):
        answers.append((model.label if len(models) > 1 else "note", replace(reading, codes=_listed(reading))))
    yield "text", "".join(predict.as_table(answers)).strip() + "\n"
    yield "CSV", "".join(predict.as_csv(answers))
    pieces: list[str] = []
    for model, (_, listed) in zip(models, answers, strict=True):
        pieces += fhir.as_fhir([("note", listed)], model.predictor.codes, model.predictor.bundle.contents.run)
    yield "FHIR", "".join(pieces)


def _listed(reading: predict.Reading) -> tuple[predict.Code, ...]:
    """The codes above the threshold, and at least the predict.SHOWN best."""
    return tuple(code for rank, code in enumerate(reading.codes) if rank < predict.SHOWN or code.above)


def _group_codes(
    models: Sequence[Model], readings: Sequence[predict.Reading], threshold: str
) -> tuple[tuple[str, tuple[CodeRow, ...]], ...]:
    """Group codes by the models that put them above their threshold; each group has a heading and is sorted by probability.

    Groups above the threshold of more models come first. Each model contributes its codes above the threshold, and at least
    its predict.SHOWN best.
    """
    by_code = [{code.code: code for code in reading.codes} for reading in readings]
    groups: dict[tuple[bool, ...], list[CodeRow]] = {}
    for name in dict.fromkeys(code.code for reading in readings for code in _listed(reading)):
        cells = tuple(each.get(name) for each in by_code)
        title = next(cell.title for cell in cells if cell)
        above = tuple(bool(cell and cell.above) for cell in cells)
        groups.setdefault(above, []).append(CodeRow(name, title, cells))
    order = sorted(groups, key=lambda above: (-sum(above), [not each for each in above]))
    return tuple(
        (_group_heading(models, above, threshold), tuple(sorted(groups[above], key=_mean_probability, reverse=True)))
        for above in order
    )


def _mean_probability(row: CodeRow) -> float:
    """Return the mean over the models that know the code."""
    return float(np.mean([cell.probability for cell in row.cells if cell]))


def _group_heading(models: Sequence[Model], above: Sequence[bool], threshold: str) -> str:
    if len(models) == 1:
        value = percent(models[0].predictor.bundle.contents.threshold[threshold])
        return f"{'Above' if above[0] else 'Below'} the threshold of {value}"
    if all(above) or not any(above):
        return "Above both thresholds" if all(above) else "Below both thresholds"
    return f"Above the threshold of {models[above.index(True)].label} only"


def _spelling(code: str, models: Sequence[Model]) -> str:
    """Return the code as the first model that knows it spells it; empty if none does."""
    return next((known for model in models if (known := model.predictor.find_code(code))), "")


def _word_counts(model: Model, reading: predict.Reading) -> str:
    truncated = "" if reading.read == reading.tokens else f", the first {reading.read:,} of them read"
    if reading.unknown == reading.read:
        return f"{reading.tokens:,} words{truncated}, none known to {model.label}: its codes are not of this note"
    unknown = f"{reading.unknown:,} unknown" if reading.unknown else "all known"
    return f"{reading.tokens:,} words{truncated}, {unknown} to {model.label}"


def _evidence(form: NoteForm, code: str, model: Model, forward: explain.Pass, reading: predict.Reading) -> Evidence:
    predicted = next((each for each in reading.codes if each.code == code), None)
    try:
        found = explain.explained(forward, code, form.method)
    except SpecError as error:  # the other model may have the code, or the method
        problem, _, _ = str(error).partition(" (known: ")
        return Evidence(model.label, predicted, form.method, "", False, (), (), "", problem)
    return evidence_of(model.label, predicted, found, form.note, complete=reading.read == reading.tokens)


def evidence_of(
    label: str, predicted: predict.Code | None, found: explain.Explanation, note: str, *, complete: bool
) -> Evidence:
    """Prepare an explanation for the page; `complete` says that the model has read the whole note."""
    parts = [(text, round(LEVELS * strength)) for text, strength in explain.pieces(found, note)]
    # The odd parts are words, the even ones the text between them.
    word_parts = [2 * word + 1 for word in explain.telling(found, note, STRONGEST)]
    strongest = {part: rank for rank, part in enumerate(part for part in word_parts if parts[part][1])}
    *pieces, rest = (Piece(text, shade, strongest.get(part)) for part, (text, shade) in enumerate(parts))
    return Evidence(
        label,
        predicted,
        found.method,
        ", ".join(f"{name} {value:.2f}" for name, value in found.shares.items()),
        bool((found.weights < 0).any()),
        tuple(parts[part][0] for part in strongest),
        (*pieces, rest) if complete else tuple(pieces),
        "" if complete else rest.text,
        "",
    )


def percent(probability: float) -> str:
    """Format a probability as a whole percentage; never as 0 % or 100 %, which would read as certainty."""
    return "<1 %" if probability < 0.01 else ">99 %" if probability > 0.99 else f"{100 * probability:.0f} %"
