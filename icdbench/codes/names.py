"""English names of codes as a matcher reads them: without what stands in brackets, in normal forms of their words.

Coders' lists are written for an index ("Anemia, unspecified", "Pneumonia (acute) (double)"), notes are not: so the order of a
name's words does not count, nor do the words of IGNORED, the plural, or British spelling.
"""

from __future__ import annotations

import re

IGNORED = frozenset(
    "a an and as at by due elsewhere classified encounter for from in initial is nec nos not of on or other otherwise s site "
    "specified the to type unspecified with".split()
)
NEGATIONS = frozenset("absence absent denied denies free negative no ruled without".split())

_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_SPELLINGS = {
    "oedema": "edema",
    "oesoph": "esoph",
    "haem": "hem",
    "aemi": "emi",
    "anaes": "anes",
    "oea": "ea",
    "paed": "ped",
    "tumour": "tumor",
}
_ENDINGS = (  # of plurals: what ends a word, what does not, and what takes its place
    (("ies",), (), "y", 3),
    (("oses", "yses"), (), "is", 2),
    (("ses", "xes", "ches", "shes"), ("ases", "ises"), "", 2),
    (("s",), ("ss", "us", "is"), "", 1),
)


def readings(name: str) -> tuple[str, ...]:
    """The name, and the name without what stands in brackets if there are any."""
    return tuple(dict.fromkeys(" ".join(text.split()) for text in (name, _BRACKETS.sub(" ", name))))


def normal_form(word: str) -> str:
    """The word in the singular, in American spelling; empty for a word that names ignore.

    A rule of thumb: forms only have to agree between names and notes.
    """
    if word in IGNORED:
        return ""
    for british, american in _SPELLINGS.items():
        word = word.replace(british, american)
    for endings, but, instead, cut in _ENDINGS:
        if len(word) > 3 + (endings != ("s",)) and word.endswith(endings) and not (but and word.endswith(but)):
            return word[:-cut] + instead
    return word
