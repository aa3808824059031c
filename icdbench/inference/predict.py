"""Predict codes of new notes (`Predictor`): titles and probabilities, equal to those of the run's own evaluation.

Any number of notes can be streamed, in windows of bounded size. A window is batched as in evaluation: a split that fits into
one window gets the same bits as there, a longer one the same figures up to rounding in the run's precision. A run in bf16 is
computed in 32 bits on a processor without instructions for bf16. The last part writes predictions in several formats.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral

import numpy as np

from icdbench import registry
from icdbench.data import batches, encode
from icdbench.host import output
from icdbench.inference import bundle
from icdbench.inference.bundle import Bundle
from icdbench.inference.notes import short_name
from icdbench.settings import DataError, SpecError, nearest
from icdbench.training import accelerator, score
from icdbench.types import SENTENCE_END, THRESHOLDS, UNKNOWN, Encoded, FloatArray, IntArray, composed

WINDOW, WINDOW_CHARACTERS = 1024, 1 << 24  # most notes and characters in memory at once
SHOWN = 10  # least number of codes shown for a note, unless the user gives one
DOUBTFUL = 0.5  # share of unknown words above which a note is marked


@dataclass(frozen=True, slots=True)
class Code:
    """A code, its probability, and whether that is above the threshold."""

    code: str
    title: str
    probability: float
    above: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """A model's codes for one note by falling probability, and the note's number of words (or subwords), of those read, and
    of unknown ones among the latter."""

    codes: tuple[Code, ...]
    tokens: int
    read: int
    unknown: int


Answer = tuple[str, Reading | DataError]  # a note's name with its reading, or with the reason why there is none
NOTHING = Reading((), 0, 0, 0)


class Predictor:
    """A trained model with its words, codes and thresholds."""

    def __init__(self, trained: Bundle, device: str = "cpu") -> None:
        self.bundle = trained
        self.device = accelerator.torch_device(device)
        low = trained.contents.precision if accelerator.multiplies_bf16(self.device) else None
        self.precision = low or "32-true"
        self.model = bundle.model(trained, self.device)
        self.reader = bundle.reader(trained)
        self.codes = trained.contents.codes

    def for_codes(self, titles: Mapping[str, str]) -> Predictor:
        """The same model for other codes, given with their titles.

        Thresholds stay the same. Raises SpecError for a model with weights for each code, and if no codes are given.
        """
        contents = self.bundle.contents
        entry = registry.stored_entry(contents.model, contents.code_source, contents.run)
        if not entry.any_codes:
            able = ", ".join(name for name, each in registry.entries().items() if each.any_codes)
            raise SpecError(
                f"'{contents.run}' has weights of its own for each of its {len(self.codes):,} codes and scores no others; "
                f"models that score any codes by their titles: {able}"
            )
        if not titles:
            raise SpecError("no codes are given; give at least one, with its title")
        described = tuple(tuple(title.tolist()) for title in self.reader.read(list(titles.values())).rows())
        named = {"codes": tuple(titles), "titles": tuple(titles.values()), "descriptions": described, "hierarchy": None}
        return Predictor(Bundle(contents.model_copy(update=named), self.bundle.weights), str(self.device))

    def find_code(self, code: str) -> str:
        """The model's spelling of a code given in any case; empty if the model does not know it."""
        wanted = composed(code).casefold()
        return next((known for known in self.codes if known.casefold() == wanted), "")

    def predict(self, texts: Iterable[str], top: int | None = None, threshold: str = "tuned") -> list[tuple[Code, ...]]:
        """The codes of each text, the most probable first: all of them, or `top`. Raises DataError for a text that is empty or
        has no word that the model knows."""
        count = len(self.codes) if top is None else top
        found = enumerate(self.stream(texts, count, threshold), start=1)
        return [with_words(f"text {number}", reading).codes for number, reading in found]

    def stream(self, texts: Iterable[str], top: int | None = None, threshold: str = "tuned") -> Iterator[Reading]:
        """Iterate over the readings of texts. The caller checks whether the model knows enough of their words.

        Without `top` a reading has the codes above the threshold, and at least SHOWN. Raises DataError for an empty text.
        """
        if isinstance(texts, str):
            raise SpecError("give a list of texts, not a single one")
        if top is not None and not (isinstance(top, Integral) and top >= 1):
            raise SpecError(f"top={top!r}: give the number of codes of each text, 1 or more")
        if threshold not in THRESHOLDS:
            raise SpecError(f"no threshold '{threshold}'{nearest(threshold, THRESHOLDS)}")
        for window in _windows(texts):
            encoded = self.encode(window)
            yield from self.read(encoded, self.scores(encoded), top, threshold)

    def read(self, encoded: Encoded, scores_NL: FloatArray, top: int | None, threshold: str) -> Iterator[Reading]:
        """The reading of each document, given their logits [N, L]."""
        tokens, starts = self.bundle.contents.tokens, encoded.token_offsets[:-1]
        sentence_end = tokens.index(SENTENCE_END) if SENTENCE_END in tokens else -1
        is_word, is_unknown = encoded.tokens != sentence_end, encoded.tokens == UNKNOWN
        words, unknown = (np.concatenate([[0], np.cumsum(each)]) for each in (is_word, is_unknown))
        ends, read_ends = encoded.token_offsets[1:], starts + encoded.lengths
        counts_N3 = np.stack([words[ends], words[read_ends], unknown[read_ends]], axis=1)
        counts_N3 -= np.stack([words[starts], words[starts], unknown[starts]], axis=1)
        ranked = self._ranked(scores_NL, top, self.bundle.contents.threshold[threshold])
        return (Reading(codes, *counts) for codes, counts in zip(ranked, counts_N3.tolist(), strict=True))

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The texts as the model reads them."""
        return encode.notes(texts, self.reader, len(self.codes), self.bundle.contents.max_tokens)

    def documents(self, rows: Sequence[IntArray]) -> Encoded:
        """Documents of these tokens, as the model reads them."""
        return encode.without_codes(rows, len(self.codes), self.bundle.contents.max_tokens)

    def scores(self, encoded: Encoded) -> FloatArray:
        """Logits [N, L], in 32 bits."""
        return score.scores(self.model, batches.Loader(encoded, self.device), precision=self.precision)

    def _ranked(self, scores_NL: FloatArray, top: int | None, at: float) -> Iterator[tuple[Code, ...]]:
        contents = self.bundle.contents
        for scores_L, probabilities_L in zip(scores_NL, score.probabilities(scores_NL), strict=True):
            above_L = probabilities_L > at
            count = max(SHOWN, int(above_L.sum())) if top is None else top
            yield tuple(
                Code(contents.codes[code], contents.titles[code], float(probabilities_L[code]), bool(above_L[code]))
                for code in np.argsort(-scores_L, kind="stable")[:count].tolist()
            )


def _windows(texts: Iterable[str]) -> Iterator[list[str]]:
    window: list[str] = []
    characters = 0
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise SpecError(f"text {number} is no str but {type(text).__name__}")
        if not text.strip():
            raise DataError(f"text {number}: the note is empty")
        window.append(text)
        characters += len(text)
        if len(window) == WINDOW or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


def named(
    predictor: Predictor, notes: Iterable[tuple[str, str | DataError]], top: int | None = None, threshold: str = "tuned"
) -> Iterator[Answer]:
    """Each note's name with its reading, or with its error."""
    names: deque[tuple[str, DataError | None]] = deque()  # of notes that were passed to the model, or have an error

    def texts() -> Iterator[str]:
        for name, text in notes:
            names.append((name, text if isinstance(text, DataError) else None))
            if not isinstance(text, DataError):
                yield text

    for reading in predictor.stream(texts(), top, threshold):
        yield from _pop_errors(names)
        name, _ = names.popleft()
        try:
            yield name, with_words(name, reading)
        except DataError as error:
            yield name, error
    yield from _pop_errors(names)


