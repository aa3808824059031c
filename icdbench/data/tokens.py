"""Texts -> words as flat integer arrays. `tokenize` defines tokens in plain Python; `Lexicon` does the same fast.

`Lexicon.read` replaces every character outside words by a space, splits and numbers the words with Arrow, a chunk of texts
at a time, and calls Python's `lower` and `isnumeric` once for each distinct word, so that both ways agree on all of Unicode.

Both compose a text first (Unicode's normal form C), so that a word is the same however its accents are stored.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from icdbench.spec import Rule
from icdbench.types import SENTENCE_END, IntArray, Report, composed, quiet

CHUNK = 8 << 20  # characters that are split at once
BLOCK = 1 << 22  # words that are counted at once
THREADS = 2  # more threads gain nothing, as a lock is held half of the time

ABBREVIATIONS = "abd approx aprox cf dcho dr dra dx eg fx hx ie izq mr mrs ms pt pts px resp sr sra sx tx vs wt"
_FULL_STOP = r"\.(?<![\s.][^\W\d_]\.)" + "".join(rf"(?<!\b(?i:{word})\.)" for word in ABBREVIATIONS.split())
_BREAKS = r"\n\x0b\x0c\x85\u2028\u2029"
_LINE_END = rf"(?:\r(?!\n)|[{_BREAKS}])(?<!:.)(?<!:\r\n)(?![^\S\r{_BREAKS}]*[a-zß-ÿ])"
_ENDS = rf"(?s:(?:{_FULL_STOP}|[!?;])[\"'”’»)\]]*(?=\s|\Z)|{_LINE_END}|\Z)"
_SENTENCE_ENDS = re.compile(_ENDS)
_WORDS = {
    "not-numeric": re.compile(r"\w+"),
    "some-letter": re.compile(r"\w+"),
    "ascii": re.compile(r"[a-z0-9]+"),
    "sentences": re.compile(rf"\w+|(?P<end>{_ENDS})"),
}
_DROPPED: dict[str, Callable[[str], bool]] = {
    "not-numeric": str.isnumeric,
    "some-letter": lambda word: not any(map(str.isalpha, word)),
    "ascii": str.isnumeric,
    "sentences": str.isnumeric,
}
_TEXT_END = "\0"  # outside words, so it can stand between texts
_END_NUMBER, _NOT_A_WORD = -2, -1


def tokenize(text: str, rule: Rule = "not-numeric") -> list[str]:
    """The tokens of a text, composed. Rules:

    - "not-numeric", as CAML's preparation: runs of word characters (Unicode `\\w+`) in lower case, without those that are
      numeric (`str.isnumeric`).
    - "some-letter", as the JLAN paper writes: the same, without tokens that have no letter.
    - "ascii" (Edin et al. 2023): runs of a–z and 0–9 in the text in lower case, without numbers.
    - "sentences": as "not-numeric", and "." at the end of each sentence that has words. A sentence ends at one of .!?;
      before white space, but not at a full stop after one of ABBREVIATIONS or a single letter; at the end of a line, unless
      that ends in a colon or the next one begins with a small letter (a–z, ß–ÿ); and at the end of the text.
    """
    return [SENTENCE_END if match.lastgroup else match[0].lower() for match in _matches(_normalized(text, rule), rule)]


def spans(text: str, rule: Rule = "not-numeric") -> list[tuple[int, int]]:
    """Where each token of `tokenize` stands in the original text: its first character, and one past its last."""
    normalized = _normalized(text, rule)
    found = [match.span() for match in _matches(normalized, rule)]
    if normalized == text or (len(normalized) == len(text) and composed(text) == text):
        return found
    origins = _origins(text, rule)
    return [(origins[start][0] if start < len(origins) else len(text), origins[end - 1][1]) for start, end in found]


def _matches(normalized: str, rule: Rule) -> Iterator[re.Match[str]]:
    """The words, and the ends of those sentences that have words."""
    dropped, words_before = _DROPPED[rule], False
    for match in _WORDS[rule].finditer(normalized):
        if words_before if match.lastgroup else not dropped(match[0]):
            yield match
            words_before = not match.lastgroup


def _normalized(text: str, rule: Rule) -> str:
    """The text as the rule reads it: composed, and for "ascii" in lower case."""
    return composed(text).lower() if rule == "ascii" else composed(text)


def _origins(text: str, rule: Rule) -> list[tuple[int, int]]:
    """For each character of the normalized text, the span of the original text that it comes from."""
    is_composed = composed(text) == text
    starts = [at for at, character in enumerate(text) if is_composed or not at or character not in _combining()]
    found = []
    for start, end in pairwise([*starts, len(text)]):
        for character in composed(text[start:end]):
            # Some characters become two in lower case, as İ does.
            found += [(start, end)] * (len(character.lower()) if rule == "ascii" else 1)
    return found


@lru_cache
def _combining() -> frozenset[str]:
    """The characters that composing may join to the one before them, or reorder."""
    parts = {character: unicodedata.normalize("NFD", character) for character in map(chr, range(sys.maxunicode + 1))}
    pairs = (unicodedata.decomposition(character).split() for character in parts)
    second = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}
    second |= set(map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))))  # vowels and finals of Korean syllables
    return frozenset(
        character for character, part in parts.items() if part[0] in second or unicodedata.combining(part[0])
    )


class Ragged(NamedTuple):
    """Rows of different lengths in one array: row i is `values[offsets[i]:offsets[i + 1]]`."""

    values: IntArray
    offsets: IntArray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | IntArray]) -> Self:
        """The rows concatenated."""
        values = [np.zeros(0, np.int32), *(np.asarray(row, np.int32) for row in rows)]
        lengths = np.array([0, *map(len, rows)], np.int64)
        return cls(np.concatenate(values), np.cumsum(lengths))

    @property
    def lengths(self) -> IntArray:
        """The number of values in each row."""
        return np.diff(self.offsets)

    def row(self, number: int) -> IntArray:
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def rows(self) -> list[IntArray]:
        return [self.row(number) for number in range(len(self.offsets) - 1)]


class Lexicon:
    """The distinct words of all texts read so far: `words[i]` is word number i, in order of first appearance."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._numbers: dict[str, int] = {}  # by word in lower case
        self._seen: dict[str, int] = {_TEXT_END: _END_NUMBER, "": _NOT_A_WORD}  # by word as written

    @property
    def words(self) -> list[str]:
        return list(self._numbers)

    def read(self, texts: Sequence[str], report: Report = quiet) -> Ragged:
        """The numbers of each text's words; new words are added."""
        parts: list[IntArray] = []
        lengths: list[IntArray] = []
        chunks = list(in_chunks(texts, CHUNK))
        with ThreadPoolExecutor(THREADS) as pool:
            for done, (indices, distinct) in enumerate(pool.map(self._split, chunks), start=1):
                numbers = self._number(distinct)[indices]
                ends = np.flatnonzero(numbers == _END_NUMBER)
                words = numbers >= 0
                lengths.append(np.add.reduceat(words, np.concatenate([[0], ends]), dtype=np.int64))
                parts.append(numbers[words])
                report("words", done, len(chunks))
        offsets = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()
        return Ragged(np.concatenate([np.zeros(0, np.int32), *parts]), offsets)

    def _split(self, texts: Sequence[str]) -> tuple[IntArray, list[str]]:
        """The pieces of the texts, with _TEXT_END between texts, as indices of distinct pieces, and the distinct pieces."""
        spaced = f" {_TEXT_END} ".join(_spaced(text, self.rule) for text in texts)
        pieces = pc.ascii_split_whitespace(pa.array([spaced])).flatten().dictionary_encode()
        return pieces.indices.to_numpy(), pieces.dictionary.to_pylist()

    def _number(self, distinct: Sequence[str]) -> IntArray:
        """The number of each piece, new words included; negative for pieces that are not words."""
        seen, numbers, dropped = self._seen, self._numbers, _DROPPED[self.rule]
        result = np.empty(len(distinct), np.int32)
        for index, piece in enumerate(distinct):
            number = seen.get(piece)
            if number is None:
                number = _NOT_A_WORD if dropped(piece) else numbers.setdefault(piece.lower(), len(numbers))
                seen[piece] = number
            result[index] = number
        return result


