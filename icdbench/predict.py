"""A trained run on new notes: codes with titles and probabilities, equal to those of the run's own evaluation.

Notes are read in windows of bounded size, so any number of them can be streamed. Within a window documents are batched as
in evaluation: texts that fit into one get the same bits as there, others the same up to rounding in 32 bits.
"""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import nn

from icdbench import bundle, encode
from icdbench.batches import batches, evaluation_order
from icdbench.bundle import Bundle
from icdbench.notes import written
from icdbench.spec import DataError, SpecError, nearest
from icdbench.types import UNKNOWN, Encoded, FloatArray

WINDOW, WINDOW_CHARACTERS = 1024, 1 << 24  # notes and characters that are held at once
SHOWN = 10  # codes that are shown of a note, whatever their probability, unless the user says how many

THRESHOLDS = ("fixed", "tuned")  # 0.5, and that of the run's validation split


@dataclass(frozen=True, slots=True)
class Code:
    """A code, its probability, and whether that is above the threshold."""

    code: str
    title: str
    probability: float
    above: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model makes of one note: codes by falling probability; the note's tokens, how many were read, how many of
    these are unknown words."""

    codes: tuple[Code, ...]
    tokens: int
    read: int
    unknown: int


class Predictor:
    """A trained model with its words, codes and thresholds."""

    def __init__(self, trained: Bundle, device: str = "cpu") -> None:
        self.bundle = trained
        self.device = torch_device(device)
        self.model = bundle.model(trained)
        if isinstance(self.model, nn.Module):
            self.model.to(self.device)
        self.index = {token: position for position, token in enumerate(trained.contents.tokens)}
        self.codes = trained.contents.codes

    def own(self, code: str) -> str:
        """The code as the model writes it, whatever its case; nothing if the model has none such."""
        return next((own for own in self.codes if own.casefold() == code.casefold()), "")

    def predict(self, texts: Iterable[str], top: int | None = None, threshold: str = "tuned") -> list[tuple[Code, ...]]:
        """The codes of each text, the most probable first: all of them, or `top`. Raises DataError for a text without words."""
        count = len(self.codes) if top is None else top
        return [reading.codes for reading in self.stream(texts, count, threshold)]

    def stream(self, texts: Iterable[str], top: int | None = None, threshold: str = "tuned") -> Iterator[Reading]:
        """The same for any number of texts, one by one. Without `top`, the codes above the threshold and at least SHOWN."""
        if isinstance(texts, str):
            raise SpecError("give a list of texts, not a single one")
        for number, reading in enumerate(self.readings(texts, top, threshold), start=1):
            yield with_words(f"text {number}", reading)

    def readings(self, texts: Iterable[str], top: int | None, threshold: str) -> Iterator[Reading]:
        """As `stream`, also of texts without words, which the caller refuses by their names."""
        if top is not None and top < 1:
            raise SpecError(f"top={top}: give the number of codes of each text, 1 or more")
        if threshold not in THRESHOLDS:
            raise SpecError(f"no threshold '{threshold}'{nearest(threshold, THRESHOLDS)}")
        at = self.bundle.contents.threshold[threshold]
        for window in _windows(texts):
            encoded = self.encode(window)
            yield from map(self._reading, *self._facts(encoded), self._ranked(self.scores(encoded), top, at))

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The texts as the model reads them."""
        return encode.notes(texts, self.index, self.bundle.contents.words)

    @torch.no_grad()
    def scores(self, encoded: Encoded) -> FloatArray:
        """Logits N×L, in 32 bits."""
        max_tokens, num_codes = self.bundle.contents.max_tokens, len(self.codes)
        if not isinstance(self.model, nn.Module):
            return self.model.scores(encoded, max_tokens).astype(np.float32)
        scores_NL = np.empty((len(encoded), num_codes), np.float32)
        order = evaluation_order(encoded.lengths(max_tokens))
        for batch in batches(encoded, order, num_codes, max_tokens, self.device):
            scores_NL[batch.index_B.cpu().numpy()] = self.model(batch).cpu().numpy()
        return scores_NL

    def _ranked(self, scores_NL: FloatArray, top: int | None, at: float) -> Iterator[tuple[Code, ...]]:
        contents = self.bundle.contents
        for scores_L, probabilities_L in zip(scores_NL, probabilities(scores_NL), strict=True):
            above_L = probabilities_L > at
            count = max(SHOWN, int(above_L.sum())) if top is None else top
            yield tuple(
                Code(contents.codes[code], contents.titles[code], float(probabilities_L[code]), bool(above_L[code]))
                for code in np.argsort(-scores_L, kind="stable")[:count].tolist()
            )

    def _facts(self, encoded: Encoded) -> tuple[list[int], list[int], list[int]]:
        """Tokens of each text, those read, and the unknown words among these."""
        read = encoded.lengths(self.bundle.contents.max_tokens)
        starts = encoded.token_offsets[:-1]
        unknown = np.concatenate([[0], np.cumsum(encoded.tokens == UNKNOWN)])
        return (
            np.diff(encoded.token_offsets).tolist(),
            read.tolist(),
            (unknown[starts + read] - unknown[starts]).tolist(),
        )

    @staticmethod
    def _reading(tokens: int, read: int, unknown: int, codes: tuple[Code, ...]) -> Reading:
        return Reading(codes, tokens, read, unknown)


