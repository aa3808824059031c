"""The names of the codes as a model reads them: `read` collects titles and other names, `encode` makes arrays of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from icdbench.codes import names
from icdbench.data.cache import load_arrays
from icdbench.data.code_files import synonyms_of
from icdbench.data.source import Source
from icdbench.data.tokens import Ragged, tokenize
from icdbench.types import SENTENCE_END, Names

VERSION = "names 1"  # changes when equal names would be read differently
load = partial(load_arrays, Names, "names")


class CodeName(NamedTuple):
    """A name of a code: the position of the code, whether the name is not the title, and its words."""

    code: int
    is_term: bool
    words: Sequence[str]


def read(codes: Sequence[str], titles: Mapping[str, str], opened: Source) -> tuple[list[CodeName], list[str]]:
    """All names of the codes in all their variants (icdbench.codes.names), and notices for the user about synonyms.

    A code's title comes first, then the user's synonyms, then the inclusion terms. Raises SpecError or DataError for
    synonyms that cannot be used.
    """
    own_synonyms, notices = synonyms_of(opened.data.synonyms, codes)
    terms, rule = opened.terms(codes), opened.data.words
    return [
        CodeName(position, number > 0, [word for word in tokenize(reading, rule) if word != SENTENCE_END])
        for position, code in enumerate(codes)
        for number, name in enumerate((titles.get(code, ""), *own_synonyms.get(code, ()), *terms.get(code, ())))
        for reading in names.readings(name)
    ], notices


def encode(code_names: Sequence[CodeName], tokens: Sequence[str]) -> Names:
    """The names as arrays, over a vocabulary that has all of their words."""
    numbers: dict[str, int] = {"": -1}
    forms_V = np.array([numbers.setdefault(names.normal_form(word), len(numbers) - 1) for word in tokens], np.int32)
    forms_V[:2] = -1  # padding and unknown words have no form
    position = {word: index for index, word in enumerate(tokens)}
    bags = [[form for word in each.words if (form := int(forms_V[position[word]])) >= 0] for each in code_names]
    kept = [(name, bag) for name, bag in zip(code_names, bags, strict=True) if bag]
    forms, offsets = Ragged.of([bag for _, bag in kept])
    return Names(
        forms=forms,
        offsets=offsets,
        codes=np.array([name.code for name, _ in kept], np.int32),
        is_term=np.array([name.is_term for name, _ in kept], np.int32),
        form_of_token=forms_V,
        negates=np.array([word in names.NEGATIONS for word in tokens], np.int32),
    )