def _pop_errors(names: deque[tuple[str, DataError | None]]) -> Iterator[Answer]:
    """Yield and remove the notes at the head of the queue that have an error."""
    while names and (error := names[0][1]) is not None:
        yield names.popleft()[0], error


def with_words(name: str, reading: Reading) -> Reading:
    """Return the reading. Raises DataError if the model knows no word of the note, as it would predict its most frequent codes."""
    if reading.unknown == reading.read:
        raise DataError(f"{short_name(name)}: the note has no word that the model knows")
    return reading


def problem(name: str, answer: Reading | DataError) -> str:
    """Why a note has no codes or doubtful ones; empty if there is no problem."""
    if isinstance(answer, DataError):
        return str(answer).removeprefix(name).removeprefix(short_name(name)).lstrip(":, ")
    if answer.unknown > answer.read * DOUBTFUL:
        return f"the model does not know {answer.unknown:,} of the {answer.read:,} words read"
    return ""


def as_jsonl(answers: Iterable[Answer]) -> Iterator[str]:
    """A JSON object per note, with numbers in full."""
    for note, answer in answers:
        facts = asdict(NOTHING if isinstance(answer, DataError) else answer)
        yield output.json_line({"note": note, **facts, "problem": problem(note, answer)}) + "\n"


def as_csv(answers: Iterable[Answer]) -> Iterator[str]:
    """A row per note and code; a single row without a code for a note that cannot be read."""
    yield output.csv_row(
        ["note", "rank", "code", "title", "probability", "above", "words", "read", "unknown", "problem"]
    )
    for note, answer in answers:
        trouble = output.csv_cell(problem(note, answer))
        if isinstance(answer, DataError):
            yield output.csv_row([output.csv_cell(note), *[""] * 8, trouble])
            continue
        facts = answer.tokens, answer.read, answer.unknown, trouble
        for rank, code in enumerate(answer.codes, start=1):
            named = output.csv_cell(note), rank, output.csv_cell(code.code), output.csv_cell(code.title)
            yield output.csv_row([*named, code.probability, int(code.above), *facts])


def as_table(answers: Iterable[Answer]) -> Iterator[str]:
    """A block of text per note."""
    from tabulate import tabulate

    for note, answer in answers:
        trouble = problem(note, answer)
        if isinstance(answer, DataError):
            yield f"{note}: not predicted: {trouble}\n\n"
            continue
        cut = "" if answer.read == answer.tokens else f", the first {answer.read:,} read"
        doubt = f"\nLittle to go by: {trouble}." if trouble else ""
        rows = [[code.code, code.title, f"{code.probability:.3f}", "above" * code.above] for code in answer.codes]
        grid = tabulate(rows, ["code", "title", "probability", "threshold"], tablefmt="simple", disable_numparse=True)
        yield f"{note}: {answer.tokens:,} words{cut}, {answer.unknown:,} of them unknown{doubt}\n\n{grid}\n\n"


FORMATS = {"table": as_table, "jsonl": as_jsonl, "csv": as_csv}
