"""Where in a document words are said of somebody else, or said to be absent: by the rules of words.toml, English and Spanish.

A negation or a mention of the family governs the words after it (some negations those before), so many words far at most, and no
further than a word that begins something else, or the end of a sentence where tokens have them (data.words=sentences).

Shapes in names: V tokens, P phrases, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from icdbench.nn.ngrams import in_parts
from icdbench.nn.words import rules, without_accents
from icdbench.types import SENTENCE_END, UNKNOWN, Encoded, IntArray

LONGEST = 3  # words of a phrase
KINDS = ("before", "after", "ends", "family", "family_ends")  # of phrases


@dataclass(frozen=True, eq=False)
class ScopeRules:
    """The rules over a vocabulary: the number of each token among the words of the rules [V], and the phrases [P, 1 + LONGEST].

    A phrase is the place of its kind in KINDS, and the numbers of its words; 0 is no word. `reach` [3] is how far a negation,
    one that follows what it denies, and a mention of the family reach, in words.
    """

    numbers: IntArray
    phrases: IntArray
    reach: IntArray

    @classmethod
    def of(cls, tokens: Sequence[str]) -> ScopeRules:
        """Read the rules for a vocabulary."""
        found = rules()
        groups = [found["scopes"][kind] for kind in KINDS]
        listed = [(kind, each.split()) for kind, group in enumerate(groups) for each in group]
        known = {word: 1 + at for at, word in enumerate(sorted({word for _, phrase in listed for word in phrase}))}
        rows = [[kind, *(known[word] for word in phrase), *[0] * (LONGEST - len(phrase))] for kind, phrase in listed]
        numbers = np.array([known.get(without_accents(word), 0) for word in tokens], np.int64)
        numbers[: UNKNOWN + 1] = 0
        reach = found["scopes"]["reach_in_sentence" if SENTENCE_END in tokens else "reach"]
        return cls(numbers, np.array(rows, np.int64), np.array(reach, np.int64))

    def _starts(self, documents_T: IntArray, tokens_T: IntArray) -> dict[str, IntArray]:
        """Return how many words the longest phrase of each of KINDS has that starts at each position [T]; 0 if none does."""
        numbers = self.numbers[tokens_T]
        length_T: dict[str, IntArray] = {kind: np.zeros(len(numbers), np.int64) for kind in KINDS}
        places = np.flatnonzero(numbers)
        for kind, *words in self.phrases.tolist():
            size = sum(word > 0 for word in words)
            at = places[places + size <= len(numbers)]
            for more, word in enumerate(words[:size]):
                at = at[numbers[at + more] == word]
            at = at[documents_T[at] == documents_T[at + size - 1]]
            length_T[KINDS[kind]][at] = np.maximum(length_T[KINDS[kind]][at], size)
        return length_T

    def absent(self, documents_T: IntArray, tokens_T: IntArray) -> IntArray:
        """Return 1 for each word that is denied, or said of the family [T]."""
        starts = self._starts(documents_T, tokens_T)
        found = _governed(documents_T, starts["before"], starts["ends"], int(self.reach[0]))
        backwards = documents_T[::-1], np.minimum(starts["after"], 1)[::-1], starts["ends"][::-1]
        found |= _governed(*backwards, int(self.reach[1]))[::-1]
        return found | _governed(documents_T, starts["family"], starts["family_ends"], int(self.reach[2]))


def affirmed(encoded: Encoded, rules: ScopeRules) -> Encoded:
    """Return the documents with the words that are denied, or said of the family, as unknown words."""
    tokens, before = np.array(encoded.tokens), 0
    for size, documents_T, tokens_T in in_parts(encoded):
        lengths = encoded.lengths[before : before + size]
        starts = np.asarray(encoded.token_offsets)[before : before + size]
        within = np.arange(len(tokens_T)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        hidden = rules.absent(documents_T, tokens_T) > 0
        tokens[(np.repeat(starts, lengths) + within)[hidden]] = UNKNOWN
        before += size
    return replace(encoded, tokens=tokens)


def _governed(documents_T: IntArray, cues_T: IntArray, ends_T: IntArray, reach: int) -> IntArray:
    """Return 1 for each word among `reach` after a cue in its document, and not after a word that ends its scope [T].

    `cues_T` is the number of words of the cue that starts at a position; 0 if none does.
    """
    found_T = np.zeros(len(documents_T), np.int64)
    cue = np.flatnonzero(cues_T)
    first = cue + cues_T[cue]
    for more in range(reach):
        at = first + more
        going = at < len(documents_T)
        cue, first, at = cue[going], first[going], at[going]
        going = (documents_T[at] == documents_T[cue]) & (ends_T[at] == 0)
        cue, first, at = cue[going], first[going], at[going]
        found_T[at] = 1
    return found_T
