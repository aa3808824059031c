"""Normal forms of words, and cue words such as negations, by the rules of words.toml (`Readings`).

A form is a word without accents and plural, in one spelling; a stem is its first six letters. Both are numbers: 0 stands for an
unknown word, -1 for a word that is left out. The same rules serve English and Spanish; they need only be consistent.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from icdbench.types import SENTENCE_END, UNKNOWN, IntArray

STEM = 6  # letters
SHORTEST, LONGEST = 3, 5  # letters of the parts of words, including a mark at either end of the word
CUES = ("negation", "family", "history", "doubt")


@dataclass(frozen=True, eq=False)
class Readings:
    """The readings of each of V tokens: its form and its stem [V], its cues [V, K], and its parts.

    A cue is 1 for a word that affects the words after it, and -1 for the end of a sentence, where its effect ends. The parts
    of token v are `parts[part_offsets[v] : part_offsets[v + 1]]`, as numbers.
    """

    forms: IntArray
    stems: IntArray
    cues: IntArray
    parts: IntArray
    part_offsets: IntArray

    @classmethod
    def of(cls, tokens: Sequence[str] | None, num_tokens: int) -> Readings:
        """Read a vocabulary. Without the words (None) each token is its own form, and there are no cues."""
        if tokens is None:
            forms = np.arange(num_tokens) - UNKNOWN
            none, offsets = np.zeros(0, np.int64), np.zeros(num_tokens + 1, np.int64)
            return cls(forms, forms, np.zeros((num_tokens, len(CUES)), np.int64), none, offsets)
        found = rules()
        ignored = frozenset(found["ignored"].split())
        cues = [frozenset(found["cues"][cue].split()) for cue in CUES]
        plain = [without_accents(token) for token in tokens]
        words = ["" if word in ignored else form(word, found["spellings"]) for word in plain]
        parts = [_parts(word) if index > UNKNOWN and word != SENTENCE_END else [] for index, word in enumerate(plain)]
        cue_words = np.array([[word in cue for cue in cues] for word in plain], np.int64).reshape(-1, len(CUES))
        ends = np.array([word == SENTENCE_END for word in plain], np.int64)
        numbers: dict[str, int] = {}
        part_numbers = np.array([numbers.setdefault(part, len(numbers)) for row in parts for part in row], np.int64)
        stems, offsets = [each[:STEM] for each in words], np.cumsum([0, *map(len, parts)])
        return cls(_numbered(words), _numbered(stems), cue_words - ends[:, None], part_numbers, offsets)


def form(word: str, spellings: Sequence[Sequence[str]]) -> str:
    """Return the normal form of a word without accents: no plural, no final e, one spelling."""
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if len(word) > 3 and word.endswith("e"):
        word = word[:-1]
    for written, instead in spellings:
        word = word.replace(written, instead)
    return word


def rules() -> dict[str, Any]:
    """Return the content of words.toml."""
    return tomllib.loads(resources.files("icdbench.nn").joinpath("words.toml").read_text(encoding="utf-8"))


def without_accents(word: str) -> str:
    """Return the word without accents."""
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))


def _numbered(words: Sequence[str]) -> IntArray:
    """Number the distinct words; an empty text and padding are -1, the unknown word is 0."""
    numbers: dict[str, int] = {"": -1}
    found = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64)
    found[:UNKNOWN] = -1
    found[UNKNOWN] = 0
    return found


def _parts(word: str) -> list[str]:
    marked = f"_{word}_"
    lengths = range(SHORTEST, LONGEST + 1)
    return sorted({marked[at : at + length] for length in lengths for at in range(len(marked) - length + 1)})
