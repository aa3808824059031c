"""The names of the codes as a model reads them (`icdbench.types.Names`), and their arrays in the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from icdbench.codes import names
from icdbench.data import synonyms
from icdbench.data.source import Source
from icdbench.data.tokens import Ragged, tokenize
from icdbench.types import SENTENCE_END, IntArray, Names

VERSION = "names 1"  # changes when equal names would be read differently
ARRAYS = tuple(Names.__dataclass_fields__)


class Named(NamedTuple):
    """A name: the position of its code, whether it is another than the title, and its words."""

    code: int
    is_term: bool
    words: Sequence[str]


def read(codes: Sequence[str], titles: Mapping[str, str], opened: Source) -> tuple[list[Named], list[str]]:
    """All names of the codes, each with and without what stands in brackets, and what a user should know of them.

    Raises SpecError, DataError for a user's own synonyms.
    """
    (own, notices), terms, rule = synonyms.of_codes(opened.data.synonyms, codes), opened.terms(codes), opened.data.words
    return [
        Named(position, number > 0, [word for word in tokenize(reading, rule) if word != SENTENCE_END])
        for position, code in enumerate(codes)
        for number, name in enumerate((titles.get(code, ""), *own.get(code, ()), *terms.get(code, ())))
        for reading in names.readings(name)
    ], notices


def encode(named: Sequence[Named], tokens: Sequence[str]) -> Names:
    """The names over a vocabulary that has all of their words."""
    numbers: dict[str, int] = {"": -1}
    forms_V = np.array([numbers.setdefault(names.normal_form(word), len(numbers) - 1) for word in tokens], np.int32)
    forms_V[:2] = -1  # padding and unknown words are no words
    position = {word: index for index, word in enumerate(tokens)}
    bags = [[form for word in each.words if (form := int(forms_V[position[word]])) >= 0] for each in named]
    kept = [number for number, bag in enumerate(bags) if bag]
    forms, offsets = Ragged.of([bags[number] for number in kept])
    return Names(
        forms=forms,
        offsets=offsets,
        codes=np.array([named[number].code for number in kept], np.int32),
        is_term=np.array([named[number].is_term for number in kept], np.int32),
        form_of_token=forms_V,
        negates=np.array([word in names.NEGATIONS for word in tokens], np.int32),
    )


def save(found: Names, folder: Path) -> None:
    """Write the arrays of a cached data set."""
    for name in ARRAYS:
        array: IntArray = getattr(found, name)
        np.save(folder / f"names.{name}.npy", array, allow_pickle=False)


def load(folder: Path) -> Names | None:
    """What was saved; None for a data set without names. Raises OSError, ValueError."""
    if not (folder / f"names.{ARRAYS[0]}.npy").exists():
        return None
    return Names(**{name: np.load(folder / f"names.{name}.npy", allow_pickle=False) for name in ARRAYS})