def load(path: str | PathLike[str], device: str = "cpu") -> Predictor:
    """The model of a bundle, or of a run's folder. Raises SpecError, DataError."""
    place = Path(path)
    return Predictor(bundle.of_run(str(place), place) if place.is_dir() else bundle.read(place), device)


def torch_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `mps`. Raises SpecError."""
    present = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name not in present:
        raise SpecError(f"no device '{name}'{nearest(name, present)}")
    if not present[name]:
        raise SpecError(f"this machine has no '{name}' device that torch can use; leave --device out or say cpu")
    found = next(device for device in ("cuda", "mps", "cpu") if present[device])
    return torch.device(found if name == "auto" else name)


def probabilities(logits_NL: FloatArray) -> FloatArray:
    """As in evaluation: the sigmoid in double precision."""
    from scipy.special import expit

    result: FloatArray = expit(logits_NL.astype(np.float64))
    return result


def _windows(texts: Iterable[str]) -> Iterator[list[str]]:
    window: list[str] = []
    characters = 0
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise SpecError(f"text {number} is no str but {type(text).__name__}")
        window.append(written(f"text {number}", text))
        characters += len(text)
        if len(window) == WINDOW or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


def named(
    predictor: Predictor, notes: Iterable[tuple[str, str]], top: int | None = None, threshold: str = "tuned"
) -> Iterator[tuple[str, Reading]]:
    """Each note's name with what the model makes of it."""
    names: deque[str] = deque()  # of the window that is being read

    def texts() -> Iterator[str]:
        for name, text in notes:
            names.append(name)
            yield text

    for reading in predictor.readings(texts(), top, threshold):
        name = names.popleft()
        yield name, with_words(name, reading)


def with_words(name: str, reading: Reading) -> Reading:
    """The reading, of a text that has something to read: of nothing a model makes its most frequent codes. Raises DataError."""
    if not reading.tokens:
        raise DataError(f"{name}: the note has no words that the model could read")
    return reading


def as_jsonl(readings: Iterable[tuple[str, Reading]]) -> Iterator[str]:
    """An object per note, numbers in full."""
    for note, reading in readings:
        yield json.dumps({"note": note, **asdict(reading)}, ensure_ascii=False) + "\n"


def as_csv(readings: Iterable[tuple[str, Reading]]) -> Iterator[str]:
    """A row per note and code."""
    yield _row(["note", "rank", "code", "title", "probability", "above", "words", "read", "unknown"])
    for note, reading in readings:
        for rank, code in enumerate(reading.codes, start=1):
            facts = reading.tokens, reading.read, reading.unknown
            yield _row([note, rank, code.code, code.title, code.probability, int(code.above), *facts])


def as_table(readings: Iterable[tuple[str, Reading]]) -> Iterator[str]:
    """A block per note, for reading."""
    from tabulate import tabulate

    for note, reading in readings:
        cut = "" if reading.read == reading.tokens else f", the first {reading.read:,} read"
        rows = [[code.code, code.title, f"{code.probability:.3f}", "above" * code.above] for code in reading.codes]
        grid = tabulate(rows, ["code", "title", "probability", "threshold"], tablefmt="simple", disable_numparse=True)
        yield f"{note}: {reading.tokens:,} words{cut}, {reading.unknown:,} of them unknown\n\n{grid}\n\n"


FORMATS = {"table": as_table, "jsonl": as_jsonl, "csv": as_csv}


def _row(cells: list[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