def document_counts(numbers: IntArray, offsets: IntArray, num_words: int) -> IntArray:
    """The number of texts that have each word [num_words]; counted a block of texts at a time, to bound the memory."""
    counts = np.zeros(num_words, np.int64)
    start = 0
    while start < len(offsets) - 1:
        end = max(start + 1, int(np.searchsorted(offsets, offsets[start] + BLOCK, side="right")) - 1)
        part, rows = numbers[offsets[start] : offsets[end]], offsets[start : end + 1] - offsets[start]
        by_text = csr_matrix((np.ones(len(part), np.bool_), part, rows), shape=(end - start, num_words))
        by_word = by_text.tocsc()  # lists the texts of each word in order, one as often as it has the word
        first = np.ones(len(part) + 1, np.bool_)
        first[1:-1] = by_word.indices[1:] != by_word.indices[:-1]
        first[by_word.indptr] = True
        seen = np.concatenate([[0], np.cumsum(first[:-1])])
        counts += np.diff(seen[by_word.indptr])
        start = end
    return counts


def in_chunks(texts: Iterable[str], characters: int) -> Iterator[list[str]]:
    """The texts in lists of about that many characters, at least one text each."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size >= characters:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _spaced(text: str, rule: Rule) -> str:
    """The text with a space for every character outside words; with rule "sentences" also SENTENCE_END where one ends."""
    normalized = _normalized(text, rule)
    if normalized.isascii():
        spaced = normalized.translate(_ascii_table(rule))
    else:
        characters = np.frombuffer(normalized.encode("utf-32-le", "surrogatepass"), np.uint32)
        kept = np.where(_in_words(rule)[characters], characters, ord(" ")).astype(np.uint32)
        spaced = kept.tobytes().decode("utf-32-le")
    if rule != "sentences":
        return spaced
    ends = [0, *(match.start() for match in _SENTENCE_ENDS.finditer(normalized))]
    sentences = (spaced[start:end] for start, end in pairwise(ends))
    return "".join(f"{each} {SENTENCE_END} " for each in sentences if not all(map(str.isnumeric, each.split())))


@lru_cache
def _ascii_table(rule: Rule) -> str:
    return "".join(chr(i) if kept else " " for i, kept in enumerate(_in_words(rule)[:128]))


@lru_cache
def _in_words(rule: Rule) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each character of Unicode belongs to words, that is, matches `\\w` (for "ascii" also only ASCII, without `_`)."""
    ends = 0x80 if rule == "ascii" else 0x110000
    found = np.zeros(0x110000, np.bool_)
    found[:ends] = np.fromiter(map(str.isalnum, map(chr, range(ends))), np.bool_, ends)
    found[ord("_")] = rule != "ascii"
    return found
