"""The words of a document that are negated or said of the family (`affirmed`), by the English and Spanish rules of words.toml.

A negation or a mention of the family governs the words after it (some negations those before it), up to a maximal distance, a
word that ends its scope, or the end of a sentence if tokens include it (data.words=sentences).

Shapes in names: V tokens, P phrases, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from icdbench.nn.ngrams import in_parts
from icdbench.nn.ragged import items
from icdbench.nn.words import rules, without_accents
from icdbench.types import SENTENCE_END, UNKNOWN, Encoded, IntArray

LONGEST = 3  # most words of a phrase
KINDS = ("before", "after", "ends", "family", "family_ends")  # of phrases


@dataclass(frozen=True, eq=False)
class ScopeRules:
    """The rules for a vocabulary: the number of each token among the words of the rules [V], and the phrases [P, 1 + LONGEST].

    A phrase is the index of its kind in KINDS, and the numbers of its words; 0 is no word. `reach` [3] is the reach in words
    of a negation, of a negation that follows what it negates, and of a mention of the family.
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
        """Return for each of KINDS the number of words of the longest phrase that starts at each position [T]; 0 if none."""
        numbers = self.numbers[tokens_T]
        length_T: dict[str, IntArray] = {kind: np.zeros(len(numbers), np.int64) for kind in KINDS}
        positions = np.flatnonzero(numbers)
        for kind, *words in self.phrases.tolist():
            size = sum(word > 0 for word in words)
            at = positions[positions + size <= len(numbers)]
            for more, word in enumerate(words[:size]):
                at = at[numbers[at + more] == word]
            at = at[documents_T[at] == documents_T[at + size - 1]]
            length_T[KINDS[kind]][at] = np.maximum(length_T[KINDS[kind]][at], size)
        return length_T

    def absent(self, documents_T: IntArray, tokens_T: IntArray) -> IntArray:
        """Return 1 for each word that is negated or said of the family [T]."""
        starts = self._starts(documents_T, tokens_T)
        found = _governed(documents_T, starts["before"], starts["ends"], int(self.reach[0]))
        backwards = documents_T[::-1], np.minimum(starts["after"], 1)[::-1], starts["ends"][::-1]
        found |= _governed(*backwards, int(self.reach[1]))[::-1]
        return found | _governed(documents_T, starts["family"], starts["family_ends"], int(self.reach[2]))


def affirmed(encoded: Encoded, rules: ScopeRules) -> Encoded:
    """Return the documents with negated words, and words said of the family, replaced by the unknown word."""
    tokens, before = np.array(encoded.tokens), 0
    for size, documents_T, tokens_T in in_parts(encoded):
        lengths = encoded.lengths[before : before + size]
        starts = np.asarray(encoded.token_offsets)[before : before + size]
        document, within = items(lengths)
        hidden = rules.absent(documents_T, tokens_T) > 0
        tokens[(starts[document] + within)[hidden]] = UNKNOWN
        before += size
    return replace(encoded, tokens=tokens)


def _governed(documents_T: IntArray, cues_T: IntArray, ends_T: IntArray, reach: int) -> IntArray:
    """Return 1 for each of the `reach` words after a cue, within its document and before a word that ends its scope [T].

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
